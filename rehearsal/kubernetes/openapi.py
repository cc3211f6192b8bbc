# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""As much OpenAPI as ``kubectl apply`` asks for: that a PATCH of a kind knows ``fieldValidation`` and ``dryRun``."""

from __future__ import annotations

import typing as t

from rehearsal.kubernetes import Object
from rehearsal.kubernetes.kinds import Resource

V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation", "force")


def _place(resource: Resource) -> str:
    return f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"


def v2() -> Object:
    return {"swagger": "2.0", "info": {"title": "Kubernetes", "version": "rehearsal"}, "paths": {}, "definitions": {}}


def v3_paths(resources: t.Iterable[Resource]) -> Object:
    """``/openapi/v3``: the document of each group and version."""
    places = dict.fromkeys(_place(resource) for resource in resources)
    return {"paths": {place: {"serverRelativeURL": f"/openapi/v3/{place}"} for place in places}}


def v3(resources: t.Iterable[Resource], place: str) -> Object | None:
    """``/openapi/v3/apis/GROUP/VERSION``"""
    known = [resource for resource in resources if _place(resource) == place]
    if not known:
        return None
    paths = {_path(resource): {"patch": _patch(resource)} for resource in known}
    info = {"title": "Kubernetes", "version": "rehearsal"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": {}}}


def _path(resource: Resource) -> str:
    scope = "namespaces/{namespace}/" if resource.namespaced else ""
    return f"/{_place(resource)}/{scope}{resource.plural}/{{name}}"


def _patch(resource: Resource) -> Object:
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    return {
        "parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in _PARAMETERS],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": kind,
    }
