# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One etcd cluster, never two. Faults of the designated control plane are in test_faults.py."""

from __future__ import annotations

import asyncio
import time
import typing as t

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import _bootstrap
from ansible_collections.homelab.talos.plugins.module_utils import _errors as errors
from ansible_collections.homelab.talos.plugins.module_utils._bootstrap import RefusedBootstrap, ensure_bootstrapped
from ansible_collections.homelab.talos.plugins.module_utils._waiting import WaitedTooLong
from rehearsal.node import Node
from tests import simulated
from tests.simulated import Simulation, simulation
from tests.unit.rehearsal.harness import Cluster, until

CONTROL_PLANES = ("cp1", "cp2", "cp3")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated.hurry(monkeypatch)


def with_control_planes(test: t.Callable[[Simulation], t.Awaitable[None]], *configured: str) -> None:
    async def whole() -> None:
        async with simulation(*CONTROL_PLANES, control_planes=3) as nodes:
            for name in configured:
                await nodes.converge(name)
            await test(nodes)
            assert len(nodes.fleet.etcd.clusters) <= 1

    asyncio.run(whole())


def test_once_and_never_again() -> None:
    async def test(nodes: Simulation) -> None:
        assert await nodes.bootstrap()
        assert not await nodes.bootstrap()
        await nodes.healthy()
        assert not await nodes.bootstrap()
        assert nodes.calls("Bootstrap", "OK") == ["cp1"]
        [cluster] = nodes.fleet.etcd.clusters
        assert [member.voter for member in cluster.members] == [True] * 3

    with_control_planes(test, *CONTROL_PLANES)


def test_others_in_maintenance_are_no_members() -> None:
    async def test(nodes: Simulation) -> None:
        assert await nodes.bootstrap()

    with_control_planes(test, "cp1")


def test_check_mode_tells_and_does_nothing() -> None:
    async def test(nodes: Simulation) -> None:
        designated, *others = nodes.control_planes
        assert await ensure_bootstrapped(designated, others, nodes.context, seconds=3, check=True)
        await nodes.converge("cp1")
        assert await ensure_bootstrapped(designated, others, nodes.context, seconds=3, check=True)
        assert nodes.calls("Bootstrap") == []

    with_control_planes(test)


def test_a_control_plane_in_maintenance_says_so() -> None:
    async def test(nodes: Simulation) -> None:
        with pytest.raises(RefusedBootstrap, match="cp1: the control plane is in maintenance") as caught:
            await nodes.bootstrap()
        assert "--tags apply" in caught.value.remedy

    with_control_planes(test)


def test_a_control_plane_of_another_cluster_says_so() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.pki = Cluster()
        nodes.context = nodes.pki.context()
        with pytest.raises(RefusedBootstrap, match="not by this cluster's PKI"):
            await nodes.bootstrap()
        assert nodes.calls("Bootstrap") == []

    with_control_planes(test, *CONTROL_PLANES)


@pytest.mark.parametrize("fault", ["refused", "frozen", "permission-denied"])
def test_it_refuses_while_another_control_plane_does_not_tell(fault: str) -> None:
    async def test(nodes: Simulation) -> None:
        nodes.fault("cp2", fault)
        await asyncio.sleep(0.05)
        with pytest.raises(RefusedBootstrap, match="cp1: cp2 does not tell whether it has etcd members") as caught:
            await nodes.bootstrap(1)
        assert caught.value.remedy.startswith("Start cp2")
        assert nodes.calls("Bootstrap") == []
        await nodes.clear()
        assert await nodes.bootstrap()

    with_control_planes(test, *CONTROL_PLANES)


def test_another_control_plane_that_only_reboots_is_waited_for() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.fault("cp2", "refused")
        await asyncio.sleep(0.05)
        asyncio.get_running_loop().call_later(1, nodes.fleet.clear_faults, list(nodes.fleet.nodes.values()))
        assert await nodes.bootstrap()

    with_control_planes(test, *CONTROL_PLANES)


def wipe(node: Node) -> None:
    """As a reset does it: etcd is told."""
    node.power_off()
    node.forget_configuration()
    node.forget_etcd()
    node.power_on()


def test_a_fresh_designated_control_plane_joins_the_others() -> None:
    async def test(nodes: Simulation) -> None:
        await nodes.everything()
        before = nodes.fleet.etcd.clusters[0].id
        wipe(nodes.fleet.nodes["cp1"])
        await until(lambda: nodes.fleet.nodes["cp1"].stage == "maintenance")
        nodes.log.entries.clear()
        await nodes.converge("cp1")
        assert not await nodes.bootstrap()
        await nodes.healthy()
        assert nodes.calls("Bootstrap") == []
        [cluster] = nodes.fleet.etcd.clusters
        assert (cluster.id, len(cluster.members)) == (before, 3)

    with_control_planes(test, *CONTROL_PLANES)


def test_check_mode_does_not_wait_for_a_fresh_control_plane_to_join() -> None:
    async def test(nodes: Simulation) -> None:
        await nodes.everything()
        designated, *others = nodes.control_planes
        wipe(nodes.fleet.nodes["cp1"])
        await until(lambda: nodes.fleet.nodes["cp1"].stage == "maintenance")
        # Whoever waits for it waits until pytest gives up.
        assert not await ensure_bootstrapped(designated, others, nodes.context, seconds=3600, check=True)

    with_control_planes(test, *CONTROL_PLANES)


def test_it_joins_others_that_are_booting_and_not_members_yet() -> None:
    """After a power cut etcd is not up anywhere, and a bootstrap now would make a second cluster."""

    async def test(nodes: Simulation) -> None:
        await nodes.everything()
        before = nodes.fleet.etcd.clusters[0].id
        wipe(nodes.fleet.nodes["cp1"])
        await until(lambda: nodes.fleet.nodes["cp1"].stage == "maintenance")
        await nodes.converge("cp1")
        # They boot for seconds more.
        for name in ("cp2", "cp3"):
            nodes.fleet.nodes[name].booted_at = time.time() + 2
        assert not any(nodes.fleet.etcd.runs_on(node) for node in nodes.fleet.nodes.values())
        nodes.log.entries.clear()
        assert not await nodes.bootstrap()
        assert nodes.calls("Bootstrap") == []
        [cluster] = nodes.fleet.etcd.clusters
        assert cluster.id == before

    with_control_planes(test, *CONTROL_PLANES)


def test_it_waits_until_the_node_is_ready() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.fault("cp1", "not-ready-to-bootstrap", times="3")
        assert await nodes.bootstrap()
        assert len(nodes.calls("Bootstrap", "FAILED_PRECONDITION")) >= 3
        assert nodes.calls("Bootstrap", "OK") == ["cp1"]

    with_control_planes(test, *CONTROL_PLANES)


def test_a_bootstrap_that_never_arrived_is_called_again() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.fault("cp1", "reboot-in-call", method="Bootstrap")
        assert await nodes.bootstrap()
        assert nodes.calls("Bootstrap", "(connection broken)") == ["cp1"]
        assert nodes.calls("Bootstrap", "OK") == ["cp1"]

    with_control_planes(test, *CONTROL_PLANES)


def test_a_member_that_is_not_healthy_is_waited_for_and_nothing_is_changed() -> None:
    async def test(nodes: Simulation) -> None:
        await nodes.converge("cp1")
        assert await nodes.bootstrap()
        designated, *others = nodes.control_planes
        nodes.fault("cp1", "no-quorum")
        assert not await ensure_bootstrapped(designated, others, nodes.context, seconds=3, check=True)
        assert (await nodes.plan("cp1")).etcd_problems == [
            "cp1: it is a member of etcd that is not healthy (context deadline exceeded); etcdserver: no leader"
        ]
        with pytest.raises(WaitedTooLong, match=r"not empty.*not healthy \(context.*etcdserver: no leader"):
            await nodes.bootstrap(0.2)
        healed = asyncio.get_running_loop().call_later(1, nodes.fleet.clear_faults, list(nodes.fleet.nodes.values()))
        assert not await nodes.bootstrap()
        assert healed.when() < asyncio.get_running_loop().time()
        assert nodes.calls("Bootstrap", "OK") == ["cp1"]

    with_control_planes(test)


def test_the_call_is_not_believed_but_the_members() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.fault("cp1", "already-bootstrapped")
        with pytest.raises(WaitedTooLong, match=r"etcd data directory is not empty.*is no member yet") as caught:
            await nodes.bootstrap(1)
        assert "talosctl reset" in caught.value.remedy

    with_control_planes(test, *CONTROL_PLANES)


@pytest.mark.parametrize("kind", [errors.Unimplemented, errors.CertificateTime, errors.InvalidRequest])
def test_what_does_not_pass_by_itself_is_not_waited_for(
    kind: type[errors.TalosError], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def members(*_where: object) -> t.NoReturn:
        raise kind("so it is", node="cp1")

    monkeypatch.setattr(_bootstrap.etcd, "members", members)

    async def test(nodes: Simulation) -> None:
        with pytest.raises(kind):
            await nodes.bootstrap(60)

    with_control_planes(test, "cp1")
