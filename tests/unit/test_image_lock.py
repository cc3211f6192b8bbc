# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of images: read, refused, and recorded by many at once."""

from __future__ import annotations

import concurrent.futures
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.homelab.talos.plugins.module_utils._image_factory import DiskImage
from ansible_collections.homelab.talos.plugins.module_utils._image_lock import ImageLockError, parse_lock, render
from ansible_collections.homelab.talos.plugins.plugin_utils._image_lock_file import ImageLockFile, OtherImage

IMAGE = DiskImage("e" * 64, "1.14.2", "zst")
SUM = "0" * 64
OTHER = "a" * 64
RECORD = """
import sys
from ansible_collections.homelab.talos.plugins.module_utils._image_factory import DiskImage
from ansible_collections.homelab.talos.plugins.plugin_utils._image_lock_file import ImageLockFile
for number in range(int(sys.argv[2]), int(sys.argv[2]) + 20):
    ImageLockFile(sys.argv[1]).record(DiskImage(f"{number:064x}", "1.14.2", "zst"), "0" * 64)
"""


def test_what_is_recorded_is_read_again(tmp_path: Path) -> None:
    file = ImageLockFile(str(tmp_path / "inventory" / "images.lock.yml"))
    assert file.sha256(IMAGE) == ""
    others = [IMAGE._replace(format="xz"), IMAGE._replace(version="1.13.9"), IMAGE._replace(schematic_id="b" * 64)]
    for image in (IMAGE, *others):
        file.record(image, SUM)
    assert [file.sha256(image) for image in (IMAGE, *others)] == [SUM] * 4
    assert os.listdir(tmp_path / "inventory") == ["images.lock.yml"]
    assert stat.S_IMODE(os.stat(file.path).st_mode) == 0o644
    assert Path(file.path).read_text().startswith("---\n# The sha256 of images")


def test_a_record_is_never_replaced(tmp_path: Path) -> None:
    file = ImageLockFile(str(tmp_path / "images.lock.yml"))
    file.record(IMAGE, SUM)
    before = Path(file.path).read_text()
    with pytest.raises(OtherImage, match=f"expected sha256 {SUM}, seen {OTHER}"):
        file.record(IMAGE, OTHER)
    file.record(IMAGE, SUM)
    assert Path(file.path).read_text() == before


def test_processes_that_record_at_once_lose_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "images.lock.yml")

    def record(first: int) -> int:
        return subprocess.run([sys.executable, "-c", RECORD, path, str(first)], check=False).returncode

    with concurrent.futures.ThreadPoolExecutor() as pool:
        assert list(pool.map(record, range(0, 80, 20))) == [0] * 4
    wanted = [DiskImage(f"{number:064x}", "1.14.2", "zst") for number in range(80)]
    assert [ImageLockFile(path).sha256(image) for image in wanted] == [SUM] * 80


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "images.lock.yml"
    path.write_bytes(b"\xff")
    with pytest.raises(ImageLockError, match="is not YAML"):
        ImageLockFile(str(path)).sha256(IMAGE)
    path.unlink()
    path.mkdir()
    with pytest.raises(ImageLockError, match="cannot be read"):
        ImageLockFile(str(path)).sha256(IMAGE)
    with pytest.raises(ImageLockError, match="cannot be written"):
        ImageLockFile("/proc/nowhere/images.lock.yml").record(IMAGE, SUM)


@pytest.mark.parametrize("data", [[], {"e": 1}, {"e": {"1.14.2": []}}, {"e": {"1.14.2": {"zst": "abc"}}}])
def test_what_is_no_lock(data: object) -> None:
    with pytest.raises(ImageLockError, match=r"^images\.lock\.yml: "):
        parse_lock(data, "images.lock.yml")


def test_the_order_of_the_file_is_not_that_of_recording() -> None:
    images = [DiskImage(name * 64, version, form) for name in "ba" for version in ("2", "1") for form in ("zst", "xz")]
    assert render(dict.fromkeys(images, SUM)) == render(dict.fromkeys(reversed(images), SUM))
    assert parse_lock(None, "x") == {}
