# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the threads of one card do to each other, at the moments that matter; the cards are in tests/card."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.homelab.talos.plugins.module_utils._block_devices import Disk
from ansible_collections.homelab.talos.plugins.module_utils._card_image import Content, outline
from ansible_collections.homelab.talos.plugins.module_utils._card_marker import Marker
from ansible_collections.homelab.talos.plugins.module_utils._card_writer import CardWork, Writing
from ansible_collections.homelab.talos.plugins.module_utils._progress import Watch
from tests import talos_image

DISK = Disk("sdx", "/dev/sdx", "8:0", "usb", "usb:A", "", 1 << 30, 512, removable=True, read_only=False, diskseq=1)


def test_data_that_is_written_while_zeros_are_found_right_is_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "raw"
    talos_image.write_image(raw, talos_image.SMALL)
    content = Content(outline(str(raw)))
    content.digests[16] = bytes(32)
    work = Writing(DISK, Watch(), content, Marker(), full=True)

    class Unwritten(set[int]):
        def __len__(self) -> int:
            # The thread of the data, between two steps of this one.
            work._touched = True
            return 0

    work._rewritten = Unwritten()
    monkeypatch.setattr(work, "_rewrite_zeros", lambda _offset, _length: ())
    work._on_range(0, 65536)
    assert work._to_read_back() == {16}


def test_a_reader_that_ends_well_does_not_take_the_error_of_the_card_away() -> None:
    pending = [OSError("the card's")]

    class Failing(CardWork):
        _seen: Exception | None = None

        @property
        def error(self) -> Exception | None:  # type: ignore[override]  # an attribute there
            seen = self._seen
            # The card's thread fails right after the first look.
            self._seen = pending.pop() if pending else seen
            return seen

        @error.setter
        def error(self, error: Exception | None) -> None:
            self._seen = error

    work = Failing(DISK, Watch(), 0)
    work.end(None)
    assert [str(work.error), str(work.error)] == ["None", "the card's"]
