# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Smart HTTP with basic authentication: ``git http-backend`` behind a server of the daemon."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import ssl
import sys
import typing as t
import urllib.parse
from pathlib import Path

from aiohttp import web

from rehearsal import pki
from rehearsal.configuration import KeyPair
from rehearsal.errors import RehearsalError
from rehearsal.faults import Fault
from rehearsal.git.repositories import PROTECTED, Repository
from rehearsal.git.settings import FAULTS, PORT, USER, GitSettings
from rehearsal.state import StateFolder, read_json, write_json

BODY_LIMIT = 256 * 1024 * 1024
_PATIENCE = 0.05  # aiohttp takes zero for no limit


class NotReadable(Exception):
    """Why a client gets nothing, in the words of go-git, which Argo CD is built with."""


class GitServer:
    """Listens for the rehearsal's repositories, as its faults let it."""

    def __init__(self, state: StateFolder, settings: GitSettings) -> None:
        self._state, self._settings = state, settings
        self._token = state.git_token.read_text().strip()
        self._read_token = state.git_read_token.read_text().strip()
        self.faults = [Fault.from_json(value) for value in read_json(state.git_faults, [])]
        self._runner: web.ServerRunner | None = None
        self._updating = asyncio.Lock()

    # --- listening

    async def update(self) -> None:
        """Listen, or don't, as the faults are now."""
        async with self._updating:
            if self._fault("refused"):
                await self._close()
            elif self._runner is None:
                await self._listen()

    async def _listen(self) -> None:
        runner = web.ServerRunner(web.Server(self._answer, request_factory=_request), shutdown_timeout=_PATIENCE)
        await runner.setup()
        address = self._settings.address
        try:
            await web.TCPSite(runner, address, PORT, ssl_context=self._tls(), reuse_address=True).start()
        except OSError as problem:
            await runner.cleanup()
            said = problem.strerror or problem
            raise RehearsalError(f"can't listen at {address}:{PORT} for git: {said}") from None
        self._runner = runner

    def _tls(self) -> ssl.SSLContext | None:
        if not self._settings.tls:
            return None
        ca = KeyPair(self._state.git_ca.read_text(), self._state.git_ca_key.read_text())
        return pki.web_context(pki.server_certificate(ca, [self._settings.address]))

    async def _close(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def stop(self) -> None:
        async with self._updating:
            await self._close()

    # --- faults

    def add_fault(self, name: str, words: t.Mapping[str, str]) -> None:
        self.faults.append(Fault.from_words(name, words, known=FAULTS))
        self._save_faults()

    def clear_faults(self) -> None:
        self.faults.clear()
        self._save_faults()

    def _fault(self, name: str) -> Fault | None:
        return next((fault for fault in self.faults if fault.name == name and fault.times != 0), None)

    def _take_fault(self, name: str) -> bool:
        fault = self._fault(name)
        if fault is not None and fault.times is not None:
            fault.times -= 1
            self.faults = [kept for kept in self.faults if kept.times != 0]
            self._save_faults()
        return fault is not None

    def _save_faults(self) -> None:
        write_json(self._state.git_faults, [fault.as_json() for fault in self.faults])

    # --- a reader in this process

    def readable(self, url: str, password: str, authorities: str | None) -> Repository:
        """What a client gets with this password, without a connection; ``NotReadable`` where it gets nothing.

        ``authorities`` are the certificates that it trusts, None if it trusts any.
        """
        place = f'Get "{url}/info/refs?service=git-upload-pack"'
        parts = urllib.parse.urlsplit(url)
        if f"{parts.scheme}://{parts.netloc}" != self._settings.base:
            raise NotReadable(f"{place}: dial tcp: lookup {parts.hostname}: no such host")
        if self._fault("refused"):
            raise NotReadable(f"{place}: dial tcp {parts.netloc}: connect: connection refused")
        is_checked = self._settings.tls and authorities is not None
        if is_checked and self._state.git_ca.read_text().strip() not in (authorities or ""):
            said = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
            raise NotReadable(f"{place}: {said}")
        if not self._is_good(password):
            raise NotReadable("authentication required: ")
        path = self._repository(parts.path)
        if path is None:
            raise NotReadable("repository not found: Repository not found.")
        return Repository(path)

    # --- requests

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        token = _token(request.headers.get("Authorization", ""))
        if not self._is_good(token):
            challenge = {"WWW-Authenticate": 'Basic realm="rehearsal"'}
            return web.Response(status=401, headers=challenge)
        path = self._repository(request.path)
        if path is None:
            return web.Response(status=404, text="Repository not found.\n")
        pushes = "git-receive-pack" in request.path_qs
        if pushes and (token == self._read_token or self._fault("read-only")):
            return web.Response(status=403, text="This token may not write.\n")
        if request.method == "POST" and pushes and self._take_fault("moves-on"):
            Repository(path).commit("Somebody was faster")
        return await self._backend(request)

    def _is_good(self, token: str) -> bool:
        tokens = (self._token, self._read_token)
        known = any(secrets.compare_digest(token.encode(), each.encode()) for each in tokens)
        return known and not self._fault("token-revoked")

    def _repository(self, path: str) -> Path | None:
        parts = [part for part in path.split("/") if part]
        ends = [number for number, part in enumerate(parts) if part.endswith(".git")]
        if not ends or ".." in parts:
            return None
        found = self._state.git.joinpath(*parts[: ends[0] + 1])
        return found if found.is_dir() else None

    async def _backend(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        process = await asyncio.create_subprocess_exec(
            "git",
            "http-backend",
            env=self._cgi(request, len(body)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, said = await process.communicate(body)
        head, separator, content = output.partition(b"\r\n\r\n")
        if process.returncode or not separator:
            text = f"git http-backend ended with {process.returncode}: {said.decode(errors='replace').strip()}\n"
            print(text, end="", file=sys.stderr)  # into the daemon's log
            return web.Response(status=500, text=text)
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        status = int(headers.pop("Status", "200").split()[0])
        return web.Response(status=status, body=content, headers=headers)

    def _cgi(self, request: web.BaseRequest, length: int) -> dict[str, str]:
        headers = request.headers
        return {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self._state.git),
            "GIT_HTTP_EXPORT_ALL": "1",
            # The repositories are the daemon's own, whoever it runs as.
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "REMOTE_USER": USER,
            "REMOTE_ADDR": request.remote or "",
            "REQUEST_METHOD": request.method,
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "CONTENT_TYPE": headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(length),
            "HTTP_CONTENT_ENCODING": "",
            "GIT_PROTOCOL": headers.get("Git-Protocol", ""),
            **({PROTECTED: "1"} if self._fault("protected-branch") else {}),
        }


def _token(authorization: str) -> str:
    """Whatever the user's name: the token tells who it is, as with the forges."""
    kind, _, encoded = authorization.partition(" ")
    try:
        return base64.b64decode(encoded).decode().partition(":")[2] if kind.lower() == "basic" else ""
    except ValueError:
        return ""


def _request(message: t.Any, payload: t.Any, protocol: t.Any, writer: t.Any, task: t.Any) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=BODY_LIMIT)
