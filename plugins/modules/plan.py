#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: plan
short_description: Look at all nodes at once and tell what a run would do
version_added: 0.1.0
description:
  - Asks all nodes at once, in one process, and compares each with its declaration. Changes no node; keeps digests of
    rendered configs in the cluster's folder, so that the next look need not render them.
  - A node is RV(nodes.state) V(as-declared), V(differs), V(pending-reboot) (the declared config is stored and waits
    for a reboot), V(maintenance), V(foreign-pki) (configured by another cluster), V(wrong-machine) (another MAC
    address than declared), V(invalid) (its declared config cannot be rendered, or the one that it holds cannot be
    read, or Kubernetes would go down a minor or up more than one) or V(unreachable).

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.talos
  - homelab.talos.talos.cluster
  - homelab.talos.talos.nodes
  - homelab.talos.talos.control_planes
  - homelab.talos.talos.secrets
  - homelab.talos.talos.talosctl
  - homelab.talos.talos.admin_dir
  - homelab.talos.attributes
  - homelab.talos.attributes.action_group
attributes:
  action:
    description: Options are filled in on the controller.
    support: full
options:
  details:
    description: Also ask each node for its version, schematic and certificate.
    type: bool
    default: false
  renew_before:
    description:
      - Client files whose certificate ends within so many days, or a third of its time if that is less, are due to be
        made again.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Look at all nodes
  homelab.talos.plan:
  run_once: true
  register: node_plan

- name: Show what a run would do
  ansible.builtin.debug:
    var: node_plan.summary
  run_once: true
"""

RETURN = r"""
nodes:
  description: Each node by its name.
  returned: success
  type: dict
  contains:
    state:
      description: See the description of the module.
      type: str
      sample: differs
    would:
      description: What a run would do to it.
      type: str
      sample: apply the machine config
    needs_work:
      description: Whether a run has anything to do for it.
      type: bool
    stage:
      description: Stage as Talos names it.
      type: str
      sample: running
    ready:
      description: Whether Talos says that it is ready.
      type: bool
    unmet:
      description: What it still waits for.
      type: list
      elements: str
    differences:
      description: The fields that differ, secrets hidden.
      type: list
      elements: dict
    error:
      description: Why it cannot be looked at, or what is wrong with it; with O(details), why it does not tell these.
      type: str
    version:
      description: Its Talos version, with O(details).
      type: str
      sample: v1.14.2
    declared_version:
      description: The version that it should have, with O(details).
      type: str
      sample: v1.14.2
    schematic_id:
      description: ID of the schematic that it runs, with O(details); empty where its image is not of an Image Factory.
      type: str
      sample: ee21ef4a5ef808a9b7484cc0dda0f25075021691c8c09a276591eedb638ea1f9
    declared_schematic_id:
      description: The one that it should run, with O(details).
      type: str
      sample: ee21ef4a5ef808a9b7484cc0dda0f25075021691c8c09a276591eedb638ea1f9
    upgrade:
      description: The command that brings it to that version and schematic, with O(details); empty where it has both.
      type: str
      sample: ""
    certificate_end:
      description: When the certificate of its API ends, with O(details). Talos renews it by itself.
      type: str
      sample: "2026-11-23T13:26:30Z"
looked_at:
  description: When the look began, by the admin host's clock.
  returned: success
  type: str
  sample: "2026-11-23T13:26:30Z"
admin_dir:
  description: The cluster's folder on the admin host.
  returned: success
  type: str
  sample: /home/me/.homelab/homelab
summary:
  description: A line for each node that is not as declared.
  returned: success
  type: list
  elements: str
refused:
  description: What is wrong with what is declared, a line for each cause, with the nodes that it concerns.
  returned: success
  type: list
  elements: str
  sample: ["talos-w1, talos-w2: group_patches.workers[0]: unknown keys: machine.sysctl. Correct it in the inventory."]
bootstrapped:
  description: Whether etcd has a healthy member, as far as control planes were among the nodes.
  returned: success
  type: bool
etcd_problems:
  description:
    - What is wrong with etcd on the control planes among the nodes, and where these are all that there are, with any
      other member.
  returned: success
  type: list
  elements: str
healthy:
  description: Whether all these nodes are as declared, running and ready, and etcd is whole.
  returned: success
  type: bool
due:
  description: Client files of the cluster's folder that must be made again, with the reason.
  returned: success
  type: dict
  sample: {kubeconfig: there is none yet}
failure:
  description: Kind, node, command, cause and remedy of an error.
  returned: failure
  type: dict
"""

import datetime
import typing as t

from ..module_utils._module import TalosModule, shared, wait_for


def work(module: TalosModule) -> dict[str, t.Any]:
    from ..module_utils._assessment import INVALID
    from ..module_utils._cluster_work import assessor_of, cluster_of, files_due, nodes_of
    from ..module_utils._details import details
    from ..module_utils._planning import plan

    looked_at = datetime.datetime.now(datetime.timezone.utc)
    bundle = module.bundle
    assessor, rendering, cache = assessor_of(module, bundle)
    nodes, context = nodes_of(module), module.context(bundle)
    found = wait_for(plan(nodes, context, assessor, module.control_planes))
    cache.save()
    asked = [node for node in nodes if found.nodes[node.name].answers_us] if module.params["details"] else []
    more = wait_for(details(asked, context, cluster_of(module).talos_version))
    invalid = [each.error for each in found.nodes.values() if each.state == INVALID and each.error]
    redactor = module.thorough_redactor() if invalid else module.redactor
    for error in invalid:
        # talosctl may quote what it refused.
        error.cause = redactor.text(error.cause)
    return {
        "changed": False,
        "looked_at": looked_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "admin_dir": module.params["admin_dir"],
        "nodes": {name: {**each.as_dict(), **more.get(name, {})} for name, each in found.nodes.items()},
        "summary": found.summary(),
        "refused": found.refused(),
        "bootstrapped": found.bootstrapped,
        "etcd_problems": found.etcd_problems,
        "healthy": found.healthy,
        "due": files_due(module, bundle, found),
        "warnings": rendering.warnings + found.warnings(nodes),
    }


def main() -> None:
    module = TalosModule(
        {
            **shared(
                "admin_dir",
                "cluster",
                "control_planes",
                "hidden",
                "nodes",
                "secrets",
                "talosctl",
            ),
            "details": {"type": "bool", "default": False},
            "renew_before": {"type": "int", "default": 30},
        }
    )
    module.run(work)


if __name__ == "__main__":
    main()
