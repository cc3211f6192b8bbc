#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: card_record
short_description: Record which card is which node's
version_added: 0.1.0
description:
  - Records the cards that M(homelab.talos.sd_card) wrote or found right in C(cards.yml), in the inventory's folder (or
    C(cluster_records_dir)) on the controller. Those that failed are left out.
  - The file is replaced as a whole. Runs at the same time lose nothing of each other.

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.attributes
attributes:
  action:
    description: Works on the controller alone.
    support: full
  platform:
    description: The controller.
options:
  cards:
    description: The cards as M(homelab.talos.sd_card) returns them.
    type: list
    elements: dict
    required: true
  schematic:
    description: ID of the image's schematic.
    type: str
    required: true
  version:
    description: The image's Talos version.
    type: str
    required: true
  sha256:
    description: The SHA-256 of the image's file.
    type: str
    required: true
seealso:
  - module: homelab.talos.card_plan
  - module: homelab.talos.sd_card
"""

EXAMPLES = r"""
- name: Record the cards
  homelab.talos.card_record:
    cards: "{{ __card_written.cards }}"
    schematic: "{{ __card_image.schematic_id }}"
    version: "{{ __card_image.version }}"
    sha256: "{{ __card_image.sha256 }}"
  run_once: true
"""

RETURN = r"""
path:
  description: The file on the controller.
  returned: success
  type: str
  sample: /home/me/homelab/inventory/homelab/cards.yml
failure:
  description: Kind, cause and remedy of an error.
  returned: failure
  type: dict
"""

# The work is done by the action plugin of the same name.
