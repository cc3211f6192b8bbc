# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call, as the services see it."""

from __future__ import annotations

import asyncio
import typing as t
from dataclasses import dataclass, field

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from rehearsal.roles import ADMIN

if t.TYPE_CHECKING:
    from rehearsal.configuration import MachineConfiguration
    from rehearsal.node import Node


@dataclass
class Call:
    """Who asks which node for what."""

    node: Node
    method: str
    request: t.Any
    roles: frozenset[str]
    # Done once the answer is on its way.
    afterwards: list[t.Callable[[], None]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.method.rpartition("/")[2]

    @property
    def is_admin(self) -> bool:
        return ADMIN in self.roles


Answers = t.AsyncIterator[t.Any]
Service = t.Callable[[Call], Answers]

NOT_AUTHORIZED = GRPCError(Status.PERMISSION_DENIED, "not authorized")


def refuse(status: Status, text: str) -> t.NoReturn:
    raise GRPCError(status, text)


def control_plane_configuration(call: Call, what: str) -> MachineConfiguration:
    """The node's configuration; Talos' answer where the machine is none of the control plane."""
    active = call.node.active
    if active is None or not active.complete:
        refuse(Status.UNIMPLEMENTED, f"machine type is not set, cannot use {what} API")
    if not call.node.is_control_plane:
        refuse(Status.UNIMPLEMENTED, f"{what} is only available on control plane nodes")
    return active


async def for_ever() -> t.NoReturn:
    """No answer, until the caller gives up."""
    await asyncio.Event().wait()
    raise AssertionError
