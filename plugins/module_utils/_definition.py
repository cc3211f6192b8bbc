# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""The definition of a cluster: what the inventory's variables say, checked as a whole before anything runs.

Input is the resolved variables of each node and the groups, as Ansible gives them; output is what a node's
config is rendered from. ``docs/inventory.md`` describes the variables.
"""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Callable, Mapping

from . import (
    _argocd_settings,
    _card_settings,
    _cluster_settings,
    _groups,
    _node_settings,
    _uniqueness,
    _values,
    _variables,
)
from ._declaration import Cluster, Node
from ._groups import Groups, Memberships, checked_hosts, designated, image_writer
from ._patches import PatchReader
from ._problems import EVERY_NODE, DefinitionError, Problem, Problems, Unresolved
from ._settings import Settings
from ._variables import CLUSTER_VARIABLES, OUR_VARIABLES, is_of_argocd, is_ours

__all__ = [
    "OUR_VARIABLES",
    "Cluster",
    "Definition",
    "DefinitionError",
    "Node",
    "Problem",
    "Unresolved",
    "check",
    "checked_hosts",
    "cluster_from_variables",
    "designated",
    "is_of_argocd",
    "is_ours",
    "node_from_variables",
]

Variables = Mapping[str, t.Any]
ReadFile = Callable[[str], str]


@dataclasses.dataclass(frozen=True)
class Definition:
    """A checked cluster; nodes stand in the inventory's order."""

    cluster: Cluster
    nodes: tuple[Node, ...]
    warnings: tuple[Problem, ...]


def check(
    hosts: Mapping[str, Variables], groups: Groups, read_file: ReadFile, *, argocd_due: bool = False
) -> Definition:
    """Checks the whole definition: raises DefinitionError with all problems, or returns it with its warnings.

    ``hosts`` holds the variables of ``checked_hosts``, of which those are read that ``is_ours`` names, and for the
    ``designated`` one those that ``is_of_argocd`` names; an ``Unresolved`` one is told as a problem. ``argocd_due``:
    the run comes to Argo CD, so that its tokens must be there.
    """
    found = Problems()
    names = _groups.node_names(groups)
    _groups.check(names, groups, found)
    _groups.check_names(names, groups, found)
    variables = {name: _taken(name, hosts.get(name, {}), found) for name in checked_hosts(groups)}
    for name, ours in variables.items():
        _variables.check_known(ours, found.reporter(name))
    of_nodes = {name: variables[name] for name in names}
    _check_run(of_nodes, found)
    _check_readers(image_writer(groups), variables, of_nodes, found)
    _check_argocd(designated(groups), hosts, found, due=argocd_due)
    nodes: list[tuple[Node, Settings]] = []
    cluster = _cluster_settings.read_common(of_nodes, found)
    members, patches = Memberships(groups), PatchReader(read_file)
    for name, ours in of_nodes.items():
        nodes.append(_node_settings.read(name, ours, cluster, members, patches, found.reporter(name)))
        _node_settings.warn(ours, *nodes[-1], found.reporter(name, "warning"))
    cards = {name: str(ours.get("card_identity") or "") for name, ours in of_nodes.items()}
    _uniqueness.check(nodes, cards, found.reporter)
    found.raise_errors()
    return Definition(cluster, tuple(node for node, _settings in nodes), tuple(found.problems))


def cluster_from_variables(variables: Variables) -> Cluster:
    """The cluster as one node's variables give it; raises DefinitionError."""
    found = Problems()
    of_cluster = {name: variables[name] for name in variables if name in CLUSTER_VARIABLES}
    cluster = _cluster_settings.read(_taken(EVERY_NODE, of_cluster, found), found.reporter(EVERY_NODE))
    found.raise_errors()
    return cluster


def node_from_variables(name: str, variables: Variables, groups: Groups, read_file: ReadFile) -> Node:
    """One node by itself; raises DefinitionError. What concerns several nodes is left to ``check``."""
    found = Problems()
    ours = _taken(name, variables, found)
    members = Memberships(groups)
    _groups.check_machine_type(name, members, found)
    _groups.check_names([name], groups, found)
    _variables.check_known(ours, found.reporter(name))
    cluster = _cluster_settings.read(ours, found.reporter(EVERY_NODE))
    node, _settings = _node_settings.read(name, ours, cluster, members, PatchReader(read_file), found.reporter(name))
    found.raise_errors()
    return node


def _taken(
    host: str, variables: Variables, found: Problems, wanted: Callable[[str], bool] = is_ours
) -> dict[str, t.Any]:
    """Our variables of a host as plain data, without those that could not be resolved: these are told here."""
    taken = {}
    for name in filter(wanted, variables):
        value = variables[name]
        if isinstance(value, Unresolved):
            found.add_unresolved(host, name, value)
        else:
            taken[name] = _values.plain(value)
    return taken


def _check_run(nodes: Mapping[str, Variables], found: Problems) -> None:
    for name, variables in nodes.items():
        _variables.check_run(variables, found.reporter(name))
        _card_settings.check(variables, found.reporter(name))


def _check_readers(
    writer: str, hosts: Mapping[str, Variables], nodes: Mapping[str, Variables], found: Problems
) -> None:
    """They are looked for at one host: declared at the nodes alone, they would be for nobody."""
    declared = hosts.get(writer, {})
    _card_settings.check(declared, found.reporter(writer))
    if _card_settings.READERS not in declared:
        for name, variables in nodes.items():
            if variables.get(_card_settings.READERS):
                remedy = f"the readers are at {writer or 'the host of the group image_writer'}; declare them there"
                found.add(name, _card_settings.READERS, variables[_card_settings.READERS], remedy)


def _check_argocd(host: str, hosts: Mapping[str, Variables], found: Problems, *, due: bool) -> None:
    _argocd_settings.check(_taken(host, hosts.get(host, {}), found, is_of_argocd), found.reporter(host), due=due)
