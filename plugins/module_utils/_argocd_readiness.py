# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""The wait for Argo CD's pods: what it tells meanwhile, and when it has no use."""

from __future__ import annotations

import contextlib
import time
import typing as t

from ._argocd_pods import Complaint, complaints
from ._kubectl import Kubectl, KubectlError
from ._waiting import WaitedTooLong

_LOOK_SECONDS = 5.0
# A node that reboots is back by then, and Kubernetes has given the pods of a lost one to others (40 s and 5 minutes).
PATIENCE_SECONDS = 420.0


class NotReady(WaitedTooLong):
    """Argo CD's pods did not become ready in time, or cannot become ready."""

    remedy = (
        "Look at them (kubectl -n argocd get pods, describe): images that cannot be pulled and a lack of memory are "
        "usual. Run again: it goes on from there; argocd_ready_timeout gives them more time"
    )


class Readiness:
    """Looks at the pods now and then while somebody waits for them for ``seconds``, and tells what is missing.

    ``workloads`` are Argo CD's, such as ``Deployment/argocd-server``: the namespace may hold others.
    """

    def __init__(
        self,
        kubectl: Kubectl,
        namespace: str,
        workloads: t.Collection[str],
        seconds: float,
        tell: t.Callable[[str], None],
    ) -> None:
        self._kubectl, self._namespace, self._workloads = kubectl, namespace, workloads
        self._seconds, self._tell = seconds, tell
        self._looked = time.monotonic()
        self._stuck_since: float | None = None

    def look(self, waiting: t.Sequence[str] = ()) -> None:
        """``waiting`` are workloads. Raises NotReady where for a while nothing was missing but pods without a node."""
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        # What only tells must not end what it tells of.
        with contextlib.suppress(KubectlError):
            found = self._complaints()
            if waiting or found:
                self._tell(_pods(found) or ", ".join(waiting))
            self._require_hope(waiting, found)

    def _complaints(self) -> list[Complaint]:
        found = complaints(self._kubectl, self._namespace)
        return [each for each in found if any(_is_of(each, name) for name in self._workloads)]

    def _require_hope(self, waiting: t.Sequence[str], found: t.Sequence[Complaint]) -> None:
        explained = all(any(_is_of(each, name) for each in found) for name in waiting)
        if not found or not explained or not all(each.is_stuck for each in found):
            self._stuck_since = None
            return
        now = time.monotonic()
        self._stuck_since = self._stuck_since or now
        if now - self._stuck_since >= PATIENCE_SECONDS:
            said = f"for {PATIENCE_SECONDS:.0f} s nothing was missing but pods without a node that is ready"
            raise NotReady(f"Argo CD is not ready, and {said}: {_words(waiting, found)}", remedy=_remedy(found))

    def error(self, waiting: t.Sequence[str]) -> NotReady:
        """The time is over. Raises KubectlError."""
        found = self._complaints()
        cause = f"Argo CD is not ready after {self._seconds:.0f} s: {_words(waiting, found)}"
        return NotReady(cause, remedy=_remedy(found))


def _is_of(complaint: Complaint, workload: str) -> bool:
    """Pods are called after their workload."""
    return complaint.pod.startswith(f"{workload.partition('/')[2]}-")


def _words(waiting: t.Sequence[str], found: t.Sequence[Complaint]) -> str:
    pods = _pods(found)
    return f"{', '.join(waiting)} ({pods})" if waiting and pods else pods or ", ".join(waiting)


def _pods(found: t.Sequence[Complaint]) -> str:
    """What is the same for many pods, as all of a node, is said once."""
    names: dict[str, list[str]] = {}
    for each in found:
        names.setdefault(each.what, []).append(each.pod)
    return "; ".join(f"{', '.join(pods)}{what}" for what, pods in names.items())


def _remedy(found: t.Sequence[Complaint]) -> str:
    """Empty for the usual one."""
    lost = sorted({each.node for each in found if each.node and each.is_stuck})
    if lost:
        return (
            f"Bring {', '.join(lost)} back (what failed for it in this run, or its console, says why), then run again: "
            "it goes on from there. kubectl delete node lets other nodes take the pods of one that is gone for good"
        )
    if found and all(each.is_stuck for each in found):
        return (
            "Have a worker that is ready (kubectl get nodes; what failed for the others in this run, or playbooks/"
            "status.yml, says why), or one with more memory, then run again: it goes on from there"
        )
    return ""
