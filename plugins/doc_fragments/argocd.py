# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that the modules for Argo CD share."""

from __future__ import annotations


class ModuleDocFragment:
    # The repository, and who writes to it.
    DOCUMENTATION = r"""
options:
  repo_url:
    description:
      - Address of the Git repository by HTTP or HTTPS, as C(https://github.com/me/homelab.git), without user and token.
      - By default C(argocd_repo_url).
    type: str
    required: true
  repo_path:
    description:
      - Folder of the repository that Argo CD follows; empty for all of it. By default C(argocd_repo_path).
    type: str
    default: gitops
  repo_branch:
    description: Branch that Argo CD follows; empty for the repository's default. By default C(argocd_repo_branch).
    type: str
    default: ""
  repo_ca_file:
    description:
      - PEM file on the admin host, of the authority that signed the server's certificate.
      - By default C(argocd_repo_ca_file).
    type: path
  git_user:
    description:
      - User that the token belongs to; most servers take any name. By default C(argocd_git_user).
    type: str
    default: git
  git_token:
    description:
      - Token, or password, that may read and push. It reaches git by C(GIT_ASKPASS), and is in no file, argument or
        environment. By default C(argocd_git_token).
    type: str
    required: true
  commit_name:
    description: Name of the author of commits. By default C(argocd_commit_name).
    type: str
    default: homelab.talos
  commit_email:
    description: Mail address of the author of commits. By default C(argocd_commit_email).
    type: str
    default: homelab.talos@localhost
"""

    # The cluster that Argo CD runs in.
    CLUSTER = r"""
options:
  kubeconfig:
    description: Path of the cluster's kubeconfig on the admin host. By default C(kubeconfig) in C(cluster_admin_dir).
    type: path
    required: true
  kubectl:
    description: kubectl, a name or a path on the admin host. By default C(tool_kubectl_path).
    type: path
    default: kubectl
  namespace:
    description: Argo CD's namespace. By default C(argocd_namespace).
    type: str
    default: argocd
"""
