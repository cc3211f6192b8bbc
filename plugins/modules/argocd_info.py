#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: argocd_info
short_description: Sync and health of Argo CD's Applications
version_added: 0.1.0
description:
  - Reads the Applications of Argo CD, and says of each what keeps it from being Synced and Healthy, with what keeps the
    pods of its Deployments, StatefulSets and DaemonSets from being ready.
  - An Application whose sync still runs is not settled, and neither is one that is V(Suspended).

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.argocd.cluster
  - homelab.talos.attributes
attributes:
  action:
    description: Options are filled in on the controller.
    support: full
seealso:
  - module: homelab.talos.argocd_wait
"""

EXAMPLES = r"""
- name: Look at the applications
  homelab.talos.argocd_info:
  register: __argocd

- name: Say which are not settled
  ansible.builtin.debug:
    msg: "{{ __argocd.missing }}"
"""

RETURN = r"""
settled:
  description: Whether all Applications are Synced and Healthy, and no sync is running.
  returned: success
  type: bool
missing:
  description: What is not settled, a line each.
  returned: success
  type: list
  elements: str
  sample: ["web-hello: Progressing", "web-hello: Deployment web/web has 0 of 1 pods ready: web-5d-x: ImagePullBackOff"]
applications:
  description: The Applications, by name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the Application.
      type: str
    project:
      description: Its project.
      type: str
    namespace:
      description: The namespace that it goes to, empty where its manifests say so.
      type: str
    repo_url:
      description: Its repository.
      type: str
    path:
      description: Its folder in the repository.
      type: str
    revision:
      description: The commit that it was compared with last.
      type: str
    sync:
      description: V(Synced), V(OutOfSync) or V(Unknown).
      type: str
    health:
      description: V(Healthy), V(Progressing), V(Degraded), V(Suspended), V(Missing) or V(Unknown).
      type: str
    images:
      description: The container images that it uses.
      type: list
      elements: str
    missing:
      description: What keeps it from being Synced and Healthy, a line each.
      type: list
      elements: str
failure:
  description: Kind, cause and remedy of an error.
  returned: failure
  type: dict
"""

import typing as t

from ..module_utils._argocd_module import CLUSTER_OPTIONS, ArgocdModule


def work(module: ArgocdModule) -> dict[str, t.Any]:
    from ..module_utils._argocd_status import applications

    with module.session() as session:
        session.kubectl.require_ready()
        found = applications(session.kubectl, module.params["namespace"])
    missing = [f"{each.name}: {line}" for each in found for line in each.missing]
    return {
        "changed": False,
        "settled": not missing,
        "missing": missing,
        "applications": [each.as_dict() for each in found],
    }


def main() -> None:
    ArgocdModule(dict(CLUSTER_OPTIONS)).run(work)


if __name__ == "__main__":
    main()
