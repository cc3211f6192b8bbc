# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""The lock of images: the sha256 of each by schematic, version and format, recorded when it was first downloaded."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping

from ._errors import TalosError
from ._image_factory import DiskImage

FILE_NAME = "images.lock.yml"

_HEADER = """\
---
# The sha256 of images, by schematic, Talos version and format: recorded when each was first downloaded, because the
# Image Factory publishes none, and held against every download since then. Commit this file. To let an image be
# recorded anew, remove its line.
"""
_HASH = re.compile(r"[0-9a-f]{64}")

Lock = t.Dict[DiskImage, str]  # noqa: UP006 - evaluated on Python 3.9


class ImageLockError(TalosError):
    """A lock that cannot be trusted as it is."""


def parse_lock(data: object, where: str) -> Lock:
    """The lock from plain data; raises ImageLockError with all that is wrong. An empty file is an empty lock."""
    lock: Lock = {}
    wrong: list[str] = []
    for schematic, versions in _items({} if data is None else data, where, wrong):
        for version, formats in _items(versions, schematic, wrong):
            for form, sha256 in _items(formats, f"{schematic} {version}", wrong):
                if _HASH.fullmatch(str(sha256)):
                    lock[DiskImage(schematic, version, form)] = str(sha256)
                else:
                    wrong.append(f"{schematic} {version} {form}: {sha256!r} is not a sha256")
    if wrong:
        raise ImageLockError(f"{where}: {'; '.join(wrong)}", remedy="Correct it by hand")
    return lock


def _items(data: object, where: str, wrong: list[str]) -> list[tuple[str, object]]:
    if not isinstance(data, Mapping):
        wrong.append(f"{where} is not a mapping")
        return []
    return [(str(key), value) for key, value in data.items()]


def render(lock: Lock) -> str:
    """The file's text."""
    lines = [_HEADER]
    for schematic in sorted({image.schematic_id for image in lock}):
        lines.append(f"{schematic}:\n")
        for version in sorted({image.version for image in lock if image.schematic_id == schematic}):
            lines.append(f"  {version}:\n")
            of_version = {image.format: sha for image, sha in lock.items() if image[:2] == (schematic, version)}
            lines += [f"    {form}: {of_version[form]}\n" for form in sorted(of_version)]
    return "".join(lines)
