# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""One card under work: what is written to it, compared with it and read back from it, and in which order.

The order makes sure that a card that is not finished never boots, and that none passes that does not hold the image:

1. The first block (partition table and marker) is erased, and the copies of the table at the ends of image and card.
2. Data and zeros go side by side, each in the order of the image. Data is written where it differs; zeros are read, and
   written where they are none. What is equal already is not written: so an interrupted card is finished.
3. When all is on the card, all data is read back, and whatever else was written.
4. The copy of the table, then the first block with the finished marker. They are read back with what is beside them.

A counterfeit card that wraps around shows its first data where zeros belong. These are written there, which destroys
that data before step 3. For this, zeros are looked at only after the first data is written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import queue
import threading
import typing as t

from . import _card_marker as card_marker
from . import _gpt as gpt
from ._block_devices import Disk
from ._card_image import Chunk, Content, Range
from ._card_marker import Marker
from ._decompression import open_image
from ._direct_io import BLOCK, CHUNK, Buffer, CardError, Device, zeros
from ._errors import TalosError
from ._progress import Watch

# The copy of a partition table at a card's end, whichever sectors it was made for.
_BACKUP = max(sectors * size for size, sectors in gpt.TABLE_SECTORS.items())


class NotAsWritten(CardError):
    """What is read back is not what was written."""

    remedy = "The card is worn out or defective: use another. If others fail too, it is the reader or its cable"


class Counterfeit(CardError):
    """The card has less than it says."""

    remedy = "It is counterfeit: use another, and send this one back"


class Differs(CardError):
    """The card does not hold what it should; where it is only looked at, that is no error."""

    remedy = "Write the card again, with state: written"


@dataclasses.dataclass
class Figures:
    """Bytes: ``size`` of the whole work, ``done`` that are right on the card, ``written`` to it.

    ``read`` of ``to_read`` were read back at the end.
    """

    size: int = 0
    done: int = 0
    written: int = 0
    to_read: int = 0
    read: int = 0


class CardWork:
    """Work that takes data and zeros as they come from a reader, in two threads. Its ``error`` is None when it ended
    well, and ``alive`` tells whether it still takes something.

    ``admit`` is called before anything else, with the device that is ours alone by then; it may raise to end the work.
    """

    writes = True
    admit: t.Callable[[Device], object] = staticmethod(lambda _device: None)

    def __init__(self, disk: Disk, watch: Watch, size: int) -> None:
        self.disk = disk
        self.figures = Figures(size)
        self.error: Exception | None = None
        self._watch = watch
        self._chunks: queue.SimpleQueue[Chunk | None] = queue.SimpleQueue()
        self._ranges: queue.SimpleQueue[Range | None] = queue.SimpleQueue()
        self._data_begun = threading.Event()
        self._counting = threading.Lock()
        self._failing = threading.Lock()
        self._data_buffer = Buffer()
        self._range_buffer = Buffer()
        self._device: Device

    # --- what the reader gives

    @property
    def alive(self) -> bool:
        return self.error is None

    def data(self, chunk: Chunk) -> None:
        self._chunks.put(chunk)

    def zeros(self, offset: int, length: int) -> None:
        self._put_ranges(offset, length)

    def end(self, error: Exception | None) -> None:
        if error is not None:
            self._fail(error)
        self._chunks.put(None)

    # --- the work

    def run(self) -> None:
        """To be called in a thread of its own; the reader must call ``end`` at some time."""
        try:
            with Device.open(self.disk, write=self.writes) as self._device:
                self._work()
        except Exception as error:
            self._fail(error)
            self._take_chunks()

    def _work(self) -> None:
        try:
            self.admit(self._device)
            self._begin()
        except Exception as error:
            self._fail(error)
        second = threading.Thread(target=self._take_ranges, daemon=True)
        second.start()
        self._take_chunks()
        second.join()
        try:
            if self.error is None:
                self._finish()
        except Exception as error:
            self._fail(error)
        if self.error is not None:
            self._undo()

    def _fail(self, error: Exception) -> None:
        """Three threads do; the first error stays."""
        with self._failing:
            self.error = self.error or error

    def _take_chunks(self) -> None:
        """To the end, so that other cards get the memory back; after an error without doing anything."""
        for chunk in iter(self._chunks.get, None):
            with self._noting_errors():
                for begin, end in chunk.runs if self.alive else ():
                    self._watch.check()
                    self._on_data(chunk, begin, end)
                    self._count(done=end - begin)
                    self._data_begun.set()
            chunk.release()
        self._data_begun.set()
        self._ranges.put(None)

    def _take_ranges(self) -> None:
        self._data_begun.wait()
        for offset, length in iter(self._ranges.get, None):
            with self._noting_errors():
                if self.alive:
                    self._watch.check()
                    self._on_range(offset, length)

    @contextlib.contextmanager
    def _noting_errors(self) -> t.Iterator[None]:
        try:
            yield
        except Exception as error:
            self._fail(error)

    def _put_ranges(self, offset: int, length: int) -> None:
        for begin in range(offset, offset + length, CHUNK):
            self._ranges.put((begin, min(CHUNK, offset + length - begin)))

    # --- for subclasses: the first error ends the work

    def _begin(self) -> None:
        """Before anything else."""

    def _on_data(self, chunk: Chunk, begin: int, end: int) -> None:
        """Data of the image."""

    def _on_range(self, offset: int, length: int) -> None:
        """A range of at most CHUNK, in the second thread; zeros of the image, where ``zeros`` is not overridden."""

    def _finish(self) -> None:
        """When all was taken."""

    def _undo(self) -> None:
        """After an error, while the device is still open."""

    # --- what they do with the device

    def _write(self, view: memoryview, offset: int) -> None:
        self._device.write(view, offset)
        self._count(written=len(view))

    def _count(self, *, done: int = 0, written: int = 0) -> None:
        """Both threads do."""
        with self._counting:
            self.figures.done += done
            self.figures.written += written

    def _same(self, chunk: Chunk, begin: int, end: int) -> bool:
        """Whether the card has this part of a chunk already; it is in the data buffer then, from 0 on."""
        self._device.read(self._data_buffer.view[: end - begin], chunk.offset + begin)
        return self._data_buffer.equals(chunk.buffer, 0, end - begin, begin)

    def _rewrite_zeros(self, offset: int, length: int) -> t.Iterator[int]:
        """Make a range zeros; the blocks that were none."""
        self._device.read(self._range_buffer.view[:length], offset)
        if self._range_buffer.is_zero(0, length):
            return
        for begin, end in _runs(_blocks(length), lambda begin, end: not self._range_buffer.is_zero(begin, end)):
            self._write(zeros[: end - begin], offset + begin)
            yield from range((offset + begin) // BLOCK, -(-(offset + end) // BLOCK))


class Comparison(CardWork):
    """Whether a card holds an image, or zeros where it has none: ends with Differs at the first byte that does not."""

    writes = False

    def __init__(self, disk: Disk, watch: Watch, size: int, content: Content | None = None) -> None:
        super().__init__(disk, watch, size)
        self._content = content

    def _on_data(self, chunk: Chunk, begin: int, end: int) -> None:
        if not self._same(chunk, begin, end):
            raise Differs(f"{self.disk.path}: it differs from {chunk.offset + begin} on", offset=chunk.offset + begin)

    def _on_range(self, offset: int, length: int) -> None:
        self._device.read(self._range_buffer.view[:length], offset)
        if not self._range_buffer.is_zero(0, length):
            raise Differs(f"{self.disk.path}: there are no zeros from {offset} on", offset=offset)
        self._count(done=length)

    def _finish(self) -> None:
        if self._content is None:
            return
        image, tail = self._content.image, self._content.tail_view
        view = self._data_buffer.view[: len(tail)]
        self._device.read(view, image.tail)
        if view != tail:
            raise Differs(f"{self.disk.path}: it differs from {image.tail} on", offset=image.tail)
        head = self._data_buffer.view[:BLOCK]
        self._device.read(head, 0)
        if without_marker(bytes(head)) != without_marker(image.head):
            raise Differs(f"{self.disk.path}: it differs from 0 on", offset=0)
        self.figures.done = self.figures.size


class Wipe(CardWork):
    """Zeros in the given ranges, read back where they were written."""

    def __init__(self, disk: Disk, watch: Watch, size: int) -> None:
        super().__init__(disk, watch, size)
        self._rewritten: list[Range] = []

    def _on_range(self, offset: int, length: int) -> None:
        before = self.figures.written
        for _block in self._rewrite_zeros(offset, length):
            pass
        if self.figures.written > before:
            self._rewritten.append((offset, length))
            self.figures.to_read += length
        self._count(done=length)

    def _finish(self) -> None:
        self._device.sync()
        for offset, length in self._rewritten:
            self._watch.check()
            self._device.read(self._range_buffer.view[:length], offset)
            if not self._range_buffer.is_zero(0, length):
                raise NotAsWritten(f"{self.disk.path}: what was erased at {offset} is still there", offset=offset)
            self.figures.read += length
        if self.figures.written:
            self._device.reread_partitions()


class Writing(CardWork):
    """An image onto a card. Without ``full`` no zeros are looked at, except where Talos would read old ones."""

    def __init__(self, disk: Disk, watch: Watch, content: Content, marker: Marker, *, full: bool) -> None:
        super().__init__(disk, watch, content.image.size)
        self._content = content
        self._image = content.image
        self._marker = marker
        self._full = full
        self._head = Buffer(BLOCK)
        self._bootable = False
        self._rewritten: set[int] = set()
        self._touched = False
        self._misses = self._unseen_runs = 0

    # --- 1. the first block goes

    def _begin(self) -> None:
        self._put_marker(dataclasses.replace(self._marker, finished=False))
        self._write(self._head.view, 0)
        self._device.sync()
        self._write(zeros[: self._image.size - self._image.tail], self._image.tail)
        end = max(self._image.size, self.disk.size - _BACKUP)
        if end < self.disk.size:
            self._write(zeros[: self.disk.size - end], end)
        self._device.sync()

    def _put_marker(self, marker: Marker) -> None:
        if self._image.has_room_for_marker:
            self._head.view[card_marker.OFFSET : card_marker.OFFSET + card_marker.SIZE] = marker.pack()

    # --- 2. data and zeros

    def zeros(self, offset: int, length: int) -> None:
        if self._full:
            super().zeros(offset, length)
        else:
            self._count(done=length)

    def _on_data(self, chunk: Chunk, begin: int, end: int) -> None:
        for part_begin, part_end in self._different(chunk, begin, end):
            self._touched = True
            self._write(chunk.buffer.view[part_begin:part_end], chunk.offset + part_begin)
            if not self._full:
                self._put_ranges(chunk.offset + part_begin, part_end - part_begin)

    def _different(self, chunk: Chunk, begin: int, end: int) -> list[Range]:
        """The parts of a run that the card does not have.

        Its first and last block tell whether it is worth to read it. On a card that had nothing of the image so far,
        only some runs are looked at: there, a look takes as long as the write.
        """
        if self._unseen_runs:
            self._unseen_runs -= 1
            return [(begin, end)]
        first, last = min(begin + BLOCK, end), max(begin, (end - 1) // BLOCK * BLOCK)
        if not self._same(chunk, begin, first) and not self._same(chunk, last, end):
            self._misses += 1
            self._unseen_runs = min(self._misses // 4, 15)
            return [(begin, end)]
        self._misses = 0
        if self._same(chunk, begin, end):
            return []
        places = ((b + begin, e + begin) for b, e in _blocks(end - begin))
        return list(_runs(places, lambda b, e: not self._data_buffer.equals(chunk.buffer, b - begin, e - begin, b)))

    def _on_range(self, offset: int, length: int) -> None:
        if self._full:
            self._rewritten.update(self._rewrite_zeros(offset, length))
            # Never back to False: the other thread sets it, too.
            if self._rewritten:
                self._touched = True
            self._count(done=length)
        else:
            self._require_right(offset, length, self._range_buffer)

    # --- 3. and 4. what is read back, and the first block at last

    def _finish(self) -> None:
        self._device.sync()
        blocks = self._to_read_back()
        self.figures.to_read = len(blocks) * BLOCK + 2 * CHUNK
        for begin, end in _runs([(block * BLOCK, (block + 1) * BLOCK) for block in sorted(blocks)], limit=CHUNK):
            self._watch.check()
            self._require_right(begin, min(end, self._image.size) - begin, self._data_buffer)
            self.figures.read += end - begin
        self._watch.check()
        self._write(self._content.tail_view, self._image.tail)
        self._device.sync()
        self._head.view[:] = self._image.head
        self._put_marker(self.marker())
        self._bootable = True
        self._write(self._head.view, 0)
        self._device.sync()
        # The last blocks to the end, also of an image that ends within one.
        last = -(-(self._image.size - CHUNK) // BLOCK) * BLOCK
        for begin, end in ((0, CHUNK), (last, self._image.size)):
            self._require_right(begin, end - begin, self._data_buffer)
        self.figures.read = self.figures.to_read
        self.figures.done = self.figures.size
        self._device.reread_partitions()

    def _to_read_back(self) -> set[int]:
        """Nothing where all was found right, with nothing written in between."""
        if not self._full:
            return set(self._samples())
        return {*self._content.digests, *self._rewritten} if self._touched else set()

    def marker(self) -> Marker:
        """The finished one. To be called when the image was read to its end."""
        digests = self._content.digests
        return dataclasses.replace(
            self._marker,
            finished=True,
            size=self._image.size,
            entries_crc=self._image.table.entries_crc,
            samples=tuple((block, card_marker.short(digests[block].hex())) for block in self._samples()),
        )

    def _samples(self) -> list[int]:
        return card_marker.spread(sorted(self._content.digests))

    def _undo(self) -> None:
        """The last checks come when the card would boot already."""
        if self._bootable:
            with contextlib.suppress(TalosError):
                self._head.view[:] = zeros[:BLOCK]
                self._write(self._head.view, 0)
                self._device.sync()

    def _require_right(self, offset: int, length: int, buffer: Buffer) -> None:
        """Read a part of the card back. Raises NotAsWritten with its first wrong byte, or Counterfeit."""
        self._device.read(buffer.view[:length], offset)
        for begin, end in _blocks(length):
            if not self._is_right(offset + begin, begin, end, buffer):
                seen = bytes(buffer.view[begin:end])
                raise self._diagnosed(offset + begin, seen)

    def _is_right(self, place: int, begin: int, end: int, buffer: Buffer) -> bool:
        digest = self._content.digests.get(place // BLOCK)
        if place == 0:
            return bool(buffer.view[begin:end] == self._head.view)
        if place >= self._image.tail:
            at = place - self._image.tail
            return bool(buffer.view[begin:end] == self._content.tail.view[at : at + end - begin])
        if digest:
            return hashlib.sha256(buffer.view[begin:end]).digest() == digest
        return not self._full or buffer.is_zero(begin, end)

    # --- why it is not right

    def _diagnosed(self, place: int, seen: bytes) -> CardError:
        expected = self._expected(place, len(seen))
        different = [number for number, (a, b) in enumerate(zip(seen, expected)) if a != b]
        offset = place + (different[0] if different else 0)
        wraps = self._wraps_at(place)
        if wraps:
            return Counterfeit(
                f"{self.disk.path}: it wraps at {wraps} ({wraps >> 20} MiB): what is written behind shows up at the "
                f"begin again, though the card says that it has {self.disk.size} bytes; first wrong byte at {offset}",
                offset=offset,
            )
        return NotAsWritten(
            f"{self.disk.path}: what is read back differs from what was written, at first in the byte at {offset} "
            f"({len(different)} bytes of the {len(seen)} at {place})",
            offset=offset,
        )

    def _expected(self, place: int, length: int) -> bytes:
        """A block as it should be."""
        if place == 0:
            return bytes(self._head.view)
        if place // BLOCK not in self._content.digests and place < self._image.tail:
            return bytes(length)
        buffer = bytearray(CHUNK)
        with open_image(self._image.path) as image:
            for begin in range(0, place + length, CHUNK):
                image.readinto(memoryview(buffer))
                if begin <= place < begin + CHUNK:
                    break
        return bytes(buffer[place % CHUNK : place % CHUNK + length])

    def _wraps_at(self, place: int) -> int:
        """After how many bytes the card begins anew; 0 where it does not, as far as the image goes.

        Overwrites the wrong block with a pattern, and looks for it elsewhere.
        """
        if self._watch.stopped:
            return 0
        sector = max(self.disk.sector, 512)
        pattern = os.urandom(sector)
        probe, seen = Buffer(BLOCK), Buffer()
        probe.view[:sector] = pattern
        try:
            self._device.write(probe.view, place)
            self._device.sync()
            # Upwards first: the nearest place tells how large the card is.
            for offset in (*range(place + BLOCK, self._image.size, CHUNK), *range(0, place, CHUNK)):
                self._watch.check()
                length = min(CHUNK, self._image.size - offset if offset > place else place - offset)
                self._device.read(seen.view[:length], offset)
                found = bytes(seen.view[:length]).find(pattern)
                if found >= 0:
                    distance: int = abs(offset - place + found)
                    return distance
        except TalosError:
            # What is known already is told.
            return 0
        return 0


def without_marker(head: bytes) -> bytes:
    return head[: card_marker.OFFSET] + bytes(card_marker.SIZE) + head[card_marker.OFFSET + card_marker.SIZE :]


def _blocks(length: int) -> list[Range]:
    """The blocks of a range of this length, from 0 on."""
    return [(begin, min(begin + BLOCK, length)) for begin in range(0, length, BLOCK)]


def _runs(
    places: t.Iterable[Range], wanted: t.Callable[[int, int], bool] = lambda begin, end: True, limit: int = 0
) -> t.Iterator[Range]:
    """Those that are wanted, joined where they touch, up to a limit."""
    begin = end = -1
    for place, place_end in places:
        if not wanted(place, place_end):
            continue
        if place == end and not (limit and place_end - begin > limit):
            end = place_end
            continue
        if end > 0:
            yield begin, end
        begin, end = place, place_end
    if end > 0:
        yield begin, end
