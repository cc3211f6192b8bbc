# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Sync and health of Argo CD's Applications, and what keeps them from being settled."""

from __future__ import annotations

import dataclasses
import time
import typing as t

from ._argocd_cluster import BOOTSTRAP_APP
from ._argocd_workloads import Workloads
from ._errors import TalosError
from ._kubectl import Kubectl, NoCluster, Object
from ._waiting import WaitedTooLong

APPLICATIONS = "applications.argoproj.io"
_SETS = "applicationsets.argoproj.io"
_REFRESH = "argocd.argoproj.io/refresh"
_REFRESH_SET = "argocd.argoproj.io/application-set-refresh"
_FAILED, _AT_WORK = ("Failed", "Error"), ("Running", "Terminating")
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
    workloads = Workloads(kubectl)
    return [_application(item, workloads) for item in _items(kubectl, namespace)]


def _items(kubectl: Kubectl, namespace: str) -> list[Object]:
    found = kubectl.get(APPLICATIONS, namespace=namespace)
    if not found:
        raise NoArgoCD(f"there are no Applications in namespace {namespace}")
    return sorted(found, key=_name)


def _application(item: Object, workloads: Workloads) -> Application:
    spec, status = item.get("spec") or {}, item.get("status") or {}
    source = spec.get("source") or {}
    return Application(
        name=_name(item),
        project=str(spec.get("project") or "default"),
        namespace=str((spec.get("destination") or {}).get("namespace") or ""),
        repo_url=str(source.get("repoURL") or ""),
        path=str(source.get("path") or ""),
        revision=_revision(item),
        sync=_state(item, "sync") or "Unknown",
        health=_state(item, "health") or "Unknown",
        images=tuple((status.get("summary") or {}).get("images") or ()),
        missing=tuple(_missing(item, workloads)),
    )


def _name(item: Object) -> str:
    return str(item["metadata"]["name"])


def _state(item: Object, what: str) -> str:
    return str(((item.get("status") or {}).get(what) or {}).get("status") or "")


def _revision(item: Object) -> str:
    """The commit that it was compared with last."""
    return str(((item.get("status") or {}).get("sync") or {}).get("revision") or "")


# --- what is missing


def _missing(item: Object, workloads: Workloads | None = None) -> t.Iterator[str]:
    """``workloads`` tell why pods are not ready."""
    status = item.get("status") or {}
    sync, health = _state(item, "sync"), _state(item, "health") or "Unknown"
    if not sync:
        yield "Argo CD has not looked at it yet"
        return
    if _is_refreshing(item):
        yield "Argo CD has not compared it with Git again yet"
    if sync != "Synced" or health != "Healthy":
        yield " and ".join(each for each in (sync, health) if each not in ("Synced", "Healthy"))
        yield from shortened(list(_unsettled(status.get("resources") or [])))
    if workloads and health != "Healthy":
        yield from shortened(workloads.unready(item))
    for condition in status.get("conditions") or []:
        if str(condition.get("type")).endswith("Error"):
            yield f"{condition['type']}: {condition.get('message')}"
    yield from _unfinished(item)


def _unsettled(resources: t.Iterable[Object]) -> t.Iterator[str]:
    for each in resources:
        health = each.get("health") or {}
        states = [str(each.get("status") or ""), str(health.get("status") or "")]
        bad = [state for state in states if state not in ("", "Synced", "Healthy")]
        if bad:
            place = "/".join(filter(None, (each.get("namespace"), each.get("name"))))
            words = f": {health['message']}" if health.get("message") else ""
            yield f"{each.get('kind')} {place} is {' and '.join(bad)}{words}"


def _unfinished(item: Object) -> t.Iterator[str]:
    """Of the last sync. Before its hooks and later waves an Application is Synced and Healthy already."""
    operation = (item.get("status") or {}).get("operationState") or {}
    phase, message = operation.get("phase"), operation.get("message")
    if item.get("operation") or phase in _AT_WORK:
        yield "a sync is running" + (f": {message}" if message and phase in _AT_WORK else "")
    elif phase in _FAILED:
        tried = str((operation.get("syncResult") or {}).get("revision") or "")
        # Where Git has moved on since, and nothing differs, the failure is of the past.
        if _state(item, "sync") != "Synced" or (tried and tried == _revision(item)):
            yield f"the last sync failed: {message}"


def shortened(lines: t.Sequence[str]) -> list[str]:
    """The first of them, and how many more there are."""
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return [*lines[:_SHOWN], *more]


# --- comparisons with Git


def _is_refreshing(item: Object) -> bool:
    return _REFRESH in (item["metadata"].get("annotations") or {})


def _branch(item: Object) -> tuple[str, str]:
    """Repository and branch, the same for all ways to write them."""
    source = (item.get("spec") or {}).get("source") or {}
    revision = str(source.get("targetRevision") or "")
    return str(source.get("repoURL") or "").removesuffix(".git"), "" if revision == "HEAD" else revision


def _refresh(kubectl: Kubectl, namespace: str, names: t.Sequence[str]) -> None:
    """Let Argo CD compare these with Git now, and not at its next look, some minutes later; its sets, too."""
    sets = [_name(each) for each in kubectl.get(_SETS, namespace=namespace)]
    if sets:
        kubectl.annotate(_SETS, sets, namespace, _REFRESH_SET, "true")
    kubectl.annotate(APPLICATIONS, names, namespace, _REFRESH, "normal")


@dataclasses.dataclass
class Settling:
    """Applications on their way to Synced and Healthy.

    ``names`` are those that matter, by default all. ``refresh`` has Argo CD compare each with Git once. ``commit`` has
    it compare those of the branch that autopilot-bootstrap follows, where the last comparison was with another commit:
    the one that follows is new enough whatever it finds, as somebody may have pushed since. ``check`` only looks.
    ``trouble`` is what keeps us from looking at the moment.
    """

    kubectl: Kubectl
    namespace: str
    names: t.Sequence[str] = ()
    refresh: bool = False
    commit: str = ""
    check: bool = False
    trouble: NoCluster | None = None
    _asked: set[str] = dataclasses.field(default_factory=set)

    def wait(self, seconds: float, go_on: t.Callable[[], object]) -> list[str]:
        """What is not settled after ``seconds``, a line each; empty as soon as all is. ``go_on`` may raise to end it.

        An API that does not answer is waited for. Raises KubectlError, NoArgoCD.
        """
        ends = time.monotonic() + seconds
        while True:
            go_on()
            is_last = time.monotonic() >= ends
            lines = self._look(is_last)
            if not lines or is_last:
                return lines
            time.sleep(min(_PAUSE_SECONDS, max(0.0, ends - time.monotonic())))

    def _look(self, is_last: bool) -> list[str]:
        self.trouble = None
        try:
            return self._missing(Workloads(self.kubectl) if is_last else None)
        except NoCluster as error:
            self.trouble = error
            return [f"the Kubernetes API does not answer: {error.cause}"]

    def _missing(self, workloads: Workloads | None) -> list[str]:
        found = {_name(each): each for each in _items(self.kubectl, self.namespace)}
        wanted = [*self.names, *([BOOTSTRAP_APP] if self.commit else [])]
        absent = list(dict.fromkeys(name for name in wanted if name not in found))
        lines = [f"no such Application yet: {', '.join(absent)}"] if absent else []
        behind = self._behind(found)
        for name, item in found.items():
            if not self.names or name in self.names:
                if name in behind:
                    lines.append(f"{name}: Argo CD has not compared it with Git again yet")
                else:
                    lines += (f"{name}: {line}" for line in _missing(item, workloads))
        return lines

    def _behind(self, found: t.Mapping[str, Object]) -> set[str]:
        """Those that have yet to be compared with Git; Argo CD is asked to, once."""
        behind = (self._older(found) if self.commit else set(found) if self.refresh else set()) - self._asked
        if self.check:
            return behind if self.commit else set()
        asked = sorted(name for name in behind if not _is_refreshing(found[name]))
        if asked:
            _refresh(self.kubectl, self.namespace, asked)
        self._asked |= behind
        return behind

    def _older(self, found: t.Mapping[str, Object]) -> set[str]:
        """Those of the commit's branch that were compared with another commit, or with none."""
        first = found.get(BOOTSTRAP_APP)
        same = [name for name, each in found.items() if first and _branch(each) == _branch(first)]
        return {name for name in same if _revision(found[name]) != self.commit}
