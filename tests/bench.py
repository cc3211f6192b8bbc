# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of site.yml without changes costs, at 5, 100 and 500 simulated nodes, beside references of the same run.

``make bench`` prints one table. Figures are of whole processes with all their children, medians of several runs in
turn; quote the ratios, since machines differ. "ms CPU/node" is what a run costs beyond the ping. BENCH_NODES="5 100"
picks sizes. A real talosctl is measured, too, where the rehearsal finds one; BENCH_PEER names a shell command to
compare with, in which {nodes} stands for the addresses with commas between them, and {talosconfig} for a talosconfig,
and BENCH_PEER_NAME names it in the table.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
SIZES = [int(size) for size in os.environ.get("BENCH_NODES", "5 100 500").split()]
RUNS = 3

PING = """\
- hosts: admin
  gather_facts: false
  tasks:
    - ansible.builtin.ping:
"""


@dataclass(frozen=True)
class Cost:
    """Seconds, and the peak of the largest process in MiB."""

    wall: float
    cpu: float
    peak: float


def measure(argv: list[str], log: Path) -> Cost:
    """Run to the end. Exits where the command fails: a figure of a failure is none."""
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    started = time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(argv, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, env=environment)
        _pid, status, used = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{shlex.join(argv)} failed:\n{log.read_text()[-3000:]}")
    return Cost(time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def median(costs: list[Cost]) -> Cost:
    return Cost(*(statistics.median(getattr(each, name) for each in costs) for name in ("wall", "cpu", "peak")))


def inventory(folder: Path, size: int) -> Path:
    """One control plane and workers, with the settings of inventory/homelab."""
    homelab = ROOT / "inventory" / "homelab"
    names = [f"bench-{number:03}" for number in range(size)]
    nodes = {
        name: {
            "node_address": f"192.0.{2 + number // 250}.{1 + number % 250}",
            "node_mac": f"d8:3a:dd:00:{number // 256:02x}:{number % 256:02x}",
            "node_board": "rpi_4",
            "node_rack": "4u",
            "node_uplink": "switch",
        }
        for number, name in enumerate(names)
    }
    hosts = {
        "admin": {"hosts": {"admin-vm": {"ansible_connection": "local"}}},
        "talos": {
            "children": {
                "controlplanes": {"hosts": {names[0]: nodes[names[0]]}},
                "workers": {"hosts": {name: nodes[name] for name in names[1:]}},
            }
        },
    }
    target = folder / "inventory"
    shutil.copytree(homelab / "group_vars", target / "group_vars")
    (target / "hosts.yml").write_text(yaml.safe_dump(hosts, sort_keys=False))
    return target


class Bench:
    """One size: simulated nodes, converged once, then runs without changes."""

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        self.log = folder / "log"
        self.state = folder / "state"
        self.inventory = inventory(folder, size)
        self.ping = folder / "ping.yml"
        self.ping.write_text(PING)

    def rehearsal(self, *words: str) -> None:
        measure([sys.executable, "-m", "rehearsal", *words, "--state", str(self.state)], self.log)

    def ansible(self, playbook: Path) -> Cost:
        argv = [str(BIN / "ansible-playbook"), "-i", str(self.inventory), "-i", str(self.state / "inventory")]
        password = ["--vault-password-file", str(self.state / "vault-password")]
        return measure([*argv, *password, str(playbook)], self.log)

    def without_change(self, playbook: Path) -> Cost:
        """Exits where something changed: a figure of another run is none."""
        cost = self.ansible(playbook)
        output = self.log.read_text()
        if set(re.findall(r"\bchanged=(\d+)", output)) != {"0"}:
            sys.exit(f"{playbook.name} was to change nothing:\n{output[-3000:]}")
        return cost

    def compare(self) -> None:
        self.rehearsal("up", "-i", str(self.inventory), "--network", "127.64.0.0/16", "--boot-time", "1")
        try:
            first = self.ansible(ROOT / "site.yml")
            self.without_change(ROOT / "site.yml")
            pings, runs = [], []
            for _ in range(RUNS):
                pings.append(self.without_change(self.ping))
                runs.append(self.without_change(ROOT / "site.yml"))
            self.report("site.yml, first", first, median(pings))
            self.report("site.yml, no change", median(runs), median(pings))
            self.report("ping of the admin host", median(pings), median(pings))
            self.report_others(median(pings))
        finally:
            self.rehearsal("down", "--wipe")

    def report_others(self, ping: Cost) -> None:
        talosconfig = self.state / "admin" / "talosconfig"
        addresses = self.addresses()
        real = self.state / "bin" / "talosctl"
        if real.is_symlink():  # else it is the stand-in
            # Straight to the node, as our client goes.
            one = f"{shlex.quote(str(real))} --talosconfig {talosconfig} -e {{}} -n {{}} get machineconfig -o yaml"
            script = f"printf '%s\\n' {' '.join(addresses)} | xargs -P8 -I{{}} {one}"
            self.report("xargs -P8 talosctl get mc", self.median_of(["sh", "-c", script]), ping)
        peer = os.environ.get("BENCH_PEER")
        if peer:
            command = peer.replace("{nodes}", ",".join(addresses)).replace("{talosconfig}", str(talosconfig))
            name = os.environ.get("BENCH_PEER_NAME") or peer[:28]
            self.report(name, self.median_of(["sh", "-c", command]), ping)

    def median_of(self, argv: list[str]) -> Cost:
        return median([measure(argv, self.log) for _ in range(RUNS)])

    def addresses(self) -> list[str]:
        hosts = yaml.safe_load((self.state / "inventory" / "hosts.yml").read_text())["talos"]["hosts"]
        return [host["node_address"] for host in hosts.values()]

    def report(self, what: str, cost: Cost, ping: Cost) -> None:
        beyond = cost.cpu - ping.cpu if what.startswith("site.yml") else cost.cpu
        a_node = 1000 * beyond / self.size
        figures = f"{cost.wall:8.2f} {cost.cpu:8.2f} {cost.cpu / ping.cpu:8.2f} {a_node:10.1f} {cost.peak:8.0f}"
        print(f"{self.size:5}  {what:28} {figures}", flush=True)


def main() -> None:
    print("nodes  what                           wall s    CPU s   x ping  ms CPU/node  peak MiB")
    for size in SIZES:
        with tempfile.TemporaryDirectory(prefix="talos-bench-") as folder:
            Bench(Path(folder), size).compare()


if __name__ == "__main__":
    main()
