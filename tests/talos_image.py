# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disk images with the geometry of Talos' own: what the imager makes, and what a node makes of it at its first boot.

A fresh image has EFI, BIOS, BOOT and META; a node that got a machine config adds STATE and EPHEMERAL. At full scale an
image has 2246 MiB. Nine tenths are zeros, META among them; the rest is half random, half text, in many extents.
"""

from __future__ import annotations

import functools
import os
import random
import struct
import subprocess
import typing as t
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
# Where the first partition begins.
_START = MIB
_ENTRIES = 128
_ENTRY_SIZE = 128
_EFI = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
_BIOS = uuid.UUID("21686148-6449-6e6f-744e-656564454649")
_LINUX = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
_EXTENT = 1300 * 1024


@dataclass(frozen=True)
class Partition:
    """``first`` and ``size`` are in bytes."""

    label: str
    kind: uuid.UUID
    first: int
    size: int

    @property
    def guid(self) -> uuid.UUID:
        """Since 1.13 that of the label: equal in all images."""
        return uuid.uuid5(uuid.NAMESPACE_DNS, self.label)


@dataclass(frozen=True)
class Geometry:
    """Sizes in MiB; ``slack`` is what the imager leaves for STATE and more. ``sector`` is in bytes."""

    efi: int = 100
    boot: int = 2000
    slack: int = 144
    sector: int = 512

    @property
    def size(self) -> int:
        return (self.efi + 1 + self.boot + 1 + self.slack) * MIB

    @property
    def partitions(self) -> list[Partition]:
        sizes = [("EFI", _EFI, self.efi), ("BIOS", _BIOS, 1), ("BOOT", _LINUX, self.boot), ("META", _LINUX, 1)]
        found, offset = [], _START
        for label, kind, size in sizes:
            found.append(Partition(label, kind, offset, size * MIB))
            offset += size * MIB
        return found


FULL = Geometry()
SMALL = Geometry(efi=4, boot=24, slack=3)


def write_image(path: Path, geometry: Geometry = FULL, *, seed: int = 1) -> Path:
    """A raw image. Another seed gives another content with the same partitions."""
    noise = random.Random(seed)
    with path.open("wb") as file:
        file.truncate(geometry.size)
        for name, share in (("EFI", 0.45), ("BIOS", 0.3), ("BOOT", 0.09)):
            _fill(file, next(each for each in geometry.partitions if each.label == name), share, noise)
        write_gpt(file, geometry.partitions, geometry.size, geometry.sector)
    return path


def _fill(file: t.BinaryIO, partition: Partition, share: float, noise: random.Random) -> None:
    """Extents of random bytes and of text, evenly spread, the first one at the partition's begin."""
    wanted = int(partition.size * share)
    count = max(1, wanted // _EXTENT)
    length = wanted // count
    for number in range(count):
        content = noise.randbytes(length) if number % 2 == 0 else _text(length, noise)
        file.seek(partition.first + partition.size // count * number)
        file.write(content)


def _text(length: int, noise: random.Random) -> bytes:
    words = [noise.randbytes(noise.randrange(2, 8)).hex().encode() for _ in range(400)]
    page = b" ".join(noise.choices(words, k=2000))
    return (page * (length // len(page) + 1))[:length]


def write_gpt(file: t.BinaryIO, partitions: list[Partition], disk_size: int, sector: int = 512) -> None:
    """Protective MBR, primary and backup GPT of a disk or image of this size; the rest stays."""
    table = b"".join(_entry(each, sector) for each in partitions).ljust(_ENTRIES * _ENTRY_SIZE, b"\0")
    last = disk_size // sector - 1
    table_sectors = _ENTRIES * _ENTRY_SIZE // sector
    places = {1: 2, last: last - table_sectors}
    mbr = bytearray(512)
    mbr[446:462] = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, min(last, 0xFFFFFFFF))
    mbr[510:512] = b"\x55\xaa"
    _put(file, 0, bytes(mbr))
    for here, table_at in places.items():
        other = last if here == 1 else 1
        _put(file, table_at * sector, table)
        _put(file, here * sector, _header(here, other, table_at, last - table_sectors - 1, table, sector))


def _entry(partition: Partition, sector: int) -> bytes:
    first, end = partition.first // sector, (partition.first + partition.size) // sector - 1
    name = partition.label.encode("utf-16-le")
    return struct.pack("<16s16sQQQ72s", partition.kind.bytes_le, partition.guid.bytes_le, first, end, 0, name)


def _header(here: int, other: int, table_at: int, last_usable: int, table: bytes, sector: int) -> bytes:
    first_usable = 2 + _ENTRIES * _ENTRY_SIZE // sector
    guid = uuid.uuid5(uuid.NAMESPACE_DNS, "talos-image-disk").bytes_le
    crc = zlib.crc32(table)

    def packed(own_crc: int) -> bytes:
        fields = (b"EFI PART", 0x10000, 92, own_crc, 0, here, other, first_usable, last_usable, guid)
        return struct.pack("<8sIIIIQQQQ16sQIII", *fields, table_at, _ENTRIES, _ENTRY_SIZE, crc)

    return packed(zlib.crc32(packed(0))).ljust(sector, b"\0")


def _put(file: t.BinaryIO, offset: int, content: bytes) -> None:
    file.seek(offset)
    file.write(content)


def provision(path: Path, geometry: Geometry) -> None:
    """Do to a card what a node does when it gets its machine config: two more partitions, and META written."""
    with path.open("r+b") as file:
        disk_size = file.seek(0, os.SEEK_END)
        last = geometry.partitions[-1]
        offset = last.first + last.size
        left = (disk_size - offset) // MIB - 1
        state = Partition("STATE", _LINUX, offset, min(100, left // 2) * MIB)
        offset += state.size
        ephemeral = Partition("EPHEMERAL", _LINUX, offset, (disk_size - offset) // MIB * MIB - MIB)
        _put(file, last.first, b"META of a node".ljust(4096, b"\1"))
        write_gpt(file, [*geometry.partitions, state, ephemeral], disk_size, geometry.sector)


def compress_zst(raw: Path) -> Path:
    """One frame with its content size and checksum, as Talos makes it, at a quick level."""
    target = raw.with_name(f"{raw.name}.zst")
    subprocess.run(["zstd", "-T0", "-3", "-q", "-f", "-k", raw, "-o", target], check=True)
    return target


def compress_xz(raw: Path) -> Path:
    """Many blocks of 1 MiB, by the command that Talos uses."""
    subprocess.run(["xz", "-0", "-f", "-k", "-T", "0", raw], check=True)
    return raw.with_name(f"{raw.name}.xz")


@dataclass(frozen=True)
class Image:
    """The same image in three forms, small enough to hold in memory."""

    geometry: Geometry
    raw: Path
    zst: Path
    xz: Path

    @classmethod
    def make(cls, folder: Path, geometry: Geometry, *, seed: int = 1) -> Image:
        raw = write_image(folder / "metal-arm64.raw", geometry, seed=seed)
        return cls(geometry, raw, compress_zst(raw), compress_xz(raw))

    @functools.cached_property
    def content(self) -> bytes:
        return self.raw.read_bytes()
