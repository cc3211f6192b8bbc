#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: machine_config
short_description: Converge a node to its declared machine config
version_added: 0.1.0
description:
  - Renders the declared machine config (secrets bundle, version contract, patches of cluster, group and node),
    validates it, compares it with what the node holds, and applies it only where it differs.
  - Finds out by itself whether the node is in maintenance (then its MAC address must be the declared one) or
    configured, and waits until it answers with the new config by the cluster's PKI.
  - Before a control plane is changed, all other etcd members must be healthy. A change that is staged disturbs none,
    and is not kept waiting.
  - Upgrades no node. Where a change names another installer image (another Talos or schematic), a warning says so.

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.talos
  - homelab.talos.talos.cluster
  - homelab.talos.talos.node
  - homelab.talos.talos.control_planes
  - homelab.talos.talos.secrets
  - homelab.talos.talos.talosctl
  - homelab.talos.talos.admin_dir
  - homelab.talos.attributes
  - homelab.talos.attributes.action_group
attributes:
  diff_mode:
    support: full
  action:
    description: Options are filled in on the controller.
    support: full
options:
  state:
    description:
      - V(present) converges the node.
      - V(rendered) puts the declared config into O(dest), 0600, and touches no node.
    type: str
    choices: [present, rendered]
    default: present
  dest:
    description: File on the admin host for O(state=rendered).
    type: path
  mode:
    description:
      - How the config is applied to a configured node.
      - V(auto) makes it active. Talos 1.13 reboots where it must; Talos 1.14 never does, and takes all changes at once.
        A warning names those that its services use only after a reboot.
      - V(no-reboot) makes it active, and fails where a change needs a reboot to take effect.
      - V(staged) stores it for the next reboot.
      - V(try) applies it, sees that the node answers with it steadily for about half of O(try_timeout), and then
        applies it for good; else the node rolls back and the task fails. It fails where V(no-reboot) does. A try of
        an earlier run that is still under way is waited for.
      - V(reboot) stages it and reboots the node.
    type: str
    choices: [auto, no-reboot, staged, try, reboot]
    default: auto
  reboot:
    description:
      - V(never) fails with the list of changes that need a reboot to take effect, whether Talos would reboot for them
        (1.13) or take them and leave them without effect (both). Those are changes of C(cluster.etcd), C(machine.env),
        C(machine.files), C(machine.systemDiskEncryption), C(machine.features.diskQuotaSupport), of the documents
        C(EnvironmentConfig) and C(SecurityProfileConfig), of the encryption of volumes, and of kernel modules that
        were there before.
      - Check mode fails where the run would, by a dry run of the node, unless another config waits for a reboot there.
    type: str
    choices: [allowed, never]
    default: allowed
  try_timeout:
    description: Seconds after which a V(try) rolls back, at least 10.
    type: int
    default: 60
  reachable_timeout:
    description: Seconds to wait for a node that does not answer, since it may be booting.
    type: int
    default: 30
  timeout:
    description:
      - Seconds for each step of a change, such as to take the config, to reboot, and to answer with the config.
      - A Raspberry Pi boots in one to three minutes.
    type: int
    default: 600
  etcd_timeout:
    description: Seconds to wait for the other etcd members to be healthy before a control plane is changed.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Converge the node
  homelab.talos.machine_config:

- name: Store a change for the next reboot
  homelab.talos.machine_config:
    mode: staged

- name: Look at the config that would be applied
  homelab.talos.machine_config:
    state: rendered
    dest: /run/user/1000/talos-w1.yaml
"""

RETURN = r"""
state:
  description: What the node was found to be, as M(homelab.talos.plan) names it.
  returned: when O(state=present)
  type: str
  sample: differs
differences:
  description: The fields that differed, secrets hidden.
  returned: when O(state=present)
  type: list
  elements: dict
actions:
  description:
    - The talosctl commands whose calls were made, or in check mode would be made. A change that is applied by a reboot
      is staged first with O(mode=reboot), and "by a reboot" stands behind it where Talos 1.13 itself reboots.
  returned: when O(state=present)
  type: list
  elements: str
  sample: [apply-config --mode auto]
dest:
  description: The file with the declared config.
  returned: when O(state=rendered)
  type: str
  sample: /run/user/1000/talos-w1.yaml
failure:
  description: Kind, node, command, cause and remedy of an error.
  returned: failure
  type: dict
"""

import typing as t

from ..module_utils._module import TalosModule, shared, wait_for


def work(module: TalosModule) -> dict[str, t.Any]:
    from ..module_utils._cluster_work import assessor_of, node_of
    from ..module_utils._convergence import Convergence
    from ..module_utils._terms import Terms

    bundle = module.bundle
    assessor, rendering, _cache = assessor_of(module, bundle)
    node = node_of(module)
    if module.params["state"] == "rendered":
        return {**rendered(module, rendering.config(node)), "warnings": rendering.warnings}
    terms = Terms(
        mode=module.params["mode"],
        reboot_allowed=module.params["reboot"] == "allowed",
        check=module.check_mode,
        try_seconds=module.params["try_timeout"],
        reachable_seconds=module.params["reachable_timeout"],
        settle_seconds=module.params["timeout"],
        etcd_seconds=module.params["etcd_timeout"],
    )
    outcome = wait_for(Convergence(node, module.control_planes, module.context(bundle), assessor, terms).run())
    # A cache of 500 nodes that 500 tasks write would be written 500 times; the plan keeps it.
    found = outcome.assessment
    result = {
        "changed": outcome.changed,
        "state": found.state,
        "differences": [each.as_dict() for each in found.differences],
        "actions": outcome.actions,
        "warnings": outcome.warnings + rendering.warnings,
    }
    if outcome.changed and found.diff:
        result["diff"] = found.diff
    return result


def rendered(module: TalosModule, config: bytes) -> dict[str, t.Any]:
    from ..module_utils._whole_file import expand, is_private, read_private, write_private

    dest = expand(module.params["dest"])
    changed = read_private(dest) != config or not is_private(dest)
    if changed and not module.check_mode:
        write_private(dest, config)
    return {"changed": changed, "dest": dest}


def main() -> None:
    module = TalosModule(
        {
            **shared(
                "admin_dir",
                "cluster",
                "control_planes",
                "hidden",
                "node",
                "secrets",
                "talosctl",
            ),
            "dest": {"type": "path"},
            "etcd_timeout": {"type": "int", "default": 300},
            "mode": {
                "type": "str",
                "choices": ["auto", "no-reboot", "staged", "try", "reboot"],
                "default": "auto",
            },
            "reachable_timeout": {"type": "int", "default": 30},
            "reboot": {"type": "str", "choices": ["allowed", "never"], "default": "allowed"},
            "state": {"type": "str", "choices": ["present", "rendered"], "default": "present"},
            "timeout": {"type": "int", "default": 600},
            "try_timeout": {"type": "int", "default": 60},
        },
        required_if=[("state", "rendered", ("dest",))],
    )
    module.run(work)


if __name__ == "__main__":
    main()
