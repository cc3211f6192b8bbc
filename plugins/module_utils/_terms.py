# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""How a node may be changed, and for how long it is waited for."""

from __future__ import annotations

from dataclasses import dataclass

from ._errors import TalosError

SHORTEST_TRY = 10.0


class TryTooShort(TalosError):
    """Too little time to prove a node with a tried config, and to keep it."""


@dataclass(frozen=True)
class Terms:
    """How a node may be changed. Seconds are upper bounds. Raises TryTooShort."""

    mode: str = "auto"
    reboot_allowed: bool = True
    check: bool = False
    try_seconds: int = 60
    reachable_seconds: float = 30.0
    settle_seconds: float = 600.0
    etcd_seconds: float = 300.0
    # A node that answers for so long with another stored config did not take ours.
    settled_seconds: float = 4.0
    # For so long after an apply a node may refuse our role, while it sets up its API.
    role_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.mode == "try" and self.try_seconds < SHORTEST_TRY:
            raise TryTooShort(
                f"try_timeout is {self.try_seconds} s, too short to see whether the node bears the config",
                remedy=f"Set try_timeout (node_try_timeout) to at least {SHORTEST_TRY:g} seconds",
            )

    @property
    def told(self) -> str:
        """The mode that a node is told: where it may not reboot, it shall itself refuse what it must reboot for."""
        return "no-reboot" if self.mode == "auto" and not self.reboot_allowed else self.mode

    @property
    def bars_reboot(self) -> bool:
        """Is a change refused that needs a reboot?"""
        return self.told in ("no-reboot", "try")

    def actions(self, *, rebooting: bool) -> list[str]:
        """What is done to a configured node that needs it, where Talos itself reboots for the change or not."""
        if self.mode == "reboot":
            return [action("staged"), "reboot"]
        if self.mode == "try":
            return [action("try"), action("no-reboot")]
        return [action(self.told, rebooting=rebooting and self.told == "auto")]


def action(mode: str, *, rebooting: bool = False) -> str:
    return f"apply-config --mode {mode}" + (" (by a reboot)" if rebooting else "")
