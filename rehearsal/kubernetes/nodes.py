# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Node objects of the simulated nodes: what their kubelets, and Talos itself, write there."""

from __future__ import annotations

import json
import typing as t

from rehearsal.kubernetes import Object
from rehearsal.kubernetes.api import Api, Terms
from rehearsal.kubernetes.kinds import built_in
from rehearsal.kubernetes.rules import now

if t.TYPE_CHECKING:
    from rehearsal.node import Node

_NODES = built_in("nodes")
_KUBELET, _TALOS, _STATUS = Terms("kubelet"), Terms("talos"), Terms("kubelet", subresource="status")
_OWNED_LABELS = "talos.dev/owned-labels"
_CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
_ARCHITECTURES = {"generic": "amd64"}


class Registrations:
    """Keeps the Node objects of one cluster as its nodes are; each is written when it differs only."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._written: dict[str, tuple[t.Any, ...]] = {}

    def settle(self, nodes: t.Sequence[tuple[Node, bool]]) -> None:
        """``nodes`` are those of the cluster, each with whether its kubelet reports itself ready."""
        written, self._written = self._written, {}
        for node, ready in nodes:
            seen = (ready, node.record.active, node.nodename)
            if written.get(node.name) == seen or (node.nodename and self._register(node, ready)):
                self._written[node.name] = seen
        self._lose({node.nodename for node, _ in nodes})

    def _lose(self, present: set[str]) -> None:
        """Of a machine that was wiped or renamed the Node object stays, and nobody posts its status."""
        for known in self._api.store.all(_NODES.key):
            name, status = known["metadata"]["name"], known.get("status") or {}
            lost = any(each.get("status") == "Unknown" for each in status.get("conditions") or [])
            if name not in present and not lost:
                gone = {**known, "status": {**status, "conditions": [_condition(False)]}}
                self._api.update(_NODES, "", name, gone, _STATUS)

    def _register(self, node: Node, ready: bool) -> bool:
        """Whether there is a Node object now: a kubelet that never ran has none."""
        name = node.nodename
        known = self._api.store.get(_NODES.key, "", name)
        if known is None:
            if not ready:
                return False
            known = self._api.create(_NODES, "", {"metadata": {"name": name}, "spec": {}}, _KUBELET)
        if ready:
            known = self._api.update(_NODES, "", name, _labelled(known, node), _TALOS)
        self._api.update(_NODES, "", name, {**known, "status": _status(node, known, ready)}, _STATUS)
        return True


def _labelled(known: Object, node: Node) -> Object:
    """With the labels of the machine configuration; those that left it are taken away, others are not touched."""
    active = node.active
    own = active.node_labels if active else {}
    metadata, spec = dict(known["metadata"]), dict(known.get("spec") or {})
    annotations = metadata.get("annotations") or {}
    former = json.loads(annotations.get(_OWNED_LABELS, "[]"))
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key not in former}
    labels |= {"kubernetes.io/hostname": node.nodename, "kubernetes.io/os": "linux"}
    labels |= {"kubernetes.io/arch": _ARCHITECTURES.get(node.record.board, "arm64"), **own}
    if node.is_control_plane:
        labels[_CONTROL_PLANE] = ""
    spec["taints"] = [_taint(key, text) for key, text in active.node_taints.items()] if active else []
    metadata |= {"labels": labels, "annotations": {**annotations, _OWNED_LABELS: json.dumps(sorted(own))}}
    return {**known, "metadata": metadata, "spec": spec}


def _taint(key: str, text: str) -> Object:
    value, _, effect = text.rpartition(":")
    return {"key": key, "effect": effect, **({"value": value} if value else {})}


def _condition(ready: bool) -> Object:
    condition = {"type": "Ready", "lastTransitionTime": now()}
    if ready:
        return condition | {"status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}
    said = "Kubelet stopped posting node status."
    return condition | {"status": "Unknown", "reason": "NodeStatusUnknown", "message": said}


def _status(node: Node, known: Object, ready: bool) -> Object:
    return {
        **(known.get("status") or {}),
        "addresses": [
            {"type": "InternalIP", "address": node.address},
            {"type": "Hostname", "address": node.nodename},
        ],
        "conditions": [_condition(ready)],
        "nodeInfo": {
            "architecture": _ARCHITECTURES.get(node.record.board, "arm64"),
            "containerRuntimeVersion": "containerd://2.1.5",
            "kubeletVersion": f"v{node.kubernetes_version}",
            "operatingSystem": "linux",
            "osImage": f"Talos ({node.version.tag})",
        },
    }
