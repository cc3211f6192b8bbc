# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill in bootstrap from the inventory."""

from __future__ import annotations

import typing as t

from ansible_collections.homelab.talos.plugins.plugin_utils._cluster_action import ClusterAction


class ActionModule(ClusterAction):
    supplies: t.ClassVar[frozenset[str]] = frozenset({"control_planes", "hidden", "secrets"})

    def work(self) -> dict[str, t.Any]:
        arguments = self.arguments()
        limit = arguments.get("timeout", 600)
        return self.call_at_length(arguments, f"waiting for etcd's first member (up to {limit} s for each step)")
