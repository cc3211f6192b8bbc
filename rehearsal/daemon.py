# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that is all nodes at once."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import traceback
import typing as t
from pathlib import Path

from rehearsal import readiness
from rehearsal.control import short_path
from rehearsal.errors import RehearsalError
from rehearsal.faults import Fault
from rehearsal.fleet import Fleet
from rehearsal.git.server import GitServer
from rehearsal.git.settings import GitSettings
from rehearsal.node import Node, NodeRecord
from rehearsal.state import StateFolder, read_json

# Who a fault is of, beside the nodes.
GIT, ARGO_CD = "git", "argocd"


class Daemon:
    """A fleet and the socket by which the commands reach it."""

    def __init__(self, state: StateFolder) -> None:
        self.state = state
        settings = read_json(state.settings)
        records = [NodeRecord(**read_json(state.nodes / f"{name}.json")) for name in settings["nodes"]]
        self.git = GitServer(state, GitSettings(**settings["git"])) if settings.get("git") else None
        times = {"boot_time": settings["boot_time"], "pod_time": settings.get("pod_time")}
        self.fleet = Fleet(records, **times, state=state, git=self.git)
        self.stopping = asyncio.Event()
        self._ends = False

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        try:
            await self.fleet.start()
            if self.git is not None:
                await self.git.update()
            await self._serve_until_stopped()
        finally:
            if self.git is not None:
                await self.git.stop()
            await self.fleet.stop()

    async def _serve_until_stopped(self) -> None:
        self.state.socket.unlink(missing_ok=True)
        with short_path(self.state) as path:
            server = await asyncio.start_unix_server(self._connected, path)
        self.state.socket.chmod(0o600)
        try:
            await self.stopping.wait()
        finally:
            server.close()
            self.state.socket.unlink(missing_ok=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = json.loads(await reader.readline())
            answer = {"result": self._obey(request)}
            if self.git is not None:
                await self.git.update()
        except (RehearsalError, ValueError) as problem:
            answer = {"error": str(problem)}
        except Exception:
            traceback.print_exc()  # into the daemon's log: a mistake of ours
            answer = {"error": "the rehearsal failed; see daemon.log"}
        writer.write(json.dumps(answer).encode() + b"\n")
        if self._ends:
            self.stopping.set()
        await writer.drain()
        writer.close()

    def _obey(self, request: dict[str, t.Any]) -> t.Any:
        commands: dict[str, t.Callable[[dict[str, t.Any]], t.Any]] = {
            "ping": lambda _: os.getpid(),
            "status": self._status,
            "fault": self._fault,
            "clear": self._clear,
            "power": self._power,
            "stop": self._stop,
        }
        if request.get("command") not in commands:
            raise RehearsalError(f"unknown command {request.get('command')!r}")
        return commands[request["command"]](request)

    def _stop(self, request: dict[str, t.Any]) -> None:
        """Once this is answered."""
        self._ends = True

    def _status(self, request: dict[str, t.Any]) -> list[dict[str, t.Any]]:
        return [self._node_status(node) for node in self.fleet.nodes.values()]

    def _node_status(self, node: Node) -> dict[str, t.Any]:
        stage, ready, unmet = readiness.machine_status(node)
        member = self.fleet.etcd.member(node)
        certificate = node.certificate() if node.up else None
        return {
            "name": node.name,
            "address": node.address,
            "mac": node.record.mac,
            "board": node.record.board,
            "talos_version": node.version.number,
            "stage": stage,
            "ready": ready and node.up,
            "unmet": [f"{name}: {reason}" for name, reason in unmet],
            "hostname": node.hostname,
            "pending": node.record.active != node.record.stored,
            "etcd": ("voter" if member.voter else "learner") if member else "",
            "faults": [fault.as_json() for fault in node.faults.all],
            "fingerprint": certificate.fingerprint if certificate else "",
            "boot_id": node.record.boot_id,
            "kubernetes": self.fleet.kubernetes.url(node),
        }

    def _fault(self, request: dict[str, t.Any]) -> list[str]:
        """The faults that this node, or the Git server or Argo CD, has now."""
        if request["node"] in (GIT, ARGO_CD) and request["stages"]:
            raise RehearsalError(f"--in {request['stages'][0]}: {request['node']} has no stages, only nodes have")
        if request["node"] == GIT and self.git is not None:
            self.git.add_fault(request["fault"], request["words"])
            return [fault.name for fault in self.git.faults]
        if request["node"] == ARGO_CD:
            self.fleet.application_faults.add(request["fault"], request["words"])
            return self.fleet.application_faults.names
        node = self.fleet.node(request["node"])
        self.fleet.add_fault(node, Fault.from_words(request["fault"], request["words"], request["stages"]))
        return [fault.name for fault in node.faults.all]

    def _clear(self, request: dict[str, t.Any]) -> None:
        names = request.get("nodes") or [*self.fleet.nodes, GIT, ARGO_CD]
        if GIT in names and self.git is not None:
            self.git.clear_faults()
        if ARGO_CD in names:
            self.fleet.application_faults.clear()
        names = [name for name in names if name not in (GIT, ARGO_CD)]
        self.fleet.clear_faults([self.fleet.node(name) for name in names])

    def _power(self, request: dict[str, t.Any]) -> None:
        node = self.fleet.node(request["node"])
        if request["power"] == "off":
            node.power_off()
        else:
            node.power_on()


async def _main(state: StateFolder) -> None:
    await Daemon(state).run()


def main() -> int:
    logging.getLogger("grpclib").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    os.umask(0o077)
    try:
        asyncio.run(_main(StateFolder(Path(sys.argv[1]))))
    except RehearsalError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
