# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of images on the controller."""

from __future__ import annotations

from ..module_utils._errors import TalosError
from ..module_utils._image_factory import DiskImage
from ..module_utils._image_lock import ImageLockError, Lock, parse_lock, render
from ._record_file import RecordFile


class OtherImage(TalosError):
    """The lock got another sha256 for the image while it was downloaded."""

    remedy = (
        "Two runs downloaded the image at the same time, and it was not the same one. Find out which is right, remove "
        "the line from the lock or the file, then run again"
    )


class ImageLockFile:
    """``images.lock.yml``."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = RecordFile(path, ImageLockError)

    def sha256(self, image: DiskImage) -> str:
        """Empty where the image was not recorded yet. Raises ImageLockError."""
        return self._read().get(image, "")

    def record(self, image: DiskImage, sha256: str) -> None:
        """Raises OtherImage where another one was recorded in the meantime."""
        with self._file.alone():
            lock = self._read()
            seen = lock.setdefault(image, sha256)
            if seen != sha256:
                raise OtherImage(f"{self.path}: expected sha256 {seen}, seen {sha256}")
            self._file.write(render(lock))

    def _read(self) -> Lock:
        return parse_lock(self._file.read(), self.path)
