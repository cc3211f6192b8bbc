# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which state a node is in, and what is advised: to wipe one only where it is certain whose it is."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import _api
from ansible_collections.homelab.talos.plugins.module_utils import _observation as observation
from ansible_collections.homelab.talos.plugins.module_utils._assessment import endpoint_of
from ansible_collections.homelab.talos.plugins.module_utils._errors import (
    ConnectionLost,
    TalosError,
    WrongName,
)
from ansible_collections.homelab.talos.plugins.module_utils._new_bundle import require_maintenance
from rehearsal import pki
from tests import simulated
from tests.simulated import Simulation, simulation
from tests.unit.rehearsal.harness import Cluster, swapped, until


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated.hurry(monkeypatch)
    monkeypatch.setattr(_api, "CALL_SECONDS", 0.5)


async def seen(nodes: Simulation) -> observation.Observation:
    return await observation.observe(endpoint_of(nodes.declared("pi")), nodes.context)


def test_a_node_of_ours_whose_certificate_lacks_its_address_is_told_so() -> None:
    async def test() -> None:
        async with simulation("pi") as nodes:
            await nodes.converge("pi")
            node = nodes.fleet.nodes["pi"]
            await swapped(node)
            node._certificate = pki.server_certificate(nodes.pki.talos_ca, ["192.0.2.77", "elsewhere"])
            nodes.log.entries.clear()
            found = await seen(nodes)
            assert found.state == observation.UNREACHABLE
            assert type(found.error) is WrongName
            assert "for another address" in found.error.cause
            assert "node_cert_sans" in found.error.remedy
            # It is not asked without our certificate, as one that is not ours.
            await until(lambda: nodes.calls("connect"))
            assert nodes.calls("connect") == ["pi"]

    asyncio.run(test())


@pytest.mark.parametrize("configured", [False, True])
def test_a_node_that_only_drops_connections_is_not_taken_for_anothers(configured: bool) -> None:
    async def test() -> None:
        async with simulation("pi") as nodes:
            if configured:
                await nodes.converge("pi")
                nodes.context = Cluster().context()
            nodes.fault("pi", "certificate-required-broken-pipe")
            found = await seen(nodes)
            assert found.state == observation.UNREACHABLE
            assert type(found.error) is ConnectionLost
            assert "wipe" not in str(found.error)

    asyncio.run(test())


@pytest.mark.parametrize(
    ("fault", "refused"),
    [
        ("", False),
        ("refused", False),
        ("half-open", False),
        ("frozen", True),
        ("certificate-required-broken-pipe", True),
    ],
)
def test_a_second_pki_is_made_only_beside_nodes_that_are_off_or_in_maintenance(
    fault: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_api, "CONNECT_SECONDS", 0.5)

    async def test() -> None:
        async with simulation("pi") as nodes:
            if fault:
                nodes.fault("pi", fault)
                await asyncio.sleep(0.05)
            expected = pytest.raises(TalosError, match="not known whether this node is configured already")
            with expected if refused else contextlib.nullcontext():
                await require_maintenance([endpoint_of(nodes.declared("pi"))])

    asyncio.run(test())


def test_no_second_pki_is_made_beside_a_configured_node() -> None:
    async def test() -> None:
        async with simulation("pi") as nodes:
            await nodes.converge("pi")
            await swapped(nodes.fleet.nodes["pi"])
            with pytest.raises(TalosError, match="since pi answers and is configured already"):
                await require_maintenance([endpoint_of(nodes.declared("pi"))])

    asyncio.run(test())
