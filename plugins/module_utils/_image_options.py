# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Which image, as options of modules."""

from __future__ import annotations

import typing as t

from ._image_factory import FACTORY, FORMATS
from ._schematic import BOARDS

IMAGE_OPTIONS: dict[str, t.Any] = {
    "board": {"type": "str", "choices": list(BOARDS), "default": "generic"},
    "schematic": {"type": "raw"},
    "talos_version": {"type": "str", "required": True},
    "factory": {"type": "str", "default": FACTORY},
    "format": {"type": "str", "choices": list(FORMATS), "default": FORMATS[0]},
}
