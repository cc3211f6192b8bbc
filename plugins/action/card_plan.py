# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill in card_plan from the inventory and cards.yml."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.homelab.talos.plugins.module_utils._card_plan import CardProblem, NodeCard
from ansible_collections.homelab.talos.plugins.module_utils._card_settings import read_size
from ansible_collections.homelab.talos.plugins.module_utils._image_factory import FORMATS, declared, version_of
from ansible_collections.homelab.talos.plugins.module_utils._problems import Problem, shown
from ansible_collections.homelab.talos.plugins.module_utils._values import plain
from ansible_collections.homelab.talos.plugins.module_utils._versions import DEFAULT_TALOS
from ansible_collections.homelab.talos.plugins.plugin_utils._card_action import TERMINAL, CardAction


class ActionModule(CardAction):
    def on_cards(self) -> dict[str, t.Any]:
        nodes = [dataclasses.asdict(self._node_card(host)) for host in self._variables["ansible_play_hosts"]]
        return self.call({"nodes": nodes, "terminal": TERMINAL, **self.with_cluster()})

    def _node_card(self, host: str) -> NodeCard:
        def report(key: str, value: object, remedy: str) -> None:
            raise CardProblem(str(Problem(host, key, shown(value), remedy)))

        schematic, _whole = declared(plain(self.variable("node_schematic", host)), self._text("node_board", host))
        size = self.variable("card_size", host)
        return NodeCard(
            node=host,
            schematic=schematic,
            version=version_of(self._text("cluster_talos_version", host) or DEFAULT_TALOS),
            source=self._text("card_file", host) or self._text("card_format", host) or FORMATS[0],
            identity=self._text("card_identity", host),
            size=0 if size is None else read_size(size, "card_size", report),
        )

    def _text(self, name: str, host: str) -> str:
        return str(self.variable(name, host) or {"node_board": "generic"}.get(name, ""))
