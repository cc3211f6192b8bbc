# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated nodes, and what the admin host got of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

from testinfra.host import Host

testinfra_hosts = ["local://"]

STATE = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "rehearsal"


def test_all_nodes_run_and_are_ready(host: Host) -> None:
    nodes = json.loads(host.check_output(f"rehearsal status --json --state {STATE}"))
    assert {node["name"] for node in nodes} == {"talos-cp", "talos-w1", "talos-w2", "talos-w3", "talos-w4"}
    assert {(node["stage"], node["ready"]) for node in nodes} == {("running", True)}


def test_the_client_files_are_the_users_alone(host: Host) -> None:
    for name in ("talosconfig", "talosconfig.reader", "kubeconfig"):
        assert host.file(str(STATE / "admin" / name)).mode == 0o600


def test_the_secrets_are_encrypted(host: Host) -> None:
    assert host.file(str(STATE / "records" / "secrets.vault.yml")).content_string.startswith("$ANSIBLE_VAULT;")
