# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault of the table does what the table says, and ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import socket
import ssl
import time
import typing as t
from pathlib import Path

import pytest
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.config import Configuration
from grpclib.const import Status
from grpclib.exceptions import StreamTerminatedError

from ansible_collections.homelab.talos.plugins.module_utils import _api
from ansible_collections.homelab.talos.plugins.module_utils._errors import NoAnswer
from rehearsal.faults import FAULTS, Fault, NodeFaults
from rehearsal.fleet import Fleet
from rehearsal.kubernetes.api import Terms
from rehearsal.kubernetes.kinds import built_in
from rehearsal.messages import message_class
from rehearsal.state import StateFolder
from rehearsal.unroutable import Unroutable
from tests.unit.rehearsal.harness import (
    MACHINE_STATUS,
    Client,
    Cluster,
    configured,
    fleet_of,
    insecure,
    network,
    refusal,
    run,
    until,
)

SHORT = 0.5
QUIET = ("half-open", "frozen", "no-route", "power off")
BROKEN = (OSError, StreamTerminatedError)
Test = t.Callable[[Fleet, Cluster, Client], t.Coroutine[t.Any, t.Any, None]]
TESTS: dict[str, Test] = {}


def of(fault: str) -> t.Callable[[Test], Test]:
    def decorate(test: Test) -> Test:
        TESTS[fault] = test
        return test

    return decorate


def test_each_fault_has_its_test() -> None:
    assert set(TESTS) == set(FAULTS)


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name: str) -> None:
    """On a control plane that is configured, not bootstrapped; beside it a node that must not notice."""

    async def whole() -> None:
        async with fleet_of("cp", "beside") as fleet:
            cluster = Cluster()
            admin = await configured(fleet, cluster, ready=False)
            await TESTS[name](fleet, cluster, admin)
            beside = Client(fleet.nodes["beside"], cluster.context())
            assert await beside.stage() == "running"
            fleet.clear_faults(fleet.nodes.values())
            node = fleet.nodes["cp"]
            await until(lambda: node.up and fleet.endpoints["cp"]._server is not None)
            assert (await admin.machine("Version")).version.tag == "v1.14.2"

    run(whole())


def test_a_fault_that_was_used_up_stays_so(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    state.make()

    async def whole() -> None:
        async with fleet_of("pi", state=state) as fleet:
            client = Client(fleet.nodes["pi"])
            for name in ("permission-denied", "certificate-required-broken-pipe"):
                fleet.add_fault(fleet.nodes["pi"], Fault.from_words(name, {"times": "1"}))
            with pytest.raises(BROKEN):
                await client.machine("Version")
            assert (await refusal(client.machine("Version")))[0] is Status.PERMISSION_DENIED
        async with fleet_of("pi", state=state) as fleet:
            assert fleet.nodes["pi"].faults.all == []
            await client.machine("Version")

    run(whole())


def test_nobody_without_a_certificate_gets_in_beside_a_broken_connection() -> None:
    async def whole() -> None:
        async with fleet_of("cp") as fleet:
            await configured(fleet, Cluster(), ready=False)
            put(fleet, "certificate-required-broken-pipe", times="1")
            address, taken = fleet.nodes["cp"].address, fleet.endpoints["cp"]._connections
            plain = [await asyncio.open_connection(address, 50000) for _ in range(2)]
            await until(lambda: len(taken) == 2)
            for _, writer in plain:
                with contextlib.suppress(OSError):
                    await writer.start_tls(insecure())
            await until(lambda: not taken, 10)
            assert not fleet.nodes["cp"].faults

    run(whole())


def put(fleet: Fleet, name: str, **words: str) -> None:
    fleet.add_fault(fleet.nodes["cp"], Fault.from_words(name, words))


@of("refused")
async def _(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    put(fleet, "refused")
    await until(lambda: fleet.endpoints["cp"]._server is None)
    with pytest.raises(ConnectionRefusedError):
        await admin.machine("Version")


@of("no-route")
async def _(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    put(fleet, "no-route")
    await until(lambda: fleet.endpoints["cp"]._unroutable)
    said = ""
    try:
        await asyncio.wait_for(admin.machine("Version"), SHORT)
    except TimeoutError:
        said = "timed out"  # without root
    except OSError as problem:
        said = errno.errorcode[problem.errno or 0]
    assert said in ("EHOSTUNREACH", "timed out")


@of("half-open")
async def _(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    put(fleet, "half-open")
    _, writer = await asyncio.open_connection(admin.address, 50000)  # TCP is taken
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(admin.machine("Version"), SHORT)
    writer.close()


@of("frozen")
async def _(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    put(fleet, "frozen")
    _, writer = await asyncio.open_connection(
        admin.address, 50000, ssl=admin.context, server_hostname=admin.address
    )  # TLS is shaken
    with pytest.raises(TimeoutError):
        await admin.machine("Version", seconds=SHORT)
    writer.transport.abort()


@of("slow")
async def _(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    put(fleet, "slow", delay="3600", times="1")
    waiting = asyncio.create_task(admin.machine("Version"))
    await until(lambda: not fleet.nodes["cp"].faults)
    await admin.machine("Version")
    assert not waiting.done()
    waiting.cancel()
    put(fleet, "slow", delay="0.1", times="1")
    await admin.machine("Version")
    assert not fleet.nodes["cp"].faults


@of("hang")
async def _(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    put(fleet, "hang", method="ServiceList")
    await admin.machine("Version")
    with pytest.raises(TimeoutError):
        await admin.machine("ServiceList", seconds=SHORT)


@of("unknown-authority")
async def _(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    put(fleet, "unknown-authority")
    with pytest.raises(ssl.SSLCertVerificationError):
        await admin.machine("Version")


@of("certificate-required-broken-pipe")
async def _(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    put(fleet, "certificate-required-broken-pipe")
    with pytest.raises(BROKEN):
        await admin.machine("Version")


@of("permission-denied")
async def _(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    put(fleet, "permission-denied", times="2")
    for _ in range(2):
        assert await refusal(admin.machine("Version")) == (Status.PERMISSION_DENIED, "not authorized")
    await admin.machine("Version")


@of("not-ready-to-bootstrap")
async def _(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    put(fleet, "not-ready-to-bootstrap", times="1")
    text = "bootstrap is not available yet"
    assert await refusal(admin.machine("Bootstrap")) == (Status.FAILED_PRECONDITION, text)
    await admin.machine("Bootstrap")


@of("time-not-in-sync")
async def _(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    put(fleet, "time-not-in-sync")
    text = "time is not in sync yet"
    assert await refusal(admin.machine("Bootstrap")) == (Status.FAILED_PRECONDITION, text)
    status = await admin.spec(*MACHINE_STATUS)
    assert {"name": "time", "reason": "time is not synced"} in status["status"]["unmetConditions"]
    assert not (await admin.spec("runtime", "TimeStatuses.v1alpha1.talos.dev", "node"))["synced"]


@of("already-bootstrapped")
async def _(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    put(fleet, "already-bootstrapped")
    assert (await refusal(admin.machine("Bootstrap")))[0] is Status.ALREADY_EXISTS
    assert fleet.etcd.clusters == []


@of("no-quorum")
async def _(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    await admin.machine("Bootstrap")
    await admin.machine("EtcdMemberList")
    put(fleet, "no-quorum")
    assert await refusal(admin.machine("EtcdMemberList")) == (Status.UNKNOWN, "etcdserver: no leader")


@of("reboot-in-call")
async def _(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    node = fleet.nodes["cp"]
    boot = node.record.boot_id
    put(fleet, "reboot-in-call", method="ServiceList")
    await admin.machine("Version")
    with pytest.raises(BROKEN):
        await admin.machine("ServiceList")
    await until(lambda: node.record.boot_id != boot)


@of("lost-answer")
async def _(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    data = cluster.config("renamed", "controlplane")
    put(fleet, "lost-answer")
    await admin.apply(data, dry_run=True)
    with pytest.raises(BROKEN):
        await admin.apply(data)
    assert await admin.config() == data
    await admin.apply(data)
    put(fleet, "lost-answer", method="Bootstrap")
    with pytest.raises(BROKEN):
        await admin.machine("Bootstrap")
    assert [member.hostname for member in (await admin.machine("EtcdMemberList")).members] == ["renamed"]


@of("old-config")
async def _(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    old, node = await admin.config(), fleet.nodes["cp"]
    put(fleet, "old-config")
    # The same bytes twice are one configuration.
    for _each in range(2):
        await admin.apply(cluster.config("cp", "controlplane", nodeLabels={"colour": "blue"}))
    boot = node.record.boot_id
    await admin.machine("Reboot")
    await until(lambda: node.record.boot_id != boot and node.services_up)
    await until(lambda: fleet.endpoints["cp"]._server is not None)
    assert await admin.config() == old == await admin.config("persistent")


@of("other-machine")
async def _(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    put(fleet, "other-machine")
    stranger = Client(fleet.nodes["cp"])
    assert await stranger.stage() == "maintenance"
    link = await stranger.spec("network", "LinkStatuses.net.talos.dev", "end0")
    assert link["hardwareAddr"] != fleet.nodes["cp"].record.mac
    with pytest.raises(ssl.SSLCertVerificationError):
        await admin.machine("Version")


@of("no-reboot-completes")
async def _(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    put(fleet, "no-reboot-completes")
    await admin.machine("Reboot")
    await until(lambda: not fleet.nodes["cp"].up)
    await asyncio.sleep(SHORT)
    with pytest.raises(ConnectionRefusedError):
        await admin.machine("Version")


@of("pods-never-ready")
async def _(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
    await admin.machine("Bootstrap")
    node = fleet.nodes["cp"]
    await until(lambda: fleet.kubernetes.url(node))
    kubernetes = fleet.kubernetes.of(node)
    assert kubernetes is not None
    put(fleet, "pods-never-ready")
    spec = {"nodeSelector": {"kubernetes.io/hostname": "cp"}, "tolerations": [{"operator": "Exists"}], "containers": []}
    template = {"metadata": {"labels": {"app": "stuck"}}, "spec": spec}
    stuck = {"metadata": {"name": "stuck"}, "spec": {"template": template}}
    deployments, api = built_in("deployments"), kubernetes.api
    api.create(deployments, "default", stuck, Terms())

    def phases() -> list[str]:
        return [pod["status"]["phase"] for pod in api.select(built_in("pods"), "default") if "status" in pod]

    def ready() -> int:
        return int(api.get(deployments, "default", "stuck").get("status", {}).get("readyReplicas", 0))

    await until(lambda: phases() == ["Running"])
    await asyncio.sleep(SHORT)
    assert ready() == 0
    fleet.clear_faults([node])
    await until(lambda: ready() == 1)


def quiet(fleet: Fleet, how: str) -> None:
    if how == "power off":
        fleet.nodes["pi"].power_off()
    else:
        fleet.add_fault(fleet.nodes["pi"], Fault.from_words(how, {}))


@pytest.mark.parametrize("how", QUIET)
def test_an_open_connection_is_left_without_a_word(how: str) -> None:
    """Neither a reset nor a farewell comes: only the client's own deadline or keepalive ends the call."""

    async def whole() -> None:
        async with fleet_of("pi") as fleet:
            address = fleet.nodes["pi"].address
            async with Channel(address, 50000, ssl=insecure()) as channel:
                types = (message_class("google.protobuf.Empty"), message_class("machine.VersionResponse"))
                method = UnaryUnaryMethod(channel, "/machine.MachineService/Version", *types)
                await method(types[0](), timeout=60)
                quiet(fleet, how)
                with pytest.raises(TimeoutError):
                    await method(types[0](), timeout=SHORT)
            fleet.clear_faults(fleet.nodes.values())
            fleet.nodes["pi"].power_on()
            await until(lambda: fleet.endpoints["pi"]._server is not None)
            assert await Client(fleet.nodes["pi"]).stage() == "maintenance"

    run(whole())


@pytest.mark.parametrize(("keepalive", "told"), [(False, "no answer within"), (True, "nothing comes from the node")])
def test_the_product_gives_up_an_apply_that_the_power_cut(
    monkeypatch: pytest.MonkeyPatch, keepalive: bool, told: str
) -> None:
    monkeypatch.setattr(_api, "APPLY_SECONDS", 60.0 if keepalive else SHORT)
    if keepalive:
        quick = Configuration(_keepalive_time=0.1, _keepalive_timeout=0.2)
        monkeypatch.setattr(_api, "Configuration", lambda **_: quick)

    async def whole() -> None:
        async with fleet_of("cp") as fleet:
            node, cluster = fleet.nodes["cp"], Cluster()
            await configured(fleet, cluster, ready=False)
            before = node.record.stored
            async with _api.connect(_api.Endpoint("cp", node.address), cluster.context()) as connected:
                await connected.version()
                node.power_off()
                with pytest.raises(NoAnswer, match=told):
                    await connected.apply_configuration(cluster.config("renamed", "controlplane"), mode="auto")
            assert node.record.stored == before

    run(whole())


def test_a_fault_begins_some_time_after_a_call() -> None:
    async def whole() -> None:
        async with fleet_of("pi") as fleet:
            node = fleet.nodes["pi"]
            client = Client(node)
            fault = Fault.from_words("refused", {"after": "ServiceList", "delay": "3600"})
            fleet.add_fault(node, fault)
            await client.machine("ServiceList")
            await until(lambda: fault.armed)
            await client.machine("Version")
            fault.begins -= 3600
            await until(lambda: fleet.endpoints["pi"]._server is None)

    run(whole())


@pytest.mark.parametrize(("words", "refusals"), [({"times": "2"}, 2), ({}, 4)])
def test_a_role_is_refused_for_a_while_after_an_apply(words: dict[str, str], refusals: int) -> None:
    async def whole() -> None:
        async with fleet_of("cp") as fleet:
            cluster = Cluster()
            admin = await configured(fleet, cluster, ready=False)
            fault = Fault.from_words("permission-denied", {"after": "ApplyConfiguration", **words})
            fleet.add_fault(fleet.nodes["cp"], fault)
            await admin.machine("Version")
            await admin.apply(cluster.config("renamed", "controlplane"))
            for _ in range(refusals):
                assert await refusal(admin.machine("Version")) == (Status.PERMISSION_DENIED, "not authorized")
            fleet.clear_faults([] if words else fleet.nodes.values())
            await admin.machine("Version")

    run(whole())


def test_no_route_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # no "ip" command: the queue is filled instead

    async def whole() -> None:
        async with fleet_of("pi") as fleet:
            fleet.add_fault(fleet.nodes["pi"], Fault("no-route"))
            await until(lambda: fleet.endpoints["pi"]._unroutable)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(Client(fleet.nodes["pi"]).machine("Version"), SHORT)
            fleet.clear_faults(fleet.nodes.values())
            await until(lambda: fleet.endpoints["pi"]._server is not None)
            assert await Client(fleet.nodes["pi"]).stage() == "maintenance"

    run(whole())


@pytest.mark.skipif(os.getuid() != 0, reason="routes are root's")
def test_a_killed_rehearsal_left_no_route() -> None:
    async def whole() -> None:
        Unroutable(f"{network()}.11", 50000)
        async with fleet_of("pi") as fleet:
            assert await Client(fleet.nodes["pi"]).stage() == "maintenance"

    run(whole())


def test_a_port_that_is_taken_for_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    async def whole() -> None:
        async with fleet_of("pi", "beside") as fleet:
            node = fleet.nodes["pi"]
            fleet.add_fault(node, Fault("refused"))
            await until(lambda: fleet.endpoints["pi"]._server is None)
            with socket.create_server((node.address, 50000)):
                fleet.clear_faults([node])
                await asyncio.sleep(0.3)
                fleet.add_fault(fleet.nodes["beside"], Fault("refused", begins=time.time() + 0.1))
                await until(lambda: fleet.endpoints["beside"]._server is None)
            await until(lambda: fleet.endpoints["pi"]._server is not None)
            assert await Client(node).stage() == "maintenance"
            assert capsys.readouterr().err.startswith(f"can't listen at {node.address}:50000: ")

    run(whole())


def test_after_and_in_stages() -> None:
    async def whole() -> None:
        async with fleet_of("pi") as fleet:
            node = fleet.nodes["pi"]
            client = Client(node)
            fleet.add_fault(node, Fault.from_words("refused", {"after": "ServiceList"}))
            fleet.add_fault(node, Fault.from_words("permission-denied", {"method": "Version"}, ["running"]))
            await client.machine("Version")  # not running: not denied
            await client.machine("ServiceList")
            await until(lambda: fleet.endpoints["pi"]._server is None)
            with pytest.raises(ConnectionRefusedError):
                await client.machine("Version")

    run(whole())


def test_words() -> None:
    fault = Fault.from_words("hang", {"times": "2", "method": "Bootstrap"}, ["booting"])
    assert (fault.times, fault.method, fault.stages) == (2, "Bootstrap", ("booting",))
    assert Fault.from_json(fault.as_json()) == fault
    with pytest.raises(ValueError, match="unknown fault 'hangs'; known: refused, "):
        Fault.from_words("hangs", {})


WRONG = {
    "hang time=1": "hang takes no setting 'time'; it takes: method, times, after, delay",
    "frozen method=Version": "frozen takes no setting 'method'; it takes: after, delay",
    "no-quorum times=1": "no-quorum takes no setting 'times'; it takes: after, delay",
    "hang method=Versoin": "method=Versoin: no such call; known: ApplyConfiguration, ",
    "refused after=Nothing": "after=Nothing: no such call; known: ",
    "refused delay=1": "delay=1: refused begins so long after a call; name it with after=NAME",
    "hang times=many": "times=many: not a number",
}


@pytest.mark.parametrize("words", WRONG)
def test_settings_that_would_be_ignored_are_refused(words: str) -> None:
    name, setting = words.split()
    with pytest.raises(ValueError, match=f"^{re.escape(WRONG[words])}"):
        Fault.from_words(name, dict([setting.split("=")]))


@pytest.mark.parametrize("name", FAULTS)
def test_every_setting_of_a_fault_is_taken(name: str) -> None:
    words = {"times": "1", "method": "Version", "after": "Version", "delay": "0.1"}
    taken = {key: value for key, value in words.items() if key in FAULTS[name].settings}
    fault = Fault.from_words(name, taken)
    assert not fault.applies("running", "Version")
    fault.called("Version")
    assert fault.applies("running", "Version") == (name == "slow")
    fault.begins -= 0.1
    assert fault.applies("running", "Version")


def test_times_are_counted_for_the_method_only() -> None:
    faults = NodeFaults([Fault("hang", times=1, method="Bootstrap")])
    assert faults.take("hang", "booting", "Version") is None
    assert faults.take("hang", "booting", "Bootstrap")
    assert not faults
