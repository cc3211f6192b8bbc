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
from ._declaration import Node
from ._errors import NotFound, TalosError, UnknownAuthority
from ._waiting import StillWaiting, poll

# What Talos itself looks at before it bootstraps.
_DATA = "/var/lib/etcd/member"
# States of the service in which its disk may not be there yet.
_BEFORE_DATA = ("Initialized", "Waiting")


@dataclass(frozen=True)
class EtcdView:
    """What the control planes that were asked say of etcd, by the name of the node.

    ``joined``: True, False, or the error of a node that did not tell. ``members`` is one member's list.
    """

    joined: dict[str, bool | TalosError]
    members: tuple[EtcdMember, ...]
    statuses: dict[str, EtcdStatus | TalosError]

    @property
    def bootstrapped(self) -> bool:
        return any(each is True for each in self.joined.values())

    @property
    def unknown(self) -> bool:
        """Is there a control plane that does not tell, and could be a member?"""
        # In maintenance, or of another cluster, it is none of ours.
        return any(
            isinstance(each, TalosError) and not isinstance(each, UnknownAuthority) for each in self.joined.values()
        )

    @property
    def absent(self) -> list[str]:
        """The control planes that are no members, as far as they tell."""
        return [
            f"{name}: {each.cause}" if isinstance(each, TalosError) else f"{name} is no member yet"
            for name, each in self.joined.items()
            if each is not True
        ]

    def members_on(self, node: Endpoint | Node, hostname: str) -> list[EtcdMember]:
        """The members that stand for this node, running or not."""
        own = self.statuses.get(node.name)
        running = own.member_id if isinstance(own, EtcdStatus) else ""
        here = f"//{node.address}:"
        return [
            member
            for member in self.members
            if member.id == running
            or is_name_of(member, hostname)
            or any(here in url for url in (*member.peer_urls, *member.client_urls))
        ]

    def lacks(self, nodes: t.Sequence[Node], control_planes: t.Sequence[Endpoint]) -> list[str]:
        """What these control planes lack to be healthy members.

        A member that stands for none of them is not theirs, unless they are all ``control_planes`` that there are.
        """
        on_nodes = {node.name: self.members_on(node, node.hostname) for node in nodes}
        unlisted = [name for name, members in on_nodes.items() if self.joined[name] is True and not members]
        whole = {each.name for each in control_planes} <= set(on_nodes)
        theirs = [each for each in self.members if whole or any(each in members for members in on_nodes.values())]
        return self.absent + self.problems(theirs) + [self._unlisted(name) for name in unlisted]

    def _unlisted(self, name: str) -> str:
        status = self.statuses[name]
        reason = status.cause if isinstance(status, TalosError) else "it is not in the list of members"
        return f"{name}: {reason}"

    def problems(self, members: t.Iterable[EtcdMember]) -> list[str]:
        """Why these members are not all healthy voters with one leader."""
        by_id = {each.member_id: each for each in self.statuses.values() if isinstance(each, EtcdStatus)}
        found: list[str] = []
        for member in members:
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
        return found


def is_name_of(member: EtcdMember, hostname: str) -> bool:
    """Talos gives the member the hostname without its domain."""
    return bool(member.hostname) and member.hostname in (hostname, hostname.partition(".")[0])


async def joined(endpoint: Endpoint, context: ssl.SSLContext) -> bool:
    """Is this control plane a member? Asks for the resource, which never hangs, not for the member list."""
    async with connect(endpoint, context) as node:
        try:
            return bool(await node.get("etcdmembers"))
        except NotFound:
            return False


async def has_data(endpoint: Endpoint, context: ssl.SSLContext) -> bool:
    """Does a control plane that is no member hold data of etcd? It becomes one as soon as its boot has come so far.

    Raises StillWaiting until the node can tell.
    """
    async with connect(endpoint, context) as node:
        states = {each.id: each.state for each in await node.services()}
        if states.get("etcd", "Waiting") in _BEFORE_DATA:
            raise StillWaiting(f"{endpoint.name} is booting, and does not tell yet whether it has etcd's data")
        return await node.exists(_DATA)


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
    failures: dict[str, TalosError] = {}
    for name in there:
        try:
            return EtcdView(dict(known), tuple(await members(by_name[name], context)), statuses)
        except TalosError as error:
            # A learner, for one, cannot list the members, and is fine otherwise.
            failures[name] = error
    return EtcdView(dict(known), (), {**statuses, **failures})


class StaleMember(TalosError):
    """A new node is at the address of a member with another name."""


async def require_free_address(
    node: Endpoint, hostname: str, control_planes: t.Sequence[Endpoint], context: ssl.SSLContext
) -> None:
    """Raises StaleMember where this node, which is in maintenance, could not become a member.

    Talos removes a member of the node's own name before it joins with empty data, but not one of another name at its
    address, and etcd refuses a second member there.
    """
    others = [each for each in control_planes if each.name != node.name]
    seen = await view(others, context)
    for member in seen.members_on(node, hostname):
        if not is_name_of(member, hostname):
            asked = next(each for each in others if seen.joined[each.name] is True)
            raise StaleMember(
                f"etcd has a member {member.hostname or 'without a name'} at the address of this node, which is new: "
                "so it could not join",
                node=node.name,
                remedy="If that machine is gone for good, remove its member and run again: "
                f"talosctl -n {asked.address} etcd remove-member {member.id}",
            )


async def lacks(
    node: Endpoint,
    hostname: str,
    control_planes: t.Sequence[Endpoint],
    context: ssl.SSLContext,
    *,
    new: bool,
) -> list[str]:
    """What all etcd members but that of ``node`` lack to be healthy, so that it may be changed.

    Nothing before bootstrap. A ``new`` one, in maintenance, can take nothing from etcd that it does not know of; any
    other is not changed while it is unknown whether etcd runs.
    """
    seen = await view(control_planes, context)
    if not seen.bootstrapped:
        return seen.absent if seen.unknown and not new else []
    own = seen.members_on(node, hostname)
    found = seen.problems(each for each in seen.members if each not in own)
    if not seen.members and any(each.name != node.name for each in control_planes):
        found += [f"{name}: {each.cause}" for name, each in seen.statuses.items() if isinstance(each, TalosError)]
    return found


async def gate(
    node: Endpoint,
    hostname: str,
    control_planes: t.Sequence[Endpoint],
    context: ssl.SSLContext,
    *,
    seconds: float,
    new: bool,
) -> None:
    """Wait until etcd lacks nothing. Raises WaitedTooLong."""

    async def look() -> None:
        missing = await lacks(node, hostname, control_planes, context, new=new)
        if missing:
            raise StillWaiting("; ".join(missing))

    await poll(
        look,
        seconds=seconds,
        what="etcd must be healthy without this control plane before it is changed",
        node=node.name,
    )
