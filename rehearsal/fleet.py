# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All nodes of one rehearsal: who they are, their endpoints, and what they share."""

from __future__ import annotations

import asyncio
import functools
import sys
import traceback
import typing as t
import uuid

from rehearsal import pki
from rehearsal.argocd.faults import ApplicationFaults
from rehearsal.calls import CallLog
from rehearsal.configuration import KeyPair
from rehearsal.endpoint import PORT, Endpoint
from rehearsal.errors import RehearsalError
from rehearsal.etcd import Etcd
from rehearsal.faults import Fault
from rehearsal.git.server import GitServer
from rehearsal.kubernetes.clusters import Clusters
from rehearsal.node import Node, NodeRecord
from rehearsal.router import Router
from rehearsal.state import StateFolder, read_json, write_json

TICK = 0.1


class Fleet:
    """Simulated nodes in one process, with or without a state folder."""

    def __init__(
        self,
        records: t.Iterable[NodeRecord],
        *,
        boot_time: float = 1.0,
        pod_time: float | None = None,
        state: StateFolder | None = None,
        port: int = PORT,
        git: GitServer | None = None,
    ) -> None:
        self.boot_time, self.state, self.port = boot_time, state, port
        self.pod_time = boot_time if pod_time is None else pod_time
        self.log = CallLog(state.calls if state else None)
        self.etcd = Etcd(boot_time, read_json(state.etcd, []) if state else ())
        self.nodes = {record.name: Node(record, self) for record in records}
        self.router = Router(self)
        self.endpoints = {name: Endpoint(node, self.router, port) for name, node in self.nodes.items()}
        self.git, self.application_faults = git, ApplicationFaults(state)
        self.kubernetes = Clusters(self)
        self._by_address = {node.address: node for node in self.nodes.values()}
        self._ticking: asyncio.Task[None] | None = None
        self._refreshing: set[asyncio.Task[None]] = set()
        self._complained: set[Endpoint] = set()
        # The last traceback of a round, a mistake of ours.
        self.failure = ""
        if state:
            self._read_faults(read_json(state.faults, {}))

    # --- life

    async def start(self) -> None:
        """Listen at every node's address; ``RehearsalError`` names a port that is taken."""
        for endpoint in self.endpoints.values():
            try:
                await endpoint.update()
            except OSError as problem:
                where = f"{endpoint.node.address}:{self.port} ({endpoint.node.name})"
                raise RehearsalError(f"can't listen at {where}: {problem.strerror or problem}") from None
        self._ticking = asyncio.get_running_loop().create_task(self._tick())

    async def stop(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
        for node in self.nodes.values():
            node.stop()
        for endpoint in self.endpoints.values():
            endpoint.end()
        await self.kubernetes.stop()
        self._save_etcd()
        await asyncio.sleep(0)
        self.log.close()

    async def _tick(self) -> None:
        """What happens by itself, for ever: a round that fails must not stop the clock of all nodes."""
        while True:
            await asyncio.sleep(TICK)
            try:
                await self._round()
            except Exception:
                self._tell_failure(traceback.format_exc())

    async def _round(self) -> None:
        """etcd's members, workers that wait for a certificate, and what happens in Kubernetes."""
        self.settle()
        for endpoint in self.endpoints.values():
            if endpoint.waits:
                await self._update(endpoint)
        await self.kubernetes.settle()

    def _tell_failure(self, text: str) -> None:
        """Into the daemon's log, once: the next round may fail likewise."""
        if text != self.failure:
            print(text, file=sys.stderr)
        self.failure = text

    async def _update(self, endpoint: Endpoint) -> None:
        """A port that can't be had for now is told of once, and tried again all the time."""
        try:
            await endpoint.update()
        except OSError as problem:
            if endpoint not in self._complained:
                where = f"{endpoint.node.address}:{endpoint.port}"
                print(f"can't listen at {where}: {problem.strerror or problem}", file=sys.stderr)
            self._complained.add(endpoint)
        else:
            self._complained.discard(endpoint)

    def settle(self) -> None:
        """Let etcd's members do what they do by themselves."""
        if self.etcd.clusters and self.etcd.settle(self.control_planes):
            self._save_etcd()

    @property
    def control_planes(self) -> dict[str, Node]:
        return {name: node for name, node in self.nodes.items() if node.is_control_plane}

    # --- nodes

    def node(self, name: str) -> Node:
        if name not in self.nodes:
            raise RehearsalError(f"no node {name!r}; nodes: {', '.join(self.nodes)}")
        return self.nodes[name]

    def find(self, target: str) -> Node | None:
        """The node that a request for this address or name is meant for."""
        node = self._by_address.get(target)
        if node is None:
            node = next((node for node in self.nodes.values() if target in (node.name, node.hostname, node.fqdn)), None)
        return self.endpoints[node.name].served if node else None

    def issuing_ca(self, node: Node) -> KeyPair | None:
        """The CA of the node's cluster, while a control plane that has its key is up (what trustd does)."""
        for other in self.control_planes.values():
            active = other.active
            if other.up and active is not None and other.identity == node.identity and active.talos_ca.key:
                return active.talos_ca
        return None

    @functools.cached_property
    def foreign_ca(self) -> KeyPair:
        """The CA of a cluster that nobody here belongs to."""
        return pki.authority()

    # --- changes

    def endpoint(self, node: Node) -> Endpoint:
        return self.endpoints[self._by_address[node.address].name]

    def refresh(self, node: Node) -> None:
        """The node's state or faults changed: its endpoint follows."""
        task = asyncio.get_running_loop().create_task(self._update(self.endpoint(node)))
        self._refreshing.add(task)
        task.add_done_callback(self._refreshing.discard)

    def follow(self, node: Node) -> None:
        """Its open connections change at once."""
        self.endpoint(node).follow()
        self.kubernetes.follow(node)

    def drop_connections(self, node: Node) -> None:
        """End them politely, unless another machine has this node's address by now."""
        if self.endpoint(node).served is node:
            self.endpoint(node).drop()

    def save(self, node: Node) -> None:
        if self.state is not None and self.nodes.get(node.name) is node:
            write_json(self.state.nodes / f"{node.name}.json", node.record.as_json())

    def bootstrap(self, node: Node) -> None:
        self.etcd.bootstrap(node)
        node.save()
        self._save_etcd()

    def remove_member(self, name: str) -> None:
        self.etcd.remove(name)
        self._save_etcd()

    def drop_lost_etcd(self) -> None:
        self.etcd.drop_lost(self.nodes)
        self._save_etcd()

    def new_actor(self) -> str:
        return str(uuid.uuid4())

    def _save_etcd(self) -> None:
        if self.state is not None:
            write_json(self.state.etcd, self.etcd.as_json())

    # --- faults

    def add_fault(self, node: Node, fault: Fault) -> None:
        node.faults.all.append(fault)
        if fault.name == "other-machine" and node.impostor is None:
            node.impostor = Node(_other_machine(node.record), self)
        self._faults_changed(node)

    def clear_faults(self, nodes: t.Iterable[Node]) -> None:
        for node in nodes:
            node.faults.all.clear()
            self._faults_changed(node)

    def _faults_changed(self, node: Node) -> None:
        self.follow(node)
        self.refresh(node)
        self.save_faults()

    def save_faults(self) -> None:
        if self.state is not None:
            value = {n.name: [fault.as_json() for fault in n.faults.all] for n in self.nodes.values() if n.faults}
            write_json(self.state.faults, value)

    def _read_faults(self, value: dict[str, list[dict[str, t.Any]]]) -> None:
        for name, faults in value.items():
            if name in self.nodes:
                node = self.nodes[name]
                node.faults.all = [Fault.from_json(fault) for fault in faults]
                if any(fault.name == "other-machine" for fault in node.faults.all):
                    node.impostor = Node(_other_machine(node.record), self)


def _other_machine(record: NodeRecord) -> NodeRecord:
    """A machine as it comes from the shop, at this node's address."""
    last = int(record.mac[-2:], 16) ^ 0xFF
    return NodeRecord(
        f"other machine at {record.address}",
        record.address,
        f"{record.mac[:-2]}{last:02x}",
        board=record.board,
        disk_size=record.disk_size,
        talos_version=record.talos_version,
    )
