# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""One file out of a .tar.gz, and nothing beside it."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import typing as t
import zlib

from ._errors import TalosError

_CHUNK = 256 * 1024
# Ten times the largest of these tools: what is larger is not one.
_LIMIT = 2 * 1024**3


class ArchiveError(TalosError):
    """An archive that does not hold what it should, or more than it may."""

    remedy = "Nothing was installed from it. Compare the member in the table of tools with the publisher's archive"


def is_archive(name: str) -> bool:
    return name.endswith((".tar.gz", ".tgz"))


def extract(archive: t.BinaryIO, member: str, target: t.BinaryIO, name: str) -> str:
    """Write the member into ``target`` and return its sha256. ``name`` is what errors call the archive.

    The whole archive is looked at: one with a path that leads out of it, or with two members of this name, is not the
    publisher's, and is refused.
    """
    found = ""
    others: list[str] = []
    try:
        with tarfile.open(fileobj=archive, mode="r:gz") as tar:
            for each in tar:
                path = _normal(each.name)
                if path.startswith("/") or ".." in path.split("/"):
                    raise ArchiveError(f"{name} holds the path {each.name!r}, which leads out of it")
                if path != member:
                    others.append(path)
                    continue
                if found:
                    raise ArchiveError(f"{name} holds {member} twice")
                found = _copied(tar, each, target, name)
            # The checksum of the compression stands behind the last member.
            _drain(t.cast("t.BinaryIO", tar.fileobj))
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ArchiveError(f"{name} is not a whole .tar.gz: {error}") from error
    if not found:
        shown = ", ".join(sorted(others)[:5]) or "nothing"
        raise ArchiveError(f"{name} does not hold {member}, but {shown}")
    return found


def _drain(file: t.BinaryIO) -> None:
    while file.read(_CHUNK):
        pass


def _normal(path: str) -> str:
    while path.startswith("./"):
        path = path[2:]
    return path


def _copied(tar: tarfile.TarFile, member: tarfile.TarInfo, target: t.BinaryIO, name: str) -> str:
    source = tar.extractfile(member) if member.isreg() else None
    if source is None:
        raise ArchiveError(f"{member.name} in {name} is not a file")
    if member.size > _LIMIT:
        raise ArchiveError(f"{member.name} in {name} has {member.size} bytes, which no such tool has")
    digest = hashlib.sha256()
    while True:
        chunk = source.read(_CHUNK)
        if not chunk:
            break
        target.write(chunk)
        digest.update(chunk)
    return digest.hexdigest()
