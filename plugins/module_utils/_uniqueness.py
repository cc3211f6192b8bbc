# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What only one node may have: its names, addresses, devices, certificate and card."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable, Mapping

from ._declaration import Node
from ._problems import Report
from ._settings import Settings, addressings

# A key, a value, and what nobody else may have of it.
_Claim = tuple[str, str, tuple[str, str]]


def check(nodes: Iterable[tuple[Node, Settings]], cards: Mapping[str, str], reporter: Callable[[str], Report]) -> None:
    """Reports what two nodes have; ``cards`` are the identities of cards by node."""
    owners: dict[tuple[str, str], Node] = {}
    for node, settings in nodes:
        report = reporter(node.name)
        for key, value, claim in _claims(node, settings, cards.get(node.name, "")):
            owner = owners.setdefault(claim, node)
            if owner is not node:
                report(key, value, _remedy(claim[0], owner, node))


def _claims(node: Node, settings: Settings, card: str) -> t.Iterator[_Claim]:
    for key, value, kind in (
        ("node_address", node.address.lower(), "address"),
        ("node_mac", node.mac, "device"),
        ("node_hostname", node.hostname, "name"),
        ("node_fingerprint", node.fingerprint, "certificate"),
        ("card_identity", card, "card"),
    ):
        if value:
            yield key, value, (kind, _registered(node) if kind == "name" else value)
    for index, link in enumerate(settings.links):
        if link.mac:
            yield f"node_network[{index}].mac", link.mac, ("device", link.mac)
    for key, addressing in addressings(settings.links):
        for index, prefix in enumerate(addressing.addresses):
            yield f"{key}.addresses[{index}]", prefix, ("address", prefix.split("/")[0])


def _registered(node: Node) -> str:
    """The name that Kubernetes knows a node by (kubelet's registerWithFQDN, false unless a patch sets it)."""
    whole = any("registerWithFQDN" in patch for patch in node.patches)
    return (node.hostname if whole else node.hostname.partition(".")[0]).lower()


def _remedy(kind: str, owner: Node, node: Node) -> str:
    if kind == "name" and owner.hostname.lower() != node.hostname.lower():
        return (
            f"Kubernetes knows a node by the part before the first dot, which is that of {owner.name}; choose another"
        )
    return f"{owner.name} has the same; every node needs its own"
