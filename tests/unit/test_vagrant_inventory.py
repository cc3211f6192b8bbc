# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the Admin VM answers: asked of Vagrant once, and again only when that may have changed."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.talos.plugins.plugin_utils import _vagrant


class Server:
    """Greets each client, as sshd does."""

    def __init__(self, greeting: bytes = b"SSH-2.0-test\r\n") -> None:
        self.greeting = greeting
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client:
                client.sendall(self.greeting)

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            # A thread in accept() would keep the port open.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Project:
    """A folder with a Vagrantfile and a machine, as Vagrant leaves it."""

    def __init__(self, root: Path, port: int) -> None:
        self.root = root
        self.state = root / ".vagrant"
        self.machine = self.state / "machines" / "console" / "libvirt"
        self.machine.mkdir(parents=True)
        (root / "Vagrantfile").write_text("")
        (self.machine / "id").write_text("5b0c-first")
        self.key = root / "key"
        self.key.write_text("a key")
        self.config = {"HostName": "127.0.0.1", "Port": str(port), "User": "someone", "IdentityFile": str(self.key)}
        self.asked = 0

    def ask(self, root: Path, machine: str) -> dict[str, str]:
        assert (root, machine) == (self.root, "console")
        self.asked += 1
        return self.config

    def variables(self) -> dict[str, t.Any]:
        return _vagrant.Machine(self.root, "console", self.ask).variables()


@pytest.fixture
def server() -> t.Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def project(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("VAGRANT_DOTFILE_PATH", raising=False)
    return Project(tmp_path / "two  spaces", server.port)


def test_a_running_machine(project: Project, server: Server) -> None:
    found = project.variables()
    options = found.pop("ansible_ssh_common_args")
    assert found == {
        "ansible_connection": "ssh",
        "ansible_host": "127.0.0.1",
        "ansible_port": server.port,
        "ansible_user": "someone",
        "ansible_ssh_private_key_file": str(project.key),
    }
    assert "HostKeyAlias=5b0c-first" in options


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here")
def test_ssh_understands_the_options(project: Project) -> None:
    options = shlex.split(project.variables()["ansible_ssh_common_args"])
    done = subprocess.run(["ssh", "-G", *options, "host"], capture_output=True, text=True, check=True)
    read = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert read["hostkeyalias"] == "5b0c-first"
    assert read["userknownhostsfile"] == str(project.state / _vagrant.HOST_KEYS)
    assert (read["stricthostkeychecking"], read["identitiesonly"]) == ("accept-new", "yes")


def test_no_machine_asks_nobody(project: Project) -> None:
    (project.machine / "id").unlink()
    with pytest.raises(_vagrant.NotThere) as caught:
        project.variables()
    assert str(caught.value) == f"console is not there: run 'vagrant up' in {project.root}"
    assert project.asked == 0


def test_no_folder_of_vagrant_at_all(tmp_path: Path) -> None:
    with pytest.raises(_vagrant.NotThere, match="run 'vagrant up'"):
        _vagrant.Machine(tmp_path, "console").variables()


def test_a_second_run_does_not_ask_again(project: Project) -> None:
    first = project.variables()
    assert [project.variables() for _ in range(2)] == [first, first]
    assert project.asked == 1
    assert (project.state / _vagrant.ANSWER).stat().st_mode & 0o777 == 0o600


def _started_anew(project: Project) -> None:
    (project.machine / "synced_folders").write_text("{}")


def _made_anew(project: Project) -> None:
    (project.machine / "id").write_text("77aa-second")


def _settings(project: Project) -> None:
    (project.root / "vagrant.yml").write_text("memory: 4096\n")


def _vagrantfile(project: Project) -> None:
    (project.root / "Vagrantfile").write_text("# changed")


def _new_key(project: Project) -> None:
    project.key.unlink()
    project.config["IdentityFile"] = str(project.root / "Vagrantfile")


def _broken_answer(project: Project) -> None:
    (project.state / _vagrant.ANSWER).write_text('{"address": 1}')


@pytest.mark.parametrize(
    "change",
    [_started_anew, _made_anew, _settings, _vagrantfile, _new_key, _broken_answer],
    ids=lambda each: each.__name__,
)
def test_what_may_have_moved_the_machine_asks_again(project: Project, change: t.Callable[[Project], None]) -> None:
    project.variables()
    change(project)
    project.config["User"] = "another"
    assert project.variables()["ansible_user"] == "another"
    assert project.asked == 2


def test_another_port_after_a_restart(project: Project, server: Server) -> None:
    project.variables()
    server.stop()
    other = Server()
    project.config["Port"] = str(other.port)
    assert project.variables()["ansible_port"] == other.port
    other.stop()


def test_something_else_at_the_address_is_not_the_machine(project: Project, server: Server) -> None:
    project.variables()
    server.greeting = b"HTTP/1.1 400 no\r\n"
    project.variables()
    assert project.asked == 2


def test_a_new_machine_has_new_host_keys(project: Project) -> None:
    before = project.variables()["ansible_ssh_common_args"]
    _made_anew(project)
    after = project.variables()["ansible_ssh_common_args"]
    assert after == before.replace("5b0c-first", "77aa-second") != before


def test_what_the_vagrantfile_noted(project: Project) -> None:
    (project.state / _vagrant.NOTED).write_text('{"admin_forwarded_ports": [1234]}')
    assert project.variables()["admin_forwarded_ports"] == [1234]
    (project.state / _vagrant.NOTED).write_text("{")
    assert "admin_forwarded_ports" not in project.variables()


def test_the_state_may_be_elsewhere(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.state.rename(project.root / "elsewhere")
    monkeypatch.setenv("VAGRANT_DOTFILE_PATH", "elsewhere")
    project.config["IdentityFile"] = "/dev/null"
    assert project.variables()["ansible_user"] == "someone"


def test_an_unusable_answer_of_vagrant(project: Project) -> None:
    project.config["Port"] = "none"
    with pytest.raises(_vagrant.NotThere, match="no usable"):
        project.variables()


# --- python-vagrant and the command

SSH_CONFIG = """\
Host console
  HostName 192.0.2.7
  User vagrant
  Port 2222
  IdentityFile "/with a space/key"
  StrictHostKeyChecking no
"""


def _command(folder: Path, text: str) -> None:
    """A vagrant that answers ssh-config only."""
    (folder / "answer").write_text(SSH_CONFIG)
    script = folder / "vagrant"
    script.write_text(f"#!/bin/sh\n[ \"$PWD $*\" = '{folder} ssh-config console' ] || exit 9\n{text}\n")
    script.chmod(0o755)


def test_python_vagrant_reads_the_ssh_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _command(tmp_path, f"cat '{tmp_path}/answer'")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = _vagrant.ask_vagrant(tmp_path, "console")
    assert (found["HostName"], found["User"], found["Port"]) == ("192.0.2.7", "vagrant", "2222")
    assert found["IdentityFile"] == "/with a space/key"


def test_a_halted_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _command(tmp_path, "echo 'not yet ready'; echo 'for SSH. Depending on your provider this' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(_vagrant.NotThere) as caught:
        _vagrant.ask_vagrant(tmp_path, "console")
    assert str(caught.value).startswith(f"console is not running: run 'vagrant up' in {tmp_path} (")
    assert str(caught.value).endswith("for SSH.)")


def test_no_vagrant_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(_vagrant.NotThere, match="no command vagrant on the PATH"):
        _vagrant.ask_vagrant(tmp_path, "console")


def test_no_python_vagrant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vagrant", None)
    with pytest.raises(_vagrant.NotThere) as caught:
        _vagrant.ask_vagrant(tmp_path, "console")
    assert f"{sys.executable} -m pip install python-vagrant" in str(caught.value)
