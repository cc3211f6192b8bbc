# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets: the table of docs/inventory.md, and unknown tags."""

from __future__ import annotations

import re

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.homelab.talos.plugins.filter.targets import FilterModule
from ansible_collections.homelab.talos.plugins.module_utils import _targets

GROUPS = {
    "all": ["console", "n-cp", "n-w1", "n-w2", "n-w3"],
    "admin": ["console"],
    "talos": ["n-cp", "n-w1", "n-w2", "n-w3"],
    "controlplanes": ["n-cp"],
    "workers": ["n-w1", "n-w2", "n-w3"],
}


@pytest.mark.parametrize(
    ("run", "skip", "hosts", "tags"),
    [
        (["all"], [], ["n-cp", "n-w1", "n-w2", "n-w3"], []),
        (["n-w3"], [], ["n-w3"], ["n-w3"]),
        (["workers"], ["n-w2"], ["n-w1", "n-w3"], ["workers"]),
        (["n-w3", "apply"], [], ["n-w3"], []),
        (["apply"], [], ["n-cp", "n-w1", "n-w2", "n-w3"], []),
        (["apply"], ["n-w3"], ["n-cp", "n-w1", "n-w2"], []),
        (["all"], ["workers"], ["n-cp"], []),
        (["n-w3", "n-w1"], [], ["n-w1", "n-w3"], ["n-w1", "n-w3"]),
        (["controlplanes", "n-w2"], [], ["n-cp", "n-w2"], ["n-w2", "controlplanes"]),
        (["n-w3"], ["n-w3"], ["!all"], []),
        (["tagged"], [], ["n-cp", "n-w1", "n-w2", "n-w3"], []),
        (["all"], ["health"], ["n-cp", "n-w1", "n-w2", "n-w3"], []),
    ],
)
def test_targets_of_a_run(run: list[str], skip: list[str], hosts: list[str], tags: list[str]) -> None:
    # Ansible hands over sets and lists in any order.
    assert _targets.node_hosts(GROUPS, set(run), skip[::-1]) == hosts
    assert _targets.node_tags(GROUPS, run[::-1], set(skip)) == tags


def test_a_named_group_without_nodes_is_no_node() -> None:
    groups = {**GROUPS, "workers": []}
    assert _targets.node_hosts(groups, ["workers"], []) == ["!all"]


@pytest.mark.parametrize("place", ["run", "skip"])
@pytest.mark.parametrize(
    ("tag", "near"),
    [
        ("n-w33", "n-w3"),
        # Not "always", which is no tag that anybody means.
        ("aply", "apply"),
        ("alway", None),
        ("n-w9", "n-w3 or n-w2 or n-w1"),
    ],
)
def test_an_unknown_tag_names_the_nearest(place: str, tag: str, near: str | None) -> None:
    run, skip = ([tag], []) if place == "run" else (["all"], [tag])
    told = f"did you mean {near}?" if near else "there are the nodes, controlplanes"
    for function in (_targets.node_hosts, _targets.node_tags):
        with pytest.raises(_targets.UnknownTag, match=rf"no such tag: {tag} \({re.escape(told)}"):
            function(GROUPS, run, skip)


def test_a_tag_that_resembles_nothing_gets_the_list() -> None:
    with pytest.raises(_targets.UnknownTag, match="controlplanes, workers, validate, image"):
        _targets.node_hosts(GROUPS, ["zzz"], [])


@pytest.mark.parametrize(("run", "skip"), [(["admin"], []), (["n-w1", "admin"], []), (["all"], ["admin"])])
def test_the_admin_host_has_a_playbook_of_its_own(run: list[str], skip: list[str]) -> None:
    """As a tag of site.yml it would do nothing."""
    with pytest.raises(_targets.UnknownTag, match=r"admin is no phase of a run on nodes, but playbooks/admin\.yml"):
        _targets.node_hosts(GROUPS, run, skip)


def test_a_group_that_is_no_target_is_unknown() -> None:
    with pytest.raises(_targets.UnknownTag, match="no such tag: talos"):
        _targets.node_hosts(GROUPS, ["talos"], [])


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        ([], []),
        (["n-w1", "!n-w2", "&workers", "all", "localhost"], []),
        # What matches nothing may be meant.
        (["n-x*", "~n-x", "n-x[0]", "@file", ""], []),
        (["n-w3", "n-w33"], ["no such host or group: n-w33 (did you mean n-w3?)"]),
        (["!n-w33"], ["no such host or group: n-w33 (did you mean n-w3?)"]),
        (
            ["worker", "zzz"],
            ["no such host or group: worker (did you mean workers?)", "no such host or group: zzz"],
        ),
    ],
)
def test_a_limit_to_what_is_not_there(patterns: list[str], said: list[str]) -> None:
    assert _targets.unknown_in_limit(GROUPS, patterns) == said


def test_filters_fail_as_ansible_expects() -> None:
    filters = FilterModule().filters()
    assert filters["node_hosts"](GROUPS, ["n-w1"], []) == ["n-w1"]
    assert filters["node_tags"](GROUPS, ["apply"]) == []
    with pytest.raises(AnsibleFilterError, match="no such tag: n-w9"):
        filters["node_hosts"](GROUPS, ["n-w9"], [])
    with pytest.raises(AnsibleFilterError, match="groups"):
        filters["node_tags"](["n-w1"], [])


@pytest.mark.parametrize(
    ("run", "skip", "due"),
    [
        (["all"], [], True),
        (["n-cp"], [], True),
        (["argocd"], [], True),
        (["controlplanes", "argocd"], [], True),
        (["n-w3"], [], False),
        (["n-cp", "apply"], [], False),
        (["all"], ["argocd"], False),
        (["all"], ["n-cp"], False),
    ],
)
def test_a_run_comes_to_a_phase_on_a_node(run: list[str], skip: list[str], due: bool) -> None:
    assert _targets.is_due("argocd", "n-cp", GROUPS, run, skip) is due
