# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Kubernetes clusters of a rehearsal: one for each etcd cluster, as long as that has members."""

from __future__ import annotations

import typing as t

from rehearsal.kubernetes.cluster import Cluster
from rehearsal.kubernetes.endpoint import KubernetesEndpoint

if t.TYPE_CHECKING:
    from rehearsal.fleet import Fleet
    from rehearsal.node import Node


class Clusters:
    """Their objects by etcd cluster, and the port of every node that is or becomes a control plane."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._known: dict[str, Cluster] = {}
        self._endpoints: dict[str, KubernetesEndpoint] = {}

    def of(self, node: Node) -> Cluster | None:
        """The cluster whose control plane this node is."""
        etcd = self._fleet.etcd.cluster_of(node)
        if etcd is None:
            return None
        if etcd.id not in self._known:
            state = self._fleet.state
            path = state.kubernetes / f"{etcd.id}.json" if state else None
            self._known[etcd.id] = Cluster(etcd.identity, self._fleet, path)
        return self._known[etcd.id]

    def url(self, node: Node) -> str:
        """Where this node serves the API, empty while it does not."""
        endpoint = self._endpoints.get(node.name)
        return f"https://{node.address}:{endpoint.port}" if endpoint and endpoint.is_open else ""

    def follow(self, node: Node) -> None:
        """The node's power or faults changed: so do the connections to its API server."""
        endpoint = self._endpoints.get(node.name)
        if endpoint is not None and endpoint.node is node:
            endpoint.follow()

    async def settle(self) -> None:
        """Open and close ports, let controllers work, and forget clusters whose data was wiped."""
        alive = {cluster.id for cluster in self._fleet.etcd.clusters}
        for node in self._fleet.control_planes.values():
            self._endpoints.setdefault(node.name, KubernetesEndpoint(node))
        for endpoint in self._endpoints.values():
            await endpoint.update(self.of)
        for gone in self._known.keys() - alive:
            cluster = self._known.pop(gone)
            cluster.stop()
            cluster.store.forget()
        for cluster in self._known.values():
            cluster.settle()

    async def stop(self) -> None:
        for endpoint in self._endpoints.values():
            await endpoint.close()
        for cluster in self._known.values():
            cluster.stop()
            cluster.store.save(at_once=True)
