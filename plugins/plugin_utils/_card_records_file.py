# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of cards on the controller."""

from __future__ import annotations

from ..module_utils._card_records import RecordError, Records, added, parse, render
from ._record_file import RecordFile


class CardRecordsFile:
    """``cards.yml``."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = RecordFile(path, RecordError)

    def read(self) -> Records:
        """Raises RecordError."""
        return parse(self._file.read(), self.path)

    def record(self, new: Records) -> bool:
        """Whether they were not there yet."""
        known = self.read()
        if added(known, new) == known:
            return False
        with self._file.alone():
            self._file.write(render(added(self.read(), new)))
        return True
