# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``rehearsal``."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import typing as t
from pathlib import Path

from rehearsal import lifecycle
from rehearsal.argocd.faults import FAULTS as ARGO_CD_FAULTS
from rehearsal.calls import read_calls
from rehearsal.control import ask
from rehearsal.errors import RehearsalError
from rehearsal.faults import FAULTS
from rehearsal.git.settings import FAULTS as GIT_FAULTS
from rehearsal.state import StateFolder
from rehearsal.tables import table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rehearsal", description="Simulated Talos nodes of an inventory.")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--state", type=Path, default=Path(".rehearsal"), help="folder (default: .rehearsal)")
    commands = parser.add_subparsers(dest="command", required=True)

    up = commands.add_parser("up", parents=[common], help="start the nodes of an inventory")
    up.add_argument("-i", "--inventory", type=Path, default=Path("inventory/homelab"))
    up.add_argument("--network", default="", help="addresses of the nodes (default: 127.10.0.0/16)")
    up.add_argument("--talosctl", default="", help="the real talosctl")
    up.add_argument("--boot-time", type=float, default=None, help="seconds that a boot takes (default: 1)")
    up.add_argument("--pod-time", type=float, default=None, help="seconds until a pod is ready (default: a boot's)")
    up.add_argument("--gitops", action="store_true", help="site.yml ends with Argo CD, which follows the Git server")
    up.add_argument("--git-tls", action="store_true", help="the Git server speaks https, with a CA of its own")
    up.add_argument("--talos-version", default="", help="instead of the inventory's cluster_talos_version")

    down = commands.add_parser("down", parents=[common], help="stop them; their state stays")
    down.add_argument("--wipe", action="store_true", help="forget the state too")

    status = commands.add_parser("status", parents=[common], help="a table of the nodes")
    status.add_argument("--json", action="store_true")

    fault = commands.add_parser("fault", parents=[common], help="let something go wrong on a node")
    fault.add_argument("node", nargs="?", help="or 'git': the Git server, or 'argocd'")
    fault.add_argument("fault", nargs="?")
    fault.add_argument("words", nargs="*", metavar="KEY=VALUE", help="its settings: see --list")
    fault.add_argument("--in", dest="stages", action="append", default=[], metavar="STAGE", help="only in this stage")
    fault.add_argument("--clear", action="store_true", help="no faults any more (of one node, or of all)")
    fault.add_argument("--list", action="store_true", help="the faults that there are")

    calls = commands.add_parser("calls", parents=[common], help="the log of connections and calls")
    calls.add_argument("--json", action="store_true")

    power = commands.add_parser("power", parents=[common], help="pull a node's plug, or put it back")
    power.add_argument("node")
    power.add_argument("power", choices=["off", "on"])
    return parser


def _parsed(arguments: t.Sequence[str] | None) -> argparse.Namespace:
    """Words of a fault may also stand behind its options, which argparse alone does not take."""
    parser = _parser()
    parsed, rest = parser.parse_known_args(arguments)
    if rest and (parsed.command != "fault" or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        parsed.words = [*parsed.words, *rest]
    return parsed


def main(arguments: t.Sequence[str] | None = None) -> int:
    parsed = _parsed(arguments)
    state = StateFolder(parsed.state)
    try:
        COMMANDS[parsed.command](parsed, state)
        sys.stdout.flush()
    except RehearsalError as problem:
        print(f"rehearsal: {problem}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # A reader such as head had enough; what is still buffered must not raise it again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _up(parsed: argparse.Namespace, state: StateFolder) -> None:
    options = lifecycle.UpOptions(
        parsed.inventory,
        parsed.network,
        parsed.talosctl,
        parsed.boot_time,
        parsed.talos_version,
        parsed.pod_time,
        parsed.git_tls,
        parsed.gitops,
    )
    print(lifecycle.up(state, options))


def _down(parsed: argparse.Namespace, state: StateFolder) -> None:
    print(lifecycle.down(state))
    if parsed.wipe and state.path.exists():
        if not state.settings.exists():
            raise RehearsalError(f"{state.path} is not the folder of a rehearsal; nothing deleted")
        shutil.rmtree(state.path)
        print(f"Deleted {state.path}.")


def _status(parsed: argparse.Namespace, state: StateFolder) -> None:
    nodes = ask(state, "status")
    if parsed.json:
        print(json.dumps(nodes, indent=1))
    else:
        print(f"{status_table(nodes)}\n{lifecycle.cluster_words(state, nodes)}")


def status_table(nodes: list[dict[str, t.Any]]) -> str:
    rows = [
        [
            node["name"],
            node["address"],
            node["talos_version"],
            node["stage"],
            "yes" if node["ready"] else "no",
            node["etcd"] or "-",
            ", ".join(fault["name"] for fault in node["faults"]) or "-",
        ]
        for node in nodes
    ]
    return table(["NODE", "ADDRESS", "TALOS", "STAGE", "READY", "ETCD", "FAULTS"], rows)


def _fault(parsed: argparse.Namespace, state: StateFolder) -> None:
    if parsed.list:
        tables = (("", FAULTS), ("git ", GIT_FAULTS), ("argocd ", ARGO_CD_FAULTS))
        kinds = [(f"{whose}{name}", kind) for whose, faults in tables for name, kind in faults.items()]
        rows = [[name, ", ".join(kind.settings) or "-", kind.text] for name, kind in kinds]
        print(table(["FAULT", "SETTINGS", "WHAT HAPPENS"], rows))
    elif parsed.clear:
        ask(state, "clear", nodes=[parsed.node] if parsed.node else [])
        print(f"{parsed.node or 'everything'}: no faults")
    elif not parsed.node or not parsed.fault:
        raise RehearsalError("which fault of which node? see 'rehearsal fault --list'")
    else:
        words = dict(_pair(word) for word in parsed.words)
        faults = ask(state, "fault", node=parsed.node, fault=parsed.fault, words=words, stages=parsed.stages)
        print(f"{parsed.node}: {', '.join(faults)}")


def _pair(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals:
        raise RehearsalError(f"{word!r} is not KEY=VALUE")
    return key, value


def _calls(parsed: argparse.Namespace, state: StateFolder) -> None:
    entries = read_calls(state.calls)
    if parsed.json:
        for entry in entries:
            print(json.dumps(entry))
        return
    keys = ["node", "address", "method", "stage", "security", "role", "status"]
    print(table([key.upper() for key in keys], [[str(entry.get(key, "")) for key in keys] for entry in entries]))


def _power(parsed: argparse.Namespace, state: StateFolder) -> None:
    ask(state, "power", node=parsed.node, power=parsed.power)
    print(f"{parsed.node}: {parsed.power}")


COMMANDS: dict[str, t.Callable[[argparse.Namespace, StateFolder], None]] = {
    "up": _up,
    "down": _down,
    "status": _status,
    "fault": _fault,
    "calls": _calls,
    "power": _power,
}
