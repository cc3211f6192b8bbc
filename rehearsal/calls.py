# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The call log: a line for each connection and each call, so that a test can prove who was spoken to."""

from __future__ import annotations

import json
import time
import typing as t
from pathlib import Path


class CallLog:
    """Appends to one file; a path of None keeps nothing (for tests of one node)."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: t.IO[str] | None = None

    def write(self, **entry: t.Any) -> None:
        if self._path is None:
            return
        if self._file is None:
            self._file = self._path.open("a", encoding="utf-8", buffering=1)
            self._path.chmod(0o600)
        self._file.write(json.dumps({"time": round(time.time(), 3), **entry}) + "\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def read_calls(path: Path) -> list[dict[str, t.Any]]:
    """All entries so far; none before the first call."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
