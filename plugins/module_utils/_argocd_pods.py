# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Why the pods of a namespace are not ready, and the nodes that they are on."""

from __future__ import annotations

import dataclasses

from ._kubectl import Kubectl, Object


@dataclasses.dataclass(frozen=True)
class Complaint:
    """What keeps a pod from being ready. Its ``node`` is empty where none takes it; ``lost`` says it is not ready."""

    pod: str
    reason: str
    node: str = ""
    lost: bool = False

    @property
    def is_stuck(self) -> bool:
        """Nothing but a node that comes, or comes back, gets it ready."""
        return self.lost or not self.node

    @property
    def what(self) -> str:
        """Where it is, and the reason."""
        where = f" on {self.node}{', which is not ready' if self.lost else ''}" if self.node else ""
        return f"{where}: {self.reason}"

    def __str__(self) -> str:
        return f"{self.pod}{self.what}"


def complaints(kubectl: Kubectl, namespace: str) -> list[Complaint]:
    """Of the pods that are not ready, by name. Raises KubectlError."""
    pods = [(pod, reason) for pod in kubectl.get("pods", namespace=namespace) if (reason := _reason(pod))]
    placed = any(_node(pod) for pod, _reason in pods)
    ready = {node["metadata"]["name"] for node in kubectl.get("nodes") if _is_ready(node)} if placed else set()
    found = (
        Complaint(pod["metadata"]["name"], reason, _node(pod), bool(_node(pod)) and _node(pod) not in ready)
        for pod, reason in pods
    )
    return sorted(found, key=lambda each: each.pod)


def _node(pod: Object) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")


def _is_ready(node: Object) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def _reason(pod: Object) -> str:
    status = pod.get("status") or {}
    for each in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waiting = (each.get("state") or {}).get("waiting") or {}
        if waiting:
            return " ".join(filter(None, (waiting.get("reason"), waiting.get("message"))))
    for each in status.get("conditions") or []:
        if each.get("type") in ("PodScheduled", "Ready") and each.get("status") != "True":
            return str(each.get("message") or each.get("reason") or f"not {each['type']}")
    return "" if status.get("phase") in ("Running", "Succeeded") else str(status.get("phase") or "Pending")
