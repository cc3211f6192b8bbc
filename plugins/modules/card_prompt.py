#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: card_prompt
short_description: Ask for the cards of a round, until they are the right ones
version_added: 0.1.0
description:
  - For each place of a round that has no card yet, asks in the terminal for a card in its reader, and waits until
    there is one that may become the node's.
  - Asks again, and tells why, for a card of another identity or size than declared, one that is read-only or in use,
    the card of a node that has its machine config, one that is marked for another node, and the card of the node
    before.
  - Writes nothing. In check mode nobody is asked, and the task is skipped.

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.card
  - homelab.talos.attributes
attributes:
  action:
    description: Asks on the controller. The module looks at one reader.
    support: full
  platform:
    description: The host that the card reader is at, a Linux machine.
options:
  places:
    description: The places of a round of M(homelab.talos.card_plan).
    type: list
    elements: dict
    required: true
  used:
    description: The cards that this run has asked for or found already.
    type: list
    elements: dict
    default: []
  reader:
    description: The reader to look at. The action plugin fills this in.
    type: path
    default: ""
  wanted:
    description: What the node's card should be. The action plugin fills this in.
    type: dict
seealso:
  - module: homelab.talos.card_plan
"""

EXAMPLES = r"""
- name: Ask for the cards of the first round
  homelab.talos.card_prompt:
    places: "{{ __card_plan.rounds[0].places }}"
  run_once: true
  register: __card_prompt

- name: Write them
  homelab.talos.sd_card:
    image: ~/metal-arm64.raw.zst
    cards: "{{ __card_prompt.cards }}"
  run_once: true
"""

RETURN = r"""
cards:
  description: The cards, in the form of M(homelab.talos.sd_card).
  returned: success
  type: list
  elements: dict
  sample:
    - node: talos-w1
      device: /dev/sdb
      identity: usb:07A80207B128:0:31914983424
      diskseq: 27
passed_over:
  description: The nodes that whoever was asked did not want a card for.
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
from ..module_utils._card_options import CLUSTER_OPTIONS, cluster_of
from ..module_utils._card_plan import Chosen, NodeCard, in_reader, judge


def work(module: CardModule) -> dict[str, t.Any]:
    given = module.params
    seen = in_reader(Machine(), given["reader"])
    used = [Chosen(**card) for card in given["used"]]
    verdict = judge(seen, given["reader"], NodeCard(**given["wanted"]), used, cluster_of(given))
    content = f"a card with {seen.state.describe()}" if seen else "no card"
    return {"changed": False, "content": content, **dataclasses.asdict(verdict)}


def main() -> None:
    module = CardModule(
        {
            **CLUSTER_OPTIONS,
            "places": {"type": "list", "elements": "dict", "required": True},
            "used": {"type": "list", "elements": "dict", "default": []},
            "reader": {"type": "path", "default": ""},
            "wanted": {"type": "dict"},
        }
    )
    module.run(work)


if __name__ == "__main__":
    main()
