#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: argocd_wait
short_description: Wait until Argo CD's Applications are Synced and Healthy
version_added: 0.1.0
description:
  - Lets Argo CD compare its Applications with Git at once, and waits until they are Synced and Healthy.
  - Tells every 15 seconds what is still missing. What is missing at the end is the error.
  - In check mode it looks once and reports, without the comparison, which would be a write.

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.argocd.cluster
  - homelab.talos.attributes
attributes:
  action:
    description: Options are filled in on the controller, and the wait is told there.
    support: full
options:
  applications:
    description: The Applications to wait for. One that is not there yet is waited for, too. By default all.
    type: list
    elements: str
    default: []
  refresh:
    description: Whether Argo CD is to compare with Git now. It does by itself every few minutes.
    type: bool
    default: true
  timeout:
    description: Seconds to wait.
    type: int
    default: 600
  step:
    description: Seconds of this call. The action plugin fills this in, to tell progress.
    type: float
  last:
    description: Whether to fail when O(step) is over. The action plugin fills this in.
    type: bool
    default: true
seealso:
  - module: homelab.talos.argocd_info
"""

EXAMPLES = r"""
- name: Wait until all is as Git has it
  homelab.talos.argocd_wait:

- name: Wait for one application
  homelab.talos.argocd_wait:
    applications: [monitoring-node-exporter]
    timeout: 300
"""

RETURN = r"""
missing:
  description: What is not settled, a line each.
  returned: always
  type: list
  elements: str
  sample: ["web: Progressing", "web: Deployment web/web is Progressing"]
waiting:
  description: The same in one line, while it is waited for.
  returned: when there is more time
  type: str
failure:
  description: Kind, cause and remedy of an error.
  returned: failure
  type: dict
"""

import typing as t

from ..module_utils._argocd_module import CLUSTER_OPTIONS, ArgocdModule


def work(module: ArgocdModule) -> dict[str, t.Any]:
    from ..module_utils._argocd_status import NotSettled, refresh, wait

    given = module.params
    step = given["step"] if given["step"] is not None else given["timeout"]
    with module.session() as session:
        session.kubectl.require_ready()
        if given["refresh"] and not module.check_mode:
            refresh(session.kubectl, given["namespace"])
        seconds = 0 if module.check_mode else step
        lines = wait(session.kubectl, given["namespace"], given["applications"], seconds, session.commands.watch.check)
    if not lines or module.check_mode:
        return {"changed": False, "missing": lines}
    if not given["last"]:
        return {"changed": False, "missing": lines, "waiting": "; ".join(lines)}
    error = NotSettled(f"not Synced and Healthy within {given['timeout']} s: {'; '.join(lines)}")
    return {"failed": True, "msg": str(error), "failure": error.as_failure(), "missing": lines}


def main() -> None:
    module = ArgocdModule(
        {
            **CLUSTER_OPTIONS,
            "applications": {"type": "list", "elements": "str", "default": []},
            "refresh": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 600},
            "step": {"type": "float"},
            "last": {"type": "bool", "default": True},
        }
    )
    module.run(work)


if __name__ == "__main__":
    main()
