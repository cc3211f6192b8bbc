# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Facts of one node."""

from __future__ import annotations

import ssl
import typing as t

from . import _observation as observation
from ._api import Endpoint, Node, Resource, connect
from ._errors import NotAuthorized, NotFound, TalosError, UnknownAuthority


async def facts(endpoint: Endpoint, context: ssl.SSLContext) -> dict[str, t.Any]:
    """A node that does not answer has facts too: ``reachable`` false, and why."""
    try:
        async with connect(endpoint, context) as node:
            return {"reachable": True, "error": "", "maintenance": False, **await _facts(node)}
    except UnknownAuthority as unknown:
        try:
            async with connect(endpoint, None) as node:
                return {"reachable": True, "error": "", "maintenance": True, **await _facts(node)}
        except TalosError:
            return _unreachable(unknown)
    except TalosError as error:
        return _unreachable(error)


def _unreachable(error: TalosError) -> dict[str, t.Any]:
    return {"reachable": False, "error": str(error), "maintenance": False}


async def _facts(node: Node) -> dict[str, t.Any]:
    status = await node.machine_status()
    version = await node.version()
    extensions = {
        each.spec["metadata"]["name"]: each.spec["metadata"]["version"] for each in await _optional(node, "extensions")
    }
    hostnames = await _optional(node, "hostnamestatus")
    return {
        "stage": status.stage,
        "ready": status.ready,
        "unmet": [f"{name}: {reason}" for name, reason in status.unmet],
        "version": version.tag,
        "arch": version.arch,
        # The factory adds the schematic's ID as an extension of this name.
        "schematic_id": extensions.pop("schematic", ""),
        "extensions": extensions,
        "hostname": hostnames[0].spec.get("hostname", "") if hostnames else "",
        "addresses": [each.spec["address"] for each in await _optional(node, "addresses")],
        "macs": list(await observation.macs(node)),
        "disks": [_disk(each) for each in await _optional(node, "disks")],
        "services": {each.id: {"state": each.state, "healthy": each.healthy} for each in await node.services()},
        "etcd": await _etcd(node),
        "change_pending": await _change_pending(node),
    }


async def _optional(node: Node, name: str) -> list[Resource]:
    """Resources that a node in maintenance, or of an older version, may not have."""
    try:
        return await node.get(name)
    except (NotFound, NotAuthorized):
        return []


def _disk(disk: Resource) -> dict[str, t.Any]:
    wanted = ("dev_path", "size", "model", "serial", "transport")
    return {name: disk.spec.get(name, "") for name in wanted}


async def _etcd(node: Node) -> dict[str, t.Any]:
    members = await _optional(node, "etcdmembers")
    if not members:
        return {}
    status = await node.etcd_status()
    return {
        "member_id": status.member_id,
        "leader": status.leader,
        "learner": status.learner,
        "errors": list(status.errors),
        "db_size": status.db_size,
    }


async def _change_pending(node: Node) -> bool | None:
    """None where the role may not read machine configs."""
    try:
        configs = await node.machine_configs()
    except (NotAuthorized, NotFound):
        return None
    return configs.active != configs.stored
