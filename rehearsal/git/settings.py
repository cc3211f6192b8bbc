# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the Git server is, what can go wrong with it, and what it needs to begin with."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from rehearsal import pki
from rehearsal.faults import Kind
from rehearsal.git.repositories import FIRST, Repository
from rehearsal.state import StateFolder, write_private

PORT = 3000
USER = "homelab"
FAULTS: dict[str, Kind] = {
    "refused": Kind("the server's port is closed: connection refused"),
    "token-revoked": Kind("no token is good any more: 401"),
    "read-only": Kind("the token may read but not push: 403"),
    "protected-branch": Kind("pushes are declined by a hook, as a protected branch does it"),
    "moves-on": Kind("somebody else commits just before a push, which is no fast-forward then", ("times",), once=True),
}


@dataclass(frozen=True)
class GitSettings:
    """Where the server listens, and whether with TLS."""

    address: str
    tls: bool = False

    @property
    def base(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.address}:{PORT}"

    @property
    def url(self) -> str:
        """Of the repository that there always is."""
        return f"{self.base}/{FIRST}.git"


def prepare(state: StateFolder, settings: GitSettings) -> None:
    """The tokens, the CA and the first repository, each made once."""
    for path in (state.git_token, state.git_read_token):
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24) + "\n")
    if settings.tls and not state.git_ca_key.exists():
        ca = pki.authority("rehearsal")
        write_private(state.git_ca_key, ca.key)
        write_private(state.git_ca, ca.crt)
    Repository.create(state.git, FIRST)
