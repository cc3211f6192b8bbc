# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Disk images as the bytes that belong on a card, whether their file is raw, xz or zstd.

The outline of a container is held against the file before its first byte is given out: one xz stream or one zstd frame
that ends where the file ends, with a checksum and the size of its content. So a truncated file is refused at once. The
content is held against checksum and size while it is read.

Names of fields are those of the xz file format 1.1 and of RFC 8878 (zstd).
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import importlib
import lzma
import os
import stat
import sys
import types
import typing as t
import zlib

from ._errors import TalosError

# Small enough for a processor's cache: with pieces of 4 MiB decompression takes three times as long.
_PIECE = 128 * 1024
# Blocks up to this size are decompressed side by side, some ahead of their use.
_BLOCK_LIMIT = 4 << 20
_AHEAD = 8 << 20
_THREADS = 4
# What a decompressor may take: enough for `xz -7` and `zstd -19`.
_XZ_MEMORY = 24 << 20
_ZSTD_WINDOW_LOG = 23
# The index of some 200 000 blocks; Talos' images have 2300.
_INDEX_LIMIT = 1 << 20

_XZ_MAGIC = b"\xfd7zXZ\0"
_XZ_FOOTER_MAGIC = b"YZ"
_XZ_END_SIZE = 12
_XZ_CHECKS = (lzma.CHECK_CRC32, lzma.CHECK_CRC64, lzma.CHECK_SHA256)
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_CHECKSUM_SIZE = 4
_RLE_BLOCK, _COMPRESSED_BLOCK = 1, 2
_BOOT_SIGNATURE = b"\x55\xaa"
_SECTOR = 512

_Pieces = t.Generator[bytes, None, None]


class ImageError(TalosError):
    """An image that cannot be used."""

    remedy = "Name a file that the user of this run may read"


class CorruptImage(ImageError):
    """Truncated, changed, or something else beside the image in its file."""

    remedy = "Remove the file, then have it downloaded or made again"


class UnknownFormat(ImageError):
    """Neither a disk image nor one in a container whose content can be checked."""

    remedy = "Give a disk image, raw or as the commands xz and zstd compress a file"


class MissingLibrary(ImageError):
    """This Python cannot decompress zstd."""

    remedy = (
        f"Install backports.zstd there: {sys.executable} -m pip install backports.zstd, or let "
        "ansible_python_interpreter name a Python that has it; an image compressed by xz needs no library"
    )


class _Damaged(Exception):
    """What is wrong with a container."""


class _Unknown(Exception):
    """Why a file cannot be used as an image."""


class RawImage:
    """An open image: ``size`` is that of its content in bytes, ``readinto`` gives it out from start to end.

    ``format`` is raw, xz or zst.
    """

    def __init__(self, file: t.BinaryIO, form: str, size: int, pieces: _Pieces) -> None:
        self.format = form
        self.size = size
        self._file = file
        self._pieces = pieces
        self._piece = memoryview(b"")
        self._taken = 0

    def __enter__(self) -> RawImage:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._pieces.close()
        self._file.close()

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer, or as much of it as is left; 0 at the end. Raises ImageError.

        The last bytes are given out after the whole container proved right.
        """
        filled = 0
        while filled < len(buffer):
            if not self._piece:
                self._piece = memoryview(self._next())
                if not self._piece:
                    break
            count = min(len(self._piece), len(buffer) - filled)
            buffer[filled : filled + count] = self._piece[:count]
            self._piece = self._piece[count:]
            filled += count
        return filled

    def _next(self) -> bytes:
        with _told(self._file.name):
            piece = next(self._pieces, b"")
            self._taken += len(piece)
            if self._taken > self.size or (piece and self._taken == self.size and next(self._pieces, b"")):
                raise _Damaged(f"it holds more than the {self.size} bytes that it announces")
            if not piece and self._taken < self.size:
                raise _Damaged(f"it announces {self.size} bytes, and ends after {self._taken}")
            return piece


def open_image(path: str) -> RawImage:
    """Open an image, by what is in the file and not by its name. Raises ImageError."""
    with _told(path), contextlib.ExitStack() as failing:
        file = open(path, "rb", buffering=0, opener=_without_waiting)  # noqa: SIM115 - RawImage closes it
        failing.callback(file.close)
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _Unknown("is not a regular file")
        form = _format(os.pread(file.fileno(), _SECTOR, 0))
        size, pieces = _CONTENT[form](file, status.st_size)
        failing.pop_all()
    return RawImage(file, form, size, pieces)


def require_library(form: str) -> None:
    """Raises MissingLibrary where images of this format cannot be opened."""
    if form == "zst":
        _zstd_library()


def _without_waiting(path: str, flags: int) -> int:
    """A named pipe would wait until somebody writes into it."""
    return os.open(path, flags | os.O_NONBLOCK)


@contextlib.contextmanager
def _told(path: str) -> t.Iterator[None]:
    try:
        yield
    except _Damaged as damage:
        raise CorruptImage(f"{path} is damaged: {damage}") from damage
    except _Unknown as unknown:
        raise UnknownFormat(f"{path} {unknown}") from unknown
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from error


def _format(start: bytes) -> str:
    if start.startswith(_XZ_MAGIC):
        return "xz"
    if start.startswith(_ZSTD_MAGIC):
        return "zst"
    if start.endswith(_BOOT_SIGNATURE) and len(start) == _SECTOR:
        return "raw"
    raise _Unknown(f"is neither a disk image nor one compressed by xz or zstd: it begins with {start[:12]!r}")


def _raw_content(file: t.BinaryIO, file_size: int) -> tuple[int, _Pieces]:
    return file_size, _raw_pieces(file)


def _raw_pieces(file: t.BinaryIO) -> _Pieces:
    while piece := file.read(_PIECE):
        yield piece


class _Decompressor(t.Protocol):
    """That of the standard library for xz, and for zstd."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def _streamed(
    file: t.BinaryIO, decompressor: _Decompressor, told: t.Callable[[], contextlib.AbstractContextManager[None]]
) -> _Pieces:
    while not decompressor.eof:
        data = file.read(_PIECE) if decompressor.needs_input else b""
        if decompressor.needs_input and not data:
            raise _Damaged("it is truncated")
        with told():
            piece = decompressor.decompress(data, _PIECE)
        if piece:
            yield piece


def _exactly(file: int, count: int, offset: int) -> bytes:
    data = os.pread(file, count, offset)
    if len(data) < count:
        raise _Damaged("it is truncated")
    return data


# --- xz


class _Block(t.NamedTuple):
    """A line of an xz stream's index, and where the block is."""

    offset: int
    unpadded_size: int
    uncompressed_size: int

    @property
    def total_size(self) -> int:
        return _padded(self.unpadded_size)


def _padded(size: int) -> int:
    return (size + 3) & ~3


def _xz_content(file: t.BinaryIO, file_size: int) -> tuple[int, _Pieces]:
    header, blocks = _xz_outline(file.fileno(), file_size)
    size = sum(block.uncompressed_size for block in blocks)
    if len(blocks) > 1 and max(block.uncompressed_size for block in blocks) <= _BLOCK_LIMIT:
        return size, _xz_pieces_of_blocks(file.fileno(), header, blocks)
    # One thread: the blocks are too large to have some of them in memory, or there is only one.
    return size, _streamed(file, _xz_decompressor(), _xz_told)


def _xz_outline(file: int, file_size: int) -> tuple[bytes, list[_Block]]:
    """The header of the stream that is the whole file, and its blocks."""
    header = _exactly(file, _XZ_END_SIZE, 0)
    footer = _exactly(file, _XZ_END_SIZE, max(file_size - _XZ_END_SIZE, 0))
    if not footer.endswith(_XZ_FOOTER_MAGIC):
        raise _Damaged("it is truncated, or something follows the xz stream")
    if _crc32(header[6:8]) != header[8:12] or _crc32(footer[4:10]) != footer[:4] or header[6:8] != footer[8:10]:
        raise _Damaged("the ends of its xz stream are wrong")
    if header[7] not in _XZ_CHECKS:
        raise _Unknown("has no checksum that is known here: compress it by the command xz without --check")
    index_size = (int.from_bytes(footer[4:8], "little") + 1) * 4
    index_offset = file_size - _XZ_END_SIZE - index_size
    if index_size > _INDEX_LIMIT or index_offset < _XZ_END_SIZE:
        raise _Damaged("the index of its xz stream has an impossible size")
    blocks = _xz_blocks(_exactly(file, index_size, index_offset))
    end = blocks[-1].offset + blocks[-1].total_size if blocks else _XZ_END_SIZE
    if end != index_offset:
        raise _Damaged("it is not one xz stream: something is missing, or several are in one file")
    return header, blocks


def _xz_blocks(index: bytes) -> list[_Block]:
    if index[0] or _crc32(index[:-4]) != index[-4:]:
        raise _Damaged("the index of its xz stream is wrong")
    numbers = _xz_numbers(index[1:-4])
    offset = _XZ_END_SIZE
    blocks = []
    for _index in range(next(numbers, 0)):
        block = _Block(offset, next(numbers, 0), next(numbers, 0))
        if not block.unpadded_size:
            raise _Damaged("the index of its xz stream is too short")
        blocks.append(block)
        offset += block.total_size
    return blocks


def _xz_numbers(data: bytes) -> t.Iterator[int]:
    """Integers of seven bits a byte, the lowest first; the last byte of each is below 128."""
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0


def _crc32(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def _xz_pieces_of_blocks(file: int, header: bytes, blocks: list[_Block]) -> _Pieces:
    ahead = max(2, _AHEAD // max(block.uncompressed_size for block in blocks))
    threads = min(_THREADS, ahead, len(os.sched_getaffinity(0)))
    waiting: collections.deque[concurrent.futures.Future[bytes]] = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        try:
            for block in blocks:
                waiting.append(pool.submit(_xz_block, file, header, block))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _xz_block(file: int, header: bytes, block: _Block) -> bytes:
    """The content of one block: to the decompressor it is the first of its stream."""
    decompressor = _xz_decompressor()
    data = header + _exactly(file, block.total_size, block.offset)
    # One more than announced, so that the checksum at the end is read, too.
    with _xz_told():
        content = decompressor.decompress(data, block.uncompressed_size + 1)
    if len(content) != block.uncompressed_size:
        raise _Damaged(f"the block at {block.offset} is not as large as its index tells")
    return content


def _xz_decompressor() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)


@contextlib.contextmanager
def _xz_told() -> t.Iterator[None]:
    try:
        yield
    except lzma.LZMAError as error:
        if "Memory usage" in str(error):
            raise _Unknown("takes too much memory to decompress: compress it by xz -7 or less") from error
        raise _Damaged(str(error)) from error


# --- zstd


def _zstd_library() -> types.ModuleType:
    """The standard library's, from Python 3.14 on, or the package that brings it to older ones."""
    for name in ("compression.zstd", "backports.zstd"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    raise MissingLibrary("The Python of this host cannot decompress zstd")


@dataclasses.dataclass(frozen=True)
class _FrameHeader:
    size: int
    content_size: int
    window_size: int


def _zstd_content(file: t.BinaryIO, file_size: int) -> tuple[int, _Pieces]:
    library = _zstd_library()

    @contextlib.contextmanager
    def told() -> t.Iterator[None]:
        try:
            yield
        except library.ZstdError as error:
            raise _Damaged(str(error)) from error

    options = {library.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    decompressor = library.ZstdDecompressor(options=options)
    return _zstd_content_size(file.fileno(), file_size), _streamed(file, decompressor, told)


def _zstd_content_size(file: int, file_size: int) -> int:
    """Of the frame that is the whole file."""
    header = _zstd_header(file)
    if header.window_size > 1 << _ZSTD_WINDOW_LOG:
        raise _Unknown("takes too much memory to decompress: compress it by zstd -19 or less, without --long")
    offset, last = header.size, False
    while not last:
        block = int.from_bytes(_exactly(file, 3, offset), "little")
        last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
        if kind > _COMPRESSED_BLOCK:
            raise _Damaged(f"its zstd frame has no block at {offset}")
        offset += 3 + (1 if kind == _RLE_BLOCK else size)
    end = offset + _ZSTD_CHECKSUM_SIZE
    if file_size < end:
        raise _Damaged("it is truncated")
    if file_size > end:
        raise _Damaged("something follows the zstd frame")
    return header.content_size


def _zstd_header(file: int) -> _FrameHeader:
    descriptor = _exactly(file, 5, 0)[4]
    if descriptor & 0x1B:
        raise _Unknown("is compressed by a dictionary or by an unknown version of zstd")
    single_segment = bool(descriptor & 0x20)
    width = (int(single_segment), 2, 4, 8)[descriptor >> 6]
    if not width or not descriptor & 0x04:
        raise _Unknown("has no checksum or does not tell its size: compress the file itself by the command zstd")
    offset = 5 if single_segment else 6
    content_size = int.from_bytes(_exactly(file, width, offset), "little") + (256 if width == 2 else 0)
    window_size = content_size if single_segment else _zstd_window_size(_exactly(file, 1, 5)[0])
    return _FrameHeader(offset + width, content_size, window_size)


def _zstd_window_size(window_descriptor: int) -> int:
    base = 1 << (10 + (window_descriptor >> 3))
    return base + base // 8 * (window_descriptor & 7)


_CONTENT: dict[str, t.Callable[[t.BinaryIO, int], tuple[int, _Pieces]]] = {
    "raw": _raw_content,
    "xz": _xz_content,
    "zst": _zstd_content,
}
