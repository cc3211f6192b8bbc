# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Custom resources against the schema of their definition."""

from __future__ import annotations

import typing as t

from rehearsal.kubernetes import Object
from rehearsal.kubernetes.kinds import Resource
from rehearsal.kubernetes.status import Cause, bad_request, invalid

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}
_OPEN = "x-kubernetes-preserve-unknown-fields"
_ROOT = frozenset(("apiVersion", "kind", "metadata"))


def check(resource: Resource, obj: Object, strict: bool) -> Object:
    """The object without fields that its schema does not know; ``StatusError`` for what the schema refuses."""
    if not resource.schema:
        return obj
    own = {key: value for key, value in obj.items() if key not in _ROOT}
    schema = {**resource.schema, "required": [n for n in resource.schema.get("required") or [] if n not in _ROOT]}
    causes: list[Cause] = []
    unknown: list[str] = []
    pruned = _checked(schema, own, "", causes, unknown)
    if unknown and strict:
        said = ", ".join(f'unknown field "{path}"' for path in unknown)
        subject = f"{resource.kind} in version {resource.version!r} cannot be handled as a {resource.kind}"
        raise bad_request(f"{subject}: strict decoding error: {said}".replace("'", '"'))
    if causes:
        raise invalid(resource, obj["metadata"].get("name", ""), *causes)
    return {**{key: obj[key] for key in obj if key in _ROOT}, **pruned}


def _checked(schema: Object, value: t.Any, path: str, causes: list[Cause], unknown: list[str]) -> t.Any:
    if value is None or schema.get("x-kubernetes-int-or-string"):
        return value
    wanted = _TYPES.get(schema.get("type", ""), object)
    if not isinstance(value, wanted) or (isinstance(value, bool) and schema.get("type") in ("integer", "number")):
        told = f"Invalid value: {_go_type(value)}: {path} in body must be of type {schema['type']}: {_go_type(value)}"
        causes.append((path, "FieldValueTypeInvalid", told))
    elif "enum" in schema and value not in schema["enum"]:
        supported = ", ".join(f'"{each}"' for each in schema["enum"])
        causes.append((path, "FieldValueNotSupported", f'Unsupported value: "{value}": supported values: {supported}'))
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [_checked(schema["items"], v, f"{path}[{n}]", causes, unknown) for n, v in enumerate(value)]
    elif isinstance(value, dict):
        return _checked_object(schema, value, path, causes, unknown)
    return value


def _checked_object(schema: Object, value: Object, path: str, causes: list[Cause], unknown: list[str]) -> Object:
    for name in schema.get("required") or []:
        if name not in value:
            causes.append((_below(path, name), "FieldValueRequired", "Required value"))
    properties, others = schema.get("properties") or {}, schema.get("additionalProperties")
    pruned: Object = {}
    for name, item in value.items():
        place = _below(path, name)
        if name in properties:
            pruned[name] = _checked(properties[name], item, place, causes, unknown)
        elif isinstance(others, dict):
            pruned[name] = _checked(others, item, place, causes, unknown)
        elif others or schema.get(_OPEN) or schema.get("x-kubernetes-embedded-resource"):
            pruned[name] = item
        else:
            unknown.append(place)
    return pruned


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _go_type(value: t.Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    return f'"{names[type(value)]}"'
