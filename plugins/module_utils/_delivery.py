# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""How a config gets to a node, and how it is seen to have arrived."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

from . import _api as api
from . import _observation as observation
from ._api import MachineConfigs
from ._assessment import same
from ._errors import NotAuthorized, TalosError, Unavailable
from ._line import Line, away
from ._observation import observe
from ._terms import action
from ._waiting import StillWaiting

ANOTHER = (
    "the node answers with another config than it was sent: it came back with its previous one, or somebody else "
    "changed it"
)


class NotTaken(TalosError):
    """The node does not hold the config that it was sent."""

    remedy = "Look at the node's console for why it fell back, correct the config, and run again"


@dataclass(frozen=True)
class Goal:
    """Where a node must hold its config: on its disk, and at work too if ``active``."""

    config: bytes
    active: bool = True

    def reached(self, held: MachineConfigs) -> bool:
        return same(held.stored, self.config) and (not self.active or same(held.active, self.config))

    def near(self, held: MachineConfigs) -> bool:
        """It is on the disk, and the node has yet to begin with it."""
        return same(held.stored, self.config)


class Delivery:
    """Sends a config, and waits for it.

    ``sent``: when the last apply was (monotonic). ``rebooting``: whether the node said that it takes the config by a
    reboot; None where its answer was lost.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self.sent = 0.0
        self.rebooting: bool | None = None

    async def apply(self, config: bytes, mode: str) -> None:
        self._line.actions.append(action(mode))
        goal = Goal(config, active=mode != "staged")
        await self.deliver(lambda: self.send(config, mode), lambda: self.why_not(goal))
        self._line.actions[-1] = action(mode, rebooting=bool(self.rebooting))

    async def send(self, config: bytes, mode: str) -> TalosError | None:
        """The error where the answer was lost, so that only a look can tell. Waits for another apply to end."""
        return await self._line.call(lambda node: self.send_on(node, config, mode), "the node must take a config")

    async def send_on(self, node: api.Node, config: bytes, mode: str) -> None:
        self.sent, self.rebooting = time.monotonic(), None
        answer = await node.apply_configuration(config, mode=mode, try_seconds=self._line.terms.try_seconds)
        self.rebooting = answer.mode == "reboot"
        for each in answer.warnings:
            self._line.warn(each)

    async def deliver(
        self,
        send: t.Callable[[], t.Awaitable[TalosError | None]],
        why_not_there: t.Callable[[], t.Awaitable[str]],
    ) -> None:
        """Send, and once more where the answer was lost and the config is not there. Raises NotTaken."""
        lost = await send()
        why_not = await why_not_there()
        if why_not and lost is not None:
            lost = await send()
            why_not = await why_not_there()
        if why_not:
            unanswered = f", and it left two applies without an answer: {lost.cause}" if lost else ""
            raise NotTaken(why_not + unanswered, node=self._line.node.name)

    async def require_arrival(self, goal: Goal) -> None:
        why_not = await self.why_not(goal)
        if why_not:
            raise NotTaken(why_not, node=self._line.node.name)

    async def why_not(self, goal: Goal) -> str:
        """Wait until the node answers, by our PKI, with what it was sent: empty then, or why it did not take it."""
        started = time.monotonic()
        settled_since = 0.0

        async def look() -> str:
            nonlocal settled_since
            seen = await observe(self._line.endpoint, self._line.context)
            now = time.monotonic()
            if seen.configs is not None and goal.reached(seen.configs):
                return ""
            if seen.state == observation.UNREACHABLE:
                settled_since = 0.0
                self._require_transient(seen.error, now - started)
                raise away(seen)
            if seen.configs is not None and goal.near(seen.configs):
                settled_since = 0.0
                raise StillWaiting("the config is stored, and not active yet")
            settled_since = settled_since or now
            if now - settled_since < self._line.terms.settled_seconds:
                raise StillWaiting(f"the node is {seen.state}, without the config that it was sent")
            if seen.error is not None:
                raise seen.error
            if seen.state == observation.MAINTENANCE:
                observation.require_machine(self._line.endpoint, self._line.node.mac, seen.macs)
                return "the node is in maintenance, without the config that it was sent"
            return ANOTHER

        return await self._line.poll(look, self._line.terms.settle_seconds, "the node must answer with its new config")

    def _require_transient(self, error: TalosError | None, gone: float) -> None:
        if isinstance(error, (NotAuthorized, Unavailable)) and gone > self._line.terms.role_seconds:
            raise error
