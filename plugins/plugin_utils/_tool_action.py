# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions for tools share: table, lock and versions, which are the controller's business."""

from __future__ import annotations

import os
import shlex
import typing as t
from collections.abc import Mapping
from pathlib import Path

from ansible.errors import AnsibleActionFail

from ..module_utils._errors import TalosError
from ..module_utils._tool_choice import Needs, Pin, choose
from ..module_utils._tool_lock import FILE_NAME, Lock, joined, parse_lock
from ..module_utils._tool_table import MACHINES, Tool, parse_table
from ..module_utils._versions import DEFAULT_TALOS, MINORS, parse
from ._cluster_action import ClusterAction

ROLE_FILES = Path(__file__).resolve().parents[2] / "roles" / "tool" / "files"
TABLE = ROLE_FILES / "tools.yml"
LOCK = ROLE_FILES / FILE_NAME


class ToolAction(ClusterAction):
    """A module for tools with its options filled in."""

    def table(self, more: object = None) -> dict[str, Tool]:
        """Of the collection, with a user's rows over it."""
        table = parse_table(self._loader.load_from_file(str(TABLE)), str(TABLE))
        return {**table, **parse_table(more or {}, "tool_table")}

    def choose(
        self, names: t.Iterable[str], versions: Mapping[str, t.Any], table: dict[str, Tool], architecture: str | None
    ) -> list[Pin]:
        talos, kubernetes = self._cluster_versions()
        needs = Needs(talos, kubernetes, architecture or self._architecture(), self._lock_command())
        asked = {str(name): str(version) for name, version in versions.items()}
        return choose([str(name) for name in names], table, self._lock(), asked, needs)

    def _lock(self) -> Lock:
        files = {str(path): path for path in (LOCK, Path(self._user_lock()))}
        return joined(
            {
                where: parse_lock(self._loader.load_from_file(where), where)
                for where, path in files.items()
                if path == LOCK or path.is_file()
            }
        )

    def _user_lock(self) -> str:
        folder = os.path.expanduser(str(self._of_cluster("cluster_records_dir") or self.inventory_dir()))
        return os.path.join(folder, FILE_NAME)

    def _lock_command(self) -> str:
        path = os.path.relpath(self._user_lock())
        path = self._user_lock() if path.startswith("..") else path
        return f"Fetch it from the publisher, with network: make lock LOCK={shlex.quote(path)} ARGS='"

    def _cluster_versions(self) -> tuple[str, str]:
        talos = str(self._of_cluster("cluster_talos_version") or DEFAULT_TALOS)
        version = parse(talos)
        minor = MINORS.get(version.series if version else "") or MINORS[".".join(DEFAULT_TALOS.split(".")[:2])]
        return talos, str(self._of_cluster("cluster_kubernetes_version") or minor.kubernetes_default)

    def _of_cluster(self, name: str) -> t.Any:
        """A variable of the cluster: of this host, or of the first control plane, whose group has it."""
        nodes = [*self.groups.get("controlplanes", []), *self.groups.get("talos", [])]
        for host in [self._variables["inventory_hostname"], *nodes[:1]]:
            value = self.variable(name, host)
            if value is not None:
                return value
        return None

    def _architecture(self) -> str:
        done = self._low_level_execute_command("uname -m", sudoable=False)
        machine = str(done.get("stdout") or "").strip()
        if machine not in MACHINES:
            raise AnsibleActionFail(
                f"The host is of the kind {machine or done.get('stderr')!r} by `uname -m`, for which no tool is "
                "published: set tool_architecture to amd64 or arm64 if its binaries run there."
            )
        return MACHINES[machine]

    def failed(self, error: TalosError) -> dict[str, t.Any]:
        return {"failed": True, "msg": str(error), "failure": error.as_failure()}
