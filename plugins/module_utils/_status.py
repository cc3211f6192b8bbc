# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""A plan as people read it: the table of all nodes, how many are ready, and what is wrong with one.

Filters, which every ansible-playbook loads: nothing is imported here that costs time.
"""

from __future__ import annotations

import typing as t

_COLUMNS = ("NODE", "STATE", "STAGE", "READY", "TALOS", "PENDING", "CERTIFICATE ENDS")


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
    wrong = [*_unready(node), *_outdated(node), *etcd_problems]
    said = [str(node["error"]), f"{name}: {'; '.join(wrong)}" if wrong else ""]
    return " ".join(filter(None, said))


def verdict(
    lacks: t.Sequence[str], hosts: t.Sequence[str], all_hosts: t.Sequence[str], control_planes: t.Sequence[str]
) -> str:
    """How many nodes are ready, by what they lack as ``wait`` tells it; of ``all_hosts`` the others failed before."""
    lacking = {line.partition(": ")[0] for line in lacks}
    ready = [host for host in hosts if host not in lacking]
    said = f"{len(ready)} of {len(all_hosts)} nodes ready"
    # etcd is looked at where nothing else is missing, on the control planes among the nodes.
    if len(ready) == len(hosts) and any(host in control_planes for host in hosts):
        said += f", etcd {'not ' if 'etcd' in lacking else ''}whole"
    failed = [host for host in all_hosts if host not in hosts]
    return said + (f"; failed earlier in this run: {', '.join(failed)}" if failed else "")


def _unready(node: t.Mapping[str, t.Any]) -> list[str]:
    if node["stage"] == "running" and node["ready"]:
        return []
    return [f"it is in stage {node['stage']}, not ready: {'; '.join(node['unmet']) or 'no reason given'}"]


def _outdated(node: t.Mapping[str, t.Any]) -> list[str]:
    if not node.get("upgrade"):
        return []
    what, key = ("schematic", "schematic_id") if node["version"] == node["declared_version"] else ("Talos", "version")
    return [f"it runs {what} {node[key] or 'none'}, declared is {node[f'declared_{key}']}: {node['upgrade']}"]
