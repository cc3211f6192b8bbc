# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API server makes of an object that is created or changed: defaults, and what it refuses."""

from __future__ import annotations

import base64
import binascii
import datetime
import re
import secrets
import typing as t
import uuid

from rehearsal.kubernetes import Object
from rehearsal.kubernetes.kinds import CRDS, Resource
from rehearsal.kubernetes.schemas import check
from rehearsal.kubernetes.status import Cause, bad_request, conflict, invalid

ANNOTATIONS_LIMIT = 262144
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_NAMES_ARE_FREE = ("rbac.authorization.k8s.io",)
_OWN = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def created(resource: Resource, obj: Object, namespace: str, strict: bool) -> Object:
    """A new object as it is stored."""
    metadata = {key: value for key, value in obj["metadata"].items() if value is not None and key not in _OWN}
    metadata["name"] = _name(resource, obj["metadata"])
    if resource.namespaced:
        metadata["namespace"] = namespace
    metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now()}
    if _has_generation(resource, obj):
        metadata["generation"] = 1
    obj = {"apiVersion": resource.api_version, "kind": resource.kind, **obj, "metadata": metadata}
    if resource.has_status:
        obj.pop("status", None)
    obj = _DEFAULTS.get(resource.key, _unchanged)(obj)
    return _checked(resource, obj, strict)


def changed(resource: Resource, old: Object, new: Object, subresource: str, strict: bool) -> Object:
    """An object that takes another's place, as it is stored."""
    name, metadata = old["metadata"]["name"], new["metadata"]
    if metadata.get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
        raise conflict(resource, name)
    if metadata.get("uid") not in (None, "", old["metadata"]["uid"]):
        raise conflict(resource, name)
    own = {key: old["metadata"][key] for key in (*_OWN, "resourceVersion") if key in old["metadata"]}
    metadata = {**{key: value for key, value in metadata.items() if value is not None and key not in _OWN}, **own}
    if subresource == "status":
        kept = {**old["metadata"], **{key: metadata[key] for key in ("managedFields",) if key in metadata}}
        new = {**old, "metadata": kept, **({"status": new["status"]} if "status" in new else {})}
        return _checked(resource, new, strict)
    new = {"apiVersion": resource.api_version, "kind": resource.kind, **new, "metadata": metadata}
    if resource.has_status:
        new.pop("status", None)
        new |= {"status": old["status"]} if "status" in old else {}
    new = _DEFAULTS.get(resource.key, _unchanged)(new)
    if _has_generation(resource, new) and _without_status(old) != _without_status(new):
        metadata["generation"] = old["metadata"].get("generation", 0) + 1
    return _checked(resource, new, strict)


def as_stored(resource: Resource, applied: Object) -> Object:
    """An applied object in the form that it is stored and compared in: a Secret without ``stringData``."""
    return _secret(applied) if resource.plural == "secrets" and "stringData" in applied else applied


def _has_generation(resource: Resource, obj: Object) -> bool:
    return resource.schema is not None or ("spec" in obj and (resource.group != "" or resource.plural == "pods"))


def _without_status(obj: Object) -> Object:
    return {key: value for key, value in obj.items() if key not in ("status", "metadata")}


def _name(resource: Resource, metadata: Object) -> str:
    name: str = metadata.get("name") or ""
    if not name and metadata.get("generateName"):
        name = metadata["generateName"] + "".join(secrets.choice(_LETTERS) for _ in range(5))
    return name


def _checked(resource: Resource, obj: Object, strict: bool) -> Object:
    metadata = obj["metadata"]
    causes = [*_name_problems(resource, metadata["name"]), *_annotation_problems(metadata)]
    if causes:
        raise invalid(resource, metadata["name"], *causes)
    return check(resource, obj, strict)


def _name_problems(resource: Resource, name: str) -> list[Cause]:
    if not name:
        return [("metadata.name", "FieldValueRequired", "Required value: name or generateName is required")]
    pattern, kind = (_LABEL, "label") if resource.plural == "namespaces" else (_SUBDOMAIN, "subdomain")
    if resource.group in _NAMES_ARE_FREE or (re.fullmatch(pattern, name) and len(name) <= 253):
        return []
    dot, example = (" or '.'", "example.com") if kind == "subdomain" else ("", "my-name")
    told = (
        f'Invalid value: "{name}": a lowercase RFC 1123 {kind} must consist of lower case alphanumeric characters'
        f", '-'{dot}, and must start and end with an alphanumeric character "
        f"(e.g. '{example}', regex used for validation is '{pattern}')"
    )
    return [("metadata.name", "FieldValueInvalid", told)]


def _annotation_problems(metadata: Object) -> list[Cause]:
    annotations = metadata.get("annotations") or {}
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) <= ANNOTATIONS_LIMIT:
        return []
    message = f"Too long: may not be more than {ANNOTATIONS_LIMIT} bytes"
    return [("metadata.annotations", "FieldValueTooLong", message)]


# --- defaults


def _unchanged(obj: Object) -> Object:
    return obj


def _secret(obj: Object) -> Object:
    """``stringData`` is for writing only."""
    data = dict(obj.get("data") or {})
    for key, value in data.items():
        try:
            base64.b64decode(value or "", validate=True)
        except (binascii.Error, ValueError):
            said = 'Secret in version "v1" cannot be handled as a Secret'
            raise bad_request(f"{said}: data.{key}: illegal base64 data") from None
    for key, value in (obj.get("stringData") or {}).items():
        data[key] = base64.b64encode(value.encode()).decode()
    obj = {key: value for key, value in obj.items() if key != "stringData"}
    return {**obj, **({"data": data} if data else {}), "type": obj.get("type") or "Opaque"}


def _namespace(obj: Object) -> Object:
    metadata = obj["metadata"]
    labels = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": metadata["name"]}
    status = obj.get("status") or {"phase": "Active"}
    spec = obj.get("spec") or {"finalizers": ["kubernetes"]}
    return {**obj, "metadata": {**metadata, "labels": labels}, "spec": spec, "status": status}


def _spec_with(**defaults: t.Any) -> t.Callable[[Object], Object]:
    return lambda obj: {**obj, "spec": {**defaults, **(obj.get("spec") or {})}}


def _custom_resource_definition(obj: Object) -> Object:
    spec = obj["spec"]
    names = {**spec["names"], "singular": spec["names"].get("singular") or spec["names"]["kind"].lower()}
    names["listKind"] = names.get("listKind") or f"{names['kind']}List"
    at = obj["metadata"]["creationTimestamp"]
    conditions = [
        {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": at}
        for kind, reason, message in (
            ("NamesAccepted", "NoConflicts", "no conflicts found"),
            ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        )
    ]
    stored = [version["name"] for version in spec.get("versions") or [] if version.get("storage")]
    status = {"conditions": conditions, "acceptedNames": names, "storedVersions": stored}
    return {**obj, "spec": {**spec, "names": names}, "status": status}


_DEFAULTS: dict[tuple[str, str], t.Callable[[Object], Object]] = {
    ("", "secrets"): _secret,
    ("", "namespaces"): _namespace,
    ("apps", "deployments"): _spec_with(replicas=1),
    ("apps", "statefulsets"): _spec_with(replicas=1, updateStrategy={"type": "RollingUpdate"}),
    ("apps", "daemonsets"): _spec_with(updateStrategy={"type": "RollingUpdate"}),
    CRDS.key: _custom_resource_definition,
}
