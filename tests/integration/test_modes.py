# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modes of a change, by site.yml: Talos 1.13 reboots for some, 1.14 never. Each mode alone: test_convergence.py."""

from __future__ import annotations

import json

import pytest

from .conftest import MakeRehearsal, Rehearsal, small_homelab

VERSION = ["-e", "cluster_talos_version=1.13.9 cluster_kubernetes_version=1.36.1 cluster_contract=1.13"]
ENVIRONMENT = {"machine": {"env": {"HTTPS_PROXY": "http://192.0.2.8:3128"}}}
UDEV = {"machine": {"udev": {"rules": ['SUBSYSTEM=="gpio", GROUP="44"']}}}
CHANGED = [*VERSION, "-e", json.dumps({"node_patches": [UDEV]}), "--tags", "talos-w3"]
CHANGED_1_14 = ["-e", json.dumps({"node_patches": [ENVIRONMENT]}), "--tags", "talos-w3"]


@pytest.fixture(scope="module")
def cluster(make_rehearsal: MakeRehearsal, tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    inventory = small_homelab(tmp_path_factory.mktemp("inventory"), "talos-w3")
    rehearsal = make_rehearsal(inventory, "--talos-version", "1.13.9")
    rehearsal.play(*VERSION).require_ok()
    assert rehearsal.play(*VERSION).require_ok().changed == {}
    return rehearsal


@pytest.fixture(scope="module")
def cluster_1_14(make_rehearsal: MakeRehearsal, tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    rehearsal = make_rehearsal(small_homelab(tmp_path_factory.mktemp("inventory"), "talos-w3"))
    rehearsal.play().require_ok()
    return rehearsal


def boot(cluster: Rehearsal) -> str:
    return str(cluster.status()["talos-w3"]["boot_id"])


def test_never_fails_with_the_list_of_changes(cluster: Rehearsal) -> None:
    before, booted = cluster.configs(), boot(cluster)
    run = cluster.play(*CHANGED, "-e", "node_reboot=never")
    assert run.rc != 0
    assert run.failed == {"talos-w3"}
    assert "these changes need a reboot: v1alpha1 machine.udev" in run.output
    assert cluster.configs() == before
    assert boot(cluster) == booted


def test_a_staged_change_is_staged_once(cluster: Rehearsal) -> None:
    booted = boot(cluster)
    staged = [*CHANGED, "-e", "node_apply_mode=staged"]
    assert cluster.play(*staged).require_ok().changed == {"talos-w3": 1}
    assert cluster.play(*staged).require_ok().changed == {}
    assert cluster.status()["talos-w3"]["pending"]
    assert "pending-reboot" in cluster.play(*staged, "-v").require_ok().output
    assert boot(cluster) == booted


def test_auto_reboots_and_the_change_is_active(cluster: Rehearsal) -> None:
    booted = boot(cluster)
    assert cluster.play(*CHANGED).require_ok().changed == {"talos-w3": 1}
    assert boot(cluster) != booted
    assert not cluster.status()["talos-w3"]["pending"]
    assert cluster.play(*CHANGED).require_ok().changed == {}


@pytest.mark.parametrize("check", [[], ["--check"]], ids=["run", "check"])
def test_never_fails_on_1_14_where_a_change_would_have_no_effect(cluster_1_14: Rehearsal, check: list[str]) -> None:
    before = cluster_1_14.configs()
    run = cluster_1_14.play(*CHANGED_1_14, "-e", "node_reboot=never", *check)
    assert run.failed == {"talos-w3"}
    assert "to take effect, these changes need a reboot: v1alpha1 machine.env" in run.output
    assert cluster_1_14.configs() == before


def test_auto_on_1_14_warns_of_what_waits_for_a_reboot(cluster_1_14: Rehearsal) -> None:
    booted = boot(cluster_1_14)
    run = cluster_1_14.play(*CHANGED_1_14).require_ok()
    assert run.changed == {"talos-w3": 1}
    assert "takes effect after a reboot: v1alpha1 machine.env" in " ".join(run.output.split())
    assert boot(cluster_1_14) == booted
    assert cluster_1_14.play(*CHANGED_1_14).require_ok().changed == {}
