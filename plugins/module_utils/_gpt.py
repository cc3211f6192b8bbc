# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""GUID partition tables: which partitions does a disk or an image have, by a table whose checksums are right?"""

from __future__ import annotations

import dataclasses
import struct
import uuid
import zlib

SECTORS = (512, 4096)
# Header and entries, with which a table begins (after the MBR) and which repeat at the end of the disk.
TABLE_SECTORS = {512: 33, 4096: 5}

_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_SIGNATURE = b"EFI PART"
_ENTRY = struct.Struct("<16s16sQQQ72s")
_UNUSED = bytes(16)
# Talos writes 128, as everybody does; a table of more than this is none.
_MOST_ENTRIES = 1024


@dataclasses.dataclass(frozen=True)
class Partition:
    """``first`` and ``last`` are sectors; both belong to it."""

    label: str
    kind: str
    guid: str
    first: int
    last: int


@dataclasses.dataclass(frozen=True)
class Table:
    """A valid table. ``sector`` is in bytes; ``here`` and ``other`` are the sectors of this header and its copy."""

    sector: int
    here: int
    other: int
    entries_crc: int
    partitions: tuple[Partition, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(each.label for each in self.partitions)

    @property
    def first_byte(self) -> int:
        """Where the first partition begins."""
        return min((each.first for each in self.partitions), default=0) * self.sector


def primary(head: bytes) -> Table | None:
    """The table at the begin of a disk, from its first 64 KiB: None where there is none or its checksums are wrong."""
    for sector in SECTORS:
        table = _parse(head, sector, sector, 0)
        if table and table.here == 1:
            return table
    return None


def backup(tail: bytes, disk_size: int) -> Table | None:
    """The copy at the end of a disk of this size in bytes, from its last bytes (64 KiB are enough)."""
    begin = disk_size - len(tail)
    for sector in SECTORS:
        table = _parse(tail, sector, len(tail) - sector, begin)
        if table:
            return table
    return None


def _parse(content: bytes, sector: int, at: int, base: int) -> Table | None:
    """The table whose header is at this offset of the content, which itself lies at ``base`` of the disk."""
    header = content[at : at + sector] if at >= 0 else b""
    if len(header) < sector or not header.startswith(_SIGNATURE):
        return None
    fields = _HEADER.unpack_from(header)
    _signature, _revision, size, crc, _reserved, here, other = fields[:7]
    table_at, count, entry_size, entries_crc = fields[10:]
    if not _HEADER.size <= size <= sector or zlib.crc32(header[:16] + bytes(4) + header[20:size]) != crc:
        return None
    if not 0 < count <= _MOST_ENTRIES or not _ENTRY.size <= entry_size <= sector:
        return None
    begin = table_at * sector - base
    entries = content[begin : begin + count * entry_size] if begin >= 0 else b""
    if len(entries) < count * entry_size or zlib.crc32(entries) != entries_crc:
        return None
    found = (_partition(entries, number * entry_size) for number in range(count))
    return Table(sector, here, other, entries_crc, tuple(each for each in found if each))


def _partition(entries: bytes, offset: int) -> Partition | None:
    kind, guid, first, last, _attributes, name = _ENTRY.unpack_from(entries, offset)
    if kind == _UNUSED:
        return None
    label = name.decode("utf-16-le", errors="replace").partition("\0")[0]
    return Partition(label, str(uuid.UUID(bytes_le=kind)), str(uuid.UUID(bytes_le=guid)), first, last)
