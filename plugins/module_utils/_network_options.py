# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""How downloads come, as options of modules."""

from __future__ import annotations

import typing as t

from ._download import Network

NETWORK_OPTIONS: dict[str, t.Any] = {
    "mirror": {"type": "str", "default": ""},
    # It may hold a password.
    "proxy": {"type": "str", "default": "", "no_log": True},
    "ca_file": {"type": "path"},
    "offline": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 30},
    "retries": {"type": "int", "default": 3},
}


def network_of(given: t.Mapping[str, t.Any], prefix: str) -> Network:
    """``prefix`` is that of the variables which a role gives these options by."""
    return Network(
        prefix,
        mirror=given.get("mirror") or "",
        proxy=given.get("proxy") or "",
        ca_file=given.get("ca_file") or "",
        timeout=given.get("timeout") or 30,
        retries=given.get("retries") or 0,
    )
