# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One Kubernetes cluster: its objects, and what its controllers do with them."""

from __future__ import annotations

import typing as t
from pathlib import Path

from rehearsal import readiness
from rehearsal.argocd.controller import ArgoCd
from rehearsal.kubernetes.api import NAMESPACES, Api, Terms
from rehearsal.kubernetes.kinds import built_in
from rehearsal.kubernetes.nodes import Registrations
from rehearsal.kubernetes.pods import Workloads
from rehearsal.kubernetes.store import Store

if t.TYPE_CHECKING:
    from rehearsal.fleet import Fleet
    from rehearsal.node import Node

_FIRST_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_SERVICE_ACCOUNTS = built_in("serviceaccounts")
_BY_ITSELF = Terms("kube-controller-manager")


class Cluster:
    """What all control planes of one etcd cluster serve."""

    def __init__(self, identity: str, fleet: Fleet, path: Path | None) -> None:
        self.identity, self._fleet = identity, fleet
        self.store = Store(path)
        self.api = Api(self.store)
        self._workloads = Workloads(self.api, fleet.pod_time, self._stuck)
        self._registrations = Registrations(self.api)
        self._argo_cd = ArgoCd(self.api, fleet.git, fleet.application_faults)
        for name in _FIRST_NAMESPACES:
            if self.store.get(NAMESPACES.key, "", name) is None:
                self.api.create(NAMESPACES, "", {"metadata": {"name": name}}, _BY_ITSELF)

    def settle(self) -> None:
        """One round of every controller, while an API server runs for them to talk to."""
        members = [node for node in self._fleet.nodes.values() if node.configured and node.identity == self.identity]
        if any(node.is_control_plane and readiness.api_server_up(node) for node in members):
            self.api.finish_namespaces()
            self._registrations.settle([(node, _kubelet_ready(node)) for node in members])
            self._add_service_accounts()
            self._workloads.settle()
            self._argo_cd.settle()
        self.store.save()

    def stop(self) -> None:
        self._argo_cd.stop()

    def _add_service_accounts(self) -> None:
        for namespace in self.store.all(NAMESPACES.key):
            metadata = namespace["metadata"]
            going = "deletionTimestamp" in metadata
            if not going and self.store.get(_SERVICE_ACCOUNTS.key, metadata["name"], "default") is None:
                self.api.create(_SERVICE_ACCOUNTS, metadata["name"], {"metadata": {"name": "default"}}, _BY_ITSELF)

    def _stuck(self, name: str) -> bool:
        nodes = (node for node in self._fleet.nodes.values() if node.nodename == name)
        return any(node.fault("pods-never-ready") for node in nodes)


def _kubelet_ready(node: Node) -> bool:
    if not node.services_up or not node.reachable_for_peers:
        return False
    return not node.is_control_plane or readiness.api_server_up(node)
