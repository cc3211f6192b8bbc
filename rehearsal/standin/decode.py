# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML text into documents of a machine configuration, refusing what Talos refuses."""

from __future__ import annotations

import typing as t

import yaml

from rehearsal.standin import durations
from rehearsal.standin.deletion import Deletion, take_deletions
from rehearsal.standin.endpoints import parse_error
from rehearsal.standin.errors import CommandError
from rehearsal.standin.known_keys import V1ALPHA1, KnownKeys, Struct, Type
from rehearsal.standin.release import Release
from rehearsal.standin.yaml_nodes import (
    FALSE,
    TRUE,
    Node,
    documents,
    is_null,
    line_of,
    node_text,
    number,
    plain,
    plain_scalar,
    short_tag,
)

# YAML 1.1 spells booleans in more ways, which Talos takes where a boolean is due.
_TRUE = (*TRUE, "y", "Y", "yes", "Yes", "YES", "on", "On", "ON")
_FALSE = (*FALSE, "n", "N", "no", "No", "NO", "off", "Off", "OFF")
_AUTO_HOSTNAMES = ("talos-addr", "stable", "off")
_V1ALPHA1_MARKS = ("machine", "cluster", "debug", "persist")


class Document(t.NamedTuple):
    """A document; absent keys are empty. ``kind`` of the nameless first kind is ``v1alpha1``."""

    api_version: str
    kind: str
    name: str
    content: dict[str, t.Any]

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.api_version, self.kind, self.name


class _Mismatch(Exception):
    """A value of another type than Talos expects."""


class Decoder:
    def __init__(self, release: Release) -> None:
        self.release = release
        self.known = KnownKeys(release.minor)

    def configuration(self, text: str) -> list[Document]:
        """A whole configuration; never empty."""
        decoded = self._decode(text, patch=False)
        return [document for document in decoded if isinstance(document, Document)]

    def patch(self, text: str) -> list[Document | Deletion]:
        return self._decode(text, patch=True)

    def _decode(self, text: str, patch: bool) -> list[Document | Deletion]:
        decoded: list[Document | Deletion] = []
        seen: set[tuple[str, str, str]] = set()
        for index, node in enumerate(documents(text, self.release.minor)):
            if patch:
                deletions, emptied = take_deletions(node, index)
                decoded += deletions
                if emptied:
                    continue
            if is_null(node):
                continue
            if not isinstance(node, yaml.MappingNode):
                raise CommandError(f"expected a YAML document at line {line_of(node)}")
            self._refuse_duplicate(node, seen, allowed=patch and self.release.minor >= (1, 14))
            decoded.append(self._document(node))
        if not decoded:
            raise CommandError("config not found")
        return decoded

    def _refuse_duplicate(self, node: Node, seen: set[tuple[str, str, str]], allowed: bool) -> None:
        identity = _identity(node)
        if identity in seen and not allowed:
            raise CommandError(f"duplicate document {'/'.join(identity)} is not allowed (line {line_of(node)})")
        seen.add(identity)

    def _document(self, node: Node) -> Document:
        identity = _identity(node)
        try:
            return self._typed(node)
        except CommandError as error:
            where = f"{'/'.join(identity)} (line {line_of(node)})"
            raise CommandError(f"error decoding document {where}: {error}") from None

    def _typed(self, node: Node) -> Document:
        version, kind = _version_and_kind(node)
        if version != V1ALPHA1 or (kind and kind not in self.known.kinds):
            raise CommandError(f'"{kind}" "{version}": not registered')
        content = self._decoded(node, kind or V1ALPHA1)
        unknown = self._unknown(node, Type("struct", name=kind or "Config"))
        if unknown:
            raise CommandError("unknown keys found during decoding:\n" + node_text(unknown))
        if kind:
            return Document(version, kind, content.get("name", ""), content)
        return Document("", V1ALPHA1, "", content)

    def _decoded(self, node: Node, kind: str) -> dict[str, t.Any]:
        problems: list[str] = []
        content = self._struct(node, self.known.document(kind), problems)
        if problems:
            type_name = self.known.kinds.get(kind, "v1alpha1.Config")
            kind = "" if kind == V1ALPHA1 else kind
            separator = " " if self.release.minor >= (1, 14) else "\n  "
            listed = ("; " if self.release.minor >= (1, 14) else "\n  ").join(problems)
            raise CommandError(f"error decoding {kind} to *{type_name}: yaml: construct errors:{separator}{listed}")
        return content

    def _struct(self, node: Node, struct: Struct, problems: list[str]) -> dict[str, t.Any]:
        content: dict[str, t.Any] = {}
        repeated = _repeated_keys(node)
        problems += repeated
        for key, value in node.value if not repeated else ():
            if key.value in struct and not is_null(value):
                decoded = self._value(value, struct[key.value].type, problems)
                if decoded is not None:
                    content[key.value] = decoded
        return content

    def _value(self, node: Node, of: Type, problems: list[str]) -> t.Any:
        try:
            if of.is_scalar:
                return _scalar(node, of.form)
            return self._collection(node, of, problems)
        except _Mismatch as mismatch:
            problems.append(f"line {line_of(node)}: {mismatch}")
            return None

    def _collection(self, node: Node, of: Type, problems: list[str]) -> t.Any:
        if of.form == "any":
            return plain(node)
        if of.form == "list":
            if not isinstance(node, yaml.SequenceNode):
                raise _Mismatch(_not_into(node, _go_name(of)))
            items = [self._value(item, of.of, problems) for item in node.value]
            return [item for item in items if item is not None]
        if not isinstance(node, yaml.MappingNode):
            raise _Mismatch(_not_into(node, _go_name(of)))
        if of.form == "struct":
            return self._struct(node, self.known.struct(of.name), problems)
        if of.form == "args":
            return {key.value: _argument(value) for key, value in node.value}
        return {key.value: self._map_value(value, of.of, problems) for key, value in node.value}

    def _map_value(self, node: Node, of: Type, problems: list[str]) -> t.Any:
        if is_null(node):
            return "" if of.form == "s" else None
        return self._value(node, of, problems)

    def _unknown(self, node: Node, of: Type) -> dict[str, t.Any] | None:
        """The unknown keys below a node, nested as they are; their values stay nodes."""
        if of.form == "list" and isinstance(node, yaml.SequenceNode):
            return self._unknown_of_items(node, of.of)
        if not isinstance(node, yaml.MappingNode) or of.form not in ("struct", "map"):
            return None
        struct = self.known.struct(of.name) if of.form == "struct" else None
        found: dict[str, t.Any] = {}
        for key, value in node.value:
            if struct is not None and key.value not in struct:
                found[key.value] = value
            elif below := self._unknown(value, struct[key.value].type if struct is not None else of.of):
                found[key.value] = below
        return found or None

    def _unknown_of_items(self, node: Node, of: Type) -> dict[str, t.Any] | None:
        found = [self._unknown(item, of) for item in node.value]
        return next((unknown for unknown in found if unknown), None)


def _repeated_keys(node: Node) -> list[str]:
    lines: dict[str, list[int]] = {}
    for key, _ in node.value:
        lines.setdefault(str(key.value), []).append(line_of(key))
    return [
        f'line {again}: mapping key "{key}" already defined at line {first}'
        for key, (first, *rest) in lines.items()
        for again in rest
    ]


def _identity(node: Node) -> tuple[str, str, str]:
    values = {str(key.value): value for key, value in reversed(node.value)}
    texts = (
        str(values[key].value) if isinstance(values.get(key), yaml.ScalarNode) else ""
        for key in ("apiVersion", "kind", "name")
    )
    version, kind, name = texts
    return version, kind or V1ALPHA1, name


def _version_and_kind(node: Node) -> tuple[str, str]:
    keys = {str(key.value): value for key, value in node.value}
    version = str(keys["apiVersion"].value) if "apiVersion" in keys else ""
    kind = str(keys["kind"].value) if "kind" in keys else ""
    if any(mark in keys for mark in _V1ALPHA1_MARKS):
        version = V1ALPHA1
    if not kind and version != V1ALPHA1:
        raise CommandError("missing kind")
    if not version:
        raise CommandError("missing apiVersion")
    return version, kind


def _scalar(node: Node, form: str) -> str | bool | int | float:
    if not isinstance(node, yaml.ScalarNode):
        raise _Mismatch(_not_into(node, _GO_NAMES.get(form, "string")))
    value = str(node.value)
    if form == "b":
        if not node.style and value in _TRUE + _FALSE:
            return value in _TRUE
        raise _Mismatch(_not_into(node, "bool"))
    if form in ("i", "mode"):
        return _whole_number(node, form)
    return _checked_text(node, value, form)


def _whole_number(node: Node, form: str) -> str | int:
    value = plain_scalar(node)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Mismatch(_not_into(node, "int"))
    return f"0o{number(str(node.value)):o}" if form == "mode" else value


def _checked_text(node: Node, value: str, form: str) -> str | int:
    if form == "port" and value.isdigit():
        return int(value)
    if form == "d":
        duration = durations.canonical(value)
        if duration is None:
            raise _Mismatch(_not_into(node, "time.Duration"))
        return duration
    if form == "auto" and value not in _AUTO_HOSTNAMES:
        raise _Mismatch(f"{value} does not belong to AutoHostnameKind values")
    if form == "prefix" and "/" not in value:
        raise _Mismatch(f"netip.ParsePrefix(\"{value}\"): no '/'")
    if form == "url" and (error := parse_error(value)):
        raise _Mismatch(error)
    return value


def _argument(node: Node) -> str | list[str]:
    if isinstance(node, yaml.SequenceNode):
        return [str(item.value) for item in node.value]
    return str(node.value)


_GO_NAMES = {"b": "bool", "i": "int", "d": "time.Duration", "mode": "v1alpha1.FileMode"}


def _go_name(of: Type) -> str:
    if of.form == "list":
        return f"[]{_go_name(of.of)}"
    if of.form in ("map", "args"):
        return f"map[string]{_go_name(of.of)}" if of.of else "meta.Args"
    if of.form == "struct":
        return f"v1alpha1.{of.name}"
    return ("*" if of.pointer else "") + _GO_NAMES.get(of.form, "string")


def _not_into(node: Node, name: str) -> str:
    value = f" `{node.value}`" if isinstance(node, yaml.ScalarNode) else ""
    return f"cannot construct {short_tag(node)}{value} into {name}"
