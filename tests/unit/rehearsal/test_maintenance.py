# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node in maintenance: who may do what, and how it comes out of it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
import ssl
import typing as t

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.const import Status

from rehearsal.endpoint import Endpoint
from rehearsal.fleet import Fleet
from rehearsal.messages import message_class, new
from tests.unit.rehearsal.harness import Client, Cluster, configured, fleet_of, insecure, refusal, run, swapped, until

CONFIGS = ("config", "MachineConfigs.config.talos.dev")


def test_says_who_it_is() -> None:
    async def test() -> None:
        async with fleet_of("pi", disk_size=64_000_000_000) as fleet:
            client = Client(fleet.nodes["pi"])
            version = await client.machine("Version")
            assert version.version.tag == "v1.14.2"
            assert not version.HasField("features")
            assert await client.stage() == "maintenance"
            link = await client.spec("network", "LinkStatuses.net.talos.dev", "end0")
            assert (link["hardwareAddr"], link["driver"]) == ("dc:a6:32:00:00:00", "bcmgenet")
            disk = await client.spec("runtime", "Disks.block.talos.dev", "mmcblk0")
            assert disk["size"] == 64_000_000_000

    run(test())


def test_a_reader_only() -> None:
    async def test() -> None:
        async with fleet_of("pi") as fleet:
            client = Client(fleet.nodes["pi"])
            denied = (Status.PERMISSION_DENIED, "not authorized")
            assert await refusal(client.list(*CONFIGS)) == denied
            for name in ("Reboot", "Reset", "Bootstrap", "Kubeconfig"):
                assert await refusal(client.call(f"/machine.MachineService/{name}")) == denied

    run(test())


def test_forwards_nothing() -> None:
    async def test() -> None:
        async with fleet_of("pi", "other") as fleet:
            client, other = Client(fleet.nodes["pi"]), fleet.nodes["other"].address
            asked = refusal(client.machine("Version", metadata={"node": other}))
            assert await asked == (Status.PERMISSION_DENIED, "no request forwarding")
            own = await client.machine("Version", metadata={"node": fleet.nodes["pi"].address})
            assert own.version.tag == "v1.14.2"

    run(test())


def test_a_worker_forwards_nothing() -> None:
    async def test() -> None:
        async with fleet_of("cp", "worker") as fleet:
            cluster, cp, worker = Cluster(), fleet.nodes["cp"], fleet.nodes["worker"]
            await configured(fleet, cluster, ready=False)
            client = Client(worker, cluster.context())
            for metadata in ({"node": cp.address}, {"nodes": cp.address}, [("nodes", cp.address), ("nodes", "worker")]):
                asked = refusal(client.machine("Version", metadata=metadata))
                assert await asked == (Status.PERMISSION_DENIED, "no request forwarding")
            assert not (await client.machine("Version", metadata={"nodes": worker.address})).metadata.hostname
            there = await Client(cp, cluster.context()).machine("Version", metadata={"nodes": worker.address})
            assert there.metadata.hostname == worker.address

    run(test())


def test_dry_run_shows_the_whole_file_and_takes_nothing() -> None:
    async def test() -> None:
        async with fleet_of("pi") as fleet:
            answer = await Client(fleet.nodes["pi"]).apply(Cluster().config("pi"), dry_run=True)
            assert "+version: v1alpha1\n" in answer.mode_details
            assert "(skipped in dry-run)" in answer.mode_details
            assert fleet.nodes["pi"].stage == "maintenance"

    run(test())


def test_apply_swaps_the_certificate_and_keeps_the_bytes() -> None:
    async def test() -> None:
        async with fleet_of("cp") as fleet:
            cluster, node = Cluster(), fleet.nodes["cp"]
            data = cluster.config("cp", "controlplane")
            answer = await Client(node).apply(data)
            assert (answer.mode, answer.mode_details) == (2, "Applied configuration without a reboot")
            admin = Client(node, cluster.context())
            await swapped(node)
            assert await admin.stage() == "booting"
            assert await admin.config("v1alpha1") == data == await admin.config("persistent")
            with pytest.raises(Exception, match=r"CERTIFICATE_REQUIRED|Connection lost|onnection reset|roken pipe"):
                await Client(node).machine("Version")

    run(test())


def read_insecurely(address: str) -> None:
    with socket.create_connection((address, 50000), timeout=60) as plain, insecure().wrap_socket(plain) as tls:
        tls.read()


def test_an_insecure_client_of_a_configured_node_is_told_why() -> None:
    async def test() -> None:
        async with fleet_of("cp") as fleet:
            node = fleet.nodes["cp"]
            await Client(node).apply(Cluster().config("cp", "controlplane"))
            await swapped(node)
            with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
                await asyncio.to_thread(read_insecurely, node.address)

    run(test())


def test_a_worker_has_no_api_until_a_control_plane_can_sign() -> None:
    async def test() -> None:
        async with fleet_of("cp", "worker") as fleet:
            cluster, worker = Cluster(), fleet.nodes["worker"]
            await Client(worker).apply(cluster.config("worker"))
            admin = Client(worker, cluster.context())
            await until(lambda: fleet.endpoints["worker"]._server is None)
            with pytest.raises(ConnectionRefusedError):
                await admin.machine("Version")
            await Client(fleet.nodes["cp"]).apply(cluster.config("cp", "controlplane"))
            await until(lambda: fleet.endpoints["worker"]._server is not None)
            assert (await admin.machine("Version")).features.rbac

    run(test())


NO_PEM = {"crt": base64.b64encode(b"no PEM").decode(), "key": base64.b64encode(b"\xff\xfe").decode()}


@pytest.mark.parametrize("change", [{"ca": NO_PEM}, {"certSANs": ["h\u00fctte.example.net"]}], ids=["ca", "certSANs"])
def test_what_no_certificate_can_be_made_of(change: dict[str, t.Any]) -> None:
    """Talos takes it; then its API has no certificate, and the other nodes go on."""

    async def test() -> None:
        async with fleet_of("cp", "worker", "odd") as fleet:
            cluster, odd = Cluster(), fleet.nodes["odd"]
            await Client(odd).apply(cluster.config("odd", "controlplane", **change))
            await until(lambda: odd.configured and fleet.endpoints["odd"]._server is None)
            await Client(fleet.nodes["worker"]).apply(cluster.config("worker"))
            await Client(fleet.nodes["cp"]).apply(cluster.config("cp", "controlplane"))
            await until(lambda: not fleet.nodes["worker"]._tasks and fleet.endpoints["worker"]._server is not None)
            assert fleet.endpoints["odd"]._server is None

    run(test())


def test_a_round_that_fails_is_told_once_and_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    async def test() -> None:
        async with fleet_of("pi") as fleet:
            rounds: list[int] = []

            async def fail() -> None:
                rounds.append(len(rounds))
                raise LookupError("a mistake of ours")

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(fleet.kubernetes, "settle", fail)
                await until(lambda: len(rounds) > 2)
            assert "a mistake of ours" in fleet.failure
            fleet.failure = ""

    run(test())
    assert capsys.readouterr().err.count("LookupError: a mistake of ours") == 1


def test_another_cluster_does_not_sign() -> None:
    async def test() -> None:
        async with fleet_of("cp", "worker") as fleet:
            await Client(fleet.nodes["worker"]).apply(Cluster().config("worker"))
            await Client(fleet.nodes["cp"]).apply(Cluster().config("cp", "controlplane"))
            await asyncio.sleep(0.5)
            with pytest.raises(ConnectionRefusedError):
                await Client(fleet.nodes["worker"]).machine("Version")

    run(test())


def test_fingerprint_is_that_of_the_served_key() -> None:
    async def test() -> None:
        async with fleet_of("pi") as fleet:
            node = fleet.nodes["pi"]
            pem = await asyncio.to_thread(ssl.get_server_certificate, (node.address, 50000))
            key = x509.load_pem_x509_certificate(pem.encode()).public_key()
            der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            certificate = node.certificate()
            assert certificate is not None
            assert certificate.fingerprint == base64.b64encode(hashlib.sha256(der).digest()).decode()

    run(test())


BAD = {
    "not YAML": (b"machine: [", "decode error: go-yaml load error in parser "),
    "unknown key": (
        b"machine:\n    tokn: a\n",
        "(line 1): unknown keys found during decoding:\nmachine:\n    tokn: a\n",
    ),
    "unknown key below": (
        b"machine:\n    kubelet:\n        nodIP: {}\n",
        "unknown keys found during decoding:\nmachine:\n    kubelet:\n        nodIP: {}\n",
    ),
    "unknown key of a network": (
        b"machine:\n    network: {hostnam: a}\n",
        "unknown keys found during decoding:\nmachine:\n    network:\n        hostnam: a\n",
    ),
    "unknown key of a document": (
        b"apiVersion: v1alpha1\nkind: LinkConfig\nname: end0\nmut: 1500\n",
        "unknown keys found during decoding:\nmut: 1500\n",
    ),
    "text for a number": (
        b"apiVersion: v1alpha1\nkind: LinkConfig\nname: end0\nmtu: big\n",
        "construct errors: line 4: ",
    ),
    "no UTF-8": (b"machine: \xff", "decode error: yaml: invalid leading UTF-8 octet"),
    "nothing": (b"", "config not found"),
    "unknown kind": (b"apiVersion: v1alpha1\nkind: Hostnam\n", '"Hostnam" "v1alpha1": not registered'),
    "no kind": (b"hostname: a\n", "missing kind"),
}


@pytest.mark.parametrize("name", BAD)
def test_refuses_what_is_no_configuration(name: str) -> None:
    data, words = BAD[name]

    async def test() -> None:
        async with fleet_of("pi") as fleet:
            status, message = await refusal(Client(fleet.nodes["pi"]).apply(data))
            assert status is Status.INVALID_ARGUMENT
            assert words in message

    run(test())


def test_kinds_of_1_14_are_unknown_to_1_13() -> None:
    document = b"apiVersion: v1alpha1\nkind: KubeletConfig\nimage: registry.example/kubelet:v1.37.1\n"

    async def test(version: str) -> bool:
        async with fleet_of("pi", talos_version=version) as fleet:
            try:
                await Client(fleet.nodes["pi"]).apply(document)
            except Exception:
                return False
            return fleet.nodes["pi"].stage == "maintenance"  # documents alone don't end it

    assert not run(test("1.13.9"))
    assert run(test("1.14.2"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"type": "workr"},
            '1 error occurred:\n\t* v1alpha1.Config: 1 error occurred:\n\t* unknown machine type "workr"\n\n\n\n',
        ),
        ({"type": "controlplane"}, "issuing CA key is required for controlplane nodes (.machine.ca.key)"),
    ],
)
def test_validation_in_talos_words(change: dict[str, str], words: str) -> None:
    documents = list(yaml.safe_load_all(Cluster().config("pi")))
    documents[0]["machine"].update(change)

    async def test() -> None:
        async with fleet_of("pi") as fleet:
            work = Client(fleet.nodes["pi"]).apply(yaml.safe_dump_all(documents, sort_keys=False).encode())
            status, message = await refusal(work)
            assert status is Status.INVALID_ARGUMENT
            assert words in message

    run(test())


def test_unknown_type_and_missing_resource() -> None:
    async def test() -> None:
        async with fleet_of("pi") as fleet:
            client = Client(fleet.nodes["pi"])
            status, message = await refusal(client.list("runtime", "Bananas.talos.dev"))
            assert (status, message) == (
                Status.PERMISSION_DENIED,
                'resource type "Bananas.talos.dev" is not supported',
            )
            status, message = await refusal(client.get("runtime", "MachineStatuses.runtime.talos.dev", "nope"))
            assert status is Status.NOT_FOUND
            assert message.endswith("(runtime/nope@undefined) doesn't exist")

    run(test())


def test_unknown_methods_are_unimplemented() -> None:
    async def test() -> None:
        async with fleet_of("pi") as fleet, Channel(fleet.nodes["pi"].address, 50000, ssl=insecure()) as channel:
            empty = message_class("google.protobuf.Empty")
            method = UnaryUnaryMethod(channel, "/machine.MachineService/Rollback", empty, empty)
            status, message = await refusal(method(empty()))
            text = "unknown method Rollback for service machine.MachineService"
            assert (status, message) == (Status.UNIMPLEMENTED, text)

    run(test())


def test_many_nodes_that_nobody_speaks_to_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    updates, settled = [], []
    update, settle = Endpoint.update, Fleet.settle

    async def counted(endpoint: Endpoint) -> None:
        updates.append(endpoint.node.name)
        await update(endpoint)

    monkeypatch.setattr(Endpoint, "update", counted)
    monkeypatch.setattr(Fleet, "settle", lambda fleet: settled.append(settle(fleet)))

    async def test() -> None:
        async with fleet_of(*(f"pi{number}" for number in range(200))) as fleet:
            assert updates == list(fleet.nodes)
            versions = await asyncio.gather(*(Client(node).machine("Version") for node in fleet.nodes.values()))
            assert len(versions) == 200
            settled.clear()
            await until(lambda: len(settled) > 5)
            assert updates == list(fleet.nodes)

    run(test())


def test_watch_tells_changes() -> None:
    async def test() -> None:
        async with fleet_of("pi") as fleet:
            client, node = Client(fleet.nodes["pi"]), fleet.nodes["pi"]
            request = new("cosi.resource.WatchRequest", namespace="network", type="HostnameStatuses.net.talos.dev")
            request.options.bootstrap_contents = True
            told: list[t.Any] = []
            watching = asyncio.create_task(client.call("/cosi.resource.State/Watch", request, enough=4, answers=told))
            await until(lambda: len(told) == 3)
            node.record.mac = "dc:a6:32:ff:ff:ff"  # the made-up hostname follows
            answers = await watching
            kinds = [event.event_type for answer in answers for event in answer.event]
            assert kinds == [0, 3, 1]  # created, bootstrapped, updated

    run(test())
