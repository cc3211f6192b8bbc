# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill in argocd_application from the inventory, and keep Secrets out of the repository."""

from __future__ import annotations

import typing as t

from ansible_collections.homelab.talos.plugins.module_utils._argocd_applications import (
    BadApplication,
    require_no_secret,
)
from ansible_collections.homelab.talos.plugins.module_utils._values import plain
from ansible_collections.homelab.talos.plugins.plugin_utils._argocd_action import ArgocdAction


class ActionModule(ArgocdAction):
    def work(self) -> dict[str, t.Any]:
        arguments = self.arguments()
        try:
            # Here already: the module's options are logged on its host before it looks at them.
            require_no_secret(plain(arguments.get("manifests")))
        except BadApplication as error:
            return {"failed": True, "msg": str(error), "failure": error.as_failure()}
        return self.call(arguments)
