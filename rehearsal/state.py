# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state folder: what a rehearsal keeps between ``down`` and ``up``."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path


class StateFolder:
    """Paths in the state folder; everything in it is for its owner only, since configurations hold secrets."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.nodes = self.path / "nodes"
        self.inventory = self.path / "inventory"
        self.bin = self.path / "bin"
        self.records = self.path / "records"
        self.admin = self.path / "admin"
        self.settings = self.path / "settings.json"
        self.faults = self.path / "faults.json"
        self.etcd = self.path / "etcd.json"
        self.kubernetes = self.path / "kubernetes"
        self.git = self.path / "git"
        self.git_token = self.path / "git-token"
        self.git_read_token = self.path / "git-read-token"
        self.git_ca = self.path / "git-ca.crt"
        self.git_ca_key = self.path / "git-ca.key"
        self.git_faults = self.path / "git-faults.json"
        self.argocd_faults = self.path / "argocd-faults.json"
        self.calls = self.path / "calls.jsonl"
        self.log = self.path / "daemon.log"
        self.socket = self.path / "control.sock"
        self.vault_password = self.path / "vault-password"

    def make(self) -> None:
        for folder in (self.path, self.nodes, self.inventory, self.bin, self.records, self.admin, self.git):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file as a whole, readable by its owner only from the first byte on."""
    beside = path.with_name(f".{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    beside.chmod(mode)
    beside.replace(path)


def write_json(path: Path, value: t.Any) -> None:
    write_private(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path, default: t.Any = None) -> t.Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
