# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet in this process, a client on the bare table of messages, and configurations made without talosctl."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import functools
import ssl
import tempfile
import typing as t

import yaml
from grpclib.client import Channel, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from rehearsal import pki
from rehearsal.configuration import KeyPair
from rehearsal.fleet import Fleet
from rehearsal.messages import METHODS, STREAM, message_class, new
from rehearsal.node import Node, NodeRecord
from rehearsal.state import StateFolder
from tests import networks

MACHINE, STATE = "/machine.MachineService/", "/cosi.resource.State/"
MACHINE_STATUS = ("runtime", "MachineStatuses.runtime.talos.dev", "machine")
AUTO, NO_REBOOT, STAGED, TRY = 1, 2, 3, 4
BOOT_TIME = 0.2


@functools.cache
def network() -> str:
    """The first three numbers of the one that the tests of this process use one after the other."""
    return networks.claim()


def run(work: t.Coroutine[t.Any, t.Any, t.Any]) -> t.Any:
    """A whole test in one event loop, ended after a while in any case."""
    return asyncio.run(asyncio.wait_for(work, 150))


@contextlib.asynccontextmanager
async def fleet_of(*names: str, state: StateFolder | None = None, **changes: t.Any) -> t.AsyncIterator[Fleet]:
    """Nodes named so, all in maintenance."""
    records = [
        NodeRecord(name, f"{network()}.{11 + number}", f"dc:a6:32:00:00:{number:02x}", board="rpi_4", **changes)
        for number, name in enumerate(names)
    ]
    fleet = Fleet(records, boot_time=BOOT_TIME, state=state)
    await fleet.start()
    try:
        yield fleet
    finally:
        await fleet.stop()
        assert not fleet.failure


class Cluster:
    """The secrets of a cluster, and configurations for its nodes."""

    def __init__(self, name: str = "attic", endpoint: str = "https://192.0.2.1:6443") -> None:
        self.name, self.endpoint = name, endpoint
        self.talos_ca, self.kubernetes_ca, self.etcd_ca = (pki.authority(who) for who in ("talos", "k8s", "etcd"))

    def config(self, hostname: str, kind: str = "worker", **machine: t.Any) -> bytes:
        """A configuration; keywords become keys under "machine"."""
        control_plane = kind == "controlplane"
        section = {
            "type": kind,
            "token": "aaaaaa.0123456789abcdef",
            "ca": _pair(self.talos_ca, control_plane),
            "install": {"disk": "/dev/mmcblk0"},
            **machine,
        }
        cluster: dict[str, t.Any] = {
            "clusterName": self.name,
            "controlPlane": {"endpoint": self.endpoint},
            "ca": _pair(self.kubernetes_ca, control_plane),
        }
        if control_plane:
            cluster["etcd"] = {"ca": _pair(self.etcd_ca, True)}
            cluster["secretboxEncryptionSecret"] = base64.b64encode(bytes(32)).decode()
        documents = [
            {"version": "v1alpha1", "debug": False, "machine": section, "cluster": cluster},
            {"apiVersion": "v1alpha1", "kind": "HostnameConfig", "auto": "off", "hostname": hostname},
        ]
        return ("# made for a test\n" + yaml.safe_dump_all(documents, sort_keys=False)).encode()

    def context(self, *roles: str) -> ssl.SSLContext:
        """TLS of a client with these roles, by default an admin; an empty one is none."""
        organizations = [role for role in roles or ("os:admin",) if role]
        issued = pki.client_certificate(self.talos_ca, organizations, datetime.timedelta(hours=1))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.talos_ca.crt)
        with tempfile.NamedTemporaryFile() as file:
            file.write(issued.crt + issued.key)
            file.flush()
            context.load_cert_chain(file.name)
        return _talos_like(context)


def _pair(pair: KeyPair, with_key: bool) -> dict[str, str]:
    key = pair.key if with_key else ""
    return {"crt": base64.b64encode(pair.crt.encode()).decode(), "key": base64.b64encode(key.encode()).decode()}


def _talos_like(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    return context


def insecure() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return _talos_like(context)


class Client:
    """Calls to one address; each on a connection of its own."""

    def __init__(self, node: Node | str, context: ssl.SSLContext | None = None) -> None:
        self.address = node if isinstance(node, str) else node.address
        self.context = context or insecure()

    async def call(
        self,
        path: str,
        request: t.Any = None,
        metadata: t.Any = None,
        seconds: float = 60,
        enough: int = 0,
        answers: list[t.Any] | None = None,
    ) -> list[t.Any]:
        """All answers, or the first ``enough`` of a stream; ``answers`` gets them as they come."""
        request_name, answer_name, kind = METHODS[path]
        async with Channel(self.address, 50000, ssl=self.context) as channel:
            types = (message_class(request_name), message_class(answer_name))
            request = request if request is not None else types[0]()
            if kind != STREAM:
                method = UnaryUnaryMethod(channel, path, *types)
                return [await method(request, timeout=seconds, metadata=metadata)]
            answers = [] if answers is None else answers
            async with UnaryStreamMethod(channel, path, *types).open(timeout=seconds, metadata=metadata) as stream:
                await stream.send_message(request, end=True)
                while (answer := await stream.recv_message()) is not None:
                    answers.append(answer)
                    if len(answers) == enough:
                        await stream.cancel()
                        break
            return answers

    async def machine(self, name: str, request: t.Any = None, **options: t.Any) -> t.Any:
        """The one message of a MachineService call to one node."""
        [answer] = await self.call(MACHINE + name, request, **options)
        return answer.messages[0]

    async def apply(self, data: bytes, mode: int = AUTO, dry_run: bool = False, seconds: float = 0) -> t.Any:
        request = new("machine.ApplyConfigurationRequest", data=data, mode=mode, dry_run=dry_run)
        if seconds:
            request.try_mode_timeout.FromMilliseconds(int(seconds * 1000))
        return await self.machine("ApplyConfiguration", request)

    async def get(self, namespace: str, kind: str, identifier: str) -> t.Any:
        request = new("cosi.resource.GetRequest", namespace=namespace, type=kind, id=identifier)
        [answer] = await self.call(f"{STATE}Get", request)
        return answer.resource

    async def list(self, namespace: str, kind: str) -> list[t.Any]:
        request = new("cosi.resource.ListRequest", namespace=namespace, type=kind)
        return [answer.resource for answer in await self.call(f"{STATE}List", request)]

    async def spec(self, namespace: str, kind: str, identifier: str) -> t.Any:
        return yaml.safe_load((await self.get(namespace, kind, identifier)).spec.yaml_spec)

    async def config(self, which: str = "v1alpha1") -> bytes:
        text = await self.spec("config", "MachineConfigs.config.talos.dev", which)
        return str(text).encode()

    async def stage(self) -> str:
        return str((await self.spec(*MACHINE_STATUS))["stage"])


async def refusal(work: t.Awaitable[t.Any]) -> tuple[Status, str]:
    """Status and message of a call that must fail with a status."""
    try:
        answer = await work
    except GRPCError as problem:
        return problem.status, problem.message or ""
    raise AssertionError(f"answered: {answer}")


async def until(condition: t.Callable[[], t.Any], seconds: float = 60) -> None:
    """Wait, for long: this machine may be busy."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def swapped(node: Node) -> None:
    """Out of maintenance: the old connections are gone, new ones stay."""
    await until(lambda: not node._tasks)


async def configured(
    fleet: Fleet, cluster: Cluster, *, control_planes: t.Sequence[str] = ("cp",), ready: bool = True
) -> Client:
    """Every node configured by the API, etcd bootstrapped on the first control plane; an admin's client of it."""
    for node in fleet.nodes.values():
        kind = "controlplane" if node.name in control_planes else "worker"
        await Client(node).apply(cluster.config(node.name, kind))
        await swapped(node)
    nodes = fleet.nodes.values()
    await until(lambda: all(node.services_up for node in nodes))
    first = Client(fleet.nodes[control_planes[0]], cluster.context())
    if ready:
        await first.machine("Bootstrap")
        await until(lambda: all(node.stage == "running" for node in nodes))
        await until(lambda: fleet_ready(fleet))
    return first


def fleet_ready(fleet: Fleet) -> bool:
    from rehearsal.readiness import node_ready

    return all(node_ready(node) for node in fleet.nodes.values())
