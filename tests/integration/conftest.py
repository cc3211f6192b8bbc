# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbook runs against simulated nodes: each test module gets nodes and a state folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests import networks

ROOT = Path(__file__).parents[2]
HOMELAB = ROOT / "inventory" / "homelab"

_RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


def pythons() -> list[str]:
    """A Python as old as the modules may meet, where there is one, and never that of .venv."""
    done = subprocess.run(
        [ROOT / ".ci/find-python", "--all", "3.9", "3.9"], capture_output=True, text=True, check=False
    )
    return [*done.stdout.split()[:1], getattr(sys, "_base_executable", sys.executable)]


@dataclass(frozen=True)
class Run:
    """How an ansible-playbook ended. ``output`` is what a user sees: both streams."""

    rc: int
    output: str

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        names = ("ok", "changed", "unreachable", "failed")
        return {host: dict(zip(names, map(int, counts), strict=True)) for host, *counts in _RECAP.findall(self.output)}

    @property
    def changed(self) -> dict[str, int]:
        """Hosts that changed, and how often."""
        return {host: counts["changed"] for host, counts in self.recap.items() if counts["changed"]}

    @property
    def failed(self) -> set[str]:
        return {host for host, counts in self.recap.items() if counts["failed"] or counts["unreachable"]}

    def require_ok(self) -> Run:
        assert self.rc == 0, self.output
        return self


class Rehearsal:
    """Simulated nodes of an inventory, and runs against them."""

    def __init__(self, state: Path, inventory: Path, network: str) -> None:
        self.state = state
        self.inventory = inventory
        self.network = network

    def command(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "rehearsal", *words, "--state", str(self.state)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=60,
            env=self.environment(),
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def up(self, *words: str) -> None:
        self.command("up", "-i", str(self.inventory), "--network", self.network, "--boot-time", "0.6", *words)

    def down(self, *words: str) -> None:
        self.command("down", *words)

    def fault(self, *words: str) -> None:
        self.command("fault", *words)

    def status(self) -> dict[str, dict[str, t.Any]]:
        return {node["name"]: node for node in json.loads(self.command("status", "--json"))}

    def calls(self) -> list[dict[str, t.Any]]:
        path = self.state / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def forget_calls(self) -> None:
        os.truncate(self.state / "calls.jsonl", 0)

    def configs(self) -> dict[str, str]:
        """What each node has stored on its disk, and whether it is active: to see that nothing changed."""
        found = {}
        for path in sorted((self.state / "nodes").glob("*.json")):
            node = json.loads(path.read_text())
            found[path.stem] = json.dumps([node["active"], node["stored"]])
        return found

    @property
    def bundle(self) -> Path:
        return self.state / "records" / "secrets.vault.yml"

    @property
    def admin_dir(self) -> Path:
        return self.state / "admin"

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_FORCE_COLOR": "0",
            "LC_ALL": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def argv(self, *words: str, playbook: str = "site.yml", password: bool = True) -> list[str]:
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(self.inventory)]
        argv += ["-i", str(self.state / "inventory"), str(ROOT / playbook)]
        # Short: a simulated node that does not answer now will not answer in half a minute either.
        argv += ["-e", "node_reachable_timeout=3"]
        if password:
            argv += ["--vault-password-file", str(self.state / "vault-password")]
        return [*argv, *words]

    def play(self, *words: str, playbook: str = "site.yml", password: bool = True) -> Run:
        """Run to its end; one that does not end by itself counts as failed with -1."""
        log = self.state / "ansible.log"
        with started(self.argv(*words, playbook=playbook, password=password), log, self.environment()) as run:
            try:
                run.wait(150)
            except subprocess.TimeoutExpired:
                return Run(-1, log.read_text() + "\n(did not end)")
        return Run(run.returncode, log.read_text())


@contextlib.contextmanager
def started(argv: t.Sequence[str], log: Path, environment: t.Mapping[str, str]) -> t.Iterator[subprocess.Popen[bytes]]:
    """A process of which nothing is left at the end: each of Ansible's workers has a session of its own."""
    name, value = "STARTED_BY_A_TEST", secrets.token_hex(8)
    with log.open("w") as file:
        process = subprocess.Popen(
            argv,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**environment, name: value},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _kill_all(f"{name}={value}")
        process.wait(60)


def _kill_all(variable: str) -> None:
    """Whoever has this in its environment."""
    while processes := _processes(f"{variable}\0".encode()):
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.01)


def _processes(variable: bytes) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if variable in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def files_below(folder: Path) -> list[Path]:
    """Also where others remove folders meanwhile."""
    return [Path(parent, name) for parent, _folders, names in os.walk(folder) for name in names]


MakeRehearsal = t.Callable[..., Rehearsal]


@pytest.fixture(scope="module")
def make_rehearsal(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[MakeRehearsal]:
    """Makes rehearsals, and ends them after the module's tests: each of them, whatever becomes of the others."""
    with contextlib.ExitStack() as made:

        def make(inventory: Path = HOMELAB, *words: str) -> Rehearsal:
            rehearsal = Rehearsal(tmp_path_factory.mktemp("rehearsal"), inventory, f"{networks.claim()}.0/24")
            made.callback(rehearsal.down)
            rehearsal.up(*words)
            return rehearsal

        yield make


def three_control_planes(folder: Path) -> Path:
    """The homelab with w1 and w2 as control planes."""
    groups = _groups()
    for name in ("talos-w1", "talos-w2"):
        groups["controlplanes"]["hosts"][name] = groups["workers"]["hosts"].pop(name)
    return _homelab_with(groups, folder)


def workers_first(folder: Path) -> Path:
    """The homelab with its workers declared before the control plane."""
    groups = _groups()
    return _homelab_with({name: groups[name] for name in ("workers", "controlplanes")}, folder)


def small_homelab(folder: Path, *workers: str) -> Path:
    """The homelab with these of its workers; what concerns all nodes is in a folder, to which more may be added."""
    groups = _groups()
    groups["workers"]["hosts"] = {name: groups["workers"]["hosts"][name] for name in workers}
    inventory = _homelab_with(groups, folder)
    variables = inventory / "group_vars" / "talos"
    variables.mkdir()
    variables.with_suffix(".yml").rename(variables / "main.yml")
    return inventory


def _groups() -> dict[str, t.Any]:
    return dict(_hosts()["talos"]["children"])


def _hosts() -> dict[str, t.Any]:
    return dict(yaml.safe_load((HOMELAB / "hosts.yml").read_text()))


def _homelab_with(groups: dict[str, t.Any], folder: Path) -> Path:
    inventory = folder / "homelab"
    shutil.copytree(HOMELAB / "group_vars", inventory / "group_vars")
    hosts = _hosts()
    hosts["talos"]["children"] = groups
    (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts, sort_keys=False))
    return inventory
