# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``cluster.ClusterService``: the health check that ``talosctl health`` shows."""

from __future__ import annotations

import asyncio
import json
import time
import typing as t

from grpclib.const import Status

from rehearsal import readiness
from rehearsal.messages import new
from rehearsal.node import Node
from rehearsal.service.call import Answers, Call, Service, control_plane_configuration, refuse

POLL = 0.1
Check = t.Callable[[list[Node]], str]


def _service(name: str, control_planes_only: bool) -> Check:
    def check(nodes: list[Node]) -> str:
        for node in nodes:
            for state in readiness.services(node):
                if state.id == name and not (state.running and state.healthy):
                    current = f"current state [{state.state}] {state.message}"
                    return f'{node.address}: service "{name}" not in expected state "Running": {current}'
        return "" if nodes else "no nodes"

    return lambda nodes: check([node for node in nodes if node.is_control_plane or not control_planes_only])


def _members_agree(nodes: list[Node]) -> str:
    control_planes = [node for node in nodes if node.is_control_plane]
    clusters = {cluster.id for node in control_planes if (cluster := node.fleet.etcd.cluster_of(node))}
    return "" if len(clusters) == 1 else "etcd members differ between nodes"


def _members_are_control_planes(nodes: list[Node]) -> str:
    control_planes = {node.name for node in nodes if node.is_control_plane}
    etcd = nodes[0].fleet.etcd
    members = {member.node for node in nodes if (cluster := etcd.cluster_of(node)) for member in cluster.members}
    return "" if members == control_planes else "etcd member ips and control plane nodes differ"


def _up(nodes: list[Node]) -> str:
    return next((f"{node.address}: connection refused" for node in nodes if not node.up), "")


def _booted(nodes: list[Node]) -> str:
    waiting = [node for node in nodes if node.stage != "running" or not readiness.machine_status(node)[1]]
    return f"nodes not ready: {[node.address for node in waiting]}" if waiting else ""


def _kubernetes(nodes: list[Node]) -> str:
    waiting = [node.nodename for node in nodes if not readiness.node_ready(node)]
    return f"some nodes are not ready: {waiting}" if waiting else ""


def _well(nodes: list[Node]) -> str:
    return ""


CHECKS: tuple[tuple[str, Check], ...] = (
    ("etcd to be healthy", _service("etcd", True)),
    ("etcd members to be consistent across nodes", _members_agree),
    ("etcd members to be control plane nodes", _members_are_control_planes),
    ("apid to be ready", _up),
    ("all nodes memory sizes", _well),
    ("all nodes disk sizes", _well),
    ("no diagnostics", _well),
    ("kubelet to be healthy", _service("kubelet", False)),
    ("all nodes to finish boot sequence", _booted),
    ("all k8s nodes to report", _kubernetes),
    ("all control plane static pods to be running", _kubernetes),
    ("all control plane components to be ready", _kubernetes),
    ("all k8s nodes to report ready", _kubernetes),
    ("kube-proxy to report ready", _well),
    ("coredns to report ready", _well),
    ("all k8s nodes to report schedulable", _kubernetes),
)


async def health_check(call: Call) -> Answers:
    control_plane_configuration(call, "cluster health check")
    request = call.request
    deadline = time.monotonic() + request.wait_timeout.ToTimedelta().total_seconds()
    nodes = _nodes(call)
    yield _progress(f"discovered nodes: {_go_list([node.address for node in nodes])}")
    for name, check in CHECKS:
        yield _progress(f"waiting for {name}: ...")
        said = ""
        while problem := check(nodes):
            if problem != said:
                yield _progress(f"waiting for {name}: 1 error occurred:\n\t* {problem}\n\n")
                said = problem
            if time.monotonic() >= deadline:
                refuse(Status.DEADLINE_EXCEEDED, "context deadline exceeded")
            await asyncio.sleep(POLL)
        yield _progress(f"waiting for {name}: OK")


def _nodes(call: Call) -> list[Node]:
    """The nodes that were named, else all that discovery knows."""
    info, node = call.request.cluster_info, call.node
    named = [*info.control_plane_nodes, *info.worker_nodes]
    if named:
        found = (node.fleet.find(target) for target in named)
        return [each for each in found if each is not None]
    return [each for each in node.fleet.nodes.values() if each.configured and each.identity == node.identity]


def _go_list(values: list[str]) -> str:
    return "[" + " ".join(json.dumps(value) for value in values) + "]"


def _progress(text: str) -> object:
    return new("cluster.HealthCheckProgress", message=text)


SERVICES: dict[str, Service] = {"/cluster.ClusterService/HealthCheck": health_check}
