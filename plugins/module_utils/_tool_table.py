# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""The table of tools: where each publisher puts the binary, and where its checksum."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from ._archive import is_archive
from ._download import DownloadError, place_of
from ._errors import TalosError
from ._problems import suggestion

ARCHITECTURES = ("amd64", "arm64")
# What `uname -m` calls them.
MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}

# How a publisher writes checksums: lines of sha256sum, or the hash and nothing else.
FORMS = ("sums", "bare")

# What a tool's version follows: the nodes' Talos, or the cluster's Kubernetes.
FOLLOWED = ("talos", "kubernetes")

_HASH = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_REMEDY = "The role's README tells what a row of the table holds"
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
_SUM = re.compile(r"([0-9A-Fa-f]{64})\s+\*?(?:\./)?(\S+)")


class TableError(TalosError):
    """The table of tools, or a publisher's checksum file, cannot be understood."""

    remedy = "Correct url, checksums and form in the row of this tool"


@dataclasses.dataclass(frozen=True)
class Tool:
    """One tool. ``{version}`` and ``{arch}`` stand in its texts, and ``{url}`` in ``checksums``.

    ``member`` is the path in the archive; empty for a bare binary. ``completion`` are the tool's words that print a
    shell's completion when the shell's name follows; empty where it has none. A tool has a ``version``, or ``follows``.
    """

    name: str
    url: str
    checksums: str
    form: str
    version: str = ""
    follows: str = ""
    member: str = ""
    completion: tuple[str, ...] = ()

    def url_for(self, version: str, arch: str) -> str:
        return _filled(self.url, version, arch)

    def checksums_for(self, version: str, arch: str) -> str:
        return _filled(self.checksums, version, arch).replace("{url}", self.url_for(version, arch))

    def member_for(self, version: str, arch: str) -> str:
        return _filled(self.member, version, arch)


def _filled(text: str, version: str, arch: str) -> str:
    return text.replace("{version}", version).replace("{arch}", arch)


def is_hash(text: object) -> bool:
    return isinstance(text, str) and bool(_HASH.fullmatch(text))


def is_name(text: object) -> bool:
    """Fit to be the name of a file and of a tool."""
    return isinstance(text, str) and bool(_NAME.fullmatch(text))


def is_version(text: object) -> bool:
    return isinstance(text, str) and bool(_VERSION.fullmatch(text)) and text[0] != "v"


def parse_table(data: object, where: str) -> dict[str, Tool]:
    """The table from plain data; raises TableError with all that is wrong."""
    if not isinstance(data, Mapping):
        raise TableError(f"{where} is not a mapping of tools", remedy=_REMEDY)
    wrong: list[str] = []
    table = {}
    for name, row in data.items():
        problems, tool = _row(str(name), row)
        wrong += [f"{name}: {problem}" for problem in problems]
        if tool:
            table[tool.name] = tool
    if wrong:
        raise TableError(f"{where}: " + "; ".join(wrong), remedy=_REMEDY)
    return table


def _row(name: str, row: object) -> tuple[list[str], Tool | None]:
    if not is_name(name):
        return ["is not fit to be the name of a file"], None
    if not isinstance(row, Mapping):
        return ["is not a mapping"], None
    known = {field.name for field in dataclasses.fields(Tool)} - {"name"}
    wrong = [f"{key} is {suggestion(str(key), known)}" for key in row if key not in known]
    texts = {str(key): str(value) for key, value in row.items() if key in known and key != "completion"}
    wrong += [f"{key} is missing" for key in ("url", "checksums", "form") if not texts.get(key)]
    if texts.get("form") and texts["form"] not in FORMS:
        wrong.append(f"form is {texts['form']}: choose one of {', '.join(FORMS)}")
    if texts.get("follows") and texts["follows"] not in FOLLOWED:
        wrong.append(f"follows is {texts['follows']}: choose one of {', '.join(FOLLOWED)}")
    if bool(texts.get("version")) == bool(texts.get("follows")):
        wrong.append("give either version or follows")
    if texts.get("version") and not is_version(texts["version"]):
        wrong.append(f"version is {texts['version']}: write it without a leading v")
    completion = row.get("completion") or []
    if not isinstance(completion, (list, tuple)):
        wrong.append("completion is not a list of words")
    if not wrong:
        tool = Tool(name=name, completion=tuple(map(str, completion)), **texts)
        try:
            place_of(tool.url_for("1", "amd64"))
            place_of(tool.checksums_for("1", "amd64"))
        except DownloadError as error:
            wrong.append(error.cause)
        if is_archive(tool.url) != bool(tool.member):
            wrong.append("member is the path of the binary in a .tar.gz, and only there")
        if not wrong:
            return [], tool
    return wrong, None


def checksum_in(text: str, form: str, asset: str, where: str) -> str:
    """The sha256 of an asset, out of a publisher's checksum file; raises TableError where it does not hold just one."""
    text = text.lstrip("\ufeff")
    if form == "bare":
        found = {text.strip().lower()}
        if not is_hash(next(iter(found))):
            raise TableError(f"{where} is not a sha256 and nothing else, but: {_beginning(text)}")
    else:
        sums = [match for match in map(_SUM.fullmatch, map(str.strip, text.splitlines())) if match]
        found = {match[1].lower() for match in sums if match[2] == asset}
        if not sums:
            raise TableError(f"{where} holds no lines of sha256sum, but: {_beginning(text)}")
        if not found:
            names = ", ".join(sorted(match[2] for match in sums))
            raise NotPublished(f"{where} does not hold {asset}, but {names}")
    if len(found) > 1:
        raise TableError(f"{where} holds several sha256 of {asset}: {', '.join(sorted(found))}")
    return found.pop()


class NotPublished(TableError):
    """The publisher has no checksum of this version for this architecture."""

    remedy = "Choose a version that its publisher has for amd64 and arm64"


def _beginning(text: str) -> str:
    return repr(text[:60])
