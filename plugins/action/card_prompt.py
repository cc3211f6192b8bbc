# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask for cards in the terminal, and let the module look at each."""

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleActionFail, AnsiblePromptInterrupt, AnsiblePromptNoninteractive

from ansible_collections.homelab.talos.plugins.module_utils._errors import TalosError
from ansible_collections.homelab.talos.plugins.plugin_utils._card_action import CardAction
from ansible_collections.homelab.talos.plugins.plugin_utils._cluster_action import display

# A card is looked for so often and so long before it is asked for again.
_PAUSE, _PATIENCE = 1.0, 30.0
_PASS_OVER = b"s"

Card = dict[str, t.Any]


class ActionModule(CardAction):
    def on_cards(self) -> dict[str, t.Any]:
        if self._task.check_mode:
            return {"skipped": True, "msg": "nobody is asked in check mode"}
        given = self.with_cluster()
        used = list(given.get("used") or [])
        cards: list[Card] = []
        passed_over: list[str] = []
        for place in given["places"]:
            card = place["card"] or self._ask({**given, "used": [*used, *cards]}, place)
            if card:
                cards.append(card)
            else:
                passed_over.append(place["wanted"]["node"])
        return {"changed": False, "cards": cards, "passed_over": passed_over}

    def _ask(self, given: dict[str, t.Any], place: dict[str, t.Any]) -> Card | None:
        """None where the node is passed over."""
        node, reader = place["wanted"]["node"], place["reader"]
        whose = f" ({place['wanted']['identity']})" if place["wanted"]["identity"] else ""
        arguments = {**given, "reader": reader, "wanted": place["wanted"]}
        question = (
            f"Put the card for {node}{whose} into {reader}, then press Enter (s: skip this node, Ctrl-C: stop). "
            f"In it now: {self._look(arguments)['content']}"
        )
        while True:
            if self._answer(question) == _PASS_OVER:
                return None
            verdict = self._wait(arguments)
            if verdict["card"]:
                card: Card = verdict["card"]
                return card
            question = f"{verdict['words']}. Put the card for {node}{whose} into {reader}, then press Enter"

    def _wait(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        """The verdict on the card in the reader, at the latest when it takes too long to come."""
        end, told = time.monotonic() + _PATIENCE, ""
        while True:
            verdict = self._look(arguments)
            if not verdict["waiting"] or time.monotonic() > end:
                return verdict
            if verdict["words"] != told:
                told = verdict["words"]
                self._tell(told)
            time.sleep(_PAUSE)

    def _look(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        result = self.call(arguments)
        if result.get("failed"):
            raise TalosError(str(result.get("msg")))
        return result

    @staticmethod
    def _answer(question: str) -> bytes:
        try:
            return bytes(display.prompt_until(question)).strip().lower()
        except AnsiblePromptInterrupt:
            raise AnsibleActionFail("stopped at the terminal; the cards that were written are in cards.yml") from None
        except AnsiblePromptNoninteractive as error:
            raise AnsibleActionFail(f"nobody can be asked for a card: {error}. Declare card_identity") from None
