#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: argocd_bootstrap
short_description: Have a pinned Argo CD in the cluster that follows a Git repository
version_added: 0.1.0
description:
  - Converges repository and cluster from whatever state they are in, with C(argocd-autopilot). An empty place in the
    repository is bootstrapped; a new cluster is recovered from a repository that was bootstrapped before; what broke
    off is gone on with; where all is as declared, nothing is done.
  - Argo CD is pinned. Its C(install.yaml) must have a known SHA-256, and is committed as it was built. Another
    O(version) is a commit, which Argo CD then applies to itself.
  - What is too long for the client-side apply of argocd-autopilot (since Argo CD 3.3 the ApplicationSet CRD) is
    applied by the server, and committed so that Argo CD does the same.
  - C(argocd-autopilot) leaves the token in the clear in an annotation, for all repositories of the server. That Secret
    is replaced by one for this repository with O(read_token), and checked in every run.
  - Success is judged by what the repository and the cluster hold, not by an exit code.
  - Refuses an Argo CD that is not ours or follows another repository, half a layout, and a place in the repository that
    lost its content while the cluster follows it.
  - Touches nothing in the cluster but Argo CD's namespace and objects. What the repository holds is for Argo CD.
  - Runs of this module against one cluster wait for each other, on one host.

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.argocd.cluster
  - homelab.talos.argocd
  - homelab.talos.attributes
attributes:
  action:
    description: Options are filled in on the controller, and what is waited for is told there.
    support: full
options:
  read_token:
    description:
      - The token that the cluster gets, to read this one repository. It should have no right to write; a warning says
        if it has. To let the cluster have the other one, give O(git_token) here, too. By default C(argocd_read_token).
    type: str
    required: true
  read_user:
    description: The user that O(read_token) is for. By default C(argocd_read_user), else O(git_user).
    type: str
  version:
    description: Version of Argo CD. By default C(argocd_version).
    type: str
    default: 3.5.1
  install_sha256:
    description: SHA-256 of that version's C(install.yaml). Known for the default version. By default
      C(argocd_install_sha256).
    type: str
  install_file:
    description: The file on the host, used in place; nothing is downloaded. By default C(argocd_install_file).
    type: path
  patches:
    description:
      - Patches of kustomize for the installation, as mappings with C(patch) and C(target). They are committed with it,
        and so must hold no secrets. Any value that the inventory keeps encrypted is refused. By default
        C(argocd_patches).
    type: list
    elements: dict
    default: []
  admin_password_hash:
    description:
      - The bcrypt hash of the password of Argo CD's C(admin), as C(argocd account bcrypt --password ...) prints it. The
        initial password is removed then. By default C(argocd_admin_password_hash).
    type: str
  return_admin_password:
    description: Return the initial admin password. The task must have C(no_log).
    type: bool
    default: false
  argocd_autopilot:
    description: Path of the binary. By default C(tool_argocd_autopilot_path), else it is looked for in C(PATH).
    type: path
    default: argocd-autopilot
  ready_timeout:
    description:
      - Seconds for the pods of Argo CD to become ready. By default C(argocd_ready_timeout).
      - The wait ends early where for a minute nothing is missing but pods whose node is not ready, or that no node
        takes.
    type: int
    default: 1200
  progress_file:
    description: A file on the host for what is waited for. The action plugin fills this in, to tell it.
    type: path
  cache_dir:
    description: Where C(install.yaml) is kept. By default C(cache) in the cluster's folder.
    type: path
    default: ~/.homelab/cache
  mirror:
    description: URL of a mirror that is asked instead of C(raw.githubusercontent.com), as M(homelab.talos.tool) has it.
    type: str
    default: ""
  proxy:
    description: URL of a proxy for the download. By default that of the environment, if it names one.
    type: str
    default: ""
  ca_file:
    description: PEM file on the host with authorities to trust at the download, beside the system's.
    type: path
  offline:
    description: Download nothing; C(install.yaml) must lie in O(cache_dir).
    type: bool
    default: false
seealso:
  - module: homelab.talos.argocd_wait
  - module: homelab.talos.argocd_project
  - module: homelab.talos.argocd_application
"""

EXAMPLES = r"""
- name: Have Argo CD follow the folder gitops of my repository
  homelab.talos.argocd_bootstrap:
    repo_url: https://github.com/me/homelab.git
    git_token: "{{ vault_github_write_token }}"
    read_token: "{{ vault_github_read_token }}"

- name: Have an own branch of an own server, and less memory for the repo server
  homelab.talos.argocd_bootstrap:
    repo_url: https://git.example.org/me/homelab.git
    repo_path: clusters/homelab
    repo_branch: main
    repo_ca_file: /etc/ssl/certs/my-authority.pem
    git_token: "{{ vault_write_token }}"
    read_token: "{{ vault_read_token }}"
    patches:
      - target:
          kind: Deployment
          name: argocd-repo-server
        patch: |
          - op: add
            path: /spec/template/spec/containers/0/resources
            value: {limits: {memory: 512Mi}}

- name: Have the initial admin password in a variable
  homelab.talos.argocd_bootstrap:
    repo_url: https://github.com/me/homelab.git
    git_token: "{{ vault_github_write_token }}"
    read_token: "{{ vault_github_read_token }}"
    return_admin_password: true
  register: __argocd
  no_log: true
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: ["bootstrap https://github.com/me/homelab.git at gitops with Argo CD 3.5.1"]
commit:
  description: The newest commit of the branch.
  returned: success
  type: str
version:
  description: Version of Argo CD.
  returned: success
  type: str
  sample: 3.5.1
admin_password:
  description: The initial admin password, empty where it was replaced or removed.
  returned: with O(return_admin_password)
  type: str
failure:
  description: Kind, cause and remedy of an error.
  returned: failure
  type: dict
"""

import os
import typing as t

from ..module_utils._argocd_module import CLUSTER_OPTIONS, REPOSITORY_OPTIONS, ArgocdModule, Session
from ..module_utils._network_options import NETWORK_OPTIONS, network_of

_APP = "argo-cd"


def work(module: ArgocdModule) -> dict[str, t.Any]:
    from ..module_utils import _argocd_settings as settings
    from ..module_utils._argocd_bootstrap import Bootstrap, Wanted
    from ..module_utils._git import Account

    given = module.params
    address = module.address
    named = {f"argocd_{name}": given[name] for name in given}
    said = settings.complaints(lambda report: settings.check(named, report, due=True))
    if said:
        raise settings.BadSetting(said)
    with module.session(os.path.abspath(given["kubeconfig"])) as session:
        installation = _installation(module, session)
        bootstrap = Bootstrap(
            Wanted(
                address=address,
                writer=module.writer,
                reader=Account(given["read_user"] or given["git_user"], given["read_token"], "argocd_read_token"),
                namespace=given["namespace"],
                installation=installation,
                app=_APP,
                password_hash=given["admin_password_hash"] or "",
            ),
            session,
            seconds=given["ready_timeout"],
            tell=module.tell,
            check=module.check_mode,
        )
        outcome = bootstrap.converge()
        password = {"admin_password": bootstrap.initial_password()} if given["return_admin_password"] else {}
    for warning in outcome.warnings:
        module.ansible.warn(warning)
    return {
        "changed": bool(outcome.actions),
        "actions": outcome.actions,
        "commit": outcome.commit,
        "version": installation.version,
        "diff": outcome.diff,
        **password,
    }


def _installation(module: ArgocdModule, session: Session) -> t.Any:
    """Built from the pinned file; check mode keeps no download."""
    from ..module_utils import _argocd_install as install
    from ..module_utils._download import Cache

    given = module.params
    version, sha256 = given["version"].removeprefix("v"), (given["install_sha256"] or "").lower()
    if given["install_file"]:
        path = install.require_file(os.path.abspath(given["install_file"]), version, sha256)
    else:
        folder = os.path.abspath(given["cache_dir"])
        cache = Cache(folder, network_of(given, "argocd_"), offline=given["offline"], keep=True)
        if module.check_mode and not install.is_cached(version, sha256, cache):
            cache = Cache(session.folder, network_of(given, "argocd_"), offline=given["offline"], keep=True)
        path = install.fetch(version, sha256, cache)
    app = os.path.join(session.folder, _APP)
    return install.build(path, version, given["namespace"], given["patches"], module.address, session.kubectl, app)


def main() -> None:
    module = ArgocdModule(
        {
            **CLUSTER_OPTIONS,
            **REPOSITORY_OPTIONS,
            **{name: NETWORK_OPTIONS[name] for name in ("mirror", "proxy", "ca_file", "offline")},
            "read_token": {"type": "str", "required": True, "no_log": True},
            "read_user": {"type": "str"},
            "version": {"type": "str", "default": "3.5.1"},
            "install_sha256": {"type": "str"},
            "install_file": {"type": "path"},
            "patches": {"type": "list", "elements": "dict", "default": []},
            "admin_password_hash": {"type": "str", "no_log": True},
            "return_admin_password": {"type": "bool", "default": False, "no_log": False},
            "argocd_autopilot": {"type": "path", "default": "argocd-autopilot"},
            "ready_timeout": {"type": "int", "default": 1200},
            "progress_file": {"type": "path"},
            "cache_dir": {"type": "path", "default": "~/.homelab/cache"},
        }
    )
    module.run(work)


if __name__ == "__main__":
    main()
