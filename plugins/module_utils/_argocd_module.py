# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What the modules for Argo CD share towards Ansible: options, and the clients that they make."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import sys
import typing as t

from ._autopilot import Autopilot
from ._commands import Commands
from ._git import Account, Address, Git
from ._gitops_commit import Content, Files, converge
from ._host_module import HostModule
from ._kubectl import Kubectl
from ._progress import Watch
from ._whole_file import write_private
from ._workspace import workspace
from ._yaml import yaml

CLUSTER_OPTIONS: dict[str, t.Any] = {
    "kubeconfig": {"type": "path", "required": True},
    "kubectl": {"type": "path", "default": "kubectl"},
    "namespace": {"type": "str", "default": "argocd"},
}

REPOSITORY_OPTIONS: dict[str, t.Any] = {
    "repo_url": {"type": "str", "required": True},
    "repo_path": {"type": "str", "default": "gitops"},
    "repo_branch": {"type": "str", "default": ""},
    "repo_ca_file": {"type": "path"},
    "git_user": {"type": "str", "default": "git"},
    "git_token": {"type": "str", "required": True, "no_log": True},
    "commit_name": {"type": "str", "default": "homelab.talos"},
    "commit_email": {"type": "str", "default": "homelab.talos@localhost"},
}

_PATIENCE_SECONDS = 300.0
# What of our environment the commands keep: the way out, and nothing that would steer git or kubectl.
_KEPT = ("PATH", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE")


@dataclasses.dataclass(frozen=True)
class Session:
    """The clients of one run, all in its workspace ``folder``.

    ``kubectl_to_the_end`` goes on where the run is told to stop: for what must not stay as it is.
    """

    folder: str
    commands: Commands
    kubectl: Kubectl
    kubectl_to_the_end: Kubectl
    autopilot: Autopilot

    def git_of(self, account: Account) -> Git:
        return Git(self.commands, account)


class ArgocdModule(HostModule):
    """A module about Argo CD or its repository."""

    def __init__(self, argument_spec: dict[str, t.Any], **kwargs: t.Any) -> None:
        super().__init__(argument_spec, **kwargs)
        if yaml is None:
            self.ansible.fail_json(
                msg=f"The admin host's Python lacks PyYAML. Install it there: {sys.executable} -m pip install PyYAML, "
                "or let ansible_python_interpreter name a Python that has it (role admin makes one)."
            )

    @property
    def address(self) -> Address:
        """Raises BadAddress."""
        given = self.params
        ca_file = os.path.abspath(given["repo_ca_file"]) if given["repo_ca_file"] else ""
        return Address.parse(given["repo_url"], given["repo_path"], given["repo_branch"], ca_file)

    @property
    def writer(self) -> Account:
        """Who may push."""
        return Account(self.params["git_user"], self.params["git_token"], "argocd_git_token")

    def tell(self, words: str) -> None:
        """What is waited for, to whoever reads the progress file."""
        path = self.params["progress_file"]
        if path:
            # Without it there is nobody to tell.
            with contextlib.suppress(OSError):
                write_private(path, words.encode())

    @contextlib.contextmanager
    def session(self, key: str = "") -> t.Iterator[Session]:
        """Alone at work on ``key`` on this host, by default on nothing. Signals end it in order. Raises InUse."""
        given = self.params
        fallback = os.path.expanduser("~/.homelab")
        # What outlived a killed run may wait for pods as long as it was told to.
        patience = given.get("ready_timeout", 0) + _PATIENCE_SECONDS
        with Watch() as watch, workspace(key or secrets.token_hex(8), fallback, watch, patience) as (folder, lock):
            commands = Commands(folder, self._environment(folder), watch, (lock,), self._redacted)
            unwatched = dataclasses.replace(commands, watch=Watch())
            yield Session(
                folder,
                commands,
                self._kubectl(commands),
                self._kubectl(unwatched),
                Autopilot(commands, given.get("argocd_autopilot") or "argocd-autopilot"),
            )

    def _kubectl(self, commands: Commands) -> Kubectl:
        given = self.params
        return Kubectl(commands, given.get("kubeconfig") or "", path=given.get("kubectl") or "kubectl")

    def commit(self, message: str, pending: t.Callable[[Content], Files]) -> dict[str, t.Any]:
        """The result of one commit to the repository, or of none. Raises TalosError."""
        address = self.address
        with self.session(f"repository {address}") as session, session.git_of(self.writer) as git:
            return converge(git, address, message, pending, check=self.check_mode).as_result()

    def _environment(self, folder: str) -> dict[str, str]:
        given = self.params
        identity = {
            f"GIT_{role}_{what}": str(given.get(f"commit_{what.lower()}") or "")
            for role in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        return {
            **{name: os.environ[name] for name in _KEPT if name in os.environ},
            **identity,
            "HOME": folder,
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
        }

    def _redacted(self, text: str) -> str:
        for name, value in self.params.items():
            if name.endswith("_token") and value:
                text = text.replace(value, "********")
        return text
