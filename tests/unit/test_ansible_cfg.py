# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ansible.cfg makes of a folder with an inventory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = Path(__file__).parents[2] / "ansible.cfg"
# As Talos writes them, and as somebody wrote them by hand, which is no YAML.
TEXTS = ("version: v1alpha1\nmachine: {token: s3cret}\n", "machine:\n  token: s3cret\n bad: [\n")


@pytest.mark.parametrize("text", TEXTS)
def test_what_talosctl_writes_beside_the_inventory_is_no_inventory_and_is_not_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "hosts.yml").write_text("talos: {hosts: {talos-w1: }}\n")
    names = [f"{name}.{suffix}" for name in ("controlplane", "worker", "secrets") for suffix in ("yaml", "yml")]
    for name in (*names, "talosconfig", "talosconfig.reader", "kubeconfig"):
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-inventory"), "-i", tmp_path, "--graph"],
        env={**os.environ, "ANSIBLE_CONFIG": str(CONFIG)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "@all:\n  |--@ungrouped:\n  |--@talos:\n  |  |--talos-w1\n"
    assert done.stderr == ""
