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

# Told the seconds gone and what is still missing.
Progress = t.Callable[[float, str], None]


class StillWaiting(Exception):
    """Raised by a look that did not find it yet; says what is missing."""


class WaitedTooLong(TalosError):
    """The deadline passed; the cause says what was still missing."""

    remedy = "Look at the node's console; run again when it has settled, or give it more time"


async def poll(
    look: t.Callable[[], t.Awaitable[T]],
    *,
    seconds: float,
    what: str,
    node: str = "",
    progress: Progress | None = None,
    first_pause: float = 0.2,
    longest_pause: float = 2.0,
) -> T:
    """Look until it does not raise StillWaiting. Raises WaitedTooLong after ``seconds``, and what ``look`` raises."""
    started = time.monotonic()
    pause = first_pause
    while True:
        try:
            return await look()
        except StillWaiting as missing:
            gone = time.monotonic() - started
            if gone + pause > seconds:
                raise WaitedTooLong(f"{what}: not within {seconds:g} s, still missing: {missing}", node=node) from None
            if progress is not None:
                progress(gone, str(missing))
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, longest_pause)
