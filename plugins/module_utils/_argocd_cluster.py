# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Argo CD as the cluster has it: its workloads, its first Application, its Secrets, and whose it is."""

from __future__ import annotations

import base64
import dataclasses
import typing as t

from ._argocd_install import named
from ._errors import TalosError
from ._git import Account, Address
from ._gitops import differing_source
from ._kubectl import Kubectl, Object

BOOTSTRAP_APP = "autopilot-bootstrap"
REPO_CREDENTIALS = "argocd-repo-creds"
ADMIN_ACCOUNT = "argocd-secret"
INITIAL_ACCOUNT = "argocd-initial-admin-secret"
# On the namespace: which repository the installation in it is for.
CLAIM = "homelab.talos/repository"

_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_PART = "app.kubernetes.io/part-of=argocd"
_MANAGED = {"app.kubernetes.io/managed-by": "argocd-autopilot"}
_TYPE = "argocd.argoproj.io/secret-type"


class ForeignArgoCD(TalosError):
    """The cluster has an Argo CD that is not ours, or one for another repository."""


class BeingDeleted(TalosError):
    """What is there is about to vanish."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """A Deployment or StatefulSet; ``ready`` of ``wanted`` replicas, of the newest template."""

    name: str
    ready: int
    wanted: int

    @property
    def is_ready(self) -> bool:
        return self.ready >= self.wanted


@dataclasses.dataclass(frozen=True)
class ArgoCD:
    """What was seen; objects are None where they are not there."""

    namespace: Object | None
    workloads: dict[str, Workload]
    elsewhere: tuple[str, ...]
    bootstrap_app: Object | None
    secrets: dict[str, Object]

    @property
    def claim(self) -> str:
        return str(_annotations(self.namespace).get(CLAIM) or "")

    def secret_text(self, name: str, key: str) -> str:
        """A value in one of its Secrets; empty where it is not there."""
        value = (self.secrets.get(name, {}).get("data") or {}).get(key) or ""
        return base64.b64decode(value).decode(errors="replace")

    def require_ours(self, address: Address) -> None:
        """Raises ForeignArgoCD, BeingDeleted."""
        for item in (self.namespace, self.bootstrap_app):
            _require_lasting(item)
        if self.elsewhere:
            raise ForeignArgoCD(
                f"there is an Argo CD in namespace {', '.join(self.elsewhere)}",
                remedy="Two would fight over the same objects: remove it, if nothing of it is needed",
            )
        differing = differing_source(self.bootstrap_app, address, "bootstrap") if self.bootstrap_app else ""
        if not differing and not self.bootstrap_app and self.workloads and self.claim not in ("", str(address)):
            differing = f"the repository {self.claim}"
        if differing:
            raise ForeignArgoCD(
                f"the cluster's Argo CD follows {differing}, not {address}",
                remedy="Correct argocd_repo_url, argocd_repo_path or argocd_repo_branch; to move it to another "
                "repository, uninstall it first (argocd-autopilot repo uninstall)",
            )
        if self.workloads and not (self.claim or self.bootstrap_app or self._is_autopilots):
            raise ForeignArgoCD(
                f"argocd-autopilot did not install the Argo CD in the cluster ({', '.join(sorted(self.workloads))})",
                remedy="It is not taken over: remove it with its namespace, if nothing of it is needed, and run again",
            )

    @property
    def _is_autopilots(self) -> bool:
        """One that broke off before its first Application has this Secret at least."""
        labels = self.secrets.get(REPO_CREDENTIALS, {}).get("metadata", {}).get("labels") or {}
        return labels.items() >= _MANAGED.items()

    def missing(self, workloads: t.Iterable[str]) -> list[str]:
        """What of an installation the cluster does not have at all."""
        lacking = sorted(set(workloads) - self.workloads.keys())
        return lacking + ([] if self.bootstrap_app else [f"Application/{BOOTSTRAP_APP}"])

    def unready(self, workloads: t.Iterable[str]) -> list[str]:
        return [name for name in sorted(workloads) if name in self.workloads and not self.workloads[name].is_ready]


def observe(kubectl: Kubectl, namespace: str) -> ArgoCD:
    """Raises KubectlError."""
    found = kubectl.get("deployments.apps,statefulsets.apps", selector=_PART)
    spaces = kubectl.get("namespaces", namespace)
    apps = kubectl.get("applications.argoproj.io", BOOTSTRAP_APP, namespace=namespace)
    secrets = kubectl.get("secrets", REPO_CREDENTIALS, ADMIN_ACCOUNT, INITIAL_ACCOUNT, namespace=namespace)
    here = [each for each in found if each["metadata"]["namespace"] == namespace]
    elsewhere = {each["metadata"]["namespace"] for each in found} - {namespace}
    return ArgoCD(
        namespace=spaces[0] if spaces else None,
        workloads={f"{each['kind']}/{each['metadata']['name']}": _workload(each) for each in here},
        elsewhere=tuple(sorted(elsewhere)),
        bootstrap_app=apps[0] if apps else None,
        secrets={each["metadata"]["name"]: each for each in secrets},
    )


def _workload(item: Object) -> Workload:
    status = item.get("status") or {}
    wanted = (item.get("spec") or {}).get("replicas", 1)
    # The status of what was just changed is of what was before.
    current = status.get("observedGeneration", 0) >= item["metadata"].get("generation", 0)
    ready = min(status.get("readyReplicas", 0), status.get("updatedReplicas", 0)) if current else 0
    return Workload(item["metadata"]["name"], ready, wanted)


def _require_lasting(item: Object | None) -> None:
    if not item or "deletionTimestamp" not in item["metadata"]:
        return
    held = ", ".join(item["metadata"].get("finalizers") or (item.get("spec") or {}).get("finalizers") or [])
    raise BeingDeleted(
        f"{named(item)} is being deleted{f', and held by {held}' if held else ''}",
        remedy="Run again when it is gone; kubectl describe says what holds it up",
    )


def _annotations(item: Object | None) -> dict[str, t.Any]:
    return ((item or {}).get("metadata") or {}).get("annotations") or {}


# --- what is made


def claim(namespace: str, address: Address) -> Object:
    """The namespace with the claim, for a server-side apply."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": namespace, "annotations": {CLAIM: str(address)}},
    }


def repository_secret(namespace: str, address: Address, account: Account) -> Object:
    """For this repository alone, and without the annotation that would hold the token in the clear."""
    values = {"type": "git", "url": address.url, "username": account.user, "password": account.token}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": REPO_CREDENTIALS, "namespace": namespace, "labels": {**_MANAGED, _TYPE: "repository"}},
        "data": {key: _encoded(value) for key, value in values.items()},
    }


def is_same_secret(seen: Object | None, wanted: Object) -> bool:
    """With the same data and labels, and nothing in annotations."""
    if seen is None:
        return False
    labels = seen["metadata"].get("labels") or {}
    return (
        seen.get("data") == wanted["data"]
        and labels == wanted["metadata"]["labels"]
        and _APPLIED not in _annotations(seen)
    )


def password_change(password_hash: str, moment: str) -> Object:
    """A merge patch for Argo CD's own Secret, with a bcrypt hash; ``moment`` ends the sessions from before it."""
    return {"data": {"admin.password": _encoded(password_hash), "admin.passwordMtime": _encoded(moment)}}


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
