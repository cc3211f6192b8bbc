# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the whole inventory on the controller, before anything runs."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail

from ansible_collections.homelab.talos.plugins.module_utils import _definition as definition
from ansible_collections.homelab.talos.plugins.plugin_utils._cluster_action import ClusterAction, display


class ActionModule(ClusterAction):
    def work(self) -> dict[str, t.Any]:
        names = [*self.groups.get("talos", []), definition.image_writer(self.groups)]
        hosts = {host: self.variables(host) for host in names if host}
        try:
            found = definition.check(hosts, self.groups, self.read_file)
        except definition.DefinitionError as error:
            raise AnsibleActionFail(f"The inventory cannot be used as it is:\n{error}\nNothing was touched.") from None
        for warning in found.warnings:
            display.warning(str(warning))
        return {"changed": False, "nodes": len(found.nodes)}
