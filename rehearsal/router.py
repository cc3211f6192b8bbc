# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of a call: which node answers, who may ask, what goes wrong on demand, and the line in the log."""

from __future__ import annotations

import asyncio
import traceback
import typing as t

from grpclib.const import Cardinality, Status
from grpclib.const import Handler as MethodHandler
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.exceptions import ProtocolError

from rehearsal import roles as access
from rehearsal.messages import METHODS, STREAM, message_class, new
from rehearsal.service import SERVICES
from rehearsal.service.call import NOT_AUTHORIZED, Call, for_ever, refuse

if t.TYPE_CHECKING:
    from rehearsal.fleet import Fleet
    from rehearsal.node import Node
    from rehearsal.tls import TlsProtocol

# The services that can be asked for several nodes at once.
ONE_TO_MANY = ("/machine.MachineService/", "/cluster.ClusterService/", "/storage.StorageService/")
# The calls that change something.
CHANGES = frozenset(
    (
        *("ApplyConfiguration", "Bootstrap", "Reboot", "Reset", "Shutdown"),
        *("EtcdForfeitLeadership", "EtcdLeaveCluster", "EtcdRemoveMemberByID"),
    )
)
_CONNECTION_ERROR = 'connection error: desc = "transport: {}"'
_UNKNOWN_AUTHORITY = (
    "authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority"
)


class ConnectionBroken(Exception):
    """The answer is lost on purpose: the connection is gone."""


class MethodTable:
    """The methods of one connection, looked up by path; grpclib only needs ``get``."""

    def __init__(self, router: Router, node: Node, connection: TlsProtocol, roles: frozenset[str] | None) -> None:
        self._router, self._node, self._connection = router, node, connection
        self._insecure = roles is None
        # In maintenance a caller is a reader; a certificate without a role may do nothing.
        reader = frozenset((access.READER,))
        self._roles = reader if roles is None or not node.configured else access.known_roles(roles)

    def get(self, path: str) -> MethodHandler:
        request, answer, kind = METHODS.get(path, ("google.protobuf.Empty", "google.protobuf.Empty", "unary"))
        cardinality = Cardinality.UNARY_STREAM if kind == STREAM else Cardinality.UNARY_UNARY

        async def serve(stream: t.Any) -> None:
            await self._serve(path, stream)

        return MethodHandler(serve, cardinality, message_class(request), message_class(answer))

    async def _serve(self, path: str, stream: t.Any) -> None:
        request = await stream.recv_message()
        call = Call(self._node, path, request, self._roles)
        status = "OK"
        try:
            async for message in self._router.answer(call, stream.metadata):
                await stream.send_message(message)
        except GRPCError as problem:
            status = problem.status.name
            raise
        except ConnectionBroken:
            status = "(connection broken)"
            self._connection.abort()
        except asyncio.CancelledError:
            status = "(cut)"
            raise
        except (StreamTerminatedError, ProtocolError):
            status = "(cut)"
        except Exception:
            status = "INTERNAL"
            traceback.print_exc()  # into the daemon's log: a mistake of ours
            raise GRPCError(Status.INTERNAL, "the simulated node failed; see daemon.log") from None
        finally:
            self._router.log_call(call, status, "insecure" if self._insecure else "secure")
            for work in call.afterwards:
                work()


class Router:
    """Routes calls as apid does."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    def mapping(self, node: Node, connection: TlsProtocol, roles: frozenset[str] | None) -> t.Any:
        return MethodTable(self, node, connection, roles)

    # --- log

    def log_connection(self, node: Node, status: str, roles: frozenset[str] | None = None, port: int = 0) -> None:
        entry = {"node": node.name, "address": node.address, "method": "connect", "stage": node.stage}
        role = ",".join(sorted(roles)) if roles else ""
        self.fleet.log.write(**entry, role=role, status=status, port=port or self.fleet.port)

    def log_call(self, call: Call, status: str, security: str, via: str = "") -> None:
        node = call.node
        entry = {"node": node.name, "address": node.address, "method": call.name, "stage": node.stage}
        entry |= {"role": ",".join(sorted(call.roles)), "security": security, "status": status}
        self.fleet.log.write(**entry, **({"via": via} if via else {}))

    # --- which node

    async def answer(self, call: Call, metadata: t.Any) -> t.AsyncIterator[t.Any]:
        """The answers to a call, from the node or nodes that its metadata names."""
        one, many = metadata.get("node"), metadata.getall("nodes", [])
        if "proxyfrom" in metadata or (not one and not many):
            one, many = None, []
        here = call.node
        forwards = here.is_control_plane
        if not forwards and (many or [one]) in ([here.address], [here.hostname], [here.fqdn]):
            one, many = None, []
        if many and not call.method.startswith(ONE_TO_MANY):
            refuse(Status.INVALID_ARGUMENT, f"one-2-many proxying is not supported for method {call.method}")
        if (one or many) and not forwards:
            refuse(Status.PERMISSION_DENIED, "no request forwarding")
        one_node = self._from_one(call, one) if one else self._local(call)
        source = self._from_many(call, many) if many else one_node
        async for message in source:
            yield message

    async def _from_one(self, call: Call, target: str) -> t.AsyncIterator[t.Any]:
        here = call.node
        there = self.fleet.find(target)
        if there is here:
            source = self._local(call)
        else:
            forwarded = Call(
                await self._dial(here, there, target), call.method, call.request, call.roles, call.afterwards
            )
            source = self._logged(forwarded, here)
        async for message in source:
            yield message

    async def _logged(self, call: Call, via: Node) -> t.AsyncIterator[t.Any]:
        status = "OK"
        try:
            async for message in self._local(call):
                yield message
        except GRPCError as problem:
            status = problem.status.name
            raise
        finally:
            self.log_call(call, status, "secure", via.name)

    async def _dial(self, here: Node, there: Node | None, target: str) -> Node:
        """What apid meets when it connects to another node."""
        where = f"Error while dialing: dial tcp {target}:50000: connect: "
        if there is None or there.is_off or there.fault("no-route"):
            await asyncio.sleep(self.fleet.boot_time)
            refuse(Status.UNAVAILABLE, _CONNECTION_ERROR.format(f"{where}no route to host"))
        if there.fault("half-open") or there.fault("frozen"):
            await for_ever()
        if not there.up or there.fault("refused") or there.certificate() is None:
            refuse(Status.UNAVAILABLE, _CONNECTION_ERROR.format(f"{where}connection refused"))
        if there.identity != here.identity or there.fault("unknown-authority"):
            refuse(Status.UNAVAILABLE, _CONNECTION_ERROR.format(_UNKNOWN_AUTHORITY))
        return there

    async def _from_many(self, call: Call, targets: list[str]) -> t.AsyncIterator[t.Any]:
        """One answer with a message from each node, or a stream of all nodes' messages; errors are among them."""
        _, answer_name, kind = METHODS.get(call.method, ("", "common.Data", STREAM))
        merged = None if kind == STREAM else new(answer_name)
        for target in targets:
            try:
                async for message in self._from_one(call, target):
                    if merged is None:
                        message.metadata.hostname = target
                        yield message
                    else:
                        for part in message.messages:
                            part.metadata.hostname = target
                        merged.messages.extend(message.messages)
            except GRPCError as problem:
                failed = new(answer_name) if merged is None else merged.messages.add()
                set_error(failed.metadata, target, problem)
                if merged is None:
                    yield failed
        if merged is not None:
            yield merged

    # --- at the node

    async def _local(self, call: Call) -> t.AsyncIterator[t.Any]:
        service = SERVICES.get(call.method)
        if service is None:
            refuse(Status.UNIMPLEMENTED, f"unknown method {call.name} for service {call.method.split('/')[1]}")
        if not access.may_call(call.roles, call.method):
            raise NOT_AUTHORIZED
        await self._suffer(call)
        async for message in service(call):
            if self._loses_answer(call):
                raise ConnectionBroken
            yield message
        if call.node.faults:
            call.afterwards.append(lambda: self._served(call))

    def _loses_answer(self, call: Call) -> bool:
        fault = call.node.fault("lost-answer", call.name)
        if fault is None or getattr(call.request, "dry_run", False):
            return False
        return bool(fault.method or call.name in CHANGES) and call.node.take_fault("lost-answer", call.name) is not None

    def _served(self, call: Call) -> None:
        call.node.faults.called(call.name)
        self.fleet.refresh(call.node)
        self.fleet.save_faults()

    async def _suffer(self, call: Call) -> None:
        """The faults that any call can meet."""
        node = call.node
        if not node.faults:
            return
        if node.take_fault("hang", call.name):
            await for_ever()
        slow = node.take_fault("slow", call.name)
        if slow:
            await asyncio.sleep(slow.delay)
        if node.take_fault("permission-denied", call.name):
            raise NOT_AUTHORIZED
        if node.take_fault("reboot-in-call", call.name):
            node.start_sequence("reboot")
            raise ConnectionBroken


GO_NAMES = {"CANCELLED": "Canceled", "OK": "OK"}


def go_name(status: Status) -> str:
    """A status as Go prints it."""
    return GO_NAMES.get(status.name) or "".join(word.capitalize() for word in status.name.split("_"))


def set_error(metadata: t.Any, target: str, problem: GRPCError) -> None:
    """A node's error among the answers of several nodes."""
    text = problem.message or ""
    metadata.hostname = target
    metadata.error = f"rpc error: code = {go_name(problem.status)} desc = {text}"
    metadata.status.code = problem.status.value
    metadata.status.message = text
