# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Looking at a node: which state it is in, and what it holds. Reads only."""

from __future__ import annotations

import asyncio
import ssl
import typing as t
from dataclasses import dataclass

from ._api import Endpoint, MachineConfigs, MachineStatus, Node, connect
from ._errors import CertificateRequired, TalosError, UnknownAuthority, WrongFingerprint, WrongMachine

MAINTENANCE = "maintenance"
CONFIGURED = "configured"
FOREIGN = "foreign-pki"
WRONG_MACHINE = "wrong-machine"
UNREACHABLE = "unreachable"

# A node that swaps its certificates looks foreign for less than this.
_SWAP_SECONDS = 1.0


@dataclass(frozen=True)
class Observation:
    """What one look at a node found. ``configs`` only where it is configured by our PKI."""

    state: str
    status: MachineStatus | None = None
    configs: MachineConfigs | None = None
    macs: tuple[str, ...] = ()
    error: TalosError | None = None


async def observe(endpoint: Endpoint, context: ssl.SSLContext, *, expected_fingerprint: str = "") -> Observation:
    """Ask with our certificate, and without one where the node does not know our CA. Never raises TalosError."""
    found = await _observe(endpoint, context, expected_fingerprint)
    if found.state != FOREIGN:
        return found
    await asyncio.sleep(_SWAP_SECONDS)
    return await _observe(endpoint, context, expected_fingerprint)


async def _observe(endpoint: Endpoint, context: ssl.SSLContext, expected_fingerprint: str) -> Observation:
    try:
        async with connect(endpoint, context) as node:
            configs = await node.machine_configs()
            return Observation(CONFIGURED, await node.machine_status(), configs)
    except UnknownAuthority as error:
        return await _observe_insecurely(endpoint, expected_fingerprint, error)
    except TalosError as error:
        return Observation(UNREACHABLE, error=error)


async def _observe_insecurely(
    endpoint: Endpoint, expected_fingerprint: str, secure_error: UnknownAuthority
) -> Observation:
    try:
        async with connect(endpoint, None, expected_fingerprint=expected_fingerprint) as node:
            status = await node.machine_status()
            return Observation(MAINTENANCE, status, macs=await macs(node))
    except CertificateRequired:
        foreign = UnknownAuthority(
            "the node is configured, and not by this cluster's PKI",
            node=endpoint.name,
            command=secure_error.command,
            remedy="It belongs to another cluster, or its secrets bundle was lost: restore the bundle "
            "(secrets.vault.yml), or wipe the node's card and start it in maintenance",
        )
        return Observation(FOREIGN, error=foreign)
    except WrongFingerprint as error:
        return Observation(WRONG_MACHINE, error=error)
    except TalosError as error:
        return Observation(UNREACHABLE, error=error)


async def macs(node: Node) -> tuple[str, ...]:
    """The addresses of the node's network cards, lower case."""
    found: list[str] = []
    for link in await node.links():
        if link.type == "ether":
            found += [link.permanent_addr, link.hardware_addr]
    return tuple(dict.fromkeys(each.lower() for each in found if each))


def require_machine(endpoint: Endpoint, declared_mac: str, found: t.Sequence[str]) -> None:
    """Raises WrongMachine unless the declared MAC is one of the node's."""
    seen = ", ".join(found) or "none"
    if not declared_mac:
        raise WrongMachine(
            f"node_mac is not declared, so nothing proves that this is the right machine (its cards: {seen})",
            node=endpoint.name,
            remedy="Set node_mac to the node's address, which its sticker or the router's lease list shows",
        )
    if declared_mac.lower() not in found:
        raise WrongMachine(
            f"the machine at {endpoint.address} has {seen}, declared is {declared_mac}", node=endpoint.name
        )
