# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cards that go wrong, made by nbdkit: they fail, vanish, lie about their size, or forget. Needs root and nbdkit.

`tests/card/set-up` installs nbdkit; `make test` calls it.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import signal
import subprocess
import threading
import time
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ansible_collections.homelab.talos.plugins.module_utils._card_marker import Marker
from ansible_collections.homelab.talos.plugins.module_utils._card_writer import Counterfeit, NotAsWritten, Writing
from ansible_collections.homelab.talos.plugins.module_utils._cards import Card
from ansible_collections.homelab.talos.plugins.module_utils._direct_io import BLOCK, CardError
from ansible_collections.homelab.talos.plugins.module_utils._progress import LEASE_SECONDS
from tests.left_out import left_out
from tests.talos_image import Image

from .conftest import MIB, NODE, ROOT, Loop, Play, Workbench, require_good, wait_for

PLUGIN = Path(__file__).with_name("faulty_card.py")
SIZE = 48 * MIB


@dataclass
class Faulty:
    """Makes cards with faults."""

    bench: Workbench
    stack: contextlib.ExitStack
    servers: t.ClassVar[list[subprocess.Popen[bytes]]] = []

    def card(self, size: int = SIZE, **faults: t.Any) -> tuple[Loop, subprocess.Popen[bytes]]:
        """A card, and the process that is its reader."""
        number = len(self.bench.cards)
        file, mount, socket = (self.bench.folder / f"{name}-{number}" for name in ("disk", "mount", "socket"))
        with file.open("wb") as out:
            out.truncate(size)
        options = [f"{name}={value}" for name, value in {"file": file, **faults}.items()]
        server = self.start("nbdkit", "-f", "-U", socket, "python", PLUGIN, *options)
        wait_for(socket.exists, "nbdkit")
        mount.touch()
        fuse = self.start("nbdfuse", mount, "--unix", socket)
        self.stack.callback(subprocess.run, ["umount", "--lazy", str(mount)], check=False, capture_output=True)

        def is_mounted() -> bool:
            nonlocal fuse
            if fuse.poll() is not None:
                # The socket is there a moment before anybody listens.
                fuse = self.start("nbdfuse", mount, "--unix", socket)
            return mount.stat().st_size == size

        wait_for(is_mounted, "nbdfuse")
        # Past the cache of the file, which would hide what the card forgets.
        loop = self.bench.attach(mount, "--direct-io=on")
        return loop, server

    def start(self, *command: str | Path) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(list(map(str, command)))
        self.stack.callback(self.end, process)
        return process

    @staticmethod
    def end(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture
def faulty(bench: Workbench) -> Iterator[Faulty]:
    missing = [name for name in ("nbdkit", "nbdfuse") if not shutil.which(name)]
    if missing:
        left_out(f"{' and '.join(missing)} are missing (tests/card/set-up): no faulty card is written in this test")
    with contextlib.ExitStack() as stack:
        # The loop devices go before what is behind them.
        stack.callback(bench.close)
        yield Faulty(bench, stack)
        bench.close()


def require_failed(card: Card, kind: type[CardError], *said: str) -> None:
    assert isinstance(card.error, kind), card.error
    for text in (card.path, *said):
        assert text in str(card.error)


def test_a_good_card_of_this_kind(faulty: Faulty, image: Image) -> None:
    loop, _server = faulty.card()
    require_good(*faulty.bench.present(image.zst, loop))
    loop.require_image(image)
    assert not faulty.bench.present(image.zst, loop, full_check=True)[0].changed


@pytest.mark.parametrize("number", [1, 4, 12])
def test_a_write_that_fails_for_good(faulty: Faulty, image: Image, number: int) -> None:
    loop, _server = faulty.card(fail_write=number)
    [card] = faulty.bench.present(image.zst, loop)
    require_failed(card, CardError, "write at", "Input/output error", "defective")
    assert not loop.could_boot


@pytest.mark.parametrize("number", [1, 4, 12])
def test_a_write_that_fails_once_is_done_again(faulty: Faulty, image: Image, number: int) -> None:
    loop, _server = faulty.card(fail_write=number, fail_times=1)
    require_good(*faulty.bench.present(image.zst, loop))
    loop.require_image(image)


def test_a_card_that_is_full(faulty: Faulty, image: Image) -> None:
    loop, _server = faulty.card(fail_write=12, error="ENOSPC")
    [card] = faulty.bench.present(image.zst, loop)
    require_failed(card, CardError, "write at")
    assert not loop.could_boot


def test_a_card_that_vanishes(faulty: Faulty, image: Image) -> None:
    loop, server = faulty.card(stall_write=12, stall=600)
    other = faulty.bench.card()
    killer = threading.Timer(2, server.kill)
    killer.start()
    vanished, stays = faulty.bench.present(image.zst, loop, other)
    require_failed(vanished, CardError)
    require_good(stays)
    other.require_image(image)


def test_a_card_that_stalls(faulty: Faulty, image: Image) -> None:
    loop, _server = faulty.card(stall_write=12, stall=10)
    require_good(*faulty.bench.present(image.zst, loop))
    loop.require_image(image)


@pytest.mark.parametrize("wrap", [7 * MIB, 8 * MIB, 20 * MIB + 512 * 3, 32 * MIB, 33 * MIB - BLOCK])
@pytest.mark.parametrize("full", [True, False], ids=["full", "written"])
def test_a_counterfeit_card_that_wraps(faulty: Faulty, image: Image, wrap: int, full: bool) -> None:
    loop, _server = faulty.card(wrap=wrap)
    [card] = faulty.bench.present(image.zst, loop, read_zeros=full)
    if full or wrap < 10 * MIB:
        require_failed(card, Counterfeit, f"wraps at {wrap}", "counterfeit")
        assert not loop.could_boot


def test_a_counterfeit_card_whose_first_data_comes_late(
    faulty: Faulty, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zeros that were looked at before it would be found right, and not be looked at again."""
    write, begun = Writing._on_data, threading.Event()

    def late(self: Writing, *arguments: t.Any) -> None:
        if not begun.is_set():
            begun.set()
            time.sleep(2)
        write(self, *arguments)

    monkeypatch.setattr(Writing, "_on_data", late)
    loop, _server = faulty.card(wrap=20 * MIB + 512 * 3)
    [card] = faulty.bench.present(image.zst, loop)
    require_failed(card, Counterfeit, "wraps at")


def test_a_counterfeit_card_that_forgets(faulty: Faulty, image: Image) -> None:
    loop, _server = faulty.card(keep=3 * MIB)
    [card] = faulty.bench.present(image.zst, loop)
    # The first data behind what the card has.
    first = next(at for at in range(3 * MIB, SIZE) if image.content[at])
    require_failed(card, NotAsWritten, f"byte at {first} ")
    assert not loop.could_boot


@pytest.mark.parametrize("full", [True, False], ids=["full", "written"])
def test_a_bit_that_is_wrong(faulty: Faulty, image: Image, full: bool) -> None:
    place = image.geometry.partitions[2].first + 70_001
    loop, _server = faulty.card(flip=place)
    [card] = faulty.bench.present(image.zst, loop, read_zeros=full)
    require_failed(card, NotAsWritten, f"byte at {place} ", "1 bytes")
    assert not loop.could_boot


@pytest.mark.parametrize("place", [image_place * BLOCK for image_place in (0, 16, 17, 90)])
def test_a_write_that_is_lost(faulty: Faulty, image: Image, place: int) -> None:
    if not any(image.content[place : place + BLOCK]):
        place = image.geometry.partitions[2].first
    loop, _server = faulty.card(drop=place)
    [card] = faulty.bench.present(image.zst, loop)
    require_failed(card, NotAsWritten, f"at {place} " if place else "at 4", "read back")
    assert not loop.could_boot


def test_among_four_cards_one_that_fails(faulty: Faulty, image: Image) -> None:
    bad, _server = faulty.card(fail_write=9)
    good = [faulty.bench.card(fill=True) for _ in range(3)]
    cards = faulty.bench.present(image.xz, bad, *good)
    require_failed(cards[0], CardError, "write at")
    require_good(*cards[1:])
    for loop in good:
        loop.require_image(image)


# --- through Ansible, from a terminal


def test_the_progress_is_told_in_a_terminal(faulty: Faulty, image: Image) -> None:
    loop, _server = faulty.card(stall_write=9, stall=9)
    play = Play(faulty.bench.folder)
    task = {"image": str(image.zst), "cards": [{"device": loop.device, "identity": loop.identity, "node": NODE}]}
    with in_terminal(play, play.argv(("sd_card", task))) as (process, said):
        assert process.wait(200) == 0, said()
    assert re.search(rf"\[localhost\] {NODE} \({loop.device}\): 0\.0 GiB of 0\.0 GiB on the card, .* left", said())
    loop.require_image(image)


@pytest.mark.slow
def test_ctrl_c_on_the_controller_ends_the_writer(faulty: Faulty, image: Image) -> None:
    loop, _server = faulty.card(stall_write=9, stall=LEASE_SECONDS + 15)
    play = Play(faulty.bench.folder)
    task = {"image": str(image.zst), "cards": [{"device": loop.device, "identity": loop.identity, "node": NODE}]}
    with in_terminal(play, play.argv(("sd_card", task))) as (process, said):
        wait_for(lambda: "on the card" in said(), "the writer is at work")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0
        wait_for(lambda: is_free(loop), "the writer has ended", 200)
    assert not loop.could_boot
    assert loop.state().content == "unfinished"
    require_good(*faulty.bench.present(image.zst, loop, marker=Marker(cluster="home")))
    loop.require_image(image)


def is_free(loop: Loop) -> bool:
    try:
        os.close(os.open(loop.device, os.O_RDONLY | os.O_EXCL))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def in_terminal(play: Play, argv: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], t.Callable[[], str]]]:
    """A process with a terminal of its own, and what it said so far."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        argv, stdin=its, stdout=its, stderr=its, cwd=ROOT, env=play.environment, start_new_session=True
    )
    os.close(its)
    said = bytearray()

    def read() -> None:
        # EIO tells that nobody has the other side open any more.
        with contextlib.suppress(OSError):
            while content := os.read(ours, 4096):
                said.extend(content)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield process, lambda: said.decode(errors="replace")
    finally:
        process.kill()
        reader.join(10)
        os.close(ours)
