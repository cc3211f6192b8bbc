# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""A typed client of the Talos API, straight to one node, with a deadline on every call.

Each method does the calls of the talosctl command that its docstring names. Errors are those of ``_errors``.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import io
import os
import socket
import ssl
import struct
import tarfile
import typing as t
from dataclasses import dataclass

from . import _messages as messages
from ._credentials import Credentials, fingerprint, insecure_context
from ._errors import (
    CertificateRequired,
    CertificateTime,
    ConnectionLost,
    NoAnswer,
    NotFound,
    ServerError,
    TalosError,
    UnknownAuthority,
    Unreachable,
    WrongFingerprint,
    WrongName,
    refusal,
)
from ._yaml import load, yaml

if t.TYPE_CHECKING:
    from google.protobuf.message import DecodeError
    from grpclib.client import Channel, Handler, UnaryStreamMethod, UnaryUnaryMethod
    from grpclib.config import Configuration
    from grpclib.const import Status
    from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
    from grpclib.protocol import H2Protocol
else:
    # Without it the import still succeeds, and modules say what is missing.
    try:
        from google.protobuf.message import DecodeError
        from grpclib.client import Channel, Handler, UnaryStreamMethod, UnaryUnaryMethod
        from grpclib.config import Configuration
        from grpclib.const import Status
        from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
        from grpclib.protocol import H2Protocol
    except ImportError:
        Handler = UnaryStreamMethod = UnaryUnaryMethod = Configuration = Status = None
        Channel = H2Protocol = object
        DecodeError = GRPCError = ProtocolError = StreamTerminatedError = ()

PORT = 50000
CONNECT_SECONDS = 5.0
CALL_SECONDS = 10.0
# A Pi writes its config to an SD card before it answers.
APPLY_SECONDS = 60.0
# A connection on which a call waits is tried after the first, and given up where nothing comes within the second.
KEEPALIVE_SECONDS = (10.0, 5.0)
# What the node has not got when we close is dropped: the kernel would deliver it when a broken link is back.
_NOTHING_LATER = struct.pack("ii", 1, 0)

# 9 and 10 of OpenSSL's X509_V_ERR codes: not valid yet, expired.
_TIME_CODES = (9, 10)
# 62 and 64: the certificate names another host or address.
_NAME_CODES = (62, 64)
# The alerts of TLS, as OpenSSL names them, by which a node says why it does not take our certificate, or its lack.
_ALERTS: dict[str, tuple[type[TalosError], str]] = {
    "certificate required": (CertificateRequired, "the node wants a client certificate"),
    "unknown ca": (CertificateRequired, "the node does not know the CA of our client certificate"),
    "certificate expired": (CertificateTime, "to the node our client certificate is not valid at this time"),
}

T = t.TypeVar("T")


@dataclass(frozen=True)
class Endpoint:
    """Where a node's API is. ``name`` is what messages call the node."""

    name: str
    address: str
    port: int = PORT


@dataclass(frozen=True)
class MachineStatus:
    """``stage`` as Talos names it: maintenance, booting, running, rebooting, ... ``unmet``: name and reason."""

    stage: str
    ready: bool
    unmet: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class MachineConfigs:
    """The bytes that the node was sent, and when each came to be (nanoseconds, by the node's clock).

    They differ while a change is staged or tried.
    """

    active: bytes
    stored: bytes
    active_since: int = 0
    stored_since: int = 0

    @property
    def tried(self) -> bool:
        """The active one came last, and to be active only: of a try, or left active by what ended its rollback."""
        return self.active != self.stored and self.active_since > self.stored_since


@dataclass(frozen=True)
class Applied:
    """The node's answer to an apply: the mode that it chose, its words, and warnings."""

    mode: str
    details: str
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Version:
    tag: str
    arch: str


@dataclass(frozen=True)
class Service:
    """``healthy`` is None where the service has no health check."""

    id: str
    state: str
    healthy: bool | None
    message: str


@dataclass(frozen=True)
class EtcdMember:
    """``id`` in hexadecimal, as etcd and talosctl print it."""

    id: str
    hostname: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    learner: bool


@dataclass(frozen=True)
class EtcdStatus:
    """``leader`` is empty where there is none. Sizes in bytes."""

    member_id: str
    leader: str
    learner: bool
    errors: tuple[str, ...]
    db_size: int


@dataclass(frozen=True)
class Link:
    """A network link. The MAC addresses are empty where it has none."""

    name: str
    type: str
    hardware_addr: str
    permanent_addr: str


@dataclass(frozen=True)
class Disk:
    """``size`` in bytes."""

    dev_path: str
    size: int
    model: str
    serial: str
    transport: str


@dataclass(frozen=True)
class Extension:
    name: str
    version: str


@dataclass(frozen=True)
class Resource:
    """A COSI resource; ``spec`` is its YAML form, parsed."""

    id: str
    version: str
    spec: t.Any


# ApplyConfigurationRequest.Mode
MODES = {"reboot": 0, "auto": 1, "no-reboot": 2, "staged": 3, "try": 4}
_MODE_NAMES = {number: name for name, number in MODES.items()}

# Resources by the name that ``talosctl get`` takes: namespace, type.
RESOURCES = {
    "addresses": ("network", "AddressStatuses.net.talos.dev"),
    "disks": ("runtime", "Disks.block.talos.dev"),
    "etcdmembers": ("etcd", "EtcdMembers.etcd.talos.dev"),
    "extensions": ("runtime", "ExtensionStatuses.runtime.talos.dev"),
    "hostnamestatus": ("network", "HostnameStatuses.net.talos.dev"),
    "kubeletspec": ("k8s", "KubeletSpecs.kubernetes.talos.dev"),
    "links": ("network", "LinkStatuses.net.talos.dev"),
    "machineconfig": ("config", "MachineConfigs.config.talos.dev"),
    "machinestatus": ("runtime", "MachineStatuses.runtime.talos.dev"),
}


class Node:
    """A connection to one node. Use ``connect``."""

    def __init__(self, endpoint: Endpoint, channel: _OneConnection, *, insecure: bool) -> None:
        self.endpoint = endpoint
        self.insecure = insecure
        self._channel = channel

    @property
    def certificate_end(self) -> str:
        """When the certificate ends that the node showed (UTC, ISO 8601); empty where it was not verified."""
        found = self._channel.line.tls.getpeercert()
        if not found:
            return ""
        ends = ssl.cert_time_to_seconds(str(found["notAfter"]))
        return datetime.datetime.fromtimestamp(ends, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

    # --- state

    async def version(self) -> Version:
        """``talosctl version``"""
        answer = await self._unary("/machine.MachineService/Version", "version")
        return Version(answer.version.tag, answer.version.arch)

    async def machine_status(self) -> MachineStatus:
        """``talosctl get machinestatus``"""
        found = await self._specs("machinestatus", _machine_status)
        return found[0] if found else MachineStatus("unknown", False)

    async def get(self, name: str) -> list[Resource]:
        """``talosctl get NAME``, by a name in RESOURCES. Raises NotFound where the type is not registered."""
        found = await self._list(name)
        with self._understanding(f"get {name}"):
            return [Resource(each.metadata.id, each.metadata.version, load(each.spec.yaml_spec)) for each in found]

    async def links(self) -> list[Link]:
        """``talosctl get links``"""
        return await self._specs("links", _link)

    async def addresses(self) -> list[str]:
        """``talosctl get addresses``: with the length of the prefix, such as ``192.0.2.11/24``."""
        return await self._specs("addresses", lambda each: str(each.spec["address"]))

    async def disks(self) -> list[Disk]:
        """``talosctl get disks``"""
        return await self._specs("disks", _disk)

    async def extensions(self) -> list[Extension]:
        """``talosctl get extensions``"""
        return await self._specs("extensions", _extension)

    async def hostname(self) -> str:
        """``talosctl get hostnamestatus``; empty where it has none yet."""
        return next(iter(await self._specs("hostnamestatus", lambda each: str(each.spec["hostname"]))), "")

    async def kubernetes_version(self) -> str:
        """``talosctl get kubeletspec``: of the kubelet's image, such as ``v1.36.2``; empty where it has none.

        Raises NotAuthorized without os:admin.
        """
        return next(iter(await self._specs("kubeletspec", _kubernetes_version)), "")

    async def machine_configs(self) -> MachineConfigs:
        """``talosctl get machineconfig``: both, in one call. Raises NotAuthorized without os:admin."""
        spec = messages.message_class("talos.resource.definitions.config.MachineConfigSpec")
        resources = await self._list("machineconfig")
        with self._understanding("get machineconfig"):
            found = {
                each.metadata.id: (
                    spec.FromString(each.spec.proto_spec).yaml_marshalled,
                    each.metadata.updated.ToNanoseconds(),
                )
                for each in resources
            }
        if "v1alpha1" not in found:
            raise NotFound("the node has no active machine config", **self._where("get machineconfig"))
        (active, active_since), (stored, stored_since) = found["v1alpha1"], found.get("persistent", (b"", 0))
        return MachineConfigs(active, stored, active_since, stored_since)

    async def services(self) -> list[Service]:
        """``talosctl services``"""
        answer = await self._unary("/machine.MachineService/ServiceList", "services")
        return [
            Service(
                each.id,
                each.state,
                None if each.health.unknown else each.health.healthy,
                each.health.last_message,
            )
            for each in answer.services
        ]

    async def exists(self, path: str) -> bool:
        """``talosctl read``, of a folder: refused in one way where it is there, and in another where it is not."""
        request = messages.new("machine.ReadRequest", path=path)
        try:
            await self._stream("/machine.MachineService/Read", f"read {path}", request)
        except NotFound:
            return False
        except ServerError as error:
            # Older nodes give no code.
            if "no such file" in error.cause:
                return False
            if "regular file" not in error.cause:
                raise
        return True

    async def boot_id(self) -> str:
        """``talosctl read``, of what is another at each boot. Raises NotAuthorized without os:admin."""
        path = "/proc/sys/kernel/random/boot_id"
        request = messages.new("machine.ReadRequest", path=path)
        parts = await self._stream("/machine.MachineService/Read", f"read {path}", request)
        return b"".join(part.bytes for part in parts).decode().strip()

    # --- changes

    async def apply_configuration(
        self, config: bytes, *, mode: str, dry_run: bool = False, try_seconds: int = 60
    ) -> Applied:
        """``talosctl apply-config``. A dry run, too, cancels the rollback of a try that is under way."""
        request = messages.new("machine.ApplyConfigurationRequest", data=config, mode=MODES[mode], dry_run=dry_run)
        request.try_mode_timeout.seconds = try_seconds
        flags = [f"--mode {mode}", *(["--dry-run"] if dry_run else [])]
        flags += [f"--timeout {try_seconds}s"] if mode == "try" else []
        command = " ".join(["apply-config", *flags, f"--file {self.endpoint.name}.yaml"])
        answer = await self._unary(
            "/machine.MachineService/ApplyConfiguration", command, request, seconds=APPLY_SECONDS
        )
        return Applied(_MODE_NAMES.get(answer.mode, str(answer.mode)), answer.mode_details, tuple(answer.warnings))

    async def bootstrap(self) -> None:
        """``talosctl bootstrap``. Success of the call proves nothing: look at the etcd members."""
        await self._unary("/machine.MachineService/Bootstrap", "bootstrap", seconds=APPLY_SECONDS)

    async def reboot(self) -> None:
        """``talosctl reboot --wait=false``"""
        await self._unary("/machine.MachineService/Reboot", "reboot --wait=false")

    # --- etcd

    async def etcd_members(self) -> list[EtcdMember]:
        """``talosctl etcd members``. Before bootstrap a real node never answers: NoAnswer."""
        request = messages.new("machine.EtcdMemberListRequest", query_local=True)
        answer = await self._unary("/machine.MachineService/EtcdMemberList", "etcd members", request)
        return [
            EtcdMember(
                f"{each.id:016x}",
                each.hostname,
                tuple(each.peer_urls),
                tuple(each.client_urls),
                each.is_learner,
            )
            for each in answer.members
        ]

    async def etcd_status(self) -> EtcdStatus:
        """``talosctl etcd status``. Answers without quorum too: with ``errors`` and no leader."""
        status = (await self._unary("/machine.MachineService/EtcdStatus", "etcd status")).member_status
        return EtcdStatus(
            f"{status.member_id:016x}",
            f"{status.leader:016x}" if status.leader else "",
            status.is_learner,
            tuple(status.errors),
            status.db_size,
        )

    # --- credentials

    async def kubeconfig(self) -> bytes:
        """``talosctl kubeconfig``: the file's bytes. The node sends a tar.gz that holds it alone."""
        parts = await self._stream("/machine.MachineService/Kubeconfig", "kubeconfig")
        try:
            with tarfile.open(fileobj=io.BytesIO(b"".join(part.bytes for part in parts))) as archive:
                for member in archive:
                    content = archive.extractfile(member)
                    if content is not None:
                        return content.read()
        except tarfile.TarError as error:
            raise ServerError(f"no readable archive came: {error}", **self._where("kubeconfig")) from error
        raise ServerError("an empty archive came", **self._where("kubeconfig"))

    # --- calls

    async def _specs(self, name: str, read: t.Callable[[Resource], T]) -> list[T]:
        found = await self.get(name)
        with self._understanding(f"get {name}"):
            return [read(each) for each in found]

    @contextlib.contextmanager
    def _understanding(self, command: str) -> t.Iterator[None]:
        """What one node answers oddly must not end the work on all."""
        try:
            yield
        except (DecodeError, yaml.YAMLError, AttributeError, LookupError, TypeError, ValueError) as error:
            # The first line of YAML's errors quotes nothing.
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ServerError(f"the answer is not as Talos makes it ({said})", **self._where(command)) from error

    async def _list(self, name: str) -> list[t.Any]:
        namespace, kind = RESOURCES[name]
        request = messages.new("cosi.resource.ListRequest", namespace=namespace, type=kind)
        request.options.SetInParent()
        answers = await self._stream("/cosi.resource.State/List", f"get {name}", request)
        return [answer.resource for answer in answers]

    async def _unary(self, path: str, command: str, request: t.Any = None, *, seconds: float | None = None) -> t.Any:
        """The first message of the answer, which is the one of this node."""
        answer = await self._call(UnaryUnaryMethod, path, command, request, seconds or CALL_SECONDS)
        if not answer.messages:
            raise ServerError("an empty answer came", **self._where(command))
        return self._checked(answer.messages[0], command)

    async def _stream(self, path: str, command: str, request: t.Any = None) -> list[t.Any]:
        answers = await self._call(UnaryStreamMethod, path, command, request, CALL_SECONDS)
        return [self._checked(answer, command) for answer in answers]

    def _checked(self, message: t.Any, command: str) -> t.Any:
        """Talos 1.13 can put an error inside an answer that is otherwise fine."""
        if "metadata" in message.DESCRIPTOR.fields_by_name and message.metadata.error:
            status = message.metadata.status
            known = {code.value: code.name for code in Status if code is not Status.OK}
            raise refusal(
                known.get(status.code, "UNKNOWN"), status.message or message.metadata.error, **self._where(command)
            )
        return message

    async def _call(self, kind: t.Any, path: str, command: str, request: t.Any, seconds: float) -> t.Any:
        request_name, response_name, _kind = messages.METHODS[path]
        if request is None:
            request = messages.new(request_name)
        types = (messages.message_class(request_name), messages.message_class(response_name))
        where = self._where(command)
        try:
            return await self._ask(kind, path, types, request, seconds)
        except GRPCError as error:
            if error.status is Status.DEADLINE_EXCEEDED:
                # Of a minute grpclib tells the node whole seconds only, so that it gives up before we do.
                raise NoAnswer(
                    f"no answer within {seconds:g} s: {error.message or error.status.name}", **where
                ) from error
            raise refusal(error.status.name, error.message or "", **where) from error
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise NoAnswer(f"no answer within {seconds:g} s", **where) from error
        except (DecodeError, AssertionError) as error:
            # grpclib asserts that an answer holds a message.
            raise ServerError("the answer holds no message of Talos' API", **where) from error
        except (StreamTerminatedError, ProtocolError, OSError) as error:
            raise _broken(self._channel.line.end or error, **where) from error

    async def _ask(self, kind: t.Any, path: str, types: tuple[t.Any, t.Any], request: t.Any, seconds: float) -> t.Any:
        """The answer, or the answers of a stream. Raises what grpclib does."""
        return await kind(self._channel, path, *types)(request, timeout=seconds)

    def _where(self, command: str) -> dict[str, str]:
        return {"node": self.endpoint.name, "command": _command(self.endpoint, command, self.insecure)}


def _machine_status(found: Resource) -> MachineStatus:
    status = found.spec["status"]
    unmet = tuple((each["name"], each["reason"]) for each in status["unmetConditions"])
    return MachineStatus(found.spec["stage"], status["ready"], unmet)


def _link(found: Resource) -> Link:
    spec = found.spec
    return Link(found.id, spec["type"], spec.get("hardwareAddr") or "", spec.get("permanentAddr") or "")


def _disk(found: Resource) -> Disk:
    spec = found.spec
    words = (str(spec.get(name) or "") for name in ("model", "serial", "transport"))
    return Disk(str(spec["dev_path"]), int(spec["size"]), *words)


def _kubernetes_version(found: Resource) -> str:
    name = str(found.spec["image"]).partition("@")[0].rpartition("/")[2]
    return name.partition(":")[2]


def _extension(found: Resource) -> Extension:
    metadata = found.spec["metadata"]
    return Extension(str(metadata["name"]), str(metadata["version"]))


class _Abrupt(asyncio.Transport):
    """Ends at once: TLS would wait for half a minute and more for the farewell of a frozen node."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport

    def get_extra_info(self, name: str, default: t.Any = None) -> t.Any:
        return self._transport.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._transport.write(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._transport.abort()


class _Line(H2Protocol):
    """grpclib's connection, with what it forgets of it: the TLS, and how the connection ended."""

    tls: ssl.SSLObject
    end: BaseException | None = None

    def __init__(self, *configuration: t.Any) -> None:
        super().__init__(*configuration)
        self.spoken = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.tls = transport.get_extra_info("ssl_object")
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOTHING_LATER)
        super().connection_made(_Abrupt(t.cast(asyncio.Transport, transport)))

    def data_received(self, data: bytes) -> None:
        self.spoken.set()
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        unanswered = self.connection._close_by_ping_handler is not None
        self.end = exc or (TimeoutError("nothing comes from the node any more") if unanswered else None)
        self.spoken.set()
        super().connection_lost(exc)


class _OneConnection(Channel):
    """A channel of one connection, the ``line``: another could be to another machine, and unchecked."""

    line: _Line

    def _protocol_factory(self) -> H2Protocol:
        self.line = _Line(Handler(), self._config, self._h2_config)
        return self.line

    async def _create_connection(self) -> H2Protocol:
        if self._protocol is not None:
            raise ConnectionResetError("the node closed it")
        return await super()._create_connection()


def _command(endpoint: Endpoint, command: str, insecure: bool) -> str:
    flag = " --insecure" if insecure else ""
    return f"talosctl -n {endpoint.address} {command}{flag}"


@contextlib.asynccontextmanager
async def connect(
    endpoint: Endpoint,
    credentials: Credentials | ssl.SSLContext | None,
    *,
    expected_fingerprint: str = "",
) -> t.AsyncIterator[Node]:
    """Connect to a node: mutual TLS with credentials, or insecurely (maintenance) with None.

    A context from ``Credentials.ssl_context`` serves many nodes. With ``expected_fingerprint`` an insecure
    connection is checked before any call. All calls go over this one connection; once it is lost they fail.
    Raises Unreachable, ConnectionLost, UnknownAuthority, WrongName, CertificateTime; insecurely CertificateRequired
    and WrongFingerprint.
    """
    insecure = credentials is None
    context = credentials.ssl_context() if isinstance(credentials, Credentials) else credentials
    tried, given_up = KEEPALIVE_SECONDS
    channel = _OneConnection(
        endpoint.address,
        endpoint.port,
        ssl=context or insecure_context(),
        config=Configuration(_keepalive_time=tried, _keepalive_timeout=given_up),
    )
    try:
        await _open(channel, endpoint, insecure, expected_fingerprint)
        yield Node(endpoint, channel, insecure=insecure)
    finally:
        channel.close()


async def _open(channel: _OneConnection, endpoint: Endpoint, insecure: bool, expected_fingerprint: str) -> None:
    where = {"node": endpoint.name, "command": _command(endpoint, "version", insecure)}
    try:
        await asyncio.wait_for(channel.__connect__(), CONNECT_SECONDS)
    except ssl.SSLCertVerificationError as error:
        raise _verification_error(error, where) from error
    except (asyncio.TimeoutError, TimeoutError) as error:
        raise Unreachable(
            f"no connection to {endpoint.address}:{endpoint.port} within {CONNECT_SECONDS:g} s", **where
        ) from error
    except (ConnectionResetError, BrokenPipeError) as error:
        # Somebody listens there, and goes or restarts in this moment.
        raise ConnectionLost(f"the connection broke as it was made: {_reason(error)}", **where) from error
    except OSError as error:
        reason = _reason(error)
        raise Unreachable(f"no connection to {endpoint.address}:{endpoint.port}: {reason}", **where) from error
    if expected_fingerprint:
        found = fingerprint(channel.line.tls.getpeercert(binary_form=True) or b"")
        if found != expected_fingerprint:
            raise WrongFingerprint(
                f"the certificate's fingerprint is {found}, declared is {expected_fingerprint}", **where
            )
    if insecure:
        await _taken(channel, where)


async def _taken(channel: _OneConnection, where: dict[str, str]) -> None:
    """Does the node take us without a certificate? Whoever writes before it said so may find a broken pipe only."""
    try:
        await asyncio.wait_for(channel.line.spoken.wait(), CALL_SECONDS)
    except (asyncio.TimeoutError, TimeoutError) as error:
        raise NoAnswer(f"no answer within {CALL_SECONDS:g} s", **where) from error
    if not channel._connected:
        raise _broken(channel.line.end, **where) from channel.line.end


def _broken(end: BaseException | None, **where: str) -> TalosError:
    """By the TLS alert where the node sent one; without it nothing is known but that the connection broke."""
    if isinstance(end, TimeoutError):
        return NoAnswer(_reason(end), **where)
    said = str(end or "the node closed it")
    for alert, (kind, cause) in _ALERTS.items():
        if alert in said.lower():
            return kind(cause, **where)
    return ConnectionLost(f"the connection broke: {_reason(end) if isinstance(end, OSError) else said}", **where)


def _reason(error: OSError) -> str:
    # asyncio puts a sentence about the call where the system's words would be.
    if isinstance(error, (socket.gaierror, ssl.SSLError)) or not error.errno:
        return error.strerror or str(error) or type(error).__name__
    return os.strerror(error.errno).lower()


def _verification_error(error: ssl.SSLCertVerificationError, where: dict[str, str]) -> TalosError:
    if error.verify_code in _TIME_CODES:
        return CertificateTime(f"the node's certificate: {error.verify_message}", **where)
    if error.verify_code in _NAME_CODES:
        return WrongName(f"the node's certificate is for another address: {error.verify_message}", **where)
    return UnknownAuthority(f"the node's certificate is not of this cluster: {error.verify_message}", **where)


async def on_each(
    names: t.Iterable[str], ask: t.Callable[[str], t.Awaitable[T]], *, at_once: int = 32
) -> dict[str, T | TalosError]:
    """Ask many nodes, at most ``at_once`` at a time; an error of one node is its result."""
    gate = asyncio.Semaphore(at_once)

    async def one(name: str) -> T | TalosError:
        async with gate:
            try:
                return await ask(name)
            except TalosError as error:
                return error

    names = list(names)
    return dict(zip(names, await asyncio.gather(*(one(name) for name in names))))
