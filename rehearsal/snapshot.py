# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An etcd snapshot: the smallest database file that etcd's tools read, and its checksum.

The file is a bbolt database of four pages: two meta pages, the free list, and the root, which holds etcd's bucket
"key" (inline and empty).
"""

from __future__ import annotations

import hashlib
import struct

PAGE = 4096
_MAGIC, _VERSION = 0xED0CDAED, 2
_LEAF, _META, _FREELIST = 2, 4, 16
_BUCKET_LEAF = 1


def _fnv64a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def _page(number: int, flags: int, count: int, body: bytes) -> bytes:
    return (struct.pack("<QHHI", number, flags, count, 0) + body).ljust(PAGE, b"\0")


def _meta(number: int, transaction: int) -> bytes:
    root, freelist, pages = 3, 2, 4
    body = struct.pack("<IIIIQQQQQ", _MAGIC, _VERSION, PAGE, 0, root, 0, freelist, pages, transaction)
    return _page(number, _META, 0, body + struct.pack("<Q", _fnv64a(body)))


def _leaf(entries: list[tuple[int, bytes, bytes]]) -> bytes:
    """The elements of a leaf page, then their keys and values; positions count from each element."""
    headers, data = b"", b""
    for index, (flags, key, value) in enumerate(entries):
        position = (len(entries) - index) * 16 + len(data)
        headers += struct.pack("<IIII", flags, position, len(key), len(value))
        data += key + value
    return headers + data


def _inline_bucket(entries: list[tuple[int, bytes, bytes]]) -> bytes:
    """A bucket inside its parent's page: root 0 and sequence 0, then a page of its own."""
    page = struct.pack("<QHHI", 0, _LEAF, len(entries), 0) + _leaf(entries)
    return struct.pack("<QQ", 0, 0) + page


def snapshot() -> bytes:
    """The bytes that EtcdSnapshot streams."""
    buckets = [(_BUCKET_LEAF, name, _inline_bucket([])) for name in (b"key", b"meta")]
    database = b"".join(
        (
            _meta(0, 0),
            _meta(1, 1),
            _page(2, _FREELIST, 0, b""),
            _page(3, _LEAF, len(buckets), _leaf(buckets)),
        )
    )
    return database + hashlib.sha256(database).digest()
