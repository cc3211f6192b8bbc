# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of one Application: it is compared with its source, synced where that is automatic, and described."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import typing as t
from dataclasses import dataclass, field

from rehearsal.argocd import health, projects, sync
from rehearsal.argocd.faults import ApplicationFaults
from rehearsal.argocd.manifests import Rendered, rendered
from rehearsal.argocd.objects import Comparison, Identity, Line, annotations_of, app_option, targets, tracked
from rehearsal.argocd.repositories import Commit, Repositories, Unreadable
from rehearsal.kubernetes import Object
from rehearsal.kubernetes.api import Api, Terms
from rehearsal.kubernetes.kinds import Resource, built_in, find
from rehearsal.kubernetes.rules import now
from rehearsal.kubernetes.status import StatusError

API = ("argoproj.io", "v1alpha1")
REFRESH = "argocd.argoproj.io/refresh"
FINALIZER = "resources-finalizer.argocd.argoproj.io"
_CONTROLLER = Terms("argocd-application-controller")
_CONFIG_MAPS = built_in("configmaps")
_HEAL_SECONDS = _RETRY_SECONDS = 1.0
# In argocd-cmd-params-cm: "true" has the health of each object written down, too.
_PERSIST = "controller.resource.health.persist"
_LOADING = "Failed to load target state: failed to generate manifest for source 1 of 1: "
# Of child Applications these say nothing about the parent.
_UNTOLD = (health.MISSING, health.UNKNOWN)


@dataclass
class _Memory:
    """What is known of an Application between two looks at it."""

    comparison: Comparison
    rendering: tuple[Commit, str] | None = None
    result: Rendered | Unreadable | None = None
    attempted_at: float = 0.0


@dataclass
class _Seen:
    """What a look at an Application found."""

    conditions: list[tuple[str, str]] = field(default_factory=list)
    sync_status: str = "Unknown"
    revision: str = ""
    source_type: str = ""
    health: str = health.UNKNOWN
    lines: list[Line] | None = None
    operation: Object | None = None


class Applications:
    """The application controller of one namespace."""

    def __init__(self, api: Api, namespace: str, repositories: Repositories, faults: ApplicationFaults) -> None:
        self._api, self._namespace, self._repositories, self._faults = api, namespace, repositories, faults
        self._memories: dict[str, _Memory] = {}

    async def reconcile(self) -> None:
        """Look at every Application once."""
        resource = find(self._api.store.resources, *API, "applications")
        known = self._api.store.all(resource.key, self._namespace) if resource else []
        uids = {application["metadata"]["uid"] for application in known}
        self._memories = {uid: memory for uid, memory in self._memories.items() if uid in uids}
        for application in known:
            # A write that is refused is tried again in the next round.
            with contextlib.suppress(StatusError):
                if resource is not None:
                    await self._look_at(resource, application["metadata"]["name"])

    async def _look_at(self, resource: Resource, name: str) -> None:
        application = self._api.store.get(resource.key, self._namespace, name)
        if application is None:
            return
        if "deletionTimestamp" in application["metadata"]:
            self._let_go(resource, application)
            return
        memory = self._memories.setdefault(application["metadata"]["uid"], _Memory(Comparison(self._api)))
        if REFRESH in annotations_of(application):
            memory.rendering = None
        seen = await self._seen(application, memory)
        self._describe(resource, application, seen)

    # --- looking

    async def _seen(self, application: Object, memory: _Memory) -> _Seen:
        project = self._project(application)
        problems = projects.spec_problems(application, project)
        if problems or project is None:
            return _Seen([("InvalidSpecError", problem) for problem in problems])
        source = application["spec"]["source"]
        try:
            commit = self._repositories.commit(
                self._namespace, source["repoURL"], str(source.get("targetRevision") or "")
            )
            declared = await _render(memory, commit, source)
        except Unreadable as problem:
            lines = self._lines(application, memory, {})
            worst = self._worst(lines)
            return _Seen([("ComparisonError", f"{_LOADING}{problem}")], health=worst, lines=lines)
        return await self._compared(application, project, memory, commit, declared)

    async def _compared(
        self, application: Object, project: Object, memory: _Memory, commit: Commit, declared: Rendered
    ) -> _Seen:
        wanted = targets(self._api, application, declared.objects)
        lines = self._lines(application, memory, wanted.objects)
        seen = _Seen([("RepeatedResourceWarning", said) for said in wanted.warnings], revision=commit.name)
        seen.source_type = declared.source_type
        if refusal := _wipes_out(application, lines):
            seen.conditions.append(("SyncError", f"Skipping sync attempt to {commit.name}: {refusal}"))
        elif _is_due(application, lines, commit.name, memory):
            memory.attempted_at = time.monotonic()
            seen.operation = await self._synced(application, project, lines, commit.name)
            wanted = targets(self._api, application, declared.objects)
            lines = self._lines(application, memory, wanted.objects)
        last = seen.operation or sync.attempted(application)
        if last.get("phase") == sync.FAILED and _is_of(last, application, commit.name):
            seen.conditions.append(("SyncError", f"Failed last sync attempt to [{commit.name}]: {last['message']}"))
        seen.lines, seen.health = lines, self._worst(lines)
        seen.sync_status = "Synced" if all(line.is_synced for line in lines) else "OutOfSync"
        return seen

    async def _synced(self, application: Object, project: Object, lines: list[Line], revision: str) -> Object:
        source, last = application["spec"]["source"], sync.attempted(application)
        goes_on = last.get("phase") == sync.RUNNING and _is_of(last, application, revision)
        retries = last.get("retryCount", 0) if goes_on else 0
        started_at = last["startedAt"] if goes_on else now()
        prunes = _automated(application).get("prune", False)
        outcome = await sync.sync(self._api, application, project, lines, prunes)
        return sync.state(outcome, source, revision, prunes, retries, started_at)

    def _project(self, application: Object) -> Object | None:
        resource = find(self._api.store.resources, *API, "appprojects")
        name = application["spec"].get("project") or "default"
        return self._api.store.get(resource.key, self._namespace, name) if resource else None

    def _lines(self, application: Object, memory: _Memory, wanted: t.Mapping[Identity, Object]) -> list[Line]:
        owned = tracked(self._api).get(application["metadata"]["name"], {})
        by_server = app_option(application, "ServerSideApply=true")
        # Kinds may have become known since, which tells namespaced objects from the others.
        rendering = (memory.rendering, application["spec"]["destination"].get("namespace"), frozenset(wanted))
        return memory.comparison.lines(rendering, wanted, owned, self._assessed, by_server)

    def _settings(self, name: str) -> Object:
        return (self._api.store.get(_CONFIG_MAPS.key, self._namespace, name) or {}).get("data") or {}

    @property
    def _assessed(self) -> frozenset[tuple[str, str]]:
        return health.assessed(self._settings("argocd-cm"))

    def _worst(self, lines: list[Line]) -> str:
        assessed, found = self._assessed, []
        for line in lines:
            kind = (line.identity.group, line.identity.kind)
            if line.health and kind in assessed and not (kind == health.APPLICATION and line.health[0] in _UNTOLD):
                found.append(line.health[0])
        return health.worst(found)

    # --- telling

    def _describe(self, resource: Resource, application: Object, seen: _Seen) -> None:
        """Write the status where it says something else, or where somebody asked for a look."""
        metadata = application["metadata"]
        fresh = self._api.store.get(resource.key, self._namespace, metadata["name"])
        if fresh is None or fresh["metadata"]["uid"] != metadata["uid"]:
            return
        asked = REFRESH in annotations_of(application)
        status = self._status(application, fresh.get("status") or {}, seen)
        if status == fresh.get("status") and not asked:
            return
        kept = {key: value for key, value in annotations_of(fresh).items() if key != REFRESH or not asked}
        new = {**fresh, "metadata": {**fresh["metadata"], "annotations": kept}, "status": status}
        new["status"] = {**status, "reconciledAt": now()}
        self._api.update(resource, self._namespace, metadata["name"], new, _CONTROLLER)

    def _status(self, application: Object, before: Object, seen: _Seen) -> Object:
        spec, name = application["spec"], application["metadata"]["name"]
        persists = self._settings("argocd-cmd-params-cm").get(_PERSIST) == "true"
        lines = [line.as_status(with_health=persists) for line in seen.lines or []]
        if seen.sync_status == "Unknown":
            lines = [{**line, "status": "Unknown"} for line in lines]
        sync_status, worst = seen.sync_status, seen.health
        if self._faults.active("app-out-of-sync", name):
            sync_status = "OutOfSync"
            lines[:1] = [{**line, "status": sync_status} for line in lines[:1]]
        if self._faults.active("app-degraded", name):
            worst = health.DEGRADED
            if persists:
                lines[:1] = [{**line, "health": {"status": worst}} for line in lines[:1]]
        compared = {key: spec[key] for key in ("source", "destination", "ignoreDifferences") if key in spec}
        told = {"status": sync_status, "comparedTo": compared, "revision": seen.revision}
        status: Object = {
            **before,
            "sync": {key: value for key, value in told.items() if value},
            "health": _with_time("lastTransitionTime", {"status": worst}, [before.get("health") or {}]),
            "summary": {"images": images} if (images := _images(seen.lines or [])) else {},
        }
        status |= {"operationState": seen.operation} if seen.operation else {}
        status |= {"sourceType": seen.source_type} if seen.source_type else {}
        status |= {"resources": lines} if seen.lines is not None else {}
        for name in ("conditions", "resourceHealthSource"):
            status.pop(name, None)
        status |= {} if persists else {"resourceHealthSource": "appTree"}
        former = before.get("conditions") or []
        conditions = [{"type": kind, "message": message} for kind, message in seen.conditions]
        if conditions:
            status["conditions"] = [_with_time("lastTransitionTime", each, former) for each in conditions]
        return status

    # --- letting go

    def _let_go(self, resource: Resource, application: Object) -> None:
        """With the finalizer its objects go first; those of autopilot that bear none leave theirs behind."""
        metadata = application["metadata"]
        finalizers = metadata.get("finalizers") or []
        held = [name for name in finalizers if name.startswith(FINALIZER)]
        owned = tracked(self._api).get(metadata["name"], {})
        lines = Comparison(self._api).lines(None, {}, owned, frozenset(), False)
        going = [line for line in lines if not line.option("Delete=false")]
        if held and going:
            for line in going:
                sync.remove(self._api, line)
        elif held:
            left = [name for name in finalizers if name not in held]
            new = {**application, "metadata": {**metadata, "finalizers": left}}
            self._api.update(resource, self._namespace, metadata["name"], new, _CONTROLLER)


async def _render(memory: _Memory, commit: Commit, source: Object) -> Rendered:
    """What the source declares; a commit is read once, and outside the loop that answers for all nodes."""
    rendering = (commit, json.dumps(source, sort_keys=True))
    if memory.rendering != rendering:
        try:
            memory.result = await asyncio.to_thread(rendered, commit, source)
        except Unreadable as problem:
            memory.result = problem
        memory.rendering = rendering
    if not isinstance(memory.result, Rendered):
        raise Unreadable(*(memory.result.args if memory.result else ()))
    return memory.result


# --- is a sync due?


def _automated(application: Object) -> Object:
    """The policy of automatic syncs, empty where there is none."""
    policy = (application["spec"].get("syncPolicy") or {}).get("automated")
    if policy is None or policy.get("enabled") is False:
        return {}
    return {"prune": False, "selfHeal": False, "allowEmpty": False, **policy}


def _wipes_out(application: Object, lines: list[Line]) -> str:
    policy = _automated(application)
    is_all = bool(lines) and all(line.surplus for line in lines)
    if is_all and policy.get("prune") and not policy["allowEmpty"]:
        return "auto-sync will wipe out all resources"
    return ""


def _is_due(application: Object, lines: list[Line], revision: str, memory: _Memory) -> bool:
    policy = _automated(application)
    changes = [
        line
        for line in lines
        if not line.is_synced and (not line.surplus or (policy.get("prune") and not line.option("Prune=false")))
    ]
    last, waited = sync.attempted(application), time.monotonic() - memory.attempted_at
    is_known = _is_of(last, application, revision)
    if policy and is_known and last["phase"] == sync.RUNNING:
        return bool(waited >= _RETRY_SECONDS * 2 ** (last.get("retryCount", 1) - 1))
    if not policy or not changes or not is_known:
        return bool(policy and changes)
    return bool(last["phase"] == sync.SUCCEEDED and policy["selfHeal"] and waited >= _HEAL_SECONDS)


def _is_of(operation: t.Mapping[str, t.Any], application: Object, revision: str) -> bool:
    """Was it about what the Application wants now?"""
    result = operation.get("syncResult") or {}
    return (result.get("revision"), result.get("source")) == (revision, application["spec"]["source"])


# --- pieces of the status


def _with_time(key: str, value: Object, former: t.Iterable[Object]) -> Object:
    """With the moment since when it has been so."""
    for each in former:
        if {name: each[name] for name in each if name != key} == value and key in each:
            return each
    return {**value, key: now()}


def _images(lines: list[Line]) -> list[str]:
    templates = (((line.live or {}).get("spec") or {}).get("template") or {} for line in lines if line.target)
    pods = [template.get("spec") or {} for template in templates if isinstance(template, dict)]
    containers = [each for pod in pods for key in ("initContainers", "containers") for each in pod.get(key) or []]
    return sorted({each["image"] for each in containers if each.get("image")})
