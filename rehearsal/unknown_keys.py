# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of a v1alpha1 document that Talos does not know."""

from __future__ import annotations

import typing as t

from rehearsal.documents import V1ALPHA1_KEYS


def unknown_keys(document: dict[str, t.Any]) -> dict[str, t.Any]:
    """The unknown keys with their values, nested as in the document; empty where all are known."""
    found = _unknown_at(document, ())
    return {key: found[key] for key in sorted(found)}


def _unknown_at(section: dict[str, t.Any], path: tuple[str, ...]) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {}
    for key, value in section.items():
        if key not in V1ALPHA1_KEYS[path]:
            found[key] = value
        elif (*path, key) in V1ALPHA1_KEYS and isinstance(value, dict):
            below = _unknown_at(value, (*path, key))
            if below:
                found[key] = below
    return found
