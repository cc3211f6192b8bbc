# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of images on the controller. Several runs, and several tasks of one, may record at the same time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import typing as t

import yaml

from ..module_utils._errors import TalosError
from ..module_utils._image_factory import DiskImage
from ..module_utils._image_lock import ImageLockError, Lock, parse_lock, render
from ..module_utils._whole_file import whole_file


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

    def sha256(self, image: DiskImage) -> str:
        """Empty where the image was not recorded yet. Raises ImageLockError."""
        return self._read().get(image, "")

    def record(self, image: DiskImage, sha256: str) -> None:
        """Raises OtherImage where another one was recorded in the meantime."""
        folder = os.path.dirname(self.path)
        try:
            os.makedirs(folder, exist_ok=True)
            with _alone_in(folder):
                lock = self._read()
                seen = lock.setdefault(image, sha256)
                if seen != sha256:
                    raise OtherImage(f"{self.path}: expected sha256 {seen}, seen {sha256}")
                self._write(lock)
        except OSError as error:
            raise ImageLockError(f"{self.path} cannot be written: {error.strerror}") from error

    def _read(self) -> Lock:
        try:
            with open(self.path, encoding="utf-8") as file:
                # A sha256 of digits alone is a text, too.
                return parse_lock(yaml.load(file, yaml.BaseLoader), self.path)  # noqa: S506 - makes texts alone
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ImageLockError(f"{self.path} cannot be read: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ImageLockError(f"{self.path} is not YAML: {error}", remedy="Correct it by hand") from error

    def _write(self, lock: Lock) -> None:
        with whole_file(os.path.dirname(self.path), render(lock).encode()) as temporary:
            # To be committed, it is no secret.
            os.chmod(temporary, 0o644)
            os.replace(temporary, self.path)


@contextlib.contextmanager
def _alone_in(folder: str) -> t.Iterator[None]:
    """A lock on the folder leaves no file behind, and ends with its process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
