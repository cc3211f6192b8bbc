# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""etcd is bootstrapped once, on one designated control plane, and never while anything could be a member already."""

from __future__ import annotations

import ssl
import typing as t

from . import _etcd as etcd
from ._api import Endpoint, connect, on_each
from ._errors import (
    AlreadyExists,
    ConnectionLost,
    NoAnswer,
    NotYet,
    TalosError,
    Unavailable,
    UnknownAuthority,
    Unreachable,
)
from ._waiting import Progress, StillWaiting, WaitedTooLong, poll


class RefusedBootstrap(TalosError):
    """Bootstrapping now could make a second cluster, or would fail."""


async def ensure_bootstrapped(
    designated: Endpoint,
    others: t.Sequence[Endpoint],
    context: ssl.SSLContext,
    *,
    seconds: float,
    check: bool = False,
    progress: Progress | None = None,
) -> bool:
    """Was a bootstrap needed? Judged by the members before and after, not by the call.

    ``others`` are the other declared control planes. Raises RefusedBootstrap, WaitedTooLong.
    """
    if await _joined(designated, context, seconds=seconds, check=check, progress=progress):
        return False
    if await _others_joined(designated, others, context):
        await _wait_for_member(designated, context, seconds, progress, "it must join the existing cluster")
        return False
    if check:
        return True
    await _bootstrap(designated, context, seconds, progress)
    await _wait_for_member(designated, context, seconds, progress, "etcd must have its first member")
    return True


async def _joined(
    designated: Endpoint,
    context: ssl.SSLContext,
    *,
    seconds: float,
    check: bool,
    progress: Progress | None,
) -> bool:
    """Waits while the node boots. In check mode a node that is not configured yet counts as not joined."""

    async def look() -> bool:
        try:
            return await etcd.joined(designated, context)
        except UnknownAuthority as error:
            if check:
                return False
            raise RefusedBootstrap(
                "the control plane is in maintenance, or has another PKI",
                node=designated.name,
                remedy="Apply its machine config first (ansible-playbook site.yml --tags apply)",
            ) from error
        except (Unreachable, ConnectionLost, Unavailable) as error:
            raise StillWaiting(str(error)) from error

    try:
        return await poll(
            look,
            seconds=min(seconds, 60.0),
            what="the control plane must answer",
            node=designated.name,
            progress=progress,
        )
    except WaitedTooLong:
        # The plain error of the connection says it better.
        return await etcd.joined(designated, context)


async def _others_joined(designated: Endpoint, others: t.Sequence[Endpoint], context: ssl.SSLContext) -> bool:
    """Raises RefusedBootstrap where it cannot be proven that no other control plane has members."""
    by_name = {each.name: each for each in others}
    known = await on_each(by_name, lambda name: etcd.joined(by_name[name], context))
    if any(each is True for each in known.values()):
        return True
    for name, each in known.items():
        # In maintenance, or of another cluster, it cannot be a member of ours.
        if isinstance(each, TalosError) and not isinstance(each, UnknownAuthority):
            raise RefusedBootstrap(
                f"{name} does not tell whether it has etcd members ({each.cause}), and a bootstrap beside existing "
                "members makes a second cluster",
                node=designated.name,
                remedy=f"Start {name} and run again, or take it out of the inventory until it is back",
            )
    return False


async def _bootstrap(designated: Endpoint, context: ssl.SSLContext, seconds: float, progress: Progress | None) -> None:
    async def look() -> None:
        try:
            async with connect(designated, context) as node:
                await node.bootstrap()
        except AlreadyExists:
            return
        except NotYet as error:
            raise StillWaiting(error.cause) from error
        except (ConnectionLost, NoAnswer):
            # Whether it took effect is seen by the members.
            return
        except (Unreachable, Unavailable) as error:
            raise StillWaiting(str(error)) from error

    await poll(
        look,
        seconds=seconds,
        what="the control plane must take the bootstrap",
        node=designated.name,
        progress=progress,
    )


async def _wait_for_member(
    designated: Endpoint, context: ssl.SSLContext, seconds: float, progress: Progress | None, what: str
) -> None:
    async def look() -> None:
        try:
            if not await etcd.joined(designated, context):
                raise StillWaiting("etcd has no members yet")
            if not await etcd.members(designated, context):
                raise StillWaiting("etcd lists no members")
        except StillWaiting:
            raise
        except TalosError as error:
            raise StillWaiting(str(error)) from error

    await poll(look, seconds=seconds, what=what, node=designated.name, progress=progress)
