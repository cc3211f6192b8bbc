# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of messages of the collection, under a short name."""

from __future__ import annotations

import typing as t

from ansible_collections.homelab.talos.plugins.module_utils._messages import (
    METHODS,
    STREAM,
    UNARY,
    message_class,
)

__all__ = ["METHODS", "STREAM", "UNARY", "message_class", "new"]


def new(full_name: str, /, **fields: t.Any) -> t.Any:
    """A message by its full name, with fields set (one of which may be called ``name``)."""
    return message_class(full_name)(**fields)
