#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: client_config
short_description: Have a talosconfig in the cluster's folder
version_added: 0.1.0
description:
  - Makes a talosconfig for a role, and makes it again before its certificate ends, or when the control planes or
    the PKI are others; one of another PKI is kept beside it. The file is ours alone, 0600, and nothing is merged
    into C(~/.talos/config).
author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.talos
  - homelab.talos.talos.cluster
  - homelab.talos.talos.control_planes
  - homelab.talos.talos.secrets
  - homelab.talos.talos.admin_dir
  - homelab.talos.attributes
  - homelab.talos.attributes.action_group
attributes:
  action:
    description: Options are filled in on the controller.
    support: full
options:
  role:
    description: The role. V(admin) writes C(talosconfig), V(reader) writes C(talosconfig.reader).
    type: str
    choices: [admin, reader]
    default: admin
  renew_before:
    description: Make it again when its certificate ends within so many days, or a third of its time if that is less.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Have a talosconfig
  homelab.talos.client_config:
  run_once: true

- name: Have one that may only look
  homelab.talos.client_config:
    role: reader
  run_once: true
"""

RETURN = r"""
path:
  description: The file on the admin host.
  returned: success
  type: str
  sample: /home/me/.homelab/homelab/talosconfig
reason:
  description: Why it was made again; empty where it was not.
  returned: success
  type: str
  sample: its certificate ends on 2027-11-22
failure:
  description: Kind, node, command, cause and remedy of an error.
  returned: failure
  type: dict
"""

import typing as t

from ..module_utils._module import TalosModule, shared


def work(module: TalosModule) -> dict[str, t.Any]:
    from ..module_utils import _client_files as files
    from ..module_utils._cluster_work import cluster_of, talosconfig_due_for
    from ..module_utils._secrets_bundle import ADMIN, READER

    name, role = {"admin": (files.TALOSCONFIG, ADMIN), "reader": (files.READER_TALOSCONFIG, READER)}[
        module.params["role"]
    ]
    path = module.folder_path(name)
    if module.before_first_run:
        return {"changed": True, "path": path, "reason": files.NO_BUNDLE}
    bundle = module.bundle
    reason = talosconfig_due_for(module, bundle, name, role)
    if reason and not module.check_mode:
        addresses = [each.address for each in module.control_planes]
        credentials = bundle.issue(role, files.LIFETIME)
        content = files.talosconfig(cluster_of(module).name, addresses, addresses[:1], credentials)
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
            ),
            "renew_before": {"type": "int", "default": 30},
            "role": {"type": "str", "choices": ["admin", "reader"], "default": "admin"},
        }
    )
    module.run(work)


if __name__ == "__main__":
    main()
