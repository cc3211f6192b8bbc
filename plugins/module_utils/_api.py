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
    refusal,
)
from ._yaml import load

if t.TYPE_CHECKING:
    from grpclib.client import Channel, UnaryStreamMethod, UnaryUnaryMethod
    from grpclib.config import Configuration
    from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
else:
    # Without it the import still succeeds, and modules say what is missing.
    try:
        from grpclib.client import Channel, UnaryStreamMethod, UnaryUnaryMethod
        from grpclib.config import Configuration
        from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
    except ImportError:
        Channel = UnaryStreamMethod = UnaryUnaryMethod = Configuration = None
        GRPCError = ProtocolError = StreamTerminatedError = ()

PORT = 50000
CONNECT_SECONDS = 5.0
CALL_SECONDS = 10.0
# A Pi writes its config to an SD card before it answers.
APPLY_SECONDS = 60.0

# 9 and 10 of OpenSSL's X509_V_ERR codes: not valid yet, expired.
_TIME_CODES = (9, 10)
# 62 and 64: the certificate names another host or address.
_NAME_CODES = (62, 64)

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
    """The bytes that the node was sent. They differ while a change is staged or tried."""

    active: bytes
    stored: bytes


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
    platform: str


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
    "links": ("network", "LinkStatuses.net.talos.dev"),
    "machineconfig": ("config", "MachineConfigs.config.talos.dev"),
    "machinestatus": ("runtime", "MachineStatuses.runtime.talos.dev"),
    "nodename": ("k8s", "Nodenames.kubernetes.talos.dev"),
    "systemdisk": ("runtime", "SystemDisks.block.talos.dev"),
    "timestatus": ("runtime", "TimeStatuses.v1alpha1.talos.dev"),
}


class Node:
    """A connection to one node. Use ``connect``."""

    def __init__(self, endpoint: Endpoint, channel: Channel, *, insecure: bool) -> None:
        self.endpoint = endpoint
        self.insecure = insecure
        self._channel = channel

    @property
    def certificate_end(self) -> str:
        """When the certificate ends that the node showed (UTC, ISO 8601); empty where it was not verified."""
        found = _peer(self._channel).getpeercert()
        if not found:
            return ""
        ends = ssl.cert_time_to_seconds(str(found["notAfter"]))
        return datetime.datetime.fromtimestamp(ends, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

    # --- state

    async def version(self) -> Version:
        """``talosctl version``"""
        answer = await self._unary("/machine.MachineService/Version", "version")
        return Version(answer.version.tag, answer.version.arch, answer.platform.name)

    async def machine_status(self) -> MachineStatus:
        """``talosctl get machinestatus``"""
        found = await self.get("machinestatus")
        if not found:
            return MachineStatus("unknown", False)
        status = found[0].spec["status"]
        unmet = tuple((each["name"], each["reason"]) for each in status["unmetConditions"])
        return MachineStatus(found[0].spec["stage"], status["ready"], unmet)

    async def get(self, name: str) -> list[Resource]:
        """``talosctl get NAME``, by a name in RESOURCES. Raises NotFound where the type is not registered."""
        found = await self._list(name)
        return [Resource(each.metadata.id, each.metadata.version, load(each.spec.yaml_spec)) for each in found]

    async def machine_configs(self) -> MachineConfigs:
        """``talosctl get machineconfig``: both, in one call. Raises NotAuthorized without os:admin."""
        spec = messages.message_class("talos.resource.definitions.config.MachineConfigSpec")
        found = {
            each.metadata.id: spec.FromString(each.spec.proto_spec).yaml_marshalled
            for each in await self._list("machineconfig")
        }
        if "v1alpha1" not in found:
            raise NotFound("the node has no active machine config", **self._where("get machineconfig"))
        return MachineConfigs(found["v1alpha1"], found.get("persistent", b""))

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

    # --- changes

    async def apply_configuration(
        self, config: bytes, *, mode: str, dry_run: bool = False, try_seconds: int = 60
    ) -> Applied:
        """``talosctl apply-config``. A dry run, too, cancels the rollback of a try that is under way."""
        request = messages.new("machine.ApplyConfigurationRequest", data=config, mode=MODES[mode], dry_run=dry_run)
        request.try_mode_timeout.seconds = try_seconds
        answer = await self._unary(
            "/machine.MachineService/ApplyConfiguration", "apply-config", request, seconds=APPLY_SECONDS
        )
        return Applied(_MODE_NAMES.get(answer.mode, str(answer.mode)), answer.mode_details, tuple(answer.warnings))

    async def bootstrap(self) -> None:
        """``talosctl bootstrap``. Success of the call proves nothing: look at the etcd members."""
        await self._unary("/machine.MachineService/Bootstrap", "bootstrap", seconds=APPLY_SECONDS)

    async def reboot(self) -> None:
        """``talosctl reboot``, without waiting for it."""
        await self._unary("/machine.MachineService/Reboot", "reboot")

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
            status.protocol_version,
        )

    async def etcd_alarms(self) -> list[str]:
        """``talosctl etcd alarm list``: such as ``NOSPACE of 1bcb160585bc8a70``."""
        answer = await self._unary("/machine.MachineService/EtcdAlarmList", "etcd alarm list")
        names = {1: "NOSPACE", 2: "CORRUPT"}
        return [f"{names.get(each.alarm, each.alarm)} of {each.member_id:016x}" for each in answer.member_alarms]

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

    async def client_configuration(self, roles: t.Sequence[str], ttl: datetime.timedelta) -> bytes:
        """``talosctl config new``: a talosconfig for these roles. Control planes only: they hold the CA's key."""
        request = messages.new("machine.GenerateClientConfigurationRequest", roles=list(roles))
        request.crt_ttl.FromTimedelta(ttl)
        answer = await self._unary("/machine.MachineService/GenerateClientConfiguration", "config new", request)
        return bytes(answer.talosconfig)

    # --- calls

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
            raise ServerError(message.metadata.error, **self._where(command))
        return message

    async def _call(self, kind: t.Any, path: str, command: str, request: t.Any, seconds: float) -> t.Any:
        request_name, response_name, _kind = messages.METHODS[path]
        method = kind(self._channel, path, messages.message_class(request_name), messages.message_class(response_name))
        if request is None:
            request = messages.new(request_name)
        where = self._where(command)
        try:
            return await method(request, timeout=seconds)
        except GRPCError as error:
            raise refusal(error.status.name, error.message or "", **where) from error
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise NoAnswer(f"no answer within {seconds:g} s", **where) from error
        except (StreamTerminatedError, ProtocolError, OSError) as error:
            if self.insecure:
                raise CertificateRequired("the node closed the connection", **where) from error
            raise ConnectionLost(f"the connection broke: {error}", **where) from error

    def _where(self, command: str) -> dict[str, str]:
        return {"node": self.endpoint.name, "command": _command(self.endpoint, command, self.insecure)}


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
    Raises Unreachable, ConnectionLost, UnknownAuthority, CertificateTime, WrongFingerprint.
    """
    insecure = credentials is None
    context = credentials.ssl_context() if isinstance(credentials, Credentials) else credentials
    channel = Channel(
        endpoint.address,
        endpoint.port,
        ssl=context or insecure_context(),
        config=Configuration(_keepalive_time=10, _keepalive_timeout=5),
    )
    try:
        await _open(channel, endpoint, insecure, expected_fingerprint)
        channel._create_connection = _no_other_connection  # type: ignore[method-assign]
        yield Node(endpoint, channel, insecure=insecure)
    finally:
        channel.close()


async def _no_other_connection() -> t.NoReturn:
    """grpclib would connect again by itself: to whatever machine is at the address by then, and unchecked."""
    raise ConnectionResetError("the node closed it")


async def _open(channel: Channel, endpoint: Endpoint, insecure: bool, expected_fingerprint: str) -> None:
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
        found = fingerprint(_peer(channel).getpeercert(binary_form=True) or b"")
        if found != expected_fingerprint:
            raise WrongFingerprint(
                f"the certificate's fingerprint is {found}, declared is {expected_fingerprint}", **where
            )


def _reason(error: OSError) -> str:
    # asyncio puts a sentence about the call where the system's words would be.
    if isinstance(error, (socket.gaierror, ssl.SSLError)) or not error.errno:
        return error.strerror or str(error) or type(error).__name__
    return os.strerror(error.errno).lower()


def _peer(channel: Channel) -> ssl.SSLObject:
    """The TLS of a connected channel; grpclib offers no public way to it."""
    protocol: t.Any = channel._protocol
    return t.cast(ssl.SSLObject, protocol.connection._transport.get_extra_info("ssl_object"))


def _verification_error(error: ssl.SSLCertVerificationError, where: dict[str, str]) -> TalosError:
    if error.verify_code in _TIME_CODES:
        return CertificateTime(f"the node's certificate: {error.verify_message}", **where)
    if error.verify_code in _NAME_CODES:
        return UnknownAuthority(
            f"the node's certificate is for another address: {error.verify_message}",
            remedy="Declare the address in node_cert_sans, or use the node's IP address in node_address",
            **where,
        )
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
