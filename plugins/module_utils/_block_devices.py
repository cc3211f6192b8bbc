# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""The disks of this machine, by sysfs: what each is, who it is, and what stands on it."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import typing as t

from ._errors import TalosError

_SECTOR = 512
# Compressed memory, optical drives and the hidden parts of an eMMC are no place for an image.
_NEVER = re.compile(r"(ram|zram|sr|fd|mtdblock)\d+$|mmcblk\d+(boot\d+|rpmb)$")
# These, and what is mounted below them: a machine's data is of no less worth than its root.
_SYSTEM_MOUNTS = ("/boot", "/efi", "/etc", "/home", "/nix", "/opt", "/root", "/srv", "/usr", "/var")
_ESCAPED = re.compile(r"\\([0-7]{3})")


class DeviceError(TalosError):
    """A device that is not written to."""


class NoSuchDevice(DeviceError):
    """There is no such disk here."""

    remedy = "See which cards are here: ansible IMAGE_WRITER_HOST -m homelab.talos.card_info"


class NotADisk(DeviceError):
    """What is named is no whole disk."""

    remedy = "Name the whole disk, such as /dev/sdb or /dev/mmcblk0"


class WrongIdentity(DeviceError):
    """Another card than the declared one is in the reader."""

    remedy = "Put the declared card in, or declare this one's identity: card_info tells it"


@dataclasses.dataclass(frozen=True)
class Disk:
    """A whole disk. ``size`` and ``sector`` are bytes, ``number`` is that of the device, such as 8:16.

    ``diskseq`` grows whenever another medium is in the drive.

    ``bus`` is mmc, usb, loop or disk; ``identity`` stays the same on every machine that the card is put into by the
    same reader, and is empty where the disk has nothing that tells it from others.
    """

    name: str
    path: str
    number: str
    bus: str
    identity: str
    model: str
    size: int
    sector: int
    removable: bool
    read_only: bool
    diskseq: int


@dataclasses.dataclass(frozen=True)
class Use:
    """What stands on a disk. ``system`` is one of its mount points that the machine, or its data, lives in."""

    mounts: tuple[str, ...] = ()
    system: str = ""
    swap: bool = False
    holders: tuple[str, ...] = ()

    def described(self) -> list[str]:
        return [*self.mounts, *(["swap"] if self.swap else []), *self.holders]


class Machine:
    """The block devices of this machine; the folders are parameters for tests."""

    def __init__(self, sys: str = "/sys", proc: str = "/proc", dev: str = "/dev") -> None:
        self._sys = sys
        self._proc = proc
        self._dev = dev

    # --- which disks

    def disks(self) -> list[Disk]:
        """All that could hold an image, with a medium or without one (size 0), by name."""
        names = sorted(os.listdir(os.path.join(self._sys, "block")))
        return [self.disk(name) for name in names if not _NEVER.match(name) and self._is_disk(name)]

    def readers(self) -> list[Disk]:
        """The removable ones."""
        return [disk for disk in self.disks() if disk.removable]

    def find(self, device: str, identity: str) -> Disk:
        """The disk of this path, or else of this identity. Raises DeviceError unless it is both where both are given.

        Touches nothing: the path is not opened.
        """
        disk = self.at(device) if device else self._by_identity(identity)
        if identity and disk.identity != identity:
            seen = disk.identity or "none that could be told from another's"
            raise WrongIdentity(f"{disk.path}: its identity is {seen}, and {identity} is declared")
        if not disk.size:
            raise NoSuchDevice(f"{disk.path}: there is no card in the reader", remedy="Put the card in and run again")
        return disk

    def at(self, device: str) -> Disk:
        """The disk of this path, with a medium or without one. Raises DeviceError."""
        path = os.path.realpath(device)
        try:
            seen = os.stat(path)
        except OSError as error:
            raise NoSuchDevice(f"{device}: {error.strerror or error}") from error
        if not stat.S_ISBLK(seen.st_mode):
            raise NotADisk(f"{device} is not a block device")
        entry = self._entry(f"{os.major(seen.st_rdev)}:{os.minor(seen.st_rdev)}")
        if os.path.exists(os.path.join(entry, "partition")):
            whole = os.path.join(self._dev, os.path.basename(os.path.dirname(entry)))
            raise NotADisk(f"{device} is a partition", remedy=f"Name the whole disk: {whole}")
        name = os.path.basename(entry)
        if _NEVER.match(name) or not self._is_disk(name):
            raise NotADisk(f"{device} ({name}) is not a disk that an image could be written to")
        return self.disk(name)

    def _by_identity(self, identity: str) -> Disk:
        found = [disk for disk in self.disks() if disk.identity == identity]
        if len(found) == 1:
            return found[0]
        if found:
            paths = " and ".join(disk.path for disk in found)
            raise DeviceError(f"{identity} is the identity of {paths}", remedy="Name the device too, or remove one")
        raise NoSuchDevice(f"no card here has the identity {identity}")

    def _is_disk(self, name: str) -> bool:
        """Not made of others, as dm and md are, and a loop device only with a file behind it."""
        folder = self._block(name)
        if name.startswith("loop"):
            return bool(self._read(folder, "loop/backing_file"))
        return os.path.exists(os.path.join(folder, "device")) and not self._list(folder, "slaves")

    def disk(self, name: str) -> Disk:
        """The disk of a name in /sys/block."""
        folder = self._block(name)
        size = int(self._read(folder, "size") or 0) * _SECTOR
        bus, identity, removable = self._who(name, folder, size)
        return Disk(
            name=name,
            path=os.path.join(self._dev, name.replace("!", "/")),
            number=self._read(folder, "dev"),
            bus=bus,
            identity=identity,
            model=" ".join(self._model(folder)),
            size=size,
            sector=int(self._read(folder, "queue/logical_block_size") or _SECTOR),
            removable=removable,
            read_only=self._read(folder, "ro") == "1",
            diskseq=int(self._read(folder, "diskseq") or 0),
        )

    # --- who it is

    def _who(self, name: str, folder: str, size: int) -> tuple[str, str, bool]:
        """Bus, identity, and whether it is a card or a stick."""
        if name.startswith("loop"):
            return "loop", f"loop:{self._read(folder, 'loop/backing_file')}", False
        cid = self._read(folder, "device/cid")
        if cid:
            # Type MMC is an eMMC, which is soldered to a board as a rule.
            return "mmc", f"mmc:{cid}", self._read(folder, "device/type") == "SD"
        usb = self._usb_device(folder)
        if usb:
            lun = os.path.basename(os.path.realpath(os.path.join(folder, "device"))).rpartition(":")[2]
            serial = self._read(usb, "serial") or ""
            # The enclosure of a hard disk says 0 here, readers and sticks 1.
            removable = self._read(folder, "removable") == "1"
            return "usb", f"usb:{serial}:{lun}:{size}" if serial else "", removable
        serial = self._read(folder, "wwid") or self._read(folder, "device/wwid") or self._read(folder, "device/serial")
        return "disk", f"disk:{'_'.join(serial.split())}" if serial else "", False

    def _usb_device(self, folder: str) -> str:
        """The folder of the USB device that the disk belongs to, or nothing."""
        path = os.path.realpath(folder)
        while len(path) > len(os.path.realpath(self._sys)):
            if os.path.exists(os.path.join(path, "idVendor")):
                return path
            path = os.path.dirname(path)
        return ""

    def _model(self, folder: str) -> t.Iterator[str]:
        for name in ("vendor", "model", "name"):
            text = self._read(folder, f"device/{name}")
            if text:
                yield text

    # --- what stands on it

    def use(self, disk: Disk) -> Use:
        """Mounts, swap, and the dm and md devices that the disk or one of its partitions is a part of."""
        parts = {disk.name, *self._partitions(disk.name)}
        mounts = tuple(point for device, point in self._mounts() if parts & self._below(device))
        system = next((point for point in mounts if _is_system(point)), "")
        swap = any(parts & self._below(device) for device in self._swaps())
        folders = [self._block(disk.name), *(os.path.join(self._block(disk.name), p) for p in parts - {disk.name})]
        holders = sorted({holder for folder in folders for holder in self._list(folder, "holders")})
        return Use(mounts, system, swap, tuple(holders))

    def _partitions(self, name: str) -> list[str]:
        folder = self._block(name)
        return [each for each in self._list(folder) if os.path.exists(os.path.join(folder, each, "partition"))]

    def _below(self, number: str) -> set[str]:
        """The names of the device (as ``8:1``) and of all that it stands on."""
        entry = self._entry(number)
        if not os.path.isdir(entry):
            return set()
        name = os.path.basename(entry)
        found = {name}
        if os.path.exists(os.path.join(entry, "partition")):
            found.add(os.path.basename(os.path.dirname(entry)))
        for slave in self._list(entry, "slaves"):
            found |= self._below(self._read(os.path.join(entry, "slaves", slave), "dev"))
        backing = self._read(entry, "loop/backing_file")
        if backing:
            found |= self._below(_number_of_file(backing))
        return found

    def _mounts(self) -> t.Iterator[tuple[str, str]]:
        """Number of the device and mount point of each mount, in our view and in that of the machine's init."""
        seen = set()
        for process in ("self", "1"):
            for line in self._read(self._proc, f"{process}/mountinfo").splitlines():
                words = line.split()
                number, point = words[2], _unescaped(words[4])
                source = _unescaped(words[words.index("-") + 2])
                # btrfs and its like have a number of their own, which is no device's.
                for each in (number, _number_of_device(source)):
                    if each and (each, point) not in seen:
                        seen.add((each, point))
                        yield each, point

    def _swaps(self) -> t.Iterator[str]:
        for line in self._read(self._proc, "swaps").splitlines()[1:]:
            path = _unescaped(line.split()[0])
            yield _number_of_device(path) or _number_of_file(path)

    # --- sysfs

    def _block(self, name: str) -> str:
        return os.path.join(self._sys, "block", name)

    def _entry(self, number: str) -> str:
        return os.path.realpath(os.path.join(self._sys, "dev", "block", number)) if number else ""

    @staticmethod
    def _read(folder: str, name: str) -> str:
        try:
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                return file.read().strip()
        except OSError:
            return ""

    @staticmethod
    def _list(folder: str, name: str = "") -> list[str]:
        try:
            return os.listdir(os.path.join(folder, name))
        except OSError:
            return []


def _is_system(point: str) -> bool:
    return point == "/" or any(point == each or point.startswith(f"{each}/") for each in _SYSTEM_MOUNTS)


def _number_of_device(path: str) -> str:
    try:
        seen = os.stat(path)
    except (OSError, ValueError):
        return ""
    return f"{os.major(seen.st_rdev)}:{os.minor(seen.st_rdev)}" if stat.S_ISBLK(seen.st_mode) else ""


def _number_of_file(path: str) -> str:
    """Of the device that a file lies on."""
    try:
        seen = os.stat(path)
    except (OSError, ValueError):
        return ""
    return f"{os.major(seen.st_dev)}:{os.minor(seen.st_dev)}"


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found.group(1), 8)), text)
