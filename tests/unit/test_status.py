# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A status as people read it, and what it costs those who do not ask for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.talos.plugins.filter.status import FilterModule
from ansible_collections.homelab.talos.plugins.module_utils import _details
from ansible_collections.homelab.talos.plugins.module_utils._declaration import Node

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
    "upgrade": "",
    "certificate_end": "2026-11-23T14:45:46Z",
}
NODE = Node("n-w3", "worker", "192.0.2.3", "", "", "", "", "", "factory.example/installer/abc:v1.14.2", ())
FILTERS = FilterModule().filters()


def complaint(etcd_problems: t.Sequence[str] = (), **others: t.Any) -> str:
    return str(FILTERS["status_complaint"]({**FINE, **others}, "n-w3", etcd_problems))


def test_the_table_has_a_line_a_node() -> None:
    silent = {**FINE, "state": "unreachable", "stage": "", "ready": False, "version": "", "certificate_end": ""}
    nodes = {"n-cp": FINE, "n-w10": {**FINE, "state": "pending-reboot"}, "n-w3": silent}
    assert FILTERS["status_table"](nodes) == [
        "NODE   STATE           STAGE    READY  TALOS    PENDING  CERTIFICATE ENDS",
        "n-cp   as-declared     running  yes    v1.14.2  no       2026-11-23T14:45:46Z",
        "n-w10  pending-reboot  running  yes    v1.14.2  yes      2026-11-23T14:45:46Z",
        "n-w3   unreachable     -        no     -        no       -",
    ]


def test_nothing_is_wrong_with_a_node_that_is_as_declared_and_ready() -> None:
    assert complaint() == ""


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (
            {"state": "differs", "differences": [{"document": "v1alpha1", "path": "machine.sysctls"}]},
            "n-w3 is differs: v1alpha1 machine.sysctls",
        ),
        ({"state": "unreachable", "error": "n-w3: connection refused"}, "n-w3: connection refused"),
        (
            {"ready": False, "unmet": ["services: kubelet", "time: not in sync"]},
            "n-w3: it is in stage running, not ready: services: kubelet; time: not in sync",
        ),
        ({"stage": "booting"}, "n-w3: it is in stage booting, not ready: no reason given"),
        (
            {"version": "v1.13.9", "upgrade": "talosctl upgrade --image x"},
            "n-w3: it runs Talos v1.13.9, declared is v1.14.2: talosctl upgrade --image x",
        ),
        ({"etcd_problems": ["alarm NOSPACE"]}, "n-w3: alarm NOSPACE"),
        (
            {"ready": False, "etcd_problems": ["no leader"]},
            "n-w3: it is in stage running, not ready: no reason given; no leader",
        ),
    ],
)
def test_what_is_wrong_with_a_node(others: dict[str, t.Any], said: str) -> None:
    assert complaint(**others) == said


def test_another_version_comes_with_what_brings_the_node_there() -> None:
    entry = _details._entry("v1.13.9", "v1.14.2", NODE, "")
    assert entry["upgrade"] == "talosctl upgrade --nodes 192.0.2.3 --image factory.example/installer/abc:v1.14.2"
    assert _details._entry("v1.14.2", "v1.14.2", NODE, "")["upgrade"] == ""
    assert _details._entry("", "v1.14.2", NODE, "")["upgrade"] == ""


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
