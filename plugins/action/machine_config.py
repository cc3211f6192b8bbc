# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill in machine_config from the inventory."""

from __future__ import annotations

import typing as t

from ansible_collections.homelab.talos.plugins.plugin_utils._cluster_action import ClusterAction


class ActionModule(ClusterAction):
    supplies: t.ClassVar[frozenset[str]] = frozenset(
        {"admin_dir", "cluster", "control_planes", "hidden", "node", "secrets", "talosctl"}
    )

    def work(self) -> dict[str, t.Any]:
        arguments = self.arguments()
        control_plane = "controlplanes" in self._variables.get("group_names", ())
        told = limits(arguments, control_plane=control_plane)
        return self.call_at_length(arguments, f"converging the node (up to {told})")


def limits(arguments: t.Mapping[str, t.Any], *, control_plane: bool) -> str:
    """How long the waits of a run may be."""
    found = [f"{arguments.get('reachable_timeout', 30)} s for its first answer"]
    if control_plane:
        found.append(f"{arguments.get('etcd_timeout', 300)} s for etcd")
    return ", ".join([*found, f"{arguments.get('timeout', 600)} s for each step of a change"])
