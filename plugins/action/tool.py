# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill in what a task does not say of a tool, from the table of tools and the lock."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail

from ansible_collections.homelab.talos.plugins.module_utils._errors import TalosError
from ansible_collections.homelab.talos.plugins.plugin_utils._tool_action import ToolAction


class ActionModule(ToolAction):
    supplies: t.ClassVar[frozenset[str]] = frozenset({"version", "url", "sha256", "member", "completion"})

    def work(self) -> dict[str, t.Any]:
        given = dict(self._task.args)
        if not given.get("url"):
            if given.get("sha256"):
                raise AnsibleActionFail("sha256 is of what is at url: give both or none")
            try:
                given = {**self._known(given), **given}
            except TalosError as error:
                return self.failed(error)
        elif not (given.get("sha256") and given.get("version")):
            raise AnsibleActionFail("with url, give sha256 and version too")
        return self.call({name: value for name, value in given.items() if value is not None})

    def _known(self, given: dict[str, t.Any]) -> dict[str, t.Any]:
        name = str(given.get("name") or "")
        versions = {name: given["version"]} if given.get("version") else {}
        return self.choose([name], versions, self.table(), None)[0].as_dict()
