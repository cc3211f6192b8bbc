#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: validate
short_description: Check the whole inventory before anything runs
version_added: 0.1.0
description:
  - Checks all nodes and the cluster as the inventory declares them, on the controller, and touches nothing.
  - All problems come at once, each with host, key, value and remedy.

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.attributes
attributes:
  platform:
    description: The controller; no other machine is spoken to.
    support: full
    platforms: posix
"""

EXAMPLES = r"""
- name: Check the inventory
  homelab.talos.validate:
"""

RETURN = r"""
nodes:
  description: How many nodes the inventory declares.
  returned: success
  type: int
  sample: 5
"""

# The work is done by the action plugin of the same name.
