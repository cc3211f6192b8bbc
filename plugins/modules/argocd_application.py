#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: argocd_application
short_description: An application of Argo CD in the Git repository
version_added: 0.1.0
description:
  - Has an application in a project of a repository that was bootstrapped, in argocd-autopilot's layout, so that its own
    commands go on working. Argo CD names it C(PROJECT-NAME).
  - What differs is committed and pushed, in one commit. Nothing is applied to the cluster; Argo CD does that.
  - An application of the type V(kustomize) is C(apps/NAME/base), which all projects share, and
    C(apps/NAME/overlays/PROJECT) with C(kustomization.yaml) and C(config.json). The base is yours, and so is what you
    add to the overlay. Neither is overwritten or formatted anew; of the overlay's C(kustomization.yaml) only the line
    C(namespace) is kept.
  - One of the type V(directory) is C(apps/NAME/PROJECT/config_dir.json), which names a folder of plain manifests.
  - The namespace is made by Argo CD, of a manifest in C(bootstrap/cluster-resources).

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
    description: Name of the application.
    type: str
    required: true
  project:
    description: The project that it is in, which must be there already.
    type: str
    required: true
  state:
    description:
      - V(present) - the application is as declared.
      - V(absent) - it is gone from this project, and its base with it where no other project has it. Argo CD then
        removes what it runs. The namespace stays.
    type: str
    choices: [present, absent]
    default: present
  type:
    description: How its manifests are kept.
    type: str
    choices: [kustomize, directory]
    default: kustomize
  dest_namespace:
    description: Namespace that it runs in. The project must allow it.
    type: str
    default: default
  dest_server:
    description: URL of the cluster's API. By default the project's.
    type: str
    default: ""
  namespace_labels:
    description:
      - Labels of the namespace, such as C(pod-security.kubernetes.io/enforce), for Talos enforces baseline. Further
        labels that are there stay.
    type: dict
    default: {}
  manifests:
    description:
      - Kubernetes objects, which are kept in C(base/manifests.yaml). A Secret is refused, and so is any value that the
        inventory keeps encrypted, for whoever reads the repository would read it.
    type: list
    elements: dict
    default: []
  resources:
    description:
      - What the base names, where there is none yet - paths in the base's folder, or URLs of kustomize. Pin those to a
        version.
    type: list
    elements: str
    default: []
  source_path:
    description:
      - For O(type=directory), and required there - the folder of the manifests, from the root of the repository.
    type: str
    default: ""
  source_url:
    description: Repository of O(source_path). By default this one. The project must allow it.
    type: str
    default: ""
  source_revision:
    description: Branch, tag or commit of O(source_url). By default its default branch, or of this one O(repo_branch).
    type: str
    default: ""
  include:
    description: For O(type=directory), a glob of the files to take, such as V(*.yaml).
    type: str
    default: ""
  exclude:
    description: For O(type=directory), a glob of the files to leave.
    type: str
    default: ""
seealso:
  - module: homelab.talos.argocd_project
  - module: homelab.talos.argocd_wait
"""

EXAMPLES = r"""
- name: Have the application whose base was committed by hand
  homelab.talos.argocd_application:
    name: web
    project: web
    dest_namespace: web
    namespace_labels:
      pod-security.kubernetes.io/enforce: restricted

- name: Have one whose manifests are right here
  homelab.talos.argocd_application:
    name: motd
    project: web
    dest_namespace: web
    manifests:
      - apiVersion: v1
        kind: ConfigMap
        metadata:
          name: motd
        data:
          text: Welcome home.

- name: Have the plain manifests of another repository
  homelab.talos.argocd_application:
    name: guestbook
    project: web
    type: directory
    dest_namespace: web
    source_url: https://github.com/argoproj/argocd-example-apps.git
    source_path: guestbook
    source_revision: 53e28ff20cc530b9ada2173fbbd64d48338583ba

- name: Remove an application from its project
  homelab.talos.argocd_application:
    name: motd
    project: web
    state: absent
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: ["commit: Application motd in project web"]
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
  sample: [gitops/apps/motd/base/manifests.yaml, gitops/apps/motd/overlays/web/config.json]
failure:
  description: Kind, cause and remedy of an error.
  returned: failure
  type: dict
"""

import typing as t

from ..module_utils import _argocd_applications as applications
from ..module_utils._argocd_applications import DIRECTORY, KUSTOMIZE, Application
from ..module_utils._argocd_module import REPOSITORY_OPTIONS, ArgocdModule
from ..module_utils._gitops_commit import Content, Files, texts


def work(module: ArgocdModule) -> dict[str, t.Any]:
    given = module.params
    application = Application(
        name=given["name"],
        project=given["project"],
        kind=given["type"],
        dest_namespace=given["dest_namespace"],
        dest_server=given["dest_server"],
        namespace_labels=texts(given["namespace_labels"]) or {},
        resources=tuple(given["resources"]),
        manifests=tuple(given["manifests"]),
        source_url=given["source_url"],
        source_path=given["source_path"],
        source_revision=given["source_revision"],
        include=given["include"],
        exclude=given["exclude"],
    )
    removes = given["state"] == "absent"
    (application.require_named if removes else application.require_valid)()

    def pending(content: Content) -> Files:
        return (applications.absent if removes else applications.present)(content, application)

    verb = "Remove application" if removes else "Application"
    return module.commit(f"{verb} {application.name} in project {application.project}", pending)


def main() -> None:
    module = ArgocdModule(
        {
            "name": {"type": "str", "required": True},
            "project": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "type": {"type": "str", "choices": [KUSTOMIZE, DIRECTORY], "default": KUSTOMIZE},
            "dest_namespace": {"type": "str", "default": "default"},
            "dest_server": {"type": "str", "default": ""},
            "namespace_labels": {"type": "dict", "default": {}},
            "manifests": {"type": "list", "elements": "dict", "default": []},
            "resources": {"type": "list", "elements": "str", "default": []},
            "source_path": {"type": "str", "default": ""},
            "source_url": {"type": "str", "default": ""},
            "source_revision": {"type": "str", "default": ""},
            "include": {"type": "str", "default": ""},
            "exclude": {"type": "str", "default": ""},
            **REPOSITORY_OPTIONS,
        }
    )
    module.run(work)


if __name__ == "__main__":
    main()
