# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which groups, versions and resources there are: the unaggregated documents, and the aggregated one."""

from __future__ import annotations

import typing as t

from rehearsal.kubernetes import Object
from rehearsal.kubernetes.kinds import Resource

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_OF_SUBRESOURCES = ["get", "patch", "update"]


def _by_group(resources: t.Iterable[Resource], core: bool) -> dict[str, dict[str, list[Resource]]]:
    """Resources by group and version, in the order in which they came."""
    found: dict[str, dict[str, list[Resource]]] = {}
    for resource in resources:
        if (resource.group == "") == core:
            found.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
    return found


def versions(address: str) -> Object:
    """``/api``"""
    servers = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": servers}


def groups(resources: t.Iterable[Resource]) -> Object:
    """``/apis``"""
    found = [_group(name, list(known)) for name, known in _by_group(resources, core=False).items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def group(resources: t.Iterable[Resource], name: str) -> Object | None:
    """``/apis/GROUP``"""
    known = _by_group(resources, core=False).get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, list(known))} if known else None


def _group(name: str, known: list[str]) -> Object:
    entries = [{"groupVersion": f"{name}/{version}", "version": version} for version in known]
    return {"name": name, "versions": entries, "preferredVersion": entries[0]}


def resource_list(resources: t.Iterable[Resource], name: str, version: str) -> Object | None:
    """``/api/v1`` and ``/apis/GROUP/VERSION``"""
    known = [resource for resource in resources if (resource.group, resource.version) == (name, version)]
    if not known:
        return None
    entries = [entry for resource in known for entry in _entries(resource)]
    api_version = known[0].api_version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": entries}


def _entries(resource: Resource) -> t.Iterator[Object]:
    own: Object = {"name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced}
    own |= {"kind": resource.kind, "verbs": _VERBS}
    if resource.short_names:
        own["shortNames"] = list(resource.short_names)
    if resource.categories:
        own["categories"] = list(resource.categories)
    yield own
    for name in resource.subresources:
        kind = _kind_of(resource, name)
        below = {"name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced}
        scale = {"group": kind["group"], "version": kind["version"]} if name == "scale" else {}
        yield {**below, **scale, "kind": kind["kind"], "verbs": _OF_SUBRESOURCES}


def _kind_of(resource: Resource, subresource: str = "") -> Object:
    if subresource == "scale":
        return {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def aggregated(resources: t.Iterable[Resource], core: bool) -> Object:
    """``/api`` or ``/apis``, with everything below them."""
    items = [
        {
            "metadata": {"name": name, "creationTimestamp": None},
            "versions": [_version(*entry) for entry in known.items()],
        }
        for name, known in _by_group(resources, core).items()
    ]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _version(name: str, resources: list[Resource]) -> Object:
    return {"version": name, "resources": [_aggregated(resource) for resource in resources], "freshness": "Current"}


def _aggregated(resource: Resource) -> Object:
    below = [
        {"subresource": name, "responseKind": _kind_of(resource, name), "verbs": _OF_SUBRESOURCES}
        for name in resource.subresources
    ]
    return {
        "resource": resource.plural,
        "responseKind": _kind_of(resource),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": _VERBS,
        **({"shortNames": list(resource.short_names)} if resource.short_names else {}),
        **({"categories": list(resource.categories)} if resource.categories else {}),
        **({"subresources": below} if below else {}),
    }
