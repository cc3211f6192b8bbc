# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images on a host: what is known of one that is there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import _download, _images
from ansible_collections.homelab.talos.plugins.module_utils._progress import Watch
from tests import talos_image


@pytest.mark.parametrize("known", [True, False])
def test_an_image_of_a_known_sha256_is_hashed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    path = tmp_path / "metal-arm64.raw"
    talos_image.write_image(path, talos_image.SMALL)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    hashed: list[str] = []

    def counted(name: str) -> str:
        hashed.append(name)
        return sha256

    monkeypatch.setattr(_download, "sha256_of_file", counted)
    monkeypatch.setattr(_images, "sha256_of_file", counted)
    found = _images.of_file(str(path), _images.expected(sha256 if known else "", "raw", Watch()))
    assert (found.sha256, found.size, found.raw_size) == (sha256, path.stat().st_size, path.stat().st_size)
    assert len(hashed) == (1 if known else 2)
