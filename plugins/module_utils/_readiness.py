# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What nodes still lack to be in a named state."""

from __future__ import annotations

import ssl
import typing as t

from . import _etcd as etcd
from . import _observation as observation
from ._api import Endpoint
from ._assessment import endpoint_of
from ._declaration import Node
from ._planning import look


async def missing(
    nodes: t.Sequence[Node], until: str, context: ssl.SSLContext, control_planes: t.Sequence[Endpoint]
) -> list[str]:
    """A line for each thing that is missing; empty when all nodes are in the state.

    ``until``: maintenance, configured, running, ready, healthy. ``control_planes``: all that the cluster has.
    """
    seen = await look(nodes, context)
    lines = [f"{node.name}: {lack}" for node in nodes for lack in _lacks(node, seen[node.name], until)]
    if until == "healthy" and not lines:
        picked = [node for node in nodes if node.machine_type == "controlplane"]
        lines += await _etcd_lacks(picked, context, control_planes)
    return lines


def _lacks(node: Node, seen: observation.Observation, until: str) -> list[str]:
    if seen.state == observation.MAINTENANCE:
        if node.mac and node.mac.lower() not in seen.macs:
            return [f"another machine is at {node.address}, in maintenance, with {', '.join(seen.macs) or 'no card'}"]
        return [] if until == observation.MAINTENANCE else ["it is in maintenance"]
    if until == observation.MAINTENANCE:
        return [seen.error.cause if seen.error else "it is configured"]
    if seen.status is None:
        return [seen.error.cause if seen.error else "it does not answer"]
    if until == observation.CONFIGURED:
        return []
    if seen.status.stage != "running":
        unmet = ", ".join(f"{name} ({reason})" for name, reason in seen.status.unmet)
        return [f"stage {seen.status.stage}" + (f", unmet: {unmet}" if unmet else "")]
    if until == "running" or seen.status.ready:
        return []
    return [f"{name}: {reason}" for name, reason in seen.status.unmet] or ["it is not ready"]


async def _etcd_lacks(
    picked: t.Sequence[Node], context: ssl.SSLContext, control_planes: t.Sequence[Endpoint]
) -> list[str]:
    if not picked:
        return []
    view = await etcd.view([endpoint_of(node) for node in picked], context)
    return [f"etcd: {lack}" for lack in view.lacks(picked, control_planes)]
