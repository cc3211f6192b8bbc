# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long work: what it tells, and what ends it."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from ansible_collections.homelab.talos.plugins.module_utils._progress import ENDED, LEASE, PROGRESS, Stopped, Watch
from ansible_collections.homelab.talos.plugins.plugin_utils._progress_action import gibibytes, pace


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


def test_in_words() -> None:
    assert gibibytes(2355101696) == "2.2 GiB"
    assert pace(0, 100, 5) == "not begun"
    assert pace(500 << 20, 2000 << 20, 10) == "50 MiB/s, 30 s left"
    assert pace(100 << 20, 2000 << 20, 10) == "10 MiB/s, 3 min left"
