# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools of a rehearsal: real ones where there are some of the right version, else stand-ins."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from rehearsal import ROOT
from rehearsal.errors import RehearsalError
from rehearsal.standin.autopilot import VERSION as AUTOPILOT_VERSION
from rehearsal.state import StateFolder, write_private
from rehearsal.versions import TalosVersion

VERSION_VARIABLE = "STANDIN_TALOSCTL_VERSION"


def client_minor(path: str) -> str:
    """The minor of a talosctl, empty where it does not tell."""
    command = [path, "version", "--client", "--short"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"v(\d+\.\d+)\.", done.stdout)
    return found.group(1) if done.returncode == 0 and found else ""


def install_talosctl(state: StateFolder, wanted: TalosVersion, named: str) -> str:
    """Put ``talosctl`` in ``STATE/bin``; tells which one it is."""
    target = state.bin / "talosctl"
    for candidate in filter(None, (named, *_known(target, "REHEARSAL_TALOSCTL"))):
        if client_minor(candidate) == wanted.minor:
            target.unlink(missing_ok=True)
            target.symlink_to(Path(candidate).absolute())
            return f"the real one, {candidate}"
        if candidate == named:
            raise RehearsalError(f"--talosctl {named}: no talosctl of version {wanted.minor}")
    _write_stand_in(target, wanted)
    return f"the stand-in (no talosctl {wanted.minor} found by --talosctl, REHEARSAL_TALOSCTL or PATH)"


def _known(target: Path, variable: str) -> list[str]:
    """Paths by the environment; what an earlier ``up`` put in this place is none, though the PATH may lead there."""
    named = [*os.environ.get(variable, "").split(os.pathsep), shutil.which(target.name)]
    return [path for path in named if path and Path(path).absolute() != target]


def _says_version(path: str) -> bool:
    try:
        done = subprocess.run([path, "version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.strip() == AUTOPILOT_VERSION


def install_autopilot(state: StateFolder) -> str:
    """Put ``argocd-autopilot`` in ``STATE/bin``; tells which one it is."""
    target = state.bin / "argocd-autopilot"
    variable = "REHEARSAL_ARGOCD_AUTOPILOT"
    for candidate in _known(target, variable):
        if _says_version(candidate):
            target.unlink(missing_ok=True)
            target.symlink_to(Path(candidate).absolute())
            return f"the real one, {candidate}"
    write_autopilot(target)
    return f"the stand-in (no argocd-autopilot {AUTOPILOT_VERSION} found by {variable} or PATH)"


def write_autopilot(target: Path) -> None:
    """The stand-in as a command."""
    _write_script(target, "rehearsal.standin.autopilot")


def install_kubectl(state: StateFolder) -> str:
    """Put the real ``kubectl`` in ``STATE/bin``, where there is one; tells which."""
    target, beside = state.bin / "kubectl", Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    target.unlink(missing_ok=True)
    if not found:
        return "none (neither beside this Python nor on the PATH)"
    target.symlink_to(Path(found).absolute())
    return f"the real one, {found}"


def _write_stand_in(target: Path, wanted: TalosVersion) -> None:
    setting = f'{VERSION_VARIABLE}="${{{VERSION_VARIABLE}:-{wanted.number}}}"'
    _write_script(target, "rehearsal.standin.talosctl", setting, f"export {VERSION_VARIABLE}")


def _write_script(target: Path, module: str, *settings: str) -> None:
    python_path = os.pathsep.join((str(ROOT), str(ROOT / "collections")))
    lines = [
        "#!/bin/sh",
        f"PYTHONPATH={shlex.quote(python_path)}${{PYTHONPATH:+:$PYTHONPATH}}",
        "export PYTHONPATH",
        *settings,
        f'exec {shlex.quote(sys.executable)} -m {module} "$@"',
    ]
    target.unlink(missing_ok=True)
    write_private(target, "\n".join(lines) + "\n", mode=0o700)
