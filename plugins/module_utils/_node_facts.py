# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Facts of one node."""

from __future__ import annotations

import dataclasses
import ssl
import typing as t

from . import _observation as observation
from ._api import Endpoint, Node, connect, on_each
from ._errors import CertificateRequired, NotAuthorized, NotFound, TalosError, UnknownAuthority

T = t.TypeVar("T")


async def facts(endpoint: Endpoint, context: ssl.SSLContext) -> dict[str, t.Any]:
    """A node that does not answer has facts too: ``reachable`` false, and why.

    Of one that answers, a fact that cannot be read is None, and ``error`` says why.
    """
    try:
        async with connect(endpoint, context) as node:
            return {"reachable": True, "maintenance": False, **await _facts(node)}
    except UnknownAuthority as unknown:
        try:
            async with connect(endpoint, None) as node:
                return {"reachable": True, "maintenance": True, **await _facts(node)}
        except CertificateRequired:
            return _unreachable(unknown)
        except TalosError as error:
            return _unreachable(error)
    except TalosError as error:
        return _unreachable(error)


def _unreachable(error: TalosError) -> dict[str, t.Any]:
    return {"reachable": False, "error": str(error), "maintenance": False}


async def _facts(node: Node) -> dict[str, t.Any]:
    """All at once: a call that hangs, as those of etcd do, takes nothing from the others."""
    status = await node.machine_status()
    found: dict[str, t.Any] = {
        "stage": status.stage,
        "ready": status.ready,
        "unmet": [f"{name}: {reason}" for name, reason in status.unmet],
    }
    problems: list[str] = []
    asked = await on_each(_QUESTIONS, lambda names: _QUESTIONS[names](node))
    for names, answer in asked.items():
        if isinstance(answer, TalosError):
            problems.append(str(answer))
            found.update(dict.fromkeys(names.split()))
        else:
            found.update(zip(names.split(), answer))
    return {"error": "; ".join(problems), **found}


async def _version(node: Node) -> tuple[str, str]:
    version = await node.version()
    return version.tag, version.arch


async def _extensions(node: Node) -> tuple[str, dict[str, str]]:
    extensions = {each.name: each.version for each in await _or(node.extensions(), [])}
    # The factory adds the schematic's ID as an extension of this name.
    return extensions.pop("schematic", ""), extensions


async def _kubernetes_version(node: Node) -> tuple[str]:
    return (await _or(node.kubernetes_version(), ""),)


async def _hostname(node: Node) -> tuple[str]:
    return (await _or(node.hostname(), ""),)


async def _addresses(node: Node) -> tuple[list[str]]:
    return (await _or(node.addresses(), []),)


async def _macs(node: Node) -> tuple[list[str]]:
    return (list(await observation.macs(node)),)


async def _disks(node: Node) -> tuple[list[dict[str, t.Any]]]:
    return ([dataclasses.asdict(each) for each in await _or(node.disks(), [])],)


async def _services(node: Node) -> tuple[dict[str, t.Any]]:
    return ({each.id: {"state": each.state, "healthy": each.healthy} for each in await node.services()},)


async def _etcd(node: Node) -> tuple[dict[str, t.Any]]:
    if not await _or(node.get("etcdmembers"), []):
        return ({},)
    status = await node.etcd_status()
    return (
        {
            "member_id": status.member_id,
            "leader": status.leader,
            "learner": status.learner,
            "errors": list(status.errors),
            "db_size": status.db_size,
        },
    )


async def _change_pending(node: Node) -> tuple[bool | None]:
    """None where the role may not read machine configs."""
    configs = await _or(node.machine_configs(), None)
    return (None if configs is None else configs.active != configs.stored,)


async def _or(question: t.Awaitable[T], missing: T) -> T:
    """What a node in maintenance or of an older version may not have, or our role may not read."""
    try:
        return await question
    except (NotFound, NotAuthorized):
        return missing


# The names of facts, and the question that answers with their values.
_QUESTIONS: dict[str, t.Callable[[Node], t.Awaitable[tuple[t.Any, ...]]]] = {
    "version arch": _version,
    "kubernetes_version": _kubernetes_version,
    "schematic_id extensions": _extensions,
    "hostname": _hostname,
    "addresses": _addresses,
    "macs": _macs,
    "disks": _disks,
    "services": _services,
    "etcd": _etcd,
    "change_pending": _change_pending,
}
