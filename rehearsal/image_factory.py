# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Image Factory on loopback: schematics by their ID, images of them behind a redirect, and whatever can go wrong.

It takes schematics as the real one does (strictly; the ID is that of its own rendering, not of the text that came),
offers no checksums (402), and answers 404 for schematics and versions that it does not know.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import typing as t
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

# Gets schematic, version (without v) and format; None where there is no such version.
Images = Callable[[str, str, str], "bytes | None"]

_IMAGE = re.compile(
    r"/(image|storage)/([^/]+)/v([^/]+)/metal-arm64\.raw\.(zst|xz)(\.sha256|\.sha512|\.sigstore\.json)?"
)
_STRINGS: list[t.Any] = [str]
# In the order of the real one's fields.
_FIELDS: dict[str, t.Any] = {
    "overlay": {"image": str, "name": str, "options": None},
    "customization": {
        "embeddedMachineConfiguration": str,
        "extraKernelArgs": _STRINGS,
        "meta": [{"key": int, "value": str}],
        "systemExtensions": {"officialExtensions": _STRINGS},
        "bootloader": str,
        "secureboot": {"includeWellKnownCertificates": bool},
        "diskImage": {"sectorSize": int},
    },
}
_CHUNK = 64 * 1024


@dataclass
class Fault:
    """How one answer goes wrong.

    ``status``: this instead; ``cut``: so many bytes of the body, then the end; ``corrupt``: this byte is another one;
    ``stall``: silence of so many seconds after half of the body; ``body``: this instead of the image.
    """

    status: int = 0
    cut: int | None = None
    corrupt: int | None = None
    stall: float = 0.0
    body: bytes | None = None


class Request(t.NamedTuple):
    """What was asked: ``range`` is empty for the whole."""

    method: str
    path: str
    range: str


class _BadSchematic(Exception):
    """What the factory does not take."""


class ImageFactory:
    """``url`` is its own; ``other_id`` is answered for every schematic, where it is set."""

    def __init__(self, images: Images) -> None:
        self.images = images
        self.schematics: dict[str, str] = {}
        self.faults: list[Fault] = []
        self.other_id = ""
        self.ranges = True
        self.log: list[Request] = []
        factory = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with contextlib.suppress(ConnectionError):
                    factory._get(self)

            def do_POST(self) -> None:
                with contextlib.suppress(ConnectionError):
                    factory._post(self)

            def log_message(self, *_: t.Any) -> None:
                pass

        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def fail(self, *faults: Fault) -> None:
        """What happens to the next transfers of images, one after another."""
        self.faults = list(faults)

    def asked(self, method: str, place: str) -> list[Request]:
        return [each for each in self.log if each.method == method and each.path.startswith(place)]

    # --- what it answers

    def _post(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        path = _path(request)
        self.log.append(Request("POST", path, ""))
        if path != "/schematics":
            return _answer(request, 404, b"not found")
        try:
            given = yaml.safe_load(body)
            text = render({} if given is None else given)
        except (_BadSchematic, yaml.YAMLError) as error:
            return _answer(request, 400, str(error).encode())
        identity = hashlib.sha256(text.encode()).hexdigest()
        self.schematics[identity] = text
        return _answer(request, 201, json.dumps({"id": self.other_id or identity, "schematic": text}).encode())

    def _get(self, request: BaseHTTPRequestHandler) -> None:
        path = _path(request)
        self.log.append(Request("GET", path, request.headers.get("Range", "")))
        found = _IMAGE.fullmatch(path)
        if not found:
            text = self.schematics.get(path.removeprefix("/schematics/"), "")
            return _answer(request, 200 if text else 404, text.encode() or b"not found")
        kind, schematic, version, form, checksum = found.groups()
        if checksum:
            return _answer(request, 402, b"checksums are an enterprise feature")
        if schematic not in self.schematics:
            return _answer(request, 404, f"schematic ID {schematic!r} not found".encode())
        content = self.images(schematic, version, form)
        if content is None:
            return _answer(request, 404, f"version v{version} is not available".encode())
        if kind == "image":
            return _answer(request, 302, b"", {"Location": f"{self.url}{path.replace('/image/', '/storage/', 1)}"})
        return self._transfer(request, content, self.faults.pop(0) if self.faults else Fault())

    def _transfer(self, request: BaseHTTPRequestHandler, content: bytes, fault: Fault) -> None:
        if fault.status:
            return _answer(request, fault.status, b"no")
        content = content if fault.body is None else fault.body
        if fault.corrupt is not None:
            content = content[: fault.corrupt] + bytes([content[fault.corrupt] ^ 1]) + content[fault.corrupt + 1 :]
        wish = request.headers.get("Range", "")
        start = int(wish.removeprefix("bytes=").rstrip("-")) if wish and self.ranges else 0
        if start >= len(content):
            return _answer(request, 416, b"", {"Content-Range": f"bytes */{len(content)}"})
        headers = {"Content-Length": str(len(content) - start), "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        _begin(request, 206 if start else 200, headers)
        end = len(content) if fault.cut is None else min(start + fault.cut, len(content))
        middle = start + (end - start) // 2
        self._send(request, content, start, middle)
        if fault.stall:
            self._closing.wait(fault.stall)
        self._send(request, content, middle, end)
        request.close_connection = end < len(content)
        return None

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, content: bytes, start: int, end: int) -> None:
        for offset in range(start, end, _CHUNK):
            request.wfile.write(content[offset : min(offset + _CHUNK, end)])


def _path(request: BaseHTTPRequestHandler) -> str:
    """A proxy is asked for whole URLs, and may be this one."""
    _scheme, found, rest = request.path.partition("://")
    return f"/{rest.partition('/')[2]}" if found else request.path


def _begin(request: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str]) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()


def _answer(
    request: BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    _begin(request, status, {"Content-Length": str(len(body)), **(headers or {})})
    request.wfile.write(body)


@contextlib.contextmanager
def factory_of(images: Images) -> Iterator[ImageFactory]:
    factory = ImageFactory(images)
    try:
        yield factory
    finally:
        factory.close()


# --- schematics


def render(schematic: object) -> str:
    """The text whose sha256 is the ID: fields in their order, four spaces, empty ones left out."""
    if not isinstance(schematic, Mapping):
        raise _BadSchematic("a schematic is a mapping")
    fields = {"customization": {}, **_known(schematic, _FIELDS, "schematic")}
    order = [name for name in _FIELDS if name in fields]
    return "".join(_lines({name: fields[name] for name in order}, ""))


def _known(value: object, fields: t.Any, where: str) -> t.Any:
    """The value in the order of fields and without empty ones; refuses others as the real one's decoder does."""
    if isinstance(fields, dict):
        if not isinstance(value, Mapping) or set(value) - set(fields):
            raise _BadSchematic(f"{where}: unknown fields")
        cleaned = {name: _known(value[name], fields[name], name) for name in fields if value.get(name) is not None}
        return {name: each for name, each in cleaned.items() if each or where == "meta"}
    if isinstance(fields, list):
        if not isinstance(value, list):
            raise _BadSchematic(f"{where}: not a list")
        return [_known(each, fields[0], where) for each in value]
    if fields is None:
        return dict(sorted(t.cast("Mapping[str, t.Any]", value).items()))
    if type(value) is not fields:
        raise _BadSchematic(f"{where}: not of type {fields.__name__}")
    return value


def _lines(value: t.Any, indent: str) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            first, *rest = _lines(each, f"{indent}  ") if isinstance(each, dict) else [f"{each}\n"]
            yield f"{indent}- {first.lstrip()}"
            yield from rest
        return
    for name, each in value.items():
        if isinstance(each, (dict, list)):
            yield f"{indent}{name}:\n" if each else f"{indent}{name}: {{}}\n"
            yield from _lines(each, f"{indent}    ")
        elif isinstance(each, str) and "\n" in each:
            yield f"{indent}{name}: {'|' if each.endswith(chr(10)) else '|-'}\n"
            yield from (f"{indent}    {line}\n" if line else "\n" for line in each.removesuffix("\n").split("\n"))
        else:
            yield f"{indent}{name}: {str(each).lower() if isinstance(each, bool) else each}\n"
