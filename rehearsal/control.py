# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon's socket: a JSON line asks, a JSON line answers."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import typing as t

from rehearsal.errors import RehearsalError
from rehearsal.state import StateFolder

TIMEOUT = 30.0


@contextlib.contextmanager
def short_path(state: StateFolder) -> t.Iterator[str]:
    """The socket's path, short enough for the kernel (108 bytes) however deep the state folder is."""
    folder = os.open(state.path, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{folder}/{state.socket.name}"
    finally:
        os.close(folder)


def ask(state: StateFolder, command: str, **arguments: t.Any) -> t.Any:
    """The daemon's answer; ``RehearsalError`` where it does not run, or refuses."""
    line = json.dumps({"command": command, **arguments}).encode() + b"\n"
    try:
        with short_path(state) as path, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(path)
            connection.sendall(line)
            said = connection.makefile("rb").readline()
            answer = json.loads(said) if said else {"error": f"the rehearsal in {state.path} does not answer"}
    except (FileNotFoundError, ConnectionRefusedError):
        raise RehearsalError(f"no rehearsal is running in {state.path}; start it with 'rehearsal up'") from None
    except (OSError, ValueError) as problem:
        raise RehearsalError(f"the rehearsal in {state.path} does not answer: {problem}") from None
    if "error" in answer:
        raise RehearsalError(answer["error"])
    return answer.get("result")


def is_running(state: StateFolder) -> bool:
    try:
        ask(state, "ping")
    except RehearsalError:
        return False
    return True
