# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which address a node has, and addresses that must be added to the machine first."""

from __future__ import annotations

import errno
import ipaddress
import itertools
import socket
import subprocess
import typing as t

from rehearsal.errors import RehearsalError

DEFAULT_NETWORK = "127.10.0.0/16"
FIRST = 11
LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")


def parse_network(text: str) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(text)
    except ValueError as problem:
        raise RehearsalError(f"--network {text}: {problem}") from None


def assign(names: t.Sequence[str], network: ipaddress.IPv4Network, known: t.Mapping[str, str]) -> dict[str, str]:
    """An address for each name: the one it had, else the next free one from .11 upwards, in order."""
    kept = {name: known[name] for name in names if name in known and _inside(known[name], network)}
    taken = set(kept.values())
    free = (
        str(network.network_address + offset)
        for offset in itertools.count(FIRST)
        if str(network.network_address + offset) not in taken
    )
    if len(names) > network.num_addresses - FIRST - 1:
        raise RehearsalError(f"--network {network} has no room for {len(names)} nodes")
    return {name: kept.get(name) or next(free) for name in names}


def git_address(network: ipaddress.IPv4Network) -> str:
    """Right before the nodes'."""
    return str(network.network_address + FIRST - 1)


def beside(network: ipaddress.IPv4Network) -> ipaddress.IPv4Network:
    """One on loopback that is not this one, for a second rehearsal."""
    first, second = (ipaddress.IPv4Network(f"127.{number}.0.0/16") for number in (11, 12))
    return second if first.overlaps(network) else first


def is_taken(address: str, port: int) -> bool:
    """Does somebody listen there?"""
    try:
        socket.create_server((address, port)).close()
    except OSError as problem:
        return problem.errno == errno.EADDRINUSE
    return False


def _inside(address: str, network: ipaddress.IPv4Network) -> bool:
    return ipaddress.ip_address(address) in network


def needs_adding(network: ipaddress.IPv4Network) -> bool:
    """Addresses of 127.0.0.0/8 are there already; others are added to "lo"."""
    return not network.subnet_of(LOOPBACK)


def add_addresses(addresses: t.Iterable[str]) -> None:
    for address in addresses:
        done = _ip("add", address)
        if done.returncode and "exists" not in done.stderr and "assigned" not in done.stderr:
            raise RehearsalError(f"can't add {address} to lo (this needs root): {done.stderr.strip()}")


def remove_addresses(addresses: t.Iterable[str]) -> None:
    for address in addresses:
        _ip("del", address)


def _ip(action: str, address: str) -> subprocess.CompletedProcess[str]:
    command = ["ip", "addr", action, f"{address}/32", "dev", "lo"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise RehearsalError("another --network than 127.0.0.0/8 needs the command 'ip' (iproute2)") from None
