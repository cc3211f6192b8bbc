# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""A look at many nodes at once, and what a run would do to each."""

from __future__ import annotations

import os
import ssl
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from . import _etcd as etcd
from . import _observation as observation
from ._api import Endpoint, connect, on_each
from ._assessment import AS_DECLARED, Assessment, Assessor, endpoint_of
from ._declaration import Node
from ._errors import TalosError
from ._observation import Observation, observe


@dataclass(frozen=True)
class Plan:
    """``etcd`` is what the picked ``control_planes`` say, None where none was picked; ``etcd_lacks`` what they lack."""

    nodes: dict[str, Assessment]
    etcd: etcd.EtcdView | None
    control_planes: tuple[str, ...]
    etcd_lacks: list[str]

    @property
    def bootstrapped(self) -> bool:
        return bool(self.etcd and self.etcd.bootstrapped)

    @property
    def etcd_problems(self) -> list[str]:
        if self.etcd and not self.etcd.bootstrapped and not self.etcd.possible:
            return ["etcd is not bootstrapped"]
        return self.etcd_lacks

    @property
    def healthy(self) -> bool:
        """All as declared, ready and running, and etcd whole: nothing is left to do or to wait for."""
        return not self.etcd_problems and all(
            each.state == AS_DECLARED
            and each.observation.status is not None
            and each.observation.status.ready
            and each.observation.status.stage == "running"
            for each in self.nodes.values()
        )

    def warnings(self, nodes: t.Sequence[Node]) -> list[str]:
        """One for all nodes in maintenance of which only a MAC address can prove that they are the right machines."""
        unproven = [
            node.name
            for node in nodes
            if self.nodes[node.name].state == observation.MAINTENANCE and not node.fingerprint
        ]
        if not unproven:
            return []
        return [
            f"node_fingerprint is not declared for {', '.join(unproven)}: only the MAC address proves that these are "
            "the right machines when they are sent the cluster's secrets"
        ]

    def refused(self) -> list[str]:
        """What is wrong with what is declared: a line a cause, with the nodes that it concerns."""
        nodes: dict[str, list[str]] = {}
        for name, each in self.nodes.items():
            if each.refused:
                nodes.setdefault(str(each.error).removeprefix(f"{name}: "), []).append(name)
        return [f"{', '.join(names)}: {cause}" for cause, names in nodes.items()]

    def summary(self) -> list[str]:
        """A line a node that is not as declared, and what a run would do."""
        return [
            f"{name}: {each.state}"
            + (f" ({len(each.differences)} fields)" if each.differences else "")
            + f", a run would {each.would}"
            + (f": {each.error}" if each.error else "")
            for name, each in self.nodes.items()
            if each.state != AS_DECLARED
        ]


async def look(nodes: t.Sequence[Node], context: ssl.SSLContext) -> dict[str, Observation]:
    """Observe all at once."""
    by_name = {node.name: node for node in nodes}

    async def one(name: str) -> Observation:
        node = by_name[name]
        return await observe(endpoint_of(node), context, expected_fingerprint=node.fingerprint)

    # Each answer is an Observation, for observe raises no TalosError.
    return t.cast("dict[str, Observation]", await on_each(by_name, one))


async def _with_macs(
    nodes: t.Sequence[Node], seen: t.Mapping[str, Observation], context: ssl.SSLContext
) -> dict[str, Observation]:
    by_name = {node.name: node for node in nodes}

    async def one(name: str) -> Observation:
        async with connect(endpoint_of(by_name[name]), context) as node:
            return replace(seen[name], macs=await observation.macs(node))

    asked = await on_each(by_name, one)
    return {
        name: Observation(observation.UNREACHABLE, error=each) if isinstance(each, TalosError) else each
        for name, each in asked.items()
    }


async def plan(
    nodes: t.Sequence[Node], context: ssl.SSLContext, assessor: Assessor, control_planes: t.Sequence[Endpoint]
) -> Plan:
    """Reads only, and asks the ``nodes`` only. ``control_planes``: all that the cluster has.

    Raises NoTalosctl.
    """
    seen = await look(nodes, context)
    seen.update(await _with_macs([node for node in nodes if assessor.needs_macs(node, seen[node.name])], seen, context))
    # talosctl is a process a node where something differs: as many at once as there are processors.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        assessed = dict(zip(seen, pool.map(lambda node: assessor.assess(node, seen[node.name]), nodes)))
    picked = [node for node in nodes if node.machine_type == "controlplane"]
    view = await etcd.view([endpoint_of(node) for node in picked], context) if picked else None
    lacks = view.lacks(picked, control_planes) if view else []
    return Plan(assessed, view, tuple(node.name for node in picked), lacks)
