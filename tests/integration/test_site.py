# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job on one control plane and four workers, in the order of a cluster's life."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from .conftest import ROOT, MakeRehearsal, Rehearsal, workers_first

NODES = {"talos-cp", "talos-w1", "talos-w2", "talos-w3", "talos-w4"}
SYSCTL = {"machine": {"sysctls": {"vm.max_map_count": "262144"}}}
CHANGED_WORKERS = json.dumps({"group_patches": {"workers": [SYSCTL]}})


@pytest.fixture(scope="module")
def cluster(make_rehearsal: MakeRehearsal) -> Rehearsal:
    rehearsal = make_rehearsal()
    run = rehearsal.play().require_ok()
    assert set(run.changed) == NODES
    return rehearsal


def test_from_maintenance_to_a_healthy_cluster(cluster: Rehearsal) -> None:
    status = cluster.status()
    assert {node["stage"] for node in status.values()} == {"running"}
    assert all(node["ready"] for node in status.values())
    for name in ("talosconfig", "talosconfig.reader", "kubeconfig"):
        assert (cluster.admin_dir / name).stat().st_mode & 0o777 == 0o600
    assert cluster.bundle.read_text().startswith("$ANSIBLE_VAULT;")


def test_a_second_run_changes_nothing_and_calls_nothing_that_could(cluster: Rehearsal) -> None:
    cluster.forget_calls()
    before = cluster.configs()
    run = cluster.play().require_ok()
    assert run.changed == {}
    assert "msg: 5 of 5 nodes ready, etcd whole\n" in run.output
    assert cluster.configs() == before
    methods = {call["method"].rsplit("/", 1)[-1] for call in cluster.calls()}
    assert methods <= {"connect", "List", "EtcdMemberList", "EtcdStatus", "Version"}


@pytest.mark.parametrize(
    ("node", "verdict"),
    [
        ("talos-w3", "4 of 5 nodes ready, etcd whole; failed earlier in this run: talos-w3"),
        # Without its control plane nothing gets healthy.
        ("talos-cp", "not waited for; failed earlier in this run: talos-cp"),
    ],
)
def test_who_failed_earlier_in_a_run_is_not_counted_as_ready(cluster: Rehearsal, node: str, verdict: str) -> None:
    cluster.fault(node, "frozen")
    run = cluster.play()
    cluster.fault("--clear")
    assert run.failed == {node}
    assert f"msg: '{verdict}'\n" in run.output


def test_check_shows_exactly_the_change_on_exactly_those_nodes(cluster: Rehearsal) -> None:
    before = cluster.configs()
    run = cluster.play("--check", "--diff", "-e", CHANGED_WORKERS).require_ok()
    workers = NODES - {"talos-cp"}
    assert run.changed == dict.fromkeys(workers, 1)
    added = [line for line in run.output.splitlines() if line.startswith("+") and not line.startswith("+++")]
    removed = [line for line in run.output.splitlines() if line.startswith("-") and not line.startswith("---")]
    assert added == ["+  sysctls:", "+    vm.max_map_count: '262144'"] * len(workers)
    assert removed == []
    assert cluster.configs() == before


def test_the_change_is_applied_once(cluster: Rehearsal) -> None:
    workers = NODES - {"talos-cp"}
    assert cluster.play("-e", CHANGED_WORKERS).require_ok().changed == dict.fromkeys(workers, 1)
    assert cluster.play("-e", CHANGED_WORKERS).require_ok().changed == {}
    assert cluster.play().require_ok().changed == dict.fromkeys(workers, 1)


@pytest.mark.parametrize(
    ("words", "spoken_to"),
    [
        (["--tags", "talos-w3"], {"talos-w3"}),
        (["--limit", "talos-w3"], {"talos-w3"}),
        (["--tags", "workers", "--skip-tags", "talos-w2"], {"talos-w1", "talos-w3", "talos-w4"}),
        (["--tags", "validate"], set()),
        (["--skip-tags", "apply,health"], NODES),
        *(
            pytest.param(words, spoken_to, marks=pytest.mark.slow)
            for words, spoken_to in [
                (["--tags", "talos-w3,apply"], {"talos-w3"}),
                (["--tags", "apply", "--limit", "talos-w3"], {"talos-w3"}),
                (["--skip-tags", "talos-w2"], NODES - {"talos-w2"}),
                (["--tags", "controlplanes"], {"talos-cp"}),
                (["--tags", "apply"], NODES),
                (["--skip-tags", "apply"], NODES),
                (["--skip-tags", "bootstrap"], NODES),
                (["--skip-tags", "health"], NODES),
                (["--skip-tags", "image,argocd"], NODES),
                (["--skip-tags", "apply,bootstrap,health"], set()),
                (["--tags", "talos-w3", "--skip-tags", "bootstrap"], {"talos-w3"}),
                (["--tags", "bootstrap"], NODES),
                (["--tags", "talos-w3,health"], {"talos-w3"}),
            ]
        ),
    ],
)
def test_nodes_and_groups_are_tags(cluster: Rehearsal, words: list[str], spoken_to: set[str]) -> None:
    cluster.forget_calls()
    cluster.play(*words).require_ok()
    assert {call["node"] for call in cluster.calls()} == spoken_to


@pytest.mark.parametrize(
    "name", ["bootstrap", *(pytest.param(name, marks=pytest.mark.slow) for name in ("nodes", "health"))]
)
def test_a_playbook_is_whole_alone(cluster: Rehearsal, name: str) -> None:
    cluster.forget_calls()
    run = cluster.play("--tags", "talos-cp", playbook=f"playbooks/{name}.yml").require_ok()
    assert run.changed == {}
    assert "TASK [Check the whole inventory]" in run.output
    assert {call["node"] for call in cluster.calls()} == {"talos-cp"}


@pytest.mark.parametrize("name", ["argocd", "bootstrap", "health", "image", "nodes"])
def test_a_playbook_of_one_phase_checks_the_declaration_first(name: str) -> None:
    first, *others = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text())
    assert first["ansible.builtin.import_playbook"] == "validate.yml"
    assert others[-1]["ansible.builtin.import_playbook"] == f"phases/{name}.yml"


def test_a_tagged_run_changes_only_its_node(cluster: Rehearsal) -> None:
    before = cluster.configs()
    cluster.forget_calls()
    run = cluster.play("--tags", "talos-w3", "-e", CHANGED_WORKERS).require_ok()
    assert run.changed == {"talos-w3": 1}
    assert {call["node"] for call in cluster.calls()} == {"talos-w3"}
    after = cluster.configs()
    assert [name for name in NODES if before[name] != after[name]] == ["talos-w3"]
    cluster.play("--tags", "talos-w3").require_ok()


def test_the_status_of_all_nodes_is_kept_and_that_of_some_tells_what_is_wrong(
    cluster: Rehearsal, tmp_path: Path
) -> None:
    """On a fresh admin host, whose folder is not there yet."""
    folder = tmp_path / "new" / "admin"
    words = ("-e", f"cluster_admin_dir={folder}")
    run = cluster.play(*words, playbook="playbooks/status.yml").require_ok()
    assert re.search(r"- talos-w3 +as-declared +running +yes +v1\.14\.2 +no +20", run.output)
    assert "kubeconfig is due: there is none yet" in run.output
    kept = (folder / "status.json").read_text()
    nodes = json.loads(kept)["nodes"]
    assert {name: (node["state"], node["ready"]) for name, node in nodes.items()} == dict.fromkeys(
        NODES, ("as-declared", True)
    )
    assert [path.stat().st_mode & 0o777 for path in (folder.parent, folder)] == [0o700, 0o700]

    bad = cluster.play(*words, "--tags", "talos-w3", "-e", CHANGED_WORKERS, playbook="playbooks/status.yml")
    assert bad.rc == 2
    assert bad.failed == {"talos-w3"}
    assert "talos-w3 differs from its declaration (v1alpha1 machine.sysctls): site.yml --check --diff" in bad.output
    assert (folder / "status.json").read_text() == kept

    cluster.play(*words, playbook="playbooks/status.yml").require_ok()
    now = json.loads((folder / "status.json").read_text())
    assert now.pop("looked_at") > json.loads(kept)["looked_at"]
    assert now == {name: value for name, value in json.loads(kept).items() if name != "looked_at"}


def test_an_unknown_tag_fails_before_anything_runs(cluster: Rehearsal) -> None:
    cluster.forget_calls()
    run = cluster.play("--tags", "talos-w33")
    assert run.rc != 0
    assert "no such tag: talos-w33 (did you mean talos-w3" in run.output
    assert cluster.calls() == []


def test_all_mistakes_in_the_inventory_are_said_before_anything_runs(cluster: Rehearsal) -> None:
    cluster.forget_calls()
    mistakes = {
        "cluster_endpoint": "talos-cp.fritz.box",
        "node_bord": "rpi_4",
        "node_reboot": "sometimes",
        "node_timeout": "ten",
        "node_patches": ["patches/nowhere.yaml"],
    }
    run = cluster.play("-e", json.dumps(mistakes))
    assert run.rc != 0
    assert "did you mean node_board?" in run.output
    for key in ("cluster_endpoint", "node_reboot", "node_timeout", "node_patches"):
        assert f" {key}" in run.output, run.output
    assert cluster.calls() == []


def test_the_pki_outlives_the_admin_host(cluster: Rehearsal) -> None:
    """Everything but the repository is gone; the nodes still accept us."""
    before = cluster.configs()
    bundle = cluster.bundle.read_bytes()
    shutil.rmtree(cluster.admin_dir)
    run = cluster.play().require_ok()
    assert set(run.changed) == {"talos-cp"}
    assert cluster.configs() == before
    assert cluster.bundle.read_bytes() == bundle
    assert (cluster.admin_dir / "kubeconfig").exists()
    assert cluster.play().require_ok().changed == {}


def test_a_lost_bundle_is_never_replaced_while_nodes_have_its_pki(cluster: Rehearsal) -> None:
    """Not on a new admin host either, where only the nodes still tell of the cluster."""
    kept, kept_dir = cluster.bundle.with_suffix(".kept"), cluster.admin_dir.with_suffix(".kept")
    cluster.bundle.rename(kept)
    cluster.admin_dir.rename(kept_dir)
    try:
        run = cluster.play()
        assert run.rc != 0
        assert f"{', '.join(sorted(NODES))} answers and is configured already" in run.output
        assert not cluster.bundle.exists()
    finally:
        shutil.rmtree(cluster.admin_dir, ignore_errors=True)
        kept_dir.rename(cluster.admin_dir)
        kept.rename(cluster.bundle)
    assert cluster.play().require_ok().changed == {}


def test_a_lost_bundle_is_never_replaced_while_nodes_are_off(cluster: Rehearsal) -> None:
    """What lies in the cluster's folder may be all that still opens it."""
    kept = cluster.bundle.with_suffix(".kept")
    cluster.bundle.rename(kept)
    talosconfig = (cluster.admin_dir / "talosconfig").read_bytes()
    for name in NODES:
        cluster.fault(name, "refused")
    try:
        run = cluster.play()
        assert run.rc != 0
        assert "there is a cluster already" in run.output
        assert not cluster.bundle.exists()
        assert (cluster.admin_dir / "talosconfig").read_bytes() == talosconfig
    finally:
        kept.rename(cluster.bundle)
        cluster.fault("--clear")
    assert cluster.play().require_ok().changed == {}


def test_a_bundle_in_the_clear_is_refused(cluster: Rehearsal) -> None:
    encrypted = cluster.bundle.read_bytes()
    try:
        cluster.bundle.write_text("cluster: {id: x}\n")
        run = cluster.play()
        assert run.rc != 0
        assert "is not encrypted" in run.output
    finally:
        cluster.bundle.write_bytes(encrypted)


def test_without_the_vault_password_the_run_says_what_to_give(cluster: Rehearsal) -> None:
    run = cluster.play(password=False)
    assert run.rc != 0
    assert "--vault-password-file" in run.output


def test_the_nodes_survive_a_restart_of_the_rehearsal(cluster: Rehearsal) -> None:
    cluster.down()
    cluster.up()
    cluster.play().require_ok()
    assert cluster.play().require_ok().changed == {}


@pytest.mark.slow
def test_workers_may_be_declared_before_control_planes(make_rehearsal: MakeRehearsal, tmp_path: Path) -> None:
    """A worker gets its certificate from a control plane, so it must not be waited for before there is one."""
    rehearsal = make_rehearsal(workers_first(tmp_path))
    assert set(rehearsal.play("-e", "node_timeout=20").require_ok().changed) == NODES
