# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill in argocd_bootstrap from the inventory, and tell that it is still at work."""

from __future__ import annotations

import shlex
import typing as t

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.homelab.talos.plugins.plugin_utils._argocd_action import REPOSITORY, ArgocdAction

_OWN = frozenset(
    {
        "admin_password_hash",
        "install_file",
        "install_sha256",
        "namespace",
        "patches",
        "read_token",
        "read_user",
        "ready_timeout",
        "version",
    }
)


class ActionModule(ArgocdAction):
    supplies: t.ClassVar[frozenset[str]] = frozenset({"argocd_autopilot", "cache_dir", "kubeconfig", "kubectl"})
    from_inventory: t.ClassVar[frozenset[str]] = REPOSITORY | _OWN

    def work(self) -> dict[str, t.Any]:
        arguments = self.arguments()
        if boolean(arguments.get("return_admin_password") or False, strict=False) and not self._task.no_log:
            raise AnsibleActionFail("return_admin_password needs no_log: true at the task, else the password is shown")
        limit = arguments.get("ready_timeout", 1200)
        what = f"repository and cluster converge; Argo CD has {limit} s to become ready"
        if self._task.check_mode:
            return self.call_at_length(arguments, what)
        # Ansible removes its folder.
        path = f"{self._make_tmp_path()}/progress"
        return self.call_at_length({**arguments, "progress_file": path}, what, lambda: self._read(path))

    def _read(self, path: str) -> str:
        """What the module, which is still at work, told last."""
        if self._play_context.password:
            # Ansible's SSH keeps the password's pipe in the connection, which the module's own call is using.
            return ""
        try:
            done = self._low_level_execute_command(f"cat {shlex.quote(path)} 2>/dev/null")
        except (AnsibleError, OSError, ValueError):
            return ""
        return " ".join(str(done.get("stdout") or "").split())
