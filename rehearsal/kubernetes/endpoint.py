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
from rehearsal.kubernetes.server import BODY_LIMIT, ApiServer

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
        self._runner: web.ServerRunner | None = None
        self._complained = False

    async def update(self, cluster_of: t.Callable[[Node], Cluster | None]) -> None:
        """Listen, or don't, as the node is now."""
        wanted = self._wanted()
        if wanted == self._serving:
            return
        await self.close()
        cluster = cluster_of(self.node)
        if wanted is not None and cluster is not None:
            await self._listen(wanted, cluster)

    def _wanted(self) -> Serving | None:
        node, active = self.node, self.node.active
        if active is None or not node.is_control_plane or not active.kubernetes_ca.key or not node.reachable_for_peers:
            return None
        cluster = node.fleet.etcd.cluster_of(node)
        if cluster is None or node.fault("refused") or node.fault("other-machine") or not readiness.api_server_up(node):
            return None
        host = urllib.parse.urlsplit(active.endpoint).hostname
        names = (
            *_SERVICE_NAMES,
            *filter(None, (host,)),
            *active.kubernetes_sans,
            node.address,
            node.hostname,
            node.fqdn,
        )
        return Serving(cluster.id, active.kubernetes_ca, tuple(dict.fromkeys(names)), node.kubernetes_version)

    async def _listen(self, wanted: Serving, cluster: Cluster) -> None:
        api = ApiServer(cluster.api, wanted.version, f"{self.node.address}:{self.port}")
        tell = functools.partial(self.node.fleet.router.log_connection, self.node, "accepted", port=self.port)
        server = _LoggingServer(api, request_factory=_request, accepted=tell)
        runner = web.ServerRunner(server, shutdown_timeout=_PATIENCE)
        await runner.setup()
        try:
            context = _tls(wanted)
            await web.TCPSite(runner, self.node.address, self.port, ssl_context=context, reuse_address=True).start()
        except (OSError, ValueError) as problem:
            # A CA or a name that no certificate can be made of leaves kube-apiserver without one.
            await runner.cleanup()
            self._complain(problem)
            return
        self._runner, self._serving = runner, wanted

    def _complain(self, problem: OSError | ValueError) -> None:
        """Once: this is tried again all the time."""
        if not self._complained:
            reason = getattr(problem, "strerror", None) or problem
            print(f"can't listen at {self.node.address}:{self.port}: {reason}", file=sys.stderr)
            self._complained = True

    async def close(self) -> None:
        """No more connections, and the end of those that are open."""
        runner, self._runner, self._serving = self._runner, None, None
        if runner is not None:
            await runner.cleanup()

    @property
    def is_open(self) -> bool:
        return self._runner is not None


class _LoggingServer(web.Server):
    """Tells of each connection as it is taken, before its handshake."""

    def __init__(self, *handler: t.Any, accepted: t.Callable[[], None], **options: t.Any) -> None:
        super().__init__(*handler, **options)
        self._accepted = accepted

    def __call__(self) -> t.Any:
        self._accepted()
        return super().__call__()


def _request(message: t.Any, payload: t.Any, protocol: t.Any, writer: t.Any, task: t.Any) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=BODY_LIMIT)


def _tls(wanted: Serving) -> ssl.SSLContext:
    certificate = pki.server_certificate(wanted.ca, wanted.names)
    return pki.kubernetes_context(certificate, wanted.ca.crt)
