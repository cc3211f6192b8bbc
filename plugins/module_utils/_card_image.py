# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""A disk image as a card gets it: read once, in chunks, and told apart into data and zeros."""

from __future__ import annotations

import dataclasses
import hashlib
import queue
import threading
import typing as t

from . import _card_marker as card_marker
from . import _gpt as gpt
from ._decompression import ImageError, RawImage, open_image
from ._direct_io import BLOCK, CHUNK, Buffer
from ._download import sha256_of_file

# The image is read so far ahead of the slowest card.
_BUFFERS = 8
# Talos reads this partition whole, and what an old card has there would be taken for its own.
_WRITTEN_WHOLE = "META"
_WAIT = 0.2
# So much is looked at while it is in the processor's cache still.
_STEP = 4 * BLOCK

Range = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Outline:
    """What is known of an image before it is read: ``size`` in bytes, and ``head``, its first 64 KiB."""

    path: str
    size: int
    table: gpt.Table
    head: bytes

    @property
    def sector(self) -> int:
        return self.table.sector

    @property
    def tail(self) -> int:
        """Where the blocks with the backup of the partition table begin."""
        table = gpt.TABLE_SECTORS[self.sector] * self.sector
        return (self.size - table) // BLOCK * BLOCK

    @property
    def has_room_for_marker(self) -> bool:
        end = card_marker.OFFSET + card_marker.SIZE
        return self.table.first_byte >= end and not any(self.head[card_marker.OFFSET : end])

    @property
    def written_whole(self) -> list[Range]:
        """Offsets, begin and end, of what is written even where it is zeros and zeros are not looked at."""
        parts = [each for each in self.table.partitions if each.label == _WRITTEN_WHOLE]
        return [(each.first * self.sector, (each.last + 1) * self.sector) for each in parts]


def outline(path: str) -> Outline:
    """Raises ImageError for what is no Talos image, as far as its begin tells."""
    with open_image(path) as image:
        size = image.size
        buffer = bytearray(min(BLOCK, size))
        image.readinto(memoryview(buffer))
    table = gpt.primary(bytes(buffer))
    if table is None or "META" not in table.labels:
        raise ImageError(
            f"{path} is no Talos disk image: it has no valid partition table with META",
            remedy="Give metal-arm64.raw.zst or .raw.xz of the Image Factory, as the module image fetches it",
        )
    if size % table.sector or size < 2 * CHUNK or (table.other + 1) * table.sector != size:
        told = (table.other + 1) * table.sector
        raise ImageError(
            f"{path} holds {size} bytes, and its partition table is that of {told} bytes",
            remedy="Remove the file, then have it downloaded or made again",
        )
    return Outline(path, size, table, bytes(buffer))


def require_sha256(path: str, expected: str) -> str:
    """The sha256 of the file. Raises ImageError where another one is expected."""
    try:
        seen = sha256_of_file(path)
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}", remedy="Check the path and its rights") from error
    if expected and seen != expected.lower():
        raise ImageError(
            f"{path} has another content: expected sha256 {expected}, seen {seen}",
            remedy="Remove the file and have it downloaded again. If it stays so, find out who changed it",
        )
    return seen


class Chunk:
    """A part of the image in memory, for all cards; ``runs`` are the offsets in it, begin and end, that are data."""

    def __init__(self, offset: int, buffer: Buffer, runs: list[Range], users: int, free: t.Callable[[Buffer], None]):
        self.offset = offset
        self.buffer = buffer
        self.runs = runs
        self._users = users
        self._free = free
        self._lock = threading.Lock()

    def release(self) -> None:
        """To be called by each card once."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._free(self.buffer)


class Reader(t.Protocol):
    """Who gets an image. ``data`` releases its chunks; ``zeros`` tells offset and length; ``end`` that it was all."""

    alive: bool

    def data(self, chunk: Chunk) -> None: ...
    def zeros(self, offset: int, length: int) -> None: ...
    def end(self, error: Exception | None) -> None: ...


_Readers = t.Sequence[Reader]


class Content:
    """An image that is read. ``digests`` has the sha256 of each block of data, ``tail`` what is held back at its end.

    Head and tail, which make a card bootable, are given to nobody: they are written by themselves.
    """

    def __init__(self, image: Outline) -> None:
        self.image = image
        self.digests: dict[int, bytes] = {}
        self.tail = Buffer(2 * BLOCK)
        # The last one first: it is in the processor's cache still.
        self._free: queue.LifoQueue[Buffer] = queue.LifoQueue()
        for _number in range(_BUFFERS):
            self._free.put(Buffer())

    @property
    def tail_view(self) -> memoryview:
        return self.tail.view[: self.image.size - self.image.tail]

    def read(self, readers: _Readers) -> None:
        """Read the image to its end and give it to all; nothing is raised but through their ``end``."""
        error: Exception | None = None
        try:
            with open_image(self.image.path) as source:
                for offset in range(0, self.image.size, CHUNK):
                    buffer = self._buffer(readers)
                    if buffer is None:
                        break
                    self._give(offset, buffer, self._take(source, offset, buffer), readers)
        except Exception as problem:
            error = problem
        for reader in readers:
            reader.end(error)

    def _buffer(self, readers: _Readers) -> Buffer | None:
        """A free one, or None where no card is left to read for."""
        while any(reader.alive for reader in readers):
            try:
                return self._free.get(timeout=_WAIT)
            except queue.Empty:
                continue
        return None

    def _give(self, offset: int, buffer: Buffer, runs: tuple[list[Range], list[Range]], readers: _Readers) -> None:
        data, zeros = runs
        for begin, end in zeros:
            for reader in readers:
                reader.zeros(offset + begin, end - begin)
        if not data:
            self._free.put(buffer)
            return
        chunk = Chunk(offset, buffer, data, len(readers), self._free.put)
        for reader in readers:
            reader.data(chunk)

    def _take(self, source: RawImage, offset: int, buffer: Buffer) -> tuple[list[Range], list[Range]]:
        """Fill the buffer; its runs of data and of zeros, without head and tail. Data is noted in ``digests``."""
        data: list[Range] = []
        zeros: list[Range] = []
        length = min(CHUNK, self.image.size - offset)
        for begin in range(0, length, _STEP):
            end = min(begin + _STEP, length)
            if source.readinto(buffer.view[begin:end]) != end - begin:
                raise ImageError(f"{self.image.path} ends too early", remedy="Have it downloaded again")
            if self._is_plain(offset + begin, offset + end) and buffer.is_zero(begin, end):
                _extend(zeros, begin, end)
                continue
            for first in range(begin, end, BLOCK):
                self._tell_apart(offset, first, min(first + BLOCK, end), buffer, data, zeros)
        return data, zeros

    def _tell_apart(
        self, offset: int, begin: int, end: int, buffer: Buffer, data: list[Range], zeros: list[Range]
    ) -> None:
        """One block, to where it belongs."""
        place = offset + begin
        if place >= self.image.tail:
            at = place - self.image.tail
            self.tail.view[at : at + end - begin] = buffer.view[begin:end]
        elif place == 0:
            return
        elif self._is_plain(place, offset + end) and buffer.is_zero(begin, end):
            _extend(zeros, begin, end)
        else:
            self.digests[place // BLOCK] = hashlib.sha256(buffer.view[begin:end]).digest()
            _extend(data, begin, end)

    def _is_plain(self, begin: int, end: int) -> bool:
        """Nothing between these is held back, or written though it is zeros."""
        apart = [(0, BLOCK), (self.image.tail, self.image.size), *self.image.written_whole]
        return not any(first < end and begin < last for first, last in apart)


def _extend(runs: list[Range], begin: int, end: int) -> None:
    if runs and runs[-1][1] == begin:
        runs[-1] = (runs[-1][0], end)
    else:
        runs.append((begin, end))
