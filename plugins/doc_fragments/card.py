# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that find out which card is which node's."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  cluster:
    description: The cluster of the nodes. By default C(cluster_name).
    type: str
  records:
    description: The content of C(cards.yml). The action plugin fills this in.
    type: dict
    default: {}
  force:
    description: Allow the card of a node that has its machine config, and one that is another node's.
    type: bool
    default: false
  unmount:
    description: Allow cards that are mounted. The one that writes them is to unmount them.
    type: bool
    default: false
"""
