# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m rehearsal.standin.autopilot``."""

from __future__ import annotations

import sys
import typing as t
from collections.abc import Sequence

from rehearsal.standin.autopilot import VERSION, bootstrap, messages, options, projects
from rehearsal.standin.errors import CommandError
from rehearsal.standin.flags import Flags, parse


def _version(flags: Flags) -> None:
    print(f"Version: {VERSION}\nGitCommit: stand-in" if flags.is_on("long") else VERSION)


_COMMANDS: dict[tuple[str, ...], tuple[t.Callable[[Flags], None], dict[str, str]]] = {
    ("repo", "bootstrap"): (bootstrap.run, options.BOOTSTRAP),
    ("project", "create"): (projects.create, options.PROJECT_CREATE),
    ("project", "list"): (projects.show, options.PROJECT_LIST),
    ("version",): (_version, {**options.GLOBAL, "long": ":bool"}),
}


def main(arguments: Sequence[str]) -> int:
    try:
        _run(list(arguments))
    except CommandError as error:
        messages.fatal(str(error))
        return error.code
    return 0


def _run(arguments: list[str]) -> None:
    for length in (2, 1):
        words = tuple(arguments[:length])
        if words in _COMMANDS:
            command, known = _COMMANDS[words]
            command(parse(arguments[length:], known))
            return
    commands = ", ".join(" ".join(words) for words in _COMMANDS)
    raise CommandError(f"this stand-in for argocd-autopilot does only {commands}: for the rest take a real one")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
