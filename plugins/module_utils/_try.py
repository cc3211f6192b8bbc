# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""A config that is tried: kept where the node bears it, else seen rolled back."""

from __future__ import annotations

import asyncio
import time

from ._api import connect
from ._assessment import same
from ._delivery import ANOTHER, Delivery, Goal, NotTaken
from ._line import PASSING, Line, away
from ._observation import observe
from ._terms import action
from ._waiting import StillWaiting, WaitedTooLong, poll

# Parts of a try: no proof before this one is over, for so long without a gap, and none after that one.
_EARLIEST_PROOF, _STEADY, _LATEST_PROOF = 1 / 2, 1 / 3, 4 / 5


async def require_no_earlier_try(line: Line) -> None:
    """Wait until a try of a run that was killed, or of somebody else, has rolled back. Raises WaitedTooLong.

    Talos ends its rollback with the next apply, and a try goes back to what is active then: to the tried config.
    """
    # The earlier one may have had more time than this one has.
    window = max(line.terms.try_seconds, line.terms.settle_seconds) + line.terms.settled_seconds
    tried = b""
    since = 0.0

    async def look() -> None:
        nonlocal tried, since
        seen = await observe(line.endpoint, line.context)
        if seen.configs is None:
            tried = b""
            raise away(seen)
        if not seen.configs.tried:
            return
        now = time.monotonic()
        if seen.configs.active != tried:
            tried, since = seen.configs.active, now
        # What stays for longer was left active for good, and the node has borne it for longer than a try asks for.
        if now - since < window:
            raise StillWaiting("it is still active, and not stored")

    await line.poll(look, window + line.terms.settle_seconds, "a config that was tried before must roll back")


class Try:
    """One config on one node."""

    def __init__(self, line: Line, config: bytes) -> None:
        self._line = line
        self._delivery = Delivery(line)
        self._config = config

    async def run(self) -> None:
        """Apply, see that the node bears it, apply for good before the rollback; else see it rolled back, and fail."""
        self._line.actions.append(action("try"))
        try:
            await self._delivery.deliver(lambda: self._delivery.send(self._config, "try"), self._why_not_proven)
        except WaitedTooLong as error:
            await self._rolled_back()
            raise self._not_kept(f"with the tried config the node did not answer steadily ({error.cause})") from error
        self._line.actions.append(action("no-reboot"))
        await self._keep()
        why_not = await self._delivery.why_not(Goal(self._config))
        if why_not:
            raise self._not_kept(f"the tried config could not be applied for good in time ({why_not})")

    def _not_kept(self, why: str) -> NotTaken:
        remedy = "The node has its previous config: correct the change and run again"
        return NotTaken(f"{why}, and it rolled back", node=self._line.node.name, remedy=remedy)

    async def _why_not_proven(self) -> str:
        """Wait until the node has answered steadily with the tried config. Raises WaitedTooLong.

        An answer right after the apply proves nothing: links and addresses change a while later.
        """
        window = self._line.terms.try_seconds
        steady_since = other_since = 0.0

        async def look() -> str:
            nonlocal steady_since, other_since
            seen = await observe(self._line.endpoint, self._line.context)
            now = time.monotonic()
            tried = seen.configs is not None and same(seen.configs.active, self._config)
            steady_since = (steady_since or now) if tried else 0.0
            other_since = (other_since or now) if seen.configs is not None and not tried else 0.0
            if other_since and now - other_since >= self._line.terms.settled_seconds:
                return ANOTHER
            if other_since:
                raise StillWaiting("it answers with another config")
            if not tried:
                raise away(seen)
            if now < self._delivery.sent + window * _EARLIEST_PROOF or now - steady_since < window * _STEADY:
                raise StillWaiting("it answers, but not for long enough to trust it")
            return ""

        return await poll(
            look,
            seconds=max(0.0, self._delivery.sent + window * _LATEST_PROOF - time.monotonic()),
            what="the node must answer steadily with the tried config",
            node=self._line.node.name,
            longest_pause=min(2.0, window / 10),
        )

    async def _keep(self) -> None:
        """Apply the tried config for good while it is tried. Returns once it was, or else once the try is over.

        Nothing is sent later: it would store what has just been rolled back.
        """
        ends = self._delivery.sent + self._line.terms.try_seconds

        async def keep() -> None:
            async with connect(self._line.endpoint, self._line.context) as node:
                if same((await node.machine_configs()).active, self._config):
                    for each in (await node.apply_configuration(self._config, mode="no-reboot")).warnings:
                        self._line.warn(each)

        async def look() -> None:
            left = ends - time.monotonic()
            if left <= 0:
                await asyncio.sleep(self._line.terms.settled_seconds)
                return
            try:
                await asyncio.wait_for(keep(), left)
            except (*PASSING, asyncio.TimeoutError, TimeoutError) as error:
                raise StillWaiting(str(error)) from error

        await self._line.poll(
            look, self._line.terms.try_seconds + self._line.terms.settled_seconds, "the tried config must be kept"
        )

    async def _rolled_back(self) -> None:
        async def look() -> None:
            seen = await observe(self._line.endpoint, self._line.context)
            if seen.configs is None:
                raise away(seen)
            if same(seen.configs.active, self._config):
                raise StillWaiting("the tried config is still active")

        await self._line.poll(
            look, self._line.terms.try_seconds + self._line.terms.settle_seconds, "the try must roll back"
        )
