# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions for Argo CD share: the repository, its account, and the binaries, from the inventory."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail

from ._cluster_action import ClusterAction

# Options of everything that reads or writes the repository.
REPOSITORY = frozenset(
    {"repo_url", "repo_path", "repo_branch", "repo_ca_file", "git_user", "git_token", "commit_name", "commit_email"}
)
_NEEDED = ("repo_url", "git_token")


class ArgocdAction(ClusterAction):
    """A module about Argo CD or its repository with its options filled in.

    ``from_inventory`` are those that ``argocd_<option>`` gives. ``supplies`` may name ``kubeconfig``, ``kubectl`` and
    ``argocd_autopilot``, too.
    """

    from_inventory: t.ClassVar[frozenset[str]] = REPOSITORY

    def arguments(self) -> dict[str, t.Any]:
        given = super().arguments()
        makers: dict[str, t.Callable[[], t.Any]] = {
            "argocd_autopilot": lambda: self.variable("tool_argocd_autopilot_path"),
            "kubeconfig": lambda: f"{self.admin_dir()}/kubeconfig",
            "kubectl": lambda: self.variable("tool_kubectl_path"),
        }
        found = {name: makers[name]() for name in self.supplies & makers.keys()}
        found |= {name: self.variable(f"argocd_{name}") for name in self.from_inventory}
        arguments = {name: value for name, value in {**found, **given}.items() if value is not None}
        self._require(arguments)
        return arguments

    def _require(self, arguments: dict[str, t.Any]) -> None:
        for name in _NEEDED:
            if name in self.from_inventory and not arguments.get(name):
                raise AnsibleActionFail(
                    f"{name} is not known: set argocd_{name} in the inventory, where it is empty or not there"
                )
