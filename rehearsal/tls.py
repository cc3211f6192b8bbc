# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS over a connection, so that a node decides itself when and how a handshake ends.

asyncio's own TLS drops the alert of a failed handshake; the client must see ``certificate required`` as from Talos.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import typing as t

READ_SIZE = 1 << 16


class TlsTransport(asyncio.Transport):
    """What the protocol inside writes to."""

    def __init__(self, outer: TlsProtocol) -> None:
        super().__init__()
        self._outer = outer

    def get_extra_info(self, name: str, default: t.Any = None) -> t.Any:
        if name == "ssl_object":
            return self._outer.tls
        if name == "sslcontext":
            return self._outer.tls.context
        if name == "peercert":
            return self._outer.tls.getpeercert()
        return self._outer.transport.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data and not self.is_closing():
            self._outer.tls.write(data)
            self._outer.flush()

    def is_closing(self) -> bool:
        return self._outer.transport.is_closing()

    def close(self) -> None:
        if not self._outer.is_mute:
            self._outer.close()

    def abort(self) -> None:
        self._outer.abort()

    def pause_reading(self) -> None:
        self._outer.transport.pause_reading()

    def resume_reading(self) -> None:
        self._outer.transport.resume_reading()


class TlsProtocol(asyncio.Protocol):
    """The server's side of one connection; ``opened`` gives the protocol inside once hands are shaken."""

    transport: asyncio.Transport

    def __init__(
        self,
        context: ssl.SSLContext,
        made: t.Callable[[TlsProtocol], None],
        opened: t.Callable[[TlsProtocol], asyncio.Protocol],
        refused: t.Callable[[TlsProtocol, ssl.SSLError], None],
        lost: t.Callable[[TlsProtocol], None],
    ) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._made, self._opened, self._refused, self._lost = made, opened, refused, lost
        self.inner: asyncio.Protocol | None = None
        self.is_mute = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = t.cast(asyncio.Transport, transport)
        self._made(self)

    def mute(self) -> None:
        """From now on nothing is heard and nothing said, but the connection stays."""
        self.is_mute = True

    def stand_still(self) -> None:
        """The same, and whoever works on an answer stops."""
        self.mute()
        inner, self.inner = self.inner, asyncio.Protocol()
        if inner is not None:
            inner.connection_lost(None)

    def close(self) -> None:
        """With TLS' own farewell."""
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        self.flush()
        self.transport.close()

    def abort(self) -> None:
        if not self.is_mute:
            self.transport.abort()

    def flush(self) -> None:
        if self._outgoing.pending:
            said = self._outgoing.read()
            if not self.is_mute:
                self.transport.write(said)

    def data_received(self, data: bytes) -> None:
        if self.is_mute:
            return
        self._incoming.write(data)
        if self.inner is None and not self._shake_hands():
            return
        try:
            if self.inner is not None:
                self._read(self.inner)
        except ssl.SSLError:
            self.transport.close()

    def _shake_hands(self) -> bool:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self.flush()
            return False
        except ssl.SSLError as problem:
            self.flush()
            self._refused(self, problem)
            self.transport.close()
            return False
        self.flush()
        self.inner = self._opened(self)
        self.inner.connection_made(TlsTransport(self))
        return True

    def _read(self, inner: asyncio.Protocol) -> None:
        while not self.transport.is_closing():
            try:
                data = self.tls.read(READ_SIZE)
            except ssl.SSLWantReadError:
                return
            except ssl.SSLZeroReturnError:
                data = b""
            if not data:
                self.transport.close()
                return
            inner.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(self)
        if self.inner is not None:
            self.inner.connection_lost(exc)

    def pause_writing(self) -> None:
        if self.inner is not None:
            self.inner.pause_writing()

    def resume_writing(self) -> None:
        if self.inner is not None:
            self.inner.resume_writing()
