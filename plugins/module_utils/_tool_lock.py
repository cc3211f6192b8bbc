# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""The lock of tools: the sha256 of each download, by tool, version and architecture."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping

from ._errors import TalosError
from ._tool_table import ARCHITECTURES, NotPublished, Tool, checksum_in, is_hash, is_name, is_version

FILE_NAME = "tools.lock.yml"

_HEADER = """\
---
# The sha256 of what the publishers of tools offer for download, by tool, version and architecture. Written by
# `make lock`, which never replaces a value: when a publisher's checksum of a locked version changes, it fails.
"""


class LockError(TalosError):
    """A lock that cannot be trusted as it is."""


class Key(t.NamedTuple):
    """What one checksum belongs to."""

    tool: str
    version: str
    arch: str

    def __str__(self) -> str:
        return f"{self.tool} {self.version} {self.arch}"


Lock = t.Dict[Key, str]  # noqa: UP006 - evaluated on Python 3.9


def parse_lock(data: object, where: str) -> Lock:
    """The lock from plain data; raises LockError with all that is wrong. An empty file is an empty lock."""
    lock: Lock = {}
    wrong: list[str] = []
    for tool, versions in _items(data if data is not None else {}, where, wrong):
        for version, hashes in _items(versions, tool, wrong):
            for arch, sha256 in _items(hashes, f"{tool} {version}", wrong):
                key = Key(tool, version, arch)
                if not (is_name(tool) and is_version(version) and arch in ARCHITECTURES):
                    wrong.append(f"{key}: not a tool, a version without v, and one of {', '.join(ARCHITECTURES)}")
                elif not is_hash(sha256):
                    wrong.append(f"{key}: {sha256!r} is not a sha256, 64 digits of 0 to 9 and a to f")
                else:
                    lock[key] = str(sha256)
    if wrong:
        raise LockError(f"{where}: " + "; ".join(wrong), remedy="Correct it by hand, or make it anew with `make lock`")
    return lock


def _items(data: object, where: str, wrong: list[str]) -> Iterable[tuple[str, object]]:
    if not isinstance(data, Mapping):
        wrong.append(f"{where} is not a mapping")
        return []
    return [(str(key), value) for key, value in data.items()]


def joined(locks: Mapping[str, Lock]) -> Lock:
    """Several locks as one, by the names of their files. They may repeat each other, but not differ."""
    result: Lock = {}
    origin: dict[Key, str] = {}
    wrong = []
    for where, lock in locks.items():
        for key, sha256 in lock.items():
            if result.setdefault(key, sha256) != sha256:
                wrong.append(f"{key} is {result[key]} in {origin[key]} and {sha256} in {where}")
            origin.setdefault(key, where)
    if wrong:
        raise LockError("; ".join(wrong), remedy="Ask the publisher which is right, and remove the other line")
    return result


def versions_of(lock: Iterable[Key], tool: str, arch: str) -> list[str]:
    """The locked versions of a tool, newest first."""
    return sorted({key.version for key in lock if (key.tool, key.arch) == (tool, arch)}, key=_rank, reverse=True)


def _rank(version: str) -> tuple[t.Any, ...]:
    """In the order of versions: 0.9 < 0.10-rc.1 < 0.10."""
    release, suffix = (*version.split("-", 1), "")[:2]
    return (_numbers(release), not suffix, _numbers(suffix), version)


def _numbers(text: str) -> list[int]:
    return [int(each) for each in re.findall(r"\d+", text)]


def render(lock: Lock) -> str:
    """The file's text: tools by name, versions newest first."""
    lines = [_HEADER]
    for tool in sorted({key.tool for key in lock}):
        lines.append(f"{tool}:\n")
        for version in sorted({key.version for key in lock if key.tool == tool}, key=_rank, reverse=True):
            lines.append(f"  {version}:\n")
            lines += [
                f"    {arch}: {lock[Key(tool, version, arch)]}\n"
                for arch in ARCHITECTURES
                if Key(tool, version, arch) in lock
            ]
    return "".join(lines)


class Refreshed(t.NamedTuple):
    """What a refresh made: the new lock, what is new in it, what the publisher confirmed, and what it does not have."""

    lock: Lock
    added: list[Key]
    confirmed: list[Key]
    missing: dict[Key, str]


def refresh(lock: Lock, table: Mapping[str, Tool], wanted: Iterable[Key], fetch: t.Callable[[str], str]) -> Refreshed:
    """Ask the publishers for these checksums. ``fetch`` gets a URL's text, and raises NotPublished where there is none.

    Raises LockError when a publisher's checksum of a locked version is another one than the locked one.
    """
    result = Refreshed(dict(lock), [], [], {})
    texts: dict[str, str] = {}
    changed = []
    for key in wanted:
        tool = table[key.tool]
        url = tool.checksums_for(key.version, key.arch)
        try:
            if url not in texts:
                texts[url] = fetch(url)
            asset = tool.url_for(key.version, key.arch).rpartition("/")[2]
            sha256 = checksum_in(texts[url], tool.form, asset, url)
        except NotPublished as error:
            result.missing[key] = error.cause
            continue
        if key not in lock:
            result.lock[key] = sha256
            result.added.append(key)
        elif lock[key] == sha256:
            result.confirmed.append(key)
        else:
            changed.append(f"{key}: locked {lock[key]}, now {sha256} at {url}")
    if changed:
        raise LockError(
            "the checksum of a locked version changed: " + "; ".join(changed),
            remedy="A release is not replaced by right: find out why. Nothing was written; if the new file is the "
            "right one, remove the line from the lock by hand and run make lock again",
        )
    return result
