# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's address and port: when it listens, with which certificate, and what becomes of each connection."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import typing as t

from grpclib.config import Configuration
from grpclib.encoding.proto import ProtoCodec
from grpclib.events import _DispatchServerEvents
from grpclib.protocol import H2Protocol
from grpclib.server import Handler
from h2.config import H2Configuration

from rehearsal import pki, unroutable
from rehearsal.tls import TlsProtocol

if t.TYPE_CHECKING:
    from rehearsal.node import Node
    from rehearsal.router import Router

PORT = 50000
_GRPC = Configuration().__for_server__()
_H2 = H2Configuration(client_side=False, header_encoding="ascii")
_CODEC = ProtoCodec()
_DISPATCH = _DispatchServerEvents()


class Silent(asyncio.Protocol):
    """Takes everything and says nothing."""

    def __init__(self, transports: set[asyncio.BaseTransport]) -> None:
        self._transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transports.add(transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transports.discard(self._transport)


class Endpoint:
    """Listens for one node, or for the impostor in its place."""

    def __init__(self, node: Node, router: Router, port: int = PORT) -> None:
        self.node, self.router, self.port = node, router, port
        self._server: asyncio.Server | None = None
        self._updating = asyncio.Lock()
        self._context: ssl.SSLContext | None = None
        self._context_key: tuple[t.Any, ...] = ()
        self._connections: set[TlsProtocol] = set()
        self._silent: set[asyncio.BaseTransport] = set()
        self._unroutable: unroutable.Unroutable | None = None

    @property
    def served(self) -> Node:
        """Who answers at the address."""
        impostor = self.node.impostor
        return impostor if impostor is not None and self.node.fault("other-machine") else self.node

    # --- listening

    @property
    def _should_listen(self) -> bool:
        node = self.node
        if not self.served.up or node.fault("refused") or node.fault("no-route"):
            return False
        return self.served.certificate() is not None

    @property
    def waits(self) -> bool:
        """Up, but without a certificate, or a fault ended by itself: worth looking again."""
        return (self._server is None) is self._should_listen

    async def update(self) -> None:
        """Listen or don't, as the node's state and faults demand."""
        async with self._updating:  # two at once would both listen
            await self._update()

    async def _update(self) -> None:
        if self._should_listen:
            self._route_again()
            await self._listen()
        else:
            self.close()
            if self.node.fault("no-route") and self._unroutable is None:
                self._unroutable = unroutable.Unroutable(self.node.address, self.port)

    async def _listen(self) -> None:
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(self._protocol, self.node.address, self.port, backlog=128)

    def close(self, abruptly: bool = False) -> None:
        """No new connections, and the end of those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._route_again()
        self.drop(abruptly)

    def _route_again(self) -> None:
        if self._unroutable is not None and not self.node.fault("no-route"):
            self._unroutable.end()
            self._unroutable = None

    def end(self) -> None:
        """The daemon goes down: nothing stays behind."""
        self.close(abruptly=True)
        if self._unroutable is not None:
            self._unroutable.end()
            self._unroutable = None

    def drop(self, abruptly: bool = False) -> None:
        """End the open connections: with a farewell, as apid does, or just so."""
        for transport in list(self._silent):
            t.cast(asyncio.Transport, transport).abort()
        for connection in list(self._connections):
            if abruptly:
                reset(connection)
            else:
                farewell(connection)

    # --- connections

    def _protocol(self) -> asyncio.Protocol:
        if self.node.fault("half-open"):
            self.router.log_connection(self.node, "half-open")
            return Silent(self._silent)
        return TlsProtocol(self._tls_context(), self._made, self._opened, self._refused, self._lost)

    def _made(self, connection: TlsProtocol) -> None:
        self._connections.add(connection)
        if self._server is None:  # the node went in the moment between
            reset(connection)

    def _tls_context(self) -> ssl.SSLContext:
        served = self.served
        certificate = served.certificate()
        foreign, broken = self.node.fault("unknown-authority"), self._breaks()
        key = (served, certificate, bool(foreign), broken)
        if self._context is None or key != self._context_key:
            self._context, self._context_key = (
                self._new_context(served, certificate, bool(foreign), broken),
                key,
            )
        return self._context

    def _breaks(self) -> bool:
        return self.node.fault("certificate-required-broken-pipe") is not None

    def _new_context(self, served: Node, certificate: pki.Issued | None, foreign: bool, broken: bool) -> ssl.SSLContext:
        active = served.active
        client_cas: list[str] = []
        if active is not None and active.complete and not broken:
            client_cas = [active.talos_ca.crt, *active.accepted_cas]
        if foreign or certificate is None:  # no certificate: it goes away in this very moment
            names = [self.node.address, self.node.hostname]
            certificate = pki.server_certificate(self.router.fleet.foreign_ca, names)
        return pki.server_context(certificate, client_cas)

    def _opened(self, connection: TlsProtocol) -> asyncio.Protocol:
        node = self.node
        if self._breaks():
            node.take_fault("certificate-required-broken-pipe")
            self.router.log_connection(node, "broken pipe")
            asyncio.get_running_loop().call_soon(reset, connection)
            return Silent(self._silent)
        node.take_fault("unknown-authority")
        roles = certificate_roles(connection.tls)
        self.router.log_connection(self.served, "OK", roles)
        if node.fault("frozen"):
            return Silent(self._silent)
        mapping = self.router.mapping(self.served, connection, roles)
        handler = Handler(mapping, _CODEC, None, _DISPATCH)
        return H2Protocol(handler, _GRPC, _H2)

    def _refused(self, connection: TlsProtocol, problem: ssl.SSLError) -> None:
        self.router.log_connection(self.served, f"handshake failed: {problem.reason}")

    def _lost(self, connection: TlsProtocol) -> None:
        self._connections.discard(connection)


def certificate_roles(tls: ssl.SSLObject) -> frozenset[str] | None:
    """The organizations in the client's verified certificate; None where it showed none."""
    certificate = tls.getpeercert()
    if not certificate:
        return None
    subject = t.cast("tuple[tuple[tuple[str, str], ...], ...]", certificate.get("subject", ()))
    return frozenset(value for part in subject for key, value in part if key == "organizationName")


def farewell(connection: TlsProtocol) -> None:
    """GOAWAY, then the end, as a server that shuts down does it."""
    if isinstance(connection.inner, H2Protocol):
        h2 = connection.inner.connection._connection
        h2.close_connection()
        connection.inner.connection.flush()
    connection.transport.close()


def reset(connection: TlsProtocol) -> None:
    """The connection breaks without a word."""
    sock: socket.socket | None = connection.transport.get_extra_info("socket")
    if sock is not None and not connection.transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.transport.abort()
