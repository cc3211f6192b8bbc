# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The strategic merge of Talos: a patch into a document."""

from __future__ import annotations

import copy
import typing as t

from rehearsal.standin.errors import CommandError
from rehearsal.standin.known_keys import KnownKeys, Struct, Type

Content = dict[str, t.Any]


class Merge:
    def __init__(self, known: KnownKeys) -> None:
        self._known = known

    def document(self, kind: str, left: Content, right: Content) -> None:
        """Merge the right document into the left one."""
        self._struct(left, right, self._known.document(kind))

    def _struct(self, left: Content, right: Content, struct: Struct) -> None:
        for key, field in struct.items():
            of = field.type
            if of.form == "b" and not of.pointer:
                # Absent means false here, and false is merged too.
                left[key] = right.get(key, False)
            elif of.form == "struct" and not of.pointer and not field.replaced:
                merged = left.get(key, {})
                self._struct(merged, right.get(key, {}), self._known.struct(of.name))
                if merged or key in right:
                    left[key] = merged
            elif key in right:
                left[key] = self._value(left.get(key), right[key], of, field.replaced)

    def _value(self, left: t.Any, right: t.Any, of: Type, replaced: bool = False) -> t.Any:
        if left is None or (replaced and (right or of.form == "list")):
            return copy.deepcopy(right)
        if replaced:
            return left
        if of.is_scalar:
            return right if right or of.pointer or of.form == "b" else left
        if of.form == "struct":
            self._struct(left, right, self._known.struct(of.name))
            return left
        if of.form == "args":
            return {**left, **right}
        if of.form == "list":
            return self._list(left, right, of)
        if of.form == "map":
            return {**left, **{key: self._value(left.get(key), right[key], of.of) for key in right}}
        return _any(left, right)

    def _list(self, left: list[t.Any], right: list[t.Any], of: Type) -> list[t.Any]:
        if not of.name:
            return [*left, *copy.deepcopy(right)]
        merged = list(left)
        for item in right:
            place = _same_item(merged, item, of.name)
            if place is None:
                merged.append(copy.deepcopy(item))
            elif of.replaces_items:
                merged[place] = copy.deepcopy(item)
            else:
                self._struct(merged[place], item, self._known.struct(of.of.name))
        return merged


def _same_item(items: list[t.Any], wanted: Content, key: str) -> int | None:
    if key == "interface" and not wanted.get(key):
        key = "deviceSelector"
        if key not in wanted:
            return None
    places = (place for place, item in enumerate(items) if item.get(key) == wanted.get(key))
    return next(places, None)


def _any(left: t.Any, right: t.Any) -> t.Any:
    """Merge free-form data: of mappings each key, lists are appended."""
    if type(left) is not type(right):
        raise CommandError(f"merge type mismatch left {_go_type(left)} right {_go_type(right)}")
    if isinstance(left, dict):
        merged = dict(left)
        for key, value in right.items():
            merged[key] = copy.deepcopy(value) if left.get(key) is None else _any(left[key], value)
        return merged
    if isinstance(left, list):
        return [*left, *copy.deepcopy(right)]
    return right if right or isinstance(right, bool) else left


def _go_type(value: t.Any) -> str:
    names = {str: "string", bool: "bool", int: "int", float: "float64", list: "[]interface {}"}
    return names.get(type(value), "map[string]interface {}")
