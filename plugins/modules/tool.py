#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: tool
short_description: Have one pinned binary, such as kubectl
version_added: 0.1.0
description:
  - Downloads a binary of a known sha256 and puts it beside its other versions, as C(ROOT/NAME/VERSION/NAME). A link in
    O(link_dir) is then switched to it in one step, and so is the link to its completion.
  - What does not have the expected sha256 is never put in place. Whatever goes wrong, the version before still works.
  - What breaks off stays in O(cache_dir), and the next run goes on from there.
  - Other versions beyond O(keep) are removed.
  - Needs nothing but Python, 3.9 or newer.

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.tool
  - homelab.talos.network
  - homelab.talos.attributes
attributes:
  action:
    description: Version, address and checksum are filled in on the controller.
    support: full
  diff_mode:
    support: full
options:
  name:
    description: Name of the tool, and of the link to it.
    type: str
    required: true
  version:
    description: Its version, without a leading v. By default that of the table of tools, or the cluster's.
    type: str
  url:
    description: URL of the binary or its archive. By default the publisher's.
    type: str
  sha256:
    description: SHA-256 of what is at the URL. By default that of the lock, C(tools.lock.yml).
    type: str
  member:
    description: Path of the binary in a C(.tar.gz). By default that of the table of tools; empty for a bare binary.
    type: str
    default: ""
  completion:
    description:
      - The binary's words that print a completion when the name of a shell follows. By default those of the table of
        tools; without any there are no completions.
    type: list
    elements: str
    default: []
  keep_download:
    description: Leave downloads in O(cache_dir) after their installation.
    type: bool
    default: false
seealso:
  - module: homelab.talos.tool_plan
"""

EXAMPLES = r"""
- name: Have helm, in the version of the table of tools
  homelab.talos.tool:
    name: helm
  become: true

- name: Have a tool that is in no table
  homelab.talos.tool:
    name: kustomize
    version: 5.8.3
    url: https://github.com/kubernetes-sigs/kustomize/releases/download/kustomize/v5.8.3/kustomize_v5.8.3_linux_amd64.tar.gz
    sha256: cb9e31198d3f63b44848bd0afc4c8efc56e6cfef9c93a4a39a211940e6decd61
    member: kustomize
    completion: [completion]
  become: true
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample:
    - download https://dl.k8s.io/release/v1.37.1/bin/linux/amd64/kubectl
    - install /opt/homelab-talos/tools/kubectl/1.37.1/kubectl
    - link /usr/local/bin/kubectl to /opt/homelab-talos/tools/kubectl/1.37.1/kubectl
before:
  description: The version that the link led to; empty where there was none.
  returned: success
  type: str
  sample: 1.36.4
version:
  description: The version that it leads to now.
  returned: success
  type: str
  sample: 1.37.1
path:
  description: The link.
  returned: success
  type: str
  sample: /usr/local/bin/kubectl
failure:
  description: Kind, cause and remedy of an error.
  returned: failure
  type: dict
"""

import os
import typing as t

from ..module_utils._network_options import NETWORK_OPTIONS
from ..module_utils._tool_module import PIN_OPTIONS, PLACE_OPTIONS, ToolModule, pin_of


def work(module: ToolModule) -> dict[str, t.Any]:
    pin = pin_of(module.params)
    installation = module.installation(pin)
    plan = installation.plan() if module.check_mode else installation.converge()
    return {
        "changed": bool(plan),
        "actions": plan.actions,
        "before": plan.before,
        "version": pin.version,
        "path": os.path.join(module.params["link_dir"], pin.name),
        "diff": {
            "before": f"{pin.name} {plan.before}\n" if plan.before else "",
            "after": f"{pin.name} {pin.version}\n",
            "before_header": pin.name,
            "after_header": pin.name,
        },
    }


def main() -> None:
    module = ToolModule(
        {
            "name": {"type": "str", "required": True},
            "keep_download": {"type": "bool", "default": False},
            **PIN_OPTIONS,
            **PLACE_OPTIONS,
            **NETWORK_OPTIONS,
        },
    )
    module.run(work)


if __name__ == "__main__":
    main()
