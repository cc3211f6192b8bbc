# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real talosctl works against simulated nodes of its own minor.

REHEARSAL_TALOSCTL names one or several (separated by colons), else the one on the PATH is taken.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
import yaml

from rehearsal import ROOT
from tests import networks
from tests.real_talosctl import each_real_talosctl

INVENTORY = """
all:
  children:
    talos:
      vars: {cluster_name: attic, cluster_endpoint: "https://192.0.2.1:6443"}
      children:
        controlplanes: {hosts: {cp: {node_address: 192.0.2.1, node_board: rpi_4}}}
        workers:
          hosts: {worker: {node_address: 192.0.2.2, node_board: rpi_5}, spare: {node_address: 192.0.2.3}}
    admin: {hosts: {localhost: {ansible_connection: local}}}
"""


class Rehearsed:
    """A talosctl, three nodes, and the files of a cluster that this talosctl generated."""

    def __init__(self, talosctl: str, folder: Path) -> None:
        self.talosctl, self.folder, self.state = talosctl, folder, folder / "state"
        version = self.offline("version", "--client", "--short").stdout
        self.version = re.search(r"v(\S+)", version).group(1)  # type: ignore[union-attr]
        self.old = self.version.startswith("1.13.")
        (folder / "hosts.yml").write_text(INVENTORY)
        network = f"{networks.claim()}.0/24"
        options = ["-i", str(folder / "hosts.yml"), "--network", network, "--boot-time", "0.5"]
        self.rehearsal("up", *options, "--talos-version", self.version, "--talosctl", talosctl)
        status = json.loads(self.rehearsal("status", "--json").stdout)
        self.address = {node["name"]: node["address"] for node in status}
        self._generate()

    def rehearsal(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        python = [sys.executable, "-m", "rehearsal", command, "--state", str(self.state), *arguments]
        path = os.pathsep.join((str(ROOT), str(ROOT / "collections")))
        environment = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(python, check=True, capture_output=True, text=True, env=environment, timeout=180)

    def offline(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HOME": str(self.folder)}
        command = [self.talosctl, *arguments]
        return subprocess.run(
            command, check=False, capture_output=True, text=True, env=environment, cwd=self.folder, timeout=180
        )

    def __call__(self, node: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command to a node, by its own address."""
        address = self.address[node]
        return self.offline("--talosconfig", "talosconfig", "-e", address, "-n", address, *arguments)

    def insecure(self, node: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.offline("-n", self.address[node], *arguments, "--insecure")

    def _generate(self) -> None:
        made = self.offline("gen", "config", "attic", f"https://{self.address['cp']}:6443", "--with-docs=false")
        assert made.returncode == 0, made.stderr
        for name, kind in (("cp", "controlplane"), ("worker", "worker")):
            patch = {"apiVersion": "v1alpha1", "kind": "HostnameConfig", "hostname": name, "auto": "off"}
            arguments = ["machineconfig", "patch", f"{kind}.yaml", "-p", json.dumps(patch), "-o", f"{name}.yaml"]
            assert self.offline(*arguments).returncode == 0

    def changed(self, name: str) -> Path:
        """The node's configuration with a change that any version takes at once."""
        path = self.folder / f"{name}-changed.yaml"
        path.write_text((self.folder / f"{name}.yaml").read_text().replace("debug: false", "debug: true"))
        return path

    def status(self, name: str) -> dict[str, t.Any]:
        nodes = json.loads(self.rehearsal("status", "--json").stdout)
        return next(node for node in nodes if node["name"] == name)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 90
        while True:
            status = json.loads(self.rehearsal("status", "--json").stdout)
            if all(node["ready"] for node in status if node["name"] != "spare"):
                return
            assert time.monotonic() < deadline, status
            time.sleep(0.2)


@pytest.fixture(scope="module", params=each_real_talosctl())
def nodes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Rehearsed]:
    """A cluster of a control plane and a worker, made by talosctl; ``spare`` stays in maintenance."""
    made = Rehearsed(request.param, tmp_path_factory.mktemp("talosctl"))
    try:
        for name in ("cp", "worker"):
            applied = made.insecure(name, "apply-config", "--file", f"{name}.yaml")
            assert (applied.returncode, applied.stderr) == (0, "Applied configuration without a reboot\n")
        assert _retried(made, "cp", "bootstrap").returncode == 0
        made.wait_until_ready()
        yield made
    finally:
        made.rehearsal("down")


def _retried(made: Rehearsed, node: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    deadline = time.monotonic() + 60
    while True:
        done = made(node, *arguments)
        if done.returncode == 0 or time.monotonic() > deadline:
            return done
        time.sleep(0.2)


def objects(text: str) -> list[t.Any]:
    """The JSON objects that talosctl prints one after another."""
    decoder, found_objects, position = json.JSONDecoder(), [], 0
    while text[position:].strip():
        position += len(text[position:]) - len(text[position:].lstrip())
        value, position = decoder.raw_decode(text, position)
        found_objects.append(value)
    return found_objects


def test_version(nodes: Rehearsed) -> None:
    done = nodes("cp", "version", "--short")
    assert done.returncode == 0, done.stderr
    assert f"Tag:         v{nodes.version}" in done.stdout
    assert "WARNING" not in done.stderr
    secure = nodes("spare", "version", "--short")
    assert "code = Unavailable" in secure.stderr
    assert "certificate signed by unknown authority" in secure.stderr
    assert nodes.insecure("spare", "version", "--short").returncode == 0
    assert nodes.insecure("cp", "version", "--short").returncode == 1


GET = {
    "machinestatus": {"stage": "running", "status": {"ready": True, "unmetConditions": []}},
    "hostnamestatus": {"hostname": "cp", "domainname": ""},
    "nodename": {"nodename": "cp", "hostnameVersion": "2", "skipNodeRegistration": False},
    "securitystate": {"secureBoot": False},
    "machinetype": "controlplane",
}
LISTED = [
    *("addresses", "disks", "etcdmembers", "extensions", "kernelcmdline", "links", "members", "nodestatus", "rd"),
    *("routes", "services", "staticpods", "staticpodstatus", "systemdisk", "timestatus", "version"),
]


@pytest.mark.parametrize("kind", GET)
def test_get_json(nodes: Rehearsed, kind: str) -> None:
    done = nodes("cp", "get", kind, "-o", "json")
    assert done.returncode == 0, done.stderr
    assert [entry["spec"] for entry in objects(done.stdout)] == [GET[kind]]


@pytest.mark.parametrize("output", ["table", "yaml", "json"])
@pytest.mark.parametrize("kind", LISTED)
def test_get(nodes: Rehearsed, kind: str, output: str) -> None:
    done = nodes("cp", "get", kind, "-o", output)
    assert (done.returncode, done.stderr) == (0, "")
    if output == "yaml":
        assert all(document["spec"] for document in yaml.safe_load_all(done.stdout))
    assert nodes.address["cp"] in done.stdout


def test_get_machineconfig_is_what_was_applied(nodes: Rehearsed) -> None:
    done = nodes("cp", "get", "machineconfig", "-o", "json")
    text = (nodes.folder / "cp.yaml").read_text()
    assert {entry["metadata"]["id"]: entry["spec"] == text for entry in objects(done.stdout)} == {
        "persistent": True,
        "v1alpha1": True,
    }


def test_get_errors(nodes: Rehearsed) -> None:
    assert 'code = NotFound desc = resource "banana" is not registered' in nodes("cp", "get", "banana").stderr
    assert "doesn't exist" in nodes("cp", "get", "machinestatus", "nope").stderr
    assert "code = PermissionDenied desc = not authorized" in nodes.insecure("spare", "get", "mc").stderr
    new_types = nodes("cp", "get", "unattendedinstallstatus", "-o", "json")
    assert new_types.returncode == (1 if nodes.old else 0)


def test_watch(nodes: Rehearsed) -> None:
    command = [nodes.talosctl, "--talosconfig", "talosconfig", "-e", nodes.address["cp"], "-n", nodes.address["cp"]]
    process = subprocess.Popen(
        [*command, "get", "machinestatus", "-w"], stdout=subprocess.PIPE, text=True, cwd=nodes.folder
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
    finally:
        process.kill()
        process.wait()
    assert lines[1].split()[2:] == ["runtime", "MachineStatus", "machine", lines[1].split()[5], "running", "true"]


def test_apply_config_modes(nodes: Rehearsed) -> None:
    changed, original = str(nodes.changed("worker")), "worker.yaml"
    same = nodes("worker", "apply-config", "--dry-run", "--file", original)
    assert same.stderr.strip().endswith("Config diff:\n\nNo changes.")
    differs = nodes("worker", "apply-config", "--dry-run", "--file", changed)
    assert "-debug: false\n+debug: true\n" in differs.stderr
    staged = nodes("worker", "apply-config", "--mode", "staged", "--file", changed)
    assert staged.stderr == "Staged configuration to be applied after the next reboot\n"
    tried = nodes("worker", "apply-config", "--mode", "try", "--timeout", "1s", "--file", changed)
    assert tried.stderr.endswith("will be automatically reverted back in 1s\n")
    again = nodes("worker", "apply-config", "--mode", "no-reboot", "--file", original)
    assert (again.returncode, again.stderr) == (0, "Applied configuration without a reboot\n")
    before = nodes.status("worker")["boot_id"]
    rebooted = nodes("worker", "apply-config", "--mode", "reboot", "--file", changed)
    if nodes.old:
        assert (rebooted.returncode, rebooted.stderr) == (0, "Applied configuration with a reboot\n")
        deadline = time.monotonic() + 90
        while nodes.status("worker")["boot_id"] == before:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        nodes.wait_until_ready()
        assert nodes("worker", "apply-config", "--mode", "no-reboot", "--file", original).returncode == 0
    else:
        assert rebooted.returncode == 1
        assert 'invalid argument "reboot" for "-m, --mode" flag' in rebooted.stderr


def test_apply_config_refusals(nodes: Rehearsed) -> None:
    bad = nodes.folder / "bad.yaml"
    text = (nodes.folder / "worker.yaml").read_text()
    bad.write_text(text.replace("type: worker", "type: workr"))
    done = nodes("worker", "apply-config", "--file", str(bad))
    assert done.returncode == 1
    assert "code = InvalidArgument desc = 1 error occurred:" in done.stderr
    assert 'unknown machine type "workr"' in done.stderr
    bad.write_text(text.replace("machine:\n", "machine:\n    tokn: a\n", 1))
    assert "unknown keys found during decoding:" in nodes("worker", "apply-config", "--file", str(bad)).stderr


def test_bootstrap_again(nodes: Rehearsed) -> None:
    assert "code = AlreadyExists desc = etcd data directory is not empty" in nodes("cp", "bootstrap").stderr
    assert "code = Unimplemented" in nodes("worker", "bootstrap").stderr


def test_kubeconfig(nodes: Rehearsed) -> None:
    done = nodes("cp", "kubeconfig", "--merge=false", "--force", "kubeconfig")
    assert (done.returncode, done.stderr) == (0, "")
    assert yaml.safe_load((nodes.folder / "kubeconfig").read_text())["current-context"] == "admin@attic"
    refused = nodes("worker", "kubeconfig", "--merge=false", "--force", "none")
    assert "kubeconfig is only available on control plane nodes" in refused.stderr


def test_config_new_makes_a_reader(nodes: Rehearsed) -> None:
    assert nodes("cp", "config", "new", "--roles", "os:reader", "--crt-ttl", "24h", "reader").returncode == 0
    as_reader = ["--talosconfig", "reader", "-e", nodes.address["cp"], "-n", nodes.address["cp"]]
    assert nodes.offline(*as_reader, "get", "machinestatus").returncode == 0
    assert "not authorized" in nodes.offline(*as_reader, "get", "machineconfig").stderr
    info = json.loads(nodes.offline(*as_reader, "config", "info", "-o", "json").stdout)
    assert (info["context"], info["roles"]) == ("reader@attic", ["os:reader"])


def test_services_and_memory(nodes: Rehearsed) -> None:
    lines = [line.split() for line in nodes("cp", "services").stdout.splitlines()[1:]]
    assert {line[1]: line[2] for line in lines}["etcd"] == "Running"
    assert "STATE    Running" in nodes("cp", "service", "kubelet").stdout
    assert nodes("cp", "memory").returncode == 0


def test_etcd(nodes: Rehearsed) -> None:
    members = nodes("cp", "etcd", "members")
    assert members.stdout.splitlines()[1].split()[2] == "cp"
    status = nodes("cp", "etcd", "status")
    assert status.stdout.splitlines()[1].split()[-3:] == ["false", "3.6.12", "3.6.0"]
    assert nodes("cp", "etcd", "alarm", "list").returncode == 0
    saved = nodes("cp", "etcd", "snapshot", "db.snapshot")
    assert saved.returncode == 0, saved.stderr
    assert "snapshot info: hash" in saved.stdout
    assert "only available on control plane nodes" in nodes("worker", "etcd", "members").stderr


def test_health(nodes: Rehearsed) -> None:
    done = nodes("cp", "health", "--wait-timeout", "20s")
    assert done.returncode == 0, done.stderr
    assert "waiting for all k8s nodes to report schedulable: OK" in done.stderr


def test_forwarding(nodes: Rehearsed) -> None:
    via = ["--talosconfig", "talosconfig", "-e", nodes.address["cp"], "-n", nodes.address["worker"]]
    done = nodes.offline(*via, "get", "hostnamestatus", "-o", "json")
    assert objects(done.stdout)[0]["spec"]["hostname"] == "worker"
    via[-1] = nodes.address["spare"]
    assert "certificate signed by unknown authority" in nodes.offline(*via, "version").stderr


def test_fingerprint(nodes: Rehearsed) -> None:
    if nodes.old:
        pytest.skip("not run: get of 1.13 has no --cert-fingerprint")
    status = json.loads(nodes.rehearsal("status", "--json").stdout)
    right = next(node["fingerprint"] for node in status if node["name"] == "spare")
    assert nodes.insecure("spare", "get", "links", "--cert-fingerprint", right).returncode == 0
    wrong = nodes.insecure("spare", "get", "links", "--cert-fingerprint", "AAAA")
    assert "doesn't match the provided fingerprints" in wrong.stderr


def test_reboot_and_reset_are_tracked_to_their_end(nodes: Rehearsed) -> None:
    done = nodes("worker", "reboot", "--timeout", "90s")
    assert done.returncode == 0, done.stderr
    assert "post check passed" in done.stderr
    nodes.wait_until_ready()
    wiped = ["--system-labels-to-wipe", "STATE", "--system-labels-to-wipe", "EPHEMERAL"]
    done = nodes("worker", "reset", *wiped, "--reboot", "--graceful=false", "--timeout", "90s")
    assert done.returncode == 0, done.stderr
    assert nodes.insecure("worker", "get", "machinestatus").returncode == 0
    applied = nodes.insecure("worker", "apply-config", "--file", "worker.yaml")
    assert applied.returncode == 0, applied.stderr
    nodes.wait_until_ready()
