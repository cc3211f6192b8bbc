# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection of an admin host that is not there."""

from __future__ import annotations

DOCUMENTATION = r"""
name: no_vm
short_description: Says why the Admin VM can't be reached
version_added: 0.1.0
author:
  - homelab.talos contributors (@homelab-talos)
description:
  - Set by the inventory plug-in P(homelab.talos.vagrant#inventory) where there is no running machine, so that only
    tasks that need the admin host fail, and say what to do.
options:
  problem:
    description: What is wrong, and what to do.
    type: str
    default: the Admin VM is not there; run 'vagrant up'
    vars:
      - name: vagrant_problem
"""

import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase


class Connection(ConnectionBase):
    """Never connects."""

    transport = "homelab.talos.no_vm"
    # So that no action asks for a temporary folder first.
    has_pipelining = True

    def _connect(self) -> t.Any:
        untyped: t.Any = self
        raise AnsibleConnectionFailure(str(untyped.get_option("problem")))

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        self._connect()
        return 1, b"", b""

    def put_file(self, in_path: str, out_path: str) -> None:
        self._connect()

    def fetch_file(self, in_path: str, out_path: str) -> None:
        self._connect()

    def close(self) -> None:
        """Nothing to close."""
