# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Patches of the inventory: mappings written inline, or files with Talos documents.

A patch is a strategic-merge patch: one or more Talos documents, of which the one without a kind may be
partial. JSON patches (RFC 6902) are refused, because Talos does not apply them to a config of several
documents, and every config since contract 1.12 is one.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable, Iterable, Mapping

from . import _values, _yaml_text
from ._problems import HIDDEN, Report, suggestion
from ._versions import KINDS, V1ALPHA1_KEYS
from ._yaml import TextLoader, yaml

_FILE = re.compile(r"[\w./ ~-]+\.(ya?ml|json)")
_API_VERSION = "v1alpha1"
# What a problem may show of a patch: the name of a kind or key, never a value.
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}", re.ASCII)

Found = tuple[str, str, str]
# Where it stands in the inventory, and its text.
Patch = tuple[str, str]


class PatchReader:
    """Reads patches for many nodes; what stands once in the inventory is read and checked once."""

    def __init__(self, read_file: Callable[[str], str]) -> None:
        self._read_file = read_file
        self._files: dict[tuple[str, str], tuple[str, list[Found]]] = {}
        self._inline: dict[tuple[str, str], tuple[str, list[Found]]] = {}

    def read(self, value: object, key: str, report: Report, talos_minor: str) -> tuple[Patch, ...]:
        """A list of patches; each item stays a patch of its own."""
        patches = []
        for index, item in enumerate(_values.items(value, key, report)):
            where = f"{key}[{index}]"
            text, problems = self._item(item, talos_minor)
            for suffix, shown, remedy in problems:
                report(where + suffix, shown, remedy)
            if text:
                patches.append((f"{where} ({item})" if isinstance(item, str) else where, text))
        return tuple(patches)

    def _item(self, item: object, talos_minor: str) -> tuple[str, list[Found]]:
        if isinstance(item, str):
            cached = self._files.get((item, talos_minor))
            if cached is None:
                cached = self._files[item, talos_minor] = self._file(item, talos_minor)
            return cached
        written = repr(item)
        cached = self._inline.get((written, talos_minor))
        if cached is None:
            cached = self._inline[written, talos_minor] = _inline(item, talos_minor)
        return cached

    def _file(self, path: str, talos_minor: str) -> tuple[str, list[Found]]:
        if not _FILE.fullmatch(path):
            return "", [("", HIDDEN, "must be a mapping, or the name of a .yaml file in the inventory's folder")]
        try:
            text = self._read_file(path)
        except OSError as error:
            return "", [("", path, f"cannot be read ({error.strerror or error}); is it in the inventory's folder?")]
        except UnicodeDecodeError:
            return "", [("", path, "is not UTF-8 text")]
        try:
            documents = [item for item in yaml.load_all(text, Loader=TextLoader) if item not in (None, "")]
        except yaml.YAMLError as error:
            return "", [("", path, f"is not YAML{_place(error)}")]
        if not documents:
            return "", [("", path, "holds no document; remove it from the list")]
        return text, [(suffix, path, remedy) for suffix, remedy in _problems(documents, talos_minor)]


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return ""
    # What the loader quotes could be a part of a secret.
    said = re.sub(r"(['\"]).{4,}\1", HIDDEN, str(getattr(error, "problem", "")))
    return f": line {mark.line + 1}: {said}"


def _inline(item: object, talos_minor: str) -> tuple[str, list[Found]]:
    problems = [(suffix, HIDDEN, remedy) for suffix, remedy in _problems([item], talos_minor)]
    return _yaml_text.write(item) if isinstance(item, dict) and not problems else "", problems


def _problems(documents: list[t.Any], talos_minor: str) -> list[tuple[str, str]]:
    """What is wrong with the documents of one patch, as suffixes of its key and remedies."""
    found: list[tuple[str, str]] = []
    seen: set[tuple[str, str]] = set()
    for index, document in enumerate(documents):
        where = f", document {index + 1}" if len(documents) > 1 else ""
        if not isinstance(document, Mapping):
            found.append((where, _no_mapping(document)))
            continue
        kind = document.get("kind", "")
        identity = (str(kind), str(document.get("name", "")))
        if identity in seen:
            found.append((where, "the same document stands twice in one patch; merge the two, or use two patches"))
        seen.add(identity)
        if "kind" in document or "apiVersion" in document:
            found += [(where, remedy) for remedy in _kind_problems(document, talos_minor)]
        else:
            found += [(where, remedy) for remedy in _v1alpha1_problems(document)]
    return found


def _no_mapping(document: object) -> str:
    operations = isinstance(document, list) and document and all(_is_operation(item) for item in document)
    if operations:
        return "is a JSON patch, which Talos refuses for configs of several documents; write it as a merge patch"
    return "is not a Talos document; write a mapping with machine or cluster, or with apiVersion and kind"


def _is_operation(item: object) -> bool:
    return isinstance(item, Mapping) and "op" in item and "path" in item


def _kind_problems(document: Mapping[str, t.Any], talos_minor: str) -> Iterable[str]:
    kind, version = document.get("kind"), document.get("apiVersion")
    if not isinstance(kind, str) or not isinstance(version, str):
        yield "is not a Talos document: it has one of apiVersion and kind; give both"
        return
    known = KINDS[talos_minor]
    if version != _API_VERSION:
        yield f"is not a Talos document: its apiVersion must be {_API_VERSION}; manifests go to Argo CD"
    elif kind not in known:
        newer = [minor for minor in KINDS if kind in KINDS[minor]]
        name = kind if _WORD.fullmatch(kind) else "its kind"
        if newer:
            yield f"kind {name} came with Talos {newer[0]}, and this cluster has {talos_minor}"
        else:
            yield f"kind {name} is {suggestion(kind, known)}"


def _v1alpha1_problems(document: Mapping[str, t.Any]) -> Iterable[str]:
    if not document:
        yield "is empty; remove it from the list"
    for key, item in document.items():
        name = key if _WORD.fullmatch(key) else "a key"
        if key not in V1ALPHA1_KEYS:
            yield f"is not a Talos document: {name} is {suggestion(key, V1ALPHA1_KEYS)}"
        elif key in ("machine", "cluster") and not isinstance(item, Mapping):
            yield f"{name} must be a mapping"
        elif key == "machine" and "type" in item:
            yield "machine.type comes from the groups controlplanes and workers; remove it"
