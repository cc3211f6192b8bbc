# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose the versions of all tools, then let the module look at the host."""

from __future__ import annotations

import typing as t

from ansible_collections.homelab.talos.plugins.module_utils._errors import TalosError
from ansible_collections.homelab.talos.plugins.plugin_utils._tool_action import ToolAction


class ActionModule(ToolAction):
    supplies: t.ClassVar[frozenset[str]] = frozenset({"names", "architecture", "tools"})

    def work(self) -> dict[str, t.Any]:
        given = dict(self._task.args)
        try:
            table = self.table(given.pop("table", None))
            names = given.pop("names", None)
            pins = self.choose(
                table if names is None else names,
                given.pop("versions", None) or {},
                table,
                given.pop("architecture", None) or None,
            )
        except TalosError as error:
            return self.failed(error)
        return self.call({**given, "tools": [pin.as_dict() for pin in pins]})
