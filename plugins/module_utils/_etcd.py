# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""etcd across the control planes: who is a member, and whether it may lose one."""

from __future__ import annotations

import ssl
import typing as t
from dataclasses import dataclass

from ._api import Endpoint, EtcdMember, EtcdStatus, Service, connect, on_each
from ._api import Node as Connection
from ._declaration import Node
from ._errors import NotFound, TalosError, UnknownAuthority
from ._waiting import StillWaiting, poll

# Talos looks whether its folder is empty; only List could, and Read tells of one path: the one that etcd makes first.
_FOLDER = "/var/lib/etcd"
_DATA = f"{_FOLDER}/member"
# States of the service in which its disk may not be there yet.
_BEFORE_DATA = ("Initialized", "Starting", "Waiting")
_BOOTING = "it is booting, and does not tell yet whether it has etcd's data"


class UnhealthyMember(TalosError):
    """etcd has data on the node, and is not healthy there: without quorum, a learner, on its way, or broken."""

    remedy = "Look at talosctl service etcd on this node, and whether most of the control planes are up"

    def __init__(self, node: str, said: str, *, runs: bool) -> None:
        super().__init__(f"it is a member of etcd that is not healthy ({said})", node=node)
        self.runs = runs


class StillBooting(TalosError):
    """The disk with etcd's data may not be there yet."""

    remedy = "Wait until the node has booted, and run again"


@dataclass(frozen=True)
class EtcdView:
    """What the control planes that were asked say of etcd, by the name of the node.

    ``joined``: True for a healthy member, False where etcd has no data, UnhealthyMember, or the error of a node that
    did not tell. ``members`` is one healthy member's list.
    """

    joined: dict[str, bool | TalosError]
    members: tuple[EtcdMember, ...]
    statuses: dict[str, EtcdStatus | TalosError]

    @property
    def bootstrapped(self) -> bool:
        return any(each is True for each in self.joined.values())

    @property
    def possible(self) -> list[str]:
        """The control planes that are members and not healthy, or do not tell, and could be members."""
        # In maintenance, or of another cluster, it is none of ours.
        return [
            name
            for name, each in self.joined.items()
            if isinstance(each, TalosError) and not isinstance(each, UnknownAuthority)
        ]

    @property
    def absent(self) -> list[str]:
        """The control planes that are no healthy members, as far as they tell."""
        return [self.why(name) for name, each in self.joined.items() if each is not True]

    def why(self, name: str) -> str:
        """Why this control plane is no healthy member."""
        found, status = self.joined[name], self.statuses.get(name)
        if not isinstance(found, TalosError):
            return f"{name} is no member yet"
        errors = status.errors if isinstance(status, EtcdStatus) else ()
        return f"{name}: {'; '.join([found.cause, *errors])}"

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
    """Is this control plane a healthy member? Asks for the resource, which never hangs, not for the member list."""
    async with connect(endpoint, context) as node:
        return await _joined(node)


async def _joined(node: Connection) -> bool:
    # Talos takes the resource away while etcd is not healthy.
    try:
        return bool(await node.get("etcdmembers"))
    except NotFound:
        return False


async def has_data(endpoint: Endpoint, context: ssl.SSLContext) -> bool:
    """Does etcd have data on this control plane? Then it is a member, or becomes one when its boot has come so far.

    Raises StillWaiting until the node can tell.
    """
    async with connect(endpoint, context) as node:
        found = await _data(node, await _service(node))
    if found is None:
        raise StillWaiting(f"{endpoint.name}: {_BOOTING}")
    return found


async def _service(node: Connection) -> Service:
    services = (each for each in await node.services() if each.id == "etcd")
    return next(services, Service("etcd", "Initialized", None, ""))


async def _data(node: Connection, service: Service) -> bool | None:
    """None while its disk may not be there yet. The state must be older than the look at the disk."""
    if service.state == "Running" or await node.exists(_DATA):
        return True
    return None if service.state in _BEFORE_DATA else False


async def _standing(endpoint: Endpoint, context: ssl.SSLContext) -> bool:
    """True for a healthy member, False where etcd has no data. Raises UnhealthyMember, StillBooting."""
    async with connect(endpoint, context) as node:
        if await _joined(node):
            return True
        service = await _service(node)
        found = await _data(node, service)
        if found:
            said = service.message or f"service etcd is {service.state}"
            raise UnhealthyMember(endpoint.name, said, runs=service.state == "Running")
        # A new one without the time waits for good with its disk there, and must stay correctable.
        if found is None and not await node.exists(_FOLDER):
            raise StillBooting(_BOOTING, node=endpoint.name)
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
    known = await on_each(by_name, lambda name: _standing(by_name[name], context))
    there = [name for name, each in known.items() if each is True]
    unhealthy = [name for name, each in known.items() if isinstance(each, UnhealthyMember) and each.runs]
    statuses = await on_each([*there, *unhealthy], lambda name: status(by_name[name], context))
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
    other is not changed while another one is a member that is not healthy, or does not tell.
    """
    seen = await view(control_planes, context)
    if not seen.bootstrapped:
        return [] if new else [seen.why(name) for name in seen.possible if name != node.name]
    own = seen.members_on(node, hostname)
    found = seen.problems(each for each in seen.members if each not in own)
    unhealthy = [name for name, each in seen.joined.items() if isinstance(each, UnhealthyMember)]
    found += [seen.why(name) for name in unhealthy if name != node.name]
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
