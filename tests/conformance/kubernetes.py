# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running rehearsal with a bootstrapped cluster, and the real kubectl to look at it with."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from rehearsal.cli import main
from rehearsal.configuration import MachineConfiguration
from rehearsal.control import ask
from rehearsal.kubeconfig import kubeconfig
from rehearsal.messages import new
from rehearsal.state import StateFolder
from rehearsal.versions import TalosVersion
from tests import networks
from tests.unit.rehearsal.harness import Client, Cluster, run

KUBECTL = Path(sys.executable).with_name("kubectl")
INVENTORY = """
talos:
  vars: {cluster_name: attic, cluster_endpoint: "https://192.0.2.1:6443", cluster_talos_version: 1.13.9}
  children:
    controlplanes: {hosts: {anton: {node_address: 192.0.2.1, node_board: rpi_4}}}
    workers:
      hosts:
        berta: {node_address: 192.0.2.2, node_board: rpi_4}
        cesar: {node_address: 192.0.2.3, node_board: rpi_5}
admin: {hosts: {localhost: {ansible_connection: local}}}
"""
LABELS = {"cesar": {"homelab.talos/board": "rpi_5"}}
_SECONDS = 60.0


class Kubectl:
    """The real kubectl with the administrator's kubeconfig, and what it said."""

    def __init__(self, path: Path) -> None:
        self.kubeconfig = path

    def run(self, *words: str, manifest: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(KUBECTL), *words],
            input=manifest,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.kubeconfig.parent)},
            check=False,
        )

    def __call__(self, *words: str, manifest: str = "") -> str:
        """Standard output of a command that must succeed."""
        done = self.run(*words, manifest=manifest)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def refused(self, *words: str, manifest: str = "") -> str:
        """Standard error of a command that must fail."""
        done = self.run(*words, manifest=manifest)
        assert done.returncode != 0, done.stdout
        return done.stderr.strip()

    def until(self, wanted: str, *words: str) -> None:
        """Ask again until this is the answer."""
        deadline = time.monotonic() + _SECONDS
        while (said := self.run(*words).stdout.strip()) != wanted:
            assert time.monotonic() < deadline, said
            time.sleep(0.1)


class Rehearsed:
    """A rehearsal of one control plane and two workers, with the cluster up."""

    def __init__(self, folder: Path) -> None:
        self.state = StateFolder(folder / "state")
        self._folder, self._network = folder, f"{networks.claim()}.0/24"
        self.kubectl = Kubectl(folder / "kubeconfig")
        self.cluster = Cluster()

    def command(self, *words: str) -> None:
        assert main([*words, "--state", str(self.state.path)]) == 0

    def up(self, *more: str) -> None:
        (self._folder / "hosts.yml").write_text(INVENTORY)
        words = ["--network", self._network, "--boot-time", "0.3", *more]
        self.command("up", "-i", str(self._folder / "hosts.yml"), *words)

    def nodes(self) -> dict[str, dict[str, t.Any]]:
        return {node["name"]: node for node in ask(self.state, "status")}

    def make_cluster(self, cluster: Cluster | None = None) -> Cluster:
        """Configure the nodes, bootstrap etcd, write the kubeconfig, wait for the API and the nodes."""
        nodes = self.nodes()
        cluster = cluster or Cluster(endpoint=f"https://{nodes['anton']['address']}:6443")
        for name, node in nodes.items():
            data = cluster.config(name, _kind(name), nodeLabels=LABELS.get(name, {}))
            run(Client(node["address"]).apply(data))
        self._await(lambda nodes: all(node["stage"] in ("booting", "running") for node in nodes.values()))
        control_plane = Client(nodes["anton"]["address"], cluster.context())
        run(_bootstrapped(control_plane))
        self.write_kubeconfig(cluster)
        self.await_ready()
        self.cluster = cluster
        return cluster

    def rebuild(self) -> None:
        """All nodes back to maintenance, and a new cluster on them."""
        wipe = new("machine.ResetRequest", graceful=False, reboot=True)
        for label in ("STATE", "EPHEMERAL"):
            wipe.system_partitions_to_wipe.add(label=label, wipe=True)
        for node in self.nodes().values():
            run(Client(node["address"], self.cluster.context()).machine("Reset", wipe))
        self._await(lambda nodes: all(node["stage"] == "maintenance" for node in nodes.values()))
        self.make_cluster()

    def write_kubeconfig(self, cluster: Cluster) -> None:
        data = cluster.config("anton", "controlplane")
        configuration = MachineConfiguration.parse(data, TalosVersion.parse("1.13.9"))
        self.kubectl.kubeconfig.write_text(kubeconfig(configuration))

    def await_ready(self) -> None:
        self._await(lambda nodes: bool(nodes["anton"]["kubernetes"]) and all(node["ready"] for node in nodes.values()))
        self.kubectl("wait", "--for=create", "node/anton", "node/berta", "node/cesar", "--timeout=30s")
        self.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=30s")

    def _await(self, condition: t.Callable[[dict[str, dict[str, t.Any]]], bool]) -> None:
        deadline = time.monotonic() + _SECONDS
        while not condition(self.nodes()):
            assert time.monotonic() < deadline, self.nodes()
            time.sleep(0.05)


def _kind(name: str) -> str:
    return "controlplane" if name == "anton" else "worker"


async def _bootstrapped(client: Client) -> None:
    """Bootstrap, as soon as the node takes it."""
    from grpclib.exceptions import GRPCError, StreamTerminatedError

    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            await client.machine("Bootstrap")
            return
        except (GRPCError, StreamTerminatedError, OSError):  # the last calls may meet the end of maintenance
            assert time.monotonic() < deadline
            time.sleep(0.05)


@contextlib.contextmanager
def rehearsed(folder: Path, *words: str) -> t.Iterator[Rehearsed]:
    """``words`` go to ``up``."""
    made = Rehearsed(folder)
    made.up(*words)
    try:
        made.make_cluster()
        yield made
    finally:
        made.command("down")
