# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Argo CD's install.yaml in the admin host's cache, as a user without a network would lay it there."""

from __future__ import annotations

import lzma
from pathlib import Path

from rehearsal.state import StateFolder

_FILE = Path(__file__).parent / "data" / "argo-cd-3.5.1-install.yaml.xz"
_PLACE = "raw.githubusercontent.com/argoproj/argo-cd/v3.5.1/manifests/install.yaml"


def lay_installation(state: StateFolder) -> None:
    path = state.admin / "cache" / _PLACE
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(lzma.decompress(_FILE.read_bytes()))
