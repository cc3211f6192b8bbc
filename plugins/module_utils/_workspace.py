# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""A private folder in memory for one run against a cluster: killed runs leave nothing that the next one keeps.

Its lock is handed to the commands that run in it. So a command that outlived its module is waited for, not raced.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import time
import typing as t

from ._errors import TalosError
from ._progress import Watch

_MEMORY = "/dev/shm"  # noqa: S108 - what is made there is checked to be ours
_PAUSE_SECONDS = 0.5


class InUse(TalosError):
    """Another run works on the same cluster."""

    remedy = "Let it end, and run again"


@contextlib.contextmanager
def workspace(key: str, fallback: str, watch: Watch, seconds: float) -> t.Iterator[tuple[str, int]]:
    """An empty folder, and the descriptor of its lock; one for each ``key`` and user.

    Where memory cannot run scripts it lies in ``fallback``. Raises InUse after ``seconds``.
    """
    root = _MEMORY if _runs_scripts(_MEMORY) else fallback
    prefix = f"homelab-talos-{os.getuid()}-"
    folder = os.path.join(root, prefix + hashlib.sha256(key.encode()).hexdigest()[:16])
    _sweep(root, prefix)
    descriptor = _locked(folder, watch, time.monotonic() + seconds)
    try:
        yield folder, descriptor
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _sweep(root: str, prefix: str) -> None:
    """What killed runs left, whatever they worked on."""
    for name in os.listdir(root) if os.path.isdir(root) else ():
        if not name.startswith(prefix):
            continue
        with contextlib.suppress(OSError):
            descriptor = os.open(os.path.join(root, name), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(os.path.join(root, name), ignore_errors=True)
            finally:
                os.close(descriptor)


def _locked(folder: str, watch: Watch, ends: float) -> int:
    """Not of a folder that its last owner removed while we waited for it."""
    while True:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        with contextlib.ExitStack() as failing:
            failing.callback(os.close, descriptor)
            _require_own(folder, descriptor)
            _lock(descriptor, watch, ends)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(folder), os.fstat(descriptor)):
                    failing.pop_all()
                    return descriptor


def _runs_scripts(folder: str) -> bool:
    try:
        return os.access(folder, os.W_OK) and not os.statvfs(folder).f_flag & os.ST_NOEXEC
    except OSError:
        return False


def _require_own(folder: str, descriptor: int) -> None:
    found = os.fstat(descriptor)
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise TalosError(f"{folder} is somebody else's, or open to others", remedy="Remove it")


def _lock(descriptor: int, watch: Watch, ends: float) -> None:
    while True:
        watch.check()
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > ends:
                raise InUse("another run is at work on it, or a command that outlived one") from None
        time.sleep(_PAUSE_SECONDS)
