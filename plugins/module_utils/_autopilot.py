# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""The argocd-autopilot binary: bootstrap and recovery. Its exit code says nothing, so success is judged elsewhere."""

from __future__ import annotations

import dataclasses
import os
import re
import typing as t

from ._commands import Commands, CommandTimeout, found
from ._errors import TalosError
from ._git import Account, Address
from ._kubectl import Kubectl

_REMEDY = "Install argocd-autopilot (role tool), or set tool_argocd_autopilot_path"
# It waits by itself; only one that hangs is ended by us.
_GRACE_SECONDS = 120.0
_LEVEL = re.compile(r"^level=(?P<level>\w+) msg=(?P<words>.*)$")
_PROGRESS = re.compile(r"\s*(remote: )?(Enumerating|Counting|Compressing|Receiving|Total) ")
_TOLD = frozenset({"error", "fatal"})


class AutopilotError(TalosError):
    """What it said last before it gave up."""

    remedy = "Run again: it goes on from what the repository and the cluster hold"


@dataclasses.dataclass(frozen=True)
class Autopilot:
    """Runs in the workspace: it makes its folders there, and its ``HOME`` is there."""

    commands: Commands
    path: str = "argocd-autopilot"

    def bootstrap(
        self,
        address: Address,
        account: Account,
        kubectl: Kubectl,
        *,
        app: str,
        namespace: str,
        seconds: float,
        recover: bool,
        meanwhile: t.Callable[[], None],
    ) -> str:
        """What it complained of, empty where it did not. ``app`` is a folder, relative to the workspace.

        Raises NoCommand, Stopped, and what ``meanwhile`` raises, which is called again and again.
        """
        repo = address.url + (f"/{address.path}" if address.path else "")
        argv = [found(self.path, _REMEDY), "repo", "bootstrap"]
        argv += ["--repo", repo + (f"?ref={address.branch}" if address.branch else "")]
        argv += ["--git-user", account.user, "--app", f"./{app}", "--namespace", namespace, "--hide-password"]
        argv += ["--kubeconfig", kubectl.kubeconfig, "--context", kubectl.context()]
        argv += ["--request-timeout", f"{seconds:.0f}s", *(["--recover"] if recover else [])]
        argv += ["--git-server-crt", address.ca_file] if address.ca_file else []
        # It reads the current context from this one, whatever --kubeconfig says.
        commands = self.commands.with_environment(
            GIT_TOKEN=account.token, KUBECONFIG=kubectl.kubeconfig, NO_COLOR="1", HOME=self._home()
        )
        try:
            done = commands.run(argv, seconds=seconds + _GRACE_SECONDS, meanwhile=meanwhile)
        except CommandTimeout as error:
            return error.cause
        return _complaint(done.err) if done.code else ""

    def _home(self) -> str:
        """With the identity for its commits: it takes none from the environment."""
        home = os.path.join(self.commands.folder, "home")
        os.makedirs(home, exist_ok=True)
        name, email = (self.commands.environment[f"GIT_AUTHOR_{what}"] for what in ("NAME", "EMAIL"))
        with open(os.path.join(home, ".gitconfig"), "w", encoding="utf-8") as file:
            file.write(f"[user]\n\tname = {_quoted(name)}\n\temail = {_quoted(email)}\n")
        return home


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'


def _complaint(stderr: str) -> str:
    """Its errors without git's progress and the warnings."""
    told, others = [], []
    for line in stderr.replace("\r", "\n").splitlines():
        found_level = _LEVEL.match(line)
        if _PROGRESS.match(line):
            continue
        if not found_level:
            others.append(line.strip())
        elif found_level["level"] in _TOLD:
            told.append(found_level["words"].strip('"').replace('\\"', '"'))
    return "; ".join(told or [line for line in others if line][-3:])
