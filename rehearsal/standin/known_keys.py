# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys that Talos knows, with their types: ``known_keys.txt`` read key by key as it is needed."""

from __future__ import annotations

import pathlib
import typing as t

_TABLE = pathlib.Path(__file__).with_name("known_keys.txt")
_SCALARS = frozenset({"s", "b", "i", "d", "mode", "url", "prefix", "auto", "port"})
V1ALPHA1 = "v1alpha1"


class Type(t.NamedTuple):
    """``form`` is a scalar's name, ``any``, ``args``, ``list``, ``map`` or ``struct``."""

    form: str
    pointer: bool = False
    # Of a list's items or a map's values.
    of: t.Any = None
    # The name of a struct, or the key by which a list's items are merged.
    name: str = ""
    replaces_items: bool = False

    @property
    def is_scalar(self) -> bool:
        return self.form in _SCALARS


class Field(t.NamedTuple):
    type: Type
    omitted_if_empty: bool
    replaced: bool


Struct = dict[str, Field]


class KnownKeys:
    """The table as one minor release knows it."""

    def __init__(self, minor: tuple[int, int]) -> None:
        self._new = minor >= (1, 14)
        self._lines: dict[str, str] = {}
        self._structs: dict[str, Struct] = {}
        # By kind: the name of its type in Go, which messages mention.
        self.kinds: dict[str, str] = {}
        for line in _TABLE.read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                self._add(*line.partition(" ")[::2])

    def _add(self, name: str, keys: str) -> None:
        if name[0] in "+>":
            if name[0] == ">" and not self._new:
                return
            name, _, go_type = name[1:].partition("=")
            self.kinds[name] = go_type if "." in go_type else f"{go_type}.{name}V1Alpha1"
            keys = f"apiVersion:s? kind:s {keys}"
        self._lines[name] = keys

    def struct(self, name: str) -> Struct:
        if name not in self._structs:
            keys = (key for key in self._lines[name].split(" ") if key)
            unknown = "<" if self._new else ">"
            self._structs[name] = dict(_field(key.lstrip("<>")) for key in keys if key[0] != unknown)
        return self._structs[name]

    def document(self, kind: str) -> Struct:
        """The keys of a kind of documents; of none for what 1.13 leaves of a deletion without a target."""
        if not kind:
            return {}
        return self.struct("Config" if kind == V1ALPHA1 else kind)


def _field(text: str) -> tuple[str, Field]:
    key, _, rest = text.partition(":")
    text = rest.rstrip("?!")
    return key, Field(_type(text), "?" in rest[len(text) :], "!" in rest[len(text) :])


def _type(text: str) -> Type:
    pointer, text = text.startswith("*"), text.removeprefix("*")
    if text.startswith("["):
        of, _, key = text[1:-1].partition("@")
        return Type("list", pointer, _type(of), key.removeprefix("="), key.startswith("="))
    if text.startswith("{"):
        return Type("map", pointer, _type(text[1:-1]))
    if text in _SCALARS or text in ("any", "args"):
        return Type(text, pointer)
    return Type("struct", pointer, None, text)
