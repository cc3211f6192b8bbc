# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rehearsal reads from an inventory, and the inventory that it lays over it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import typing as t
from dataclasses import asdict, dataclass
from pathlib import Path

from ansible_collections.homelab.talos.plugins.module_utils._schematic import read_schematic
from rehearsal import declaration
from rehearsal.errors import RehearsalError
from rehearsal.git.settings import USER, GitSettings
from rehearsal.state import StateFolder, write_private
from rehearsal.yaml_text import dump

SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
DEFAULT_CARD = "32GB"


@dataclass(frozen=True)
class InventoryNode:
    """A host of the group ``talos``."""

    name: str
    board: str
    mac: str
    card_size: int
    talos_version: str
    schematic: str
    control_plane: bool
    has_mac: bool


@dataclass(frozen=True)
class Inventory:
    """The hosts that matter here."""

    path: Path
    nodes: tuple[InventoryNode, ...]
    admin_hosts: tuple[str, ...]
    image_writers: tuple[str, ...]

    @property
    def has_host_vars(self) -> bool:
        folder = self.path if self.path.is_dir() else self.path.parent
        return (folder / "host_vars").is_dir()

    @property
    def hosts(self) -> dict[str, t.Any]:
        """All that an overlay depends on, as JSON has it."""
        return {
            "talos": [asdict(node) for node in self.nodes],
            "admin": list(self.admin_hosts),
            "image_writer": list(self.image_writers),
            "host_vars": self.has_host_vars,
        }


def read_inventory(path: Path, default_version: str) -> Inventory:
    """The nodes in the inventory's order; the product's own check has found nothing wrong with them."""
    listed = declaration.listed(path)
    names = _hosts(listed, "talos")
    if not names:
        raise RehearsalError(f"the inventory {path} has no hosts in a group 'talos'")
    declaration.require_valid(path)
    control_planes = set(_hosts(listed, "controlplanes"))
    variables = listed.get("_meta", {}).get("hostvars", {})
    nodes = [_node(name, variables.get(name, {}), name in control_planes, default_version) for name in names]
    return Inventory(path, tuple(nodes), tuple(_hosts(listed, "admin")), tuple(_hosts(listed, "image_writer")))


def _hosts(listed: dict[str, t.Any], group: str) -> list[str]:
    """The hosts of a group and of its children, each once."""
    entry = listed.get(group, {})
    found = list(entry.get("hosts", []))
    for child in entry.get("children", []):
        found += _hosts(listed, child)
    return list(dict.fromkeys(found))


def _node(name: str, variables: dict[str, t.Any], control_plane: bool, default_version: str) -> InventoryNode:
    mac = str(variables.get("node_mac") or "").lower()
    return InventoryNode(
        name,
        str(variables.get("node_board") or "generic"),
        mac or made_up_mac(name),
        parse_size(str(variables.get("card_size") or DEFAULT_CARD)),
        str(variables.get("cluster_talos_version") or default_version),
        _schematic(variables),
        control_plane,
        bool(mac),
    )


def _schematic(variables: dict[str, t.Any]) -> str:
    """Of the image that the product writes to the card; empty where that can't be told, as of a template."""
    problems: list[tuple[str, object, str]] = []
    board = str(variables.get("node_board") or "generic")

    def report(*problem: t.Any) -> None:
        problems.append(problem)

    identity, _ = read_schematic(variables.get("node_schematic"), board, "node_schematic", report)
    return "" if problems else identity


def made_up_mac(name: str) -> str:
    """A MAC for a host that has none in the inventory: locally administered, always the same."""
    digest = hashlib.sha256(name.encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


def parse_size(text: str) -> int:
    """``32GB``, ``32 GB`` or ``32GiB`` in bytes; 32 GB where it is not a size."""
    found = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?)(i?)B?\s*", text, re.IGNORECASE)
    if not found:
        return parse_size(DEFAULT_CARD)
    number, unit, binary = found.groups()
    factor = SIZES[unit.upper()]
    if binary:
        factor = 1 << (10 * list(SIZES).index(unit.upper()))
    return int(float(number) * factor)


def write_overlay(
    inventory: Inventory,
    addresses: t.Mapping[str, str],
    state: StateFolder,
    git: GitSettings | None = None,
    *,
    gitops: bool = False,
) -> None:
    """``STATE/inventory``: used as a second ``-i``, it wins over the first.

    Everything stands at the hosts themselves, because group variables of the first inventory can outrank the group
    "all" of the second; in "all" as well, for hosts that are none of ours.
    """
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    common = {**_cluster_variables(inventory, addresses, state), **_git_variables(state, git if gitops else None)}
    nodes: dict[str, t.Any] = {}
    for node in inventory.nodes:
        nodes[node.name] = {**common, **local, "node_address": addresses[node.name]}
        if not node.has_mac:
            nodes[node.name]["node_mac"] = node.mac
    # No rehearsal writes a real card.
    here = {**common, **local, "ansible_host": "localhost", "card_readers": []}
    groups: dict[str, t.Any] = {"talos": {"hosts": nodes}}
    for group, hosts in (("admin", inventory.admin_hosts), ("image_writer", inventory.image_writers)):
        if hosts:
            groups[group] = {"hosts": {host: here for host in hosts if host not in nodes}}
    write_private(state.inventory / "hosts.yml", dump(_plain(groups)))
    _write_host_variables(inventory, groups, state)
    (state.inventory / "group_vars").mkdir(mode=0o700, exist_ok=True)
    write_private(state.inventory / "group_vars" / "all.yml", dump(common))


def _write_host_variables(inventory: Inventory, groups: dict[str, t.Any], state: StateFolder) -> None:
    """The same as files in host_vars/, where the first inventory has such files: they outrank what hosts.yml says."""
    folder = state.inventory / "host_vars"
    shutil.rmtree(folder, ignore_errors=True)
    if not inventory.has_host_vars:
        return
    folder.mkdir(mode=0o700)
    for group in groups.values():
        for host, variables in group["hosts"].items():
            write_private(folder / f"{host}.yml", dump(variables))


def _plain(value: t.Any) -> t.Any:
    """A copy in which nothing is shared, so that YAML needs no anchors."""
    return json.loads(json.dumps(value))


def _git_variables(state: StateFolder, git: GitSettings | None) -> dict[str, str]:
    """Argo CD is to follow our repository, or none, but never the user's. The tokens stay in their files."""
    if git is None:
        return {"argocd_repo_url": ""}
    return {
        "argocd_repo_url": git.url,
        "argocd_repo_branch": "",
        "argocd_repo_ca_file": str(state.git_ca) if git.tls else "",
        "argocd_git_user": USER,
        "argocd_read_user": USER,
        "argocd_git_token": _content_of(state.git_token),
        "argocd_read_token": _content_of(state.git_read_token),
    }


def _content_of(path: Path) -> str:
    return f"{{{{ lookup('ansible.builtin.file', '{path}') }}}}"


def _cluster_variables(inventory: Inventory, addresses: t.Mapping[str, str], state: StateFolder) -> dict[str, str]:
    first = next((node.name for node in inventory.nodes if node.control_plane), inventory.nodes[0].name)
    return {
        "cluster_endpoint": f"https://{addresses[first]}:6443",
        "cluster_records_dir": str(state.records),
        "cluster_admin_dir": str(state.admin),
        "tool_talosctl_path": str(state.bin / "talosctl"),
        "tool_kubectl_path": str(state.bin / "kubectl"),
        "tool_argocd_autopilot_path": str(state.bin / "argocd-autopilot"),
    }
