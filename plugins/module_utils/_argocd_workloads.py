# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Why the pods of an Application are not ready, by its workloads: since 3.0 Argo CD does not write it down itself."""

from __future__ import annotations

import typing as t

from ._argocd_pods import complaints
from ._kubectl import Kubectl, Object

_KINDS = ("Deployment", "StatefulSet", "DaemonSet")
_READ = "deployments.apps,statefulsets.apps,daemonsets.apps"
_SERVERS, _NAMES = ("", "https://kubernetes.default.svc"), ("", "in-cluster")


class Workloads:
    """Those of this cluster; each namespace is read once."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        self._known: dict[str, dict[str, str]] = {}

    def unready(self, application: Object) -> list[str]:
        """What is not ready of an Application's workloads whose health it does not tell. Raises KubectlError."""
        destination = (application.get("spec") or {}).get("destination") or {}
        if destination.get("server", "") not in _SERVERS or destination.get("name", "") not in _NAMES:
            return []
        resources = (application.get("status") or {}).get("resources") or []
        own = [
            each
            for each in resources
            if each.get("group") == "apps" and each.get("kind") in _KINDS and "health" not in each
        ]
        lines = (self._of(each["namespace"]).get(f"{each['kind']}/{each['name']}", "") for each in own)
        return [line for line in lines if line]

    def _of(self, namespace: str) -> dict[str, str]:
        if namespace not in self._known:
            self._known[namespace] = _lines(self._kubectl, namespace)
        return self._known[namespace]


def _lines(kubectl: Kubectl, namespace: str) -> dict[str, str]:
    """By kind and name, empty for those that are ready."""
    found = kubectl.get(_READ, namespace=namespace)
    reasons: dict[str, list[str]] = {}
    for complaint in complaints(kubectl, namespace):
        reasons.setdefault(_owner(complaint.pod, found), []).append(str(complaint))
    return {_named(each): _line(each, reasons.get(each["metadata"]["name"], [])) for each in found}


def _named(item: Object) -> str:
    return f"{item['kind']}/{item['metadata']['name']}"


def _owner(pod: str, workloads: t.Iterable[Object]) -> str:
    """Pods are called after their workload; the longest name that fits, as of web and web-api."""
    names = (each["metadata"]["name"] for each in workloads)
    return max((name for name in names if pod.startswith(f"{name}-")), key=len, default="")


def _line(item: Object, reasons: t.Sequence[str]) -> str:
    ready, wanted = _replicas(item)
    # Of a rollout that is stuck the old pods are ready, and the new ones complain.
    if ready >= wanted and not reasons:
        return ""
    metadata = item["metadata"]
    said = "; ".join([*_refusals(item), *reasons])
    words = f": {said}" if said else ""
    return f"{item['kind']} {metadata['namespace']}/{metadata['name']} has {ready} of {wanted} pods ready{words}"


def _replicas(item: Object) -> tuple[int, int]:
    """Ready and wanted."""
    status = item.get("status") or {}
    if item["kind"] == "DaemonSet":
        return status.get("numberReady", 0), status.get("desiredNumberScheduled", 0)
    return status.get("readyReplicas", 0), (item.get("spec") or {}).get("replicas", 1)


def _refusals(item: Object) -> t.Iterator[str]:
    """Pods that were not even made, as by Pod Security or a quota."""
    for each in (item.get("status") or {}).get("conditions") or []:
        if (each.get("type"), each.get("status")) == ("ReplicaFailure", "True"):
            yield str(each.get("message"))
