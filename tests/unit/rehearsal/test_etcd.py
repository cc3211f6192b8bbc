# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bootstrap, members, quorum, and the states that a cluster comes through."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import io
import tarfile
import typing as t
from pathlib import Path

import pytest
import yaml
from grpclib.const import Status

from rehearsal.faults import Fault
from rehearsal.fleet import Fleet
from rehearsal.messages import new
from rehearsal.node import Node, NodeRecord
from rehearsal.state import StateFolder, read_json
from tests.unit.rehearsal.harness import (
    MACHINE_STATUS,
    Client,
    Cluster,
    configured,
    fleet_of,
    refusal,
    run,
    swapped,
    until,
)

THREE = ("cp1", "cp2", "cp3")


def with_cluster(
    *names: str, control_planes: t.Sequence[str] = ("cp",), ready: bool = True
) -> t.Callable[[t.Callable[[Fleet, Cluster, Client], t.Any]], t.Callable[[], None]]:
    """The test gets a fleet that is a cluster already."""

    def decorate(test: t.Callable[[Fleet, Cluster, Client], t.Any]) -> t.Callable[[], None]:
        async def whole() -> None:
            async with fleet_of(*names) as fleet:
                cluster = Cluster()
                await test(fleet, cluster, await configured(fleet, cluster, control_planes=control_planes, ready=ready))

        def called() -> None:
            run(whole())

        called.__name__ = test.__name__
        return called

    return decorate


def voters(fleet: Fleet) -> list[str]:
    return [member.node for cluster in fleet.etcd.clusters for member in cluster.members if member.voter]


@with_cluster("cp", "worker", ready=False)
async def test_before_bootstrap_etcd_calls_hang(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    for name in ("EtcdMemberList", "EtcdStatus"):
        with pytest.raises(asyncio.TimeoutError):
            await admin.machine(name, seconds=0.3)
    status = await admin.spec(*MACHINE_STATUS)
    assert status["stage"] == "booting"
    reasons = {entry["name"]: entry["reason"] for entry in status["status"]["unmetConditions"]}
    assert reasons == {"services": "etcd not running", "nodeReady": 'node "cp" status is not available yet'}
    worker = Client(fleet.nodes["worker"], cluster.context())
    status = await worker.spec(*MACHINE_STATUS)
    assert (status["stage"], status["status"]["ready"]) == ("running", False)


@with_cluster("cp", "worker", ready=False)
async def test_bootstrap_says_what_talos_says(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    worker = Client(fleet.nodes["worker"], cluster.context())
    only = "bootstrap is only available on control plane nodes"
    assert await refusal(worker.machine("Bootstrap")) == (Status.UNIMPLEMENTED, only)
    fleet.etcd.boot_time = 3600
    await admin.machine("Bootstrap")
    await admin.machine("Bootstrap")  # before etcd runs its data directory is empty: taken once more
    [etcd] = fleet.etcd.clusters
    [member] = etcd.members
    member.running_at -= 3600
    members = await admin.machine("EtcdMemberList")
    done = (Status.ALREADY_EXISTS, "etcd data directory is not empty")
    assert await refusal(admin.machine("Bootstrap")) == done
    assert [member.hostname for member in members.members] == ["cp"]


def test_bootstrap_is_not_available_while_booting() -> None:
    async def test() -> None:
        async with fleet_of("cp") as fleet:
            cluster = Cluster()
            fleet.boot_time = 3600
            await Client(fleet.nodes["cp"]).apply(cluster.config("cp", "controlplane"))
            await swapped(fleet.nodes["cp"])
            admin = Client(fleet.nodes["cp"], cluster.context())
            early = (Status.FAILED_PRECONDITION, "bootstrap is not available yet")
            assert await refusal(admin.machine("Bootstrap")) == early

    run(test())


@with_cluster("cp", "worker")
async def test_ready_after_bootstrap(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    for node in fleet.nodes.values():
        status = await Client(node, cluster.context()).spec(*MACHINE_STATUS)
        assert status == {"stage": "running", "status": {"ready": True, "unmetConditions": []}}
    members = await admin.list("cluster", "Members.cluster.talos.dev")
    assert [member.metadata.id for member in members] == ["cp", "worker"]
    request = new("cluster.HealthCheckRequest")
    request.wait_timeout.FromSeconds(3)
    said = [part.message for part in await admin.call("/cluster.ClusterService/HealthCheck", request)]
    assert said[0] == f'discovered nodes: ["{admin.address}" "{fleet.nodes["worker"].address}"]'
    assert said[-1] == "waiting for all k8s nodes to report schedulable: OK"


@with_cluster(*THREE, control_planes=THREE)
async def test_others_join_and_vote(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    await until(lambda: sorted(voters(fleet)) == list(THREE))
    second = Client(fleet.nodes["cp2"], cluster.context())
    status, _ = await refusal(second.machine("Bootstrap"))
    assert status is Status.ALREADY_EXISTS
    assert len((await second.machine("EtcdMemberList")).members) == 3


def test_a_joining_member_is_a_learner_first() -> None:
    async def test() -> None:
        async with fleet_of("cp1", "cp2") as fleet:
            cluster = Cluster()
            admin = await configured(fleet, cluster, control_planes=("cp1", "cp2"), ready=False)
            await admin.machine("Bootstrap")
            await until(lambda: fleet.etcd.member(fleet.nodes["cp2"]))
            fleet.etcd.boot_time = 3600  # a learner for long enough to be looked at
            member = (await admin.machine("EtcdMemberList")).members[1]
            assert (member.hostname, member.is_learner) == ("cp2", True)
            learner = Client(fleet.nodes["cp2"], cluster.context())
            status, message = await refusal(learner.machine("EtcdMemberList"))
            assert (status, message) == (Status.UNKNOWN, "etcdserver: rpc not supported for learner")
            fleet.etcd.boot_time = 0
            await until(lambda: len(voters(fleet)) == 2)

    run(test())


@with_cluster(*THREE, control_planes=THREE, ready=False)
async def test_two_bootstraps_make_two_clusters(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    await admin.machine("Bootstrap")
    await Client(fleet.nodes["cp2"], cluster.context()).machine("Bootstrap")
    await until(lambda: fleet.etcd.runs_on(fleet.nodes["cp2"]))
    assert len(fleet.etcd.clusters) == 2


@with_cluster(*THREE, control_planes=THREE)
async def test_without_quorum(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    await until(lambda: len(voters(fleet)) == 3)
    fleet.nodes["cp2"].power_off()
    await asyncio.sleep(0.3)
    assert len((await admin.machine("EtcdMemberList")).members) == 3
    fleet.add_fault(fleet.nodes["cp3"], Fault("frozen"))
    await until(lambda: not fleet.etcd.has_quorum(fleet.nodes["cp1"]))
    no_leader = (Status.UNKNOWN, "etcdserver: no leader")
    assert await refusal(admin.machine("EtcdMemberList")) == no_leader
    status = (await admin.machine("EtcdStatus")).member_status
    assert (status.leader, list(status.errors)) == (0, ["etcdserver: no leader"])
    assert await admin.call("/machine.MachineService/EtcdSnapshot")
    fleet.nodes["cp2"].power_on()
    await until(lambda: fleet.etcd.has_quorum(fleet.nodes["cp1"]))
    assert (await admin.machine("EtcdStatus")).member_status.leader


@with_cluster(*THREE, control_planes=THREE)
async def test_leave_forfeit_remove(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    await until(lambda: len(voters(fleet)) == 3)
    heir = (await admin.machine("EtcdForfeitLeadership")).member
    leader = (await admin.machine("EtcdStatus")).member_status.leader
    assert heir == f"{leader:016x}"
    await Client(fleet.nodes["cp3"], cluster.context()).machine("EtcdLeaveCluster")
    members = (await admin.machine("EtcdMemberList")).members
    assert [member.hostname for member in members] == ["cp1", "cp2"]
    request = new("machine.EtcdRemoveMemberByIDRequest", member_id=members[1].id)
    await admin.machine("EtcdRemoveMemberByID", request)
    await asyncio.sleep(0.3)
    assert [member.hostname for member in (await admin.machine("EtcdMemberList")).members] == ["cp1"]


@with_cluster(*THREE, control_planes=THREE)
async def test_after_a_leave_there_is_no_data_and_a_boot_joins_again(
    fleet: Fleet, cluster: Cluster, admin: Client
) -> None:
    await until(lambda: len(voters(fleet)) == 3)
    node = fleet.nodes["cp3"]
    await Client(node, cluster.context()).machine("EtcdLeaveCluster")
    assert not node.record.etcd_data
    await asyncio.sleep(0.5)
    assert sorted(voters(fleet)) == ["cp1", "cp2"]
    states = {info.id: info.state for info in (await Client(node, cluster.context()).machine("ServiceList")).services}
    assert states["etcd"] == "Finished"
    node.power_off()
    node.power_on()
    await until(lambda: len(voters(fleet)) == 3)


@with_cluster(*THREE, control_planes=THREE)
async def test_all_members_have_one_index_which_grows_with_what_is_kept(
    fleet: Fleet, cluster: Cluster, admin: Client
) -> None:
    await until(lambda: len(voters(fleet)) == 3)
    clients = [Client(node, cluster.context()) for node in fleet.nodes.values()]
    store = fleet.kubernetes.of(fleet.nodes["cp1"])
    assert store is not None
    before = store.store.version
    answers = [(await each.machine("EtcdStatus")).member_status for each in clients]
    indices = [answer.raft_index for answer in answers]
    assert before <= min(indices) - 8 <= max(indices) - 8 <= store.store.version
    assert indices == sorted(indices) == [answer.raft_applied_index for answer in answers]


async def _wipe(node: Node, cluster: Cluster, *, graceful: bool) -> None:
    request = new("machine.ResetRequest", reboot=True, graceful=graceful)
    for label in ("STATE", "EPHEMERAL"):
        request.system_partitions_to_wipe.add(label=label, wipe=True)
    await Client(node, cluster.context()).machine("Reset", request)
    await until(lambda: node.stage == "maintenance" and node.up)


@pytest.mark.parametrize("graceful", [True, False])
def test_only_a_graceful_reset_takes_the_member_out(graceful: bool) -> None:
    @with_cluster(*THREE, control_planes=THREE)
    async def scenario(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        await until(lambda: len(voters(fleet)) == 3)
        await _wipe(fleet.nodes["cp3"], cluster, graceful=graceful)
        assert not fleet.nodes["cp3"].record.etcd_data
        members = (await admin.machine("EtcdMemberList")).members
        assert [member.hostname for member in members] == list(THREE[:2] if graceful else THREE)

    scenario()


@with_cluster("cp1", "cp2", control_planes=("cp1", "cp2"))
async def test_a_bootstrap_with_a_new_card_makes_a_cluster_of_its_own(
    fleet: Fleet, cluster: Cluster, admin: Client
) -> None:
    await until(lambda: len(voters(fleet)) == 2)
    [old] = fleet.etcd.clusters
    node = fleet.nodes["cp1"]
    node.power_off()
    node.forget_configuration()
    node.record.etcd_data = False
    node.power_on()
    assert fleet.etcd.clusters == [old]
    assert fleet.etcd.cluster_of(node) is None
    await until(lambda: fleet.endpoints["cp1"]._server is not None)
    await Client(node).apply(cluster.config("cp1", "controlplane"))
    await swapped(node)
    await until(lambda: node.services_up)
    await admin.machine("Bootstrap")
    made = fleet.etcd.cluster_of(node)
    assert made is not None
    assert made is not old
    assert [[member.node for member in each.members] for each in fleet.etcd.clusters] == [["cp2"], ["cp1"]]


@with_cluster("cp")
async def test_snapshot_is_a_database_with_its_checksum(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    data = b"".join(part.bytes for part in await admin.call("/machine.MachineService/EtcdSnapshot"))
    assert len(data) % 512 == 32
    assert hashlib.sha256(data[:-32]).digest() == data[-32:]
    assert data[16:20] == bytes.fromhex("edda0ced")  # bbolt's magic


@with_cluster("cp", "worker")
async def test_kubeconfig_and_talosconfig(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    [data] = await admin.call("/machine.MachineService/Kubeconfig")
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data.bytes))) as tar:
        member = tar.extractfile("kubeconfig")
        assert member is not None
        config = yaml.safe_load(member.read())
    assert config["current-context"] == "admin@attic"
    request = new("machine.GenerateClientConfigurationRequest", roles=["os:reader"])
    request.crt_ttl.FromSeconds(3600)
    answer = await admin.machine("GenerateClientConfiguration", request)
    talosconfig = yaml.safe_load(answer.talosconfig)
    assert talosconfig["context"] == "reader@attic"
    worker = Client(fleet.nodes["worker"], cluster.context())
    for name in ("Kubeconfig", "GenerateClientConfiguration"):
        status, _ = await refusal(
            worker.call(f"/machine.MachineService/{name}", None if name == "Kubeconfig" else request)
        )
        assert status is Status.UNIMPLEMENTED


@with_cluster("cp")
async def test_reboot_has_its_stages(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    node = fleet.nodes["cp"]
    before = await admin.call(
        "/machine.MachineService/Read", new("machine.ReadRequest", path="/proc/sys/kernel/random/boot_id")
    )
    fleet.boot_time = 3  # down for half of it
    told: list[t.Any] = []
    watching = asyncio.create_task(admin.call("/machine.MachineService/Events", enough=3, answers=told))
    await until(lambda: told)
    actor = (await admin.machine("Reboot")).actor_id
    events = await watching
    assert [event.actor_id for event in events[:2]] == ["", actor]
    assert events[1].data.type_url == "talos/runtime/machine.SequenceEvent"
    await until(lambda: not node.up)
    with pytest.raises(ConnectionError):
        await admin.machine("Version")
    await until(lambda: node.stage == "booting")
    await until(lambda: node.stage == "running")
    after = await admin.call(
        "/machine.MachineService/Read", new("machine.ReadRequest", path="/proc/sys/kernel/random/boot_id")
    )
    assert before != after
    assert fleet.etcd.runs_on(node)


@with_cluster("cp", "worker")
async def test_reset_leads_to_maintenance(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    node = fleet.nodes["worker"]
    request = new("machine.ResetRequest", reboot=True)
    for label in ("STATE", "EPHEMERAL"):
        request.system_partitions_to_wipe.add(label=label, wipe=True)
    await Client(node, cluster.context()).machine("Reset", request)
    await until(lambda: node.stage == "maintenance" and node.up)
    await until(lambda: fleet.endpoints["worker"]._server is not None)
    assert await Client(node).stage() == "maintenance"
    unknown = new("machine.ResetRequest")
    unknown.system_partitions_to_wipe.add(label="NOPE", wipe=True)
    status, _ = await refusal(admin.machine("Reset", unknown))
    assert status is Status.UNKNOWN


@with_cluster("cp")
async def test_reset_of_the_whole_disk_leaves_nothing_to_boot(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    await admin.machine("Reset", new("machine.ResetRequest", reboot=True))
    await until(lambda: fleet.nodes["cp"].stage == "off")
    assert fleet.etcd.clusters == []


@pytest.mark.parametrize("sequence", ["reset", "apply", "shutdown"])
def test_down_completes_what_is_under_way(tmp_path: Path, sequence: str) -> None:
    state = StateFolder(tmp_path)
    state.make()

    async def before() -> bytes:
        async with fleet_of("cp", state=state, talos_version="1.13.9") as fleet:
            cluster = Cluster()
            admin = await configured(fleet, cluster)
            data = cluster.config("cp", "controlplane", env={"GRPC_GO_LOG_VERBOSITY_LEVEL": "99"})
            if sequence == "reset":
                request = new("machine.ResetRequest", reboot=True)
                for label in ("STATE", "EPHEMERAL"):
                    request.system_partitions_to_wipe.add(label=label, wipe=True)
                await admin.machine("Reset", request)
            elif sequence == "apply":
                assert (await admin.apply(data)).mode_details.startswith("Applied configuration with a reboot")
            else:
                await admin.machine("Shutdown")
            assert fleet.nodes["cp"].sequence
        return data

    data = run(before())
    record = NodeRecord(**read_json(state.nodes / "cp.json"))
    assert record.powered == (sequence != "shutdown")
    if sequence == "apply":
        assert base64.b64decode(record.active) == base64.b64decode(record.stored) == data
    else:
        assert (record.active == "", read_json(state.etcd) == []) == (sequence == "reset", sequence == "reset")


@with_cluster("cp")
async def test_shutdown(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    await admin.machine("Shutdown")
    await until(lambda: fleet.nodes["cp"].stage == "off")
    fleet.nodes["cp"].power_on()
    await until(lambda: fleet.nodes["cp"].stage == "running")
