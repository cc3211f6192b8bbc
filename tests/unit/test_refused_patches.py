# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.homelab.talos.plugins.module_utils._declaration import Node
from ansible_collections.homelab.talos.plugins.module_utils._redaction import without_quotes
from ansible_collections.homelab.talos.plugins.module_utils._refused_patches import RefusedPatches, in_short
from ansible_collections.homelab.talos.plugins.module_utils._talosctl import SlowTalosctl, TalosctlError

PLACES = ("settings (node_ variables)", "cluster_patches[0] (p.yaml)", "group_patches.workers[0]", "node_patches[0]")
NODE = Node("n-w1", "worker", "192.0.2.1", "", "", "", "", "", "", ("settings", "all", "workers", "own"), PLACES)

REFUSED = "error parsing config JSON patch: error decoding document "


class Generation:
    """Refuses texts; ``needs`` names, by a text, one that must come before it. Notes what it was given."""

    def __init__(self, *bad: str, **needs: str) -> None:
        self.bad, self.needs = bad, needs
        self.given: list[list[str]] = []

    def __call__(self, _node: Node, patches: t.Sequence[str]) -> bytes:
        self.given.append(list(patches))
        for index, text in enumerate(patches):
            if text in self.bad or self.needs.get(text, text) not in patches[: index + 1]:
                raise TalosctlError(f"{text} is wrong")
        return b""


def told(generation: Generation, node: Node = NODE) -> str:
    error = RefusedPatches(generation).error(node)
    return error.cause if error else ""


def test_the_refused_one_is_named_by_its_place() -> None:
    assert told(Generation("workers")) == "group_patches.workers[0]: workers is wrong"
    assert told(Generation("settings")) == "settings (node_ variables): settings is wrong"


def test_all_that_are_refused_are_named() -> None:
    both = "cluster_patches[0] (p.yaml): all is wrong; node_patches[0]: own is wrong"
    assert told(Generation("all", "own")) == both


def test_a_patch_is_tried_with_those_that_it_needs() -> None:
    assert told(Generation("workers", own="all")) == "group_patches.workers[0]: workers is wrong"


def test_without_places_it_is_counted() -> None:
    node = dataclasses.replace(NODE, patch_places=())
    assert told(Generation("workers"), node) == "patches[2]: workers is wrong"


def test_no_patch_is_blamed_for_what_fails_without_any() -> None:
    def refuse(_node: Node, _patches: t.Sequence[str]) -> bytes:
        raise TalosctlError("no such version")

    assert RefusedPatches(refuse).error(NODE) is None


def test_a_slow_talosctl_says_nothing_of_a_patch() -> None:
    def hang(_node: Node, _patches: t.Sequence[str]) -> bytes:
        raise SlowTalosctl("not done within 60 s")

    with pytest.raises(SlowTalosctl):
        RefusedPatches(hang).error(NODE)


def test_what_is_known_of_one_node_is_not_looked_for_on_the_next() -> None:
    generation = Generation("all", "own")
    refused = RefusedPatches(generation)
    refused.error(NODE)
    generation.given.clear()
    # "own" stands in another patch of the inventory here, and is another text.
    other = dataclasses.replace(NODE, name="n-w2", patches=("settings of n-w2", "all", "workers", "fine"))
    assert str(refused.error(other)).startswith("cluster_patches[0] (p.yaml): all is wrong")
    assert generation.given == [["settings of n-w2", "workers", "fine"]]


@pytest.mark.parametrize(
    ("said", "short"),
    [
        (
            f"{REFUSED}/v1alpha1/ (line 1): unknown keys found during decoding:\n"
            'cluster:\n    what: s3cret\nmachine:\n    sysctl:\n        a: "s3cret"\n        net.core: s3cret\n',
            "unknown keys: cluster.what, machine.sysctl.a, machine.sysctl.net.core",
        ),
        (
            f"{REFUSED}/v1alpha1/ (line 1): unknown keys found during decoding:\n"
            "machine:\n    kubelet:\n        extraMount:\n            - a: s3cret\n              b: s3cret\n"
            "            - a: s3cret\n",
            "unknown keys: machine.kubelet.extraMount.a, machine.kubelet.extraMount.b",
        ),
        (
            f"{REFUSED}v1alpha1/WatchdogTimerConfig/ (line 3): unknown keys found during decoding:\nnope: s3cret\n",
            "WatchdogTimerConfig: unknown keys: nope",
        ),
        (
            f"{REFUSED}v1alpha1/VLANConfig/end0.5 (line 3): unknown keys found during decoding:\n"
            + "".join(f"k{number}: s3cret\n" for number in range(7)),
            "VLANConfig/end0.5: unknown keys: k0, k1, k2, k3, k4 and 2 more",
        ),
        (f"{REFUSED}/v1alpha1/ (line 1): unknown keys found during decoding:\n's3cret': 1\n", "unknown keys: <hidden>"),
        (
            f"{REFUSED}v1alpha1/WatchdogTimerConfig/ (line 1): error decoding WatchdogTimerConfig to *runtime.Dog: "
            "yaml: construct errors:\n  line 4: cannot construct !!str `s3cret` into time.Duration\n",
            "WatchdogTimerConfig: line 4: cannot construct !!str `<hidden>` into time.Duration",
        ),
        (
            f"{REFUSED}/v1alpha1/ (line 1): error decoding  to *v1alpha1.Config: yaml: construct errors: line 1: "
            "cannot construct !!seq into map[string]string",
            "line 1: cannot construct !!seq into map[string]string",
        ),
        (
            "failed to generate config bundle: error patching configs: patch delete: path 'machine.nodeLabels.a' in "
            "document '/v1alpha1': failed to delete path 'machine.nodeLabels.a': lookup failed",
            "patch delete: path 'machine.nodeLabels.a' in document '/v1alpha1': failed to delete path "
            "'machine.nodeLabels.a': lookup failed",
        ),
        ("2 errors occurred:\n\t* one\n\t* two\n", "* one; * two"),
    ],
)
def test_the_words_are_short_and_show_no_value(said: str, short: str) -> None:
    assert in_short(without_quotes(said)) == short
