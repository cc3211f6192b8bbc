# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real talosctl, where there is one."""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

import pytest


def real_talosctls() -> list[str]:
    """Those that REHEARSAL_TALOSCTL names (separated by colons), else the one on the PATH, else none."""
    named = [path for path in os.environ.get("REHEARSAL_TALOSCTL", "").split(os.pathsep) if path]
    return named or [path for path in [shutil.which("talosctl")] if path]


def each_real_talosctl() -> list[t.Any]:
    """The same as parameters; a skip where there is none."""
    reason = "not run: no talosctl (REHEARSAL_TALOSCTL or PATH)"
    none = pytest.param("", id="none", marks=pytest.mark.skip(reason=reason))
    return [pytest.param(path, id=Path(path).name) for path in real_talosctls()] or [none]
