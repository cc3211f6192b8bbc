# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks on loopback, for all tests: each belongs to one process of this machine for as long as that lives.

Beside them there are 127.10 (a rehearsal's default), 127.64 (tests/bench.py) and 127.112 to 127.127 (molecule/nodes).
"""

from __future__ import annotations

import errno
import random
import socket
import typing as t

# Of the second number.
_FIRST, _LAST = 128, 249
_claims: list[socket.socket] = []


def claim() -> str:
    """The first three numbers of a /24 that is nobody else's, such as ``127.130.7``."""
    count = (_LAST - _FIRST + 1) * 256
    # Anywhere, so that what a process left behind that was killed is hardly ever met.
    start = random.randrange(count)
    for number in range(count):
        second, third = divmod((start + number) % count, 256)
        network = f"127.{_FIRST + second}.{third}"
        if _is_free(network):
            return network
    raise RuntimeError("no network is left on loopback for this test")


def addresses() -> t.Iterator[str]:
    """As many as wanted, none of them twice."""
    while True:
        network = claim()
        yield from (f"{network}.{number}" for number in range(1, 255))


def _is_free(network: str) -> bool:
    """If so, it is ours now. Abstract sockets reach as far as loopback does, and end with their process."""
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.bind(f"\0homelab.talos test network {network}")
    except OSError as problem:
        holder.close()
        if problem.errno != errno.EADDRINUSE:
            raise
        return False
    _claims.append(holder)
    return True
