# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill in wait from the inventory, and tell what it waits for."""

from __future__ import annotations

import typing as t

from ansible_collections.homelab.talos.plugins.plugin_utils._cluster_action import ClusterAction


class ActionModule(ClusterAction):
    supplies: t.ClassVar[frozenset[str]] = frozenset({"control_planes", "hidden", "nodes", "secrets"})

    def work(self) -> dict[str, t.Any]:
        arguments = self.arguments()
        try:
            seconds = float(arguments.get("timeout", 600))
        except ValueError:
            # The module says what is wrong with it.
            return self.call(arguments)
        return self.call_in_steps(arguments, seconds)
