# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's address and port: when it listens, with which certificate, and what becomes of each connection."""

from __future__ import annotations

import asyncio
import errno
import functools
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


# While one of these lasts nothing that is sent to the node is heard.
SILENT = ("half-open", "frozen", "no-route")
# What these are shows in a new connection only: those that are open break as one begins.
BREAKING = ("refused", "unknown-authority", "certificate-required-broken-pipe")


class Endpoint:
    """Listens for one node, or for the impostor in its place."""

    def __init__(self, node: Node, router: Router, port: int = PORT) -> None:
        self.node, self.router, self.port = node, router, port
        self._server: asyncio.Server | None = None
        self._updating = asyncio.Lock()
        self._context: ssl.SSLContext | None = None
        self._context_key: tuple[t.Any, ...] = ()
        self._connections: set[TlsProtocol] = set()
        # Of which the log has no line yet.
        self._untold: set[TlsProtocol] = set()
        self._followed = self._condition
        self._unroutable: unroutable.Unroutable | None = None

    @property
    def served(self) -> Node:
        """Who answers at the address."""
        impostor = self.node.impostor
        return impostor if impostor is not None and self.node.fault("other-machine") else self.node

    @property
    def _is_gone(self) -> bool:
        """Is there nothing at the address that could even refuse?"""
        return self.served.is_off or self.node.fault("no-route") is not None

    @property
    def _is_silent(self) -> bool:
        return self._is_gone or any(self.node.fault(name) for name in SILENT)

    # --- open connections

    @property
    def _condition(self) -> tuple[Node, bool, frozenset[str]]:
        """What decides about the connections that are open: who answers, does it, and what breaks them."""
        return self.served, self._is_silent, frozenset(name for name in BREAKING if self.node.fault(name))

    def follow(self) -> None:
        """The node's state or faults changed: so do the connections that are open."""
        (before, _, known), condition = self._followed, self._condition
        self._followed = condition
        served, is_silent, breaking = condition
        for connection in list(self._connections):
            if is_silent and (served.is_off or self.node.fault("frozen")):
                connection.stand_still()
            elif is_silent:
                connection.mute()
            elif connection.is_mute or served is not before or breaking - known:
                reset(connection)

    # --- listening

    @property
    def _should_listen(self) -> bool:
        if not self.served.up or self._is_gone or self.node.fault("refused"):
            return False
        return self.served.certificate() is not None

    @property
    def waits(self) -> bool:
        """Up, but without a certificate, or a fault began or ended by itself: worth looking again."""
        return (self._server is None) is self._should_listen or self._followed != self._condition

    async def update(self) -> None:
        """Listen or don't, as the node's state and faults demand."""
        async with self._updating:  # two at once would both listen
            await self._update()

    async def _update(self) -> None:
        self.follow()
        if not self._is_gone:
            self._route_again()
        if self._should_listen:
            await self._listen()
        else:
            self._close()
            self.drop()
            if self._is_gone and self._unroutable is None:
                self._unroutable = unroutable.Unroutable(self.node.address, self.port)

    async def _listen(self) -> None:
        if self._server is not None:
            return
        listen = functools.partial(
            asyncio.get_running_loop().create_server, self._protocol, self.node.address, self.port, backlog=128
        )
        try:
            self._server = await listen()
        except OSError as problem:
            # A rehearsal that was killed may have left the address without a route.
            if problem.errno == errno.EADDRINUSE or not unroutable.route_again(self.node.address):
                raise
            self._server = await listen()

    def _close(self) -> None:
        """No new connections."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def _route_again(self) -> None:
        if self._unroutable is not None:
            self._unroutable.end()
            self._unroutable = None

    def end(self) -> None:
        """The daemon goes down: nothing stays behind."""
        self._close()
        for connection in list(self._connections):
            reset(connection)
        self._route_again()

    def drop(self) -> None:
        """End the open connections with a farewell, as apid does."""
        for connection in list(self._connections):
            if not connection.is_mute:
                farewell(connection)

    # --- connections

    def _protocol(self) -> asyncio.Protocol:
        # Whom no certificate was asked of is never served, though the fault be used up until hands are shaken.
        broken = self.node.fault("certificate-required-broken-pipe") is not None
        opened = self._break if broken else self._opened
        return TlsProtocol(self._tls_context(broken), self._made, opened, self._refused, self._lost)

    def _made(self, connection: TlsProtocol) -> None:
        self._connections.add(connection)
        self._untold.add(connection)
        if self._server is None:  # the node went in the moment between
            reset(connection)
        elif self.node.fault("half-open"):
            self._tell(connection, "half-open")
            connection.mute()

    def _tls_context(self, broken: bool) -> ssl.SSLContext:
        served = self.served
        certificate = served.certificate()
        foreign = self.node.take_fault("unknown-authority") is not None
        key = (served, certificate, foreign, broken)
        if self._context is None or key != self._context_key:
            self._context, self._context_key = self._new_context(served, certificate, foreign, broken), key
        return self._context

    def _new_context(self, served: Node, certificate: pki.Issued | None, foreign: bool, broken: bool) -> ssl.SSLContext:
        active = served.active
        client_cas: list[str] = []
        if active is not None and active.complete and not broken:
            client_cas = [active.talos_ca.crt, *active.accepted_cas]
        if foreign or certificate is None:  # no certificate: it goes away in this very moment
            names = [self.node.address, self.node.hostname]
            certificate = pki.server_certificate(self.router.fleet.foreign_ca, names)
        return pki.server_context(certificate, client_cas)

    def _break(self, connection: TlsProtocol) -> asyncio.Protocol:
        self.node.take_fault("certificate-required-broken-pipe")
        self._tell(connection, "broken pipe")
        asyncio.get_running_loop().call_soon(reset, connection)
        return asyncio.Protocol()

    def _opened(self, connection: TlsProtocol) -> asyncio.Protocol:
        node = self.node
        roles = certificate_roles(connection.tls)
        self._tell(connection, "OK", roles)
        if node.fault("frozen"):
            connection.mute()
        mapping = self.router.mapping(self.served, connection, roles)
        handler = Handler(mapping, _CODEC, None, _DISPATCH)
        return H2Protocol(handler, _GRPC, _H2)

    def _refused(self, connection: TlsProtocol, problem: ssl.SSLError) -> None:
        self._tell(connection, f"handshake failed: {problem.reason}")

    def _lost(self, connection: TlsProtocol) -> None:
        self._connections.discard(connection)
        if connection in self._untold:
            self._tell(connection, "no handshake")

    def _tell(self, connection: TlsProtocol, status: str, roles: frozenset[str] | None = None) -> None:
        self._untold.discard(connection)
        self.router.log_connection(self.served, status, roles)


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
