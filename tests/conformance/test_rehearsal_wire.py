# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated nodes answer the recorded requests of the real talosctl as real nodes did.

Alike are: the status, its message, and, but for what BY_STATUS_ONLY lists, which fields of the answers are set, down
to the keys of each spec. Values may differ, but for those by which a client tells how a config is applied.
"""

from __future__ import annotations

import functools
import typing as t

import pytest

from rehearsal.definitions import TYPES, types_of
from rehearsal.versions import TalosVersion
from tests.conformance.rehearsal_wire import (
    WIRE,
    Answer,
    field_paths,
    recorded,
    recorded_answer,
    replay,
    yaml_paths,
)

VERSIONS = sorted(path.stem.removeprefix("talos-") for path in WIRE.glob("*.jsonl"))
# Of these the status alone is compared: real nodes were containers, simulated ones are Raspberry Pis that run.
BY_STATUS_ONLY = {
    "maint-disks": "a container has no disks",
    "get-extensions": "a container has no schematic",
    "get-kernelcmdline": "a container has no kernel command line",
    "get-staticpods": "the pods' manifests are not simulated",
    "reboot-refused": "only a container refuses",
    "reset-refused": "only a container refuses",
    "health": "the check of etcd comes before that of kubelet",
}
# A Raspberry Pi does what a container refuses.
DONE_HERE = ("reboot-refused", "reset-refused")
# Calls that nodes do not serve.
NOT_SENT = {"upgrade-refused": "/machine.ImageService/Pull"}
# Clients read specs as YAML; protobuf is filled in where talosctl decodes it.
PROTO_IS_FILLED = {"MachineConfigs.config.talos.dev", "ResourceDefinitions.meta.cosi.dev"}
# While it was recorded the kubelet of the real node could not be pulled.
NOT_SET_HERE = {name: {"messages.services.health.unknown"} for name in ("services", "service-etcd")}


@functools.cache
def answers(version: str) -> dict[int, Answer]:
    return replay(version)


def compared() -> list[t.Any]:
    return [
        pytest.param(version, position, id=f"{version}-{position}-{call['during']}")
        for version in VERSIONS
        for position, call in enumerate(recorded(version))
        if call["during"] not in NOT_SENT
    ]


@pytest.mark.parametrize(("version", "position"), compared())
def test_answers_as_a_real_node(version: str, position: int) -> None:
    call = recorded(version)[position]
    real, simulated = recorded_answer(call), answers(version)[position]
    if call["during"] in DONE_HERE:
        real.status, real.message = "OK", ""
    assert (simulated.status, simulated.message) == (real.status, real.message)
    method = call["method"]
    if call["during"] in BY_STATUS_ONLY:
        return
    if method == "/cosi.resource.State/List":
        compare_resources(real.parsed(method), simulated.parsed(method))
    else:
        expected = paths_of(real.parsed(method)) - NOT_SET_HERE.get(call["during"], set())
        assert paths_of(simulated.parsed(method)) == expected
    if method == "/machine.MachineService/ApplyConfiguration":
        assert applied(simulated.parsed(method)) == applied(real.parsed(method))


def applied(answers: list[t.Any]) -> list[tuple[int, str]]:
    """How, and what is said about it before the diff, which quotes YAML in other styles."""
    messages = [message for answer in answers for message in answer.messages]
    return [(message.mode, message.mode_details.partition("--- a\n")[0]) for message in messages]


def paths_of(messages: list[t.Any]) -> set[str]:
    return set().union(*(field_paths(message) for message in messages))


def compare_resources(real: list[t.Any], simulated: list[t.Any]) -> None:
    """The same fields in the envelope, the same keys in the specs."""
    if real and real[0].resource.metadata.type == "ResourceDefinitions.meta.cosi.dev":
        return  # looked at one by one below
    assert bool(simulated) == bool(real)
    ignored = {"resource.spec.proto_spec"}
    if real and real[0].resource.metadata.type in PROTO_IS_FILLED:
        ignored = set()
    assert paths_of(simulated) - ignored == paths_of(real) - ignored
    assert {entry.resource.metadata.type for entry in simulated} == {entry.resource.metadata.type for entry in real}
    assert keys_of(simulated) == keys_of(real)


def keys_of(messages: list[t.Any]) -> set[str]:
    return set().union(*(yaml_paths(message.resource.spec.yaml_spec) for message in messages))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", TYPES)
def test_definitions_are_those_of_real_nodes(version: str, name: str) -> None:
    position = next(number for number, call in enumerate(recorded(version)) if call["during"] == "maint-machinestatus")
    method = recorded(version)[position]["method"]
    real = {
        entry.resource.metadata.id: entry.resource
        for entry in recorded_answer(recorded(version)[position]).parsed(method)
    }
    ours = {entry.resource.metadata.id: entry.resource for entry in answers(version)[position].parsed(method)}
    served = name in types_of(TalosVersion.parse(version))
    assert (name.lower() in real) == served == (name.lower() in ours)
    if served:
        mine, theirs = ours[name.lower()], real[name.lower()]
        assert mine.spec.proto_spec == theirs.spec.proto_spec
        assert yaml_paths(mine.spec.yaml_spec) == yaml_paths(theirs.spec.yaml_spec)
        assert field_paths(mine) == field_paths(theirs)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_recorded_call_was_answered(version: str) -> None:
    unanswered = [call for position, call in enumerate(recorded(version)) if position not in answers(version)]
    assert {call["during"]: call["method"] for call in unanswered} == NOT_SENT


@pytest.mark.parametrize("version", VERSIONS)
def test_reboot_and_reset_are_done(version: str) -> None:
    for position, call in enumerate(recorded(version)):
        if call["during"] in DONE_HERE:
            [answer] = answers(version)[position].parsed(call["method"])
            assert answer.messages[0].actor_id
            assert not answer.messages[0].metadata.error
