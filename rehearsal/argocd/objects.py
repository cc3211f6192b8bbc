# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of one Application: as Git wants them, as they are in the cluster, and how the two compare."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from rehearsal.argocd import health
from rehearsal.argocd.apply import differs
from rehearsal.kubernetes import Object
from rehearsal.kubernetes.api import Api
from rehearsal.kubernetes.kinds import Resource

TRACKING = "argocd.argoproj.io/tracking-id"
_OPTIONS = "argocd.argoproj.io/sync-options"
_WAVE = "argocd.argoproj.io/sync-wave"


@dataclass(frozen=True)
class Identity:
    """What an object is called; ``namespace`` is empty for those of the cluster."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.group}/{self.kind}/{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Line:
    """One object. ``resource`` is None where the cluster does not know its kind, ``health`` where it has none."""

    identity: Identity
    version: str
    target: Object | None
    live: Object | None
    resource: Resource | None
    is_synced: bool
    health: health.Health | None

    @property
    def surplus(self) -> bool:
        """It left Git, and is still there."""
        return self.target is None

    @property
    def wave(self) -> int:
        return int(annotations_of(self.target or {}).get(_WAVE, "0"))

    def option(self, name: str) -> bool:
        """Does the object itself ask for this, as in ``Prune=false``?"""
        return name in _split(annotations_of(self.target or self.live or {}).get(_OPTIONS, ""))

    def as_status(self, *, with_health: bool) -> Object:
        named = {"group": self.identity.group, "version": self.version, "kind": self.identity.kind}
        named |= {"namespace": self.identity.namespace, "name": self.identity.name}
        status: Object = {key: value for key, value in named.items() if value}
        status["status"] = "Synced" if self.is_synced else "OutOfSync"
        if self.health and with_health:
            told = {"message": self.health[1]} if self.health[1] else {}
            status["health"] = {"status": self.health[0], **told}
        return {**status, **({"requiresPruning": True} if self.surplus else {})}


def _split(options: str) -> list[str]:
    return [option.strip() for option in options.split(",")]


def annotations_of(obj: Object) -> dict[str, str]:
    return (obj.get("metadata") or {}).get("annotations") or {}


def app_option(application: Object, name: str) -> bool:
    return name in ((application["spec"].get("syncPolicy") or {}).get("syncOptions") or [])


# --- as Git wants them


@dataclass(frozen=True)
class Targets:
    """The objects of a source, ready to be applied, and what is odd about them."""

    objects: dict[Identity, Object]
    warnings: tuple[str, ...]


def targets(api: Api, application: Object, declared: t.Iterable[Object]) -> Targets:
    """With their namespaces and the mark of their Application."""
    found: dict[Identity, Object] = {}
    times: dict[Identity, int] = {}
    for obj in declared:
        identity, target = _target(api, application, obj)
        found[identity] = target
        times[identity] = times.get(identity, 0) + 1
    said = "Resource {} appeared {} times among application resources."
    return Targets(found, tuple(said.format(name, count) for name, count in times.items() if count > 1))


def _target(api: Api, application: Object, obj: Object) -> tuple[Identity, Object]:
    resource, metadata = resource_of(api, obj), obj.get("metadata") or {}
    default = application["spec"]["destination"].get("namespace") or ""
    given = metadata.get("namespace") or default
    namespace = given if resource is None or resource.namespaced else ""
    group = str(obj["apiVersion"]).rpartition("/")[0]
    identity = Identity(group, obj["kind"], namespace, str(metadata.get("name") or ""))
    mark = f"{application['metadata']['name']}:{group}/{identity.kind}:{given}/{identity.name}"
    # A creationTimestamp of null is what Go writes for none; a status is never Git's.
    own = {key: value for key, value in metadata.items() if key not in ("creationTimestamp", "namespace")}
    own |= {"namespace": namespace} if namespace else {}
    own["annotations"] = {**(metadata.get("annotations") or {}), TRACKING: mark}
    kept = {key: value for key, value in obj.items() if key != "status"}
    return identity, {**kept, "metadata": own}


def resource_of(api: Api, obj: Object) -> Resource | None:
    wanted = (obj.get("apiVersion"), obj["kind"])
    return next((each for each in api.store.resources if (each.api_version, each.kind) == wanted), None)


# --- as they are


def tracked(api: Api) -> dict[str, dict[Identity, Object]]:
    """The objects in the cluster by the Application that made them; copies that others made do not count."""
    found: dict[str, dict[Identity, Object]] = {}
    for (group, _plural), obj in api.store.everything():
        name, _, rest = annotations_of(obj).get(TRACKING, "").partition(":")
        metadata = obj["metadata"]
        identity = Identity(group, obj["kind"], metadata.get("namespace", ""), metadata["name"])
        kind, _, place = rest.partition(":")
        if kind == f"{group}/{obj['kind']}" and place.partition("/")[2] == metadata["name"]:
            found.setdefault(name, {})[identity] = obj
    return found


class Comparison:
    """Compares what Git wants for one Application with what is there; nothing is compared twice."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._rendering: t.Hashable = None
        self._known: dict[Identity, tuple[str, bool, bool]] = {}

    def lines(
        self,
        rendering: t.Hashable,
        wanted: t.Mapping[Identity, Object],
        owned: t.Mapping[Identity, Object],
        assessed: frozenset[tuple[str, str]],
        server_side: bool,
    ) -> list[Line]:
        """All objects; ``rendering`` tells what is wanted in one value, ``owned`` bear the Application's mark."""
        if rendering != self._rendering:
            self._known.clear()
            self._rendering = rendering
        lines = [self._line(identity, target, assessed, server_side) for identity, target in wanted.items()]
        for identity, live in owned.items():
            if identity not in wanted:
                resource = resource_of(self._api, live)
                state = _health(identity, None, live, assessed)
                version = str(live["apiVersion"]).rpartition("/")[2]
                lines.append(Line(identity, version, None, live, resource, False, state))
        return sorted(lines, key=lambda line: (line.identity.kind, line.identity.namespace, line.identity.name))

    def _line(
        self, identity: Identity, target: Object, assessed: frozenset[tuple[str, str]], server_side: bool
    ) -> Line:
        resource = resource_of(self._api, target)
        live = self._api.store.get(resource.key, identity.namespace, identity.name) if resource else None
        by_server = server_side or "ServerSideApply=true" in _split(annotations_of(target).get(_OPTIONS, ""))
        is_synced = False
        if resource is not None and live is not None:
            is_synced = not self._differs(identity, resource, target, live, by_server)
        version = str(target["apiVersion"]).rpartition("/")[2]
        return Line(identity, version, target, live, resource, is_synced, _health(identity, target, live, assessed))

    def _differs(self, identity: Identity, resource: Resource, target: Object, live: Object, by_server: bool) -> bool:
        version = live["metadata"]["resourceVersion"]
        known = self._known.get(identity)
        if known is None or known[:2] != (version, by_server):
            known = (version, by_server, differs(self._api, resource, target, live, by_server))
            self._known[identity] = known
        return known[2]


def _health(
    identity: Identity, target: Object | None, live: Object | None, assessed: frozenset[tuple[str, str]]
) -> health.Health | None:
    if live is None:
        return health.MISSING, ""
    kind = (identity.group, identity.kind)
    return health.of(identity.group, live) if kind in assessed else None
