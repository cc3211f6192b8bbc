# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""etcd is bootstrapped once, on one designated control plane, and never while anything could be a member already."""

from __future__ import annotations

import ssl
import time
import typing as t

from . import _etcd as etcd
from . import _observation as observation
from ._api import Endpoint, connect, on_each
from ._errors import (
    AlreadyExists,
    ConnectionLost,
    NoAnswer,
    NotYet,
    ServerError,
    TalosError,
    Unavailable,
    UnknownAuthority,
    Unreachable,
)
from ._waiting import StillWaiting, WaitedTooLong, poll

# For so long a node that reboots may be away before we ask what became of it.
_ANSWER_SECONDS = 60.0
# A bootstrap without an answer is called again where no member appears within this: a boot, and etcd's start.
_LOST_SECONDS = 120.0


class RefusedBootstrap(TalosError):
    """Bootstrapping now could make a second cluster, or would fail."""

    remedy = "Nothing was done: mend what the cause names, and run again"


async def ensure_bootstrapped(
    designated: Endpoint,
    others: t.Sequence[Endpoint],
    context: ssl.SSLContext,
    *,
    seconds: float,
    check: bool = False,
) -> bool:
    """Was a bootstrap needed? Judged by the members before and after, and where etcd had data all the time by those.

    ``others`` are the other declared control planes. Raises RefusedBootstrap, WaitedTooLong.
    """
    if await _joined(designated, context, seconds=seconds, check=check):
        return False
    if await _others_joined(designated, others, context, 0 if check else seconds):
        if not check:
            await _wait_for_member(designated, context, seconds, "it must join the existing cluster")
        return False
    if check:
        return not await _has_data(designated, context)
    return await _bootstrap(designated, context, seconds)


async def _joined(
    designated: Endpoint,
    context: ssl.SSLContext,
    *,
    seconds: float,
    check: bool,
) -> bool:
    """Waits while the node boots. In check mode a node that is not configured yet counts as not joined."""

    last: TalosError | None = None

    async def look() -> bool:
        nonlocal last
        try:
            return await etcd.joined(designated, context)
        except UnknownAuthority as error:
            if check:
                return False
            raise await _refused(designated, context) from error
        except (Unreachable, ConnectionLost, Unavailable) as error:
            last = error
            raise StillWaiting(error) from error

    try:
        return await poll(
            look,
            seconds=min(seconds, _ANSWER_SECONDS),
            what="the control plane must answer",
            node=designated.name,
        )
    except WaitedTooLong as error:
        # The node's own error says more than that we waited.
        raise last or error from None


async def _refused(designated: Endpoint, context: ssl.SSLContext) -> RefusedBootstrap:
    seen = await observation.observe(designated, context)
    if seen.error is not None:
        return RefusedBootstrap(seen.error.cause, node=designated.name, remedy=seen.error.remedy)
    return RefusedBootstrap(
        "the control plane is in maintenance",
        node=designated.name,
        remedy="Apply its machine config first (ansible-playbook site.yml --tags apply)",
    )


async def _others_joined(
    designated: Endpoint,
    others: t.Sequence[Endpoint],
    context: ssl.SSLContext,
    seconds: float,
) -> bool:
    """Is another one a member, or was it before its boot? Raises RefusedBootstrap where that cannot be known."""
    by_name = {each.name: each for each in others}
    ends = time.monotonic() + min(seconds, _ANSWER_SECONDS)

    async def ask(name: str) -> bool | StillWaiting:
        # One that boots or swaps its certificates tells soon; the others may have told enough.
        try:
            return await etcd.has_data(by_name[name], context)
        except StillWaiting as missing:
            return missing
        except ConnectionLost as error:
            return StillWaiting(error)
        except (Unreachable, Unavailable) as error:
            if time.monotonic() >= ends:
                raise
            return StillWaiting(error)

    async def look() -> dict[str, bool | StillWaiting | TalosError]:
        known = await on_each(by_name, ask)
        waiting = [each for each in known.values() if isinstance(each, StillWaiting)]
        if waiting and not any(each is True for each in known.values()):
            raise waiting[0]
        return known

    known = await poll(
        look,
        seconds=seconds,
        what="the other control planes must tell whether they have etcd's data",
        node=designated.name,
    )
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


async def _has_data(designated: Endpoint, context: ssl.SSLContext) -> bool:
    """Is it a member that is not healthy? The node itself takes no bootstrap then."""
    try:
        return await etcd.has_data(designated, context)
    except (UnknownAuthority, StillWaiting):
        return False


async def _bootstrap(designated: Endpoint, context: ssl.SSLContext, seconds: float) -> bool:
    """Until the first member is there; asked again only where the call may never have arrived. Is it of our making?"""
    ends = time.monotonic() + seconds
    taken = False
    while True:
        answer = await _call_bootstrap(designated, context, ends - time.monotonic())
        lost = isinstance(answer, (ConnectionLost, NoAnswer))
        # Data after a lost call can be what that made.
        taken = taken or not isinstance(answer, AlreadyExists)
        left = ends - time.monotonic() if lost else seconds
        try:
            await _wait_for_member(
                designated,
                context,
                min(left, _LOST_SECONDS) if lost else left,
                "etcd must have its first member",
            )
            return taken
        except WaitedTooLong as error:
            if lost and time.monotonic() < ends:
                continue
            if answer is None:
                raise
            raise WaitedTooLong(
                f"bootstrap said: {answer.cause}; {error.cause}", node=designated.name, remedy=_remedy(answer)
            ) from error


def _remedy(answer: TalosError) -> str:
    if isinstance(answer, AlreadyExists):
        return (
            "Its etcd data are of an earlier life and etcd does not run with them: look at talosctl service etcd; if "
            "nothing of them is needed, reset the node (talosctl reset) and run again"
        )
    return answer.remedy


async def _call_bootstrap(designated: Endpoint, context: ssl.SSLContext, seconds: float) -> TalosError | None:
    """None where it was taken, or what was said instead where that may be as good; waits until it is possible."""

    async def look() -> TalosError | None:
        try:
            async with connect(designated, context) as node:
                await node.bootstrap()
        except (AlreadyExists, ConnectionLost, NoAnswer) as error:
            return error
        except (NotYet, Unreachable, Unavailable) as error:
            raise StillWaiting(error) from error
        return None

    return await poll(
        look,
        seconds=seconds,
        what="the control plane must take the bootstrap",
        node=designated.name,
    )


async def _wait_for_member(designated: Endpoint, context: ssl.SSLContext, seconds: float, what: str) -> None:
    async def look() -> None:
        try:
            if not await etcd.joined(designated, context):
                seen = await etcd.view([designated], context)
                raise StillWaiting("; ".join(seen.absent))
            if not await etcd.members(designated, context):
                raise StillWaiting("etcd lists no members")
        except (Unreachable, ConnectionLost, Unavailable, NotYet, ServerError) as error:
            # Before its election etcd's own errors have no code.
            raise StillWaiting(error) from error

    await poll(look, seconds=seconds, what=what, node=designated.name)
