# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A web server on loopback with made-up tools, which goes wrong on demand; and a proxy, and TLS."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import random
import ssl
import subprocess
import tarfile
import threading
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ansible_collections.homelab.talos.plugins.module_utils._tool_lock import Key, Lock
from ansible_collections.homelab.talos.plugins.module_utils._tool_table import Tool
from tests.left_out import left_out


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def binary(name: str, version: str, size: int = 0) -> bytes:
    """A script that says its name and version, prints completions, and is as large as asked for."""
    script = (
        "#!/bin/sh\n"
        f'case "$1" in completion) echo "# $2 completion of {name} {version}";; *) echo "{name} {version}";; esac\n'
        "exit 0\n"
    ).encode()
    return script + random.Random(name + version).randbytes(max(0, size - len(script)))


def archive(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    """A .tar.gz; a member may be a TarInfo of any kind instead of its content."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            else:
                info = tarfile.TarInfo(name.rstrip("#"))
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), mtime=0)


@dataclass
class Fault:
    """How one answer goes wrong.

    ``cut``: so many bytes of the body, or all but so many where it is negative, then the end; ``reset`` ends it the
    hard way.
    """

    status: int = 0
    cut: int | None = None
    reset: bool = False
    length: bool = True
    chunked: bool = False
    hang: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None


class Mirror:
    """Files by their path.

    ``faults`` holds for each path what happens at the next requests, one after another; ``bad_folders`` what always
    happens to requests for ``/NAME/PATH``, so that each of them is a mirror that goes wrong in its own way.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.bad_folders: dict[str, Fault] = {}
        self.ranges = True
        self.log: list[tuple[str, str]] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with contextlib.suppress(ConnectionError):
                    mirror.answer(self)

            def log_message(self, *_: t.Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{'https' if tls else 'http'}://{self.address}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def put(self, url: str, content: bytes) -> str:
        """What a publisher has at this URL, as a mirror lays it out; its sha256."""
        self.files["/" + url.split("://", 1)[1]] = content
        return sha256(content)

    def fail(self, url: str, *faults: Fault) -> None:
        self.faults["/" + url.split("://", 1)[1]] = list(faults)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        # A proxy is asked for whole URLs.
        path = "/" + request.path.split("://", 1)[1] if "://" in request.path else request.path
        self.log.append((path, request.headers.get("Range", "")))
        folder, _, below = path.removeprefix("/").partition("/")
        queue = self.faults.get(path) or []
        if folder in self.bad_folders:
            path, fault = f"/{below}", self.bad_folders[folder]
        else:
            fault = queue.pop(0) if queue else Fault()
        if fault.hang:
            threading.Event().wait(fault.hang)
        content = self.files.get(path)
        if fault.status or content is None:
            self._send(request, fault.status or 404, fault.body or b"<html>no</html>", {}, fault)
            return
        content = fault.body if fault.body is not None else content
        start, headers, status = 0, {}, 200
        wish = request.headers.get("Range", "")
        if wish and self.ranges:
            start = int(wish.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                headers = {"Content-Range": f"bytes */{len(content)}"}
                self._send(request, 416, b"", headers, fault)
                return
            status, headers = 206, {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        self._send(request, status, content[start:], headers, fault)

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str], fault: Fault) -> None:
        request.send_response(status)
        for name, value in {**headers, **fault.headers}.items():
            request.send_header(name, value)
        if fault.chunked:
            request.send_header("Transfer-Encoding", "chunked")
        elif fault.length:
            request.send_header("Content-Length", str(len(body)))
        sent = body if fault.cut is None else body[: fault.cut]
        if fault.cut is not None or not fault.length:
            request.send_header("Connection", "close")
            request.close_connection = True
        request.end_headers()
        if fault.chunked:
            request.wfile.write(b"%x\r\n%s\r\n" % (len(sent), sent))
            if fault.cut is None:
                request.wfile.write(b"0\r\n\r\n")
        else:
            request.wfile.write(sent)
        if fault.reset:
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            request.connection.setsockopt(1, 13, linger)  # SO_LINGER, no time: a reset instead of an end
            request.connection.close()

    def asked(self, url: str) -> list[str]:
        """The ranges that were asked of a URL, one a request; empty for the whole."""
        path = "/" + url.split("://", 1)[1]
        return [wish for asked, wish in self.log if asked == path]


def publish(mirror: Mirror, tool: Tool, version: str, arch: str, content: bytes) -> Lock:
    """A binary as its publisher has it, in an archive or bare; its lock."""
    member = tool.member_for(version, arch)
    published = archive({"LICENSE": b"free", member: content}) if member else content
    return {Key(tool.name, version, arch): mirror.put(tool.url_for(version, arch), published)}


@contextlib.contextmanager
def mirror_of(**options: t.Any) -> Iterator[Mirror]:
    mirror = Mirror(**options)
    try:
        yield mirror
    finally:
        mirror.close()


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own that is full when it is: a tmpfs, for which one must be root."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        left_out("a file system that fills up is mounted by root only")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if done.returncode:
        left_out(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Take the room of a file system but for so many bytes."""
    room = os.statvfs(folder)
    filler = folder / "filler"
    filler.write_bytes(b"\0" * (room.f_bfree * room.f_frsize - leave))
    return filler
