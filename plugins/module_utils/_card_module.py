# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What the modules for cards share towards Ansible. They need Python alone, and zstd's library for images in zstd."""

from __future__ import annotations

from ._errors import TalosError
from ._host_module import HostModule
from ._tool_table import is_hash


class CardModule(HostModule):
    """A module about images or cards."""

    @property
    def sha256(self) -> str:
        """The option of this name, in small letters; empty where it is not given. Raises TalosError."""
        given = str(self.params["sha256"] or "")
        if given and not is_hash(given.lower()):
            raise TalosError(f"sha256 is {given}", remedy="It must be 64 digits of 0 to 9 and a to f")
        return given.lower()
