# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A status as people read it, and what it costs those who do not ask for it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.talos.plugins.filter.status import FilterModule
from ansible_collections.homelab.talos.plugins.module_utils import _api, _details
from ansible_collections.homelab.talos.plugins.module_utils._declaration import Node
from ansible_collections.homelab.talos.plugins.module_utils._schematic import schematic_id
from tests import simulated
from tests.simulated import simulation

ROOT = Path(__file__).parents[2]
FINE: dict[str, t.Any] = {
    "state": "as-declared",
    "stage": "running",
    "ready": True,
    "unmet": [],
    "differences": [],
    "error": "",
    "version": "v1.14.2",
    "declared_version": "v1.14.2",
    "schematic_id": "ab" * 32,
    "declared_schematic_id": "ab" * 32,
    "upgrade": "",
    "certificate_end": "2026-11-23T14:45:46Z",
}
NODE = Node("n-w3", "worker", "192.0.2.3", "", "", "", "", "ab" * 32, "factory.example/installer/abc:v1.14.2", ())
FILTERS = FilterModule().filters()
SYSCTLS = [{"document": "v1alpha1", "path": "machine.sysctls"}]
DIFFERS = (
    "n-w3 differs from its declaration (v1alpha1 machine.sysctls): site.yml --check --diff --tags n-w3 shows it, "
    "site.yml --tags n-w3 changes it."
)
OLD = {"version": "v1.13.9", "upgrade": "talosctl upgrade --image x"}


SILENT = {**FINE, "state": "unreachable", "stage": "", "ready": False, "error": "n-cp: connection refused."}


def complaint(name: str = "n-w3", cp: t.Mapping[str, t.Any] = FINE, **others: t.Any) -> str:
    """Of one node beside the control planes n-cp and n-cp2."""
    plan = {
        "nodes": {"n-cp": cp, "n-cp2": FINE, name: {**FINE, **others}},
        "etcd_problems": ["no leader", "n-cp3: no answer"],
    }
    return str(FILTERS["status_complaint"](plan, name, ["n-cp", "n-cp2", "n-cp3"]))


def test_the_table_has_a_line_a_node() -> None:
    silent = {**SILENT, "version": "", "certificate_end": ""}
    # Of another machine at its address nothing is shown.
    stranger = {**silent, "state": "wrong-machine", "stage": "running", "ready": True}
    nodes = {"n-cp": FINE, "n-w10": {**FINE, "state": "pending-reboot"}, "n-w3": silent, "n-w4": stranger}
    assert FILTERS["status_table"](nodes) == [
        "NODE   STATE           STAGE    READY  TALOS    PENDING  CERTIFICATE ENDS",
        "n-cp   as-declared     running  yes    v1.14.2  no       2026-11-23T14:45:46Z",
        "n-w10  pending-reboot  running  yes    v1.14.2  yes      2026-11-23T14:45:46Z",
        "n-w3   unreachable     -        -      -        no       -",
        "n-w4   wrong-machine   -        -      -        no       -",
    ]


def test_nothing_is_wrong_with_a_node_that_is_as_declared_and_ready() -> None:
    assert complaint() == ""


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (
            {"state": "differs", "differences": SYSCTLS},
            DIFFERS,
        ),
        (
            {"state": "differs", "differences": SYSCTLS, "ready": False, "unmet": ["time: not in sync"], **OLD},
            f"{DIFFERS} n-w3: it is in stage running, not ready: time: not in sync; "
            "it runs Talos v1.13.9, declared is v1.14.2: talosctl upgrade --image x",
        ),
        ({"state": "differs", "differences": SYSCTLS, "error": "n-w3: no answer."}, f"n-w3: no answer. {DIFFERS}"),
        (
            {"state": "differs", "differences": [{"document": "Doc", "path": f"f{n}"} for n in range(7)]},
            DIFFERS.replace("v1alpha1 machine.sysctls", "Doc f0; Doc f1; Doc f2; Doc f3; Doc f4 and 2 more"),
        ),
        (
            {"state": "pending-reboot", "differences": SYSCTLS},
            "n-w3 has stored what is declared, and waits for a reboot to use it (v1alpha1 machine.sysctls): "
            "site.yml --tags n-w3 -e node_apply_mode=reboot reboots it.",
        ),
        (
            {"state": "maintenance", "stage": "maintenance", "ready": False, "unmet": ["services"]},
            "n-w3 is in maintenance, without a machine config: site.yml --tags n-w3 sends it.",
        ),
        (
            {"state": "unreachable", "stage": "", "ready": False, "error": "n-w3: connection refused"},
            "n-w3: connection refused",
        ),
        ({"state": "wrong-machine", "ready": False, "error": "n-w3: another machine."}, "n-w3: another machine."),
        (
            {"state": "invalid", "ready": False, "unmet": ["time"], "error": "n-w3: not YAML."},
            "n-w3: not YAML. n-w3: it is in stage running, not ready: time",
        ),
        (
            {"ready": False, "unmet": ["services: kubelet", "time: not in sync"]},
            "n-w3: it is in stage running, not ready: services: kubelet; time: not in sync",
        ),
        ({"stage": "booting"}, "n-w3: it is in stage booting, not ready: no reason given"),
        (
            OLD,
            "n-w3: it runs Talos v1.13.9, declared is v1.14.2: talosctl upgrade --image x",
        ),
        (
            {"schematic_id": "cd" * 32, "upgrade": "talosctl upgrade --image x"},
            f"n-w3: it runs schematic {'cd' * 32}, declared is {'ab' * 32}: talosctl upgrade --image x",
        ),
        (
            {"schematic_id": "", "upgrade": "talosctl upgrade --image x"},
            f"n-w3: it runs schematic none, declared is {'ab' * 32}: talosctl upgrade --image x",
        ),
        (
            {"error": "n-w3: talosctl -n 192.0.2.3 version: no answer."},
            "n-w3: talosctl -n 192.0.2.3 version: no answer.",
        ),
        (
            {"error": "n-w3: no answer.", "stage": "booting", "unmet": ["time"]},
            "n-w3: no answer. n-w3: it is in stage booting, not ready: time",
        ),
        ({"name": "n-cp2"}, "n-cp2: no leader; n-cp3: no answer"),
        (
            {"name": "n-cp2", "ready": False},
            "n-cp2: it is in stage running, not ready: no reason given; no leader; n-cp3: no answer",
        ),
        # What it lacks of etcd follows from its error.
        ({"name": "n-cp3", **SILENT, "error": "n-cp3: no answer."}, "n-cp3: no answer. n-cp3: no leader"),
        (
            {"cp": SILENT, "ready": False, "unmet": ["nodeReady: not available yet"]},
            "n-w3: it is in stage running, not ready: nodeReady: not available yet (which may follow from n-cp, a "
            "control plane that does not answer)",
        ),
        (
            {"cp": SILENT, "ready": False, "unmet": ["time: not in sync"]},
            "n-w3: it is in stage running, not ready: time: not in sync",
        ),
    ],
)
def test_what_is_wrong_with_a_node(others: dict[str, t.Any], said: str) -> None:
    assert complaint(**others) == said


ALL = ["n-cp", "n-w1", "n-w2"]


@pytest.mark.parametrize(
    ("lacks", "hosts", "said"),
    [
        ([], ALL, "3 of 3 nodes ready, etcd whole"),
        (["n-w1: services: kubelet", "n-w1: time: not in sync"], ALL, "2 of 3 nodes ready"),
        (["etcd: no leader"], ALL, "3 of 3 nodes ready, etcd not whole"),
        ([], ["n-cp", "n-w2"], "2 of 3 nodes ready, etcd whole; failed earlier in this run: n-w1"),
        ([], ["n-w1"], "1 of 3 nodes ready; failed earlier in this run: n-cp, n-w2"),
        (["n-cp", "etcd"], ["n-cp"], "0 of 3 nodes ready; failed earlier in this run: n-w1, n-w2"),
    ],
)
def test_how_many_are_ready(lacks: list[str], hosts: list[str], said: str) -> None:
    assert FILTERS["status_verdict"](lacks, hosts, ALL, ["n-cp"]) == said


@pytest.mark.parametrize(
    ("version", "schematic", "declared", "due"),
    [
        ("v1.14.2", "ab" * 32, "ab" * 32, False),
        ("v1.13.9", "ab" * 32, "ab" * 32, True),
        ("v1.14.2", "cd" * 32, "ab" * 32, True),
        # Of another image than the factory's.
        ("v1.14.2", "", "ab" * 32, True),
        ("v1.14.2", "", schematic_id({}), False),
        # A task that names its nodes itself need not say.
        ("v1.14.2", "cd" * 32, "", False),
    ],
)
def test_another_version_or_schematic_comes_with_what_brings_the_node_there(
    version: str, schematic: str, declared: str, due: bool
) -> None:
    node = dataclasses.replace(NODE, schematic_id=declared)
    command = "talosctl upgrade --nodes 192.0.2.3 --image factory.example/installer/abc:v1.14.2"
    assert _details._entry(version, schematic, "v1.14.2", node, "")["upgrade"] == (command if due else "")


def test_a_node_that_does_not_tell_its_details_has_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may answer the plan, and hang then: what it runs is not known, so it is not fine."""
    simulated.hurry(monkeypatch)
    monkeypatch.setattr(_api, "CALL_SECONDS", 1.0)

    async def test() -> None:
        async with simulation("cp", "w") as nodes:
            await nodes.everything()
            other = dataclasses.replace(nodes.declared("w"), schematic_id="cd" * 32)
            nodes.fault("cp", "hang", method="Version")
            found = await _details.details([nodes.declared("cp"), other], nodes.context, "1.14.2")
            assert set(found["cp"]) == {"error"}
            assert "version: no answer within 1 s" in found["cp"]["error"]
            assert (found["w"]["version"], found["w"]["schematic_id"]) == ("v1.14.2", nodes.fleet.nodes["w"].schematic)
            assert found["w"]["upgrade"]

    asyncio.run(test())


def test_the_filters_load_nothing_that_costs_time() -> None:
    """Every ansible-playbook loads all filters of the collection."""
    code = """
import json, sys
import ansible.errors
before = set(sys.modules)
from ansible_collections.homelab.talos.plugins.filter import status, targets
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "collections")},
        check=True,
    )
    others = {name for name in json.loads(done.stdout) if not name.startswith("ansible_collections")}
    assert others <= {"_heapq", "heapq", "difflib"}
