#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: kubeconfig
short_description: Have a kubeconfig in the cluster's folder
version_added: 0.1.0
description:
  - Fetches the kubeconfig from a control plane, and fetches it again before its certificate ends, or when the
    endpoint or the PKI are others; one of another PKI is kept beside it. The file is ours alone, 0600, replaced as a
    whole, and nothing is merged into C(~/.kube/config).

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.talos
  - homelab.talos.talos.cluster
  - homelab.talos.talos.control_planes
  - homelab.talos.talos.secrets
  - homelab.talos.talos.talosconfig
  - homelab.talos.talos.admin_dir
  - homelab.talos.attributes
  - homelab.talos.attributes.action_group
attributes:
  action:
    description: Options are filled in on the controller.
    support: full
options:
  renew_before:
    description: Fetch it again when its certificate ends within so many days, or a third of its time if that is less.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Have a kubeconfig
  homelab.talos.kubeconfig:
  run_once: true
"""

RETURN = r"""
path:
  description: The file on the admin host.
  returned: success
  type: str
  sample: /home/me/.homelab/homelab/kubeconfig
reason:
  description: Why it was fetched; empty where it was not.
  returned: success
  type: str
  sample: there is none yet
failure:
  description: Kind, node, command, cause and remedy of an error.
  returned: failure
  type: dict
"""

import typing as t

from ..module_utils._module import TalosModule, shared, wait_for


def work(module: TalosModule) -> dict[str, t.Any]:
    from ..module_utils import _client_files as files
    from ..module_utils._cluster_work import kubeconfig_due_for
    from ..module_utils._errors import TalosError

    path = module.folder_path(files.KUBECONFIG)
    if module.before_first_run:
        return {"changed": True, "path": path, "reason": files.NO_BUNDLE}
    bundle = None if module.params["talosconfig"] and not module.params["secrets"] else module.bundle
    reason = kubeconfig_due_for(module, bundle)
    if not reason:
        return {"changed": False, "path": path, "reason": ""}
    try:
        content = wait_for(files.fetch_kubeconfig(module.control_planes, module.context()))
    except TalosError:
        # What a run does before may be what makes a node give one.
        if not module.check_mode:
            raise
        return {"changed": True, "path": path, "reason": reason}
    # A patch may have given the nodes another endpoint than the declared one.
    reason = kubeconfig_due_for(module, bundle, files.kubeconfig_server(content))
    if reason and not module.check_mode:
        files.put(path, content, reason)
    return {"changed": bool(reason), "path": path, "reason": reason}


def main() -> None:
    module = TalosModule(
        {
            **shared(
                "admin_dir",
                "cluster",
                "control_planes",
                "hidden",
                "secrets",
                "talosconfig",
            ),
            "renew_before": {"type": "int", "default": 30},
        }
    )
    module.run(work)


if __name__ == "__main__":
    main()
