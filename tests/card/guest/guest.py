# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine with USB sticks and an SD slot, in QEMU without hardware's help, whose cards come and go on request.

It runs from a stick, and sees the files of this machine, read-only, at their own paths.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import typing as t
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

from tests import talos_image

from ..conftest import MIB, ROOT, run, wait_for

CACHE = ROOT / ".cache" / "guest"
HERE = Path(__file__).parent
MODULES = ("card_info", "sd_card")
SYSTEM_SERIAL = "SYSTEM"
# For what hangs only: a guest without hardware's help on a busy machine is slow.
PATIENCE = 240.0

Json = dict[str, t.Any]


def missing_for_guests() -> str:
    """Why there are no guests for us; empty where there are."""
    with contextlib.suppress(FileNotFoundError):
        return (CACHE / "missing").read_text().strip()
    if not (CACHE / "stamp").exists():
        return "tests/card/guest/set-up has not run"
    return "" if shutil.which("qemu-system-x86_64") else "qemu-system-x86_64 is missing"


class Monitor:
    """QEMU's QMP."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._socket.settimeout(PATIENCE)
        self._file = self._socket.makefile("rw", encoding="utf-8")
        self._deleted: set[str] = set()
        json.loads(self._file.readline())
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: t.Any) -> t.Any:
        self._file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._file.flush()
        while True:
            told = self._told()
            if "return" in told:
                return told["return"]
            assert "error" not in told, f"{command} {arguments}: {told['error']['desc']}"

    def wait_until_deleted(self, device: str) -> None:
        while device not in self._deleted:
            self._told()

    def _told(self) -> Json:
        line = self._file.readline()
        assert line, "QEMU has ended"
        told: Json = json.loads(line)
        if told.get("event") == "DEVICE_DELETED":
            self._deleted.add(told["data"].get("device", ""))
        return told

    def close(self) -> None:
        self._file.close()
        self._socket.close()


class Guest:
    """A guest that has booted. Its cards are files, which are as large as they are then."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sticks: list[Stick] = []
        self._answers: dict[int, Future[Json]] = {0: Future()}
        self._numbers = itertools.count(1)
        self._names = itertools.count(1)
        self._process = subprocess.Popen(self._argv(), stdin=subprocess.DEVNULL, stderr=(folder / "qemu.log").open("w"))
        try:
            wait_for(lambda: (folder / "channel").exists() and (folder / "qmp").exists(), "QEMU", PATIENCE)
            self.monitor = Monitor(folder / "qmp")
            self._channel = socket.socket(socket.AF_UNIX)
            self._channel.connect(str(folder / "channel"))
            self._listener = threading.Thread(target=self._listen, daemon=True)
            self._listener.start()
            self._wait(self._answers[0])
        except BaseException:
            self.cut_power()
            raise

    def _argv(self) -> list[str]:
        folder = self.folder
        agent = f"/usr/bin/env PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={ROOT}:{ROOT}/collections"
        agent += f" {sys.executable} {HERE / 'agent.py'} {' '.join(MODULES)}"
        slot = folder / "empty-slot"
        with slot.open("wb") as file:
            file.truncate(MIB)
        options = {
            "machine": "q35,usb=off,vmport=off",
            "accel": "tcg,thread=multi",
            "cpu": "max",
            "smp": "2",
            "m": "768",
            "kernel": CACHE / "kernel",
            "initrd": CACHE / "initramfs",
            # A busy machine's timer is so uneven that the kernel's check of it would fail.
            "append": f'console=ttyS0 panic=-1 quiet mitigations=off no_timer_check agent="{agent}"',
            "serial": f"file:{folder / 'console.log'}",
            "qmp": f"unix:{folder / 'qmp'},server=on,wait=off",
            "virtfs": "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
        }
        argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        for name, value in options.items():
            argv += [f"-{name}", str(value)]
        for device in (
            "virtio-serial-pci",
            "virtserialport,chardev=channel,name=channel",
            "qemu-xhci,id=xhci",
            f"usb-storage,bus=xhci.0,drive=system,removable=on,serial={SYSTEM_SERIAL}",
            "sdhci-pci",
            "sd-card,id=slot,drive=empty-slot",
        ):
            argv += ["-device", device]
        argv += ["-chardev", f"socket,id=channel,path={folder / 'channel'},server=on,wait=off"]
        for name, file in (("system", system_disk(folder)), ("empty-slot", slot)):
            argv += ["-blockdev", f"driver=raw,node-name={name},file.driver=file,file.filename={file}"]
        return argv

    # --- what runs in it

    def begin(self, **request: t.Any) -> Future[Json]:
        number = next(self._numbers)
        future = self._answers[number] = Future()
        self._channel.sendall(json.dumps({"id": number, **request}).encode() + b"\n")
        return future

    def begin_module(self, name: str, **arguments: t.Any) -> Future[Json]:
        return self.begin(module=name, arguments=arguments)

    def module(self, name: str, **arguments: t.Any) -> Json:
        """What it returns."""
        return self.result(self.begin_module(name, **arguments))

    def result(self, future: Future[Json]) -> Json:
        told = self._wait(future)
        assert told["out"].strip(), told
        result: Json = json.loads(told["out"])
        return result

    def run(self, *command: str | Path) -> str:
        told = self._wait(self.begin(command=list(map(str, command))))
        assert told["rc"] == 0, told
        return str(told["out"]).strip()

    def cards(self) -> list[Json]:
        """What card_info tells of the sticks and cards, without the stick that the guest runs from."""
        return [card for card in self.module("card_info")["cards"] if SYSTEM_SERIAL not in card["identity"]]

    def devices(self, identity: str) -> set[str]:
        return {card["device"] for card in self.cards() if card["identity"] == identity}

    def _wait(self, future: Future[Json]) -> Json:
        try:
            return future.result(PATIENCE)
        except (TimeoutError, EOFError) as error:
            console = (self.folder / "console.log").read_text(errors="replace")[-2000:]
            raise AssertionError(f"the guest does not answer; its console:\n{console}") from error

    def _listen(self) -> None:
        with contextlib.suppress(OSError), self._channel.makefile("r", encoding="utf-8") as lines:
            for line in lines:
                told = json.loads(line)
                self._answers[told["id"]].set_result(told)
        for future in list(self._answers.values()):
            if not future.done():
                future.set_exception(EOFError("the guest has ended"))

    # --- its cards

    def plug(self, file: Path, serial: str, *, sector: int = 512, rate: int = 0) -> Stick:
        """A USB stick, which writes at most so many bytes a second."""
        name = f"stick{next(self._names)}"
        self._add_node(name, file, rate)
        stick: Json = {"id": name, "bus": "xhci.0", "serial": serial}
        if sector == 512:
            self.monitor.ask("device_add", driver="usb-storage", drive=name, removable=True, **stick)
        else:
            # The former knows no other sectors. This is the same in parts, which are put in as one.
            disk = {"bus": f"{name}.0", "drive": name, "removable": True, "logical_block_size": sector}
            self.monitor.ask("device_add", driver="usb-bot", **stick)
            self.monitor.ask("device_add", driver="scsi-hd", physical_block_size=sector, **disk)
            self.monitor.ask("qom-set", path=f"/machine/peripheral/{name}", property="attached", value=True)
        identity = f"usb:{serial}:0:{file.stat().st_size}"
        known = {stick.device for stick in self.sticks}
        wait_for(lambda: self.devices(identity) - known, f"{name} is seen", PATIENCE)
        self.sticks.append(Stick(self, name, file, identity, *(self.devices(identity) - known)))
        return self.sticks[-1]

    def insert(self, file: Path, *, rate: int = 0) -> Stick:
        """An SD card into the slot, instead of what is there."""
        for each in [each for each in self.sticks if each.in_slot]:
            each.unplug()
        self.empty_slot()
        name = f"card{next(self._names)}"
        self._add_node(name, file, rate)
        self.monitor.ask("blockdev-insert-medium", id="slot", **{"node-name": name})
        wait_for(self._in_slot, f"{name} is seen", PATIENCE)
        [card] = self._in_slot()
        self.sticks.append(Stick(self, name, file, card["identity"], card["device"], in_slot=True))
        return self.sticks[-1]

    def empty_slot(self) -> None:
        self.monitor.ask("blockdev-remove-medium", id="slot")
        wait_for(lambda: not self._in_slot(), "the slot is empty", PATIENCE)

    def _in_slot(self) -> list[Json]:
        return [card for card in self.cards() if card["bus"] == "mmc"]

    def _add_node(self, name: str, file: Path, rate: int) -> None:
        node: Json = {"driver": "raw", "file": {"driver": "file", "filename": str(file)}}
        if rate:
            limits = {"bps-write": rate, "bps-write-max": rate}
            group = {"qom-type": "throttle-group", "id": f"{name}-rate", "limits": limits}
            self.monitor.ask("object-add", **group)
            node = {"driver": "throttle", "throttle-group": f"{name}-rate", "file": node}
        self.monitor.ask("blockdev-add", **{"node-name": name}, **node)

    def unplug_all(self) -> None:
        for stick in [*self.sticks]:
            stick.unplug()

    # --- its end

    def cut_power(self) -> None:
        """As SIGKILL does it: whatever is on the way to a card is lost."""
        self._process.kill()
        self._process.wait(60)
        with contextlib.suppress(AttributeError):
            self.monitor.close()
            self._channel.close()
            self._listener.join(10)


class Stick:
    """A USB stick of a guest, or the SD card in its slot, and the file behind it."""

    def __init__(
        self, guest: Guest, name: str, file: Path, identity: str, device: str, *, in_slot: bool = False
    ) -> None:
        self.guest, self.name, self.file, self.in_slot = guest, name, file, in_slot
        self.identity, self.device = identity, device

    @property
    def told(self) -> Json:
        """By card_info."""
        return next(card for card in self.guest.cards() if card["device"] == self.device)

    @property
    def written(self) -> int:
        """Bytes that have come to the card since it was put in."""
        return 512 * int(self.guest.run("cat", f"/sys/block/{os.path.basename(self.device)}/stat").split()[6])

    def unplug(self) -> None:
        self.guest.sticks.remove(self)
        if self.in_slot:
            self.guest.empty_slot()
        else:
            self.guest.monitor.ask("device_del", id=self.name)
            self.guest.monitor.wait_until_deleted(self.name)
            wait_for(lambda: self.device not in self.guest.devices(self.identity), f"{self.name} is gone", PATIENCE)
        self.guest.monitor.ask("blockdev-del", **{"node-name": self.name})


@contextlib.contextmanager
def booted(folder: Path) -> Iterator[Guest]:
    folder.mkdir()
    guest = Guest(folder)
    try:
        yield guest
    finally:
        guest.cut_power()


def system_disk(folder: Path) -> Path:
    """A stick whose partition is the guest's root: empty folders to mount to, and the way to this machine's files."""
    root = folder / "root"
    for name in ("dev", "host", "proc", "run", "sys"):
        (root / name).mkdir(parents=True)
    for name in set(os.listdir("/")) - {*os.listdir(root), "lost+found"}:
        (root / name).symlink_to(f"host/{name}")
    file = folder / "system"
    partition = talos_image.Partition("ROOT", uuid.uuid4(), MIB, 14 * MIB)
    with file.open("wb") as out:
        out.truncate(16 * MIB)
    run("mke2fs", "-q", "-t", "ext4", "-d", root, "-E", f"offset={MIB}", file, f"{partition.size // 1024}k")
    with file.open("r+b") as out:
        talos_image.write_gpt(out, [partition], 16 * MIB)
    return file
