# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real git and kubectl, as this stand-in calls them."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

from rehearsal.standin.autopilot.options import Source
from rehearsal.standin.errors import CommandError

Done = subprocess.CompletedProcess[str]


def git_environment(source: Source) -> dict[str, str]:
    """The token goes by the environment: everybody can read arguments."""
    basic = base64.b64encode(f"{source.user}:{source.token}".encode()).decode()
    settings = {"http.extraHeader": f"Authorization: Basic {basic}", "credential.helper": ""}
    if source.certificate:
        settings["http.sslCAInfo"] = str(Path(source.certificate).absolute())
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "LC_ALL": "C"}
    environment["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (key, value) in enumerate(settings.items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return environment


def kubectl_path() -> str:
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if not found:
        raise CommandError("this stand-in needs kubectl beside its Python, or on the PATH")
    return found


class Kubectl:
    """kubectl for one cluster."""

    def __init__(self, kubeconfig: str, context: str) -> None:
        # As the real one: the current context is that of KUBECONFIG, whatever --kubeconfig says.
        self.context = context or self._run(["config", "current-context"]).stdout.strip()
        self._words = [*(["--kubeconfig", kubeconfig] if kubeconfig else [])]
        self._words += ["--context", self.context] if self.context else []

    def apply(self, manifests: str) -> None:
        """What kubectl says goes to where this command's own words go; a failure of its ends this command too."""
        sys.stdout.flush()
        command = [kubectl_path(), *self._words, "apply", "-f", "-"]
        done = subprocess.run(command, input=manifests, text=True, check=False)
        if done.returncode:
            sys.exit(1)

    def get(self, *words: str) -> Done:
        return self._run([*self._words, "get", *words, "-o", "json"])

    @staticmethod
    def _run(words: t.Sequence[str]) -> Done:
        return subprocess.run([kubectl_path(), *words], capture_output=True, text=True, check=False)
