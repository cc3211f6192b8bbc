# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Images on this host: whole, checked, and of the sha256 that is given or seen at their first use."""

from __future__ import annotations

import dataclasses
import os
import time
import typing as t

from ._decompression import CorruptImage, UnknownFormat, open_image, require_library
from ._download import Cache, Expected, NotThere, WrongContent, sha256_of_file
from ._image_factory import FORMATS, DiskImage
from ._progress import Watch
from ._whole_file import make_private

_BUFFER = 4 << 20


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """An image's file; ``size`` and ``raw_size`` are in bytes, compressed and as on a card."""

    path: str
    sha256: str = ""
    size: int = 0
    raw_size: int = 0


class Telling:
    """Ends work that the watch ends, and tells how many bytes of it are done."""

    def __init__(self, watch: Watch, step: str) -> None:
        self._watch = watch
        self._step = step
        self._began = time.monotonic()
        self._begin = -1

    def __call__(self, done: int, size: int) -> None:
        self._watch.check()
        if self._begin < 0:
            self._begin = done
        self._watch.tell(lambda: self._figures(done, size))

    def _figures(self, done: int, size: int) -> dict[str, t.Any]:
        seconds = time.monotonic() - self._began
        return {"step": self._step, "done": done, "size": size, "begin": self._begin, "seconds": seconds}


def format_of(path: str) -> str:
    """By the end of the name."""
    end = path.rpartition(".")[2]
    return end if end in FORMATS else "raw"


def expected(sha256: str, form: str, watch: Watch) -> Expected:
    """What an image's file must be: of this sha256, and a new one also right to its end."""
    return Expected(sha256, lambda path: _look_through(path, form, Telling(watch, "checked")))


def of_file(path: str, wanted: Expected) -> ImageFile:
    """The file that the user brought. Raises WrongContent for another one."""
    if not os.path.isfile(path):
        raise NotThere(f"there is no file {path}", remedy="Put the image there; it is a path on this host")
    if not wanted.is_at(path):
        try:
            wanted.require(path)
        except WrongContent as error:
            raise WrongContent(f"{path} is another image: {error.cause}") from error
    return _described(path, wanted)


def cached(image: DiskImage, factory: str, cache: Cache, wanted: Expected) -> ImageFile | None:
    """None where it is to be downloaded. Raises MissingLibrary where that would be of no use."""
    require_library(image.format)
    found = cache.find(image.url(factory), wanted)
    return _described(found.path, wanted) if found else None


def downloaded(image: DiskImage, factory: str, cache: Cache, wanted: Expected) -> ImageFile:
    """Into the cache. Raises DownloadError."""
    make_private(cache.folder)
    try:
        return _described(cache.download(image.url(factory), wanted).path, wanted)
    except NotThere as error:
        raise NotThere(
            error.cause,
            remedy=f"The factory does not know schematic {image.schematic_id} or Talos v{image.version}: check "
            "cluster_talos_version and node_schematic (an ID must be registered with this factory)",
        ) from error


def _look_through(path: str, form: str, telling: Telling) -> None:
    """Decompress all of it. Raises WrongContent."""
    buffer = memoryview(bytearray(_BUFFER))
    done = 0
    try:
        with open_image(path) as opened:
            if opened.format != form:
                raise WrongContent(f"it is in the format {opened.format}, not {form}")
            while count := opened.readinto(buffer):
                done += count
                telling(done, opened.size)
    except (CorruptImage, UnknownFormat) as error:
        raise WrongContent(error.cause) from error


def _described(path: str, wanted: Expected) -> ImageFile:
    """Of a file that is the wanted one."""
    with open_image(path) as opened:
        return ImageFile(path, wanted.sha256 or sha256_of_file(path), os.path.getsize(path), opened.size)
