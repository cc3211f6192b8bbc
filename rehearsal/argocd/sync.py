# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One sync of an Application: its objects are applied in order, and those that left Git are pruned."""

from __future__ import annotations

import asyncio
import datetime
import typing as t
from dataclasses import dataclass, field

from rehearsal.argocd import projects
from rehearsal.argocd.apply import MANAGER, apply
from rehearsal.argocd.objects import Line, app_option, resource_of
from rehearsal.kubernetes import Object
from rehearsal.kubernetes.api import NAMESPACES, Api, Terms
from rehearsal.kubernetes.rules import now
from rehearsal.kubernetes.status import StatusError

RUNNING, SUCCEEDED, FAILED = "Running", "Succeeded", "Failed"
RETRIES = 5
_DEFINITION = "CustomResourceDefinition"
# Namespaces and definitions before what needs them; kinds that are not named come last.
_FIRST = (
    *("Namespace", "NetworkPolicy", "ResourceQuota", "LimitRange", "ServiceAccount", "Secret", "ConfigMap"),
    *("StorageClass", "PersistentVolume", "PersistentVolumeClaim", _DEFINITION, "ClusterRole", "ClusterRoleBinding"),
    *("Role", "RoleBinding", "Service", "DaemonSet", "Deployment", "StatefulSet"),
)


@dataclass
class Outcome:
    """What became of each object, and of the whole."""

    phase: str = SUCCEEDED
    message: str = "successfully synced (all tasks run)"
    results: list[Object] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    def add(self, line: Line, status: str, message: str) -> None:
        name = line.identity
        named = {"group": name.group, "version": line.version, "kind": name.kind, "namespace": name.namespace}
        # The schema wants all names of the object, also the empty ones.
        result: Object = {**named, "name": name.name, "status": status, "message": message, "syncPhase": "Sync"}
        self.results.append({**result, "hookPhase": FAILED if status == "SyncFailed" else RUNNING})
        if status == "SyncFailed":
            self.refusals.append(message)

    def fail(self, message: str) -> Outcome:
        said = list(dict.fromkeys(self.refusals))
        self.phase, self.message = FAILED, message + ",".join(said)
        return self


async def sync(api: Api, application: Object, project: Object, lines: list[Line], prunes: bool) -> Outcome:
    """Apply and prune; nothing is touched where one of the objects must not be applied at all."""
    outcome = Outcome()
    tasks = sorted((line for line in lines if not line.surplus), key=_order)
    for line in tasks:
        if refusal := _refusal(project, line, tasks):
            outcome.add(line, "SyncFailed", refusal)
    if outcome.refusals:
        return outcome.fail("one or more synchronization tasks are not valid: ")
    _make_namespace(api, application)
    by_server = app_option(application, "ServerSideApply=true")
    for line in tasks:
        _apply(api, line, by_server, outcome)
        await asyncio.sleep(0)  # the APIs of all nodes answer in this loop
    if outcome.refusals:
        return outcome.fail("one or more objects failed to apply, reason: ")
    for line in sorted((line for line in lines if line.surplus), key=_order, reverse=True):
        _prune(api, line, prunes, outcome)
        await asyncio.sleep(0)
    return outcome


def _order(line: Line) -> tuple[int, int, str, str]:
    kind, name = line.identity.kind, line.identity.name
    return line.wave, _FIRST.index(kind) if kind in _FIRST else len(_FIRST), kind, name


def _refusal(project: Object, line: Line, tasks: list[Line]) -> str:
    name = line.identity
    if line.resource is not None:
        return projects.refusal(project, line.resource, name.namespace, name.name)
    if any(_defines(task.target or {}, line) for task in tasks):
        return ""
    version = f"{name.group}/{line.version}" if name.group else line.version
    said = f"failed to discover server resources for group version {version}"
    return f"{said}: the server could not find the requested resource"


def _defines(target: Object, line: Line) -> bool:
    spec = target.get("spec") or {}
    named = (spec.get("group"), (spec.get("names") or {}).get("kind"))
    return target.get("kind") == _DEFINITION and named == (line.identity.group, line.identity.kind)


def _make_namespace(api: Api, application: Object) -> None:
    name = application["spec"]["destination"].get("namespace")
    if name and app_option(application, "CreateNamespace=true") and api.store.get(NAMESPACES.key, "", name) is None:
        api.create(NAMESPACES, "", {"metadata": {"name": name}}, Terms(MANAGER))


def _apply(api: Api, line: Line, by_server: bool, outcome: Outcome) -> None:
    target = line.target or {}
    by_server = by_server or line.option("ServerSideApply=true")
    shown = f"{line.identity.kind.lower()}{f'.{line.identity.group}' if line.identity.group else ''}"
    try:
        resource = line.resource or resource_of(api, target)
        if resource is None:
            raise StatusError(404, "NotFound", f'{line.identity.kind}.{line.identity.group} "" not found')
        live = api.store.get(resource.key, line.identity.namespace, line.identity.name)
        applied = apply(api, resource, target, live, by_server, dry=False)
    except StatusError as problem:
        outcome.add(line, "SyncFailed", problem.message)
        return
    done = "created" if live is None else "unchanged" if applied == live else "configured"
    outcome.add(line, "Synced", f"{shown}/{line.identity.name} {'serverside-applied' if by_server else done}")


def _prune(api: Api, line: Line, prunes: bool, outcome: Outcome) -> None:
    if line.resource is None or line.live is None:
        return
    if not prunes or line.option("Prune=false"):
        outcome.add(line, "PruneSkipped", "ignored (no prune)" if prunes else "ignored (requires pruning)")
        return
    remove(api, line)
    outcome.add(line, "Pruned", "pruned")


def remove(api: Api, line: Line) -> None:
    """Delete an object that may have gone in the meantime."""
    if line.resource is None or line.live is None or "deletionTimestamp" in line.live["metadata"]:
        return
    try:
        api.delete(line.resource, line.identity.namespace, line.identity.name, {}, Terms(MANAGER))
    except StatusError as problem:
        if problem.reason != "NotFound":
            raise


def state(outcome: Outcome, source: Object, revision: str, prunes: bool, retries: int, started_at: str) -> Object:
    """``status.operationState`` after an attempt; a failed one is tried again some times."""
    phase, message = outcome.phase, outcome.message
    if phase == FAILED and retries < RETRIES:
        retries += 1
        at = datetime.datetime.now().strftime("%I:%M%p").lstrip("0")
        phase, message = RUNNING, f"{message}. Retrying attempt #{retries} at {at}."
    elif phase == FAILED:
        message = f"{message} (retried {retries} times)."
    operation = {"initiatedBy": {"automated": True}, "retry": {"limit": RETRIES}}
    return {
        "operation": {**operation, "sync": {"revision": revision, **({"prune": True} if prunes else {})}},
        "phase": phase,
        "message": message,
        "startedAt": started_at,
        "finishedAt": now(),
        **({"retryCount": retries} if retries else {}),
        "syncResult": {"revision": revision, "source": source, "resources": outcome.results},
    }


def attempted(application: Object) -> t.Mapping[str, t.Any]:
    """The last operation, empty where there was none."""
    return (application.get("status") or {}).get("operationState") or {}
