# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Commands that may take long: ended by a time limit or by the watch, never by a terminal that they would ask."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import signal
import subprocess
import time
import typing as t

from ._errors import TalosError
from ._progress import Watch

_PAUSE_SECONDS = 0.05
# Between the signal that asks for the end, and the one that does not ask.
_END_SECONDS = 10.0


class NoCommand(TalosError):
    """There is no such binary, or it cannot be run."""

    remedy = "Is it executable, and built for this machine? Install it anew (role tool)"


class CommandTimeout(TalosError):
    """It was not done within its time, and was ended."""

    remedy = "Run again, with more time where this is a slow machine"


@dataclasses.dataclass(frozen=True)
class Done:
    """How a command ended; its output as text."""

    code: int
    out: str
    err: str


@dataclasses.dataclass(frozen=True)
class Commands:
    """Runs binaries in ``folder`` with this environment alone.

    They inherit the open files ``descriptors``. ``redact`` takes secrets out of what they print.
    """

    folder: str
    environment: t.Mapping[str, str]
    watch: Watch
    descriptors: tuple[int, ...] = ()
    redact: t.Callable[[str], str] = str

    def with_environment(self, **more: str) -> Commands:
        return dataclasses.replace(self, environment={**self.environment, **more})

    def run(
        self,
        argv: t.Sequence[str],
        *,
        seconds: float,
        given: str = "",
        meanwhile: t.Callable[[], None] = lambda: None,
    ) -> Done:
        """``given`` is its standard input; ``meanwhile`` is called while it runs, and ends it by what it raises.

        Raises CommandTimeout, NoCommand, Stopped.

        Files in memory take what it prints, so that a pipe that its orphans keep open cannot hold us up.
        """
        with _in_memory() as out, _in_memory() as err:
            with _in_memory() as stdin:
                stdin.write(given.encode())
                stdin.seek(0)
                process = self._start(argv, stdin, out, err)
            try:
                self._await(process, seconds, meanwhile)
            finally:
                _end(process)
            return Done(process.returncode, self._text(out), self._text(err))

    def _start(self, argv: t.Sequence[str], *files: t.IO[bytes]) -> subprocess.Popen[bytes]:
        stdin, out, err = files
        try:
            # run_command of Ansible has no time limit, and this class knows no Ansible.
            return subprocess.Popen(  # pylint: disable=ansible-bad-function,consider-using-with
                list(argv),
                stdin=stdin,
                stdout=out,
                stderr=err,
                cwd=self.folder,
                env=dict(self.environment),
                pass_fds=self.descriptors,
                start_new_session=True,
            )
        except OSError as error:
            raise NoCommand(f"{argv[0]} cannot be run: {error.strerror}") from error

    def _await(self, process: subprocess.Popen[bytes], seconds: float, meanwhile: t.Callable[[], None]) -> None:
        ends = time.monotonic() + seconds
        with _told_of_the_end(process) as wait:
            while process.poll() is None:
                self.watch.check()
                if time.monotonic() > ends:
                    raise CommandTimeout(f"not done within {seconds:g} s")
                meanwhile()
                wait(_PAUSE_SECONDS)

    def _text(self, file: t.IO[bytes]) -> str:
        file.seek(0)
        return self.redact(file.read().decode(errors="replace"))


@contextlib.contextmanager
def _told_of_the_end(process: subprocess.Popen[bytes]) -> t.Iterator[t.Callable[[float], object]]:
    """Waits so many seconds, or until the process ends; Popen.wait would look for its end now and then only."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        # An older kernel.
        yield time.sleep
        return
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    try:
        yield lambda seconds: poll.poll(seconds * 1000)
    finally:
        os.close(descriptor)


def _in_memory() -> t.IO[bytes]:
    return os.fdopen(os.memfd_create("command"), "w+b")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its whole group, first politely: argocd-autopilot removes its folders then."""
    if process.poll() is not None:
        return
    for number, seconds in ((signal.SIGTERM, _END_SECONDS), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return


def found(path: str, remedy: str) -> str:
    """The absolute path of a binary, by PATH where it is a name. Raises NoCommand."""
    if os.sep in path:
        candidates = [os.path.abspath(os.path.expanduser(path))]
    else:
        candidates = [os.path.join(folder, path) for folder in os.get_exec_path()]
    for candidate in candidates:
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise NoCommand(f"{path} is not in PATH" if os.sep not in path else f"there is no {path}", remedy=remedy)
