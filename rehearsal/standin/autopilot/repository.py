# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A clone of the repository, and pushes of what was written to it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
from pathlib import Path

from rehearsal.standin.autopilot import messages
from rehearsal.standin.autopilot.commands import Done, git_environment
from rehearsal.standin.autopilot.options import Source
from rehearsal.standin.errors import CommandError

_PERMISSION = "Validating repository write permission"
_NO_AUTHOR = (
    "missing required author information in git config, "
    "make sure your git config contains a 'user.name' and 'user.email'"
)


class Clone:
    """A shallow clone in a folder that goes with it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._folder = Path(tempfile.mkdtemp(prefix="standin-autopilot-"))
        self._work = self._folder / "clone"

    def __enter__(self) -> Clone:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def root(self) -> Path:
        """Where the installation is in the clone."""
        return self._work / self.source.path

    def fetch(self, *, writes: bool, creates: bool = False) -> None:
        """Clone; one that is to be written to gets an empty commit, whatever comes of the rest."""
        words = ["clone", "--progress", "--depth", "1", "--no-single-branch", self.source.url, str(self._work)]
        done = self._run(words, self._folder)
        if done.returncode:
            self._refused(done.stderr, creates)
        _show_progress(done.stderr)
        if not self._git("rev-parse", "--verify", "--quiet", "HEAD").stdout:
            self._refuse_empty()
        if self.source.revision:
            self._check_out()
        if writes:
            try:
                self.push(_PERMISSION)
            except CommandError as problem:
                said = f"failed to validate repository write permission: failed pushing commit to repository: {problem}"
                raise CommandError(said) from None

    def _refused(self, said: str, creates: bool) -> None:
        if "not found" not in said or not creates:
            raise CommandError(self._translated(said))
        messages.info(f"repository '{self.source.url}' was not found, trying to create it...")
        self._assume_provider()
        raise CommandError("failed to create repository: failed creating repository - no git provider supplied")

    def _refuse_empty(self) -> None:
        messages.info("empty repository, initializing a new one with specified remote")
        provider = self._assume_provider()
        raise CommandError(f"failed to initialize repository: git provider '{provider}' not supported")

    def _assume_provider(self) -> str:
        """No provider's API is played here."""
        provider = str(urllib.parse.urlsplit(self.source.url).hostname).removesuffix(".com")
        messages.warn(f"--provider not specified, assuming provider from url: {provider}")
        return provider

    def _check_out(self) -> None:
        branch = self.source.revision
        if self._git("checkout", "--quiet", branch).returncode:
            if not self.source.upserts:
                raise CommandError("reference not found")
            self._git("checkout", "--quiet", "-b", branch)

    def push(self, message: str) -> None:
        """Commit all there is, empty or not, and push it."""
        if not all(self._git("config", f"user.{what}").stdout.strip() for what in ("name", "email")):
            self._assume_provider()
            raise CommandError(_NO_AUTHOR)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--allow-empty", "--no-verify", "-m", message)
        done = self._git("push", "origin", "HEAD")
        if done.returncode:
            raise CommandError(self._translated(done.stderr))

    def _git(self, *words: str) -> Done:
        return self._run(["-c", "commit.gpgSign=false", *words], self._work)

    def _run(self, words: list[str], folder: Path) -> Done:
        environment = git_environment(self.source)
        command = ["git", *words]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    def _translated(self, said: str) -> str:
        """git's words as go-git's."""
        if "Authentication failed" in said or "could not read" in said:
            return "authentication required: "
        if "not found" in said:
            return "repository not found: "
        if " 403" in said:
            # go-git goes on with what the server says, git shows it line by line.
            reason = "".join(f"{line}\n" for line in re.findall(r"^remote: (.*?)\s*$", said, re.MULTILINE))
            return f"authorization failed: {reason}"
        if declined := re.search(r"\[remote rejected\] .* -> (\S+) \((.*)\)", said):
            return f"command error on refs/heads/{declined[1]}: {declined[2]}"
        if rejected := re.search(r"\[rejected\] .* -> (\S+)", said):
            return f"non-fast-forward update: refs/heads/{rejected[1]}"
        if "Couldn't connect" in said or "Failed to connect" in said:
            address = urllib.parse.urlsplit(self.source.url).netloc
            place = f"{self.source.url}/info/refs?service=git-upload-pack"
            return f'Get "{place}": dial tcp {address}: connect: connection refused'
        return (said.strip().splitlines() or ["unknown error"])[-1]


def _show_progress(said: str) -> None:
    for line in re.findall(r"^remote: (.*?)\s*$", said, re.MULTILINE):
        print(line, file=sys.stderr)
