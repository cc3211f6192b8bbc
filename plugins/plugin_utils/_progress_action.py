# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that take minutes: they run in the background of their host, and what they tell is shown in a terminal.

The module runs under Ansible's own async wrapper, so that it does not hang on one long connection. What ties it to us
is a folder with a lease (see ``_progress`` in module_utils): while we ask, it goes on.
"""

from __future__ import annotations

import abc
import json
import shlex
import sys
import time
import typing as t

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.utils.display import Display

from ..module_utils._progress import ALIVE, ENDED, LEASE, LEASE_SECONDS, PROGRESS
from ._cluster_action import ClusterAction

display = Display()

# Asked while this is imported, in the main process: a worker has no terminal any more.
_TERMINAL = sys.stdout.isatty() and sys.stderr.isatty()
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0
_SHOW_SECONDS = 5.0
# Should a module have been killed, so that it could not tell its end.
_ASK_SECONDS = 20.0
# Without a sign of life for so long, and without a result, the module and its wrapper were killed.
_SILENCE_SECONDS = 3 * LEASE_SECONDS
# What the async wrapper kills; the module ends by its lease long before.
_TIME_LIMIT = 7 * 24 * 3600

_OF_THE_JOB = frozenset(
    {"ansible_job_id", "results_file", "started", "stdout", "stderr", "stdout_lines", "stderr_lines"}
)

_GONE = "gone"

Progress = dict[str, t.Any]
_T = t.TypeVar("_T")


class _Look(t.NamedTuple):
    """What was in the module's folder: its last ``sign`` of life, whether it ``ended``, what it told last.

    Where the folder is ``gone``, a module that still runs ends by itself.
    """

    sign: str
    gone: bool
    ended: bool
    progress: Progress

    @property
    def over(self) -> bool:
        return self.gone or self.ended


class ProgressAction(ClusterAction):
    """A module whose options include ``progress_dir``. Subclasses say how progress reads in words."""

    @abc.abstractmethod
    def describe(self, progress: Progress) -> t.Iterable[str]:
        """Lines for what the module told last."""

    def call_with_progress(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        """The module's result. In check mode nothing takes long, and it is simply called."""
        if self._task.check_mode:
            return self.call(arguments)
        folder = self._shell(f'umask 077 && f=$(mktemp -d) && touch "$f/{LEASE}" && echo "$f"').strip()
        leftovers = [folder]
        try:
            started = self._start({**arguments, "progress_dir": folder})
            if not started.get("ansible_job_id"):
                return started
            leftovers.append(str(started["results_file"]))
            return self._wait(folder, leftovers[-1])
        finally:
            self._low_level_execute_command(f"rm -rf {' '.join(map(shlex.quote, leftovers))}")

    def _start(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        self._task.async_val = _TIME_LIMIT
        try:
            result: dict[str, t.Any] = self._execute_module(
                module_name=self.module_name, module_args=arguments, task_vars=self._variables, wrap_async=True
            )
        finally:
            # Else Ansible would poll the job, too.
            self._task.async_val = 0
        return result

    def _is_pipelining_enabled(self, module_style: str, wrap_async: bool = False) -> bool:
        """The async wrapper needs the module in a file."""
        return not wrap_async and super()._is_pipelining_enabled(module_style, wrap_async)

    def _wait(self, folder: str, results_file: str) -> dict[str, t.Any]:
        pause, sign = _FIRST_PAUSE, ""
        shown = asked = heard = time.monotonic()
        while True:
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            look = self._look(folder)
            if look.sign != sign:
                sign, heard = look.sign, time.monotonic()
            if look.over or time.monotonic() - asked > _ASK_SECONDS:
                asked = time.monotonic()
                result = self._ask(results_file)
                if result.pop("finished"):
                    return {name: value for name, value in result.items() if name not in _OF_THE_JOB}
                if time.monotonic() - heard > _SILENCE_SECONDS:
                    raise self._silent(look)
            if look.progress and time.monotonic() - shown > _SHOW_SECONDS:
                shown = time.monotonic()
                self._show(look.progress)

    def _look(self, folder: str) -> _Look:
        """Renew the lease, and see what the module left."""
        files = f"cat {ALIVE} {PROGRESS} {ENDED} 2>/dev/null"
        command = f"if cd {shlex.quote(folder)} 2>/dev/null; then touch {LEASE}; {files} || :; else echo {_GONE}; fi"
        lines = self._patiently(lambda: self._shell(command)).splitlines()
        told = next((line for line in lines if line.startswith("{")), "{}")
        return _Look(
            sign=next((line for line in lines if line.startswith(f"{ALIVE} ")), ""),
            gone=_GONE in lines,
            ended=ENDED in lines,
            progress=json.loads(told),
        )

    def _silent(self, look: _Look) -> AnsibleActionFail:
        cause = "the folder of its progress is gone" if look.gone else "there was no sign of life"
        return AnsibleActionFail(
            f"{self.module_name} left no result, and {cause} for {_SILENCE_SECONDS:.0f} s: it was killed on "
            f"{self._variables['inventory_hostname']}, as by a lack of memory or a restart. Run again."
        )

    def _ask(self, results_file: str) -> dict[str, t.Any]:
        """Whether the module is ``finished``, and its result then."""
        async_dir, _slash, job = results_file.rpartition("/")
        arguments: dict[str, t.Any] = {"jid": job, "_async_dir": async_dir}
        result: dict[str, t.Any] = self._patiently(
            lambda: self._execute_module(
                module_name="ansible.legacy.async_status", module_args=arguments, task_vars=self._variables
            )
        )
        if "finished" not in result:
            said = result.get("msg") or result.get("module_stderr") or "no answer"
            raise AnsibleActionFail(f"what became of {self.module_name} cannot be had from the host: {said}")
        return result

    def _show(self, progress: Progress) -> None:
        host = self._variables["inventory_hostname"]
        for line in self.describe(progress) if _TERMINAL else ():
            display.display(f"[{host}] {line}", stderr=True)

    # --- the host's shell

    def _patiently(self, call: t.Callable[[], _T]) -> _T:
        """A connection that breaks is tried again for as long as the lease lasts."""
        lost = time.monotonic()
        while True:
            try:
                return call()
            except AnsibleConnectionFailure:
                if time.monotonic() - lost > LEASE_SECONDS:
                    raise
                time.sleep(_LONGEST_PAUSE)

    def _shell(self, command: str) -> str:
        done = self._low_level_execute_command(command)
        if done.get("rc"):
            said = str(done.get("stderr") or done.get("stdout") or "").strip()
            raise AnsibleActionFail(f"the progress cannot be had from the host: {said}")
        return str(done.get("stdout") or "")


def gibibytes(count: float) -> str:
    """Such as ``1.4 GiB``."""
    return f"{count / 2**30:.1f} GiB"


def pace(done: float, size: float, seconds: float) -> str:
    """The rate and the time left, such as ``84 MiB/s, 13 s left``."""
    rate = done / seconds if seconds else 0.0
    if not rate:
        return "not begun"
    left = (size - done) / rate
    return f"{rate / 2**20:.0f} MiB/s, {f'{left / 60:.0f} min' if left > 100 else f'{left:.0f} s'} left"
