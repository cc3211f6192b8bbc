# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Label and field selectors, as in ``kubectl get -l`` and ``--field-selector``."""

from __future__ import annotations

import re
import typing as t

from rehearsal.kubernetes import Object
from rehearsal.kubernetes.kinds import Resource
from rehearsal.kubernetes.status import bad_request

Predicate = t.Callable[[Object], bool]

_EVERYWHERE = ("metadata.name", "metadata.namespace")
_FIELDS = {
    "pods": ("spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName", "status.phase", "status.podIP"),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "reason",
    ),
    "replicasets": ("status.replicas",),
    "jobs": ("status.successful",),
}
_SETS = re.compile(r"^(\S+)\s+(in|notin)\s+\(([^)]*)\)$")


def selector(resource: Resource, labels: str, fields: str) -> Predicate:
    """Both selectors as one question to an object."""
    wanted = [_label_requirement(text) for text in _split(labels)]
    wanted += [_field_requirement(resource, text) for text in _split(fields)]
    return lambda obj: all(matches(obj) for matches in wanted)


def _split(text: str) -> list[str]:
    """At commas, but not at those within parentheses."""
    return [part.strip() for part in re.split(r",(?![^(]*\))", text) if part.strip()]


def _label_requirement(text: str) -> Predicate:
    if found := _SETS.match(text):
        key, operator, values = found.groups()
        among = {value.strip() for value in values.split(",")}
        return lambda obj: (_labels(obj).get(key) in among) == (operator == "in")
    if "=" in text:
        key, value, equal = _comparison(text)
        return lambda obj: (_labels(obj).get(key) == value) == equal
    name = text.removeprefix("!").strip()
    return lambda obj: (name in _labels(obj)) != text.startswith("!")


def _labels(obj: Object) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def _comparison(text: str) -> tuple[str, str, bool]:
    """Key, value, and whether they must be equal."""
    key, operator, value = (part.strip() for part in re.split(r"(!=|==|=)", text, maxsplit=1))
    return key, value, operator != "!="


def _field_requirement(resource: Resource, text: str) -> Predicate:
    if "=" not in text:
        raise bad_request(f"invalid selector: '{text}'; can't understand '{text}'")
    path, value, equal = _comparison(text)
    if path not in (*_EVERYWHERE, *_FIELDS.get(resource.plural, ())):
        raise bad_request(f"field label not supported: {path}")
    return lambda obj: (_field(obj, path) == value) == equal


def _field(obj: Object, path: str) -> str:
    value: t.Any = obj
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return str(value).lower() if isinstance(value, bool) else str(value or "")
