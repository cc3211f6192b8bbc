# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends a command."""

from __future__ import annotations

from collections.abc import Sequence


class CommandError(Exception):
    """Printed on standard error as it is; the command exits with ``code``."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def several_errors(errors: Sequence[str]) -> str:
    """Errors in one text, as Talos prints a list of them."""
    count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
    return f"{count} occurred:\n\t" + "\n\t".join(f"* {error}" for error in errors) + "\n\n"
