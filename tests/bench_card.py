# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a card takes, beside `zstdcat IMAGE | dd bs=4M oflag=direct conv=fsync` in the same run.

`make bench-card` prints one table: seconds of whole processes and their ratio to that command, medians of BENCH_RUNS
(5) runs in turn. A card is a loop device in memory, slowed down to 60 MiB/s of writing and 120 MiB/s of reading by a
cgroup, as an SD card is; the last rows are without that. Memory is the peak above that of card_info. Needs root,
zstd, and 8 GiB of free memory. Quote the ratios, since machines differ.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import talos_image

ROOT = Path(__file__).parents[1]
RUNS = int(os.environ.get("BENCH_RUNS", "5"))
MIB = 1024 * 1024
WRITE, READ = 60 * MIB, 120 * MIB
MODULES = "ansible_collections.homelab.talos.plugins.modules"
REFERENCE = "zstdcat | dd"


@dataclass(frozen=True)
class Cost:
    """Seconds, and the peak of memory in MiB."""

    wall: float
    peak: float


@dataclass(frozen=True)
class Card:
    device: str
    file: Path

    def renew(self) -> None:
        """Nothing is on it any more."""
        os.truncate(self.file, 0)
        os.truncate(self.file, 3 << 30)
        subprocess.run(["blockdev", "--flushbufs", self.device], check=True)


class Throttle:
    """A cgroup whose processes see slow cards."""

    def __init__(self, devices: list[str]) -> None:
        first = Path("/sys/fs/cgroup/blkio")
        self._folder = (first if first.is_dir() else Path("/sys/fs/cgroup")) / f"bench-card-{os.getpid()}"
        self._folder.mkdir()
        for device in devices:
            number = Path(f"/sys/block/{os.path.basename(device)}/dev").read_text().strip()
            if first.is_dir():
                (self._folder / "blkio.throttle.write_bps_device").write_text(f"{number} {WRITE}")
                (self._folder / "blkio.throttle.read_bps_device").write_text(f"{number} {READ}")
            else:
                (self._folder / "io.max").write_text(f"{number} rbps={READ} wbps={WRITE}")

    def wrap(self, command: list[str]) -> list[str]:
        return ["sh", "-c", f'echo $$ > {self._folder}/cgroup.procs; exec "$@"', "sh", *command]

    def close(self) -> None:
        self._folder.rmdir()


class Bench:
    """Cards, the image, and what is done with them."""

    def __init__(self, folder: Path, cards: list[Card]) -> None:
        self.folder = folder
        self.cards = cards
        raw = talos_image.write_image(folder / "metal-arm64.raw")
        self.zst, self.xz = talos_image.compress_zst(raw), talos_image.compress_xz(raw)
        raw.unlink()
        self.sha256 = subprocess.run(["sha256sum", self.zst], capture_output=True, text=True, check=True).stdout[:64]
        self.throttle: Throttle | None = None

    def measure(self, command: list[str]) -> Cost:
        """Run to the end. Exits where the command fails: a figure of a failure is none."""
        log = self.folder / "log"
        argv = self.throttle.wrap(command) if self.throttle else command
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "collections")}
        started = time.monotonic()
        with log.open("w") as file:
            process = subprocess.Popen(argv, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, env=environment)
            _pid, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        if status != 0:
            sys.exit(f"{shlex.join(command)} failed:\n{log.read_text()[-3000:]}")
        return Cost(wall, used.ru_maxrss / 1024)

    def module(self, name: str, **arguments: t.Any) -> Cost:
        path = self.folder / "arguments.json"
        path.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
        return self.measure([sys.executable, "-m", f"{MODULES}.{name}", str(path)])

    def write(self, cards: int = 1, *, image: Path | None = None, renew: bool = True, **options: t.Any) -> Cost:
        chosen = self.cards[:cards]
        for card in chosen if renew else ():
            card.renew()
        named = [{"device": card.device, "identity": f"loop:{card.file}", "node": "bench"} for card in chosen]
        return self.module("sd_card", cards=named, image=str(image or self.zst), **options)

    def reference(self) -> Cost:
        self.cards[0].renew()
        into = f"dd of={self.cards[0].device} bs=4M oflag=direct iflag=fullblock conv=fsync status=none"
        return self.measure(["bash", "-c", f"set -o pipefail; zstdcat {self.zst} | {into}"])

    def bmaptool(self) -> Cost:
        self.cards[0].renew()
        return self.measure(["bmaptool", "copy", "--nobmap", str(self.zst), self.cards[0].device])

    def rows(self) -> dict[str, t.Callable[[], Cost]]:
        """What is compared, in the order in which it is done: some need what the one before left."""
        rows: dict[str, t.Callable[[], Cost]] = {REFERENCE: self.reference}
        if shutil.which("bmaptool"):
            rows["bmaptool --nobmap (checks nothing)"] = self.bmaptool
        rows["without reading zeros"] = lambda: self.write(verify="written")
        rows["every byte verified, xz"] = lambda: self.write(image=self.xz)
        rows["every byte verified"] = self.write
        rows["again, full check"] = lambda: self.write(renew=False, full_check=True, sha256=self.sha256)
        rows["again"] = lambda: self.write(renew=False, sha256=self.sha256)
        rows["four cards at once"] = lambda: self.write(4)
        return rows

    def compare(self, title: str, names: t.Callable[[str], bool] = lambda name: True) -> None:
        rows = {name: row for name, row in self.rows().items() if names(name)}
        costs: dict[str, list[Cost]] = {name: [] for name in rows}
        idle = self.module("card_info").peak
        for _ in range(RUNS):
            for name, row in rows.items():
                costs[name].append(row())
        base = statistics.median(cost.wall for cost in costs[REFERENCE])
        for name, measured in costs.items():
            wall = statistics.median(cost.wall for cost in measured)
            peak = max(cost.peak for cost in measured) - idle
            ours = name != REFERENCE and "bmaptool" not in name
            print(f"{title:10} {name:36} {wall:8.2f} {wall / base:8.3f} {f'{peak:8.0f}' if ours else '':8}", flush=True)


@contextlib.contextmanager
def made_cards(folder: Path, count: int) -> Iterator[list[Card]]:
    cards = []
    try:
        for number in range(count):
            file = folder / f"card-{number}"
            file.touch()
            os.truncate(file, 3 << 30)
            attached = subprocess.run(
                ["losetup", "--find", "--show", file], capture_output=True, text=True, check=True
            ).stdout.strip()
            cards.append(Card(attached, file))
        yield cards
    finally:
        for card in cards:
            subprocess.run(["losetup", "--detach", card.device], check=False)


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("loop devices and cgroups need root: sudo make bench-card")
    with tempfile.TemporaryDirectory(prefix="bench-card-", dir="/dev/shm") as name, made_cards(Path(name), 4) as cards:
        bench = Bench(Path(name), cards)
        print(f"{'':10} {'':36} {'s':>8} {'ratio':>8} {'MiB':>8}")
        bench.throttle = Throttle([card.device for card in cards])
        try:
            bench.compare("like a card")
        finally:
            bench.throttle.close()
        bench.throttle = None
        bench.compare("in memory", lambda name: name in (REFERENCE, "every byte verified"))


if __name__ == "__main__":
    main()
