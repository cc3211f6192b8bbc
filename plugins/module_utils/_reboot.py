# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""A reboot that is seen to have happened."""

from __future__ import annotations

import time

from . import _api as api
from ._api import connect
from ._delivery import NotTaken
from ._errors import NotAuthorized, TalosError, UnknownAuthority
from ._line import PASSING, Line
from ._waiting import StillWaiting

_GOING_DOWN = ("rebooting", "shutting down")


async def reboot(line: Line) -> None:
    """Have the node in its next boot; call once more where the answer was lost and it stays up."""
    line.actions.append("reboot")
    before = await line.ask(api.Node.boot_id)
    lost = await line.call(api.Node.reboot, "the node must take a reboot")
    if await _boots(line, before, lost):
        return
    lost = await line.call(api.Node.reboot, "the node must take a reboot")
    if not await _boots(line, before, lost):
        unanswered = f", and left two calls without an answer: {lost.cause}" if lost else ""
        raise NotTaken(f"the node does not reboot{unanswered}", node=line.node.name)


async def _boots(line: Line, before: str, lost: TalosError | None) -> bool:
    """Wait until the boot ID is another than before. False where the call was lost, and nothing comes of it."""
    idle_since = 0.0

    async def look() -> bool:
        nonlocal idle_since
        try:
            async with connect(line.endpoint, line.context) as node:
                boot_id, stage = await node.boot_id(), (await node.machine_status()).stage
        except UnknownAuthority:
            # Not what it was before; whoever looks for the config tells what it is now.
            return True
        except (*PASSING, NotAuthorized) as error:
            idle_since = 0.0
            raise StillWaiting(error) from error
        if boot_id != before:
            return True
        now = time.monotonic()
        idle_since = 0.0 if stage in _GOING_DOWN else idle_since or now
        if lost is not None and idle_since and now - idle_since >= line.terms.settled_seconds:
            return False
        raise StillWaiting(f"it is still in its boot of before, in stage {stage}")

    return await line.poll(look, line.terms.settle_seconds, "the node must come back from its reboot")
