# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects as the table that ``kubectl get`` prints."""

from __future__ import annotations

import datetime
import typing as t

from rehearsal.kubernetes import Object
from rehearsal.kubernetes.kinds import Resource

Cell = t.Callable[[Object], t.Any]


def _at(obj: t.Any, path: str) -> t.Any:
    for name in path.strip(".").split("."):
        obj = obj.get(name) if isinstance(obj, dict) else None
    return obj


def _field(path: str, otherwise: t.Any = "") -> Cell:
    return lambda obj: found if (found := _at(obj, path)) is not None else otherwise


def _ready_of(ready: str, wanted: str) -> Cell:
    return lambda obj: f"{_at(obj, ready) or 0}/{_at(obj, wanted) or 0}"


def _condition(obj: Object, kind: str) -> str:
    conditions = _at(obj, "status.conditions") or []
    return next((each["status"] for each in conditions if each["type"] == kind), "Unknown")


def _node_status(obj: Object) -> str:
    said = "Ready" if _condition(obj, "Ready") == "True" else "NotReady"
    return said + (",SchedulingDisabled" if _at(obj, "spec.unschedulable") else "")


def _node_roles(obj: Object) -> str:
    prefix = "node-role.kubernetes.io/"
    roles = [label.removeprefix(prefix) for label in obj["metadata"].get("labels", {}) if label.startswith(prefix)]
    return ",".join(sorted(roles)) or "<none>"


def _pod_ready(obj: Object) -> str:
    states = _at(obj, "status.containerStatuses") or []
    return f"{sum(state['ready'] for state in states)}/{len(_at(obj, 'spec.containers') or [])}"


def _pod_status(obj: Object) -> str:
    waiting = [_at(state, "state.waiting.reason") for state in _at(obj, "status.containerStatuses") or []]
    return next(filter(None, waiting), None) or str(_at(obj, "status.phase") or "Pending")


def _count(path: str) -> Cell:
    return lambda obj: len(_at(obj, path) or ())


_COLUMNS: dict[str, list[tuple[str, Cell]]] = {
    "nodes": [
        ("Status", _node_status),
        ("Roles", _node_roles),
        ("Age", lambda obj: _age(obj)),
        ("Version", _field("status.nodeInfo.kubeletVersion")),
    ],
    "pods": [
        ("Ready", _pod_ready),
        ("Status", _pod_status),
        ("Restarts", lambda _: 0),
        ("Age", lambda obj: _age(obj)),
        ("Node", _field("spec.nodeName", "<none>")),
    ],
    "deployments": [
        ("Ready", _ready_of("status.readyReplicas", "spec.replicas")),
        ("Up-to-date", _field("status.updatedReplicas", 0)),
        ("Available", _field("status.availableReplicas", 0)),
        ("Age", lambda obj: _age(obj)),
    ],
    "statefulsets": [("Ready", _ready_of("status.readyReplicas", "spec.replicas")), ("Age", lambda obj: _age(obj))],
    "daemonsets": [
        ("Desired", _field("status.desiredNumberScheduled", 0)),
        ("Ready", _field("status.numberReady", 0)),
        ("Age", lambda obj: _age(obj)),
    ],
    "namespaces": [("Status", _field("status.phase")), ("Age", lambda obj: _age(obj))],
    "configmaps": [("Data", _count("data")), ("Age", lambda obj: _age(obj))],
    "secrets": [("Type", _field("type")), ("Data", _count("data")), ("Age", lambda obj: _age(obj))],
    "customresourcedefinitions": [("Created At", _field("metadata.creationTimestamp"))],
}


_WIDE = frozenset(("Node",))


def table(resource: Resource, objects: list[Object], version: str) -> Object:
    """With the objects' metadata, which kubectl takes labels and namespaces from."""
    columns = [("Name", _field("metadata.name")), *_own_columns(resource)]
    definitions = [
        {"name": name, "type": "string", "format": "", "description": "", "priority": int(name in _WIDE)}
        for name, _ in columns
    ]
    definitions[0]["format"] = "name"
    rows = [{"cells": [cell(obj) for _, cell in columns], "object": _metadata_only(obj)} for obj in objects]
    head = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": version}}
    return {**head, "columnDefinitions": definitions, "rows": rows}


def _own_columns(resource: Resource) -> list[tuple[str, Cell]]:
    declared = [column for column in resource.columns if not column.get("priority")]
    if declared:
        return [(column["name"], _declared(column)) for column in declared]
    return _COLUMNS.get(resource.plural, [("Age", lambda obj: _age(obj))])


def _declared(column: Object) -> Cell:
    if column.get("type") == "date":
        return lambda obj: _age(obj, column["jsonPath"])
    return _field(column["jsonPath"])


def _metadata_only(obj: Object) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def _age(obj: Object, path: str = "metadata.creationTimestamp") -> str:
    at = _at(obj, path)
    if not at:
        return "<unknown>"
    seconds = int((datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(at)).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{max(seconds, 0)}s"
