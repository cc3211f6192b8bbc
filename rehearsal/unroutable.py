# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An address that nothing answers at, on this machine.

Addresses on loopback always answer, if only with a refusal. As root an "unreachable" route makes the kernel say
"no route to host" at once. Without root the port's queue is filled, so that connections time out instead.
"""

from __future__ import annotations

import socket
import subprocess


def route_again(address: str) -> bool:
    """Was there such a route? It is gone now."""
    return _route("del", address)


def _route(action: str, address: str) -> bool:
    command = ["ip", "route", action, "unreachable", f"{address}/32", "table", "local"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
        return done.returncode == 0 or "File exists" in done.stderr
    except (OSError, subprocess.TimeoutExpired):
        return False


class Unroutable:
    """From the making of it until ``end``, connections to the address fail or time out."""

    def __init__(self, address: str, port: int) -> None:
        self._address = address
        self._sockets: list[socket.socket] = []
        self._routed = _route("add", address)
        if not self._routed:
            self._fill_queue(port)

    def _fill_queue(self, port: int) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self._address, port))
        listener.listen(0)
        self._sockets.append(listener)
        for _ in range(3):  # a backlog of 0 takes one connection; the rest stay in SYN_SENT
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((self._address, port))
            self._sockets.append(filler)

    def end(self) -> None:
        if self._routed:
            route_again(self._address)
        for open_socket in self._sockets:
            open_socket.close()
        self._sockets.clear()
