# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attributes of the modules of the collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and tells truly what a run would change.
    support: full
  diff_mode:
    description: Shows in diff mode what changes, without secrets.
    support: none
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
  platform:
    description: The admin host, a Linux machine.
    support: full
    platforms: Linux
"""

    # Of those that speak to nodes.
    ACTION_GROUP = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/homelab.talos.talos) in C(module_defaults) to set O(secrets) and O(hidden) for all of them.
    support: full
    membership:
      - homelab.talos.talos
"""
