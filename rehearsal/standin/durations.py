# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Durations as Go writes them."""

from __future__ import annotations

import re

_SECONDS = {"h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(h|ms|m|s|us|µs|ns)")


def canonical(text: str) -> str | None:
    """``90m`` as ``1h30m0s``; None for what is no duration."""
    length = seconds(text)
    return None if length is None else ("-" if text.startswith("-") else "") + written(abs(length))


def seconds(text: str) -> float | None:
    """``1m30s`` as 90.0; None for what is no duration."""
    bare = text.lstrip("+-")
    parts = _PART.findall(bare)
    if bare != "0" and (not parts or "".join(number + unit for number, unit in parts) != bare):
        return None
    length = round(sum(float(number) * _SECONDS[unit] for number, unit in parts), 9)
    return -length if text.startswith("-") else length


def written(length: float) -> str:
    """90.0 as ``1m30s``."""
    if not length:
        return "0s"
    for unit in ("ns", "µs", "ms"):
        if length < _SECONDS[unit] * 1000:
            return f"{length / _SECONDS[unit]:g}{unit}"
    minutes, rest = divmod(length, 60)
    hours, minutes = divmod(int(minutes), 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest:.10g}s"
