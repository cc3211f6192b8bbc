# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest

from ansible_collections.homelab.talos.plugins.module_utils._talosctl import NoTalosctl, Talosctl, TalosctlError

# Notes its argv and environment, and what it could read of its input files, as a real talosctl would.
SCRIPT = """\
#!/bin/sh
printf '%s\\n' "$@" > "{folder}/argv"
env > "{folder}/env"
for each in "$@"; do
  case "$each" in @/proc/*) cat "${{each#@}}";; /proc/*) cat "$each";; esac
done > "{folder}/read"
{then}
"""


def script(folder: Path, then: str = 'cat "{folder}/read"') -> Talosctl:
    path = folder / "talosctl"
    path.write_text(SCRIPT.format(folder=folder, then=then.format(folder=folder)))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return Talosctl(str(path), seconds=2)


def generate(talosctl: Talosctl) -> bytes:
    return talosctl.gen_config(
        cluster_name="-odd",
        endpoint="https://192.0.2.9:6443",
        machine_type="worker",
        secrets=b"the-bundle\n",
        contract="1.14",
        kubernetes_version="1.37.1",
        patches=[b"the-patch\n"],
    )


def test_secrets_and_patches_reach_talosctl_by_memory_only(tmp_path: Path) -> None:
    assert generate(script(tmp_path)) == b"the-bundle\nthe-patch\n"
    argv = (tmp_path / "argv").read_text()
    assert argv.endswith("--\n-odd\nhttps://192.0.2.9:6443\n")
    assert "the-bundle" not in argv + (tmp_path / "env").read_text()
    assert "--talos-version\nv1.14\n--kubernetes-version\n1.37.1\n" in argv


def test_nothing_stays_open(tmp_path: Path) -> None:
    talosctl = script(tmp_path, "exit 1")
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(TalosctlError):
        generate(talosctl)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_an_error_says_what_talosctl_said(tmp_path: Path) -> None:
    said = 'echo "generating PKI and tokens" >&2; printf "bad /proc/self/fd/9\\n\\n\\n" >&2; exit 1'
    talosctl = script(tmp_path, said)
    with pytest.raises(TalosctlError, match=r"gen config .* --with-secrets FILE .*: bad the config\."):
        generate(talosctl)


def test_a_talosctl_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(TalosctlError, match="not done within 2 s"):
        script(tmp_path, "exec sleep 60").version()


def test_a_pipe_that_an_orphan_holds_open_holds_nobody_up(tmp_path: Path) -> None:
    assert script(tmp_path, "sleep 600 & echo $! > {folder}/pid; echo Talos v1.14.2").version() == "v1.14.2"
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_a_kernel_that_tells_of_no_end_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    assert script(tmp_path, "sleep 0.1; echo Talos v1.14.2").version() == "v1.14.2"


@pytest.mark.parametrize(("version", "fits"), [("v1.14.0", True), ("v1.14.9-rc.1", True), ("v1.13.9", False)])
def test_the_minor_must_be_the_nodes(tmp_path: Path, version: str, fits: bool) -> None:
    talosctl = script(tmp_path, f"echo Talos {version}")
    if fits:
        talosctl.require_minor("1.14.2")
    else:
        with pytest.raises(NoTalosctl, match=r"v1\.13\.9, and the nodes run Talos 1\.14\.2"):
            talosctl.require_minor("1.14.2")


def test_a_missing_talosctl_is_said() -> None:
    with pytest.raises(NoTalosctl, match="not in PATH"):
        Talosctl("no-such-talosctl").version()
    with pytest.raises(NoTalosctl, match="Install talosctl"):
        Talosctl("/nowhere/talosctl").identity()
