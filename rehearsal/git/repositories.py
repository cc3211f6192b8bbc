# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bare repositories in ``STATE/git``."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

from rehearsal.errors import RehearsalError

FIRST = "homelab/gitops"
PROTECTED = "REHEARSAL_PROTECTED_BRANCH"
_SOMEBODY = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Somebody Else"), ("EMAIL", "somebody@example.invalid"))
}
# Refuses in the words of the best-known forge, where the server says so.
_PRE_RECEIVE = f"""#!/bin/sh
[ -z "${PROTECTED}" ] && exit 0
while read -r _ _ name; do
    echo "error: GH006: Protected branch update failed for $name." >&2
done
exit 1
"""


class Repository:
    """One bare repository."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, root: Path, name: str, *, empty: bool = False) -> Repository:
        """``OWNER/NAME`` with a first commit on ``main``, or without any; one that is there stays as it is."""
        repository = cls(root / f"{name}.git")
        if repository.path.exists():
            return repository
        repository.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        repository._git("init", "--quiet", "--bare", "--initial-branch=main", str(repository.path))
        repository._git("config", "http.receivepack", "true")
        hook = repository.path / "hooks" / "pre-receive"
        hook.write_text(_PRE_RECEIVE)
        hook.chmod(0o700)
        if not empty:
            repository.commit("First commit")
        return repository

    def commit(self, message: str) -> str:
        """A commit by somebody else on the default branch, with the files as they are; its name."""
        branch = self._git("symbolic-ref", "HEAD")
        parent = self.head
        tree = f"{parent}^{{tree}}" if parent else self._git("hash-object", "-t", "tree", "-w", "--stdin")
        words = ["commit-tree", tree, "-m", message, *(["-p", parent] if parent else [])]
        made = self._git(*words)
        self._git("update-ref", branch, made)
        return made

    @property
    def head(self) -> str:
        """The newest commit of the default branch, empty where there is none."""
        done = self._run("rev-parse", "--verify", "--quiet", "HEAD")
        return done.stdout.strip()

    def resolve(self, revision: str) -> str:
        """The commit of a branch or of HEAD, empty where there is none; without git, for it is asked all the time."""
        name = revision
        if name in ("", "HEAD"):
            name = (self.path / "HEAD").read_text(encoding="utf-8").strip().removeprefix("ref: refs/heads/")
        if ".." in name:  # git allows it in no name either
            return ""
        with contextlib.suppress(OSError):
            return (self.path / "refs" / "heads" / name).read_text(encoding="utf-8").strip()
        with contextlib.suppress(OSError):
            for line in (self.path / "packed-refs").read_text(encoding="utf-8").splitlines():
                if line.endswith(f" refs/heads/{name}"):
                    return line.split()[0]
        return ""

    def read(self, *words: str) -> bytes:
        """The output of a git command that only reads."""
        environment = {**os.environ, "GIT_DIR": str(self.path)}
        command = ["git", *words]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        if done.returncode:
            raise RehearsalError(f"git {words[0]}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    def _git(self, *words: str) -> str:
        done = self._run(*words)
        if done.returncode:
            raise RehearsalError(f"git {words[0]}: {done.stderr.strip()}")
        return done.stdout.strip()

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        folder = self.path if self.path.exists() else self.path.parent
        environment = {**os.environ, **_SOMEBODY, "GIT_DIR": str(self.path)}
        command = ["git", *words]
        return subprocess.run(
            command, cwd=folder, env=environment, umask=0o077, input="", capture_output=True, text=True, check=False
        )
