# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the whole inventory on the controller, before anything runs."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.inventory.manager import split_host_pattern

from ansible_collections.homelab.talos.plugins.module_utils import _definition as definition
from ansible_collections.homelab.talos.plugins.module_utils._targets import is_due, unknown_in_limit
from ansible_collections.homelab.talos.plugins.plugin_utils._cluster_action import ClusterAction, display

_FAILED = "The inventory cannot be used as it is:\n{}\nNothing was touched."


class ActionModule(ClusterAction):
    def work(self) -> dict[str, t.Any]:
        self._check_limit()
        hosts = {host: self.variables(host) for host in definition.checked_hosts(self.groups)}
        first = definition.designated(self.groups)
        if first:
            hosts.setdefault(first, {}).update(self.variables(first, definition.is_of_argocd))
        due = self._argocd_due(first)
        found = self.or_fail(lambda: definition.check(hosts, self.groups, self.read_file, argocd_due=due), _FAILED)
        for warning in self.without_secrets(found.warnings) if found.warnings else ():
            display.warning(str(warning))
        return {"changed": False, "nodes": len(found.nodes)}

    def _argocd_due(self, first: str) -> bool:
        """The playbook says whether it has that phase, and the tags whether the run comes to it."""
        tags = (self._variables.get(f"ansible_{which}_tags") or () for which in ("run", "skip"))
        return bool(self._variables.get("with_argocd")) and is_due("argocd", first, self.groups, *tags)

    def _check_limit(self) -> None:
        """Ansible warns of a name in --limit that is none, and runs on the others."""
        wrong = unknown_in_limit(self.groups, split_host_pattern(self._variables.get("ansible_limit") or ""))
        if wrong:
            raise AnsibleActionFail(f"--limit: {'; '.join(wrong)}. Nothing was touched.")
