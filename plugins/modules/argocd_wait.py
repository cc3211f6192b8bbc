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
  - Tells every 15 seconds what is still missing. What is missing at the end is the error, with what keeps the pods of
    Deployments, StatefulSets and DaemonSets from being ready.
  - An Application whose sync still runs is waited for, as its hooks and later waves may fail.
  - V(Suspended) is not Healthy, as it does not end by itself. Where something is suspended on purpose, name the other
    Applications in O(applications).
  - A Kubernetes API that does not answer is waited for, too.
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
  commit:
    description:
      - A commit that is pushed, by its full SHA, as the other modules return it. Applications that follow the same
        repository and branch as V(autopilot-bootstrap) must have been compared with it, or after it.
      - Takes the place of O(refresh) where it is given. Argo CD is asked to compare only those that it compared last
        with another commit, so nothing is written where all is well. What it compares then is new enough, also where
        somebody pushed a newer commit meanwhile.
    type: str
    default: ""
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

- name: Wait until Argo CD has followed a commit
  homelab.talos.argocd_wait:
    commit: "{{ __project.commit }}"
"""

RETURN = r"""
missing:
  description: What is not settled, a line each.
  returned: always
  type: list
  elements: str
  sample: ["web-hello: Progressing", "web-hello: Deployment web/web has 0 of 1 pods ready: web-5d-x: ImagePullBackOff"]
waiting:
  description: The first of it in one line, while it is waited for.
  returned: when there is more time
  type: str
failure:
  description: Kind, cause and remedy of an error.
  returned: failure
  type: dict
"""

import os
import typing as t

from ..module_utils._argocd_module import CLUSTER_OPTIONS, ArgocdModule


def work(module: ArgocdModule) -> dict[str, t.Any]:
    from ..module_utils._argocd_status import NotSettled, Settling, shortened
    from ..module_utils._kubectl import NoCluster

    given = module.params
    if not os.path.isfile(given["kubeconfig"]):
        raise NoCluster(f"there is no kubeconfig {given['kubeconfig']}")
    step = given["step"] if given["step"] is not None else given["timeout"]
    with module.session() as session:
        settling = Settling(
            session.kubectl,
            given["namespace"],
            given["applications"],
            refresh=given["refresh"],
            commit=given["commit"],
            check=module.check_mode,
        )
        lines = settling.wait(0 if module.check_mode else step, session.commands.watch.check)
    if module.check_mode and settling.trouble:
        raise settling.trouble
    if not lines or module.check_mode:
        return {"changed": False, "missing": lines}
    if not given["last"]:
        return {"changed": False, "missing": lines, "waiting": "; ".join(shortened(lines))}
    remedy = settling.trouble.remedy if settling.trouble else ""
    error = NotSettled(f"not Synced and Healthy within {given['timeout']} s: {'; '.join(lines)}", remedy=remedy)
    return {"failed": True, "msg": str(error), "failure": error.as_failure(), "missing": lines}


def main() -> None:
    module = ArgocdModule(
        {
            **CLUSTER_OPTIONS,
            "applications": {"type": "list", "elements": "str", "default": []},
            "refresh": {"type": "bool", "default": True},
            "commit": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 600},
            "step": {"type": "float"},
            "last": {"type": "bool", "default": True},
        }
    )
    module.run(work)


if __name__ == "__main__":
    main()
