# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``machine.MachineService``."""

from __future__ import annotations

import functools
import time

from grpclib.const import Status

from rehearsal import readiness
from rehearsal.kubeconfig import archive, kubeconfig
from rehearsal.messages import new
from rehearsal.node import Node
from rehearsal.roles import known_roles
from rehearsal.service import etcd_calls
from rehearsal.service.apply import apply_configuration
from rehearsal.service.call import Answers, Call, Service, control_plane_configuration, refuse
from rehearsal.talosconfig import client_configuration

ETCD_DATA = "/var/lib/etcd/member"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
POLL = 0.1
JUST_BOOTED = 5.0
MEMORY_KB = {"rpi_4": 4_000_000, "rpi_5": 8_000_000}
RESET_ALL, RESET_SYSTEM_DISK, RESET_USER_DISKS = range(3)


async def version(call: Call) -> Answers:
    talos = call.node.version
    info = new(
        "machine.VersionInfo",
        tag=talos.tag,
        sha="rehearsal",
        go_version=talos.go_version,
        os="linux",
        arch="arm64",
    )
    answer = new("machine.Version", version=info, platform=new("machine.PlatformInfo", name="metal", mode="metal"))
    if call.node.configured:
        answer.features.rbac = True
    yield new("machine.VersionResponse", messages=[answer])


async def service_list(call: Call) -> Answers:
    infos = [_service_info(call.node, state) for state in readiness.services(call.node)]
    yield new("machine.ServiceListResponse", messages=[new("machine.ServiceList", services=infos)])


def _service_info(node: Node, state: readiness.ServiceState) -> object:
    info = new("machine.ServiceInfo", id=state.id, state=state.state)
    began = max(node.booted_at, node.applied_at)
    steps = [("Starting service", "Starting"), ("Running pre state", "Preparing")]
    if state.running:
        steps += [(f"Started task {state.id}", "Running"), (state.message, "Running")]
    for text, name in steps:
        event = info.events.events.add(msg=text, state=name)
        event.ts.FromMilliseconds(int(began * 1000))
    info.health.unknown, info.health.healthy = state.unknown, state.healthy
    problem = state.message if state.running and not state.healthy else ""
    info.health.last_message = problem.removeprefix(readiness.CHECK_FAILED)
    info.health.last_change.FromMilliseconds(int(began * 1000))
    return info


async def memory(call: Call) -> Answers:
    total = MEMORY_KB.get(call.node.record.board, 4_000_000)
    info = new("machine.MemInfo", memtotal=total, memfree=total // 2, memavailable=total * 3 // 4)
    yield new("machine.MemoryResponse", messages=[new("machine.Memory", meminfo=info)])


async def read(call: Call) -> Answers:
    if call.request.path == ETCD_DATA and call.node.fleet.etcd.has_data(call.node):
        refuse(Status.UNKNOWN, "path must be a regular file")
    if call.request.path != BOOT_ID:
        refuse(Status.UNKNOWN, f"stat {call.request.path}: no such file or directory")
    yield new("common.Data", bytes=f"{call.node.record.boot_id}\n".encode())


async def events(call: Call) -> Answers:
    """A hello, past events as asked for, then each event as it comes."""
    yield new("machine.Event")
    node, request = call.node, call.request
    readiness.machine_status(node)
    history = node.events
    position = len(history.events)
    # talosctl looks again only a second after a reboot began; a short boot must not be over unseen by then.
    just_booted = time.time() - node.booted_at < JUST_BOOTED
    if request.tail_events < 0 or request.tail_id or request.tail_seconds or just_booted:
        position = 0
    elif request.tail_events:
        position = max(0, position - request.tail_events)
    while True:
        for event in history.events[position:]:
            if request.with_actor_id in ("", event.actor_id) and event.id > request.tail_id:
                yield event
        position = len(history.events)
        await history.wait(POLL)
        readiness.machine_status(node)


async def send_kubeconfig(call: Call) -> Answers:
    active = control_plane_configuration(call, "kubeconfig")
    if not active.kubernetes_ca.key:
        refuse(Status.FAILED_PRECONDITION, "k8s API server CA config is not set")
    yield new("common.Data", bytes=archive(kubeconfig(active)))


async def generate_client_configuration(call: Call) -> Answers:
    active = control_plane_configuration(call, "generate client configuration")
    lifetime = call.request.crt_ttl.ToTimedelta()
    if lifetime.total_seconds() <= 0:
        refuse(Status.INVALID_ARGUMENT, "crt_ttl should be positive")
    roles = sorted(known_roles(frozenset(call.request.roles)))
    message = new("machine.GenerateClientConfiguration", **client_configuration(active, roles, lifetime))
    yield new("machine.GenerateClientConfigurationResponse", messages=[message])


def _actor(node: Node) -> str:
    return node.fleet.new_actor()


async def reboot(call: Call) -> Answers:
    actor = _actor(call.node)
    call.afterwards.append(functools.partial(call.node.start_sequence, "reboot", actor))
    yield new("machine.RebootResponse", messages=[new("machine.Reboot", actor_id=actor)])


async def shutdown(call: Call) -> Answers:
    actor = _actor(call.node)
    call.afterwards.append(functools.partial(call.node.start_sequence, "shutdown", actor))
    yield new("machine.ShutdownResponse", messages=[new("machine.Shutdown", actor_id=actor)])


async def reset(call: Call) -> Answers:
    node, request = call.node, call.request
    labels = {entry.label for entry in request.system_partitions_to_wipe if entry.wipe}
    unknown = labels - {"STATE", "EPHEMERAL", "META", "BOOT", "EFI"}
    if unknown:
        label = sorted(unknown)[0]
        text = f'failed to get volume status with label "{label}": resource doesn\'t exist'
        refuse(Status.UNKNOWN, text)
    actor = _actor(node)
    sequence = functools.partial(node.start_sequence, "reset", actor, functools.partial(_wipe, node, labels, request))
    call.afterwards.append(sequence)
    yield new("machine.ResetResponse", messages=[new("machine.Reset", actor_id=actor)])


def _wipe(node: Node, labels: set[str], request: object) -> None:
    """What the reset leaves. Without labels the whole disk is wiped: nothing is left to boot from."""
    if getattr(request, "mode", RESET_ALL) == RESET_USER_DISKS:
        return
    if not labels or "STATE" in labels:
        node.forget_configuration()
    if getattr(request, "graceful", False):
        node.forget_etcd()
    elif not labels or "EPHEMERAL" in labels:
        node.lose_etcd()
    if not labels or not getattr(request, "reboot", False):
        node.halt()


_MACHINE: dict[str, Service] = {
    "ApplyConfiguration": apply_configuration,
    "Events": events,
    "GenerateClientConfiguration": generate_client_configuration,
    "Kubeconfig": send_kubeconfig,
    "Memory": memory,
    "Read": read,
    "Reboot": reboot,
    "Reset": reset,
    "ServiceList": service_list,
    "Shutdown": shutdown,
    "Version": version,
    **etcd_calls.SERVICES,
}
SERVICES: dict[str, Service] = {f"/machine.MachineService/{name}": service for name, service in _MACHINE.items()}
