# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Long work on this host that tells how far it is, and that ends in good order when nobody wants it any more.

The action plug-in gives a folder: work writes ``progress.json`` there, and goes on only while the action touches the
file ``lease``. So a controller that was interrupted, or lost its line, ends the work without having to reach it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import threading
import time
import types
import typing as t

from ._errors import TalosError

PROGRESS = "progress.json"
LEASE = "lease"
# A line in this file that changes all the time says that the work goes on, also while there is no progress.
ALIVE = "alive"
# A file of this name, with this word in it, says that the work is over.
ENDED = "ended"
# How long work goes on that nobody asks about, in seconds.
LEASE_SECONDS = 20.0

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_INTERVAL = 0.5


class Stopped(TalosError):
    """The work was told to end before its end."""

    remedy = "Run again: it goes on from there"


class Watch:
    """Whether to go on, and where progress is told. To be used in the main thread, as a context."""

    def __init__(self, folder: str = "", *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._folder = folder
        self._lease_seconds = lease_seconds
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._reason = ""
        self._lapsed = False
        self._before: dict[signal.Signals, t.Any] = {}
        self._told = 0.0

    def __enter__(self) -> Watch:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._on_signal)
        if self._folder:
            threading.Thread(target=self._keep_lease, daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        if self._lapsed:
            # Its owner is gone, and will not remove it.
            shutil.rmtree(self._folder, ignore_errors=True)
        elif self._folder:
            self._put(ENDED, ENDED)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: types.FrameType | None) -> None:
        self.stop(f"stopped by {signal.Signals(number).name}")

    def _keep_lease(self) -> None:
        """Not by the age of the file: the clock of a Raspberry Pi may jump."""
        path, seen, renewed = os.path.join(self._folder, LEASE), -1, time.monotonic()
        signs = itertools.count()
        while not self._ended.wait(_INTERVAL):
            self._put(ALIVE, f"{ALIVE} {next(signs)}")
            try:
                touched = os.stat(path).st_mtime_ns
            except OSError:
                return self.stop("stopped by the controller")
            if touched != seen:
                seen, renewed = touched, time.monotonic()
            elif time.monotonic() - renewed > self._lease_seconds:
                self._lapsed = True
                return self.stop(f"the controller was not heard of for {self._lease_seconds:.0f} s")

    def stop(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._stop.set()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def check(self) -> None:
        """Raises Stopped where the work is to end."""
        if self._stop.is_set():
            raise Stopped(self._reason)

    def tell(self, figures: t.Callable[[], dict[str, t.Any]]) -> None:
        """Write the progress down, where somebody reads it and it was not done just now."""
        now = time.monotonic()
        if not self._folder or now - self._told < _INTERVAL:
            return
        self._told = now
        self._put(PROGRESS, json.dumps(figures()))

    def _put(self, name: str, text: str) -> None:
        path = os.path.join(self._folder, name)
        # Without the folder there is nobody to tell; the lease says so, too.
        with contextlib.suppress(OSError):
            with open(f"{path}.new", "w", encoding="utf-8") as file:
                file.write(f"{text}\n")
            os.replace(f"{path}.new", path)
