# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rehearsal's Git server by itself, in a thread of the test, and what its repositories hold."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading
import typing as t
from collections.abc import Iterator, Mapping
from pathlib import Path

from ansible_collections.homelab.talos.plugins.module_utils._commands import Commands
from ansible_collections.homelab.talos.plugins.module_utils._git import Account, Git
from ansible_collections.homelab.talos.plugins.module_utils._progress import Watch
from rehearsal.git.repositories import FIRST, Repository
from rehearsal.git.server import GitServer
from rehearsal.git.settings import USER, GitSettings, prepare
from rehearsal.standin.autopilot import manifests
from rehearsal.standin.autopilot.options import Source
from rehearsal.state import StateFolder
from tests import networks

# The server's port is always the same.
_addresses = networks.addresses()


class LocalGit:
    """A server with a repository that has a first commit on ``main``."""

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        self.state = StateFolder(folder)
        self.state.make()
        self.settings = GitSettings(next(_addresses), tls)
        prepare(self.state, self.settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = GitServer(self.state, self.settings)
        self._do(self._server.update())

    def close(self) -> None:
        self._do(self._server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: t.Coroutine[t.Any, t.Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    # --- who and where

    @property
    def url(self) -> str:
        return self.settings.url

    @property
    def user(self) -> str:
        return USER

    @property
    def token(self) -> str:
        return self.state.git_token.read_text(encoding="utf-8").strip()

    @property
    def ca_file(self) -> str:
        """Of the authority that signed the certificate, with TLS."""
        return str(self.state.git_ca) if self.settings.tls else ""

    # --- faults

    def fault(self, name: str, **words: str) -> None:
        """One of ``rehearsal.git.settings.FAULTS``; ``times`` bounds it."""
        self._do(self._change_faults(lambda: self._server.add_fault(name, words)))

    def clear(self) -> None:
        self._do(self._change_faults(self._server.clear_faults))

    async def _change_faults(self, change: t.Callable[[], None]) -> None:
        change()
        await self._server.update()

    # --- repositories

    def create(self, name: str, *, empty: bool = False) -> str:
        """The address of a further repository ``OWNER/NAME``."""
        Repository.create(self.state.git, name, empty=empty)
        return f"{self.settings.base}/{name}.git"

    def put(
        self,
        files: Mapping[str, str | None],
        message: str = "By hand",
        *,
        branch: str = "main",
        repository: str = FIRST,
    ) -> str:
        """A commit by somebody else, which writes these files and removes those that are None; its name."""
        lines: list[bytes] = [f"commit refs/heads/{branch}\n".encode()]
        lines.append(b"committer Somebody Else <somebody@example.invalid> now\n")
        lines.append(_data(message))
        if self.head(branch=branch, repository=repository):
            lines.append(f"from refs/heads/{branch}^0\n".encode())
        for name, text in files.items():
            lines.append(f"D {name}\n".encode() if text is None else f"M 100644 inline {name}\n".encode() + _data(text))
        self._git(repository, "fast-import", "--quiet", "--date-format=now", given=b"".join(lines))
        return self.head(branch=branch, repository=repository)

    def bootstrap(
        self, path: str = "gitops", *, branch: str = "main", namespace: str = "argocd", revision: str = ""
    ) -> None:
        """What argocd-autopilot leaves, but for the installation, of which there are just the first words."""
        self.put(bootstrapped(self.url, path, namespace, revision), "Autopilot Bootstrap", branch=branch)

    def head(self, *, branch: str = "main", repository: str = FIRST) -> str:
        """The newest commit, empty where there is none."""
        return self._git(repository, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}").strip()

    def files(self, *, branch: str = "main", repository: str = FIRST) -> dict[str, str]:
        """Of the newest commit."""
        names = self._git(repository, "ls-tree", "-r", "--name-only", branch).splitlines()
        return {name: self._git(repository, "show", f"{branch}:{name}") for name in names}

    def commits(self, *, branch: str = "main", repository: str = FIRST) -> list[str]:
        """First lines of the messages, the newest first."""
        return self._git(repository, "log", "--format=%s", branch).splitlines()

    def _git(self, repository: str, *words: str, given: bytes = b"") -> str:
        folder = self.state.git / f"{repository}.git"
        done = subprocess.run(["git", "-C", str(folder), *words], input=given, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()


def _data(text: str) -> bytes:
    content = text.encode()
    return f"data {len(content)}\n".encode() + content + b"\n"


def bootstrapped(url: str, path: str = "gitops", namespace: str = "argocd", revision: str = "") -> dict[str, str]:
    """Files of a bootstrapped repository by their names from its root."""
    where = Source(url, "", path, revision, "", "", "", False)

    def application(name: str, folder: str) -> str:
        return manifests.application(name, namespace, where, where.below(folder), finalized=name != "argo-cd")

    resources = "bootstrap/cluster-resources"
    files = {
        "bootstrap/argo-cd/install.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: argocd-secret}\n",
        "bootstrap/argo-cd.yaml": application("argo-cd", "bootstrap/argo-cd"),
        "bootstrap/root.yaml": application("root", "projects"),
        f"{resources}.yaml": manifests.cluster_resources(namespace, where),
        f"{resources}/in-cluster.json": manifests.in_cluster(),
        f"{resources}/in-cluster/README.md": "# Cluster resources\n",
        f"{resources}/in-cluster/{namespace}-ns.yaml": manifests.namespace(namespace, {}),
        "projects/README.md": "# Projects\n",
        "apps/README.md": "# Applications\n",
    }
    return {where.below(name): text for name, text in files.items()}


@contextlib.contextmanager
def local_git(folder: Path, *, tls: bool = False) -> Iterator[LocalGit]:
    git = LocalGit(folder, tls=tls)
    try:
        yield git
    finally:
        git.close()


@contextlib.contextmanager
def client_of(git: LocalGit, folder: Path, *, token: str = "", **environment: str) -> Iterator[Git]:
    """The product's own client, in a new folder, for the right account or another token."""
    folder.mkdir(exist_ok=True)
    own = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    own |= {"GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        own |= {f"GIT_{role}_NAME": "Tester", f"GIT_{role}_EMAIL": "tester@example.invalid"}
    with Watch() as watch:
        commands = Commands(str(folder), {**own, **environment}, watch)
        with Git(commands, Account(git.user, token or git.token, "argocd_git_token")) as client:
            yield client
