# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writers that are killed or told to stop: no card boots half-written, and the next run repairs it. Needs root."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import _progress
from ansible_collections.homelab.talos.plugins.module_utils._card_marker import Marker
from ansible_collections.homelab.talos.plugins.module_utils._cards import Cards, Rules
from ansible_collections.homelab.talos.plugins.module_utils._progress import Watch
from tests import talos_image
from tests.talos_image import Image

from .conftest import HEAD, MIB, ROOT, Loop, Workbench, detach, require_good, run, wait_for

WRITER = Path(__file__).with_name("killed_writer.py")
KILL_POINTS = [pytest.param(range(number, number + 1)) for number in range(20)]
MORE_KILL_POINTS = [pytest.param(range(first, first + 20), marks=pytest.mark.faults) for first in range(20, 220, 20)]


@pytest.mark.parametrize("points", [*KILL_POINTS, *MORE_KILL_POINTS], ids=lambda points: f"{points[0]}-{points[-1]}")
def test_a_killed_run_leaves_no_card_that_boots_and_the_next_one_repairs(
    bench: Workbench, image: Image, other_image: Image, points: range
) -> None:
    """By SIGKILL in the middle of one of its calls to the card, and by signals that it may answer."""
    for point in points:
        noise = random.Random(point)
        sign = noise.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
        # A card of the image's size has the copies of both their tables at its end.
        size = noise.choice([48 * MIB, image.geometry.size])
        content = other_image.content if noise.random() < 0.5 else b""
        loop = bench.card(size, fill=noise.random() < 0.5, content=content)
        if size > image.geometry.size and noise.random() < 0.5:
            talos_image.provision(loop.file, image.geometry)
            run("blockdev", "--flushbufs", loop.device)
        old = loop.content
        said = killed_at(image, loop, noise.randrange(0, 120), sign)
        now = loop.content
        # Until both tables are erased, all else is as it was: an old card's copy is that of an old card.
        begun = now[HEAD : image.geometry.size - HEAD] != old[HEAD : image.geometry.size - HEAD]
        if begun and loop.could_boot:
            # Killed in the last write, with the table on the card and the marker not.
            loop.require_image(image, marked=False)
        elif sign != signal.SIGKILL and now != old:
            assert f"stopped by {sign.name}" in said
            assert "has no boot block" in said
        [card] = bench.present(image.zst, loop, force=True)
        require_good(card)
        loop.require_image(image)
        detach(loop.device)
        bench.cards.remove(loop)
        loop.file.unlink()


def killed_at(image: Image, loop: Loop, call: int, sign: signal.Signals) -> str:
    """Run the writer in a process that kills itself at this call; what it said."""
    words = [str(image.zst), loop.device, loop.identity, loop.node, str(call), str(int(sign))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "collections")}
    done = subprocess.run(
        [sys.executable, WRITER, *words], capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize("how", ["lease", "removed"])
def test_a_controller_that_is_gone_stops_the_writer(bench: Workbench, image: Image, how: str) -> None:
    loop = bench.card()
    folder = bench.folder / "progress"
    folder.mkdir()
    lease = folder / _progress.LEASE
    lease.touch()
    with Watch(str(folder), lease_seconds=1.5) as watch:
        cards = Cards([loop.asked()], Rules(), watch)
        check, begun = watch.check, threading.Event()

        def slowly() -> None:
            """The first chunk waits until the watch has said that nobody asks any more."""
            begun.set()
            wait_for(lambda: watch.stopped, "the lease ends")
            check()

        watch.check = slowly  # type: ignore[method-assign]
        if how == "removed":
            threading.Thread(target=lambda: (begun.wait(), lease.unlink())).start()
        cards.present(str(image.zst), Marker(cluster="homelab"), False)
    said = {"lease": "the controller was not heard of", "removed": "stopped by the controller"}[how]
    assert said in str(cards.all[0].error)
    assert "has no boot block" in str(cards.all[0].error)
    assert not loop.could_boot
    assert folder.exists() == (how == "removed")
    require_good(*bench.present(image.zst, loop))
    loop.require_image(image)
