# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rehearsal's Git server, as git itself sees it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import typing as t
from pathlib import Path

import pytest

from rehearsal.git.repositories import Repository
from rehearsal.git.server import GitServer
from rehearsal.git.settings import GitSettings, prepare
from rehearsal.state import StateFolder
from tests.unit.rehearsal.harness import network, run


class Clone:
    """git in a folder of its own, with a token in the environment."""

    def __init__(self, folder: Path, server: GitServer, token: str) -> None:
        self.folder, self.url = folder, server._settings.url
        folder.mkdir()
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_TERMINAL_PROMPT": "0"}
        self.environment |= {"TOKEN": token, "GIT_SSL_CAINFO": str(server._state.git_ca)}
        (folder / ".gitconfig").write_text(
            "[user]\n name = Tester\n email = tester@example.invalid\n"
            '[credential]\n helper = "!f() { echo username=anybody; echo password=$TOKEN; }; f"\n'
        )

    async def git(self, *words: str) -> subprocess.CompletedProcess[str]:
        options: dict[str, t.Any] = {"cwd": self.folder, "env": self.environment, "timeout": 60}
        return await asyncio.to_thread(
            subprocess.run, ["git", *words], capture_output=True, text=True, check=False, **options
        )

    async def ok(self, *words: str) -> str:
        done = await self.git(*words)
        assert done.returncode == 0, done.stderr
        return str(done.stdout.strip())

    async def refused(self, *words: str) -> str:
        done = await self.git(*words)
        assert done.returncode != 0, done.stdout
        return str(done.stderr)

    async def commit(self) -> None:
        await self.ok("-C", "work", "commit", "--quiet", "--allow-empty", "-m", "by the tester")


Scenario = t.Callable[[GitServer, Clone], t.Awaitable[None]]


@pytest.fixture(params=[False, True], ids=["http", "https"])
def play(tmp_path: Path, request: pytest.FixtureRequest) -> t.Callable[[Scenario], None]:
    """Runs a scenario with a server and a clone of its first repository."""
    state = StateFolder(tmp_path / "state")
    state.make()
    settings = GitSettings(f"{network()}.10", request.param)
    prepare(state, settings)

    async def played(scenario: Scenario) -> None:
        server = GitServer(state, settings)
        await server.update()
        try:
            clone = Clone(tmp_path / "home", server, state.git_token.read_text().strip())
            await clone.ok("clone", "--quiet", settings.url, "work")
            await scenario(server, clone)
        finally:
            await server.stop()

    return lambda scenario: run(played(scenario))


def test_clone_and_push(play: t.Callable[[Scenario], None]) -> None:
    async def scenario(server: GitServer, clone: Clone) -> None:
        await clone.commit()
        await clone.ok("-C", "work", "push", "--quiet", "origin", "main")
        repository = Repository(server._state.git / "homelab" / "gitops.git")
        assert repository.head == await clone.ok("-C", "work", "rev-parse", "HEAD")
        assert await clone.ok("ls-remote", clone.url, "HEAD") == f"{repository.head}\tHEAD"
        assert server._state.git_token.stat().st_mode & 0o777 == 0o600

    play(scenario)


def test_who_is_refused(play: t.Callable[[Scenario], None]) -> None:
    async def scenario(server: GitServer, clone: Clone) -> None:
        nothing = clone.url.replace("gitops", "nothing")
        assert "not found" in await clone.refused("ls-remote", nothing)
        outside = clone.url.replace("homelab/gitops.git", "../../etc.git")
        assert "not found" in await clone.refused("ls-remote", outside)
        clone.environment["TOKEN"] = "guessed"
        assert "Authentication failed" in await clone.refused("ls-remote", clone.url)
        assert "Authentication failed" in await clone.refused("ls-remote", nothing)

    play(scenario)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("token-revoked", "Authentication failed"),
        ("read-only", "403"),
        ("protected-branch", "GH006: Protected branch update failed for refs/heads/main."),
        ("moves-on", "rejected"),
    ],
)
def test_faults_of_a_push(play: t.Callable[[Scenario], None], fault: str, said: str) -> None:
    async def scenario(server: GitServer, clone: Clone) -> None:
        before = Repository(server._state.git / "homelab" / "gitops.git").head
        await clone.commit()
        server.add_fault(fault, {})
        await server.update()
        assert said in await clone.refused("-C", "work", "push", "origin", "main")
        after = Repository(server._state.git / "homelab" / "gitops.git").head
        assert (after != before) == (fault == "moves-on")
        again = GitServer(server._state, server._settings)
        assert [known.name for known in again.faults] == ([] if fault == "moves-on" else [fault])
        server.clear_faults()
        await clone.ok("-C", "work", "pull", "--quiet", "--rebase", "origin", "main")
        await clone.ok("-C", "work", "push", "--quiet", "origin", "main")

    play(scenario)


def test_a_backend_that_fails_says_so(
    play: t.Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither a success without content, nor silence."""

    async def scenario(server: GitServer, clone: Clone) -> None:
        lacking = clone.folder / "bin"
        lacking.mkdir()
        (lacking / "git").write_text("#!/bin/sh\necho 'no such command: http-backend' >&2\nexit 1\n")
        (lacking / "git").chmod(0o700)
        path = os.environ["PATH"]
        monkeypatch.setenv("PATH", f"{lacking}{os.pathsep}{path}")
        assert "500" in await clone.refused("ls-remote", clone.url)
        monkeypatch.setenv("PATH", path)
        assert "git http-backend ended with 1: no such command: http-backend" in capfd.readouterr().err

    play(scenario)


def test_a_closed_port(play: t.Callable[[Scenario], None]) -> None:
    async def scenario(server: GitServer, clone: Clone) -> None:
        server.add_fault("refused", {})
        await server.update()
        assert "onnect" in await clone.refused("ls-remote", clone.url)
        server.clear_faults()
        await server.update()
        await clone.ok("ls-remote", clone.url)

    play(scenario)


def test_an_empty_repository(play: t.Callable[[Scenario], None]) -> None:
    async def scenario(server: GitServer, clone: Clone) -> None:
        Repository.create(server._state.git, "homelab/empty", empty=True)
        assert await clone.ok("ls-remote", clone.url.replace("gitops", "empty")) == ""

    play(scenario)


def test_unknown_faults_are_refused(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    state.make()
    settings = GitSettings("127.0.0.1")
    prepare(state, settings)
    with pytest.raises(ValueError, match="unknown fault 'frozen'; known: refused, "):
        GitServer(state, settings).add_fault("frozen", {})
