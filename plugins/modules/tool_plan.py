#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: tool_plan
short_description: Choose the versions of all tools, and tell what a host lacks
version_added: 0.1.0
description:
  - Chooses a version for each tool, and refuses before anything is installed what does not fit, all of it at once. A
    talosctl must be of the nodes' minor, kubectl within one minor of the cluster, and each tool needs a checksum in
    the lock.
  - Then looks at the host, in one call for all tools, and tells what a run of M(homelab.talos.tool) would do. It
    changes nothing.
  - The lock is C(tools.lock.yml) of the collection's role C(tool), together with the file of this name in the
    inventory's folder (or C(cluster_records_dir)).

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.tool
  - homelab.talos.attributes
attributes:
  action:
    description: Versions are chosen on the controller.
    support: full
options:
  names:
    description: The tools. By default all of the table.
    type: list
    elements: str
  versions:
    description: Versions of tools that shall not have that of the table or the cluster.
    type: dict
    default: {}
  table:
    description: More tools, or other rows for those of the table. The role's README tells what a row holds.
    type: dict
    default: {}
  architecture:
    description: Architecture of the binaries. By default the host's, by C(uname -m).
    type: str
    choices: [amd64, arm64]
  tools:
    description: The tools as the action plugin fills them in from all of these.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the tool.
        type: str
        required: true
      version:
        description: Its version.
        type: str
      url:
        description: Where it is.
        type: str
      sha256:
        description: SHA-256 of what is there.
        type: str
      member:
        description: Path of the binary in a C(.tar.gz).
        type: str
        default: ""
      completion:
        description: The binary's words that print a completion.
        type: list
        elements: str
        default: []
seealso:
  - module: homelab.talos.tool
"""

EXAMPLES = r"""
- name: See what this host lacks
  homelab.talos.tool_plan:
    names: [kubectl, talosctl]
  register: __tool_plan
"""

RETURN = r"""
tools:
  description:
    - Each tool with what M(homelab.talos.tool) needs to install it, whether it is due, what is to be done, and the
      version that its link leads to now.
  returned: success
  type: list
  elements: dict
  sample:
    - name: kubectl
      version: 1.37.1
      url: https://dl.k8s.io/release/v1.37.1/bin/linux/amd64/kubectl
      sha256: 65691ff77eb6fa44c908b77a1082c9f092c3b9733b5cefabec0d1104890e21a8
      member: ""
      completion: [completion]
      due: false
      actions: []
      before: 1.37.1
failure:
  description: Kind, cause and remedy of an error.
  returned: failure
  type: dict
"""

import typing as t

from ..module_utils._errors import TalosError
from ..module_utils._tool_module import PIN_OPTIONS, PLACE_OPTIONS, ToolModule, pin_of
from ..module_utils._tool_table import ARCHITECTURES
from ..module_utils._tools import ToolError


def work(module: ToolModule) -> dict[str, t.Any]:
    tools = []
    errors: list[TalosError] = []
    for options in module.params["tools"] or []:
        pin = pin_of(options)
        try:
            plan = module.installation(pin).plan()
        except TalosError as error:
            errors.append(error)
            continue
        tools.append({**pin.as_dict(), "due": bool(plan), "actions": plan.actions, "before": plan.before})
    if len(errors) > 1:
        raise ToolError(" ".join(map(str, errors)), remedy="Nothing was installed")
    if errors:
        raise errors[0]
    return {"changed": False, "tools": tools}


def main() -> None:
    module = ToolModule(
        {
            "names": {"type": "list", "elements": "str"},
            "versions": {"type": "dict", "default": {}},
            "table": {"type": "dict", "default": {}},
            "architecture": {"type": "str", "choices": list(ARCHITECTURES)},
            "tools": {
                "type": "list",
                "elements": "dict",
                "options": {"name": {"type": "str", "required": True}, **PIN_OPTIONS},
            },
            **PLACE_OPTIONS,
        }
    )
    module.run(work)


if __name__ == "__main__":
    main()
