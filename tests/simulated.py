# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The product's own functions against simulated nodes in this process, without Ansible and without talosctl."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
import typing as t

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import (
    _api,
    _bootstrap,
    _observation,
    _planning,
    _readiness,
    _terms,
)
from ansible_collections.homelab.talos.plugins.module_utils._assessment import Assessor, endpoint_of
from ansible_collections.homelab.talos.plugins.module_utils._convergence import Convergence, Outcome
from ansible_collections.homelab.talos.plugins.module_utils._definition import Node
from ansible_collections.homelab.talos.plugins.module_utils._redaction import Redactor
from ansible_collections.homelab.talos.plugins.module_utils._terms import Terms
from rehearsal.calls import CallLog
from rehearsal.faults import Fault
from rehearsal.fleet import Fleet
from rehearsal.node import NodeRecord
from tests import networks
from tests.unit.rehearsal.harness import Cluster, until

BOOT_TIME = 0.3
SYSCTLS = {"sysctls": {"vm.max_map_count": "262144"}}
# Talos 1.13 reboots for it.
UDEV = {"udev": {"rules": ['SUBSYSTEM=="gpio", GROUP="44"']}}
# So does it for these; 1.14 takes them at once, and its services use them only after a reboot.
ENVIRONMENT = {"env": {"HTTPS_PROXY": "http://192.0.2.8:3128"}}

_addresses = networks.addresses()


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The product's own patience in the measure of nodes that boot in a third of a second."""
    monkeypatch.setattr(_api, "CONNECT_SECONDS", 3.0)
    monkeypatch.setattr(_api, "CALL_SECONDS", 3.0)
    monkeypatch.setattr(_api, "APPLY_SECONDS", 4.0)
    monkeypatch.setattr(_observation, "_SWAP_SECONDS", 0.2)
    monkeypatch.setattr(_terms, "SHORTEST_TRY", 2.0)
    # Longer than one call, so that a second one is made.
    monkeypatch.setattr(_bootstrap, "_ANSWER_SECONDS", 6.0)
    monkeypatch.setattr(_bootstrap, "_LOST_SECONDS", 2.0)


# Upper bounds: what is to come may take its time on a busy machine; what will not come is not waited for as long.
TERMS = Terms(
    try_seconds=3, reachable_seconds=60, settle_seconds=60, etcd_seconds=60, settled_seconds=1.5, role_seconds=2
)
IMPATIENT = dataclasses.replace(TERMS, reachable_seconds=3, settle_seconds=6, etcd_seconds=4)


class _Log(CallLog):
    """The nodes' log of calls, kept."""

    def __init__(self) -> None:
        super().__init__(None)
        self.entries: list[dict[str, t.Any]] = []

    def write(self, **entry: t.Any) -> None:
        self.entries.append(entry)


class Simulation:
    """Some nodes, their declaration, and what the modules do with them. The first names are control planes."""

    terms = TERMS
    bootstrap_seconds = 60.0

    def __init__(self, names: t.Sequence[str], control_planes: int, talos_version: str) -> None:
        self.control_plane_names = tuple(names[:control_planes])
        records = [
            NodeRecord(name, next(_addresses), f"dc:a6:32:00:01:{number:02x}", "rpi_4", talos_version=talos_version)
            for number, name in enumerate(names)
        ]
        self.fleet = Fleet(records, boot_time=BOOT_TIME)
        self.fleet.log = self.log = _Log()
        self.pki = Cluster()
        self.context = self.pki.context()
        self.machine: dict[str, t.Any] = {}

    # --- the declaration

    @property
    def nodes(self) -> list[Node]:
        return [self.declared(name) for name in self.fleet.nodes]

    def declared(self, name: str, *, mac: str | None = None, fingerprint: str = "") -> Node:
        node = self.fleet.nodes[name]
        kind = "controlplane" if name in self.control_plane_names else "worker"
        mac = node.record.mac if mac is None else mac
        return Node(name, kind, node.address, mac, fingerprint, name, "rpi_4", "", "", ())

    @property
    def control_planes(self) -> list[_api.Endpoint]:
        return [endpoint_of(self.declared(name)) for name in self.control_plane_names]

    # In the place of Rendering.

    warnings: t.ClassVar[list[str]] = []

    def digest(self, node: Node) -> None:
        return None

    def config(self, node: Node) -> bytes:
        return self.pki.config(node.name, node.machine_type, **self.machine)

    @property
    def assessor(self) -> Assessor:
        return Assessor(t.cast(t.Any, self), Redactor([]))

    # --- what the modules do

    async def plan(self, *picked: str) -> _planning.Plan:
        return await _planning.plan(self._picked(picked), self.context, self.assessor, self.control_planes)

    async def converge(self, name: str, terms: Terms | None = None, **declared: str) -> Outcome:
        node = self.declared(name, **declared)
        return await Convergence(node, self.control_planes, self.context, self.assessor, terms or self.terms).run()

    async def bootstrap(self, seconds: float | None = None) -> bool:
        seconds = self.bootstrap_seconds if seconds is None else seconds
        designated, *others = self.control_planes
        return await _bootstrap.ensure_bootstrapped(designated, others, self.context, seconds=seconds)

    async def missing(self, until: str = "healthy", *picked: str) -> list[str]:
        return await _readiness.missing(self._picked(picked), until, self.context, self.control_planes)

    def _picked(self, names: t.Sequence[str]) -> list[Node]:
        return [self.declared(name) for name in names] or self.nodes

    async def healthy(self, seconds: float = 60.0) -> None:
        ends = time.monotonic() + seconds
        while lacks := await self.missing():
            assert time.monotonic() < ends, lacks
            await asyncio.sleep(0.1)

    async def everything(self) -> None:
        """What site.yml does, one node after the other."""
        for name in self.fleet.nodes:
            await self.converge(name)
        await self.bootstrap()
        await self.healthy()

    def give_up_soon(self) -> None:
        """What will not come is waited for in the next calls."""
        self.terms, self.bootstrap_seconds = IMPATIENT, 6.0

    def be_patient(self) -> None:
        del self.terms, self.bootstrap_seconds

    # --- what happens to them

    def fault(self, node: str, name: str, *stages: str, **words: str) -> None:
        self.fleet.add_fault(self.fleet.nodes[node], Fault.from_words(name, words, stages))

    async def clear(self) -> None:
        """No faults any more, and whoever is on its way has arrived."""
        self.fleet.clear_faults(self.fleet.nodes.values())
        await until(lambda: all(node.up or not node.record.powered for node in self.fleet.nodes.values()), 10)

    def calls(self, method: str, status: str = "") -> list[str]:
        """The nodes that got this call, in its order; only those that were answered so, if given."""
        return [
            entry["node"] for entry in self.log.entries if entry["method"] == method and status in ("", entry["status"])
        ]


@contextlib.asynccontextmanager
async def simulation(
    *names: str, control_planes: int = 1, talos_version: str = "1.14.2"
) -> t.AsyncIterator[Simulation]:
    """All in maintenance."""
    simulated = Simulation(names or ("cp", "beside"), control_planes, talos_version)
    await simulated.fleet.start()
    try:
        yield simulated
    finally:
        await simulated.fleet.stop()
        assert not simulated.fleet.failure
