# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node answers, or how it fails to, as the types that the rest decides by."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import typing as t

import pytest
from google.protobuf.message import DecodeError
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from ansible_collections.homelab.talos.plugins.module_utils import _api, _errors
from ansible_collections.homelab.talos.plugins.module_utils import _messages as messages
from ansible_collections.homelab.talos.plugins.module_utils._api import Disk, Endpoint, Link, Node, connect, on_each
from ansible_collections.homelab.talos.plugins.module_utils._assessment import endpoint_of
from rehearsal import pki
from rehearsal.tls import TlsProtocol
from tests import simulated
from tests.simulated import Simulation, simulation
from tests.unit.rehearsal.harness import Cluster, network, swapped

PI = Endpoint("pi", "192.0.2.9")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated.hurry(monkeypatch)


class Answering(Node):
    """A node that gives one answer, or fails in one way."""

    def __init__(self, answer: t.Any, *, insecure: bool = False) -> None:
        super().__init__(PI, t.cast(t.Any, None), insecure=insecure)
        self._answer = answer

    async def _ask(self, *_call: t.Any) -> t.Any:
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer


def told(node: Node, ask: t.Callable[[Node], t.Coroutine[t.Any, t.Any, t.Any]]) -> _errors.TalosError:
    with pytest.raises(_errors.TalosError) as caught:
        asyncio.run(ask(node))
    return caught.value


def resources(*texts: str) -> list[t.Any]:
    """The answer to a ``get``."""
    return [messages.new("cosi.resource.ListResponse", resource={"spec": {"yaml_spec": text}}) for text in texts]


# --- errors

CODES = {
    Status.CANCELLED: _errors.ServerError,
    Status.UNKNOWN: _errors.ServerError,
    Status.INVALID_ARGUMENT: _errors.InvalidRequest,
    Status.DEADLINE_EXCEEDED: _errors.NoAnswer,
    Status.NOT_FOUND: _errors.NotFound,
    Status.ALREADY_EXISTS: _errors.AlreadyExists,
    Status.PERMISSION_DENIED: _errors.NotAuthorized,
    Status.RESOURCE_EXHAUSTED: _errors.ServerError,
    Status.FAILED_PRECONDITION: _errors.NotYet,
    Status.ABORTED: _errors.ServerError,
    Status.OUT_OF_RANGE: _errors.ServerError,
    Status.UNIMPLEMENTED: _errors.Unimplemented,
    Status.INTERNAL: _errors.ServerError,
    Status.UNAVAILABLE: _errors.Unavailable,
    Status.DATA_LOSS: _errors.ServerError,
    Status.UNAUTHENTICATED: _errors.ServerError,
}


def test_the_table_has_every_code() -> None:
    assert set(CODES) == set(Status) - {Status.OK}


@pytest.mark.parametrize("code", CODES)
def test_each_code_has_its_type_as_a_status_and_inside_an_answer(code: Status) -> None:
    metadata = {"error": f"rpc error: code = {code.name} desc = no", "status": {"code": code.value, "message": "no"}}
    inside = messages.new("machine.BootstrapResponse", messages=[{"metadata": metadata}])
    for answer in (GRPCError(code, "no"), inside):
        error = told(Answering(answer), Node.bootstrap)
        assert type(error) is CODES[code]
        assert error.cause.endswith("no")
        assert (error.node, error.command) == ("pi", "talosctl -n 192.0.2.9 bootstrap")
        assert error.remedy


def test_an_error_without_a_code_is_one() -> None:
    answer = messages.new("machine.BootstrapResponse", messages=[{"metadata": {"error": "no"}}])
    assert type(told(Answering(answer), Node.bootstrap)) is _errors.ServerError


def test_a_node_that_gives_up_before_we_do_gave_no_answer() -> None:
    """grpclib tells it 59 of 60 seconds: the answer to an apply is lost then, and the config may be there."""
    late = GRPCError(Status.DEADLINE_EXCEEDED, "context deadline exceeded")
    error = told(Answering(late), lambda node: node.apply_configuration(b"", mode="auto"))
    assert type(error) is _errors.NoAnswer
    assert error.cause == "no answer within 4 s: context deadline exceeded"


@pytest.mark.parametrize(
    ("options", "command"),
    [
        ({"mode": "auto"}, "apply-config --mode auto --file pi.yaml"),
        ({"mode": "no-reboot", "dry_run": True}, "apply-config --mode no-reboot --dry-run --file pi.yaml"),
        ({"mode": "try", "try_seconds": 30}, "apply-config --mode try --timeout 30s --file pi.yaml"),
    ],
)
def test_the_command_of_an_apply_does_the_same(options: dict[str, t.Any], command: str) -> None:
    for insecure, flag in ((False, ""), (True, " --insecure")):
        node = Answering(GRPCError(Status.UNKNOWN, "no"), insecure=insecure)
        error = told(node, lambda node: node.apply_configuration(b"", **options))
        assert error.command == f"talosctl -n 192.0.2.9 {command}{flag}"


# --- odd answers

READS: dict[str, tuple[t.Callable[[Node], t.Awaitable[t.Any]], str]] = {
    "machinestatus": (Node.machine_status, "stage: running"),
    "links": (Node.links, "hardwareAddr: dc:a6:32:00:00:01"),
    "addresses": (Node.addresses, "family: inet4"),
    "disks": (Node.disks, "dev_path: /dev/mmcblk0"),
    "extensions": (Node.extensions, "metadata: [name]"),
    "hostnamestatus": (Node.hostname, "domainname: lan"),
}


@pytest.mark.parametrize("name", READS)
def test_an_odd_answer_is_an_error_of_its_node(name: str) -> None:
    ask, lacking = READS[name]
    for text in (lacking, "", "just words", "- a list", "{", "\x07"):
        error = told(Answering(resources(text)), ask)
        assert type(error) is _errors.ServerError, text
        assert (error.node, error.command) == ("pi", f"talosctl -n 192.0.2.9 get {name}")


@pytest.mark.parametrize("problem", [DecodeError("Error parsing message"), AssertionError()])
def test_an_answer_that_is_no_message_is_an_error_of_its_node(problem: Exception) -> None:
    assert type(told(Answering(problem), Node.version)) is _errors.ServerError


def test_a_config_that_is_no_message_is_an_error_of_its_node() -> None:
    answer = messages.new("cosi.resource.ListResponse", resource={"spec": {"proto_spec": b"\xff"}})
    error = told(Answering([answer]), Node.machine_configs)
    assert (type(error), error.command) == (_errors.ServerError, "talosctl -n 192.0.2.9 get machineconfig")


def test_what_a_node_lacks_is_empty() -> None:
    bridge = "{type: ether, hardwareAddr: '', permanentAddr: null}"
    assert asyncio.run(Answering(resources(bridge)).links()) == [Link("", "ether", "", "")]
    card = "{dev_path: /dev/mmcblk0, size: 5, serial: null}"
    assert asyncio.run(Answering(resources(card)).disks()) == [Disk("/dev/mmcblk0", 5, "", "", "")]
    assert asyncio.run(Answering([]).hostname()) == ""


# --- many nodes


def test_at_most_32_nodes_are_asked_at_once() -> None:
    now = peak = 0

    async def ask(name: str) -> str:
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        await asyncio.sleep(0)
        now -= 1
        if name == "7":
            raise _errors.Unreachable("off", node=name)
        return name

    names = [str(number) for number in range(100)]
    found = asyncio.run(on_each(names, ask))
    assert (list(found), peak) == (names, 32)
    assert isinstance(found.pop("7"), _errors.Unreachable)
    assert all(name == answer for name, answer in found.items())


# --- connections


def with_node(test: t.Callable[[Simulation, Endpoint], t.Awaitable[None]], *, configured: bool = True) -> None:
    async def whole() -> None:
        async with simulation("pi") as nodes:
            if configured:
                await nodes.converge("pi")
                await swapped(nodes.fleet.nodes["pi"])
            await test(nodes, endpoint_of(nodes.declared("pi")))

    asyncio.run(whole())


def test_a_configured_node_says_by_its_alert_that_it_is_configured() -> None:
    async def test(nodes: Simulation, pi: Endpoint) -> None:
        for _ in range(20):
            with pytest.raises(_errors.CertificateRequired):
                async with connect(pi, None):
                    pass

    with_node(test)


def test_a_connection_that_breaks_without_an_alert_proves_nothing() -> None:
    async def test(nodes: Simulation, pi: Endpoint) -> None:
        nodes.fault("pi", "certificate-required-broken-pipe")
        with pytest.raises(_errors.ConnectionLost) as caught:
            async with connect(pi, None) as node:
                await node.machine_status()
        assert "run again" in caught.value.remedy

    with_node(test, configured=False)


@contextlib.asynccontextmanager
async def tls_server(
    signed_by: Cluster, knows: Cluster, opened: t.Callable[[TlsProtocol], asyncio.Protocol]
) -> t.AsyncIterator[Endpoint]:
    """Shakes hands as a node does; what comes then is up to ``opened``."""
    address = f"{network()}.9"
    context = pki.server_context(pki.server_certificate(signed_by.talos_ca, [address]), [knows.talos_ca.crt])

    def ignore(*_what: object) -> None:
        pass

    made: list[TlsProtocol] = []

    def served() -> TlsProtocol:
        return TlsProtocol(context, made.append, opened, ignore, ignore)

    async with await asyncio.get_running_loop().create_server(served, address, 50000) as server:
        # So that what is not read stays at the sender's.
        server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        yield Endpoint("pi", address)
        for connection in made:
            connection.transport.abort()


def test_a_node_that_no_longer_knows_the_ca_of_our_certificate_says_so() -> None:
    async def whole() -> None:
        ours = Cluster()
        async with tls_server(ours, Cluster(), lambda _connection: asyncio.Protocol()) as pi:
            with pytest.raises(_errors.CertificateRequired, match="does not know the CA of our client certificate"):
                async with connect(pi, ours.context()) as node:
                    await node.version()

    asyncio.run(whole())


def test_a_node_that_falls_silent_is_not_waited_for_to_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even its TLS says farewell, as after a power cut."""
    monkeypatch.setattr(_api, "KEEPALIVE_SECONDS", (0.1, 0.1))
    monkeypatch.setattr(_api, "CALL_SECONDS", 20.0)

    def frozen(connection: TlsProtocol) -> asyncio.Protocol:
        connection.transport.pause_reading()
        return asyncio.Protocol()

    async def whole() -> None:
        ours = Cluster()
        async with tls_server(ours, ours, frozen) as pi:
            with pytest.raises(_errors.NoAnswer, match="nothing comes from the node any more"):
                async with connect(pi, ours.context()) as node:
                    await node.version()

    asyncio.run(whole())


def test_a_config_that_was_given_up_does_not_arrive_later() -> None:
    """As when a tried config broke the link, and the confirmation waits for it in the kernel."""
    config = b"#" * 60_000
    heard = 0

    class Deaf(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            nonlocal heard
            heard += len(data)

    deaf: list[TlsProtocol] = []

    def opened(connection: TlsProtocol) -> asyncio.Protocol:
        connection.transport.pause_reading()
        deaf.append(connection)
        return Deaf()

    async def whole() -> None:
        ours = Cluster()
        async with tls_server(ours, ours, opened) as pi:
            with pytest.raises(_errors.NoAnswer):
                async with connect(pi, ours.context()) as node:
                    await node.apply_configuration(config, mode="no-reboot")
            deaf[0].transport.resume_reading()
            while not deaf[0].transport.is_closing():
                await asyncio.sleep(0.01)

    asyncio.run(whole())
    assert heard < len(config)
