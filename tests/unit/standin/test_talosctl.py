# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in as a command."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from .conftest import Standin

_ROOT = pathlib.Path(__file__).parents[3]


def test_as_a_process(tmp_path: pathlib.Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "STANDIN_TALOSCTL_VERSION": "v1.13.7"}
    command = [sys.executable, "-m", "rehearsal.standin.talosctl", "version", "--client", "--short"]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "Client:\nTalos v1.13.7\n", "")


def test_needs_no_cryptography_for_a_configuration(standin: Standin) -> None:
    script = (
        "import sys; from rehearsal.standin.talosctl import main; "
        "code = main(sys.argv[1:]); sys.exit(code or 'cryptography' in sys.modules)"
    )
    arguments = ["gen", "config", "almond", "https://10.61.0.10:6443"]
    arguments += ["--with-secrets", "secrets.yaml", "-t", "worker", "-o", "-"]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=standin.directory,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0


def test_the_long_version(standin: Standin) -> None:
    assert "Tag:         v1.14.2\n" in standin("version", "--client").stdout


def test_plays_two_minors_only(standin: Standin) -> None:
    assert standin("version", "--client", version="v1.12.1").code == 1


@pytest.mark.parametrize("words", [["apply-config", "-n", "10.61.0.11"], ["gen"], [], ["version"]])
def test_leaves_the_rest_to_a_real_one(words: list[str], standin: Standin) -> None:
    refused = standin(*words)
    assert (refused.code, refused.stdout) == (1, "")
    assert "take a real talosctl, which REHEARSAL_TALOSCTL names to 'rehearsal up'" in refused.stderr
