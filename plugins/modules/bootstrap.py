#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bootstrap
short_description: Bootstrap etcd once, always on the same control plane
version_added: 0.1.0
description:
  - Bootstraps etcd on the designated control plane, the first of O(control_planes), unless it has members already.
  - Refuses while another control plane has members (it waits for the designated one to join them) or does not
    answer for a minute, since a bootstrap beside existing members makes a second cluster.
  - Success is judged by the members, not by the call. Where etcd has data and is only not healthy yet, it is waited
    for, and nothing is changed.

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.talos
  - homelab.talos.talos.control_planes
  - homelab.talos.talos.secrets
  - homelab.talos.talos.talosconfig
  - homelab.talos.attributes
  - homelab.talos.attributes.action_group
attributes:
  action:
    description: Options are filled in on the controller.
    support: full
options:
  timeout:
    description: Seconds for the control plane to be ready for the bootstrap, and again for the first member to appear.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: Bootstrap etcd
  homelab.talos.bootstrap:
  run_once: true
"""

RETURN = r"""
node:
  description: The designated control plane.
  returned: success
  type: str
  sample: talos-cp
failure:
  description: Kind, node, command, cause and remedy of an error.
  returned: failure
  type: dict
"""

import typing as t

from ..module_utils._module import TalosModule, shared, wait_for


def work(module: TalosModule) -> dict[str, t.Any]:
    from ..module_utils._bootstrap import ensure_bootstrapped

    designated, *others = module.control_planes
    if module.before_first_run:
        return {"changed": True, "node": designated.name}
    changed = wait_for(
        ensure_bootstrapped(
            designated,
            others,
            module.context(),
            seconds=module.params["timeout"],
            check=module.check_mode,
        )
    )
    return {"changed": changed, "node": designated.name}


def main() -> None:
    module = TalosModule(
        {
            **shared("control_planes", "hidden", "secrets", "talosconfig"),
            "timeout": {"type": "int", "default": 600},
        }
    )
    module.run(work)


if __name__ == "__main__":
    main()
