# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill in sd_card's cluster from the inventory, and tell how far the cards are."""

from __future__ import annotations

import typing as t

from ansible_collections.homelab.talos.plugins.plugin_utils._progress_action import (
    Progress,
    ProgressAction,
    gibibytes,
    pace,
)


class ActionModule(ProgressAction):
    def work(self) -> dict[str, t.Any]:
        arguments = dict(self._task.args)
        if arguments.get("cluster") is None:
            arguments["cluster"] = self._cluster_name()
        return self.call_with_progress({name: value for name, value in arguments.items() if value is not None})

    def _cluster_name(self) -> str:
        """Of this host, or of the nodes."""
        hosts = [self._variables["inventory_hostname"], *self.groups.get("talos", [])[:1]]
        return next((str(name) for name in (self.variable("cluster_name", host) for host in hosts) if name), "")

    def describe(self, progress: Progress) -> t.Iterator[str]:
        seconds = progress["seconds"]
        for card in progress["cards"]:
            if card["to_read"]:
                step = f"{gibibytes(card['read'])} of {gibibytes(card['to_read'])} read back"
            else:
                step = f"{gibibytes(card['done'])} of {gibibytes(card['size'])} on the card"
            done, size = card["done"] + card["read"], card["size"] + card["to_read"]
            yield f"{card['name']} ({card['device']}): {step}, {pace(done, size, seconds)}"
