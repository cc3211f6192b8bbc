# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lists of an object are maps in disguise: merged item by item, by the keys of their items."""

from __future__ import annotations

import json
import typing as t

from rehearsal.kubernetes import Object
from rehearsal.kubernetes.kinds import Resource

Names = tuple[str, ...]  # fields from the object's root; items of lists leave no trace in it
SET: Names = ("",)  # the keys of a list whose items are values of their own
ATOMIC: Names = ()
ListKeys = t.Callable[[Names], Names]

# By the name of the field: in built-in kinds one name is one meaning, but for ports.
_BUILT_IN: dict[str, Names] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "imagePullSecrets": ("name",),
    "secrets": ("name",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "conditions": ("type",),
    "addresses": ("type",),
    "ownerReferences": ("uid",),
    "webhooks": ("name",),
    "finalizers": SET,
}
_ATOMIC_MAPS = frozenset(("selector", "nodeSelector", "labelSelector", "podSelector", "namespaceSelector"))
_DEFAULTS = {"protocol": "TCP"}


def list_keys(resource: Resource) -> ListKeys:
    """For the lists of this kind: the keys of their items, none for lists that are replaced as a whole."""
    if resource.schema is None:
        return _built_in
    found: dict[Names, Names] = {}
    _collect(resource.schema, (), found)
    return lambda names: _built_in(names) if names[0] == "metadata" else found.get(names, ATOMIC)


def _built_in(names: Names) -> Names:
    if names[-1] != "ports":
        return _BUILT_IN.get(names[-1], ATOMIC)
    return {"spec": ("port", "protocol"), "containers": ("containerPort", "protocol")}.get(names[-2], ATOMIC)


def _collect(schema: Object, names: Names, found: dict[Names, Names]) -> None:
    """What ``x-kubernetes-list-type`` says, at every list of a schema."""
    kind = schema.get("x-kubernetes-list-type")
    if kind == "map":
        found[names] = tuple(schema.get("x-kubernetes-list-map-keys") or ())
    elif kind == "set":
        found[names] = SET
    for name, below in (schema.get("properties") or {}).items():
        _collect(below, (*names, name), found)
    if isinstance(schema.get("items"), dict):
        _collect(schema["items"], names, found)


def is_atomic_map(resource_is_built_in: bool, names: Names) -> bool:
    return resource_is_built_in and names[-1] in _ATOMIC_MAPS


def identity(item: t.Any, keys: Names) -> str:
    """The item's step in a path of ``managedFields``: ``k:{"name":"x"}`` or ``v:"x"``."""
    if keys == SET or not isinstance(item, dict):
        return "v:" + json.dumps(item, separators=(",", ":"))
    values = {key: item.get(key, _DEFAULTS.get(key)) for key in sorted(keys)}
    given = {key: value for key, value in values.items() if value is not None}
    return "k:" + json.dumps(given, separators=(",", ":"))
