# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""How far a machine config may take a node's Kubernetes: no further than ``talosctl upgrade-k8s`` would."""

from __future__ import annotations

import re
import typing as t

from ._documents import Documents, parse
from ._errors import TalosError

_VERSION = re.compile(r":v?(1\.(\d+)\.\d+[^@]*)")


class KubernetesPath(TalosError):
    """The declared config would take Kubernetes down a minor, or up more than one. Makers give the remedy."""


def require_path(held: bytes, declared: bytes) -> None:
    """Compares the kubelets of two configs; one that names no version is its patch's business.

    Raises KubernetesPath, BadConfig.
    """
    running, wanted = _kubelet(parse(held)), _kubelet(parse(declared))
    if running is None or wanted is None:
        return
    minor, to = int(running[2]), int(wanted[2])
    if to < minor:
        raise KubernetesPath(
            f"its Kubernetes is {running[1]}, declared is {wanted[1]}: it does not go back to an earlier minor",
            remedy=f"Set cluster_kubernetes_version to {running[1]}, or to a later one",
        )
    if to > minor + 1:
        raise KubernetesPath(
            f"its Kubernetes is {running[1]}, declared is {wanted[1]}: it goes up one minor at a time",
            remedy=f"Set cluster_kubernetes_version to one of 1.{minor + 1} first and run again (by --tags and -e for "
            "a node that was off while others went on), or let talosctl upgrade-k8s take the cluster there, which goes "
            "minor by minor too",
        )


def _kubelet(config: Documents) -> re.Match[str] | None:
    """The version in the kubelet's image. Up to the layout of 1.13 that stands in the document without a kind."""
    old = (config.get("v1alpha1") or {}).get("machine") or {}
    sections: tuple[t.Any, ...] = (config.get("KubeletConfig"), old.get("kubelet"))
    image = next((each["image"] for each in sections if each and each.get("image")), "")
    return _VERSION.search(str(image))
