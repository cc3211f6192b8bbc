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
    # What another machine at the address says of itself is not this node's.
    known = node["stage"] and node["state"] != "wrong-machine"
    cells = (
        node["state"],
        node["stage"] if known else "",
        ("yes" if node["ready"] else "no") if known else "",
        node.get("version", ""),
        "yes" if node["state"] == "pending-reboot" else "no",
        node.get("certificate_end", ""),
    )
    return (name, *(str(cell) or "-" for cell in cells))


def complaint(plan: t.Mapping[str, t.Any], name: str, control_planes: t.Collection[str]) -> str:
    """All that is wrong with a node of a plan, or with its etcd; empty where it is as declared and ready.

    ``control_planes`` are the names of the cluster's, whether the plan has looked at them or not.
    """
    node = plan["nodes"][name]
    wrong = [
        *_unready(node, _silent(plan, control_planes)),
        *_outdated(node),
        *(_etcd_problems(plan, name) if name in control_planes else ()),
    ]
    said = [str(node["error"]), _other(name, node), f"{name}: {'; '.join(wrong)}" if wrong else ""]
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


def _other(name: str, node: t.Mapping[str, t.Any]) -> str:
    """In which state it is instead of as-declared, and what to do; empty for those that have an error to say so."""
    fields = "; ".join(f"{each['document']} {each['path']}".strip() for each in node["differences"][:5])
    if len(node["differences"]) > 5:
        fields += f" and {len(node['differences']) - 5} more"
    return {
        "differs": f"{name} differs from its declaration ({fields}): site.yml --check --diff --tags {name} shows it, "
        f"site.yml --tags {name} changes it.",
        "pending-reboot": f"{name} has stored what is declared, and waits for a reboot to use it ({fields}): "
        f"site.yml --tags {name} -e node_apply_mode=reboot reboots it.",
        "maintenance": f"{name} is in maintenance, without a machine config: site.yml --tags {name} sends it.",
    }.get(node["state"], "")


def _etcd_problems(plan: t.Mapping[str, t.Any], name: str) -> list[str]:
    """What a node with an error lacks of etcd follows from that."""
    failed = bool(plan["nodes"][name]["error"])
    return [each for each in plan["etcd_problems"] if not (failed and each.startswith(f"{name}: "))]


def _silent(plan: t.Mapping[str, t.Any], control_planes: t.Iterable[str]) -> list[str]:
    nodes = plan["nodes"]
    return [name for name in control_planes if name in nodes and nodes[name]["state"] == "unreachable"]


def _unready(node: t.Mapping[str, t.Any], silent: t.Sequence[str]) -> list[str]:
    # A machine in maintenance has nothing to be ready for; one that did not say, or is another, is told as that.
    if node["state"] in ("maintenance", "wrong-machine") or not node["stage"]:
        return []
    if node["stage"] == "running" and node["ready"]:
        return []
    reasons = "; ".join(node["unmet"]) or "no reason given"
    # Talos reads this one from the Kubernetes API.
    if silent and any(each.startswith("nodeReady:") for each in node["unmet"]):
        reasons += f" (which may follow from {', '.join(silent)}, a control plane that does not answer)"
    return [f"it is in stage {node['stage']}, not ready: {reasons}"]


def _outdated(node: t.Mapping[str, t.Any]) -> list[str]:
    if not node.get("upgrade"):
        return []
    what, key = ("schematic", "schematic_id") if node["version"] == node["declared_version"] else ("Talos", "version")
    return [f"it runs {what} {node[key] or 'none'}, declared is {node[f'declared_{key}']}: {node['upgrade']}"]
