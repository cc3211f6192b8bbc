#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: card_plan
short_description: Which nodes need a card, and which card is whose
version_added: 0.1.0
description:
  - Looks at the cards in the host, and says for the nodes of the play which of them get which image on which card, and
    in which rounds. Writes nothing.
  - A node is due that has no entry in C(cards.yml) in the inventory's folder (or C(cluster_records_dir)), or whose card
    is in the host and does not hold what it should. A node whose card is in its Pi is not.
  - A card is known to be a node's by C(card_identity) of the node, by C(cards.yml), or by the marker on it. For the
    other nodes a card has to be asked for, as many at once as there are readers. Where nobody can be asked, it is an
    error that no C(card_identity) is declared.

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.card
  - homelab.talos.attributes
attributes:
  action:
    description: Nodes and records are filled in on the controller, which knows whether there is a terminal.
    support: full
  platform:
    description: The host that the card reader is at, a Linux machine.
options:
  readers:
    description: The readers, each as the device that a card in it is, V(/dev/sdb) or a link in V(/dev/disk/by-id).
    type: list
    elements: path
    required: true
  nodes:
    description: What the card of each node should be and hold. The action plugin fills this in.
    type: list
    elements: dict
    default: []
    suboptions:
      node:
        description: Name of the node.
        type: str
        required: true
      schematic:
        description: ID of its schematic.
        type: str
        required: true
      version:
        description: Talos version.
        type: str
        required: true
      source:
        description: Format or file of the image.
        type: str
        default: ""
      identity:
        description: The card's, where it is declared.
        type: str
        default: ""
      size:
        description: The card's in bytes, where it is declared, else 0.
        type: int
        default: 0
  terminal:
    description: Whether somebody can be asked. The action plugin fills this in.
    type: bool
    default: false
seealso:
  - module: homelab.talos.card_prompt
  - module: homelab.talos.card_record
  - module: homelab.talos.sd_card
"""

EXAMPLES = r"""
- name: See which nodes need a card
  homelab.talos.card_plan:
    readers: [/dev/sdb]
  run_once: true
  register: __card_plan
"""

RETURN = r"""
due:
  description: Names of the nodes that get a card in this run.
  returned: success
  type: list
  elements: str
images:
  description: For each image that is needed, the first node that needs it.
  returned: success
  type: list
  elements: str
rounds:
  description:
    - What is written at the same time. C(image) is the node of RV(images) whose image it is, C(places) are the nodes,
      each as O(nodes), with the card that is there already, or with the reader to ask for one in.
  returned: success
  type: list
  elements: dict
missing:
  description: By node, why it is due and gets no card in this run.
  returned: success
  type: dict
planned:
  description: By node, what a run would do, in words.
  returned: success
  type: dict
  sample:
    talos-w1: Talos 1.14.2 gets onto a card that is asked for in /dev/sdb
notes:
  description: What is worth knowing, as that the card of a node was made for another version.
  returned: success
  type: list
  elements: str
failure:
  description: Kind, cause and remedy of an error.
  returned: failure
  type: dict
"""

import dataclasses
import typing as t

from ..module_utils._block_devices import Machine
from ..module_utils._card_module import CardModule
from ..module_utils._card_options import CLUSTER_OPTIONS, NODE_OPTIONS, cluster_of
from ..module_utils._card_plan import NodeCard, Place, in_machine, plan


def work(module: CardModule) -> dict[str, t.Any]:
    given = module.params
    nodes = [NodeCard(**node) for node in given["nodes"]]
    cluster = cluster_of(given)
    identities = {node.identity for node in nodes} | {record.identity for record in cluster.records.values()}
    seen = in_machine(Machine(), given["readers"], identities - {""})
    found = plan(nodes, given["readers"], seen, cluster, terminal=given["terminal"])
    first = {wanted.image: wanted.node for wanted in reversed(found.due)}
    return {
        "changed": False,
        "due": [wanted.node for wanted in found.due],
        "images": sorted(first.values()),
        "rounds": [
            {"image": first[places[0].wanted.image], "places": [dataclasses.asdict(place) for place in places]}
            for places in found.rounds
        ],
        "missing": found.missing,
        "planned": {place.wanted.node: _told(place) for places in found.rounds for place in places},
        "notes": found.notes,
    }


def _told(place: Place) -> str:
    where = f"{place.card.identity or 'the card'} in {place.card.device}" if place.card else ""
    where = where or f"{place.wanted.identity or 'a card'}, which is asked for in {place.reader}"
    return f"Talos {place.wanted.version} (schematic {place.wanted.schematic}) gets onto {where}"


def main() -> None:
    module = CardModule(
        {
            **CLUSTER_OPTIONS,
            "readers": {"type": "list", "elements": "path", "required": True},
            "nodes": {"type": "list", "elements": "dict", "default": [], "options": NODE_OPTIONS},
            "terminal": {"type": "bool", "default": False},
        }
    )
    module.run(work)


if __name__ == "__main__":
    main()
