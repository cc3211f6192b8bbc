# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a patch makes of an object: JSON patch, merge patch, strategic merge patch."""

from __future__ import annotations

import copy
import typing as t

from rehearsal.kubernetes import Object
from rehearsal.kubernetes.lists import ATOMIC, SET, ListKeys, Names, identity
from rehearsal.kubernetes.status import StatusError, bad_request

_ORDER, _DELETE_FROM = "$setElementOrder/", "$deleteFromPrimitiveList/"


def merge(value: t.Any, patch: t.Any) -> t.Any:
    """RFC 7386: null removes."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for key, wanted in patch.items():
        if wanted is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), wanted)
    return merged


# --- JSON patch


def json_patch(value: Object, operations: list[Object]) -> Object:
    """RFC 6902; a pointer to nothing or a test that fails refuse the whole."""
    document = {"": copy.deepcopy(value)}
    for operation in operations:
        try:
            _operate(document, operation)
        except (KeyError, IndexError, ValueError, TypeError) as problem:
            raise _unprocessable(operation, problem) from None
    result: Object = document[""]
    return result


def _unprocessable(operation: Object, problem: Exception) -> StatusError:
    told = str(problem) if isinstance(problem, ValueError) else "doc is missing path"
    action, path = operation.get("op"), operation.get("path")
    message = f"the server rejected our request due to an error in our request: {action} {path}: {told}"
    return StatusError(422, "Invalid", message)


def _operate(document: Object, operation: Object) -> None:
    action, path = operation["op"], operation["path"]
    if action == "test":
        if _at(document, path) != operation.get("value"):
            raise ValueError("testing value failed")
    elif action == "remove":
        _remove(document, path)
    elif action in ("add", "replace"):
        _set(document, path, operation.get("value"), replaces=action == "replace")
    elif action in ("move", "copy"):
        value = copy.deepcopy(_at(document, operation["from"]))
        if action == "move":
            _remove(document, operation["from"])
        _set(document, path, value, replaces=False)
    else:
        raise ValueError(f"unknown operation {action}")


def _parent(document: Object, pointer: str) -> tuple[t.Any, str]:
    *above, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]
    value: t.Any = document
    for part in above:
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value, last


def _at(document: Object, pointer: str) -> t.Any:
    parent, last = _parent(document, pointer)
    return parent[int(last)] if isinstance(parent, list) else parent[last]


def _remove(document: Object, pointer: str) -> None:
    parent, last = _parent(document, pointer)
    del parent[int(last) if isinstance(parent, list) else last]


def _set(document: Object, pointer: str, value: t.Any, replaces: bool) -> None:
    parent, last = _parent(document, pointer)
    if isinstance(parent, list) and not replaces:
        parent.insert(len(parent) if last == "-" else int(last), value)
    elif isinstance(parent, list):
        parent[int(last)] = value
    elif replaces and last not in parent:
        raise KeyError(last)
    else:
        parent[last] = value


# --- strategic merge patch


def strategic(value: t.Any, patch: Object, keys: ListKeys, names: Names = ()) -> Object:
    """A merge patch that merges lists by the keys of their items, with the directives of kubectl."""
    if patch.get("$patch") == "replace":
        return {key: wanted for key, wanted in patch.items() if key != "$patch"}
    merged = dict(value) if isinstance(value, dict) else {}
    if "$retainKeys" in patch:
        merged = {key: kept for key, kept in merged.items() if key in patch["$retainKeys"]}
    for key, wanted in patch.items():
        if key.startswith(_DELETE_FROM):
            field = key.removeprefix(_DELETE_FROM)
            merged[field] = [item for item in merged.get(field) or [] if item not in wanted]
    for key, wanted in patch.items():
        if key.startswith("$"):
            continue
        if wanted is None:
            merged.pop(key, None)
        else:
            order = patch.get(_ORDER + key)
            merged[key] = _strategic_value(merged.get(key), wanted, keys, (*names, key), order)
    return merged


def _strategic_value(value: t.Any, wanted: t.Any, keys: ListKeys, names: Names, order: list[t.Any] | None) -> t.Any:
    if isinstance(wanted, dict):
        return strategic(value, wanted, keys, names)
    if not isinstance(wanted, list) or keys(names) == ATOMIC:
        return wanted
    if keys(names) == SET:
        return list(dict.fromkeys([*(value or []), *wanted]))
    return _strategic_list(value or [], wanted, keys, names, order)


def _strategic_list(
    items: list[Object], wanted: list[Object], keys: ListKeys, names: Names, order: list[Object] | None
) -> list[Object]:
    # kubectl's patches name items by the first key alone, as its Go types do.
    own = keys(names)[:1]
    if any(item.get("$patch") == "replace" for item in wanted):
        return [item for item in wanted if "$patch" not in item]
    merged = {identity(item, own): item for item in items}
    for item in wanted:
        if own[0] not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {own[0]}")
        name = identity(item, own)
        if item.get("$patch") == "delete":
            merged.pop(name, None)
        else:
            merged[name] = strategic(merged.get(name), item, keys, names)
    first = [identity(item, own) for item in order or []]
    return sorted(merged.values(), key=lambda item: _place(identity(item, own), first))


def _place(name: str, first: list[str]) -> int:
    return first.index(name) if name in first else len(first)
