# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How well an object is, by Argo CD's rules for its kind."""

from __future__ import annotations

import typing as t

from rehearsal.kubernetes import Object

HEALTHY, SUSPENDED, PROGRESSING, MISSING, DEGRADED, UNKNOWN = (
    *("Healthy", "Suspended", "Progressing"),
    *("Missing", "Degraded", "Unknown"),
)
_ORDER = (HEALTHY, SUSPENDED, PROGRESSING, MISSING, DEGRADED, UNKNOWN)
APPLICATION = ("argoproj.io", "Application")
Health = tuple[str, str]  # status and message
# Where argocd-cm says how to tell the health of child Applications, now and in its older form.
_OWN_RULE, _AMONG_OTHERS = "resource.customizations.health.argoproj.io_Application", "argoproj.io/Application:"
_WAITING = "Waiting for rollout to finish: "


def worst(statuses: t.Iterable[str]) -> str:
    return max(statuses, key=_ORDER.index, default=HEALTHY)


def assessed(settings: t.Mapping[str, str]) -> frozenset[tuple[str, str]]:
    """Group and kind of what has a health; that of child Applications counts where argocd-cm says how to tell it."""
    own = frozenset(_RULES)
    is_told = _OWN_RULE in settings or _AMONG_OTHERS in settings.get("resource.customizations", "")
    return own if is_told else own - {APPLICATION}


def of(group: str, obj: Object) -> Health:
    """The health of an object whose kind has one."""
    if "deletionTimestamp" in obj["metadata"]:
        return PROGRESSING, "Pending deletion"
    status, spec = obj.get("status") or {}, obj.get("spec") or {}
    if "observedGeneration" in status and status["observedGeneration"] < obj["metadata"].get("generation", 0):
        return PROGRESSING, f"{_WAITING}observed {obj['kind'].lower()} generation less than desired generation"
    return _RULES[group, obj["kind"]](obj["metadata"]["name"], spec, status)


def _deployment(name: str, spec: Object, status: Object) -> Health:
    if spec.get("paused"):
        return SUSPENDED, "Deployment is paused"
    conditions = status.get("conditions") or []
    if any(each["type"] == "Progressing" and each["reason"] == "ProgressDeadlineExceeded" for each in conditions):
        return DEGRADED, f'Deployment "{name}" exceeded its progress deadline'
    wanted, updated = spec.get("replicas", 1), status.get("updatedReplicas", 0)
    if updated < wanted:
        return PROGRESSING, f"{_WAITING}{updated} out of {wanted} new replicas have been updated..."
    available = status.get("availableReplicas", 0)
    if available < updated:
        return PROGRESSING, f"{_WAITING}{available} of {updated} updated replicas are available..."
    return HEALTHY, ""


def _stateful_set(name: str, spec: Object, status: Object) -> Health:
    wanted, ready = spec.get("replicas", 1), status.get("readyReplicas", 0)
    if ready < wanted:
        return PROGRESSING, f"Waiting for {wanted - ready} pods to be ready..."
    return HEALTHY, ""


def _daemon_set(name: str, spec: Object, status: Object) -> Health:
    wanted, available = status.get("desiredNumberScheduled", 0), status.get("numberAvailable", 0)
    if "observedGeneration" not in status:
        return PROGRESSING, f"{_WAITING}nothing was scheduled yet"
    if available < wanted:
        return PROGRESSING, f'{_WAITING}Daemon set "{name}": {available} of {wanted} updated pods are available...'
    return HEALTHY, ""


def _application(name: str, spec: Object, status: Object) -> Health:
    own = status.get("health") or {}
    return own.get("status") or PROGRESSING, own.get("message") or ""


def _application_set(name: str, spec: Object, status: Object) -> Health:
    conditions = {each["type"]: each for each in status.get("conditions") or []}
    if (conditions.get("ErrorOccurred") or {}).get("status") == "True":
        return DEGRADED, conditions["ErrorOccurred"]["message"]
    if (conditions.get("ResourcesUpToDate") or {}).get("status") == "True":
        return HEALTHY, conditions["ResourcesUpToDate"]["message"]
    return PROGRESSING, "Waiting for the status to be reported"


_RULES: dict[tuple[str, str], t.Callable[[str, Object, Object], Health]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    APPLICATION: _application,
    ("argoproj.io", "ApplicationSet"): _application_set,
}
