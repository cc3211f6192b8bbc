# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Partition tables and markers: what is read of a card's ends, and that a wrong byte in them is none."""

from __future__ import annotations

import dataclasses
import io
import random
import zlib

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import _card_marker as card_marker
from ansible_collections.homelab.talos.plugins.module_utils import _gpt as gpt
from ansible_collections.homelab.talos.plugins.module_utils._card_marker import Marker
from tests.talos_image import Geometry, write_gpt

HEAD = 64 * 1024
MARKER = Marker(
    node="talos-cp",
    cluster="homelab",
    image="a" * 64,
    version="1.14.2",
    schematic="b" * 64,
    finished=True,
    size=2246 << 20,
    entries_crc=0xFFFFFFFF,
    samples=tuple((35_000 + number, "d" * 16) for number in range(64)),
)


def disk(sector: int) -> bytes:
    geometry = Geometry(efi=1, boot=2, slack=0, sector=sector)
    file = io.BytesIO(bytes(8 << 20))
    write_gpt(file, geometry.partitions, 8 << 20, sector)
    return file.getvalue()


@pytest.mark.parametrize("sector", [512, 4096])
def test_both_tables_of_a_disk(sector: int) -> None:
    content = disk(sector)
    table = gpt.primary(content[:HEAD])
    assert table is not None
    assert (table.sector, table.here, table.other) == (sector, 1, len(content) // sector - 1)
    assert table.labels == ("EFI", "BIOS", "BOOT", "META")
    assert table.first_byte == 1 << 20
    efi = table.partitions[0]
    assert (efi.kind, efi.first * sector, (efi.last + 1) * sector) == (
        "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
        1 << 20,
        2 << 20,
    )
    copy = gpt.backup(content[-HEAD:], len(content))
    assert copy is not None
    assert (copy.partitions, copy.here, copy.other) == (table.partitions, table.other, 1)


@pytest.mark.parametrize("sector", [512, 4096])
def test_a_table_with_any_wrong_byte_is_none(sector: int) -> None:
    content = disk(sector)
    used = 4 * 128
    places = [sector + offset for offset in range(92)] + [2 * sector + offset for offset in range(used)]
    for place in places:
        broken = bytearray(content[:HEAD])
        broken[place] ^= 0x20
        assert gpt.primary(bytes(broken)) is None, place


def test_what_is_no_table() -> None:
    noise = random.Random(1)
    for content in (b"", bytes(HEAD), noise.randbytes(HEAD), disk(512)[:1500], disk(512)[:1024]):
        assert gpt.primary(content) is None
        assert gpt.backup(content, 1 << 30) is None


def test_a_marker_is_read_as_it_was_written() -> None:
    packed = MARKER.pack()
    assert len(packed) == card_marker.SIZE
    head = bytes(card_marker.OFFSET) + packed + bytes(HEAD - card_marker.OFFSET - len(packed))
    assert card_marker.find(head) == MARKER
    unfinished = dataclasses.replace(MARKER, finished=False, samples=())
    assert card_marker.find(bytes(card_marker.OFFSET) + unfinished.pack()) == unfinished


def test_a_marker_with_any_wrong_byte_is_none() -> None:
    packed = MARKER.pack()
    for place in range(len(packed.rstrip(b"\0"))):
        broken = bytearray(packed)
        broken[place] ^= 0x01
        assert card_marker.find(bytes(card_marker.OFFSET) + bytes(broken)) is None, place
    assert card_marker.find(bytes(HEAD)) is None
    assert card_marker.find(bytes(card_marker.OFFSET) + packed[:-1]) is None


@pytest.mark.parametrize(
    "text",
    [
        b"[1, 2]",
        b'"homelab"',
        b"null",
        b"{",
        b"\xff",
        b'{"size": "x"}',
        b'{"size": true}',
        b'{"size": -1}',
        b'{"node": ["a"]}',
        b'{"finished": 1}',
        b'{"entries_crc": null}',
        b'{"samples": 5}',
        b'{"samples": ["ab"]}',
        b'{"samples": [[1]]}',
        b'{"samples": [["1", "a"]]}',
        b'{"samples": [[-1, "a"]]}',
    ],
)
def test_a_marker_that_says_what_none_of_ours_says_is_none(text: bytes) -> None:
    assert card_marker.find(marker_of(text)) is None


def test_a_marker_of_a_newer_version_may_say_more() -> None:
    assert card_marker.find(marker_of(b'{"node": "talos-cp", "colour": ["red"]}')) == Marker(node="talos-cp")


def marker_of(text: bytes) -> bytes:
    """The begin of a card with this text where a marker has its own."""
    packed = card_marker._PREFIX.pack(card_marker._MAGIC, len(text), zlib.crc32(text)) + text
    return bytes(card_marker.OFFSET) + packed.ljust(card_marker.SIZE, b"\0")


def test_whether_a_marker_will_fit_is_known_before_its_samples_are() -> None:
    node = "n"
    while True:
        words = Marker(node=node, cluster="homelab", image="a" * 64, version="1.14.2", schematic="b" * 64, size=1 << 40)
        try:
            words.require_fits()
        except card_marker.TooLong:
            break
        full = dataclasses.replace(MARKER, node=node, size=1 << 40)
        assert len(full.pack()) == card_marker.SIZE
        node += "n" * 50
    assert len(node) > 253


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 3600])
def test_samples_are_spread_over_all_blocks(count: int) -> None:
    blocks = list(range(10, 10 + 3 * count, 3))
    samples = card_marker.spread(blocks)
    assert len(samples) == min(count, 64)
    assert set(samples) <= set(blocks)
    if count:
        assert {blocks[0], blocks[-1]} <= set(samples)
