#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: argocd_project
short_description: A project of Argo CD in the Git repository
version_added: 0.1.0
description:
  - Has C(projects/NAME.yaml) in a repository that was bootstrapped, in argocd-autopilot's layout, so that its own
    commands go on working - an AppProject, and the ApplicationSet that makes an Application of each C(config.json).
  - The AppProject allows no more than what is asked for, while argocd-autopilot's allows everything.
  - What differs is committed and pushed, in one commit. Nothing is applied to the cluster; Argo CD does that.
  - Data are compared, not their style. Further fields in the file stay, such as roles and sync windows; a file that
    must change is written anew, without its comments.

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.argocd
  - homelab.talos.attributes
attributes:
  action:
    description: Options are filled in on the controller.
    support: full
  diff_mode:
    support: full
options:
  name:
    description:
      - Name of the project. Argo CD's own V(default) is refused.
    type: str
    required: true
  state:
    description:
      - V(present) - the project is as declared.
      - V(absent) - it is gone. Applications in it must be removed first.
    type: str
    choices: [present, absent]
    default: present
  namespaces:
    description:
      - The namespaces that its applications may use; C(*) matches any letters. Required for O(state=present), since
        nothing could run in a project without one.
      - Who may write to Argo CD's own namespace can make Applications of any project. Leave it out.
    type: list
    elements: str
    default: []
  source_repos:
    description:
      - Repositories that its applications may come from, beside this one. C(*) matches any letters.
      - Argo CD does not see the URLs that a kustomization itself names.
    type: list
    elements: str
    default: []
  cluster_kinds:
    description:
      - Kinds outside of namespaces that its applications may bring. By default there are none. Namespaces are not
        needed, since M(homelab.talos.argocd_application) has them made apart from the application.
    type: list
    elements: dict
    default: []
    suboptions:
      group:
        description: API group; empty for the core. C(*) for all.
        type: str
        default: ""
      kind:
        description: Kind, such as V(ClusterRole). C(*) for all.
        type: str
        required: true
  namespaced_kinds:
    description:
      - Kinds in namespaces that its applications may bring. By default all, in the O(namespaces).
    type: list
    elements: dict
    default: []
    suboptions:
      group:
        description: API group; empty for the core. C(*) for all.
        type: str
        default: ""
      kind:
        description: Kind, such as V(Deployment). C(*) for all.
        type: str
        required: true
  description:
    description: What it is for. By default C(NAME project), as argocd-autopilot has it.
    type: str
    default: ""
  dest_server:
    description: URL of the cluster's API, of a cluster that the repository knows. By default the one of Argo CD.
    type: str
    default: https://kubernetes.default.svc
  labels:
    description: Labels of its Applications, beside argocd-autopilot's two. Without it, those that are there stay.
    type: dict
  annotations:
    description: Annotations of its Applications. Without it, those that are there stay.
    type: dict
seealso:
  - module: homelab.talos.argocd_application
  - module: homelab.talos.argocd_bootstrap
"""

EXAMPLES = r"""
- name: Have a project for what runs in one namespace
  homelab.talos.argocd_project:
    name: web
    description: What is shown to the house
    namespaces: [web]

- name: Have a project that may bring cluster roles, from one more repository
  homelab.talos.argocd_project:
    name: monitoring
    namespaces: [monitoring]
    source_repos: [https://github.com/prometheus-operator/kube-prometheus.git]
    cluster_kinds:
      - group: rbac.authorization.k8s.io
        kind: ClusterRole
      - group: rbac.authorization.k8s.io
        kind: ClusterRoleBinding

- name: Remove a project
  homelab.talos.argocd_project:
    name: web
    state: absent
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: ["commit: Project web"]
commit:
  description: The commit of the branch; in check mode, or without a change, the one that was there.
  returned: success
  type: str
  sample: 57c1f0ee0ba04fe3cd5e9bb73a2b4d5ba2c3b4f5
files:
  description: Files that changed, from the repository's root.
  returned: success
  type: list
  elements: str
  sample: [gitops/projects/web.yaml]
failure:
  description: Kind, cause and remedy of an error.
  returned: failure
  type: dict
"""

import typing as t

from ..module_utils import _argocd_projects as projects
from ..module_utils._argocd_module import REPOSITORY_OPTIONS, ArgocdModule
from ..module_utils._argocd_projects import Project
from ..module_utils._gitops_commit import IN_CLUSTER, Content, Files, texts

_KINDS: dict[str, t.Any] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {"group": {"type": "str", "default": ""}, "kind": {"type": "str", "required": True}},
}


def work(module: ArgocdModule) -> dict[str, t.Any]:
    given = module.params
    name: str = given["name"]
    if given["state"] == "absent":
        projects.require_project_name(name)
        return module.commit(f"Remove project {name}", lambda content: projects.absent(content, name))
    project = Project(
        name=name,
        namespaces=tuple(given["namespaces"]),
        source_repos=tuple(given["source_repos"]),
        cluster_kinds=tuple(given["cluster_kinds"]),
        namespaced_kinds=tuple(given["namespaced_kinds"]),
        description=given["description"],
        dest_server=given["dest_server"],
        labels=texts(given["labels"]),
        annotations=texts(given["annotations"]),
    )
    project.require_valid()

    def pending(content: Content) -> Files:
        return projects.present(content, project)

    return module.commit(f"Project {name}", pending)


def main() -> None:
    module = ArgocdModule(
        {
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "namespaces": {"type": "list", "elements": "str", "default": []},
            "source_repos": {"type": "list", "elements": "str", "default": []},
            "cluster_kinds": _KINDS,
            "namespaced_kinds": _KINDS,
            "description": {"type": "str", "default": ""},
            "dest_server": {"type": "str", "default": IN_CLUSTER},
            "labels": {"type": "dict"},
            "annotations": {"type": "dict"},
            **REPOSITORY_OPTIONS,
        }
    )
    module.run(work)


if __name__ == "__main__":
    main()
