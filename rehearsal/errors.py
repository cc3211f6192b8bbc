# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors that a person who rehearses gets to see, each one line."""

from __future__ import annotations


class RehearsalError(Exception):
    """Something that ends a command of ``rehearsal`` with a message."""
