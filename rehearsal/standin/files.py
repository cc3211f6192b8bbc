# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files, with the errors of a real talosctl."""

from __future__ import annotations

import os
import pathlib

from rehearsal.standin.errors import CommandError


def read_text(path: str) -> str:
    try:
        # Not by pathlib, to which an empty path is the current directory.
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CommandError(f"open {path}: {reason}") from None


def write_text(path: str, text: str, mode: int) -> None:
    try:
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CommandError(f"open {path}: {reason}") from None


def refuse_existing(path: str, force: bool) -> None:
    if not force and pathlib.Path(path).exists():
        raise CommandError(f'file "{path}" already exists, use --force to overwrite')
