# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on a node, and what it still waits for."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

if t.TYPE_CHECKING:
    from rehearsal.node import Node

ALWAYS = ("apid", "containerd", "machined", "udevd")
# The event says it before the reason, the health itself does not.
CHECK_FAILED = "Health check failed: "
STATIC_PODS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


@dataclass(frozen=True)
class ServiceState:
    """A service as ``talosctl service`` shows it."""

    id: str
    state: str
    healthy: bool
    unknown: bool
    message: str

    @property
    def running(self) -> bool:
        return self.state == "Running"


def services(node: Node) -> list[ServiceState]:
    """The services of a node in this moment, by name."""
    states = [_healthy(name) for name in ALWAYS]
    if node.configured:
        states.append(_healthy("cri"))
        states.append(_healthy("kubelet") if node.services_up else _preparing("kubelet"))
    if node.is_control_plane:
        states += [_healthy("trustd"), etcd(node)]
    return sorted(states, key=lambda state: state.id)


def _healthy(name: str) -> ServiceState:
    return ServiceState(name, "Running", True, False, "Health check successful")


def _preparing(name: str) -> ServiceState:
    return ServiceState(name, "Preparing", False, True, "Running pre state")


def etcd(node: Node) -> ServiceState:
    """Its health is what decides whether Talos shows the member as a resource."""
    members = node.fleet.etcd
    member = members.member(node)
    if node.etcd_stopped:
        return ServiceState("etcd", "Finished", False, True, "Service finished successfully")
    if member is None or not members.runs_on(node):
        return _preparing("etcd")
    if not member.voter:
        problem = "etcdserver: rpc not supported for learner"
        return ServiceState("etcd", "Running", False, False, f"{CHECK_FAILED}{problem}")
    if not members.has_quorum(node):
        return ServiceState("etcd", "Running", False, False, f"{CHECK_FAILED}context deadline exceeded")
    return _healthy("etcd")


def time_in_sync(node: Node) -> bool:
    return node.fault("time-not-in-sync") is None


def kubernetes_up(node: Node) -> bool:
    """Does the cluster's API answer: is etcd up on some control plane, and its pods since a boot time?"""
    fleet = node.fleet
    return any(api_server_up(other) for other in fleet.control_planes.values() if other.identity == node.identity)


def api_server_up(node: Node) -> bool:
    """Does kube-apiserver run on this control plane, with an etcd that answers it?"""
    etcd = node.fleet.etcd
    member = etcd.member(node)
    if member is None or not etcd.runs_on(node) or not etcd.has_quorum(node):
        return False
    began = max(node.booted_at, node.applied_at) + node.fleet.boot_time
    return time.time() >= max(member.running_at, began) + node.fleet.boot_time


def node_ready(node: Node) -> bool:
    """Does Kubernetes say Ready of this node?"""
    if not node.services_up or not kubernetes_up(node):
        return False
    return not node.is_control_plane or api_server_up(node)


def unmet_conditions(node: Node) -> list[tuple[str, str]]:
    """Names and reasons, as in the machine status; empty where the node is ready."""
    if not node.configured or node.sequence:
        return []
    unmet = [] if time_in_sync(node) else [("time", "time is not synced")]
    problems = [_service_problem(state) for state in services(node) if not _serves(state)]
    if problems:
        unmet.append(("services", ", ".join(problems)))
    if node.is_control_plane and node.fleet.etcd.runs_on(node) and not api_server_up(node):
        unmet.append(("staticPods", ", ".join(f"kube-system/{pod}-{node.nodename} not ready" for pod in STATIC_PODS)))
    if not node_ready(node):
        unmet.append(("nodeReady", _node_reason(node)))
    return unmet


def _serves(state: ServiceState) -> bool:
    return state.running and (state.healthy or state.unknown)


def _service_problem(state: ServiceState) -> str:
    return f"{state.id} {'not healthy' if state.running else 'not running'}"


def _node_reason(node: Node) -> str:
    known = node.services_up and kubernetes_up(node)
    return f'node "{node.nodename}" is not ready' if known else f'node "{node.nodename}" status is not available yet'


def machine_status(node: Node) -> tuple[str, bool, list[tuple[str, str]]]:
    """Stage, ready, unmet conditions; also kept among the node's events."""
    unmet = unmet_conditions(node)
    status = (node.stage, not unmet, unmet)
    node.events.status(*status)
    return status
