#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: wait
short_description: Wait until nodes or the cluster are in a state
version_added: 0.1.0
description:
  - Polls until the nodes are in the named state, and tells at intervals, and in the error, what is still missing.
  - In check mode it looks once and does not fail, for what is missing may come by what a run would do before.

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.talos
  - homelab.talos.talos.nodes
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
  until:
    description:
      - V(maintenance) - each node answers in maintenance.
      - V(configured) - each answers by the cluster's PKI.
      - V(running) - each is in stage running.
      - V(ready) - each is running, and says that it is ready.
      - V(healthy) - each is ready, and every control plane among them is a healthy etcd member.
    type: str
    choices: [maintenance, configured, running, ready, healthy]
    default: healthy
  timeout:
    description: Seconds to wait.
    type: int
    default: 600
  or_fail:
    description: Fail where something is still missing when the time is over; else only RV(missing) tells of it.
    type: bool
    default: true
  step:
    description: Seconds after which the module reports what is missing. The action plugin fills this in.
    type: float
  last:
    description: Whether this is the last step. The action plugin fills this in.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Wait until the cluster is healthy
  homelab.talos.wait:
    until: healthy
    timeout: 900
  run_once: true
"""

RETURN = r"""
missing:
  description: What is still missing, by node.
  returned: always
  type: list
  elements: str
failure:
  description: Kind, node, command, cause and remedy of an error.
  returned: failure
  type: dict
"""

import typing as t

from ..module_utils._module import TalosModule, shared, wait_for


def work(module: TalosModule) -> dict[str, t.Any]:
    from ..module_utils._client_files import NO_BUNDLE
    from ..module_utils._cluster_work import nodes_of
    from ..module_utils._readiness import missing
    from ..module_utils._waiting import StillWaiting, WaitedTooLong, poll

    if module.before_first_run:
        return {"changed": False, "missing": [NO_BUNDLE]}
    nodes = nodes_of(module)
    context = module.context()
    until = module.params["until"]
    if module.check_mode:
        return {"changed": False, "missing": wait_for(missing(nodes, until, context, module.control_planes))}
    lines: list[str] = []

    async def look() -> None:
        lines[:] = await missing(nodes, until, context, module.control_planes)
        if lines:
            raise StillWaiting("; ".join(lines))

    step = module.params["step"] or module.params["timeout"]
    try:
        wait_for(poll(look, seconds=step, what=f"waiting until {until}"))
    except WaitedTooLong as error:
        if not module.params["last"]:
            return {"changed": False, "waiting": "; ".join(lines), "missing": lines}
        if not module.params["or_fail"]:
            return {"changed": False, "missing": lines}
        error.cause = f"not {until} within {module.params['timeout']} s, still missing: {'; '.join(lines)}"
        module.fail(error, missing=lines)
    return {"changed": False, "missing": []}


def main() -> None:
    module = TalosModule(
        {
            **shared("control_planes", "hidden", "nodes", "secrets", "talosconfig"),
            "last": {"type": "bool", "default": True},
            "or_fail": {"type": "bool", "default": True},
            "step": {"type": "float"},
            "timeout": {"type": "int", "default": 600},
            "until": {
                "type": "str",
                "choices": ["maintenance", "configured", "running", "ready", "healthy"],
                "default": "healthy",
            },
        }
    )
    module.run(work)


if __name__ == "__main__":
    main()
