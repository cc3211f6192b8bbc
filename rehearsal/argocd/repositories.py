# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories as Argo CD reads them: with the credentials of its Secrets, one commit at a time."""

from __future__ import annotations

import base64
import functools
import subprocess
import typing as t
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from rehearsal.errors import RehearsalError
from rehearsal.git.repositories import Repository
from rehearsal.git.server import GitServer, NotReadable
from rehearsal.kubernetes import Object
from rehearsal.kubernetes.api import Api
from rehearsal.kubernetes.kinds import built_in

_SECRETS, _CONFIG_MAPS = built_in("secrets"), built_in("configmaps")
_TYPE = "argocd.argoproj.io/secret-type"


class Unreadable(Exception):
    """Why a source gives no manifests, in the words of Argo CD's repository server."""


@dataclass(frozen=True)
class Commit:
    """What a revision of a repository is at the moment."""

    git: Path
    name: str

    @property
    def files(self) -> dict[str, str]:
        """The blob of every file by its path."""
        return _files(self.git, self.name)

    def export(self, folder: Path) -> None:
        archive = _read(self.git, "archive", "--format=tar", self.name)
        # Python's tarfile is safe only from 3.11.4 on, and Debian 12 has 3.11.2.
        command = ["tar", "--extract", "--directory", str(folder)]
        subprocess.run(command, input=archive, check=True)


@functools.lru_cache(maxsize=32)
def _files(git: Path, commit: str) -> dict[str, str]:
    listed = _read(git, "ls-tree", "-r", "-z", "--full-tree", commit).decode(errors="replace")
    entries = (line.partition("\t") for line in listed.split("\0") if line)
    return {path: head.split()[2] for head, _, path in entries if head.startswith("100")}


def content(git: Path, blob: str) -> str:
    return _read(git, "cat-file", "blob", blob).decode(errors="replace")


def _read(git: Path, *words: str) -> bytes:
    try:
        return Repository(git).read(*words)
    except RehearsalError as problem:
        raise Unreadable(f"rpc error: code = Internal desc = {problem}") from None


@dataclass(frozen=True)
class _Access:
    """What is known of a repository, or of all whose URLs begin so."""

    url: str
    password: str
    is_insecure: bool


class Repositories:
    """The rehearsal's Git server, seen from the namespace of an Argo CD."""

    def __init__(self, api: Api, server: GitServer | None) -> None:
        self._api, self._server = api, server

    def commit(self, namespace: str, url: str, revision: str) -> Commit:
        """The commit that a revision is now; ``Unreadable`` as the repository server says it."""
        access = self._access(namespace, url)
        try:
            if self._server is None:
                raise NotReadable(f'Get "{url}": no Git server is played here')
            trusted = self._authorities(namespace, url)
            repository = self._server.readable(url, access.password, None if access.is_insecure else trusted)
        except NotReadable as problem:
            raise Unreadable(f"rpc error: code = Unknown desc = failed to list refs: {problem}") from None
        name = repository.resolve(revision)
        if not name:
            said = f"unable to resolve '{revision or 'HEAD'}' to a commit SHA"
            raise Unreadable(f"rpc error: code = Unknown desc = {said}")
        return Commit(repository.path, name)

    def _access(self, namespace: str, url: str) -> _Access:
        """Of the repository's own Secret, whose credentials may be those of the longest prefix that fits."""
        own = next((known for known in self._known(namespace, "repository") if known.url == _plain(url)), None)
        if own is not None and own.password:
            return own
        prefixes = [known for known in self._known(namespace, "repo-creds") if _plain(url).startswith(known.url)]
        shared = max(prefixes, key=lambda known: len(known.url), default=_Access("", "", False))
        return _Access(shared.url, shared.password, shared.is_insecure or bool(own and own.is_insecure))

    def _known(self, namespace: str, kind: str) -> list[_Access]:
        return [
            _access(_decoded(secret))
            for secret in self._api.store.all(_SECRETS.key, namespace)
            if (secret["metadata"].get("labels") or {}).get(_TYPE) == kind
        ]

    def _authorities(self, namespace: str, url: str) -> str:
        found = self._api.store.get(_CONFIG_MAPS.key, namespace, "argocd-tls-certs-cm") or {}
        host = urllib.parse.urlsplit(url).hostname or ""
        return str((found.get("data") or {}).get(host, ""))


def _decoded(secret: Object) -> dict[str, str]:
    values: t.Mapping[str, str] = secret.get("data") or {}
    return {key: base64.b64decode(value or "").decode(errors="replace") for key, value in values.items()}


def _access(data: dict[str, str]) -> _Access:
    return _Access(_plain(data.get("url", "")), data.get("password", ""), data.get("insecure") == "true")


def _plain(url: str) -> str:
    """The form in which URLs are compared."""
    return url.strip().lower().rstrip("/").removesuffix(".git")
