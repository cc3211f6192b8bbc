# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Sync and health of Argo CD's Applications, and what keeps them from being settled."""

from __future__ import annotations

import dataclasses
import time
import typing as t

from ._errors import TalosError
from ._kubectl import Kubectl, Object
from ._waiting import WaitedTooLong

APPLICATIONS = "applications.argoproj.io"
_SETS = "applicationsets.argoproj.io"
_REFRESH = "argocd.argoproj.io/refresh"
_REFRESH_SET = "argocd.argoproj.io/application-set-refresh"
_FAILED = ("Failed", "Error")
_SHOWN = 5
_PAUSE_SECONDS = 1.0


class NoArgoCD(TalosError):
    """There are no Applications in the namespace."""

    remedy = "Install Argo CD first: ansible-playbook site.yml --tags argocd, or homelab.talos.argocd_bootstrap"


class NotSettled(WaitedTooLong):
    """Applications are not Synced and Healthy in time."""

    remedy = "Look at what they say (argocd app get, or Argo CD's web page); what Git holds decides"


@dataclasses.dataclass(frozen=True)
class Application:
    """``missing`` says what keeps it from being Synced and Healthy, a line each."""

    name: str
    project: str
    namespace: str
    repo_url: str
    path: str
    revision: str
    sync: str
    health: str
    images: tuple[str, ...]
    missing: tuple[str, ...]

    def as_dict(self) -> dict[str, t.Any]:
        return dataclasses.asdict(self)


def applications(kubectl: Kubectl, namespace: str) -> list[Application]:
    """By name. Raises KubectlError, NoArgoCD."""
    found = kubectl.get(APPLICATIONS, namespace=namespace)
    if not found:
        raise NoArgoCD(f"there are no Applications in namespace {namespace}")
    return sorted(map(_application, found), key=lambda each: each.name)


def _application(item: Object) -> Application:
    spec, status = item.get("spec") or {}, item.get("status") or {}
    source = spec.get("source") or {}
    sync, health = status.get("sync") or {}, status.get("health") or {}
    return Application(
        name=item["metadata"]["name"],
        project=str(spec.get("project") or "default"),
        namespace=str((spec.get("destination") or {}).get("namespace") or ""),
        repo_url=str(source.get("repoURL") or ""),
        path=str(source.get("path") or ""),
        revision=str(sync.get("revision") or ""),
        sync=str(sync.get("status") or "Unknown"),
        health=str(health.get("status") or "Unknown"),
        images=tuple((status.get("summary") or {}).get("images") or ()),
        missing=tuple(_missing(item)),
    )


def _missing(item: Object) -> t.Iterator[str]:
    status = item.get("status") or {}
    sync = str((status.get("sync") or {}).get("status") or "")
    health = str((status.get("health") or {}).get("status") or "")
    if not sync:
        yield "Argo CD has not looked at it yet"
        return
    if _REFRESH in (item["metadata"].get("annotations") or {}):
        yield "Argo CD has not compared it with Git again yet"
    if sync != "Synced" or health != "Healthy":
        yield " and ".join(each for each in (sync, health) if each not in ("Synced", "Healthy", ""))
        yield from _unsettled(status.get("resources") or [])
    for condition in status.get("conditions") or []:
        if str(condition.get("type")).endswith("Error"):
            yield f"{condition['type']}: {condition.get('message')}"
    operation = status.get("operationState") or {}
    if operation.get("phase") in _FAILED and sync != "Synced":
        yield f"the last sync failed: {operation.get('message')}"


def _unsettled(resources: t.Sequence[Object]) -> t.Iterator[str]:
    lines = []
    for each in resources:
        health = each.get("health") or {}
        states = [str(each.get("status") or ""), str(health.get("status") or "")]
        bad = [state for state in states if state not in ("", "Synced", "Healthy")]
        if bad:
            place = "/".join(filter(None, (each.get("namespace"), each.get("name"))))
            words = f": {health['message']}" if health.get("message") else ""
            lines.append(f"{each.get('kind')} {place} is {' and '.join(bad)}{words}")
    yield from lines[:_SHOWN]
    if len(lines) > _SHOWN:
        yield f"and {len(lines) - _SHOWN} more"


def refresh(kubectl: Kubectl, namespace: str) -> None:
    """Let Argo CD compare everything with Git now, and not at its next look, some minutes later."""
    for kind, annotation, value in ((_SETS, _REFRESH_SET, "true"), (APPLICATIONS, _REFRESH, "normal")):
        names = [each["metadata"]["name"] for each in kubectl.get(kind, namespace=namespace)]
        if names:
            kubectl.annotate(kind, names, namespace, annotation, value)


def missing(kubectl: Kubectl, namespace: str, names: t.Sequence[str] = ()) -> list[str]:
    """What is not settled of all Applications, or of these; a line each. Raises KubectlError, NoArgoCD."""
    found = {each.name: each for each in applications(kubectl, namespace)}
    lines = [f"{name}: there is no such Application" for name in names if name not in found]
    for name, application in found.items():
        if not names or name in names:
            lines += (f"{name}: {line}" for line in application.missing)
    return lines


def wait(
    kubectl: Kubectl, namespace: str, names: t.Sequence[str], seconds: float, check: t.Callable[[], object]
) -> list[str]:
    """What is not settled after ``seconds``; empty as soon as all is. ``check`` may raise to end it."""
    ends = time.monotonic() + seconds
    while True:
        check()
        lines = missing(kubectl, namespace, names)
        if not lines or time.monotonic() >= ends:
            return lines
        time.sleep(min(_PAUSE_SECONDS, max(0.0, ends - time.monotonic())))
