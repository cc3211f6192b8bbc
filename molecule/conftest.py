# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenarios' tests share. They run in the environment that molecule gives its verifier."""

from __future__ import annotations

import os
import subprocess
import typing as t

import pytest
import testinfra
from testinfra.host import Host

from tests.integration.conftest import Run

# What a run may leave on a console: the remote side of a connection, and the records of a login.
_LEFT = r"^/(proc|sys|dev|run|tmp|small|var/(log|tmp)|home/vagrant/\.ansible|root/\.ansible|var/lib/systemd)(/|$)"


@pytest.fixture(scope="session")
def consoles() -> dict[str, Host]:
    """All of them by their names, over SSH as the inventory says."""
    hosts = testinfra.get_hosts(["ansible://admin"], ansible_inventory=os.environ["MOLECULE_INVENTORY_FILE"])
    return {str(host.backend.host): host for host in hosts}


@pytest.fixture(scope="session")
def converge() -> t.Callable[..., Run]:
    """converge.yml once more, on all consoles."""

    def run(*words: str) -> Run:
        inventory = os.path.dirname(os.environ["MOLECULE_INVENTORY_FILE"])
        playbook = os.path.join(os.environ["MOLECULE_SCENARIO_DIRECTORY"], "converge.yml")
        done = subprocess.run(
            ["ansible-playbook", "-i", inventory, playbook, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "ANSIBLE_FORCE_COLOR": "0"},
            timeout=240,
            check=False,
        )
        return Run(done.returncode, done.stdout)

    return run


@pytest.fixture(scope="session")
def files() -> t.Callable[[Host], set[str]]:
    """Every file of a console, with what a change of it would change."""

    def look(host: Host) -> set[str]:
        # A folder's size and time tell of its files, of which some are left out.
        command = (
            f"find / -xdev -regextype posix-extended -regex '{_LEFT}' -prune -o"
            " -type d -printf '%p %m %U %G\\n' -o -printf '%p %y %m %U %G %s %T@ %l\\n'"
        )
        with host.sudo():
            return set(host.check_output(command).splitlines())

    return look
