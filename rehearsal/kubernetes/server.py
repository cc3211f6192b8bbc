# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP side: who asks, what for, and in which form the answer goes."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
import typing as t
from dataclasses import dataclass

import yaml
from aiohttp import web

from ansible_collections.homelab.talos.plugins.module_utils._yaml import load
from rehearsal.kubernetes import Object, discovery, openapi, protobuf
from rehearsal.kubernetes.api import APPLY, JSON_PATCH, MERGE_PATCH, STRATEGIC, Api, Terms
from rehearsal.kubernetes.kinds import Resource, find
from rehearsal.kubernetes.selectors import Predicate, selector
from rehearsal.kubernetes.status import (
    StatusError,
    bad_request,
    forbidden,
    method_not_allowed,
    no_such_path,
    too_large,
    unauthorized,
    unknown_format,
)
from rehearsal.kubernetes.tables import table

BODY_LIMIT = 3 * 1024 * 1024
_ADMINISTRATORS = "system:masters"
_HEALTH = ("healthz", "livez", "readyz")
_WATCH_SECONDS = 1800.0


@dataclass(frozen=True)
class User:
    """The client by its certificate."""

    name: str
    groups: frozenset[str]


@dataclass(frozen=True)
class Target:
    """What a path names; a list of everything where there is no name."""

    resource: Resource
    namespace: str
    name: str
    subresource: str


class ApiServer:
    """Answers the requests of one control plane."""

    def __init__(self, api: Api, version: str, address: str) -> None:
        self._api, self._version, self._address = api, version, address

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except StatusError as refusal:
            return web.json_response(refusal.as_json(), status=refusal.code)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        user = authenticated(request)
        parts = [part for part in request.path.split("/") if part]
        if (document := self._document(request, parts)) is not None:
            return document
        target = self._target(parts)
        if _ADMINISTRATORS not in user.groups:
            raise _refused(user, target, _verb(request, target))
        if request.method == "GET" and not target.name and request.query.get("watch") in ("1", "true"):
            return await self._watch(request, target)
        return self._act(request, target, await _body(request))

    # --- what is no object

    def _document(self, request: web.BaseRequest, parts: list[str]) -> web.Response | None:
        if parts[:1] == ["openapi"]:
            return self._openapi(request, parts[1:])
        if len(parts) == 1 and parts[0] in _HEALTH:
            return web.Response(text="ok")
        if parts == ["version"]:
            return web.json_response(_version(self._version))
        found = self._discovery(request, parts)
        if found is None:
            return None
        media_type = discovery.AGGREGATED if found["kind"] == "APIGroupDiscoveryList" else "application/json"
        return web.Response(body=json.dumps(found).encode(), headers={"Content-Type": media_type})

    def _openapi(self, request: web.BaseRequest, parts: list[str]) -> web.Response:
        if parts == ["v2"]:
            if openapi.V2_PROTOBUF in request.headers.get("Accept", ""):
                # An empty message of protobuf: a document that says nothing.
                return web.Response(body=b"", headers={"Content-Type": openapi.V2_PROTOBUF})
            return web.json_response(openapi.v2())
        resources = self._api.store.resources
        found = openapi.v3_paths(resources) if parts == ["v3"] else openapi.v3(resources, "/".join(parts[1:]))
        if found is None:
            raise no_such_path()
        return web.json_response(found)

    def _discovery(self, request: web.BaseRequest, parts: list[str]) -> Object | None:
        resources = self._api.store.resources
        if parts in (["api"], ["apis"]):
            core = parts == ["api"]
            if discovery.AGGREGATED in request.headers.get("Accept", "").replace(" ", ""):
                return discovery.aggregated(resources, core)
            return discovery.versions(self._address) if core else discovery.groups(resources)
        if parts[:1] == ["api"] and len(parts) == 2:
            return discovery.resource_list(resources, "", parts[1])
        if parts[:1] == ["apis"] and len(parts) == 2:
            return discovery.group(resources, parts[1])
        if parts[:1] == ["apis"] and len(parts) == 3:
            return discovery.resource_list(resources, parts[1], parts[2])
        return None

    # --- objects

    def _target(self, parts: list[str]) -> Target:
        if parts[:1] == ["api"] and len(parts) > 2:
            group, version, rest = "", parts[1], parts[2:]
        elif parts[:1] == ["apis"] and len(parts) > 3:
            group, version, rest = parts[1], parts[2], parts[3:]
        else:
            raise no_such_path()
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        resource = find(self._api.store.resources, group, version, rest[0])
        name, subresource = (*rest[1:], "", "")[:2]
        if resource is None or (namespace and not resource.namespaced) or len(rest) > 3:
            raise no_such_path()
        if (subresource and subresource not in resource.subresources) or (
            name and resource.namespaced > bool(namespace)
        ):
            raise no_such_path()
        return Target(resource, namespace, name, subresource)

    def _act(self, request: web.BaseRequest, target: Target, body: t.Any) -> web.Response:
        method, api = request.method, self._api
        place = (target.resource, target.namespace, target.name)
        terms = _terms(request, target)
        if target.subresource == "scale":
            return self._scale(request, target, body, terms)
        if method == "GET" and target.name:
            return self._shown(request, target.resource, api.get(*place))
        if method == "GET":
            return self._list(request, target)
        if method == "POST" and not target.name:
            return web.json_response(api.create(target.resource, target.namespace, body, terms), status=201)
        if method == "PUT" and target.name:
            return web.json_response(api.update(*place, body, terms))
        if method == "PATCH" and target.name:
            known = api.store.get(target.resource.key, target.namespace, target.name)
            patched = api.patch(*place, _media_type(request), body, terms)
            return web.json_response(patched, status=200 if known else 201)
        if method == "DELETE" and target.name:
            return web.json_response(api.delete(*place, body or {}, terms))
        if method == "DELETE":
            wanted = _selector(request, target)
            gone = api.delete_collection(target.resource, target.namespace, wanted, body or {}, terms)
            return web.json_response(self._as_list(target.resource, gone))
        raise method_not_allowed()

    def _scale(self, request: web.BaseRequest, target: Target, body: t.Any, terms: Terms) -> web.Response:
        place = (target.resource, target.namespace, target.name)
        obj = self._api.get(*place)
        if request.method == "PUT" or _media_type(request) in (MERGE_PATCH, STRATEGIC):
            obj = self._api.scale(*place, int(body["spec"]["replicas"]), terms)
        elif request.method != "GET":
            raise unknown_format((MERGE_PATCH, STRATEGIC))
        return web.json_response(_scale_of(obj))

    def _list(self, request: web.BaseRequest, target: Target) -> web.Response:
        found = self._api.select(target.resource, target.namespace, _selector(request, target))
        if _wants_table(request):
            return web.json_response(table(target.resource, found, str(self._api.store.version)))
        return web.json_response(self._as_list(target.resource, found))

    def _as_list(self, resource: Resource, objects: list[Object]) -> Object:
        metadata = {"resourceVersion": str(self._api.store.version)}
        head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
        return {**head, "metadata": metadata, "items": objects}

    def _shown(self, request: web.BaseRequest, resource: Resource, obj: Object) -> web.Response:
        if _wants_table(request):
            obj = table(resource, [obj], obj["metadata"]["resourceVersion"])
        return web.json_response(obj)

    # --- watching

    async def _watch(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        stream = _Watch(self._api, request, target)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        first = stream.first()
        await response.prepare(request)
        try:
            async with asyncio.timeout(float(request.query.get("timeoutSeconds") or _WATCH_SECONDS)):
                await response.write(first)
                while True:
                    await self._api.store.news(stream.seen)
                    await response.write(stream.more())
        except (TimeoutError, ConnectionError):
            pass
        return response


class _Watch:
    """The events of one watch, as lines of JSON."""

    def __init__(self, api: Api, request: web.BaseRequest, target: Target) -> None:
        self._store, self._api = api.store, api
        self._resource, self._namespace = target.resource, target.namespace
        self._wanted = _selector(request, target)
        self._as_table = _wants_table(request)
        self._all_first = request.query.get("sendInitialEvents") == "true"
        self.seen = int(request.query.get("resourceVersion") or 0)

    def first(self) -> bytes:
        """What is there already, where the client wants to hear it; ``StatusError`` where it asks for too long ago."""
        if self.seen and not self._all_first:
            self._store.since(self.seen, self._resource.key)
            return self.more()
        objects = self._api.select(self._resource, self._namespace, self._wanted)
        self.seen = self._store.version
        lines = b"".join(self._line("ADDED", obj) for obj in objects)
        return lines + (self._bookmark() if self._all_first else b"")

    def more(self) -> bytes:
        """What happened since the last time."""
        events = self._store.since(self.seen, self._resource.key)
        self.seen = self._store.version
        return b"".join(
            self._line(kind, event.object)
            for event in events
            if (kind := self._seen_as(event.type, event.object, event.before))
        )

    def _seen_as(self, kind: str, obj: Object, before: Object | None) -> str:
        """An object that begins or ceases to match a selector comes or goes for this client."""
        if self._namespace not in ("", obj["metadata"].get("namespace", "")):
            return ""
        is_in, was_in = kind != "DELETED" and self._wanted(obj), before is not None and self._wanted(before)
        if is_in:
            return "MODIFIED" if was_in else "ADDED"
        return "DELETED" if was_in else ""

    def _line(self, kind: str, obj: Object) -> bytes:
        if self._as_table:
            obj = table(self._resource, [obj], obj["metadata"]["resourceVersion"])
        return json.dumps({"type": kind, "object": obj}).encode() + b"\n"

    def _bookmark(self) -> bytes:
        annotations = {"k8s.io/initial-events-end": "true"}
        metadata = {"resourceVersion": str(self.seen), "annotations": annotations}
        mark: Object = {"kind": self._resource.kind, "apiVersion": self._resource.api_version, "metadata": metadata}
        if self._as_table:
            mark = {**table(self._resource, [], str(self.seen)), "metadata": metadata}
        return json.dumps({"type": "BOOKMARK", "object": mark}).encode() + b"\n"


# --- who asks


def authenticated(request: web.BaseRequest) -> User:
    """By the client's certificate, whose chain TLS has verified; there is no other way in."""
    certificate = request.get_extra_info("peercert")
    if not certificate or ssl.cert_time_to_seconds(certificate["notAfter"]) < time.time():
        raise unauthorized()
    names = [(key, value) for part in certificate["subject"] for key, value in part]
    groups = frozenset(value for key, value in names if key == "organizationName")
    return User(next((value for key, value in names if key == "commonName"), ""), groups)


def _refused(user: User, target: Target, verb: str) -> StatusError:
    resource = target.resource
    where = f'in the namespace "{target.namespace}"' if target.namespace else "at the cluster scope"
    said = f'User "{user.name}" cannot {verb} resource "{resource.plural}" in API group "{resource.group}" {where}'
    return forbidden(resource, target.name, said)


def _verb(request: web.BaseRequest, target: Target) -> str:
    if request.method == "GET":
        return "get" if target.name else "watch" if request.query.get("watch") else "list"
    verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    return verbs.get(request.method, request.method.lower())


# --- what a request says


def _terms(request: web.BaseRequest, target: Target) -> Terms:
    query = request.query
    applies = request.method == "PATCH" and _media_type(request) in APPLY
    by_agent = "" if applies else request.headers.get("User-Agent", "unknown").partition("/")[0]
    return Terms(
        manager=query.get("fieldManager") or by_agent,
        dry_run=query.get("dryRun") == "All",
        strict=query.get("fieldValidation") == "Strict",
        force=query.get("force") == "true",
        subresource="" if target.subresource == "finalize" else target.subresource,
    )


def _selector(request: web.BaseRequest, target: Target) -> Predicate:
    return selector(target.resource, request.query.get("labelSelector", ""), request.query.get("fieldSelector", ""))


def _wants_table(request: web.BaseRequest) -> bool:
    return "as=Table" in request.headers.get("Accept", "")


def _media_type(request: web.BaseRequest) -> str:
    return request.headers.get("Content-Type", "application/json").partition(";")[0].strip()


async def _body(request: web.BaseRequest) -> t.Any:
    try:
        data = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise too_large() from None
    if not data:
        return None
    kind = _media_type(request)
    if kind == protobuf.MEDIA_TYPE:
        return protobuf.decode(data)
    if kind not in ("application/json", JSON_PATCH, MERGE_PATCH, STRATEGIC, "application/yaml", APPLY[0]):
        raise unknown_format(("application/json", "application/yaml", protobuf.MEDIA_TYPE))
    try:
        return load(data.decode()) if "yaml" in kind and data[:1] != b"{" else json.loads(data)
    except (ValueError, yaml.YAMLError) as problem:
        raise bad_request(f"the body can't be read: {problem}") from None


# --- small answers


def _version(number: str) -> Object:
    major, minor = number.split(".")[:2]
    version = {"major": major, "minor": minor, "gitVersion": f"v{number}", "gitCommit": "", "gitTreeState": "clean"}
    return {**version, "buildDate": "", "goVersion": "", "compiler": "gc", "platform": "linux/arm64"}


def _scale_of(obj: Object) -> Object:
    metadata = {
        key: obj["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    }
    labels = (obj["spec"].get("selector") or {}).get("matchLabels") or {}
    status = {"replicas": (obj.get("status") or {}).get("replicas", 0)}
    status |= {"selector": ",".join(f"{key}={value}" for key, value in labels.items())}
    spec = {"replicas": obj["spec"]["replicas"]}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}
