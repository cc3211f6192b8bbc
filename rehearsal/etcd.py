# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd over all nodes: clusters with their members, who leads, and whether there is a quorum."""

from __future__ import annotations

import secrets
import time
import typing as t
from dataclasses import asdict, dataclass, field

if t.TYPE_CHECKING:
    from rehearsal.node import Node

NO_LEADER = "etcdserver: no leader"


@dataclass
class Member:
    """A member, and the moments from which it runs and votes."""

    id: int
    node: str
    hostname: str
    address: str
    running_at: float
    voter: bool

    @property
    def hexadecimal(self) -> str:
        return f"{self.id:016x}"


@dataclass
class EtcdCluster:
    """One etcd cluster. Two of them may have the same identity: that is what a second bootstrap makes."""

    id: str
    identity: str
    members: list[Member] = field(default_factory=list)
    leader: int = 0
    term: int = 1

    def member_of(self, node: Node) -> Member | None:
        return next((member for member in self.members if member.node == node.name), None)


class Etcd:
    """All clusters of the rehearsal."""

    def __init__(self, boot_time: float, stored: t.Sequence[dict[str, t.Any]] = ()) -> None:
        self.boot_time = boot_time
        self.clusters = [
            EtcdCluster(**{**entry, "members": [Member(**member) for member in entry["members"]]}) for entry in stored
        ]

    def as_json(self) -> list[dict[str, t.Any]]:
        return [asdict(cluster) for cluster in self.clusters]

    def cluster_of(self, node: Node) -> EtcdCluster | None:
        """The cluster that this node is a member of, by what is on its disk."""
        # Without it, it is still listed where it was, until it joins again.
        if not node.record.etcd_data:
            return None
        return next((cluster for cluster in self.clusters if cluster.member_of(node)), None)

    def member(self, node: Node) -> Member | None:
        cluster = self.cluster_of(node)
        return cluster.member_of(node) if cluster else None

    def runs_on(self, node: Node) -> bool:
        """Does etcd answer on this node at all?"""
        member = self.member(node)
        return member is not None and node.services_up and time.time() >= member.running_at

    def has_data(self, node: Node) -> bool:
        """Is the data directory filled? Right after a bootstrap etcd does not run yet, and it still is empty."""
        member = self.member(node)
        return node.record.etcd_data and (member is None or time.time() >= member.running_at)

    def bootstrap(self, node: Node) -> None:
        """The first member of a new cluster; the one that the node was before its data went is taken out."""
        self.remove(node.name)
        cluster = EtcdCluster(secrets.token_hex(8), node.identity)
        cluster.members.append(self._new_member(node, voter=True))
        self.clusters.append(cluster)
        node.record.etcd_data, node.etcd_stopped = True, False

    def _new_member(self, node: Node, voter: bool) -> Member:
        start = time.time() + self.boot_time
        # The kernel's hostname, which has no domain.
        hostname = node.hostname.partition(".")[0]
        return Member(secrets.randbits(63) | 1, node.name, hostname, node.address, start, voter)

    def remove(self, node_name: str) -> None:
        """The node's member leaves its cluster; a cluster without members is gone."""
        for cluster in self.clusters:
            cluster.members = [member for member in cluster.members if member.node != node_name]
        self.clusters = [cluster for cluster in self.clusters if cluster.members]

    def drop_lost(self, nodes: t.Mapping[str, Node]) -> None:
        """A cluster is gone where no member's node has its data any more."""
        with_data = {name for name, node in nodes.items() if node.record.etcd_data}
        self.clusters = [
            cluster for cluster in self.clusters if any(member.node in with_data for member in cluster.members)
        ]

    def settle(self, nodes: t.Mapping[str, Node]) -> bool:
        """Let control planes join, learners become voters, leaders be elected; True where something changed."""
        changed = False
        for cluster in self.clusters:
            changed |= self._elect(cluster, nodes)
            if cluster.leader:
                changed |= self._promote(cluster, nodes)
                changed |= self._join(cluster, nodes)
        return changed

    def _voters_up(self, cluster: EtcdCluster, nodes: t.Mapping[str, Node]) -> list[Member]:
        up = (member for member in cluster.members if member.voter and member.node in nodes)
        return [member for member in up if nodes[member.node].reachable_for_peers and self.runs_on(nodes[member.node])]

    def _elect(self, cluster: EtcdCluster, nodes: t.Mapping[str, Node]) -> bool:
        voters = [member for member in cluster.members if member.voter]
        up = self._voters_up(cluster, nodes)
        before = cluster.leader
        if len(up) * 2 <= len(voters):
            cluster.leader = 0
        elif cluster.leader not in [member.id for member in up]:
            cluster.leader = up[0].id
            cluster.term += 1
        return cluster.leader != before

    def _promote(self, cluster: EtcdCluster, nodes: t.Mapping[str, Node]) -> bool:
        for member in cluster.members:
            node = nodes.get(member.node)
            # A learner catches up for a boot time after it runs (20-50 s on real nodes).
            caught_up = time.time() >= member.running_at + self.boot_time
            if not member.voter and caught_up and node and self.runs_on(node) and node.reachable_for_peers:
                member.voter = True
                return True
        return False

    def _join(self, cluster: EtcdCluster, nodes: t.Mapping[str, Node]) -> bool:
        if any(not member.voter for member in cluster.members):
            return False  # etcd takes one learner at a time
        for node in nodes.values():
            if self._may_join(node, cluster):
                # Talos removes the member that the node was before it lost its data.
                cluster.members = [member for member in cluster.members if member.node != node.name]
                cluster.members.append(self._new_member(node, voter=False))
                node.record.etcd_data = True
                node.save()
                return True
        return False

    def _may_join(self, node: Node, cluster: EtcdCluster) -> bool:
        if not node.is_control_plane or node.identity != cluster.identity or node.record.etcd_data:
            return False
        return node.services_up and node.reachable_for_peers and not node.etcd_stopped

    def has_quorum(self, node: Node) -> bool:
        """Does the node's etcd have a leader, as the node sees it?"""
        cluster = self.cluster_of(node)
        return bool(cluster and cluster.leader) and not node.fault("no-quorum")

    def forfeit(self, node: Node, nodes: t.Mapping[str, Node]) -> str:
        """Another voter leads from now on; its name, empty where the node does not lead or none can."""
        cluster = self.cluster_of(node)
        member = self.member(node)
        if cluster is None or member is None or cluster.leader != member.id:
            return ""
        others = [other for other in self._voters_up(cluster, nodes) if other.id != member.id]
        if not others:
            return ""
        cluster.leader = others[0].id
        cluster.term += 1
        return others[0].hexadecimal
