#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: secrets
short_description: Have the secrets bundle of a cluster, made once
version_added: 0.1.0
description:
  - Makes the secrets bundle with C(talosctl gen secrets), once, and stores it on the controller in
    C(secrets.vault.yml), encrypted with the run's vault identity. Every later run reads it back.
  - Refuses plaintext, and refuses to make a bundle while any node of the inventory answers outside maintenance or does
    not tell, or while the cluster's folder holds a talosconfig or kubeconfig, since a second PKI would lock the
    cluster's nodes out. Nodes that are off are no hindrance.
  - Adopts the bundle of an existing cluster from the machine config of one of its control planes.

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.talos
  - homelab.talos.talos.cluster
  - homelab.talos.talos.talosctl
  - homelab.talos.talos.admin_dir
  - homelab.talos.attributes
attributes:
  action:
    description: Options are filled in on the controller.
    support: full
options:
  adopt_from:
    description:
      - A control plane's machine config on the controller (it may be vaulted), to take the bundle from. A relative path
        starts at the inventory's folder.
    type: path
  nodes:
    description: All nodes of the inventory. The action plugin fills this in.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the node.
        type: str
        required: true
      address:
        description: Its address.
        type: str
        required: true
  control_plane_config:
    description: The content of O(adopt_from). The action plugin fills this in.
    type: str
  compare_with:
    description: Digest of the stored bundle. The action plugin fills this in.
    type: str
  transit_key:
    description: Seals the new bundle on its way to the controller. The action plugin fills this in.
    type: str
"""

EXAMPLES = r"""
- name: Have the secrets bundle
  homelab.talos.secrets:

- name: Adopt the bundle of a cluster that was made by hand
  homelab.talos.secrets:
    adopt_from: ~/old-cluster/controlplane.yaml
"""

RETURN = r"""
path:
  description: The file on the controller.
  returned: success
  type: str
  sample: /home/me/homelab/inventory/homelab/secrets.vault.yml
failure:
  description: Kind, node, command, cause and remedy of an error.
  returned: failure
  type: dict
"""

import typing as t

from ..module_utils._module import ENDPOINT_OPTIONS, TalosModule, endpoints, shared, wait_for


def work(module: TalosModule) -> dict[str, t.Any]:
    from cryptography.fernet import Fernet

    from ..module_utils._new_bundle import adopt, require_no_cluster
    from ..module_utils._secrets_bundle import SecretsBundle
    from ..module_utils._talosctl import Talosctl

    talosctl = Talosctl(module.params["talosctl"])
    config = module.params["control_plane_config"]
    if module.params["compare_with"]:
        return {"changed": False, "same": adopt(config, talosctl).digest() == module.params["compare_with"]}
    if config is not None:
        bundle = adopt(config, talosctl)
    else:
        wait_for(require_no_cluster(module.params["admin_dir"], endpoints(module.params["nodes"])))
        bundle = SecretsBundle.parse(talosctl.gen_secrets(module.params["cluster"]["talos_version"]))
    if module.check_mode:
        return {"changed": True}
    return {"changed": True, "sealed": Fernet(module.params["transit_key"]).encrypt(bundle.yaml()).decode()}


def main() -> None:
    module = TalosModule(
        {
            **shared("admin_dir", "cluster", "talosctl"),
            "adopt_from": {"type": "path"},
            "compare_with": {"type": "str"},
            "control_plane_config": {"type": "str", "no_log": True},
            "nodes": {"type": "list", "elements": "dict", "options": ENDPOINT_OPTIONS, "default": []},
            "transit_key": {"type": "str", "no_log": True},
        }
    )
    module.run(work)


if __name__ == "__main__":
    main()
