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
    not tell, or while the cluster's folder holds a talosconfig, since a second PKI would lock the cluster's nodes out.
    Nodes that are off are no hindrance.
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

import os
import typing as t

from ..module_utils._module import ENDPOINT_OPTIONS, TalosModule, endpoints, shared, wait_for

if t.TYPE_CHECKING:
    from ..module_utils._api import Endpoint


def work(module: TalosModule) -> dict[str, t.Any]:
    from cryptography.fernet import Fernet

    from ..module_utils._secrets_bundle import SecretsBundle
    from ..module_utils._talosctl import Talosctl

    talosctl = Talosctl(module.params["talosctl"])
    config = module.params["control_plane_config"]
    if module.params["compare_with"]:
        adopted = SecretsBundle.parse(talosctl.gen_secrets_from(config.encode()))
        return {"changed": False, "same": adopted.digest() == module.params["compare_with"]}
    if config:
        content = talosctl.gen_secrets_from(config.encode())
    else:
        require_no_cluster(module)
        wait_for(require_maintenance(endpoints(module.params["nodes"])))
        content = talosctl.gen_secrets(module.params["cluster"]["talos_version"])
    SecretsBundle.parse(content)
    if module.check_mode:
        return {"changed": True}
    return {"changed": True, "sealed": Fernet(module.params["transit_key"]).encrypt(content).decode()}


def require_no_cluster(module: TalosModule) -> None:
    """Nodes may be off; what an earlier run left here still opens their cluster, and its CA could be adopted by it."""
    from ..module_utils._client_files import KUBECONFIG, TALOSCONFIG
    from ..module_utils._errors import TalosError

    left = [path for path in map(module.folder_path, (TALOSCONFIG, KUBECONFIG)) if os.path.exists(path)]
    if left:
        raise TalosError(
            f"a new secrets bundle is refused, since there is a cluster already: {', '.join(left)}",
            remedy="Restore secrets.vault.yml from version control, or adopt the cluster's bundle with adopt_from; if "
            "the cluster is to be given up, move its folder away first",
        )


async def require_maintenance(nodes: list[Endpoint]) -> None:
    """A node that asks for a certificate belongs to a cluster already: its PKI must not be replaced."""
    from ..module_utils._api import connect, on_each
    from ..module_utils._errors import CertificateRequired, NoAnswer, TalosError, Unreachable

    by_name = {node.name: node for node in nodes}

    async def ask(name: str) -> None:
        async with connect(by_name[name], None) as node:
            await node.machine_status()

    asked = await on_each(by_name, ask)
    configured = [name for name, answer in asked.items() if isinstance(answer, CertificateRequired)]
    if configured:
        raise TalosError(
            f"a new secrets bundle is refused, since {', '.join(configured)} answers and is configured already: "
            "no node of an existing cluster accepts a new PKI",
            remedy="Restore secrets.vault.yml from version control, adopt the cluster's bundle with adopt_from, or "
            "wipe these nodes first if the cluster is to be given up",
        )
    for answer in asked.values():
        # One that hangs or broke off is there, and may be configured.
        is_off = isinstance(answer, Unreachable) and not isinstance(answer, NoAnswer)
        if isinstance(answer, TalosError) and not is_off:
            raise TalosError(
                "a new secrets bundle is refused, since it is not known whether this node is configured already: "
                f"{answer.cause}",
                node=answer.node,
                command=answer.command,
                remedy="Run again when it answers, or with this node off",
            )


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
