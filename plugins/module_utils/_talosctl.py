# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""The talosctl binary, for what needs no node: generate and validate. Secrets reach it by memory only.

Files that talosctl must read are memfds, named to it as ``/proc/self/fd/N``: no disk, no argv, no environment, and
nothing that could be left behind, however the process ends.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import typing as t

from ._commands import Commands, CommandTimeout, NoCommand, found
from ._errors import TalosError
from ._progress import Watch
from ._redaction import without_quotes

SECONDS = 60.0

_MEMORY_FILE = re.compile(r"/proc/self/fd/\d+")


class TalosctlError(TalosError):
    """talosctl refused, with its words."""

    remedy = "Correct the declared settings or patches that the message names"


class SlowTalosctl(TalosctlError):
    """It was not done within its time, which says nothing of what it was given."""

    remedy = "Look at the machine's load"


class NoTalosctl(TalosError):
    """There is no usable talosctl."""

    remedy = "Install talosctl of the nodes' minor version (role tool), or set tool_talosctl_path"


class Talosctl:
    """One method a command; YAML in and out, never a path."""

    def __init__(self, path: str, seconds: float = SECONDS) -> None:
        self.path = path
        self._seconds = seconds

    def identity(self) -> str:
        """Changes when the binary does; costs no process."""
        try:
            status = os.stat(os.path.realpath(self._found()))
        except OSError as error:
            raise NoTalosctl(f"{self.path}: {error.strerror}") from error
        return f"{status.st_size}-{status.st_mtime_ns}"

    def version(self) -> str:
        """Such as ``v1.14.2``."""
        text = self._run(["version", "--client", "--short"]).decode(errors="replace")
        told = re.search(r"\bv\d+\.\d+\.\d+\S*", text)
        if not told:
            raise NoTalosctl(f"{self.path} does not tell its version: {text.strip()[:200]}")
        return told.group(0)

    def require_minor(self, talos_version: str) -> None:
        """Raises NoTalosctl where this binary is of another minor than the nodes."""
        version = self.version()
        if _minor(version) != _minor(talos_version):
            raise NoTalosctl(
                f"{self.path} is {version}, and the nodes run Talos {talos_version}: the minors must be equal"
            )

    def gen_secrets(self, talos_version: str) -> bytes:
        """``talosctl gen secrets``: the bundle as YAML."""
        return self._run(["gen", "secrets", "--talos-version", talos_version, "-o", "-"])

    def gen_secrets_from(self, control_plane_config: bytes, remedy: str) -> bytes:
        """``talosctl gen secrets --from-controlplane-config``: what a config holds of its cluster's bundle."""
        with _memory_files([control_plane_config]) as (path,):
            return self._run(["gen", "secrets", "--from-controlplane-config", path, "-o", "-"], remedy)

    def gen_config(
        self,
        *,
        cluster_name: str,
        endpoint: str,
        machine_type: str,
        secrets: bytes,
        contract: str,
        kubernetes_version: str,
        patches: t.Sequence[bytes] = (),
    ) -> bytes:
        """``talosctl gen config``: one machine config with its patches merged, without comments."""
        with _memory_files([secrets, *patches]) as (secrets_path, *patch_paths):
            argv = ["gen", "config", "--output-types", machine_type, "--output", "-"]
            argv += ["--with-secrets", secrets_path, "--with-docs=false", "--with-examples=false"]
            argv += [
                "--talos-version",
                f"v{contract.lstrip('v')}",
                "--kubernetes-version",
                kubernetes_version.lstrip("v"),
            ]
            for path in patch_paths:
                argv += ["--config-patch", f"@{path}"]
            return self._run([*argv, "--", cluster_name, endpoint])

    def validate(self, config: bytes) -> list[str]:
        """``talosctl validate --mode metal``: warnings. Raises TalosctlError."""
        with _memory_files([config]) as (path,):
            _out, err = self._run_both(["validate", "--mode", "metal", "--config", path])
        prefix = "WARNING: "
        return [line[len(prefix) :] for line in err.splitlines() if line.startswith(prefix)]

    def _found(self) -> str:
        try:
            return found(self.path, NoTalosctl.remedy)
        except NoCommand as error:
            raise NoTalosctl(error.cause) from error

    def _run(self, arguments: list[str], remedy: str = "") -> bytes:
        return self._run_both(arguments, remedy)[0]

    def _run_both(self, arguments: list[str], remedy: str = "") -> tuple[bytes, str]:
        argv = [self._found(), *arguments]
        descriptors = tuple(int(each) for each in re.findall(r"/proc/self/fd/(\d+)", " ".join(arguments)))
        command = _MEMORY_FILE.sub("FILE", shlex.join(["talosctl", *arguments]))
        try:
            done = Commands(os.curdir, os.environ, Watch(), descriptors).run(argv, seconds=self._seconds)
        except CommandTimeout as error:
            raise SlowTalosctl(error.cause, command=command) from error
        except NoCommand as error:
            raise NoTalosctl(error.cause) from error
        err = _MEMORY_FILE.sub("the config", done.err)
        if done.code != 0:
            raise TalosctlError(_readable(err) or f"exit code {done.code}", command=command, remedy=remedy)
        return done.out.encode(), err


@contextlib.contextmanager
def _memory_files(contents: t.Sequence[bytes]) -> t.Iterator[list[str]]:
    descriptors: list[int] = []
    try:
        for content in contents:
            descriptors.append(os.memfd_create("talosctl-input", os.MFD_CLOEXEC))
            with open(descriptors[-1], "wb", closefd=False) as file:
                file.write(content)
        yield [f"/proc/self/fd/{descriptor}" for descriptor in descriptors]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _readable(stderr: str) -> str:
    """Without progress lines, the values that it quotes, and multierrors' empty lines."""
    stderr = without_quotes(stderr)
    lines = [line.rstrip() for line in stderr.splitlines()]
    return "\n".join(line for line in lines if line and line != "generating PKI and tokens")


def _minor(version: str) -> str:
    return ".".join(version.lstrip("v").split(".")[:2])
