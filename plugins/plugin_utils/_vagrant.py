# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a Vagrant machine answers by SSH, asked of Vagrant only when that may have changed.

Vagrant takes a second or two to answer, a whole run without changes not much more. So the last answer is kept beside
Vagrant's own state, and holds as long as Vagrant wrote nothing since and an SSH server still answers there.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shlex
import socket
import sys
import tempfile
import typing as t
from dataclasses import asdict, dataclass
from pathlib import Path

# In .vagrant/: the kept answer, what the Vagrantfile noted at the last start, and the machines' host keys.
ANSWER = "homelab-talos-ssh.json"
NOTED = "homelab-talos.json"
HOST_KEYS = "homelab-talos-known_hosts"
CONNECT_SECONDS = 1.0

Config = t.Mapping[str, str]
Ask = t.Callable[[Path, str], Config]


class NotThere(Exception):
    """The machine can't be reached; the text says why and what to do."""


@dataclass(frozen=True)
class Address:
    """What ``vagrant ssh-config`` says of a machine."""

    host: str
    port: int
    user: str
    key: str

    def variables(self, options: str) -> dict[str, t.Any]:
        return {
            "ansible_connection": "ssh",
            "ansible_host": self.host,
            "ansible_port": self.port,
            "ansible_user": self.user,
            "ansible_ssh_private_key_file": self.key,
            "ansible_ssh_common_args": options,
        }


def ask_vagrant(project: Path, machine: str) -> Config:
    """The one place that uses python-vagrant: the ssh-config of a machine, by its keys."""
    try:
        vagrant = importlib.import_module("vagrant")
    except ImportError:
        pip = f"{shlex.quote(sys.executable)} -m pip install python-vagrant"
        raise NotThere(
            f"where {machine} answers is not known, because python-vagrant is missing: run '{pip}'"
        ) from None
    if vagrant.get_vagrant_executable() is None:
        raise NotThere(f"{machine} was made by Vagrant, but there is no command vagrant on the PATH")
    with tempfile.TemporaryFile("w+") as log:
        console = vagrant.Vagrant(str(project), err_cm=lambda: contextlib.nullcontext(log))
        try:
            found: Config = console.conf(vm_name=machine)
        except Exception as error:
            log.seek(0)
            said = " ".join(log.read().split()) or str(error)
            # Vagrant's paragraph on a halted machine: the first sentence is all of its news.
            said = said.partition(" Depending on your provider")[0]
            raise NotThere(f"{machine} is not running: {_run_up(project)} (vagrant ssh-config: {said})") from error
        return found


class Machine:
    """A machine of the Vagrantfile in a folder."""

    def __init__(self, project: Path, name: str, ask: Ask = ask_vagrant) -> None:
        self._project = project
        self._name = name
        self._ask = ask
        self._state = project / os.environ.get("VAGRANT_DOTFILE_PATH", ".vagrant")

    def variables(self) -> dict[str, t.Any]:
        """Ansible's variables for the running machine; raises NotThere."""
        identity = self._identity()
        if not identity:
            raise NotThere(f"{self._name} is not there: {_run_up(self._project)}")
        address = self._address()
        return {**address.variables(self._options(identity)), **self._noted()}

    def _address(self) -> Address:
        written = self._written()
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            kept = json.loads((self._state / ANSWER).read_text())
            address = Address(**kept["address"])
            if kept["written"] == written and os.path.exists(address.key) and answers(address):
                return address
        config = self._ask(self._project, self._name)
        try:
            address = Address(config["HostName"], int(config["Port"]), config["User"], config["IdentityFile"])
        except (KeyError, ValueError) as error:
            raise NotThere(f"vagrant ssh-config of {self._name} has no usable {error}: {dict(config)}") from error
        self._keep({"written": written, "address": asdict(address)})
        return address

    def _identity(self) -> str:
        """What Vagrant calls the machine at its provider; empty where there is none."""
        for path in sorted((self._state / "machines" / self._name).glob("*/id")):
            with contextlib.suppress(OSError):
                return path.read_text().strip()
        return ""

    def _written(self) -> list[list[t.Any]]:
        """Changes with everything that Vagrant notes of the machine, and with what it is made from."""
        paths = [*(self._state / "machines" / self._name).glob("*/*"), self._project / "Vagrantfile"]
        paths += [self._project / "vagrant.yml", *(self._project / "vm").glob("*")]
        found = []
        for path in sorted(paths):
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append([str(path), status.st_mtime_ns, status.st_size])
        return found

    def _keep(self, answer: dict[str, t.Any]) -> None:
        # Without a place to keep it, Vagrant is asked each time.
        with contextlib.suppress(OSError):
            handle, name = tempfile.mkstemp(dir=self._state, prefix=ANSWER)
            with os.fdopen(handle, "w") as file:
                json.dump(answer, file)
            os.replace(name, self._state / ANSWER)

    def _noted(self) -> dict[str, t.Any]:
        with contextlib.suppress(OSError, ValueError):
            noted = json.loads((self._state / NOTED).read_text())
            if isinstance(noted, dict):
                return noted
        return {}

    def _options(self, identity: str) -> str:
        """A new machine has new host keys at an old address: they are kept by machine, and must stay the same."""
        known = str(self._state / HOST_KEYS).replace("%", "%%")
        options = [
            f"HostKeyAlias={identity}",
            f'UserKnownHostsFile="{known}"',
            "StrictHostKeyChecking=accept-new",
            "IdentitiesOnly=yes",
        ]
        return " ".join(f"-o {shlex.quote(each)}" for each in options)


def answers(address: Address) -> bool:
    """Whether an SSH server is there."""
    try:
        with socket.create_connection((address.host, address.port), CONNECT_SECONDS) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _run_up(project: Path) -> str:
    return f"run 'vagrant up' in {project}"
