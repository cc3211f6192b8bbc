# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Polling with a deadline, and what is still missing at each look."""

from __future__ import annotations

import asyncio
import time
import typing as t

from ._errors import TalosError

T = t.TypeVar("T")


class StillWaiting(Exception):
    """Raised by a look that did not find it yet; says what is missing, or which error is in the way."""

    def __init__(self, missing: str | TalosError) -> None:
        super().__init__(missing.cause if isinstance(missing, TalosError) else missing)
        self.error = missing if isinstance(missing, TalosError) else None


class WaitedTooLong(TalosError):
    """The deadline passed; the cause says what was still missing."""

    remedy = "Look at the node's console; run again when it has settled, or give it more time"


async def poll(
    look: t.Callable[[], t.Awaitable[T]],
    *,
    seconds: float,
    what: str,
    node: str = "",
    first_pause: float = 0.2,
    longest_pause: float = 2.0,
) -> T:
    """Look until it does not raise StillWaiting. Raises WaitedTooLong after ``seconds``, and what ``look`` raises.

    The last look begins when the time is over, so a short absence that ends within it is never missed.
    """
    started = time.monotonic()
    pause = first_pause
    while True:
        is_last = time.monotonic() - started >= seconds
        try:
            return await look()
        except StillWaiting as missing:
            if is_last:
                raise _waited_too_long(missing, f"{what}: not within {seconds:.0f} s", node) from None
        await asyncio.sleep(max(0.0, min(pause, started + seconds - time.monotonic())))
        pause = min(pause * 1.5, longest_pause)


def _waited_too_long(missing: StillWaiting, what: str, node: str) -> WaitedTooLong:
    """With the command and the remedy of the error that was in the way."""
    error = missing.error
    if error is None:
        return WaitedTooLong(f"{what}, still missing: {missing}", node=node)
    return WaitedTooLong(f"{what}: {missing}", node=node or error.node, command=error.command, remedy=error.remedy)
