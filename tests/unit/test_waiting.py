# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import _waiting
from ansible_collections.homelab.talos.plugins.module_utils._errors import NotFound, Unreachable
from ansible_collections.homelab.talos.plugins.module_utils._waiting import StillWaiting, WaitedTooLong, poll


def test_it_ends_with_what_the_look_found() -> None:
    missing = ["b", "a"]

    async def look() -> str:
        if missing:
            raise StillWaiting(missing.pop())
        return "all"

    assert asyncio.run(poll(look, seconds=5, what="x", first_pause=0.01)) == "all"
    assert missing == []


def test_an_error_of_the_look_ends_it_at_once() -> None:
    async def look() -> None:
        raise NotFound("gone")

    with pytest.raises(NotFound):
        asyncio.run(poll(look, seconds=5, what="x"))


def test_too_long_says_what_was_missing_at_last() -> None:
    async def look() -> None:
        raise StillWaiting("etcd")

    with pytest.raises(WaitedTooLong, match=r"talos-w1: it must be: not within 0 s, still missing: etcd\. Look at"):
        asyncio.run(poll(look, seconds=0.05, what="it must be", node="talos-w1", first_pause=0.01))


def test_too_long_takes_command_and_remedy_from_the_error_in_the_way() -> None:
    async def look() -> None:
        raise StillWaiting(Unreachable("refused", node="talos-w1", command="talosctl version"))

    with pytest.raises(WaitedTooLong) as caught:
        asyncio.run(poll(look, seconds=0.05, what="it must answer", first_pause=0.01))
    assert caught.value.as_failure() == {
        "kind": "WaitedTooLong",
        "node": "talos-w1",
        "command": "talosctl version",
        "cause": "it must answer: not within 0 s: refused",
        "remedy": Unreachable.remedy,
    }


class Clock:
    """Runs by the pauses alone."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_waiting, "time", clock)
    monkeypatch.setattr(_waiting, "asyncio", clock)
    return clock


def test_the_last_look_is_at_the_end_of_the_time(clock: Clock) -> None:
    """A pause longer than what is left must not cut it off."""

    async def look() -> float:
        if not clock.now:
            raise StillWaiting("time")
        return clock.now

    assert asyncio.run(poll(look, seconds=0.3, what="x", first_pause=5)) == 0.3


def test_it_looks_less_and_less_often_and_ends_in_time(clock: Clock) -> None:
    looks = []

    async def look() -> None:
        looks.append(clock.now)
        raise StillWaiting("for ever")

    with pytest.raises(WaitedTooLong):
        asyncio.run(poll(look, seconds=12, what="x", first_pause=1, longest_pause=4))
    assert looks == [0, 1, 2.5, 4.75, 8.125, 12]
