# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plug-in of nbdkit: a card in a file that goes wrong as its options say. It runs under the Python of nbdkit.

file=PATH             what is on the card
wrap=BYTES            counterfeit: the card begins anew after so many bytes
keep=BYTES            counterfeit of another kind: writes behind so many bytes are lost, and read as zeros
flip=OFFSET           one bit of the byte there is always wrong
drop=OFFSET           writes of the block there are silently lost
fail_write=NUMBER     the write of this number, counted from 1, gives the error
fail_times=COUNT      and so many after it (default: all)
error=NAME            such as EIO (default) or ENOSPC
stall=SECONDS         the write of number stall_write waits so long
stall_write=NUMBER
"""

from __future__ import annotations

import builtins
import errno
import os
import threading
import time

import nbdkit

API_VERSION = 2
BLOCK = 65536

options: dict[str, str] = {}
writes = 0
lock = threading.Lock()


def config(key: str, value: str) -> None:
    options[key] = value


def number(key: str, default: int = 0) -> int:
    return int(options.get(key, default))


def thread_model() -> int:
    return nbdkit.THREAD_MODEL_SERIALIZE_ALL_REQUESTS


def open(_readonly: bool) -> int:
    return os.open(options["file"], os.O_RDWR)


def close(h: int) -> None:
    os.close(h)


def get_size(h: int) -> int:
    return os.fstat(h).st_size


def can_fua(_h: int) -> int:
    return nbdkit.FUA_NATIVE


def can_flush(_h: int) -> bool:
    return True


def parts(offset: int, length: int) -> list[tuple[int, int, int]]:
    """Offset in the request, offset on the card and length of its parts: several where the card wraps."""
    wrap = number("wrap")
    if not wrap:
        return [(0, offset, length)]
    found, done = [], 0
    while done < length:
        place = (offset + done) % wrap
        size = min(length - done, wrap - place)
        found.append((done, place, size))
        done += size
    return found


def pread(h: int, buf: bytearray, offset: int, _flags: int) -> None:
    for begin, place, size in parts(offset, len(buf)):
        buf[begin : begin + size] = os.pread(h, size, place)
    if "keep" in options:
        known = max(0, number("keep") - offset)
        buf[known:] = bytes(max(0, len(buf) - known))
    flip = number("flip") - offset
    if "flip" in options and 0 <= flip < len(buf):
        buf[flip] ^= 4


def pwrite(h: int, buf: bytes, offset: int, _flags: int) -> None:
    go_wrong()
    for begin, place, size in parts(offset, len(buf)):
        for at in range(0, size, BLOCK):
            block = buf[begin + at : begin + min(at + BLOCK, size)]
            if "drop" not in options or (place + at) // BLOCK != number("drop") // BLOCK:
                os.pwrite(h, block, place + at)


def go_wrong() -> None:
    global writes
    with lock:
        writes += 1
        now = writes
    if now == number("stall_write", -1):
        time.sleep(float(options["stall"]))
    first = number("fail_write", 0)
    if first and first <= now < first + number("fail_times", 1 << 60):
        nbdkit.set_error(getattr(errno, options.get("error", "EIO")))
        raise builtins.RuntimeError(f"write {now} fails as it shall")


def flush(h: int, _flags: int) -> None:
    os.fsync(h)
