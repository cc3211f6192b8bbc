#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: node_info
short_description: Facts of a Talos node
version_added: 0.1.0
description:
  - Reads stage, readiness, versions, schematic, extensions, addresses, disks, services, etcd membership and pending
    changes of one node, through the Talos API.
  - Can stand in C(ansible_facts_modules), so that C(gather_facts) works for an appliance; the facts are
    C(ansible_facts.talos). C(gather_facts) calls modules without their action plugin, so that O(node) and
    O(talosconfig) come from C(module_defaults), see the example.

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.talos
  - homelab.talos.talos.node
  - homelab.talos.talos.secrets
  - homelab.talos.talos.talosconfig
  - homelab.talos.attributes
  - homelab.talos.attributes.action_group
attributes:
  action:
    description: Options are filled in on the controller.
    support: full
  facts:
    description: Returns an C(ansible_facts) dictionary that updates existing host facts.
    support: full
options:
  gather_subset:
    description: Accepted for C(ansible_facts_modules), and not used.
    type: list
    elements: str
    default: []
  gather_timeout:
    description: Accepted for C(ansible_facts_modules), and not used.
    type: int
  filter:
    description: Accepted for C(ansible_facts_modules), and not used.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Look at the nodes
  hosts: talos
  gather_facts: false
  tasks:
    - name: Gather their facts
      homelab.talos.node_info:

    - name: Show what a node still waits for
      ansible.builtin.debug:
        var: ansible_facts.talos.unmet

- name: Gather the facts of the nodes as those of any host
  hosts: talos
  gather_facts: true
  vars:
    ansible_facts_modules: [homelab.talos.node_info]
  module_defaults:
    homelab.talos.node_info:
      node:
        name: "{{ inventory_hostname }}"
        address: "{{ node_address }}"
        machine_type: "{{ 'controlplane' if 'controlplanes' in group_names else 'worker' }}"
      talosconfig: ~/.homelab/homelab/talosconfig.reader
"""

RETURN = r"""
ansible_facts:
  description: The facts.
  returned: success
  type: dict
  contains:
    talos:
      description: The facts of the node.
      type: dict
      contains:
        reachable:
          description: Whether the node answers by the cluster's PKI or in maintenance.
          type: bool
        error:
          description:
            - Why not, or why some of the facts could not be read, which are null then; empty where all could be.
          type: str
        maintenance:
          description: Whether it is in maintenance.
          type: bool
        stage:
          description: Stage as Talos names it.
          returned: when the node is reachable
          type: str
          sample: running
        ready:
          description: Whether Talos says that it is ready.
          returned: when the node is reachable
          type: bool
        unmet:
          description: What it still waits for.
          returned: when the node is reachable
          type: list
          elements: str
        version:
          description: Talos version.
          returned: when the node is reachable
          type: str
          sample: v1.14.2
        kubernetes_version:
          description: Kubernetes version of its kubelet; empty in maintenance, and for the role C(os:reader).
          returned: when the node is reachable
          type: str
          sample: v1.36.2
        arch:
          description: Architecture.
          returned: when the node is reachable
          type: str
          sample: arm64
        schematic_id:
          description: ID of the schematic that it runs; empty where it has none.
          returned: when the node is reachable
          type: str
        extensions:
          description: System extensions and their versions.
          returned: when the node is reachable
          type: dict
        hostname:
          description: Its hostname.
          returned: when the node is reachable
          type: str
        addresses:
          description: Its addresses.
          returned: when the node is reachable
          type: list
          elements: str
        macs:
          description: MAC addresses of its cards.
          returned: when the node is reachable
          type: list
          elements: str
        disks:
          description: Its disks, with device path, size in bytes, model, serial and transport.
          returned: when the node is reachable
          type: list
          elements: dict
        services:
          description: State and health of each service.
          returned: when the node is reachable
          type: dict
        etcd:
          description: Its etcd membership; empty on workers and before bootstrap.
          returned: when the node is reachable
          type: dict
        change_pending:
          description:
            - Whether a stored config waits for a reboot, or a try is under way; null for the role C(os:reader).
          returned: when the node is reachable
          type: bool
failure:
  description: Kind, node, command, cause and remedy of an error.
  returned: failure
  type: dict
"""

import typing as t

from ..module_utils._module import TalosModule, shared, wait_for


def work(module: TalosModule) -> dict[str, t.Any]:
    from ..module_utils._assessment import endpoint_of
    from ..module_utils._cluster_work import node_of
    from ..module_utils._node_facts import facts

    found = wait_for(facts(endpoint_of(node_of(module)), module.context()))
    return {"changed": False, "ansible_facts": {"talos": found}}


def main() -> None:
    module = TalosModule(
        {
            **shared("hidden", "node", "secrets", "talosconfig"),
            "filter": {"type": "list", "elements": "str", "default": []},
            "gather_subset": {"type": "list", "elements": "str", "default": []},
            "gather_timeout": {"type": "int"},
        }
    )
    module.run(work)


if __name__ == "__main__":
    main()
