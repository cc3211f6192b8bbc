# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What is on a card, by its ends: nothing, an image, a node, or something of somebody else."""

from __future__ import annotations

import dataclasses
import hashlib
import typing as t

from . import _card_marker as card_marker
from . import _gpt as gpt
from ._block_devices import Disk
from ._card_marker import Marker
from ._direct_io import BLOCK, Buffer, Device

EMPTY, IMAGE, THIS_IMAGE, ANOTHER_IMAGE = "empty", "image", "this_image", "another_image"
NODE, UNFINISHED, OTHER = "node", "unfinished", "other"
# Of a reader without a card, and of a card that cannot be looked at.
NONE, UNREADABLE = "none", "unreadable"

# File systems and tables that could be there have their signs within the first MiB.
_LOOKED_AT = 1024 * 1024
# What a node adds at its first boot with a machine config.
_ADDED = frozenset({"STATE", "EPHEMERAL"})


@dataclasses.dataclass(frozen=True)
class CardState:
    """``content`` is one of the names above. ``intact``: the marker's samples are as they were written.

    ``stale_backup``: at the card's end there is the copy of a partition table that is not this one's.
    """

    content: str
    marker: Marker | None = None
    partitions: tuple[str, ...] = ()
    intact: bool = False
    stale_backup: bool = False
    words: str = ""

    def describe(self) -> str:
        """In words, its own where it has some."""
        if self.words:
            return self.words
        marker = self.marker or Marker()
        image = f"a Talos image{f' ({marker.version})' if marker.version else ''}"
        whose = f" for {marker.node}" if marker.node else ""
        cluster = f" of cluster {marker.cluster}" if marker.cluster else ""
        words = {
            EMPTY: "nothing",
            NODE: f"the Talos node {marker.node or '(name unknown)'}{cluster}",
            UNFINISHED: f"{image}{whose}{cluster}, not finished",
            OTHER: f"partitions {', '.join(self.partitions)}" if self.partitions else "something else",
        }
        return words.get(self.content, f"{image}{whose}{cluster}")

    def holds(self, wanted: Marker) -> bool:
        """By marker, partition table and samples."""
        found = self.marker
        return bool(
            self.content in (IMAGE, THIS_IMAGE)
            and found
            and self.intact
            and not self.stale_backup
            and found.image == wanted.image
            and (found.node, found.cluster, found.version, found.schematic)
            == (wanted.node, wanted.cluster, wanted.version, wanted.schematic)
        )


def look(disk: Disk, image: str = "") -> CardState:
    """Read the ends of a card, and the samples that its marker names; ``image`` is a sha256 to compare with."""
    with Device.open(disk, write=False) as device:
        return look_at(device, image)


def look_at(device: Device, image: str = "") -> CardState:
    size, buffer = device.disk.size, Buffer()
    begin = _read(device, buffer, 0, min(_LOOKED_AT, size))
    end = _read(device, buffer, max(0, size - BLOCK), min(BLOCK, size))
    table, marker = gpt.primary(begin[:BLOCK]), card_marker.find(begin[:BLOCK])
    backup = gpt.backup(end, size)
    if table is None and marker and not marker.finished:
        return CardState(UNFINISHED, marker)
    # A node whose table is damaged is still one: its copy brings it back.
    whole = table or backup
    if whole and _is_node(whole):
        return CardState(NODE, marker, whole.labels)
    if table and _is_talos(table):
        right = marker and marker.finished and marker.entries_crc == table.entries_crc
        content = IMAGE if not image else THIS_IMAGE if right and marker and marker.image == image else ANOTHER_IMAGE
        intact = bool(right and marker and _samples_are_right(device, marker, buffer))
        stale = backup is not None and backup.entries_crc != table.entries_crc
        return CardState(content, marker if right else None, table.labels, intact, stale)
    if table or any(begin):
        return CardState(OTHER, None, table.labels if table else ())
    # Its copy at the end is all that is left of a table that somebody could bring back.
    return CardState(OTHER, None, backup.labels) if backup else CardState(EMPTY)


def _read(device: Device, buffer: Buffer, offset: int, length: int) -> bytes:
    device.read(buffer.view[:length], offset)
    return bytes(buffer.view[:length])


def _is_talos(table: gpt.Table) -> bool:
    return "META" in table.labels and bool({"EFI", "BOOT"} & set(table.labels))


def _is_node(table: gpt.Table) -> bool:
    return _is_talos(table) and bool(_ADDED & set(table.labels))


def _samples_are_right(device: Device, marker: Marker, buffer: Buffer) -> bool:
    if not 0 < marker.size <= device.disk.size:
        return False
    return all(_sample(device, block, buffer) == digest for block, digest in marker.samples)


def _sample(device: Device, block: int, buffer: Buffer) -> str:
    length = min(BLOCK, device.disk.size - block * BLOCK)
    if length <= 0:
        return ""
    return card_marker.short(hashlib.sha256(_read(device, buffer, block * BLOCK, length)).hexdigest())


def signature_ranges(disk: Disk, device: Device) -> t.Iterator[tuple[int, int]]:
    """Offset and length of where tables and file systems have their signs: the ends of the disk and its partitions.

    In whole sectors of the disk, for which the table on it need not be made.
    """
    buffer = Buffer()
    table = gpt.primary(_read(device, buffer, 0, min(BLOCK, disk.size)))
    parts = [(each.first * table.sector, (each.last + 1) * table.sector) for each in table.partitions] if table else []
    for begin, end in [(0, disk.size), *parts]:
        end = min(end, disk.size)
        for first in (begin, max(begin, end - _LOOKED_AT)):
            if first < end:
                yield _whole_sectors(first, min(first + _LOOKED_AT, end), disk)


def _whole_sectors(begin: int, end: int, disk: Disk) -> tuple[int, int]:
    first = begin // disk.sector * disk.sector
    last = min(-(-end // disk.sector) * disk.sector, disk.size)
    return first, last - first
