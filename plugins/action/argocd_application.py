# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill in argocd_application from the inventory, and keep what that holds encrypted out of the repository."""

from __future__ import annotations

import json
import typing as t

from ansible.errors import AnsibleActionFail

from ansible_collections.homelab.talos.plugins.module_utils._values import plain
from ansible_collections.homelab.talos.plugins.plugin_utils._argocd_action import ArgocdAction

# A shorter one may be a part of other words.
_SHORT = 6


class ActionModule(ArgocdAction):
    def work(self) -> dict[str, t.Any]:
        arguments = self.arguments()
        self._inline_vaults.look(self._variables["hostvars"].raw_get(self._variables["inventory_hostname"]))
        text = json.dumps(plain(arguments.get("manifests")), ensure_ascii=False)
        if any(len(secret) >= _SHORT and json.dumps(secret)[1:-1] in text for secret in self._hidden()):
            raise AnsibleActionFail(
                "manifests hold a value that the inventory keeps encrypted, and everybody who reads the repository "
                "would read it. Commit it encrypted (Sealed Secrets, SOPS), or make it in the cluster by other means."
            )
        return self.call(arguments)
