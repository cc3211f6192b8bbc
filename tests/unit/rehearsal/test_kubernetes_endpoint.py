# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port 6443 of the simulated control planes: when it is open, for whom, and what it keeps."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import socket
import ssl
import tempfile
import typing as t
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from rehearsal import pki
from rehearsal.calls import read_calls
from rehearsal.configuration import KeyPair
from rehearsal.faults import Fault
from rehearsal.fleet import Fleet
from rehearsal.messages import new
from rehearsal.node import Node
from rehearsal.state import StateFolder
from tests.unit.rehearsal.harness import Client, Cluster, configured, fleet_of, run, until

NAMES = "/api/v1/namespaces/default/configmaps"


def certificate(ca: KeyPair, group: str = "system:masters", lifetime: float = 3600) -> pki.Issued:
    """A client's; a negative lifetime makes one that is over."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = pki._subject([group], "somebody")
    builder = pki._builder(subject, key, datetime.timedelta(days=1))
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=lifetime)
    builder = x509.CertificateBuilder(
        None, subject, key.public_key(), builder._serial_number, end - datetime.timedelta(days=2), end, []
    )
    return pki._signed(builder, key, ca)


class Caller:
    """Calls to one node's API, with a certificate or without."""

    def __init__(self, node: Node, cluster: Cluster, issued: pki.Issued | None) -> None:
        self.url = f"https://{node.address}:6443"
        self.context = ssl.create_default_context(cadata=cluster.kubernetes_ca.crt)
        if issued is not None:
            with tempfile.NamedTemporaryFile() as file:
                file.write(issued.crt + issued.key)
                file.flush()
                self.context.load_cert_chain(file.name)

    async def __call__(self, method: str, path: str, body: t.Any = None, data: t.Any = None) -> tuple[int, t.Any]:
        connector = aiohttp.TCPConnector(ssl=self.context, force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, self.url + path, json=body, data=data) as answer,
        ):
            return answer.status, await answer.json()


@contextlib.asynccontextmanager
async def cluster_of(
    *names: str, control_planes: t.Sequence[str] = ("cp",), state: StateFolder | None = None
) -> t.AsyncIterator[tuple[Fleet, Cluster]]:
    """A fleet with the cluster up and its API answering."""
    async with fleet_of(*names, state=state) as fleet:
        cluster = Cluster()
        await configured(fleet, cluster, control_planes=control_planes)
        await until(lambda: all(fleet.kubernetes.url(fleet.nodes[name]) for name in control_planes))
        yield fleet, cluster


def admin(node: Node, cluster: Cluster) -> Caller:
    return Caller(node, cluster, pki.kubernetes_admin(cluster.kubernetes_ca))


def test_open_while_the_api_server_runs() -> None:
    async def scenario() -> None:
        async with fleet_of("cp", "w") as fleet:
            cluster, node = Cluster(), fleet.nodes["cp"]
            client = await configured(fleet, cluster, ready=False)
            await asyncio.sleep(0.5)
            with pytest.raises(aiohttp.ClientConnectorError):
                await admin(node, cluster)("GET", "/version")
            await client.machine("Bootstrap")
            await until(lambda: fleet.kubernetes.url(node))
            assert fleet.kubernetes.url(node) == f"https://{node.address}:6443"
            assert (await admin(node, cluster)("GET", "/version"))[1]["gitVersion"] == "v1.37.1"
            node.power_off()
            await until(lambda: not fleet.kubernetes.url(node))
            with pytest.raises(aiohttp.ClientConnectorError):
                await admin(node, cluster)("GET", "/version")
            node.power_on()
            await until(lambda: fleet.kubernetes.url(node))
            fleet.add_fault(node, Fault("frozen"))
            await until(lambda: not fleet.kubernetes.url(node))
            assert fleet.kubernetes.url(fleet.nodes["w"]) == ""

    run(scenario())


def test_every_connection_is_told(tmp_path: Path) -> None:
    """Without a word of TLS, too."""
    state = StateFolder(tmp_path)
    state.make()

    async def scenario() -> list[tuple[str, str, int]]:
        async with cluster_of("cp", state=state) as (fleet, cluster):
            node = fleet.nodes["cp"]
            state.calls.unlink()
            fleet.log.close()
            for port in (6443, 50000):
                with socket.create_connection((node.address, port)):
                    await asyncio.sleep(0.1)
            await admin(node, cluster)("GET", "/version")
        calls = read_calls(state.calls)
        assert {(call["node"], call["method"]) for call in calls} == {("cp", "connect")}
        return [(call["port"], call["status"]) for call in calls]

    assert run(scenario()) == [(6443, "accepted"), (50000, "no handshake"), (6443, "accepted")]


def test_who_is_let_in() -> None:
    async def scenario() -> None:
        async with cluster_of("cp") as (fleet, cluster):
            node, ca = fleet.nodes["cp"], cluster.kubernetes_ca
            assert (await admin(node, cluster)("GET", NAMES))[0] == 200
            for issued in (None, certificate(ca, lifetime=-60)):
                status, answer = await Caller(node, cluster, issued)("GET", NAMES)
                assert (status, answer["reason"], answer["message"]) == (401, "Unauthorized", "Unauthorized")
            status, answer = await Caller(node, cluster, certificate(ca, "readers"))("GET", NAMES)
            assert (status, answer["reason"]) == (403, "Forbidden")
            assert answer["message"] == (
                'configmaps is forbidden: User "somebody" cannot list resource "configmaps" in API group "" '
                'in the namespace "default"'
            )
            with pytest.raises((aiohttp.ClientError, ConnectionError, ssl.SSLError)):
                await Caller(node, cluster, certificate(pki.authority("k8s")))("GET", NAMES)

    run(scenario())


def test_what_is_no_request() -> None:
    async def scenario() -> None:
        async with cluster_of("cp") as (fleet, cluster):
            call = admin(fleet.nodes["cp"], cluster)
            assert (await call("GET", "/api/v1/nothings"))[1]["message"] == (
                "the server could not find the requested resource"
            )
            assert (await call("POST", f"{NAMES}/name", {}))[0] == 405
            assert (await call("POST", NAMES, data=b"x" * 3_200_000))[0] in (413, 415)
            big = {"metadata": {"name": "big"}, "data": {"a": "x" * 3_200_000}}
            assert (await call("POST", NAMES, big))[1]["reason"] == "RequestEntityTooLarge"
            assert (await call("POST", NAMES, {"metadata": {"name": "a"}, "kind": "Secret"}))[0] == 400

    run(scenario())


def test_control_planes_share_what_they_keep() -> None:
    async def scenario() -> None:
        async with cluster_of("cp", "second", control_planes=("cp", "second")) as (fleet, cluster):
            first, second = (admin(fleet.nodes[name], cluster) for name in ("cp", "second"))
            await first("POST", NAMES, {"metadata": {"name": "shared"}})
            assert (await second("GET", f"{NAMES}/shared"))[0] == 200

    run(scenario())


def test_a_watch_tells_what_happened_while_it_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    writes = web.StreamResponse.write

    async def scenario() -> list[str]:
        async with cluster_of("cp") as (fleet, cluster):
            caller = admin(fleet.nodes["cp"], cluster)
            left = ["second", "third"]

            async def slow(response: web.StreamResponse, data: bytes) -> None:
                await writes(response, data)
                if left:
                    await caller("POST", NAMES, {"metadata": {"name": left.pop(0)}})

            await caller("POST", NAMES, {"metadata": {"name": "first"}})
            monkeypatch.setattr(web.StreamResponse, "write", slow)
            connector = aiohttp.TCPConnector(ssl=caller.context, force_close=True)
            names: list[str] = []
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.get(f"{caller.url}{NAMES}?watch=true&timeoutSeconds=20") as answer,
            ):
                while "third" not in names and (line := await answer.content.readline()):
                    names.append(json.loads(line)["object"]["metadata"]["name"])
            return names

    names = run(scenario())
    assert names[names.index("first") :] == ["first", "second", "third"]


def test_kept_over_a_restart_and_lost_with_etcd(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    state.make()

    async def scenario() -> None:
        async with cluster_of("cp", state=state) as (fleet, cluster):
            await admin(fleet.nodes["cp"], cluster)("POST", NAMES, {"metadata": {"name": "kept"}})
            records = [node.record for node in fleet.nodes.values()]
        [file] = state.kubernetes.iterdir()
        assert file.stat().st_mode & 0o777 == 0o600
        again = Fleet(records, boot_time=0.2, state=state)
        await again.start()
        try:
            node = again.nodes["cp"]
            await until(lambda: again.kubernetes.url(node))
            assert (await admin(node, cluster)("GET", f"{NAMES}/kept"))[0] == 200
            request = new("machine.ResetRequest", graceful=False, reboot=True)
            for label in ("STATE", "EPHEMERAL"):
                request.system_partitions_to_wipe.add(label=label, wipe=True)
            await Client(node, cluster.context()).machine("Reset", request)
            await until(lambda: not file.exists())
            await until(lambda: node.stage == "maintenance" and again.endpoints["cp"]._server is not None)
            await configured(again, cluster)
            await until(lambda: again.kubernetes.url(node))
            assert (await admin(node, cluster)("GET", f"{NAMES}/kept"))[0] == 404
        finally:
            await again.stop()

    run(scenario())


def test_controllers_outlive_a_namespace_that_goes() -> None:
    async def scenario() -> None:
        async with cluster_of("cp", "w") as (fleet, cluster):
            call = admin(fleet.nodes["cp"], cluster)
            held = {"metadata": {"name": "going", "finalizers": ["attic.example/keep"]}}
            template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}
            spec = {"replicas": 0, "template": template, "selector": {"matchLabels": {"a": "b"}}}
            deployments = "/apis/apps/v1/namespaces/going/deployments"
            await call("POST", "/api/v1/namespaces", {"metadata": {"name": "going"}})
            await call("POST", deployments, {**held, "spec": spec})
            await call("DELETE", "/api/v1/namespaces/going")
            store = fleet.kubernetes.of(fleet.nodes["cp"])
            assert store is not None
            # Its pods can't be made any more, which must not end the work on everything else.
            going = store.store.get(("apps", "deployments"), "going", "going")
            assert going is not None
            live = {key: value for key, value in going["metadata"].items() if key != "deletionTimestamp"}
            store.store.put(("apps", "deployments"), {**going, "metadata": live, "spec": {**spec, "replicas": 1}})
            await asyncio.sleep(0.5)
            await call("POST", "/api/v1/namespaces", {"metadata": {"name": "next"}})
            accounts = "/api/v1/namespaces/next/serviceaccounts/default"
            async with asyncio.timeout(60):
                while (await call("GET", accounts))[0] != 200:
                    await asyncio.sleep(0.05)

    run(scenario())


def conditions(fleet: Fleet) -> dict[str, str]:
    """What each Node object says of Ready."""
    found = fleet.kubernetes.of(fleet.nodes["cp"])
    assert found is not None
    return {
        node["metadata"]["name"]: next(each["status"] for each in node["status"]["conditions"])
        for node in found.store.all(("", "nodes"))
        if node.get("status", {}).get("conditions")
    }


def test_nodes_are_named_as_talos_makes_it_of_the_hostname() -> None:
    async def scenario() -> None:
        async with fleet_of("cp", "Talos_W1", "whole") as fleet:
            cluster, cp, worker, whole = Cluster(), *fleet.nodes.values()
            await Client(cp).apply(cluster.config("Talos-CP.example.net", "controlplane"))
            await Client(worker).apply(cluster.config("Talos_W1"))
            await Client(whole).apply(cluster.config("w2.example.net", kubelet={"registerWithFQDN": True}))
            await until(lambda: all(node.services_up and not node._tasks for node in fleet.nodes.values()))
            client = Client(cp, cluster.context())
            await client.machine("Bootstrap")
            await until(
                lambda: conditions(fleet) == dict.fromkeys(("talos-cp", "talos-w1", "w2.example.net"), "True"), 8
            )
            status = await client.spec("network", "HostnameStatuses.net.talos.dev", "hostname")
            assert status == {"hostname": "Talos-CP", "domainname": "example.net"}
            assert (await client.spec("k8s", "Nodenames.kubernetes.talos.dev", "nodename"))["nodename"] == "talos-cp"
            pods = [pod.metadata.id for pod in await client.list("k8s", "StaticPodStatuses.kubernetes.talos.dev")]
            assert pods[0] == "kube-system/kube-apiserver-talos-cp"
            member = await client.spec("cluster", "Members.cluster.talos.dev", "talos-cp")
            assert member["hostname"] == "Talos-CP.example.net"
            pem = await asyncio.to_thread(ssl.get_server_certificate, (cp.address, 50000))
            names = x509.load_pem_x509_certificate(pem.encode()).extensions.get_extension_for_class(
                x509.SubjectAlternativeName
            )
            assert names.value.get_values_for_type(x509.DNSName) == ["Talos-CP", "Talos-CP.example.net"]

    run(scenario())


def test_a_node_that_is_gone_is_not_ready() -> None:
    """Renamed, wiped, and back with its first name."""

    async def scenario() -> None:
        async with cluster_of("cp", "w") as (fleet, cluster):
            worker = fleet.nodes["w"]
            await until(lambda: conditions(fleet) == {"cp": "True", "w": "True"})
            await Client(worker, cluster.context()).apply(cluster.config("renamed"))
            await until(lambda: conditions(fleet) == {"cp": "True", "w": "Unknown", "renamed": "True"})
            worker.start_sequence("reset", then=worker.forget_configuration)
            await until(lambda: conditions(fleet) == {"cp": "True", "w": "Unknown", "renamed": "Unknown"})
            await until(lambda: fleet.endpoints["w"]._server is not None and not worker.configured)
            await Client(worker).apply(cluster.config("renamed"))
            await until(lambda: conditions(fleet) == {"cp": "True", "w": "Unknown", "renamed": "True"})

    run(scenario())


@pytest.mark.parametrize("how", ["half-open", "frozen", "no-route", "power off"])
def test_a_silent_node_ends_no_connection(how: str) -> None:
    async def scenario() -> None:
        async with cluster_of("cp", "w") as (fleet, cluster):
            node = fleet.nodes["cp"]
            context = admin(node, cluster).context
            reader, writer = await asyncio.open_connection(node.address, 6443, ssl=context)
            writer.write(b"GET /api/v1/namespaces?watch=true HTTP/1.1\r\nHost: cp\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")

            async def read_to_the_end() -> None:
                while await reader.read(1 << 16):
                    pass

            if how == "power off":
                node.power_off()
            else:
                fleet.add_fault(node, Fault(how))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(read_to_the_end(), 0.5)
            assert not fleet.kubernetes.url(node)
            if how == "frozen":
                again, asking = await asyncio.open_connection(node.address, 6443, ssl=context)
                asking.write(b"GET /version HTTP/1.1\r\nHost: cp\r\n\r\n")
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(again.read(1), 0.5)
            if how == "power off":
                node.power_on()
            else:
                fleet.clear_faults([node])
            writer.write(b"\r\n")
            with pytest.raises(ConnectionResetError):
                await read_to_the_end()
            await until(lambda: fleet.kubernetes.url(node))
            assert (await admin(node, cluster)("GET", "/version"))[0] == 200

    run(scenario())
