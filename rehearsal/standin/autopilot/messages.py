# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of the log, as logrus writes them to standard error."""

from __future__ import annotations

import json
import re
import sys

_BARE = re.compile(r"[A-Za-z0-9\-._/@^+]+")


def info(text: str) -> None:
    _write("info", text)


def warn(text: str) -> None:
    _write("warning", text)


def fatal(text: str) -> None:
    _write("fatal", text)


def _write(level: str, text: str) -> None:
    shown = text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)
    print(f"level={level}" + (f" msg={shown}" if text else ""), file=sys.stderr, flush=True)
