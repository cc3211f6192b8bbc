# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What we leave on a card beside the image: which image it is, for which node, and samples to know it again by.

The marker has 4 KiB, 32 KiB from the begin: behind the partition table, before the first partition. Talos writes
neither there nor into the image there. While a card is being written, an unfinished marker stands alone on it.
"""

from __future__ import annotations

import dataclasses
import json
import struct
import typing as t
import zlib

from ._errors import TalosError

OFFSET = 32 * 1024
SIZE = 4 * 1024

_MAGIC = b"homelab.talos card marker\n"
_PREFIX = struct.Struct(f"<{len(_MAGIC)}sII")
_MOST_SAMPLES = 64
# Of 64 KiB each, those of 64 TiB.
_MOST_BLOCKS = 2**30


class TooLong(TalosError):
    """The words for a card's marker do not fit into it."""


@dataclasses.dataclass(frozen=True)
class Marker:
    """``image`` is the sha256 of the image's file; ``size`` its bytes on the card.

    ``samples`` are numbers of blocks with the begin of their sha256.
    """

    node: str = ""
    cluster: str = ""
    image: str = ""
    version: str = ""
    schematic: str = ""
    finished: bool = False
    size: int = 0
    entries_crc: int = 0
    samples: tuple[tuple[int, str], ...] = ()

    def pack(self) -> bytes:
        """4 KiB."""
        text = json.dumps(dataclasses.asdict(self), separators=(",", ":")).encode()
        if _PREFIX.size + len(text) > SIZE:
            raise TooLong(
                f"node {self.node}, cluster {self.cluster}, version {self.version} and schematic {self.schematic} "
                "do not fit into a card's marker",
                remedy="Shorten the longest of them",
            )
        return (_PREFIX.pack(_MAGIC, len(text), zlib.crc32(text)) + text).ljust(SIZE, b"\0")

    def require_fits(self) -> None:
        """Raises TooLong where a marker with these words and as many samples as there can be is too long."""
        most = tuple((_MOST_BLOCKS, short("f" * 64)) for _number in range(_MOST_SAMPLES))
        dataclasses.replace(self, finished=False, entries_crc=0xFFFFFFFF, samples=most).pack()

    def is_for(self, node: str, cluster: str) -> bool:
        return self.node == node and self.cluster == cluster


def find(head: bytes) -> Marker | None:
    """The marker in the first 64 KiB of a card; None where there is none, or a damaged one."""
    content = head[OFFSET : OFFSET + SIZE]
    if len(content) < SIZE:
        return None
    magic, length, crc = _PREFIX.unpack_from(content)
    text = content[_PREFIX.size : _PREFIX.size + length]
    if magic != _MAGIC or len(text) != length or zlib.crc32(text) != crc:
        return None
    try:
        return _from_data(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _from_data(data: object) -> Marker | None:
    """None where something is of another type: what stands on a card may be anybody's."""
    if not isinstance(data, dict) or not _are_samples(data.get("samples", [])):
        return None
    # A newer version of ours may say more.
    values = {field.name: data[field.name] for field in dataclasses.fields(Marker) if field.name in data}
    values["samples"] = tuple((block, digest) for block, digest in values.get("samples", ()))
    marker = Marker(**values)
    right = all(type(value) is type(getattr(_EMPTY, name)) for name, value in vars(marker).items())
    return marker if right and marker.size >= 0 else None


def _are_samples(data: object) -> bool:
    return isinstance(data, list) and all(
        isinstance(each, list) and [type(part) for part in each] == [int, str] and each[0] >= 0 for each in data
    )


_EMPTY = Marker()


def spread(blocks: t.Sequence[int]) -> list[int]:
    """Up to 64 of these, evenly spread, with the first and the last."""
    count = min(len(blocks), _MOST_SAMPLES)
    return sorted({blocks[number * (len(blocks) - 1) // max(count - 1, 1)] for number in range(count)})


def short(digest: str) -> str:
    """Of a sha256, what a sample keeps."""
    return digest[:16]
