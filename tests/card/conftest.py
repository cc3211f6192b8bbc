# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cards made of loop devices, for tests: each is detached whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import _card_marker as card_marker
from ansible_collections.homelab.talos.plugins.module_utils import _gpt as gpt
from ansible_collections.homelab.talos.plugins.module_utils._block_devices import Machine
from ansible_collections.homelab.talos.plugins.module_utils._card_marker import Marker
from ansible_collections.homelab.talos.plugins.module_utils._card_state import CardState, look
from ansible_collections.homelab.talos.plugins.module_utils._cards import Asked, Card, Cards, Rules
from ansible_collections.homelab.talos.plugins.module_utils._progress import Watch
from tests import talos_image
from tests.left_out import left_out

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024
HEAD = 64 * 1024
NODE = "talos-w1"


def missing_for_loops() -> str:
    """Why there are no loop devices for us; empty where there are."""
    if os.geteuid() != 0:
        return "loop devices need root"
    if not os.path.exists("/dev/loop-control") or not shutil.which("losetup"):
        return "this machine has no loop devices"
    return ""


def run(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.strip()


def attach(file: Path, *options: str) -> str:
    """The loop device. Others take free ones at the same time."""
    return run("losetup", "--find", "--show", *options, file)


def detach(device: str) -> None:
    subprocess.run(["losetup", "--detach", device], check=False, timeout=60)


@dataclass
class Loop:
    """A card: a loop device and the file behind it."""

    device: str
    file: Path
    node: str = NODE

    @property
    def identity(self) -> str:
        return f"loop:{self.file}"

    def asked(self, **other: t.Any) -> Asked:
        return Asked(**{"device": self.device, "identity": self.identity, "node": self.node, **other})

    @property
    def content(self) -> bytes:
        """Past all caches, as another machine would read it."""
        descriptor = os.open(self.device, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            size = os.lseek(descriptor, 0, os.SEEK_END)
            return os.pread(descriptor, size, 0)
        finally:
            os.close(descriptor)

    def put(self, offset: int, content: bytes) -> None:
        with open(self.device, "r+b", buffering=0) as file:
            file.seek(offset)
            file.write(content)
            os.fsync(file.fileno())

    @property
    def sectors_written(self) -> int:
        return int(Path(f"/sys/block/{os.path.basename(self.device)}/stat").read_text().split()[6])

    def state(self, sha256: str = "") -> CardState:
        return look(Machine().find(self.device, self.identity), sha256)

    @property
    def could_boot(self) -> bool:
        return could_boot(self.content)

    def require_image(self, image: talos_image.Image, *, marked: bool = True) -> None:
        require_image(self.content, image, marked=marked)


def could_boot(content: bytes) -> bool:
    """A boot sector or a partition table, also the copy of one, which U-Boot would take."""
    return bool(
        content[510:512] == b"\x55\xaa" or gpt.primary(content[:HEAD]) or gpt.backup(content[-HEAD:], len(content))
    )


def require_image(content: bytes, image: talos_image.Image, *, marked: bool = True) -> None:
    """Every byte of the image, except for the marker in the gap."""
    seen, raw = content[: len(image.content)], image.content
    begin, end = card_marker.OFFSET, card_marker.OFFSET + card_marker.SIZE
    assert seen[:begin] == raw[:begin]
    assert seen[end:] == raw[end:]
    if marked:
        marker = card_marker.find(seen[:HEAD])
        assert marker is not None
        assert marker.finished


@dataclass
class Workbench:
    """Makes cards, and works on them in this process."""

    folder: Path
    cards: list[Loop] = field(default_factory=list)

    def card(self, size: int = 48 * MIB, *options: str, content: bytes = b"", fill: bool = False) -> Loop:
        """``fill``: with random bytes all over."""
        file = self.folder / f"card-{len(self.cards)}"
        with file.open("wb") as out:
            if fill:
                out.write(os.urandom(size))
                out.seek(0)
            out.write(content)
            out.truncate(size)
        return self.attach(file, *options)

    def attach(self, file: Path, *options: str) -> Loop:
        loop = Loop(attach(file, *options), file)
        self.cards.append(loop)
        return loop

    def present(
        self, image: Path, *cards: Loop | Asked, marker: Marker | None = None, check_mode: bool = False, **rules: t.Any
    ) -> list[Card]:
        with Watch() as watch:
            work = Cards([card.asked() if isinstance(card, Loop) else card for card in cards], Rules(**rules), watch)
            work.present(str(image), marker or Marker(cluster="homelab"), check_mode)
        return work.all

    def absent(self, card: Loop, *, everything: bool = False, check_mode: bool = False, **rules: t.Any) -> Card:
        with Watch() as watch:
            work = Cards([card.asked()], Rules(**rules), watch)
            work.absent(everything, check_mode, "homelab")
        return work.all[0]

    def close(self) -> None:
        while self.cards:
            detach(self.cards.pop().device)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    reason = missing_for_loops()
    if reason:
        left_out(f"{reason}: no card is written in this test")
    bench = Workbench(tmp_path)
    try:
        yield bench
    finally:
        bench.close()


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> talos_image.Image:
    return talos_image.Image.make(tmp_path_factory.mktemp("image"), talos_image.SMALL)


@pytest.fixture(scope="session")
def other_image(tmp_path_factory: pytest.TempPathFactory) -> talos_image.Image:
    return talos_image.Image.make(tmp_path_factory.mktemp("other"), talos_image.SMALL, seed=2)


def require_good(*cards: Card) -> None:
    for card in cards:
        assert card.error is None, card.error


def wait_for(condition: t.Callable[[], object], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.05)


@contextlib.contextmanager
def mounted(device: str, folder: Path) -> Iterator[Path]:
    folder.mkdir()
    run("mount", device, folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=False, capture_output=True, timeout=60)


class Play:
    """Small playbooks on this machine, in a home of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rc, self.output = 0, ""
        self.results: list[dict[str, t.Any]] = []
        bin_folder = Path(sys.executable).parent
        self.environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_FORCE_COLOR": "0",
            "HOME": str(folder / "home"),
            "LC_ALL": "C.UTF-8",
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        }
        (folder / "home").mkdir()

    def argv(self, *words: t.Any) -> list[str]:
        tasks: list[dict[str, t.Any]] = []
        for number, (module, arguments) in enumerate(word for word in words if isinstance(word, tuple)):
            if module == "sd_card":
                arguments = {"version": "1.14.2", "cluster": "home", **arguments}
            tasks.append({f"homelab.talos.{module}": arguments, "register": f"r{number}"})
        names = [task["register"] for task in tasks]
        content = "{{ [" + ", ".join(names) + "] | to_json }}"
        tasks.append(
            {"ansible.builtin.copy": {"dest": str(self.folder / "results"), "content": content}, "changed_when": False}
        )
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
        (self.folder / "play.yml").write_text(json.dumps([play]))
        options = [word for word in words if isinstance(word, str)]
        python = f"ansible_python_interpreter={sys.executable}"
        return ["ansible-playbook", "-i", "localhost,", "-e", python, *options, str(self.folder / "play.yml")]

    def run(self, *words: t.Any) -> Play:
        """Tasks as module and arguments, and options of ansible-playbook."""
        done = subprocess.run(
            self.argv(*words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env=self.environment,
            timeout=200,
            check=False,
        )
        self.rc, self.output = done.returncode, done.stdout
        results = self.folder / "results"
        self.results = json.loads(results.read_text()) if results.exists() else []
        return self
