# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in to call, and one cluster's secrets for all tests."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import yaml

from rehearsal.standin.release import Release
from rehearsal.standin.secrets_bundle import new_bundle
from rehearsal.standin.talosctl import main


class Ran(t.NamedTuple):
    code: int
    stdout: str
    stderr: str

    def documents(self) -> dict[str, t.Any]:
        """The documents by kind and name; the v1alpha1 one has the empty kind."""
        read = yaml.load_all(self.stdout, yaml.CSafeLoader)
        return {"/".join(filter(None, (each.get("kind"), each.get("name")))): each for each in read}


class Standin:
    def __init__(self, directory: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: t.Any) -> None:
        self.directory = directory
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str, version: str = "v1.14.2") -> Ran:
        self._monkeypatch.setenv("STANDIN_TALOSCTL_VERSION", version)
        self._monkeypatch.chdir(self.directory)
        self._capsys.readouterr()
        return Ran(main(arguments), *self._capsys.readouterr())

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text, encoding="utf-8")

    def generate(self, machine_type: str, *more: str, version: str = "v1.14.2") -> Ran:
        plain = ("--with-docs=false", "--with-examples=false", "-o", "-")
        where = ("gen", "config", "almond", "https://10.61.0.10:6443", "--with-secrets", "secrets.yaml")
        return self(*where, *plain, "-t", machine_type, *more, version=version)

    def patch(self, text: str, *patches: str, version: str = "v1.14.2") -> Ran:
        self.write("given.yaml", text)
        arguments = [word for patch in patches for word in ("--patch", patch)]
        return self("machineconfig", "patch", "given.yaml", *arguments, version=version)

    def validate(self, text: str, *more: str, mode: str = "metal", version: str = "v1.14.2") -> Ran:
        self.write("given.yaml", text)
        return self("validate", "-c", "given.yaml", "-m", mode, *more, version=version)


@pytest.fixture(scope="session")
def bundle() -> dict[str, t.Any]:
    return new_bundle(Release("v1.14.2", (1, 14)))


@pytest.fixture
def standin(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    bundle: dict[str, t.Any],
) -> Standin:
    made = Standin(tmp_path, monkeypatch, capsys)
    made.write("secrets.yaml", yaml.safe_dump(bundle))
    return made
