# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan with details as people read it."""

from __future__ import annotations

import typing as t

from ansible_collections.homelab.talos.plugins.module_utils import _status


class FilterModule:
    """Names the filters."""

    def filters(self) -> dict[str, t.Any]:
        return {
            "status_table": _status.table,
            "status_complaint": _status.complaint,
            "status_verdict": _status.verdict,
        }
