# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory as Ansible reads it, and what the product's own check says of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

from rehearsal import ROOT
from rehearsal.errors import RehearsalError

# Git tokens may be encrypted with a password that a rehearsal, which has tokens of its own, does without.
_NO_TOKENS = json.dumps({"argocd_git_token": "", "argocd_read_token": ""})
_UNREADABLE = re.compile(r"^\[WARNING\]: Failed to parse inventory with '\w+' plugin: (.+)$", re.MULTILINE)
# What the plug-in of the plug-ins says of each file that is none of theirs.
_NOT_TRIED = "no root 'plugin' key found"
_ORIGIN = re.compile(r"^Origin: ([^<].*)$", re.MULTILINE)


def command(name: str) -> str:
    """The path of one of Ansible's commands: beside this Python, else by the PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise RehearsalError(f"{name} is not installed beside this Python, nor on the PATH")
    return found


def _run(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    collections = filter(None, (str(ROOT / "collections"), os.environ.get("ANSIBLE_COLLECTIONS_PATH")))
    environment = {
        **os.environ,
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join(collections),
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
        "ANSIBLE_NOCOLOR": "1",
        # Ansible refuses to start under a locale without UTF-8.
        "LC_ALL": "C.UTF-8",
    }
    return subprocess.run([command(name), *words], capture_output=True, text=True, check=False, env=environment)


def listed(path: Path) -> dict[str, t.Any]:
    """Groups and variables as ``ansible-inventory --list`` has them."""
    if not path.exists():
        raise RehearsalError(f"no inventory at {path}")
    done = _run("ansible-inventory", "-i", str(path), "--list")
    if done.returncode:
        raise RehearsalError(f"the inventory {path} can't be read: {_reason(done.stderr)}")
    value: dict[str, t.Any] = json.loads(done.stdout)
    return value


def _reason(said: str) -> str:
    """What tells: the first plug-in that took the file for its own, with line and column; the last line tells least."""
    *_, last = ["no reason given", *filter(str.strip, said.splitlines())]
    last = last.removeprefix("[ERROR]: ")
    _, *pieces = _UNREADABLE.split(said)
    for reason, rest in zip(pieces[::2], pieces[1::2], strict=True):
        if not reason.startswith(_NOT_TRIED):
            origin = _ORIGIN.search(rest)
            return f"{reason.rstrip('.')} ({origin[1] if origin else last.rpartition(' source ')[2]})"
    return last


def require_valid(path: Path) -> None:
    """As it is written, without the addresses that a rehearsal lays over it: all that is wrong is told at once."""
    done = _run("ansible", "-i", str(path), "-e", _NO_TOKENS, "talos[0]", "-m", "homelab.talos.validate")
    if done.returncode:
        raise RehearsalError(f"the inventory {path} can't be used as it is:\n{_problems(done)}\nNothing was started.")


def _problems(done: subprocess.CompletedProcess[str]) -> str:
    """The lines between the first and the last of the module's message; all that Ansible said where there is none."""
    try:
        message = json.loads(done.stdout.partition(" => ")[2])["msg"]
    except (ValueError, KeyError):
        return (done.stdout + done.stderr).strip()
    return "\n".join(message.splitlines()[1:-1]) or str(message)
