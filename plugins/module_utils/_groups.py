# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Which groups hold the nodes, the admin host and the card readers, and how none of these may be named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ._problems import Problems, nearest
from ._targets import PHASES, SPECIAL_TAGS

NODES_GROUP = "talos"
MACHINE_TYPES = {"controlplanes": "controlplane", "workers": "worker"}
ADMIN_GROUP = "admin"
IMAGE_WRITER_GROUP = "image_writer"
INVENTORY = "inventory"
# Of which every node is a member.
_SHARED_GROUPS = ("all", NODES_GROUP)

_NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)

Groups = Mapping[str, Sequence[str]]


def checked_hosts(groups: Groups) -> list[str]:
    """Whose variables ``check`` looks at: the nodes, the admin host, and the one with the card readers."""
    return list(dict.fromkeys(filter(None, (*node_names(groups), *groups.get(ADMIN_GROUP, ()), image_writer(groups)))))


def node_names(groups: Groups) -> list[str]:
    """The nodes in the inventory's order."""
    return list(dict.fromkeys(groups.get(NODES_GROUP, ())))


def image_writer(groups: Groups) -> str:
    """The host with the card readers; without one of its own, the admin host. Empty where there is neither."""
    return next(iter([*groups.get(IMAGE_WRITER_GROUP, ()), *groups.get(ADMIN_GROUP, ())]), "")


def designated(groups: Groups) -> str:
    """The control plane that etcd is bootstrapped on, and that the phase argocd runs on; empty where there is none."""
    return next(iter(groups.get("controlplanes", ())), "")


class Memberships:
    """Which groups a node is in, the larger ones first: a parent holds at least what its child holds."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self._members = {group: frozenset(hosts) for group, hosts in groups.items()}
        order = {group: index for index, group in enumerate(groups)}
        self.ordered = sorted(groups, key=lambda group: (-len(self._members[group]), order[group]))
        self.nodes = self._members.get(NODES_GROUP, frozenset())

    def holds(self, group: str, name: str) -> bool:
        return group == "all" or name in self._members.get(group, ())

    def of(self, name: str, among: Iterable[str]) -> list[str]:
        wanted = set(among)
        first = ["all"] if "all" in wanted else []
        return first + [group for group in self.ordered if group in wanted - {"all"} and self.holds(group, name)]

    def has_nodes(self, group: str) -> bool:
        return group == "all" or bool(self._members[group] & self.nodes)


def machine_type(name: str, members: Memberships) -> str:
    return "controlplane" if members.holds("controlplanes", name) else "worker"


def check_machine_type(name: str, members: Memberships, found: Problems) -> None:
    held = [group for group in MACHINE_TYPES if members.holds(group, name)]
    if len(held) != 1:
        remedy = "a node is in exactly one of controlplanes and workers"
        others = [group for group in members.ordered if group not in _SHARED_GROUPS and members.holds(group, name)]
        near = [meant for group in others for meant in nearest(group, MACHINE_TYPES)]
        if not held and near:
            remedy += f"; did you mean {near[0]}?"
        found.add(name, "groups", held or others, remedy)


def check(names: Sequence[str], groups: Groups, found: Problems) -> None:
    members = Memberships(groups)
    if not names:
        found.add(INVENTORY, NODES_GROUP, [], "the group has no nodes; put controlplanes and workers below it")
    for name in names:
        check_machine_type(name, members, found)
    for group in MACHINE_TYPES:
        for name in groups.get(group, ()):
            if name not in members.nodes:
                found.add(name, "groups", group, f"make {group} a child of the group {NODES_GROUP}")
    count = len(set(groups.get("controlplanes", ())))
    if not count:
        found.add(INVENTORY, "controlplanes", [], "a cluster needs a control plane; put a node in this group")
    elif count % 2 == 0:
        remedy = "an even number of etcd members survives no more failures than one less; use an odd number"
        found.add(INVENTORY, "controlplanes", f"{count} nodes", remedy, "warning")
    _check_admin(groups, members, found)


def _check_admin(groups: Groups, members: Memberships, found: Problems) -> None:
    admin = list(groups.get(ADMIN_GROUP, ()))
    if len(admin) != 1:
        remedy = "put exactly one host in this group: the VM, localhost or any SSH host"
        found.add(INVENTORY, ADMIN_GROUP, admin, remedy)
    if len(groups.get(IMAGE_WRITER_GROUP, ())) > 1:
        writers = list(groups[IMAGE_WRITER_GROUP])
        found.add(INVENTORY, IMAGE_WRITER_GROUP, writers, "put one host in this group, or none for the admin host")
    for group in (ADMIN_GROUP, IMAGE_WRITER_GROUP):
        for name in groups.get(group, ()):
            if name in members.nodes:
                found.add(name, "groups", group, "a Talos node runs no Ansible modules; choose another host")


def check_names(names: Sequence[str], groups: Groups, found: Problems) -> None:
    for name in names:
        if name in PHASES:
            found.add(name, "name", name, f"is a phase of the run ({', '.join(PHASES)}); rename the node")
        elif name in SPECIAL_TAGS:
            found.add(name, "name", name, "means something to --tags; rename the node")
        elif name in groups or name == "all":
            found.add(name, "name", name, "is also a group; rename one of the two")
        elif not _NODE_NAME.fullmatch(name):
            found.add(name, "name", name, "is a tag too; use letters, digits, '-', '_' and '.'")
