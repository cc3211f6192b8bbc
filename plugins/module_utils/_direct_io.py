# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Reading and writing a disk past the page cache, so that what is read comes from the card and not from memory."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import stat
import struct
import time
import typing as t

from ._block_devices import Disk
from ._errors import TalosError

# What is compared and written as one, in bytes; a multiple of every sector and page.
BLOCK = 64 * 1024
# What is read or written by one call at most.
CHUNK = 2 * 1024 * 1024

_BLKRRPART = 0x125F
_BLKROGET = 0x125E
_BLKGETDISKSEQ = 0x80081280
# A card or its reader that was disturbed once often does it at the next try.
_PAUSES = (0.2, 1.0)
_LOCK_TRIES = 25
_GONE = frozenset({errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ENOMEDIUM, errno.ESHUTDOWN})

_libc = ctypes.CDLL(None)
_libc.memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class CardError(TalosError):
    """A card cannot be written or read. ``offset`` is the first byte that it concerns, where one does."""

    def __init__(self, cause: str, *, remedy: str = "", offset: int | None = None) -> None:
        super().__init__(cause, remedy=remedy)
        self.offset = offset


class Busy(CardError):
    """Somebody else uses the card."""

    remedy = "End what uses it (another run, a file manager, a mounted partition), then run again"


class NotAllowed(CardError):
    """The user may not open the card."""

    remedy = "Run with become: true, or add the user to the group that the device belongs to"


class Swapped(CardError):
    """It is not the card that was looked at."""

    remedy = "Leave the card in the reader from the check to the end of the run, then run again"


class Gone(CardError):
    """The card vanished."""

    remedy = "Put it in again (another port, cable or reader, if that goes on), then run again: it goes on from there"


class Buffer:
    """Memory at a page's begin, as direct access wants it, with ways to compare it that leave other threads free."""

    def __init__(self, size: int = CHUNK) -> None:
        self._memory = mmap.mmap(-1, size)
        self.view = memoryview(self._memory)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))

    def is_zero(self, begin: int, end: int) -> bool:
        return end <= begin or not _libc.memcmp(self._address + begin, _ZEROS._address, end - begin)

    def equals(self, other: Buffer, begin: int, end: int, other_begin: int) -> bool:
        return not _libc.memcmp(self._address + begin, other._address + other_begin, end - begin)


# Never written to, so that it takes no memory.
_ZEROS = Buffer()
zeros = _ZEROS.view.toreadonly()


class Device:
    """An open disk. All offsets and lengths are multiples of its sectors; all views are parts of a Buffer."""

    def __init__(self, disk: Disk, descriptor: int) -> None:
        self.disk = disk
        self._descriptor = descriptor

    @classmethod
    @contextlib.contextmanager
    def open(cls, disk: Disk, *, write: bool) -> t.Iterator[Device]:
        """The disk, ours alone while it is open for writing. Raises CardError."""
        # O_EXCL on a block device: nobody has it mounted or opened so. Looking must not keep others out.
        flags = os.O_RDWR | os.O_EXCL if write else os.O_RDONLY
        try:
            descriptor = os.open(disk.path, flags | os.O_DIRECT | os.O_CLOEXEC)
        except OSError as error:
            raise _cannot_open(disk, error) from error
        try:
            device = cls(disk, descriptor)
            device._require_same()
            if write:
                device._lock()
            yield device
        finally:
            os.close(descriptor)

    def _require_same(self) -> None:
        seen = os.fstat(self._descriptor)
        number = f"{os.major(seen.st_rdev)}:{os.minor(seen.st_rdev)}" if stat.S_ISBLK(seen.st_mode) else ""
        if number != self.disk.number or (self.disk.diskseq and self._diskseq() != self.disk.diskseq):
            raise Swapped(f"{self.disk.path}: the card was swapped since it was checked")

    def _diskseq(self) -> int:
        answer = bytearray(8)
        try:
            fcntl.ioctl(self._descriptor, _BLKGETDISKSEQ, answer)
        except OSError:
            # Kernels before 5.15 have no such number.
            return self.disk.diskseq
        return int(struct.unpack("=Q", answer)[0])

    def _lock(self) -> None:
        # udev and udisks leave a locked disk alone; they lock it themselves while they look at a new one.
        for _try in range(_LOCK_TRIES):
            with contextlib.suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(_PAUSES[0])
        else:
            raise Busy(f"{self.disk.path} is locked by another process")
        answer = bytearray(4)
        fcntl.ioctl(self._descriptor, _BLKROGET, answer)
        if any(answer):
            raise read_only(self.disk)

    def read(self, view: memoryview, offset: int) -> None:
        """Fill the view."""
        self._transfer(os.preadv, "read", view, offset)

    def write(self, view: memoryview, offset: int) -> None:
        self._transfer(os.pwritev, "write", view, offset)

    def _transfer(self, call: t.Callable[..., int], what: str, view: memoryview, offset: int) -> None:
        done, pauses = 0, list(_PAUSES)
        while done < len(view):
            try:
                moved = call(self._descriptor, [view[done:]], offset + done)
            except OSError as error:
                if error.errno != errno.EIO or not pauses:
                    raise self._failed(what, offset + done, error) from error
                time.sleep(pauses.pop(0))
                continue
            if not moved and self._has_vanished():
                raise self._failed(what, offset + done, OSError(errno.ENODEV, os.strerror(errno.ENODEV)))
            if not moved:
                raise CardError(
                    f"{self.disk.path}: it ends at {offset + done}, though it says that it has {self.disk.size} bytes",
                    remedy="The card is defective or counterfeit: use another",
                    offset=offset + done,
                )
            done += moved

    def _failed(self, what: str, offset: int, error: OSError) -> CardError:
        path = self.disk.path
        if error.errno in _GONE or self._has_vanished():
            return Gone(f"{path}: the card vanished: {what} at {offset}: {error.strerror}", offset=offset)
        if error.errno in (errno.EPERM, errno.EROFS):
            return read_only(self.disk)
        remedy = "The card or its reader is defective: try another reader or port, then another card"
        return CardError(f"{path}: {what} at {offset}: {error.strerror}", remedy=remedy, offset=offset)

    def _has_vanished(self) -> bool:
        # An SD card that is pulled out of its slot first becomes one without bytes: reads end, writes find no space.
        return not os.lseek(self._descriptor, 0, os.SEEK_END)

    def sync(self) -> None:
        """Wait until everything is on the card."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise self._failed("flush", 0, error) from error

    def reread_partitions(self) -> None:
        """Let the kernel see the new partitions, where we may; udev does it too when the disk is closed."""
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._descriptor, _BLKRRPART)


def read_only(disk: Disk) -> CardError:
    return CardError(
        f"{disk.path} is read-only", remedy="Push the card's lock switch to the other side, or use another"
    )


def _cannot_open(disk: Disk, error: OSError) -> CardError:
    if error.errno == errno.EBUSY:
        return Busy(f"{disk.path} is in use")
    if error.errno in (errno.EACCES, errno.EPERM):
        return NotAllowed(f"{disk.path}: {error.strerror}")
    if error.errno == errno.EROFS:
        return read_only(disk)
    if error.errno in _GONE or error.errno == errno.ENOENT:
        return Gone(f"{disk.path}: {error.strerror}")
    return CardError(
        f"{disk.path} cannot be opened: {error.strerror}", remedy="Try another reader or card; dmesg tells more"
    )
