# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated Talos nodes: the cluster of an inventory, rehearsed without hardware."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The table of messages is shared with the collection, which Python finds under collections/ of the checkout.
if str(ROOT / "collections") not in sys.path:
    sys.path.append(str(ROOT / "collections"))
