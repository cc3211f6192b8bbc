# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long work: what it tells, and what ends it."""

from __future__ import annotations

import json
import os
import signal
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure

from ansible_collections.homelab.talos.plugins.module_utils._progress import (
    ALIVE,
    ENDED,
    LEASE,
    PROGRESS,
    Stopped,
    Watch,
)
from ansible_collections.homelab.talos.plugins.plugin_utils import _progress_action
from ansible_collections.homelab.talos.plugins.plugin_utils._progress_action import ProgressAction, gibibytes, pace


def stopped_within(watch: Watch, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not watch.stopped:
        time.sleep(0.02)
    return watch.stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_work_and_nothing_else(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Watch() as watch:
        watch.check()
        os.kill(os.getpid(), number)
        with pytest.raises(Stopped, match=f"stopped by {number.name}"):
            watch.check()
    assert signal.getsignal(number) == before


def test_a_lease_that_is_not_renewed_ends_the_work_and_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    lease = folder / LEASE
    lease.touch()
    with Watch(str(folder), lease_seconds=2) as watch:
        for number in range(8):
            # Any time of any clock will do.
            os.utime(lease, (number, number))
            assert not stopped_within(watch, 0.5)
        assert stopped_within(watch, 30)
        with pytest.raises(Stopped, match="the controller was not heard of for 2 s"):
            watch.check()
    assert not folder.exists()


def test_a_lease_that_is_taken_away_ends_the_work_at_once(tmp_path: Path) -> None:
    (tmp_path / LEASE).touch()
    with Watch(str(tmp_path)) as watch:
        (tmp_path / LEASE).unlink()
        assert stopped_within(watch, 15)
        with pytest.raises(Stopped, match="stopped by the controller"):
            watch.check()


def test_what_is_told(tmp_path: Path) -> None:
    (tmp_path / LEASE).touch()
    with Watch(str(tmp_path)) as watch:
        watch.tell(lambda: {"done": 1})
        # Not at every turn.
        watch.tell(lambda: {"done": 2})
        assert json.loads((tmp_path / PROGRESS).read_text()) == {"done": 1}
        assert not (tmp_path / ENDED).exists()
    assert (tmp_path / ENDED).read_text() == f"{ENDED}\n"
    with Watch() as silent:
        silent.tell(lambda: pytest.fail("nobody reads it"))


def test_work_shows_that_it_goes_on_though_it_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / LEASE).touch()
    seen = set()
    with Watch(str(tmp_path)):
        end = time.monotonic() + 60
        while len(seen) < 2 and time.monotonic() < end:
            time.sleep(0.05)
            if (tmp_path / ALIVE).exists():
                seen.add((tmp_path / ALIVE).read_text())
    assert len(seen) == 2
    assert all(text.startswith(f"{ALIVE} ") for text in seen)


# --- the controller's side, with a clock that runs by its pauses


class Downloading(ProgressAction):
    module_name = "homelab.talos.image"

    def describe(self, progress: dict[str, t.Any]) -> list[str]:
        return []


@dataclass
class Host:
    """Answers what the shell prints and what async_status says, by the seconds since the begin."""

    files: t.Callable[[float], str]
    result: t.Callable[[float], dict[str, t.Any]]
    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert self.now < 1000, "it waits for ever"
        self.now += seconds

    def wait(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, t.Any]:
        action: t.Any = object.__new__(Downloading)
        action._task_vars = action._variables = {"inventory_hostname": "admin"}
        action._shell = lambda _command: self.files(self.now)
        action._execute_module = lambda **_arguments: dict(self.result(self.now))
        monkeypatch.setattr(_progress_action, "time", self)
        result: dict[str, t.Any] = action._wait("/tmp/folder", "/home/me/.ansible_async/j1")
        return result


RUNNING: dict[str, t.Any] = {"started": 1, "finished": 0}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ("gone\n", "the folder of its progress is gone"),
        ("", "there was no sign of life"),
        (f"{ALIVE} 7\n", "there was no sign of life"),
        (f"{ALIVE} 7\n{ENDED}\n", "there was no sign of life"),
    ],
)
def test_a_module_that_was_killed_with_its_wrapper_is_given_up(
    monkeypatch: pytest.MonkeyPatch, files: str, said: str
) -> None:
    host = Host(lambda _now: files, lambda _now: RUNNING)
    with pytest.raises(AnsibleActionFail, match=f"homelab.talos.image left no result, and {said} for 60 s.*on admin"):
        host.wait(monkeypatch)
    assert host.now > 60


def test_a_module_that_tells_nothing_for_long_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def result(now: float) -> dict[str, t.Any]:
        return {**RUNNING, "finished": 1, "path": "/image"} if now > 700 else RUNNING

    assert Host(lambda now: f"{ALIVE} {now}\n", result).wait(monkeypatch) == {"path": "/image"}


def test_a_line_that_breaks_while_the_result_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    breaks = [AnsibleConnectionFailure("broken"), AnsibleConnectionFailure("broken")]

    def result(_now: float) -> dict[str, t.Any]:
        if breaks:
            raise breaks.pop()
        return {**RUNNING, "finished": 1, "path": "/image"}

    assert Host(lambda _now: f"{ENDED}\n", result).wait(monkeypatch) == {"path": "/image"}


def test_an_answer_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(lambda _now: f"{ENDED}\n", lambda _now: {"failed": True, "msg": "no Python"})
    with pytest.raises(AnsibleActionFail, match=r"what became of homelab\.talos\.image .*: no Python"):
        host.wait(monkeypatch)


def test_in_words() -> None:
    assert gibibytes(2355101696) == "2.2 GiB"
    assert pace(0, 100, 5) == "not begun"
    assert pace(500 << 20, 2000 << 20, 10) == "50 MiB/s, 30 s left"
    assert pace(100 << 20, 2000 << 20, 10) == "10 MiB/s, 3 min left"
