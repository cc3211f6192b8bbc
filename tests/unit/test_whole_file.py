# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lock that another process has: who that is gets told, and then it is waited for. Files that are ours alone."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import _whole_file
from ansible_collections.homelab.talos.plugins.module_utils._whole_file import is_private, read_private, write_private

# Has the lock of the folder until its standard input ends.
HOLDER = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> t.Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def holder(tmp_path: Path) -> t.Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process


def test_who_has_the_lock_is_told_and_waited_for(
    folder: int, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_whole_file, "_PATIENCE_SECONDS", 0.2)
    told = []

    def tell(line: str) -> None:
        told.append(line)
        holder.communicate()

    _whole_file.lock_alone(folder, "/the/folder", tell)
    assert told == [f"/the/folder is in use by process {holder.pid}, whose end is waited for"]
    assert has_lock(folder)


def test_a_lock_that_is_free_soon_is_not_worth_a_word(folder: int, holder: subprocess.Popen[str]) -> None:
    holder.communicate()
    _whole_file.lock_alone(folder, "/the/folder", pytest.fail)
    assert has_lock(folder)


def has_lock(descriptor: int) -> bool:
    """Whether another opening of the same folder is refused the lock."""
    other = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(other)
    return False


# --- files that are ours alone


def test_a_private_file_is_whole_and_so_are_the_folders_above(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c" / "file"
    write_private(str(path), b"one")
    write_private(str(path), b"two")
    assert read_private(str(path)) == b"two"
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, *path.parents[:3])] == [0o600, 0o700, 0o700, 0o700]
    assert [each.name for each in path.parent.iterdir()] == ["file"]
    assert is_private(str(path))
    path.chmod(0o604)
    assert not is_private(str(path))


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_private(str(path), b"old")

    def full(*_args: t.Any) -> t.NoReturn:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write_private(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_no_file_is_none(tmp_path: Path) -> None:
    assert read_private(str(tmp_path / "none")) is None
