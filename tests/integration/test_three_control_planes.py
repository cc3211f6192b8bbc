# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three control planes: one at a time, with one of them off, new, or of another etcd cluster."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from .conftest import MakeRehearsal, Rehearsal, three_control_planes

CONTROL_PLANES = ["talos-cp", "talos-w1", "talos-w2"]
WORKERS = ["talos-w3", "talos-w4"]
NODES = {*CONTROL_PLANES, *WORKERS}
# Much shorter than the 20 minutes for which a healthy cluster is waited for by default.
QUICK = ["-e", "node_etcd_timeout=5 node_timeout=30 cluster_bootstrap_timeout=30"]


def sysctl(value: int) -> list[str]:
    patch = {"machine": {"sysctls": {"vm.max_map_count": str(value)}}}
    return ["-e", json.dumps({"cluster_patches": [patch]})]


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return three_control_planes(tmp_path_factory.mktemp("inventory"))


@pytest.fixture(scope="module")
def cluster(make_rehearsal: MakeRehearsal, inventory: Path) -> Rehearsal:
    """From maintenance to a cluster in one run; the tests are in the order of the cluster's life."""
    rehearsal = make_rehearsal(inventory)
    assert set(rehearsal.play(*QUICK, "-e", "node_etcd_timeout=60").require_ok().changed) == NODES
    return rehearsal


@pytest.fixture
def healthy(cluster: Rehearsal) -> Rehearsal:
    """The same, whichever tests ran before."""
    if voters(cluster) != set(CONTROL_PLANES):
        cluster.play(*QUICK, *sysctl(2)).require_ok()
    return cluster


def voters(rehearsal: Rehearsal) -> set[str]:
    return {name for name, node in rehearsal.status().items() if node["etcd"] == "voter"}


def clusters(rehearsal: Rehearsal) -> list[set[str]]:
    """The members of each etcd cluster."""
    found = json.loads((rehearsal.state / "etcd.json").read_text())
    return [{member["node"] for member in each["members"]} for each in found]


def methods(rehearsal: Rehearsal, *names: str) -> list[tuple[str, str]]:
    calls = rehearsal.calls()
    return [(call["method"], call["node"]) for call in calls if call["method"] in names]


def reflash(rehearsal: Rehearsal, name: str) -> None:
    """A new card: nothing is left on the node, and etcd was not told."""
    rehearsal.down()
    path = rehearsal.state / "nodes" / f"{name}.json"
    node = json.loads(path.read_text())
    node |= dict.fromkeys(("active", "stored", "previous", "rollback_to"), "")
    node |= {"active_version": 0, "stored_version": 0, "etcd_data": False}
    path.write_text(json.dumps(node))
    rehearsal.up()


def require_one_cluster(rehearsal: Rehearsal) -> None:
    assert voters(rehearsal) == set(CONTROL_PLANES)
    assert clusters(rehearsal) == [set(CONTROL_PLANES)]
    calls = [call["node"] for call in rehearsal.calls() if (call["method"], call["status"]) == ("Bootstrap", "OK")]
    assert calls == ["talos-cp"]


def test_from_maintenance_to_a_healthy_cluster_in_one_run(cluster: Rehearsal) -> None:
    status = cluster.status()
    assert {node["stage"] for node in status.values()} == {"running"}
    assert all(node["ready"] for node in status.values())
    require_one_cluster(cluster)
    assert cluster.play(*QUICK).require_ok().changed == {}


def test_check_shows_exactly_the_change_and_changes_nothing(cluster: Rehearsal) -> None:
    before = cluster.configs()
    run = cluster.play(*QUICK, *sysctl(1), "--check", "--diff").require_ok()
    assert run.changed == dict.fromkeys(NODES, 1)
    added = [line for line in run.output.splitlines() if line.startswith("+") and not line.startswith("+++")]
    removed = [line for line in run.output.splitlines() if line.startswith("-") and not line.startswith("---")]
    assert added == ["+  sysctls:", "+    vm.max_map_count: '1'"] * len(NODES)
    assert removed == []
    assert cluster.configs() == before


@pytest.mark.slow
def test_at_first_with_one_control_plane_off_the_rest_is_done(make_rehearsal: MakeRehearsal, inventory: Path) -> None:
    """Without it nobody knows whether it has members, so nothing is bootstrapped; after power-on a run finishes it."""
    rehearsal = make_rehearsal(inventory)
    rehearsal.command("power", "talos-w1", "off")
    run = rehearsal.play(*QUICK)
    assert run.rc not in (0, -1)
    assert run.failed == {"talos-w1", "talos-cp"}
    assert "talos-w1 does not tell whether it has etcd members" in run.output
    stages = {name: node["stage"] for name, node in rehearsal.status().items()}
    assert {name for name, stage in stages.items() if stage == "maintenance"} == set()
    assert stages["talos-w1"] == "off"
    assert methods(rehearsal, "Bootstrap") == []
    # Nothing is waited for that cannot come.
    assert "Wait until" not in run.output
    rehearsal.command("power", "talos-w1", "on")
    rehearsal.play(*QUICK, "-e", "node_etcd_timeout=60").require_ok()
    require_one_cluster(rehearsal)
    assert rehearsal.play(*QUICK).require_ok().changed == {}
    rehearsal.down()


def test_control_planes_are_changed_one_at_a_time_with_a_look_at_etcd_between(cluster: Rehearsal) -> None:
    cluster.forget_calls()
    run = cluster.play(*QUICK, *sysctl(1), "-e", "node_apply_mode=reboot").require_ok()
    assert run.changed == dict.fromkeys(NODES, 1)
    done = methods(cluster, "ApplyConfiguration", "Reboot", "EtcdMemberList", "EtcdStatus")
    events = [(method, node) for method, node in done if node in CONTROL_PLANES]
    applied = [index for index, (method, _) in enumerate(events) if method == "ApplyConfiguration"]
    assert [events[index][1] for index in applied] == CONTROL_PLANES
    for before, after in itertools.pairwise(applied):
        node, between = events[before][1], events[before:after]
        assert ("Reboot", node) in between
        # After the reboot the changed node itself told that its etcd is healthy, before the next was touched.
        assert ("EtcdStatus", node) in between[between.index(("Reboot", node)) :]
    assert voters(cluster) == set(CONTROL_PLANES)
    assert cluster.play(*QUICK, *sysctl(1), "-e", "node_apply_mode=reboot").require_ok().changed == {}


def test_on_day_two_with_one_control_plane_off_the_workers_are_changed(cluster: Rehearsal) -> None:
    """The other control planes are left as they are: etcd can spare none of them."""
    cluster.command("power", "talos-w2", "off")
    before = cluster.configs()
    run = cluster.play(*QUICK, *sysctl(2))
    assert run.rc not in (0, -1)
    assert run.failed == set(CONTROL_PLANES)
    assert run.changed == dict.fromkeys(WORKERS, 1)
    assert "member talos-w2 does not answer" in run.output
    after = cluster.configs()
    assert {name for name in NODES if before[name] != after[name]} == set(WORKERS)
    cluster.command("power", "talos-w2", "on")
    run = cluster.play(*QUICK, *sysctl(2), "-e", "node_etcd_timeout=60").require_ok()
    assert run.changed == dict.fromkeys(CONTROL_PLANES, 1)
    assert cluster.play(*QUICK, *sysctl(2)).require_ok().changed == {}


@pytest.mark.faults
def test_on_day_two_without_a_change_one_control_plane_off_is_the_only_failure(healthy: Rehearsal) -> None:
    healthy.command("power", "talos-w2", "off")
    run = healthy.play(*QUICK, *sysctl(2))
    assert run.rc not in (0, -1)
    assert run.failed == {"talos-w2"}
    assert run.changed == {}
    healthy.command("power", "talos-w2", "on")
    assert healthy.play(*QUICK, *sysctl(2)).require_ok().changed == {}


@pytest.mark.parametrize("name", ["talos-cp", pytest.param("talos-w1", marks=pytest.mark.faults)])
def test_a_control_plane_with_a_new_card_joins_the_others(healthy: Rehearsal, name: str) -> None:
    """Its member from before is still listed: Talos replaces it. The designated one must not bootstrap again."""
    bundle = healthy.bundle.read_bytes()
    [identity] = json.loads((healthy.state / "etcd.json").read_text())
    reflash(healthy, name)
    healthy.forget_calls()
    run = healthy.play(*QUICK, *sysctl(2), "-e", "node_etcd_timeout=60").require_ok()
    assert run.changed == {name: 1}
    assert methods(healthy, "Bootstrap") == []
    assert voters(healthy) == set(CONTROL_PLANES)
    [after] = json.loads((healthy.state / "etcd.json").read_text())
    assert after["id"] == identity["id"]
    assert len(after["members"]) == 3
    assert healthy.bundle.read_bytes() == bundle
    assert healthy.play(*QUICK, *sysctl(2)).require_ok().changed == {}


@pytest.mark.faults
def test_a_new_designated_control_plane_alone_is_not_bootstrapped_beside_two_that_are_off(healthy: Rehearsal) -> None:
    reflash(healthy, "talos-cp")
    for name in ("talos-w1", "talos-w2"):
        healthy.command("power", name, "off")
    healthy.forget_calls()
    run = healthy.play(*QUICK, *sysctl(2))
    assert run.rc not in (0, -1)
    assert run.failed >= {"talos-w1", "talos-w2", "talos-cp"}
    assert methods(healthy, "Bootstrap") == []
    for name in ("talos-w1", "talos-w2"):
        healthy.command("power", name, "on")
    healthy.play(*QUICK, *sysctl(2), "-e", "node_etcd_timeout=60").require_ok()
    assert clusters(healthy) == [set(CONTROL_PLANES)]
    assert voters(healthy) == set(CONTROL_PLANES)
