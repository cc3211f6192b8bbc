# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who owns which fields: ``managedFields``, and server-side apply on top of it.

A path is a tuple of the steps that FieldsV1 writes: ``f:spec``, ``k:{"name":"x"}``, ``v:"x"``.
"""

from __future__ import annotations

import copy
import json
import typing as t
from dataclasses import dataclass, field

from rehearsal.kubernetes import Object
from rehearsal.kubernetes.kinds import Resource
from rehearsal.kubernetes.lists import ATOMIC, Names, identity, is_atomic_map, list_keys
from rehearsal.kubernetes.status import StatusError, apply_conflict

Path = tuple[str, ...]
_UNOWNED = frozenset(
    (
        *("name", "namespace", "generateName", "uid", "resourceVersion", "generation", "creationTimestamp"),
        *("deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink"),
    )
)


@dataclass
class Entry:
    """One manager's fields, of one way to write them."""

    manager: str
    operation: str
    subresource: str
    api_version: str
    time: str
    paths: set[Path] = field(default_factory=set)

    @classmethod
    def from_json(cls, value: Object) -> Entry:
        manager, operation, subresource, api_version, time = (
            str(value.get(name, "")) for name in ("manager", "operation", "subresource", "apiVersion", "time")
        )
        return cls(manager, operation, subresource, api_version, time, set(_paths(value.get("fieldsV1") or {})))

    def as_json(self) -> Object:
        value: Object = {"manager": self.manager, "operation": self.operation, "apiVersion": self.api_version}
        value |= {"time": self.time, "fieldsType": "FieldsV1", "fieldsV1": _tree(self.paths)}
        return {**value, "subresource": self.subresource} if self.subresource else value

    @property
    def described(self) -> str:
        name = json.dumps(self.manager)
        if self.operation == "Apply":
            return name
        subresource = f" with subresource {json.dumps(self.subresource)}" if self.subresource else ""
        return f"{name}{subresource} using {self.api_version}"


def _paths(tree: Object, above: Path = ()) -> t.Iterator[Path]:
    for step, below in tree.items():
        if step == ".":
            yield above
        elif below:
            yield from _paths(below, (*above, step))
        else:
            yield (*above, step)


def _tree(paths: t.Iterable[Path]) -> Object:
    tree: Object = {}
    for path in sorted(paths):
        branch = tree
        for step in path:
            branch = branch.setdefault(step, {})
        branch["."] = {}
    return _without_dots_at_ends(tree)


def _without_dots_at_ends(tree: Object) -> Object:
    """A dot says that the path above it is owned itself, which needs no saying where nothing is below."""
    return {step: {} if below.keys() <= {"."} else _without_dots_at_ends(below) for step, below in tree.items()}


class Fields:
    """The leaves of objects of one kind."""

    def __init__(self, resource: Resource) -> None:
        self.keys = list_keys(resource)
        self._built_in = resource.schema is None

    def leaves(self, obj: Object) -> dict[Path, t.Any]:
        """Every leaf with its value; the items of keyed lists count as leaves of their own."""
        owned = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata")}
        metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key not in _UNOWNED}
        found: dict[Path, t.Any] = {}
        for key, value in owned.items():
            self._walk(value, (key,), (f"f:{key}",), found)
        for key, value in metadata.items():
            self._walk(value, ("metadata", key), ("f:metadata", f"f:{key}"), found)
        return found

    def _walk(self, value: t.Any, names: Names, path: Path, found: dict[Path, t.Any]) -> None:
        if isinstance(value, dict) and value and not is_atomic_map(self._built_in, names):
            for key, below in value.items():
                self._walk(below, (*names, key), (*path, f"f:{key}"), found)
        elif isinstance(value, list) and value and self.keys(names) != ATOMIC:
            for item in value:
                place = (*path, identity(item, self.keys(names)))
                found[place] = None
                if isinstance(item, dict):
                    for key, below in item.items():
                        self._walk(below, (*names, key), (*place, f"f:{key}"), found)
        else:
            found[path] = value

    def merged(self, value: t.Any, wanted: t.Any, names: Names = ()) -> t.Any:
        """An object with all that an applied one says; what it does not mention stays."""
        if (
            isinstance(wanted, dict)
            and isinstance(value, dict)
            and not (names and is_atomic_map(self._built_in, names))
        ):
            result = dict(value)
            for key, below in wanted.items():
                result[key] = self.merged(value.get(key), below, (*names, key))
            return result
        if isinstance(wanted, list) and isinstance(value, list) and self.keys(names) != ATOMIC:
            items = {identity(item, self.keys(names)): item for item in value}
            for item in wanted:
                name = identity(item, self.keys(names))
                items[name] = self.merged(items.get(name), item, names)
            return list(items.values())
        return wanted

    def remove(self, obj: Object, path: Path, names: Names = ()) -> None:
        """Take a leaf away, and the maps that are empty without it."""
        step, rest = path[0], path[1:]
        if not step.startswith("f:"):
            raise AssertionError(path)
        key = step[2:]
        value, names = obj.get(key), (*names, key)
        if value is None:
            return
        if not rest:
            del obj[key]
        elif isinstance(value, list):
            self._remove_from(value, rest, names)
            if not value:
                del obj[key]
        elif isinstance(value, dict):
            self.remove(value, rest, names)
            if not value:
                del obj[key]

    def _remove_from(self, items: list[t.Any], path: Path, names: Names) -> None:
        for index, item in enumerate(items):
            if identity(item, self.keys(names)) == path[0]:
                if len(path) > 1:
                    self.remove(item, path[1:], names)
                else:
                    del items[index]
                return


@dataclass(frozen=True)
class Writer:
    """Who writes, through which version and subresource, and when."""

    manager: str
    api_version: str
    subresource: str
    time: str


def owned_after_update(fields: Fields, old: Object, new: Object, writer: Writer) -> list[Object]:
    """``managedFields`` after a write that is no apply: whoever changes a field owns it."""
    before, after = fields.leaves(old), fields.leaves(new)
    changed = {path for path, value in after.items() if path not in before or before[path] != value}
    entries = _entries(new)
    own = _own(entries, writer, "Update")
    for entry in entries:
        kept = after.keys() if entry is own else after.keys() - changed
        entry.paths &= kept
    if changed:
        own.paths |= changed
        own.time, own.api_version = writer.time, writer.api_version
    return _written(entries, own)


def apply(fields: Fields, live: Object, applied: Object, writer: Writer, force: bool) -> tuple[Object, list[Object]]:
    """The object and its ``managedFields`` after a server-side apply; ``StatusError`` for conflicts."""
    wanted, current = fields.leaves(applied), fields.leaves(live)
    entries = _entries(live)
    own = _own(entries, writer, "Apply")
    others = [entry for entry in entries if entry is not own]
    disputed = {path for path, value in wanted.items() if current.get(path) != value}
    conflicts = [(entry, path) for entry in others for path in sorted(entry.paths & disputed)]
    if conflicts and not force:
        raise _conflict(conflicts)
    for entry in others:
        entry.paths -= disputed
    theirs = set().union(*(entry.paths for entry in others)) if others else set()
    result: Object = copy.deepcopy(fields.merged(live, applied))
    # Items before their fields: an item is found by its fields.
    for path in sorted(own.paths - wanted.keys(), key=len):
        if not any(other[: len(path)] == path for other in theirs):
            fields.remove(result, path)
    own.paths, own.time, own.api_version = set(wanted), writer.time, writer.api_version
    return result, _written(entries, own)


def _entries(obj: Object) -> list[Entry]:
    return [Entry.from_json(value) for value in obj.get("metadata", {}).get("managedFields") or [] if value]


def _own(entries: list[Entry], writer: Writer, operation: str) -> Entry:
    for entry in entries:
        if (entry.manager, entry.operation, entry.subresource) == (writer.manager, operation, writer.subresource):
            return entry
    return Entry(writer.manager, operation, writer.subresource, writer.api_version, writer.time)


def _written(entries: list[Entry], own: Entry) -> list[Object]:
    every = entries if own in entries else [*entries, own]
    return [entry.as_json() for entry in every if entry.paths]


def _conflict(conflicts: list[tuple[Entry, Path]]) -> StatusError:
    causes = [(_dotted(path), "FieldManagerConflict", f"conflict with {entry.described}") for entry, path in conflicts]
    if len(conflicts) == 1:
        entry, path = conflicts[0]
        return apply_conflict(f"Apply failed with 1 conflict: conflict with {entry.described}: {_dotted(path)}", causes)
    by_manager: dict[str, list[str]] = {}
    for entry, path in conflicts:
        by_manager.setdefault(entry.described, []).append(f"- {_dotted(path)}")
    lines = [line for name, paths in sorted(by_manager.items()) for line in (f"conflicts with {name}:", *paths)]
    return apply_conflict(f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines), causes)


def _dotted(path: Path) -> str:
    """``.spec.containers[name="x"].image``"""
    text = ""
    for step in path:
        kind, _, name = step.partition(":")
        if kind == "f":
            text += f".{name}"
        elif kind == "v":
            text += f"[={name}]"
        else:
            text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in json.loads(name).items()) + "]"
    return text
