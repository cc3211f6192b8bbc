# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port 6443 of one control plane: open exactly while its kube-apiserver would answer."""

from __future__ import annotations

import asyncio
import functools
import ssl
import sys
import typing as t
import urllib.parse
from dataclasses import dataclass

from aiohttp import web

from rehearsal import pki, readiness
from rehearsal.configuration import KeyPair
from rehearsal.endpoint import SILENT, reset
from rehearsal.kubernetes.server import BODY_LIMIT, ApiServer
from rehearsal.tls import TlsProtocol

if t.TYPE_CHECKING:
    from rehearsal.kubernetes.cluster import Cluster
    from rehearsal.node import Node

PORT = 6443
_SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "10.96.0.1")
# Open watches are cut rather than waited for; aiohttp takes zero for no limit.
_PATIENCE = 0.05


@dataclass(frozen=True)
class Serving:
    """All that a change of means another server: whose objects, issued by which CA, under which names."""

    etcd: str
    ca: KeyPair
    names: tuple[str, ...]
    version: str


class KubernetesEndpoint:
    """Listens for one node."""

    def __init__(self, node: Node, port: int = PORT) -> None:
        self.node, self.port = node, port
        self._serving: Serving | None = None
        self._http: web.Server | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[TlsProtocol] = set()
        self._complained = False

    async def update(self, cluster_of: t.Callable[[Node], Cluster | None]) -> None:
        """Listen, or don't, as the node is now."""
        self.follow()
        if self._is_silent:
            return
        wanted = self._wanted()
        if wanted == self._serving:
            return
        await self.close()
        cluster = cluster_of(self.node)
        if wanted is not None and cluster is not None:
            await self._listen(wanted, cluster)

    # --- a node that says nothing any more

    @property
    def _is_gone(self) -> bool:
        """Is there nothing at the address that could even refuse?"""
        return self.node.is_off or self.node.fault("no-route") is not None

    @property
    def _is_silent(self) -> bool:
        return self._is_gone or any(self.node.fault(name) for name in SILENT)

    def follow(self) -> None:
        """The node's power or faults changed: so do the connections that are open."""
        if self._is_gone and self._server is not None:
            self._server.close()
            self._server, self._serving = None, None
        stands_still = self.node.is_off or self.node.fault("frozen")
        for connection in list(self._connections):
            if not self._is_silent:
                if connection.is_mute:
                    reset(connection)
            elif stands_still:
                connection.stand_still()
            else:
                connection.mute()

    # --- listening

    def _wanted(self) -> Serving | None:
        node, active = self.node, self.node.active
        if active is None or not node.is_control_plane or not active.kubernetes_ca.key:
            return None
        cluster = node.fleet.etcd.cluster_of(node)
        if cluster is None or node.fault("refused") or node.fault("other-machine") or not readiness.api_server_up(node):
            return None
        host = urllib.parse.urlsplit(active.endpoint).hostname
        own = (node.address, node.hostname, node.fqdn)
        names = (*_SERVICE_NAMES, *filter(None, (host,)), *active.kubernetes_sans, *own)
        return Serving(cluster.id, active.kubernetes_ca, tuple(dict.fromkeys(names)), node.kubernetes_version)

    async def _listen(self, wanted: Serving, cluster: Cluster) -> None:
        api = ApiServer(cluster.api, wanted.version, f"{self.node.address}:{self.port}")
        http = web.Server(api, request_factory=_request)
        try:
            protocol = functools.partial(self._protocol, _tls(wanted), http)
            self._server = await asyncio.get_running_loop().create_server(
                protocol, self.node.address, self.port, reuse_address=True
            )
        except (OSError, ValueError) as problem:
            # A CA or a name that no certificate can be made of leaves kube-apiserver without one.
            self._complain(problem)
            return
        self._http, self._serving = http, wanted

    def _complain(self, problem: OSError | ValueError) -> None:
        """Once: this is tried again all the time."""
        if not self._complained:
            reason = getattr(problem, "strerror", None) or problem
            print(f"can't listen at {self.node.address}:{self.port}: {reason}", file=sys.stderr)
            self._complained = True

    async def close(self) -> None:
        """No more connections, and the end of those that are open: mute ones just break."""
        http, server, self._http, self._server, self._serving = self._http, self._server, None, None, None
        if server is not None:
            server.close()
        for connection in list(self._connections):
            if connection.is_mute:
                reset(connection)
        if http is not None:
            http.pre_shutdown()
            await http.shutdown(_PATIENCE)

    @property
    def is_open(self) -> bool:
        return self._server is not None and not self._is_silent

    # --- connections

    def _protocol(self, context: ssl.SSLContext, http: web.Server) -> asyncio.Protocol:
        def opened(connection: TlsProtocol) -> asyncio.Protocol:
            if self.node.fault("frozen"):
                connection.mute()
            return http()

        return TlsProtocol(context, self._made, opened, lambda connection, problem: None, self._connections.discard)

    def _made(self, connection: TlsProtocol) -> None:
        """Told of before its handshake."""
        self._connections.add(connection)
        self.node.fleet.router.log_connection(self.node, "accepted", port=self.port)
        if self.node.fault("half-open"):
            connection.mute()


def _request(message: t.Any, payload: t.Any, protocol: t.Any, writer: t.Any, task: t.Any) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=BODY_LIMIT)


def _tls(wanted: Serving) -> ssl.SSLContext:
    certificate = pki.server_certificate(wanted.ca, wanted.names)
    return pki.kubernetes_context(certificate, wanted.ca.crt)
