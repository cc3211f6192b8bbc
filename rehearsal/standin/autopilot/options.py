# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command is to do: flags, and the environment in their place."""

from __future__ import annotations

import os
import typing as t
import urllib.parse
from dataclasses import dataclass

from rehearsal.standin.errors import CommandError
from rehearsal.standin.flags import Flags

# Name to "short name:kind", as rehearsal.standin.flags reads it.
GLOBAL = {"log-level": ":text", "log-format": ":text"}
GIT = {
    "repo": ":text",
    "git-token": "t:text",
    "git-user": "u:text",
    "git-server-crt": ":text",
    "provider": ":text",
    "upsert-branch": "b:bool",
}
KUBERNETES = {"namespace": "n:text", "context": ":text", "kubeconfig": ":text", "request-timeout": ":text"}
BOOTSTRAP = {
    **GLOBAL,
    **GIT,
    **KUBERNETES,
    "app": ":text",
    "installation-mode": ":text",
    "insecure": ":bool",
    "recover": ":bool",
    "dry-run": ":bool",
    "hide-password": ":bool",
    "namespace-labels": ":list",
}
PROJECT_CREATE = {
    **GLOBAL,
    **GIT,
    "dest-server": ":text",
    "dry-run": ":bool",
    "labels": ":list",
    "annotations": ":list",
}
PROJECT_LIST = {**GLOBAL, **GIT}
_ENVIRONMENT = {"git-token": "GIT_TOKEN", "git-user": "GIT_USER", "repo": "GIT_REPO"}
_REQUIRED = ("git-token", "repo")


@dataclass(frozen=True)
class Source:
    """A repository and the place in it: ``https://host/owner/name[.git][/path][?ref=branch]``."""

    url: str
    host: str
    path: str
    revision: str
    user: str
    token: str
    certificate: str
    upserts: bool

    def below(self, *names: str) -> str:
        """A path in the repository, below the place that was given."""
        return "/".join(filter(None, (self.path, *names)))


def value(flags: Flags, name: str) -> str:
    """Of a flag, else of its variable in the environment."""
    return flags.one(name) or os.environ.get(_ENVIRONMENT.get(name, ""), "")


def source(flags: Flags) -> Source:
    missing = [name for name in _REQUIRED if not value(flags, name)]
    if missing:
        names = ", ".join(f'"{name}"' for name in missing)
        raise CommandError(f"required flag(s) {names} not set")
    host, name, path, revision = _split(value(flags, "repo"))
    return Source(
        url=f"{host}{name}.git",
        host=host,
        path=path.strip("/"),
        revision=revision,
        user=value(flags, "git-user") or "username",
        token=value(flags, "git-token"),
        certificate=flags.one("git-server-crt"),
        upserts=flags.is_on("upsert-branch"),
    )


def _split(repository: str) -> tuple[str, str, str, str]:
    """Host with its slash, owner and name, path, branch."""
    parts = urllib.parse.urlsplit(repository)
    query = urllib.parse.parse_qs(parts.query)
    revision = (query.get("ref") or query.get("version") or [""])[0]
    whole = parts.path.lstrip("/")
    if ".git" in whole:
        name, _, path = whole.partition(".git")
    else:
        owner, _, rest = whole.partition("/")
        last, _, path = rest.partition("/")
        name = f"{owner}/{last}" if last else owner
    return f"{parts.scheme}://{parts.netloc}/", name, path, revision


def pairs(values: t.Sequence[str]) -> dict[str, str]:
    """``key=value`` of a list flag."""
    return dict(value.partition("=")[::2] for value in values)
