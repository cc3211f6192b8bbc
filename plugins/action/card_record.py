# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record cards on the controller."""

from __future__ import annotations

import typing as t

from ansible_collections.homelab.talos.plugins.module_utils._card_records import Record, added
from ansible_collections.homelab.talos.plugins.module_utils._values import plain
from ansible_collections.homelab.talos.plugins.plugin_utils._card_action import CardAction


class ActionModule(CardAction):
    def on_cards(self) -> dict[str, t.Any]:
        given = plain(self._task.args)
        image = given["schematic"], given["version"], given["sha256"]
        new = {
            card["node"]: Record(card["identity"], card["size"], *image)
            for card in given["cards"]
            if not card["failed"]
        }
        file = self.records_file()
        if self._task.check_mode:
            known = file.read()
            return {"changed": added(known, new) != known, "path": file.path}
        return {"changed": file.record(new), "path": file.path}
