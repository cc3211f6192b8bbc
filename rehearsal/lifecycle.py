# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``up`` and ``down``: from an inventory to running nodes, and back."""

from __future__ import annotations

import ipaddress
import os
import secrets
import shlex
import shutil
import stat
import subprocess
import sys
import time
import typing as t
from dataclasses import asdict, dataclass
from pathlib import Path

from rehearsal import ROOT, networks
from rehearsal.control import ask, is_running
from rehearsal.declaration import command
from rehearsal.endpoint import PORT as NODE_PORT
from rehearsal.errors import RehearsalError
from rehearsal.git.settings import PORT as GIT_PORT
from rehearsal.git.settings import USER, GitSettings, prepare
from rehearsal.installation import lay_installation
from rehearsal.inventory import Inventory, InventoryNode, read_inventory, write_overlay
from rehearsal.node import NodeRecord
from rehearsal.state import StateFolder, read_json, write_json, write_private
from rehearsal.tables import table
from rehearsal.tools import install_autopilot, install_kubectl, install_talosctl
from rehearsal.versions import DEFAULT_VERSION, TalosVersion

START_SECONDS = 60.0
STOP_SECONDS = 10.0
DEFAULT_BOOT_TIME = 1.0


@dataclass(frozen=True)
class UpOptions:
    """The arguments of ``up``; empty ones mean what was chosen before, else the default."""

    inventory: Path
    network: str = ""
    talosctl: str = ""
    boot_time: float | None = None
    talos_version: str = ""
    pod_time: float | None = None
    git_tls: bool = False
    gitops: bool = False


def up(state: StateFolder, options: UpOptions) -> str:
    """Start the daemon; what to print."""
    settings = read_json(state.settings, {})
    inventory = read_inventory(options.inventory, DEFAULT_VERSION)
    if is_running(state):
        _require_same(state, settings, options, inventory)
        return f"Already running ('rehearsal down' stops it).\n{_description(state, settings)}"
    versions = _versions(inventory, options.talos_version)
    network = networks.parse_network(options.network or settings.get("network", networks.DEFAULT_NETWORK))
    names = [node.name for node in inventory.nodes]
    addresses = networks.assign(names, network, settings.get("addresses", {}))
    _require_free(addresses, network)
    state.make()
    for node in inventory.nodes:
        _write_record(state, node, addresses[node.name], versions[node.name])
    git = _git_settings(state, options.git_tls or (settings.get("git") or {}).get("tls", False), network)
    gitops = options.gitops or settings.get("gitops", False)
    write_overlay(inventory, addresses, state, git, gitops=gitops)
    if gitops:
        lay_installation(state)
    if not state.vault_password.exists():
        write_private(state.vault_password, secrets.token_urlsafe(32) + "\n")
    added = [*addresses.values(), *([git.address] if git else [])]
    settings = {
        "inventory": str(options.inventory),
        "hosts": inventory.hosts,
        "talos_version": options.talos_version,
        "talosctl_path": options.talosctl,
        "network": str(network),
        "boot_time": _or(options.boot_time, settings.get("boot_time", DEFAULT_BOOT_TIME)),
        "pod_time": _or(options.pod_time, settings.get("pod_time")),
        "git": asdict(git) if git else None,
        "gitops": gitops,
        "nodes": names,
        "addresses": addresses,
        "talosctl": install_talosctl(state, next(iter(versions.values())), options.talosctl),
        "argocd_autopilot": install_autopilot(state),
        "kubectl": install_kubectl(state),
        "added": sorted(added) if networks.needs_adding(network) else [],
    }
    write_json(state.settings, settings)
    networks.add_addresses(settings["added"])
    _start(state)
    return _description(state, settings)


def _require_free(addresses: dict[str, str], network: ipaddress.IPv4Network) -> None:
    """Nobody listens where the nodes and the Git server will, so that nothing is made for nothing."""
    wanted = [(name, address, NODE_PORT) for name, address in addresses.items()]
    if shutil.which("git"):
        wanted.append(("git", networks.git_address(network), GIT_PORT))
    for name, address, port in wanted:
        if networks.is_taken(address, port):
            raise RehearsalError(
                f"can't listen at {address}:{port} ({name}): address already in use; another rehearsal? stop it "
                f"('rehearsal down --state FOLDER'), or give --network {networks.beside(network)}"
            )


def _require_same(state: StateFolder, settings: dict[str, t.Any], options: UpOptions, inventory: Inventory) -> None:
    """What runs is what is asked for: a host that the overlay does not know would be met at its real address."""
    network = options.network and str(networks.parse_network(options.network))
    git = settings.get("git") or {"tls": True}
    asked = {
        "the inventory's path": (options.inventory.resolve(), Path(settings["inventory"]).resolve()),
        "the inventory's hosts": (inventory.hosts, settings.get("hosts")),
        "--network": (network or settings["network"], settings["network"]),
        "--talosctl": (options.talosctl or settings.get("talosctl_path"), settings.get("talosctl_path")),
        "--boot-time": (_or(options.boot_time, settings["boot_time"]), settings["boot_time"]),
        "--talos-version": (options.talos_version or settings.get("talos_version"), settings.get("talos_version")),
        "--pod-time": (_or(options.pod_time, settings["pod_time"]), settings["pod_time"]),
        "--git-tls": (options.git_tls or git["tls"], git["tls"]),
        "--gitops": (options.gitops or settings["gitops"], settings["gitops"]),
    }
    changed = [name for name, (wanted, running) in asked.items() if wanted != running]
    if changed:
        differs = f"{', '.join(changed)} differ{'s' if len(changed) == 1 else ''}"
        raise RehearsalError(f"{differs} from what runs in {state.path}; 'rehearsal down' first")


def _or(value: float | None, default: float | None) -> float | None:
    return default if value is None else value


def _git_settings(state: StateFolder, tls: bool, network: ipaddress.IPv4Network) -> GitSettings | None:
    """Prepare the Git server, where there is git."""
    if not shutil.which("git"):
        return None
    settings = GitSettings(networks.git_address(network), tls)
    prepare(state, settings)
    return settings


def _versions(inventory: Inventory, override: str) -> dict[str, TalosVersion]:
    try:
        return {node.name: TalosVersion.parse(override or node.talos_version) for node in inventory.nodes}
    except ValueError as problem:
        raise RehearsalError(str(problem)) from None


def _write_record(state: StateFolder, node: InventoryNode, address: str, version: TalosVersion) -> None:
    """A new record, or the old one with what the inventory says now."""
    path = state.nodes / f"{node.name}.json"
    stored = read_json(path, {})
    known: dict[str, t.Any] = {"name": node.name, "address": address, "mac": node.mac, "board": node.board}
    known |= {"disk_size": node.card_size, "talos_version": version.number, "schematic": node.schematic}
    write_json(path, NodeRecord(**{**stored, **known}).as_json())


def _start(state: StateFolder) -> None:
    path = os.pathsep.join(filter(None, (str(ROOT), str(ROOT / "collections"), os.environ.get("PYTHONPATH"))))
    state.log.unlink(missing_ok=True)
    descriptor = os.open(state.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "rehearsal.daemon", str(state.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path},
        )
    deadline = time.monotonic() + START_SECONDS
    while not is_running(state):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            lines = [line for line in state.log.read_text().splitlines() if line.strip()]
            reason = lines[-1] if lines else f"no word within {START_SECONDS:.0f} s"
            raise RehearsalError(f"the nodes don't come up: {reason} (log: {state.log})")
        time.sleep(0.02)


def _description(state: StateFolder, settings: dict[str, t.Any]) -> str:
    nodes = ask(state, "status")
    rows = [[node["name"], node["address"], node["talos_version"], node["board"], node["stage"]] for node in nodes]
    return "\n".join(
        (
            table(["NODE", "ADDRESS", "TALOS", "BOARD", "STAGE"], rows),
            "",
            f"talosctl: {settings['talosctl']}",
            f"kubectl:  {settings.get('kubectl')}",
            f"argocd-autopilot: {settings.get('argocd_autopilot')}",
            f"git:      {_git_words(state, settings)}",
            f"run:      {_playbook_line(state, settings, 'site.yml')}",
            f"look:     {_playbook_line(state, settings, 'playbooks/status.yml')}",
        )
    )


def _playbook_line(state: StateFolder, settings: dict[str, t.Any], playbook: str) -> str:
    """A command for any shell in this folder, whatever its PATH and locale are."""
    here = Path.cwd()
    # Ansible takes an ansible.cfg by itself only from the folder that it is in, unless everybody may write there.
    taken = here == ROOT and not here.stat().st_mode & stat.S_IWOTH
    paths = ("-i", Path(settings["inventory"]).absolute(), "-i", state.inventory)
    options = (*paths, "--vault-password-file", state.vault_password)
    line = shlex.join(_from(here, word) for word in (command("ansible-playbook"), *options, ROOT / playbook))
    config = "" if taken else f"ANSIBLE_CONFIG={shlex.quote(str(ROOT / 'ansible.cfg'))} "
    return f"{config}LC_ALL=C.UTF-8 {line}"


def _from(folder: Path, word: str | Path) -> str:
    """A path as short as it can be said in this folder."""
    path = Path(word)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(word)


def _git_words(state: StateFolder, settings: dict[str, t.Any]) -> str:
    if not settings.get("git"):
        return "none (git is not installed)"
    git = GitSettings(**settings["git"])
    ca = f", CA in {state.git_ca}" if git.tls else ""
    return f"{git.url} (user {USER}, token in {state.git_token}{ca})"


def cluster_words(state: StateFolder, nodes: list[dict[str, t.Any]]) -> str:
    """Where the Kubernetes API and the repository are, and how to look at them and at Argo CD."""
    settings = read_json(state.settings, {})
    urls = [node["kubernetes"] for node in nodes if node["kubernetes"]]
    kubectl = f"{state.bin / 'kubectl'} --kubeconfig {state.admin / 'kubeconfig'}"
    look = f" ({kubectl} get nodes,pods -A)" if urls else ""
    lines = [
        f"kubernetes: {', '.join(urls) or 'not up'}{look}",
        f"git:        {_git_words(state, settings)}",
    ]
    if urls and settings.get("gitops"):
        lines.append(f"argocd:     {kubectl} -n argocd get applications")
    return "\n".join(lines)


def down(state: StateFolder) -> str:
    """Stop the daemon; what to print."""
    settings = read_json(state.settings, {})
    said = "Not running."
    if is_running(state):
        pid = ask(state, "ping")
        ask(state, "stop")
        _await_end(pid)
        said = "Stopped."
    networks.remove_addresses(settings.get("added", []))
    return said


def _await_end(pid: int) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if _is_zombie(pid):
            return
        time.sleep(0.02)
    raise RehearsalError(f"process {pid} does not end")


def _is_zombie(pid: int) -> bool:
    """Ended, but its parent (a test that called us in its own process) has not asked for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
