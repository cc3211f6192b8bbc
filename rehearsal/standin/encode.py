# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents into YAML as Talos writes it: known keys in their order, empty ones left out or not."""

from __future__ import annotations

import typing as t

from rehearsal.standin.decode import Document
from rehearsal.standin.known_keys import KnownKeys, Struct, Type
from rehearsal.standin.yaml_nodes import dump

_EMPTY = {"b": False, "i": 0, "d": "0s", "mode": "0o0", "list": [], "map": {}, "any": {}, "args": {}}


# Of these Talos keeps empty ones where it writes comments.
_KEPT_BESIDE_COMMENTS = ("extraManifests", "inlineManifests", "registries")


def encode(documents: list[Document], known: KnownKeys, commented: bool = False) -> str:
    """The text without comments also where Talos would comment it."""
    written = []
    for document in documents:
        content = _struct(document.content, known.document(document.kind), known)
        if commented:
            _keep_empty(document.content, content)
        written.append(dump(content))
    return "---\n".join(written)


def _keep_empty(content: dict[str, t.Any], written: dict[str, t.Any]) -> None:
    for section in ("machine", "cluster"):
        for key in _KEPT_BESIDE_COMMENTS:
            if key in content.get(section, {}):
                written[section].setdefault(key, content[section][key])


def _struct(content: dict[str, t.Any], struct: Struct, known: KnownKeys) -> dict[str, t.Any]:
    written: dict[str, t.Any] = {}
    for key, field in struct.items():
        if field.omitted_if_empty and _is_empty(content.get(key), field.type, known):
            continue
        written[key] = _value(content.get(key), field.type, known)
    return written


def _is_empty(value: t.Any, of: Type, known: KnownKeys) -> bool:
    if of.pointer or value is None:
        return value is None
    if of.form == "struct":
        fields = known.struct(of.name).items()
        return all(_is_empty(value.get(key), field.type, known) for key, field in fields)
    if of.form == "list":
        return not value
    return bool(value == _EMPTY.get(of.form, ""))


def _value(value: t.Any, of: Type, known: KnownKeys) -> t.Any:
    if value is None and of.pointer:
        return None
    if of.form == "struct":
        return _struct(value or {}, known.struct(of.name), known)
    if value is None:
        return _EMPTY.get(of.form, "")
    if of.form == "list":
        return [_value(item, of.of, known) for item in value]
    if of.form == "map":
        return {key: _value(item, of.of, known) for key, item in sorted(value.items())}
    return value
