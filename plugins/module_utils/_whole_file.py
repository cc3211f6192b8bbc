# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Files that are whole or not there, also where the process is killed while it writes; those that are ours alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
import typing as t

_PATIENCE_SECONDS = 5.0
_PAUSE_SECONDS = 0.05


@contextlib.contextmanager
def whole_file(folder: str, content: bytes) -> t.Iterator[str]:
    """The path of a file in the folder, 0600, with this content on the disk: to be linked or moved to its name.

    It gets a name once it is whole, where the file system can do that, so that a killed process leaves nothing.
    """
    path = os.path.join(folder, f".{secrets.token_hex(8)}.part")
    descriptor = _nameless(folder)
    nameless = descriptor is not None
    if descriptor is None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if nameless:
                # A dir_fd makes it linkat, which alone follows the link that the name in /proc is.
                os.link(f"/proc/self/fd/{file.fileno()}", path, src_dir_fd=file.fileno(), follow_symlinks=True)
        yield path
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def make_private(folder: str) -> None:
    """A folder that is missing, and those above it, 0700."""
    # makedirs gives its mode to the last folder only.
    if folder and not os.path.isdir(folder):
        make_private(os.path.dirname(folder))
        os.makedirs(folder, mode=0o700, exist_ok=True)


def write_private(path: str, content: bytes) -> None:
    """Whole or not at all, 0600, in a folder made 0700 where it is missing, as are those above it."""
    folder = os.path.dirname(path)
    make_private(folder)
    with whole_file(folder, content) as temporary:
        os.replace(temporary, path)


def read_private(path: str) -> bytes | None:
    """The content, or None where there is no file."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def is_private(path: str) -> bool:
    """Only its owner can read it."""
    return not os.stat(path).st_mode & 0o077


def expand(path: str) -> str:
    """A path as users write it."""
    return os.path.abspath(os.path.expanduser(os.path.expandvars(path)))


def _nameless(folder: str) -> int | None:
    try:
        return os.open(folder, os.O_WRONLY | os.O_TMPFILE, 0o600)
    except (AttributeError, OSError):
        return None


def lock_alone(descriptor: int, path: str, tell: t.Callable[[str], None]) -> None:
    """Have the lock of an open file or folder. If that takes seconds, ``tell`` gets one line that says who has it."""
    patience = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < patience:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_PAUSE_SECONDS)
    tell(f"{path} is in use by {_holder(descriptor)}, whose end is waited for")
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def _holder(descriptor: int) -> str:
    """Such as ``process 1234``; without its number where the kernel does not tell it."""
    found = os.fstat(descriptor)
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    with contextlib.suppress(OSError), open("/proc/locks", encoding="ascii") as locks:
        for words in map(str.split, locks):
            # Those who wait have an arrow before the kind.
            if words[1] == "FLOCK" and words[5] == place:
                return f"process {words[4]}"
    return "another process"
