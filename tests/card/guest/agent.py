# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest's only process beside the kernel: does what the tests ask for on the channel, each in a process of its own.

    agent.py MODULE...

A request is a line of JSON: ``id`` and either ``command``, a list, or ``module`` and ``arguments``. The answer has
``id``, ``rc``, ``out`` and ``err``. The modules are imported once, which takes a guest long.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import traceback
import types
import typing as t

from ansible.module_utils.testing import patch_module_args


def main() -> None:
    os.environ.update(PATH="/usr/sbin:/usr/bin:/sbin:/bin", TMPDIR="/run", HOME="/run", LC_ALL="C.UTF-8")
    prefix = "ansible_collections.homelab.talos.plugins.modules."
    modules = {name: importlib.import_module(prefix + name) for name in sys.argv[1:]}
    # It can be opened once only.
    channel = os.open(glob.glob("/dev/vport*p1")[0], os.O_RDWR)
    # The answer to what was never asked tells that the guest is there.
    answer(channel, {"id": 0})
    # Nobody waits for the processes.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with open(channel, encoding="utf-8", closefd=False) as lines:
        for line in lines:
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                try:
                    answer(channel, done(json.loads(line), modules))
                finally:
                    os._exit(0)


def done(request: dict[str, t.Any], modules: dict[str, types.ModuleType]) -> dict[str, t.Any]:
    if "module" in request:
        rc, out, err = run_module(modules[request["module"]], request["arguments"])
    else:
        ended = subprocess.run(request["command"], capture_output=True, text=True, check=False)
        rc, out, err = ended.returncode, ended.stdout, ended.stderr
    return {"id": request["id"], "rc": rc, "out": out, "err": err}


def run_module(module: types.ModuleType, arguments: dict[str, t.Any]) -> tuple[int, str, str]:
    """As Ansible runs it, in a process that ends with it."""
    out, err, rc = io.StringIO(), io.StringIO(), 1
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), patch_module_args(arguments):
        try:
            module.main()
        except SystemExit as ended:
            rc = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
    return rc, out.getvalue(), err.getvalue()


def answer(channel: int, told: dict[str, t.Any]) -> None:
    """Answers of several processes must not mix."""
    with open("/run/channel.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        left = json.dumps(told).encode() + b"\n"
        while left:
            left = left[os.write(channel, left) :]


if __name__ == "__main__":
    main()
