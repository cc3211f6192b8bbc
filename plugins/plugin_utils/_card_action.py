# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions for the cards of nodes share: whose they are, and which are known already."""

from __future__ import annotations

import abc
import sys
import typing as t

from ..module_utils._card_records import FILE_NAME
from ..module_utils._errors import TalosError
from ._card_records_file import CardRecordsFile
from ._cluster_action import ClusterAction

# Asked while this is imported, in the main process: a worker has no terminal any more.
TERMINAL = sys.stdin is not None and sys.stdin.isatty()


class CardAction(ClusterAction):
    """Subclasses work in ``on_cards``, whose errors become the task's."""

    def work(self) -> dict[str, t.Any]:
        try:
            return self.on_cards()
        except TalosError as error:
            return {"failed": True, "msg": str(error), "failure": error.as_failure()}

    @abc.abstractmethod
    def on_cards(self) -> dict[str, t.Any]:
        """The module's result; raises TalosError."""

    def records_file(self) -> CardRecordsFile:
        return CardRecordsFile(self.record_path(FILE_NAME))

    def with_cluster(self) -> dict[str, t.Any]:
        """The task's options with the cluster and its records."""
        given = dict(self._task.args)
        records = {node: record.as_dict() for node, record in self.records_file().read().items()}
        cluster = given.get("cluster") or self.variable("cluster_name")
        return {**given, "cluster": str(cluster or ""), "records": records}
