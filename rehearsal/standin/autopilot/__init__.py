# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for argocd-autopilot 0.4.20, for machines that have none: ``repo bootstrap``, ``project``, ``version``."""

from __future__ import annotations

VERSION = "v0.4.20"
