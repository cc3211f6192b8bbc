# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be done with objects: the verbs of the API, on one cluster's store."""

from __future__ import annotations

import copy
import typing as t
from dataclasses import dataclass, replace

from rehearsal.kubernetes import Object, fields, patches, rules
from rehearsal.kubernetes.kinds import CRDS, Resource, built_in, custom
from rehearsal.kubernetes.lists import list_keys
from rehearsal.kubernetes.selectors import Predicate
from rehearsal.kubernetes.status import (
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    not_found,
    success,
    unknown_format,
)
from rehearsal.kubernetes.store import Store

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = ("application/apply-patch+yaml", "application/apply-patch+cbor")
NAMESPACES = built_in("namespaces")


@dataclass(frozen=True)
class Terms:
    """How a write is meant."""

    manager: str = "rehearsal"
    dry_run: bool = False
    strict: bool = False
    force: bool = False
    subresource: str = ""


class Api:
    """Reads and writes; every refusal is a ``StatusError``."""

    def __init__(self, store: Store) -> None:
        self.store = store

    # --- reading

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        found = self.store.get(resource.key, namespace, name)
        if found is None:
            raise not_found(resource, name)
        return _in_version(resource, found)

    def select(self, resource: Resource, namespace: str, wanted: Predicate | None = None) -> list[Object]:
        found = (_in_version(resource, obj) for obj in self.store.all(resource.key, namespace))
        return [obj for obj in found if wanted is None or wanted(obj)]

    # --- creating

    def create(self, resource: Resource, namespace: str, obj: Object, terms: Terms) -> Object:
        obj = _of_kind(resource, obj)
        self._check_namespace(resource, namespace, obj)
        made = rules.created(resource, obj, namespace, terms.strict)
        name = made["metadata"]["name"]
        if self.store.get(resource.key, namespace, name) is not None:
            raise already_exists(resource, name)
        made = _owned(resource, {}, made, terms)
        return self._put(resource, made, terms)

    def _check_namespace(self, resource: Resource, namespace: str, obj: Object) -> None:
        if not resource.namespaced:
            return
        given = obj["metadata"].get("namespace") or namespace
        if given != namespace:
            said = "the namespace of the provided object does not match the namespace sent on the request"
            raise bad_request(said)
        found = self.store.get(NAMESPACES.key, "", namespace)
        if found is None:
            raise not_found(NAMESPACES, namespace)
        if "deletionTimestamp" in found["metadata"]:
            said = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise forbidden(resource, obj["metadata"].get("name", ""), said)

    # --- changing

    def update(self, resource: Resource, namespace: str, name: str, obj: Object, terms: Terms) -> Object:
        old, obj = self.get(resource, namespace, name), _of_kind(resource, obj)
        if obj["metadata"].get("name", name) != name:
            said = f"the name of the object ({obj['metadata']['name']}) does not match the name on the URL ({name})"
            raise bad_request(said)
        new = rules.changed(resource, old, obj, terms.subresource, terms.strict)
        return self._replace(resource, old, _owned(resource, old, new, terms), terms)

    def patch(self, resource: Resource, namespace: str, name: str, kind: str, body: t.Any, terms: Terms) -> Object:
        """``kind`` is the patch's media type; an apply makes what is not there."""
        if kind in APPLY:
            return self._apply(resource, namespace, name, body, terms)
        old = self.get(resource, namespace, name)
        if kind == STRATEGIC and resource.schema is None:
            patched = patches.strategic(copy.deepcopy(old), body, list_keys(resource))
        elif kind == MERGE_PATCH:
            patched = patches.merge(old, body)
        elif kind == JSON_PATCH:
            patched = patches.json_patch(old, body)
        else:
            own = () if resource.schema is not None else (STRATEGIC,)
            raise unknown_format((JSON_PATCH, MERGE_PATCH, *own, *APPLY))
        return self.update(resource, namespace, name, patched, terms)

    def _apply(self, resource: Resource, namespace: str, name: str, body: t.Any, terms: Terms) -> Object:
        body = _of_kind(resource, body)
        if body["metadata"].get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        if not terms.manager:
            cause = ("fieldManager", "FieldValueRequired", "Required value: is required for apply patch")
            raise invalid(replace(resource, group="meta.k8s.io", kind="PatchOptions"), "", cause)
        live = self.store.get(resource.key, namespace, name)
        body = rules.as_stored(resource, body)
        merged, managed = fields.apply(fields.Fields(resource), live or {}, body, _writer(resource, terms), terms.force)
        if live is None:
            merged["metadata"] = {**merged.get("metadata", {}), "name": name}
            self._check_namespace(resource, namespace, merged)
            made = rules.created(resource, merged, namespace, terms.strict)
            return self._put(resource, _managed(made, managed), terms)
        new = rules.changed(resource, live, merged, terms.subresource, terms.strict)
        return self._replace(resource, live, _managed(new, managed), terms)

    def scale(self, resource: Resource, namespace: str, name: str, replicas: int, terms: Terms) -> Object:
        old = self.get(resource, namespace, name)
        new = {**old, "spec": {**old["spec"], "replicas": replicas}}
        return self.update(resource, namespace, name, new, replace(terms, subresource=""))

    def _replace(self, resource: Resource, old: Object, new: Object, terms: Terms) -> Object:
        if _same(old, new):
            return old
        metadata = new["metadata"]
        if "deletionTimestamp" in metadata and not _finalized(new):
            if not terms.dry_run:
                self._remove(resource, new)
            return new
        return self._put(resource, new, terms)

    def _put(self, resource: Resource, obj: Object, terms: Terms) -> Object:
        return obj if terms.dry_run else self.store.put(resource.key, obj)

    # --- deleting

    def delete(self, resource: Resource, namespace: str, name: str, options: Object, terms: Terms) -> Object:
        """A Status, or the object where it only begins to go: its finalizers, or the content of a namespace."""
        old = self.get(resource, namespace, name)
        wanted = options.get("preconditions") or {}
        if any(old["metadata"][key] != value for key, value in wanted.items() if value):
            raise conflict(resource, name)
        if terms.dry_run:
            return success(resource, old)
        if _finalized(old):
            return self._begin_deletion(resource, old)
        self._remove(resource, old, orphans=options.get("propagationPolicy") == "Orphan")
        return success(resource, old)

    def delete_collection(
        self, resource: Resource, namespace: str, wanted: Predicate, options: Object, terms: Terms
    ) -> list[Object]:
        found = self.select(resource, namespace, wanted)
        for obj in found:
            self._delete_if_there(resource, obj, options, terms)
        return found

    def _delete_if_there(self, resource: Resource, obj: Object, options: Object, terms: Terms) -> None:
        """One of several, which may have gone with its owner meanwhile."""
        namespace, name = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
        if self.store.get(resource.key, namespace, name) is not None:
            self.delete(resource, namespace, name, options, terms)

    def _begin_deletion(self, resource: Resource, old: Object) -> Object:
        if "deletionTimestamp" in old["metadata"]:
            return old
        marks = {"deletionTimestamp": rules.now(), "deletionGracePeriodSeconds": 0}
        new = {**old, "metadata": {**old["metadata"], **marks}}
        if resource == NAMESPACES:
            new["status"] = {**(new.get("status") or {}), "phase": "Terminating"}
        return self.store.put(resource.key, new)

    def _remove(self, resource: Resource, obj: Object, orphans: bool = False) -> None:
        self.store.remove(resource.key, obj)
        if resource == CRDS:
            for kind in custom(obj):
                self.delete_collection(kind, "", lambda _: True, {}, Terms())
        if not orphans:
            self._remove_owned(obj["metadata"]["uid"])

    def _remove_owned(self, uid: str) -> None:
        """What the garbage collector does."""
        by_key = {resource.key: resource for resource in self.store.resources}
        for key, obj in self.store.everything():
            owners = obj["metadata"].get("ownerReferences") or []
            if any(owner.get("uid") == uid for owner in owners) and key in by_key:
                self._delete_if_there(by_key[key], obj, {}, Terms())

    def finish_namespaces(self) -> None:
        """Namespaces that are to go are emptied, and go with their last object."""
        for namespace in self.store.all(NAMESPACES.key):
            name = namespace["metadata"]["name"]
            if "deletionTimestamp" not in namespace["metadata"]:
                continue
            for resource in self.store.resources:
                if resource.namespaced:
                    self.delete_collection(resource, name, lambda _: True, {}, Terms())
            left = any(obj["metadata"].get("namespace") == name for _key, obj in self.store.everything())
            if not left and not namespace["metadata"].get("finalizers"):
                self._remove(NAMESPACES, namespace)


def _finalized(obj: Object) -> bool:
    """Does something keep the object although it was deleted?"""
    held_by_spec = obj["kind"] == "Namespace" and bool((obj.get("spec") or {}).get("finalizers"))
    return held_by_spec or bool(obj["metadata"].get("finalizers"))


def _in_version(resource: Resource, obj: Object) -> Object:
    return obj if obj["apiVersion"] == resource.api_version else {**obj, "apiVersion": resource.api_version}


def _of_kind(resource: Resource, obj: t.Any) -> Object:
    """The body of a request, if it is one of these objects."""
    if not isinstance(obj, dict) or not isinstance(obj.get("metadata", {}), dict):
        raise bad_request("the object provided is unrecognized (must be of type " + resource.kind + ")")
    given = (obj.get("apiVersion") or resource.api_version, obj.get("kind") or resource.kind)
    if given != (resource.api_version, resource.kind):
        said = f"the API version in the data ({given[0]}, {given[1]}) does not match the expected API version"
        raise bad_request(f"{said} ({resource.api_version}, {resource.kind})")
    return {**obj, "metadata": obj.get("metadata") or {}}


def _writer(resource: Resource, terms: Terms) -> fields.Writer:
    return fields.Writer(terms.manager, resource.api_version, terms.subresource, rules.now())


def _owned(resource: Resource, old: Object, new: Object, terms: Terms) -> Object:
    return _managed(new, fields.owned_after_update(fields.Fields(resource), old, new, _writer(resource, terms)))


def _managed(obj: Object, entries: list[Object]) -> Object:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": {**metadata, **({"managedFields": entries} if entries else {})}}


def _same(old: Object, new: Object) -> bool:
    """Equal, but for the moments at which managers wrote."""
    return _timeless(old) == _timeless(new)


def _timeless(obj: Object) -> Object:
    metadata = dict(obj["metadata"])
    entries = metadata.pop("managedFields", [])
    metadata["managedFields"] = [{key: entry[key] for key in entry if key != "time"} for entry in entries]
    return {**obj, "metadata": metadata}
