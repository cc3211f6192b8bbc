# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of a node, also of one that tells only some."""

from __future__ import annotations

import asyncio
import typing as t

import pytest
import yaml

from ansible_collections.homelab.talos.plugins.module_utils import _api
from ansible_collections.homelab.talos.plugins.module_utils._assessment import endpoint_of
from ansible_collections.homelab.talos.plugins.module_utils._node_facts import facts
from ansible_collections.homelab.talos.plugins.modules import node_info
from tests import simulated
from tests.simulated import Simulation, simulation
from tests.unit.rehearsal.harness import Cluster

ALWAYS = {"reachable", "error", "maintenance"}


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated.hurry(monkeypatch)
    monkeypatch.setattr(_api, "CALL_SECONDS", 1.0)


def documented() -> dict[str, t.Any]:
    found = yaml.safe_load(node_info.RETURN)["ansible_facts"]["contains"]["talos"]["contains"]
    return t.cast("dict[str, t.Any]", found)


async def told(nodes: Simulation) -> dict[str, t.Any]:
    return await facts(endpoint_of(nodes.declared("cp")), nodes.context)


def test_a_call_that_hangs_takes_nothing_from_the_other_facts() -> None:
    async def test() -> None:
        async with simulation("cp") as nodes:
            await nodes.everything()
            whole = await told(nodes)
            assert set(whole) == set(documented())
            assert (whole["error"], whole["etcd"]["errors"]) == ("", [])
            assert whole["kubernetes_version"] == f"v{nodes.fleet.nodes['cp'].kubernetes_version}"
            nodes.fault("cp", "hang", method="EtcdStatus")
            partly = await told(nodes)
            assert partly == {**whole, "etcd": None, "error": partly["error"]}
            assert partly["error"].startswith("cp: talosctl -n")
            assert "etcd status: no answer within 1 s" in partly["error"]

    asyncio.run(test())


def test_keys_beyond_the_reason_are_there_only_when_the_node_is_reachable() -> None:
    assert {name for name, fact in documented().items() if "returned" not in fact} == ALWAYS

    async def test() -> None:
        async with simulation("cp") as nodes:
            new = await told(nodes)
            assert (set(new), new["maintenance"], new["etcd"]) == (set(documented()), True, {})
            assert (new["kubernetes_version"], new["change_pending"]) == ("", None)
            nodes.fault("cp", "refused")
            await asyncio.sleep(0.05)
            lost = await told(nodes)
            assert (set(lost), lost["reachable"]) == (ALWAYS, False)
            assert "connection refused" in lost["error"]

    asyncio.run(test())


def test_a_node_of_another_cluster_is_not_reachable() -> None:
    async def test() -> None:
        async with simulation("cp") as nodes:
            await nodes.converge("cp")
            nodes.context = Cluster().context()
            other = await told(nodes)
            assert (set(other), other["reachable"], other["maintenance"]) == (ALWAYS, False, False)

    asyncio.run(test())
