# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The etcd calls of the MachineService, and Bootstrap."""

from __future__ import annotations

import asyncio
import typing as t

from grpclib.const import Status

from rehearsal.etcd import NO_LEADER, EtcdCluster, Member
from rehearsal.messages import new
from rehearsal.service.call import Answers, Call, Service, control_plane_configuration, for_ever, refuse
from rehearsal.snapshot import snapshot
from rehearsal.versions import ETCD_STORAGE_VERSION, ETCD_VERSION

TIME_SYNC_WAIT = 5.0
CHUNK = 1024
DATA_EXISTS = "etcd data directory is not empty"


async def bootstrap(call: Call) -> Answers:
    node = call.node
    if not node.services_up or node.take_fault("not-ready-to-bootstrap", call.name):
        refuse(Status.FAILED_PRECONDITION, "bootstrap is not available yet")
    active = control_plane_configuration(call, "bootstrap")
    if node.version.minor != "1.13" and not active.etcd_ca.crt:
        refuse(Status.INVALID_ARGUMENT, "etcd is not configured, bootstrap is not possible")
    if node.take_fault("time-not-in-sync", call.name):
        await asyncio.sleep(min(TIME_SYNC_WAIT, node.fleet.boot_time))
        refuse(Status.FAILED_PRECONDITION, "time is not in sync yet")
    if node.fleet.etcd.has_data(node) or node.take_fault("already-bootstrapped", call.name):
        refuse(Status.ALREADY_EXISTS, DATA_EXISTS)
    if not node.record.etcd_data:
        node.fleet.bootstrap(node)
    yield new("machine.BootstrapResponse", messages=[new("machine.Bootstrap")])


async def _running(call: Call, what: str) -> tuple[EtcdCluster, Member]:
    """The node's cluster and member, once etcd runs: until then a call hangs, as on real nodes."""
    control_plane_configuration(call, what)
    etcd = call.node.fleet.etcd
    while not etcd.runs_on(call.node):
        await asyncio.sleep(0.05)
    call.node.fleet.settle()
    cluster, member = etcd.cluster_of(call.node), etcd.member(call.node)
    if cluster is None or member is None:
        await for_ever()
    return cluster, member


async def _leading(call: Call, what: str) -> tuple[EtcdCluster, Member]:
    """The same for calls that need a leader."""
    cluster, member = await _running(call, what)
    if not call.node.fleet.etcd.has_quorum(call.node):
        refuse(Status.UNKNOWN, NO_LEADER)
    return cluster, member


def _message(member: Member) -> t.Any:
    return new(
        "machine.EtcdMember",
        id=member.id,
        hostname=member.hostname,
        peer_urls=[f"https://{member.address}:2380"],
        client_urls=[f"https://{member.address}:2379"],
        is_learner=not member.voter,
    )


async def member_list(call: Call) -> Answers:
    cluster, member = await _leading(call, "member list")
    if not member.voter:
        refuse(Status.UNKNOWN, "etcdserver: rpc not supported for learner")
    names = [each.hostname for each in cluster.members]
    members = new("machine.EtcdMembers", legacy_members=names, members=[_message(each) for each in cluster.members])
    yield new("machine.EtcdMemberListResponse", messages=[members])


async def status(call: Call) -> Answers:
    cluster, member = await _running(call, "etcd status")
    leads = call.node.fleet.etcd.has_quorum(call.node)
    kubernetes = call.node.fleet.kubernetes.of(call.node)
    # All members have the same, and it grows with what is kept.
    index = 8 + (kubernetes.store.version if kubernetes else 0)
    answer = new(
        "machine.EtcdMemberStatus",
        protocol_version=ETCD_VERSION,
        storage_version=ETCD_STORAGE_VERSION,
        db_size=20480,
        db_size_in_use=16384,
        leader=cluster.leader if leads else 0,
        raft_index=index,
        raft_applied_index=index,
        raft_term=cluster.term,
        is_learner=not member.voter,
        member_id=member.id,
        errors=[] if leads else [NO_LEADER],
    )
    yield new("machine.EtcdStatusResponse", messages=[new("machine.EtcdStatus", member_status=answer)])


async def alarm_list(call: Call) -> Answers:
    await _leading(call, "etcd alarm list")
    yield new("machine.EtcdAlarmListResponse", messages=[new("machine.EtcdAlarm")])


async def take_snapshot(call: Call) -> Answers:
    await _running(call, "etcd snapshot")  # from the local store: needs no leader
    data = snapshot()
    for start in range(0, len(data), CHUNK):
        yield new("common.Data", bytes=data[start : start + CHUNK])


async def leave(call: Call) -> Answers:
    await _leading(call, "etcd leave")
    # Talos starts it again only at a boot or a bootstrap.
    call.node.etcd_stopped = True
    call.node.forget_etcd()
    call.node.save()
    yield new("machine.EtcdLeaveClusterResponse", messages=[new("machine.EtcdLeaveCluster")])


async def forfeit_leadership(call: Call) -> Answers:
    await _leading(call, "etcd forfeit leadership")
    fleet = call.node.fleet
    heir = fleet.etcd.forfeit(call.node, fleet.nodes)
    message = new("machine.EtcdForfeitLeadership", member=heir)
    yield new("machine.EtcdForfeitLeadershipResponse", messages=[message])


async def remove_member(call: Call) -> Answers:
    cluster, _ = await _leading(call, "etcd remove member")
    wanted = call.request.member_id
    member = next((each for each in cluster.members if each.id == wanted), None)
    if member is None:
        refuse(Status.NOT_FOUND, "etcdserver: member not found")
    call.node.fleet.remove_member(member.node)
    answer = new("machine.EtcdRemoveMemberByID")
    yield new("machine.EtcdRemoveMemberByIDResponse", messages=[answer])


SERVICES: dict[str, Service] = {
    "Bootstrap": bootstrap,
    "EtcdAlarmList": alarm_list,
    "EtcdForfeitLeadership": forfeit_leadership,
    "EtcdLeaveCluster": leave,
    "EtcdMemberList": member_list,
    "EtcdRemoveMemberByID": remove_member,
    "EtcdSnapshot": take_snapshot,
    "EtcdStatus": status,
}
