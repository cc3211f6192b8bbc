# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong with Applications, beside what goes wrong with their repository, their pods and their nodes."""

from __future__ import annotations

import typing as t

from rehearsal.faults import Fault, Kind
from rehearsal.state import StateFolder, read_json, write_json

FAULTS: dict[str, Kind] = {
    "app-degraded": Kind("the Application is Degraded, whatever its objects are (app=NAME picks one)", ("app",)),
    "app-out-of-sync": Kind("it stays OutOfSync, as when somebody rewrites an object (app=NAME picks one)", ("app",)),
}


class ApplicationFaults:
    """The faults of all Applications of a rehearsal."""

    def __init__(self, state: StateFolder | None) -> None:
        self._path = state.argocd_faults if state else None
        self._all = [Fault.from_json(value) for value in read_json(self._path, [])] if self._path else []
        self.changes = 0

    def add(self, name: str, words: t.Mapping[str, str]) -> None:
        self._all.append(Fault.from_words(name, words, known=FAULTS))
        self._changed()

    @property
    def names(self) -> list[str]:
        return [fault.name for fault in self._all]

    def clear(self) -> None:
        self._all.clear()
        self._changed()

    def active(self, name: str, application: str) -> bool:
        return any(fault.name == name and fault.app in ("", application) for fault in self._all)

    def _changed(self) -> None:
        self.changes += 1
        if self._path:
            write_json(self._path, [fault.as_json() for fault in self._all])
