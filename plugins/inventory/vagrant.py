# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plug-in C(homelab.talos.vagrant)."""

from __future__ import annotations

DOCUMENTATION = r"""
name: vagrant
short_description: Finds the Admin VM that Vagrant runs
version_added: 0.1.0
author:
  - homelab.talos contributors (@homelab-talos)
description:
  - Gives the host of the group C(admin) the address, port, user and key of the machine that C(vagrant up) made.
  - Steps aside where the inventory says by itself how that host is reached, by C(ansible_host) or
    C(ansible_connection) at the host or at one of its groups, in files read before this one (files of a folder are read
    by name) or in C(group_vars) and C(host_vars).
  - Never fails because the machine is not there. What needs the admin host then says to run C(vagrant up); what does
    not need it, as C(ansible-inventory), works.
  - Inside the machine, known by its host name, the host is C(local).
  - Asks Vagrant only when its state has changed or no SSH server answers at the last address.
requirements:
  - python-vagrant, and Vagrant itself; both only where there is a machine
options:
  plugin:
    description: The name of this plug-in.
    type: str
    required: true
    choices: [homelab.talos.vagrant]
  project:
    description:
      - The folder of the Vagrantfile, relative to this file.
      - By default the nearest one above this file.
    type: path
  machine:
    description: The name of the machine in the Vagrantfile.
    type: str
    default: admin-vm
  host:
    description:
      - The name of the host in the inventory.
      - By default the first host of the group C(admin), or, when that is empty, the name of the machine.
    type: str
notes:
  - Host keys are kept for each machine (C(.vagrant/homelab-talos-known_hosts)) and trusted at first sight, since a new
    machine has new ones.
"""

EXAMPLES = r"""
# inventory/homelab/vagrant.yml: all that it needs
plugin: homelab.talos.vagrant
"""

import os
import socket
import typing as t
from pathlib import Path

from ansible.errors import AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.inventory.group import Group
from ansible.inventory.host import Host
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible.vars.plugins import get_vars_from_inventory_sources

from ..plugin_utils import _vagrant

ADMIN = "admin"
# Who says one of these knows where the host is.
REACHED_BY = ("ansible_connection", "ansible_host", "ansible_ssh_host")
INTERPRETER = "ansible_python_interpreter"
OTHERWISE = "For another admin host, set ansible_host or ansible_connection at it in the inventory."


class InventoryModule(BaseInventoryPlugin):
    """Reads files that name it and end in C(vagrant.yml)."""

    NAME = "homelab.talos.vagrant"

    def verify_file(self, path: str) -> bool:
        return path.endswith(("vagrant.yml", "vagrant.yaml")) and os.path.isfile(path)

    def parse(self, inventory: InventoryData, loader: t.Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._untyped._read_config_data(path)
        machine = str(self._option("machine"))
        host = self._host(inventory, machine)
        said = self._said(host, path)
        if any(name in said for name in REACHED_BY):
            return
        found: dict[str, t.Any] = {}
        if INTERPRETER not in said:
            # Ansible needs not search for one in each run.
            found[INTERPRETER] = "/usr/bin/python3"
        if socket.gethostname() == machine:
            found["ansible_connection"] = "local"
        else:
            try:
                found.update(_vagrant.Machine(self._project(path), machine).variables())
            except _vagrant.NotThere as missing:
                found = {"ansible_connection": "homelab.talos.no_vm"}
                # For the nodes too: their tasks run on the admin host, by its connection.
                inventory.set_variable("all", "vagrant_problem", f"{missing}. {OTHERWISE}")
        for name, value in found.items():
            inventory.set_variable(host.name, name, value)

    @property
    def _untyped(self) -> t.Any:
        """Ourselves, for methods of Ansible without annotations."""
        return self

    def _option(self, name: str) -> t.Any:
        return self._untyped.get_option(name)

    def _host(self, inventory: InventoryData, machine: str) -> Host:
        """The host in question, which is in the group admin afterwards."""
        group = inventory.groups.get(ADMIN)
        members: list[Host] = group.get_hosts() if group else []
        name = str(self._option("host") or (members[0].name if members else machine))
        if name not in [each.name for each in members]:
            inventory.add_group(ADMIN)
            inventory.add_host(name, group=ADMIN)
        return inventory.hosts[name]

    def _said(self, host: Host, path: str) -> dict[str, t.Any]:
        """What the inventory says of the host so far."""
        entities: list[Group | Host] = [*host.get_groups(), host]
        said: dict[str, t.Any] = {}
        for entity in entities:
            said.update(entity.get_vars())
        for stage in ("all", "inventory"):
            said.update(get_vars_from_inventory_sources(self.loader, [path], entities, stage))
        return said

    def _project(self, path: str) -> Path:
        here = Path(os.path.abspath(path)).parent
        given = self._option("project")
        if not given:
            return next((each for each in (here, *here.parents) if (each / "Vagrantfile").is_file()), here)
        project = Path(os.path.normpath(here / os.path.expanduser(given)))
        if not (project / "Vagrantfile").is_file():
            raise AnsibleParserError(f"{path}: project is {given}: there is no Vagrantfile in {project}")
        return project
