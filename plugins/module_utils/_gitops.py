# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What a Git repository holds in argocd-autopilot's layout, and what it should hold for a pinned Argo CD.

``bootstrap/argo-cd/install.yaml`` is the installation; what is too long for a client-side apply lies beside the
cluster's other resources, marked for a server-side one.
"""

from __future__ import annotations

import dataclasses
import enum
import typing as t

from ._argocd_install import CERTIFICATES, BadInstallation, Installation, difference, load_all, same
from ._errors import TalosError
from ._git import Address, Clone
from ._kubectl import Object

INSTALL = "bootstrap/argo-cd/install.yaml"
KUSTOMIZATION = "bootstrap/argo-cd/kustomization.yaml"
OVERSIZED = "bootstrap/cluster-resources/in-cluster/argo-cd-server-side.yaml"
ARGO_CD = "bootstrap/argo-cd.yaml"
_APPLICATIONS = (ARGO_CD, "bootstrap/root.yaml", "bootstrap/cluster-resources.yaml")
_PROJECTS_README = "projects/README.md"
# What an uninstall leaves that broke off.
_LEFTOVER = "bootstrap/DUMMY"
# What argocd-autopilot writes there, unpinned, unless it is told otherwise.
_UNPINNED = "github.com/argoproj-labs/argocd-autopilot/manifests/"


class UnusableRepository(TalosError):
    """What the repository holds is neither nothing nor a bootstrapped layout of ours."""


class Layout(enum.Enum):
    """What is there."""

    NONE = "not bootstrapped"
    LEFTOVER = "a leftover of an uninstall"
    BOOTSTRAPPED = "bootstrapped"


@dataclasses.dataclass(frozen=True)
class Change:
    """Files by their names, None for those to be removed; the diff in words."""

    files: dict[str, str | None]
    diff: str

    def __bool__(self) -> bool:
        return bool(self.files)


def layout(clone: Clone, address: Address, namespace: str) -> Layout:
    """Raises UnusableRepository for half a layout, and for one that points elsewhere."""
    bootstrap, projects = clone.files("bootstrap"), clone.files("projects")
    if not bootstrap and not projects:
        return Layout.NONE
    if bootstrap == [_LEFTOVER] and not projects:
        return Layout.LEFTOVER
    missing = [name for name in _APPLICATIONS if name not in bootstrap]
    if INSTALL not in bootstrap and KUSTOMIZATION not in bootstrap:
        missing.append(INSTALL)
    if missing:
        there = ", ".join([*bootstrap, *projects][:5])
        raise UnusableRepository(
            f"{address} holds a part of a bootstrapped layout: {there}, and no {', '.join(missing)}",
            remedy=f"Restore what is missing from its history (git log -- {address.below(missing[0])}), or remove "
            f"{address.below('bootstrap')} and {address.below('projects')} to begin anew",
        )
    _require_ours(clone, address, namespace)
    return Layout.BOOTSTRAPPED


def _require_ours(clone: Clone, address: Address, namespace: str) -> None:
    """Does its first Application point at this place?"""
    try:
        applications = load_all(clone.read(ARGO_CD) or "")
    except BadInstallation:
        applications = []
    if not applications:
        raise UnusableRepository(f"{address.below(ARGO_CD)} of {address} holds no Application", remedy="Restore it")
    differing = differing_source(applications[0], address, "bootstrap/argo-cd")
    seen = (applications[0].get("metadata") or {}).get("namespace")
    if differing or seen != namespace:
        raise UnusableRepository(
            f"{address.below(ARGO_CD)} of {address} names {differing or f'the namespace {seen}'}",
            remedy="It was bootstrapped for another place: correct argocd_repo_url, argocd_repo_path, "
            "argocd_repo_branch or argocd_namespace, or use another path of the repository",
        )


def differing_source(application: t.Mapping[str, t.Any], address: Address, folder: str) -> str:
    """What an Application's source has that is not this address's folder; empty where it is the same."""
    source = (application.get("spec") or {}).get("source") or {}
    url = str(source.get("repoURL") or "")
    revision = str(source.get("targetRevision") or "")
    if url.removesuffix(".git") != address.url.removesuffix(".git"):
        return f"the repository {url}"
    if source.get("path") != address.below(folder):
        return f"the path {source.get('path')}"
    if ("" if revision == "HEAD" else revision) != address.branch:
        return f"the branch {revision or 'by default'}"
    return ""


def leftover_removed() -> Change:
    return Change({_LEFTOVER: None}, f"-{_LEFTOVER}\n")


def pending(clone: Clone, installation: Installation) -> Change:
    """What a bootstrapped repository lacks of the pinned installation. Raises UnusableRepository."""
    files: dict[str, str | None] = {}
    diff = ""
    if clone.read(KUSTOMIZATION) is not None:
        _require_unpinned(clone)
        files[KUSTOMIZATION] = None
        diff += f"-{KUSTOMIZATION}\n"
    for name, objects, text in (
        (INSTALL, installation.objects, installation.text),
        (OVERSIZED, installation.oversized, installation.oversized_text),
    ):
        before = clone.read(name)
        if not objects and before is not None:
            files[name] = None
        elif objects and not same(before, objects):
            files[name] = text
        if name in files:
            diff += f"{name}:\n{difference(before, objects)}"
    if not clone.files("projects"):
        files[_PROJECTS_README] = "# Projects\n"
        diff += f"+{_PROJECTS_README}\n"
    return Change(files, diff)


def _require_unpinned(clone: Clone) -> None:
    """Nothing of the user's own is lost with it."""
    found: list[Object] = load_all(clone.read(KUSTOMIZATION) or "")
    own = {key for each in found for key in each} - {
        "apiVersion",
        "kind",
        "namespace",
        "resources",
        "configMapGenerator",
    }
    resources = [name for each in found for name in each.get("resources") or []]
    generated = {item.get("name") for each in found for item in each.get("configMapGenerator") or []}
    if own or generated - {CERTIFICATES} or not all(str(name).startswith(_UNPINNED) for name in resources):
        raise UnusableRepository(
            f"{KUSTOMIZATION} holds changes of your own",
            remedy="Move them to argocd_patches, which are patches of kustomize, and remove the file there",
        )
