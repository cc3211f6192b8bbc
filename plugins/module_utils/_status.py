# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What a status shows beyond the plan: versions and certificates of many nodes, and the table of all."""

from __future__ import annotations

import ssl
import typing as t

from ._api import connect, on_each
from ._assessment import endpoint_of
from ._declaration import Node
from ._errors import TalosError

_COLUMNS = ("NODE", "STATE", "STAGE", "READY", "TALOS", "PENDING", "CERTIFICATE ENDS")


async def details(nodes: t.Sequence[Node], context: ssl.SSLContext) -> dict[str, dict[str, str]]:
    """Version and end of the API's certificate (UTC, ISO 8601) by node; empty where it does not answer us."""
    by_name = {node.name: node for node in nodes}

    async def one(name: str) -> dict[str, str]:
        async with connect(endpoint_of(by_name[name]), context) as node:
            return {"version": (await node.version()).tag, "certificate_end": node.certificate_end}

    asked = await on_each(by_name, one)
    return {
        name: {"version": "", "certificate_end": ""} if isinstance(answer, TalosError) else answer
        for name, answer in asked.items()
    }


def table(nodes: t.Mapping[str, t.Mapping[str, t.Any]]) -> list[str]:
    """Lines of a table from the ``nodes`` of a plan with details."""
    rows = [_COLUMNS, *(_row(name, node) for name, node in nodes.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _row(name: str, node: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    cells = (
        node["state"],
        node["stage"],
        "yes" if node["ready"] else "no",
        node.get("version", ""),
        "yes" if node["state"] == "pending-reboot" else "no",
        node.get("certificate_end", ""),
    )
    return (name, *(str(cell) or "-" for cell in cells))


def complaint(name: str, node: t.Mapping[str, t.Any], etcd_problems: t.Sequence[str] = ()) -> str:
    """What is wrong with a node of a plan, or with its etcd; empty where it is as declared and ready."""
    if node["state"] != "as-declared":
        fields = "; ".join(f"{each['document']} {each['path']}".strip() for each in node["differences"][:5])
        return str(node["error"]) or f"{name} is {node['state']}: {fields}"
    if node["stage"] != "running" or not node["ready"]:
        return f"{name} is in stage {node['stage']}, not ready: {'; '.join(node['unmet']) or 'no reason given'}"
    return f"{name}: {'; '.join(etcd_problems)}" if etcd_problems else ""
