# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The events of a node since its boot, as the Events call streams them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import typing as t

from rehearsal.messages import new

STAGE_NUMBERS = {
    name: number
    for number, name in enumerate(
        (
            "unknown",
            "booting",
            "installing",
            "maintenance",
            "running",
            "rebooting",
            "shutting down",
            "resetting",
            "upgrading",
        )
    )
}
NOOP, START = 0, 1
# common.Code of a sequence that another one is in the way of.
LOCKED = 1


class EventHistory:
    """A list of ``machine.Event`` messages; streams read it from where they are."""

    def __init__(self) -> None:
        self.events: list[t.Any] = []
        self._numbers = itertools.count(1)
        self._last_status: t.Any = None
        self._added = asyncio.Event()

    def add(self, payload: t.Any, actor: str = "") -> None:
        event = new("machine.Event", id=self._new_id(), actor_id=actor)
        event.data.type_url = f"talos/runtime/{payload.DESCRIPTOR.full_name}"
        event.data.value = payload.SerializeToString()
        self.events.append(event)
        self._added.set()

    async def wait(self, seconds: float) -> None:
        """Until there is another event, or for so long."""
        self._added.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._added.wait()

    def _new_id(self) -> str:
        """Twenty characters that sort by time, in the alphabet of Talos' event IDs."""
        return f"{int(time.time()):010x}{next(self._numbers):010d}"

    def sequence(self, name: str, actor: str) -> None:
        self.add(new("machine.SequenceEvent", sequence=name, action=START), actor)

    def locked(self, name: str) -> None:
        """A sequence that does not start, of which the caller has got a good answer."""
        error = new("common.Error", code=LOCKED, message="sequence not started: locked")
        self.add(new("machine.SequenceEvent", sequence=name, action=NOOP, error=error))

    def task(self, name: str, actor: str = "") -> None:
        self.add(new("machine.TaskEvent", task=name), actor)

    def status(self, stage: str, ready: bool, unmet: list[tuple[str, str]]) -> None:
        """A MachineStatusEvent where the status is another than the last one."""
        conditions = [new("machine.UnmetCondition", name=name, reason=reason) for name, reason in unmet]
        status = new("machine.MachineStatus", ready=ready, unmet_conditions=conditions)
        event = new("machine.MachineStatusEvent", stage=STAGE_NUMBERS.get(stage, 0), status=status)
        if event != self._last_status:
            self._last_status = event
            self.add(event)
