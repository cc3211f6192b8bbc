# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""As many nodes as we promise, in one process."""

from __future__ import annotations

from ansible_collections.homelab.talos.plugins.module_utils import _api
from tests.simulated import simulation
from tests.unit.rehearsal.harness import run

NODES = 500


def test_500_nodes_answer() -> None:
    async def scenario() -> dict[str, object]:
        async with simulation(*(f"pi{number}" for number in range(NODES))) as nodes:
            endpoints = {node.name: _api.Endpoint(node.name, node.address) for node in nodes.fleet.nodes.values()}

            async def ask(name: str) -> str:
                async with _api.connect(endpoints[name], None) as node:
                    return (await node.version()).tag

            answers = {**await _api.on_each(endpoints, ask)}
            # None needs a second connection.
            assert sorted(nodes.calls("connect")) == sorted(nodes.calls("Version", "OK")) == sorted(endpoints)
            return answers

    answers = run(scenario())
    assert set(answers.values()) == {"v1.14.2"}
    assert len(answers) == NODES
