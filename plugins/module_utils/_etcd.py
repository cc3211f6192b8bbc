# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""etcd across the control planes: who is a member, and whether it may lose one."""

from __future__ import annotations

import ssl
import typing as t
from dataclasses import dataclass

from ._api import Endpoint, EtcdMember, EtcdStatus, connect, on_each
from ._errors import NotFound, TalosError
from ._waiting import Progress, StillWaiting, poll


@dataclass(frozen=True)
class EtcdView:
    """What all control planes say of etcd, by the name of the node.

    ``joined``: True, False, or the error of a node that did not tell. ``members`` is one member's list.
    """

    joined: dict[str, bool | TalosError]
    members: tuple[EtcdMember, ...]
    statuses: dict[str, EtcdStatus | TalosError]

    @property
    def bootstrapped(self) -> bool:
        return any(each is True for each in self.joined.values())

    def problems(self, control_planes: t.Sequence[str], *, without: str = "") -> list[str]:
        """Why the members, but for the one on node ``without``, are not all healthy voters with one leader."""
        by_id = {each.member_id: each for each in self.statuses.values() if isinstance(each, EtcdStatus)}
        found: list[str] = []
        for member in self.members:
            if member.hostname == without:
                continue
            status = by_id.get(member.id)
            if status is None:
                found.append(f"member {member.hostname} does not answer")
            elif status.errors:
                found.append(f"member {member.hostname}: {'; '.join(status.errors)}")
            elif not status.leader:
                found.append(f"member {member.hostname} knows no leader")
            elif member.learner or status.learner:
                found.append(f"member {member.hostname} is still a learner")
        leaders = {each.leader for each in by_id.values() if each.leader}
        if len(leaders) > 1:
            found.append(f"there are {len(leaders)} leaders: two clusters, or an election under way")
        if not self.members and any(name != without for name in control_planes):
            found += [f"{name}: {each.cause}" for name, each in self.statuses.items() if isinstance(each, TalosError)]
        return found


async def joined(endpoint: Endpoint, context: ssl.SSLContext) -> bool:
    """Is this control plane a member? Asks for the resource, which never hangs, not for the member list."""
    async with connect(endpoint, context) as node:
        try:
            return bool(await node.get("etcdmembers"))
        except NotFound:
            return False


async def members(endpoint: Endpoint, context: ssl.SSLContext) -> list[EtcdMember]:
    async with connect(endpoint, context) as node:
        return await node.etcd_members()


async def status(endpoint: Endpoint, context: ssl.SSLContext) -> EtcdStatus:
    async with connect(endpoint, context) as node:
        return await node.etcd_status()


async def view(control_planes: t.Sequence[Endpoint], context: ssl.SSLContext) -> EtcdView:
    """Ask all control planes at once. Before bootstrap nothing is called that would hang."""
    by_name = {each.name: each for each in control_planes}
    known = await on_each(by_name, lambda name: joined(by_name[name], context))
    there = [name for name, each in known.items() if each is True]
    statuses = await on_each(there, lambda name: status(by_name[name], context))
    found: tuple[EtcdMember, ...] = ()
    for name in there:
        try:
            found = tuple(await members(by_name[name], context))
            break
        except TalosError as error:
            statuses[name] = error
    return EtcdView(dict(known), found, statuses)


async def gate(
    name: str,
    control_planes: t.Sequence[Endpoint],
    context: ssl.SSLContext,
    *,
    seconds: float,
    progress: Progress | None = None,
) -> None:
    """Wait until all etcd members but the one on ``name`` are healthy, so that it may be changed.

    Passes at once before bootstrap. Raises WaitedTooLong.
    """

    async def look() -> None:
        seen = await view(control_planes, context)
        problems = seen.problems([each.name for each in control_planes], without=name) if seen.bootstrapped else []
        if problems:
            raise StillWaiting("; ".join(problems))

    await poll(
        look,
        seconds=seconds,
        what="etcd must be healthy without this control plane before it is changed",
        node=name,
        progress=progress,
    )
