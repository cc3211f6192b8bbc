# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role admin writes, run here: the shell's file, login message, forwards; and how it looks at a host."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from tests.left_out import left_out

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles" / "admin"
PLAY = f"""
- hosts: localhost
  gather_facts: false
  vars_files: [{ROLE}/defaults/main.yml, {ROLE}/vars/main.yml]
  tasks:
    - ansible.builtin.template:
        src: {ROLE}/templates/{{{{ item }}}}.j2
        dest: "{{{{ target }}}}/{{{{ item }}}}"
        mode: "0755"
      vars: {{admin_forwarded_ports: [8443, 9000]}}
      loop: [profile.sh, homelab-status, homelab-forward, homelab-firewall]
    - ansible.builtin.template:
        src: {ROLE}/templates/homelab-forward.j2
        dest: "{{{{ target }}}}/homelab-forward-without-vagrant"
        mode: "0755"
"""
INVENTORY = """
talos:
  vars: {cluster_name: lab}
  hosts:
    talos-w1: {node_address: 10.1.1.1}
    talos-w2: {node_address: "fd00::7"}
    w2: {node_address: 10.1.1.3}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("admin")
    (target / "play.yml").write_text(PLAY)
    (target / "hosts.yml").write_text(INVENTORY)
    done = subprocess.run(
        ["ansible-playbook", "-i", target / "hosts.yml", "-c", "local", "-e", f"target={target}", target / "play.yml"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    for tool in ("kubectl", "talosctl"):
        (tmp_path / "bin" / tool).write_text('#!/bin/sh\necho "${0##*/} $*"\n')
        (tmp_path / "bin" / tool).chmod(0o755)
    (tmp_path / ".homelab" / "lab").mkdir(parents=True)
    return tmp_path


def run(home: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": str(home), "PATH": f"{home}/bin:/usr/bin:/bin"}
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment, timeout=20)


def test_bash_has_a_command_for_each_node(files: Path, home: Path) -> None:
    script = (
        f'. {files}/profile.sh; talosctl-w1 version; talosctl-talos-w2 version; talosctl-w2 version; echo "$KUBECONFIG"'
    )
    assert run(home, "bash", "-euc", script).stdout.splitlines() == [
        "talosctl --nodes 10.1.1.1 version",
        "talosctl --nodes fd00::7 version",
        "talosctl --nodes 10.1.1.3 version",
        f"{home}/.homelab/lab/kubeconfig",
    ]


@pytest.fixture
def _jq() -> None:
    if not shutil.which("jq"):
        left_out("jq is not here (tests/card/set-up installs it): the login message reads the status with it")


@pytest.mark.parametrize("shell", ["sh", "dash", "bash --posix", "zsh"])
def test_other_shells_read_it_silently(shell: str, files: Path, home: Path) -> None:
    words = shell.split()
    if not shutil.which(words[0]):
        pytest.skip(f"{words[0]} is not here")
    done = run(home, *words, "-euc", f'. {files}/profile.sh; echo "$TALOSCONFIG"')
    assert (done.stdout, done.stderr) == (f"{home}/.homelab/lab/talosconfig\n", "")


def test_a_kubeconfig_of_the_user_stays(files: Path, home: Path) -> None:
    assert run(home, "sh", "-c", f'KUBECONFIG=/mine; . {files}/profile.sh; echo "$KUBECONFIG"').stdout == "/mine\n"


def test_the_message_says_what_is_missing(files: Path, home: Path) -> None:
    folder = home / ".homelab" / "lab"
    assert "No cluster lab yet: run site.yml." in run(home, files / "homelab-status").stdout
    (folder / "talosconfig").touch()
    assert "not bootstrapped yet" in run(home, files / "homelab-status").stdout
    (folder / "kubeconfig").touch()
    assert "run playbooks/status.yml" in run(home, files / "homelab-status").stdout
    (home / "bin" / "kubectl").unlink()
    if not shutil.which("kubectl", path="/usr/bin:/bin"):
        assert run(home, files / "homelab-status").stdout.startswith("Not installed: kubectl")


@pytest.mark.usefixtures("_jq")
def test_the_message_shows_nodes_that_need_a_look(files: Path, home: Path) -> None:
    folder = home / ".homelab" / "lab"
    fine: dict[str, t.Any] = {"state": "as-declared", "stage": "running", "ready": True, "unmet": [], "error": ""}
    old = {"version": "v1.13.9", "declared_version": "v1.14.2", "upgrade": "talosctl upgrade"}
    other = {**old, "version": "v1.14.2", "schematic_id": "cd" * 32, "declared_schematic_id": "ab" * 32}
    nodes = {
        "a": fine,
        "bb": {**fine, "ready": False, "unmet": ["services", "staticPods"]},
        "c": {**fine, **old},
        "d": {**fine, **other},
        "e": {**fine, "error": "e: no answer within 10 s."},
    }
    for name in ("talosconfig", "kubeconfig"):
        (folder / name).touch()
    status = {
        "looked_at": ago(minutes=11 * 60 + 30),
        "nodes": nodes,
        "etcd_problems": ["alarm NOSPACE"],
        "due": {"kubeconfig": "its certificate ends on 2026-11-30"},
    }
    (folder / "status.json").write_text(json.dumps(status))
    assert run(home, files / "homelab-status").stdout.splitlines() == [
        "Cluster lab, 11 hours ago: 1 of 5 nodes as declared and ready",
        "  bb  as-declared  running  not ready: services, staticPods",
        "  c   as-declared  running  Talos v1.13.9, declared is v1.14.2",
        "  d   as-declared  running  schematic cdcdcdcd, declared is abababab",
        "  e   as-declared  running  e: no answer within 10 s.",
        "  etcd: alarm NOSPACE",
        "  kubeconfig is due: its certificate ends on 2026-11-30",
    ]
    (folder / "status.json").write_text('{"nodes": ')
    assert "cannot be read" in run(home, files / "homelab-status").stdout


@pytest.mark.usefixtures("_jq")
@pytest.mark.parametrize(
    ("minutes", "age"),
    [(0.5, "0 minutes"), (119.5, "119 minutes"), (120.5, "2 hours"), (2879.5, "47 hours"), (2880.5, "2 days")],
)
def test_the_message_is_as_old_as_the_look(files: Path, home: Path, minutes: float, age: str) -> None:
    """And not as the file, which is touched by those who copy it, and not by those who find it equal."""
    folder = home / ".homelab" / "lab"
    for name in ("talosconfig", "kubeconfig"):
        (folder / name).touch()
    (folder / "status.json").write_text(json.dumps({"looked_at": ago(minutes=minutes), "nodes": {}}))
    assert f"Cluster lab, {age} ago: 0 of 0" in run(home, files / "homelab-status").stdout


def ago(minutes: float) -> str:
    then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=minutes)
    return then.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_forward_runs_kubectl(files: Path, home: Path) -> None:
    said = run(home, files / "homelab-forward", "run", "argocd").stderr
    assert "no cluster yet, run site.yml" in said
    (home / ".homelab" / "lab" / "kubeconfig").touch()
    assert run(home, files / "homelab-forward", "run", "argocd").stdout == (
        "kubectl --namespace argocd port-forward --address 0.0.0.0 service/argocd-server 8443:443\n"
    )
    said = run(home, files / "homelab-forward", "start", "argo").stderr
    assert said == "homelab-forward: argo is not known; there are: argocd \n"


def test_without_ports_from_vagrant_a_forward_is_for_this_host_alone(files: Path, home: Path) -> None:
    (home / ".homelab" / "lab" / "kubeconfig").touch()
    said = run(home, files / "homelab-forward-without-vagrant", "run", "argocd").stdout
    assert "port-forward --address 127.0.0.1 service/argocd-server" in said


def test_the_firewall_lets_ssh_and_forwarded_ports_in(files: Path, home: Path) -> None:
    text = (files / "homelab-firewall").read_text()
    assert "tcp dport { ${ssh:?sshd -T names no port}, 8443, 9000 } accept" in text
    assert run(home, "sh", "-n", files / "homelab-firewall").returncode == 0


def test_looking_at_this_host_changes_nothing_and_answers() -> None:
    question = {
        "user": "root", "keys": ["ssh-ed25519 AAAA x"], "install": False, "packages": [], "clock": "none",
        "firewall": False, "python": sys.executable, "requirements": "0", "shell_line": "",
        "files": [{"path": "/nowhere/at/all", "sha256": ""}],
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, ROLE / "files" / "look.py", json.dumps(question)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["files"] == ["/nowhere/at/all"]
    assert found["user"]["keys"] == ["ssh-ed25519 AAAA x"]
    assert found["venv"]["due"]
    assert found["clock"] == ""


def test_a_command_that_hangs_is_named_and_is_not_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "systemctl").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "systemctl").chmod(0o755)
    program = (
        f"import runpy; look = runpy.run_path({str(ROLE / 'files' / 'look.py')!r}); run = look['run']\n"
        "run.__globals__['TIME_OUT'] = 1\nprint(run('/nowhere/at/all'))\nrun('systemctl', 'show', 'x')"
    )
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout) == (1, "\n")
    assert done.stderr.startswith("systemctl show x gave no answer within 1 seconds: ")
    assert "Traceback" not in done.stderr
