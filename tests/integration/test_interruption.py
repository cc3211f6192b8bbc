# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that is killed at any moment: the next one goes on from there, and nothing of secrets is lost or left about."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from ansible_collections.homelab.talos.plugins.module_utils._redaction import leaves

from .conftest import ROOT, MakeRehearsal, Rehearsal, Run, files_below, started

SEED = int(os.environ.get("INTERRUPTION_SEED") or time.time())
# Until the run speaks to nodes it makes the bundle; after that it is killed after so many of their calls.
SECONDS = 4.0
CALLS = 100


class Interrupted:
    """Runs of one rehearsal, each with a home and a folder for temporary files of its own."""

    def __init__(self, rehearsal: Rehearsal, folder: Path) -> None:
        self.rehearsal = rehearsal
        self.words: list[str] = []
        self.temporary = folder / "tmp"
        self.home = folder / "home"
        for path in (self.temporary, self.home):
            path.mkdir(exist_ok=True)
        self.environment = {
            **rehearsal.environment(),
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "ANSIBLE_LOCAL_TEMP": str(self.temporary / "ansible"),
        }

    def kill(self, seconds: float, calls: int, number: signal.Signals, method: str = "") -> None:
        """Start a run, and kill all of it after so many calls to nodes and seconds, unless it ended before."""
        wanted = self._calls(method) + calls
        with self._started() as run:
            while calls and run.poll() is None and self._calls(method) < wanted:
                time.sleep(0.05)
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(seconds)
                return
            if number == signal.SIGINT:
                os.killpg(run.pid, number)
                run.wait(60)

    def _calls(self, method: str) -> int:
        return sum(method in ("", call["method"]) for call in self.rehearsal.calls())

    def finish(self) -> None:
        """A plain run converges, and the one after it has nothing to do."""
        for last in (False, True):
            with self._started() as run:
                assert run.wait(200) == 0, self.log.read_text()
            changed = Run(0, self.log.read_text()).changed
            assert not last or changed == {}, self.log.read_text()

    @property
    def log(self) -> Path:
        return self.rehearsal.state / "interrupted.log"

    def _started(self) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        return started(self.rehearsal.argv(*self.words), self.log, self.environment)

    def bundle(self) -> bytes | None:
        """Absent or whole; anything between would not decrypt or lack a part."""
        path = self.rehearsal.bundle
        if not path.exists():
            return None
        encrypted = path.read_bytes()
        assert set(_parsed(self.rehearsal)) >= {"certs", "cluster", "secrets", "trustdinfo"}
        return encrypted

    def left_over(self) -> list[str]:
        """Files in the folders for state and temporary files that do not belong there, or hold a secret."""
        state = self.rehearsal.state
        found = [str(path) for path in (state / "records").glob("*") if path.name != "secrets.vault.yml"]
        found += [str(path) for path in (state / "records").glob(".*")]
        found += [str(path) for path in (state / "admin").rglob("*.part")]
        secrets = [leaf.encode() for leaf in leaves(_parsed(self.rehearsal)) if len(leaf) > 12]
        for folder in (self.temporary, self.home, Path("/dev/shm")):
            for path in files_below(folder):
                if path.is_file() and any(secret in _content(path) for secret in secrets):
                    found.append(f"{path} (holds a secret)")
        return found


def _content(path: Path) -> bytes:
    try:
        # What others keep in /dev/shm may be the image of a disk.
        return path.read_bytes() if path.stat().st_size < 2**24 else b""
    except OSError:
        return b""


def _parsed(rehearsal: Rehearsal) -> dict[str, t.Any]:
    password = (rehearsal.state / "vault-password").read_bytes().strip()
    vault = VaultLib([("default", VaultSecret(password))])
    content: dict[str, t.Any] = yaml.safe_load(vault.decrypt(rehearsal.bundle.read_bytes()))
    return content


def _interrupt(rehearsal: Rehearsal, folder: Path, times: int, seed: int) -> None:
    """From maintenance on: killed so many times, now and then finished, and begun anew with new nodes."""
    print(f"INTERRUPTION_SEED={seed}")
    chance = random.Random(seed)
    runs = Interrupted(rehearsal, folder)
    bundle: bytes | None = None
    for round_ in range(times):
        number = chance.choice([signal.SIGKILL, signal.SIGINT])
        early = chance.random() < 0.3
        seconds = chance.uniform(0.3, SECONDS) if early else chance.uniform(0, 0.5)
        calls = 0 if early else chance.randrange(1, CALLS)
        runs.kill(seconds, calls, number)
        now = runs.bundle()
        where = f"seed {seed}, round {round_}: {number.name} after {calls} calls and {seconds:.1f} s"
        assert bundle is None or now == bundle, where
        bundle = now
        if round_ % 5 == 4:
            runs.finish()
            assert bundle is None or runs.bundle() == bundle, where
            assert runs.left_over() == [], where
            rehearsal.down("--wipe")
            rehearsal.up()
            bundle = None


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a short name: Ansible has a Unix socket in its TMPDIR."""
    return tmp_path_factory.mktemp("i")


def test_nothing_of_a_run_is_left(tmp_path: Path) -> None:
    """Not even what has a session of its own."""
    child = "import os, time; print(os.getpid(), flush=True); time.sleep(3600)"
    parent = f"import subprocess; subprocess.run(['python3', '-c', {child!r}], start_new_session=True)"
    log = tmp_path / "log"
    with started([sys.executable, "-c", parent], log, os.environ) as run:
        while not log.read_text().endswith("\n"):
            assert run.poll() is None
            time.sleep(0.01)
    # Empty, too, is that of one which is dead and not yet buried.
    assert _content(Path(f"/proc/{log.read_text().strip()}/cmdline")) == b""


def test_a_run_goes_on_after_five_interruptions(make_rehearsal: MakeRehearsal, folder: Path) -> None:
    _interrupt(make_rehearsal(), folder, 5, SEED)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_a_run_goes_on_after_sixty_interruptions(make_rehearsal: MakeRehearsal, folder: Path) -> None:
    _interrupt(make_rehearsal(), folder, 60, SEED + 1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("mode", "second"), [("try", "ApplyConfiguration"), ("reboot", "Reboot")])
def test_a_change_of_two_calls_goes_on_after_interruptions(
    mode: str, second: str, make_rehearsal: MakeRehearsal, folder: Path
) -> None:
    """Between the two, a tried config is not on the node's disk yet, and a staged one not at work."""
    print(f"INTERRUPTION_SEED={SEED}")
    chance = random.Random(SEED)
    rehearsal = make_rehearsal()
    runs = Interrupted(rehearsal, folder)
    runs.finish()
    bundle = runs.bundle()
    for round_ in range(4):
        patch = {"machine": {"sysctls": {"vm.swappiness": str(round_)}}}
        change = {"node_apply_mode": mode, "node_try_timeout": 10, "cluster_patches": [patch]}
        runs.words = ["-e", json.dumps(change)]
        # So that the run is killed before the second call takes effect.
        for name in rehearsal.status():
            rehearsal.fault(name, "slow", f"method={second}", "delay=0.5")
        runs.kill(chance.uniform(0, 0.4), chance.randrange(1, 6), signal.SIGKILL, "ApplyConfiguration")
        rehearsal.fault("--clear")
        runs.finish()
        assert not any(node["pending"] for node in rehearsal.status().values())
        assert runs.bundle() == bundle
        assert runs.left_over() == []


# Where the random moments hit too seldom: between the bytes of a file and its name.
KILLED_WHILE_WRITING = """
import os, signal, sys
def killed(*_words, **_options):
    os.kill(os.getpid(), signal.SIGKILL)
from ansible_collections.homelab.talos.plugins.module_utils import _whole_file
from ansible_collections.homelab.talos.plugins.plugin_utils import _bundle_file
setattr(os, sys.argv[1], killed)
if sys.argv[2] == "bundle":
    file = _bundle_file.BundleFile.__new__(_bundle_file.BundleFile)
    file.path = sys.argv[3]
    file._encrypt = lambda text: b"the bundle"
    file.create(type("Bundle", (), {"as_dict": lambda self: {}})())
else:
    _whole_file.write_private(sys.argv[3], b"the secret")
"""


@pytest.mark.parametrize("what", ["bundle", "file"])
@pytest.mark.parametrize("call", ["fsync", "link", "replace"])
def test_a_file_is_whole_or_not_there(what: str, call: str, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "secrets.vault.yml"
    path.parent.mkdir()
    argv = [sys.executable, "-c", KILLED_WHILE_WRITING, call, what, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "collections")}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode in (-signal.SIGKILL, 0), done.stderr
    if done.returncode == 0:
        assert path.read_bytes() in (b"the bundle", b"the secret")
        assert os.listdir(path.parent) == [path.name]
        return
    left = os.listdir(path.parent)
    # Between the name that it has while it is moved and its own it is whole already.
    assert [(path.parent / name).read_bytes() for name in left] == ([b"the secret"] if call == "replace" else [])
