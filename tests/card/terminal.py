# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program in a terminal, and somebody in front of it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import termios
import time
import typing as t
from collections.abc import Mapping, Sequence
from pathlib import Path

_SECONDS = 120.0
# What is typed while a prompt appears is thrown away, so it is typed again.
_AGAIN = 4.0


class Terminal:
    """Use it in a ``with``; ``output`` is what was seen so far."""

    def __init__(self, argv: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        self.output = ""
        self._seen = 0
        self._process = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            # By this signal Ansible ends its workers, too.
            self._process.terminate()
            self.wait()
        os.close(self._master)

    def read_until(self, text: str, *, typing: bytes = b"") -> None:
        """Until this text comes after that of the last call; ``typing`` is typed now and then meanwhile."""
        end, again = time.monotonic() + _SECONDS, time.monotonic() + 0.5
        while text not in self.output[self._seen :]:
            assert time.monotonic() < end, f"{text!r} did not come:\n{self.output}"
            if typing and time.monotonic() > again:
                os.write(self._master, typing)
                again = time.monotonic() + _AGAIN
            assert self._read() or self._process.poll() is None, f"ended without {text!r}:\n{self.output}"
        self._seen = self.output.index(text, self._seen) + len(text)

    def wait(self) -> int:
        end = time.monotonic() + _SECONDS
        while self._process.poll() is None:
            assert time.monotonic() < end, f"it does not end:\n{self.output}"
            self._read()
        while self._read():
            pass
        return t.cast("int", self._process.returncode)

    def _read(self) -> bool:
        if not select.select([self._master], [], [], 0.2)[0]:
            return False
        try:
            content = os.read(self._master, 65536)
        except OSError:
            return False
        self.output += content.decode(errors="replace").replace("\r\n", "\n")
        return bool(content)
