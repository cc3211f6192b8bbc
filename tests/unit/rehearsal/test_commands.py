# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``rehearsal up``, ``down``, ``status``, ``fault``, ``power`` and ``calls``, as a person calls them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from ansible_collections.homelab.talos.plugins.module_utils._argocd_install import KNOWN
from rehearsal import ROOT, networks
from rehearsal.calls import read_calls
from rehearsal.cli import main
from rehearsal.configuration import VANILLA_SCHEMATICS
from rehearsal.control import ask, short_path
from rehearsal.errors import RehearsalError
from rehearsal.inventory import made_up_mac, parse_size
from rehearsal.state import StateFolder
from rehearsal.tools import client_minor
from rehearsal.versions import TalosVersion
from tests.unit.rehearsal.harness import Client, Cluster, network, run

INVENTORY = """
all:
  vars: {cluster_talos_version: 1.13.9}
  children:
    talos:
      vars: {cluster_name: attic, cluster_endpoint: "https://192.0.2.1:6443"}
      children:
        workers:
          hosts: {anna: {node_address: 192.0.2.2, node_board: rpi_5, card_size: 64GB}, bert: {node_address: 192.0.2.3}}
        controlplanes: {hosts: {carl: {node_address: 192.0.2.1, node_mac: "DC:A6:32:00:00:01"}}}
    admin: {hosts: {vm: {ansible_host: 192.0.2.9, ansible_connection: ssh}}}
"""


class Rehearsal:
    """The command with a state folder and an inventory of its own."""

    def __init__(self, folder: Path) -> None:
        self.state = StateFolder(folder / "a state")
        self.inventory = folder / "hosts.yml"
        self.inventory.write_text(INVENTORY)

    def __call__(self, command: str, *arguments: str) -> int:
        return main([command, "--state", str(self.state.path), *arguments])

    def up(self, *arguments: str) -> int:
        cidr = f"{network()}.0/24"
        return self("up", "-i", str(self.inventory), "--network", cidr, "--boot-time", "0.2", *arguments)

    def nodes(self) -> dict[str, dict[str, t.Any]]:
        return {node["name"]: node for node in ask(self.state, "status")}


@pytest.fixture
def rehearsal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Rehearsal]:
    monkeypatch.delenv("REHEARSAL_TALOSCTL", raising=False)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin:/sbin")
    made = Rehearsal(tmp_path)
    yield made
    made("down")


def test_up_down_and_up_again(rehearsal: Rehearsal, capsys: pytest.CaptureFixture[str]) -> None:
    assert rehearsal.up() == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert lines[0].split() == ["NODE", "ADDRESS", "TALOS", "BOARD", "STAGE"]
    assert [line.split()[0] for line in lines[1:4]] == ["anna", "bert", "carl"]
    assert "talosctl: the stand-in" in said
    assert f"-i {shlex.quote(str(rehearsal.state.inventory))}" in said
    carl = rehearsal.nodes()["carl"]
    cluster = Cluster()
    data = cluster.config("carl", "controlplane")
    run(Client(carl["address"]).apply(data))
    while rehearsal.nodes()["carl"]["stage"] != "booting":
        time.sleep(0.01)
    assert rehearsal.up() == 0
    assert capsys.readouterr().out.startswith("Already running")
    assert rehearsal("down") == 0
    assert rehearsal("down") == 0
    assert "Not running." in capsys.readouterr().out
    assert rehearsal.up() == 0
    assert rehearsal.nodes()["carl"]["address"] == carl["address"]
    assert rehearsal.nodes()["carl"]["boot_id"] == carl["boot_id"]
    assert run(Client(carl["address"], cluster.context()).config()) == data
    capsys.readouterr()
    assert rehearsal("down") == 0
    assert rehearsal("down", "--wipe") == 0
    assert capsys.readouterr().out == f"Stopped.\nNot running.\nDeleted {rehearsal.state.path}.\n"
    assert not rehearsal.state.path.exists()
    assert rehearsal("down", "--wipe") == 0
    assert capsys.readouterr().out == "Not running.\n"


CHANGES: dict[str, tuple[str, list[str], str]] = {
    "a new node": (INVENTORY.replace("bert: {", "dora: {node_address: 192.0.2.7}, bert: {"), [], "inventory's hosts"),
    "another MAC": (INVENTORY.replace("00:00:01", "00:00:02"), [], "the inventory's hosts"),
    "an admin host": (INVENTORY.replace("hosts: {vm:", "hosts: {nas:"), [], "the inventory's hosts"),
    "a version": (INVENTORY, ["--talos-version", "1.14.2"], "--talos-version"),
    "a boot time": (INVENTORY, ["--boot-time", "0"], "--boot-time"),
    "a network": (INVENTORY, ["--network", "127.9.0.0/24"], "--network"),
    "GitOps": (INVENTORY, ["--gitops"], "--gitops"),
    "two options": (INVENTORY, ["--gitops", "--pod-time", "9"], "--pod-time, --gitops"),
}


def test_what_runs_is_what_is_asked_for(rehearsal: Rehearsal, capsys: pytest.CaptureFixture[str]) -> None:
    assert rehearsal.up("--pod-time", "0.1") == 0
    overlay = (rehearsal.state.inventory / "hosts.yml").read_text()
    for text, arguments, words in CHANGES.values():
        rehearsal.inventory.write_text(text)
        capsys.readouterr()
        assert rehearsal.up(*arguments) == 1
        said = one_line(capsys)
        assert words in said
        assert said.endswith("; 'rehearsal down' first\n")
    rehearsal.inventory.write_text(INVENTORY)
    (rehearsal.inventory.parent / "host_vars").mkdir()
    assert rehearsal.up() == 1
    (rehearsal.inventory.parent / "host_vars").rmdir()
    beside = rehearsal.inventory.with_name("others.yml")
    beside.write_text(INVENTORY)
    assert rehearsal("up", "-i", str(beside)) == 1
    assert "the inventory's path" in capsys.readouterr().err
    assert rehearsal("up", "-i", str(rehearsal.inventory)) == 0
    assert (rehearsal.state.inventory / "hosts.yml").read_text() == overlay


def test_a_card_has_the_image_of_the_inventory(rehearsal: Rehearsal) -> None:
    def running() -> dict[str, str]:
        assert rehearsal.up() == 0
        kind = ("runtime", "ExtensionStatuses.runtime.talos.dev", "0")
        specs = {name: run(Client(node["address"]).spec(*kind)) for name, node in rehearsal.nodes().items()}
        assert rehearsal("down") == 0
        return {name: spec["metadata"]["version"] for name, spec in specs.items()}

    extended = "{customization: {systemExtensions: {officialExtensions: [siderolabs/iscsi-tools]}}}"
    rehearsal.inventory.write_text(
        INVENTORY.replace("rpi_5,", f"rpi_5, node_schematic: {extended},").replace(
            "bert: {", f"bert: {{node_schematic: {'ab' * 32}, "
        )
    )
    first = running()
    assert first["bert"] == "ab" * 32
    assert first["carl"] == VANILLA_SCHEMATICS["generic"]
    rehearsal.inventory.write_text(INVENTORY)
    assert running() == {
        "anna": VANILLA_SCHEMATICS["rpi_5"],
        "bert": VANILLA_SCHEMATICS["generic"],
        "carl": VANILLA_SCHEMATICS["generic"],
    }
    assert first["anna"] not in VANILLA_SCHEMATICS.values()


def test_no_two_nodes_get_one_address(rehearsal: Rehearsal) -> None:
    def up(*names: str) -> list[str]:
        groups = yaml.safe_load(INVENTORY)["all"]["children"]
        hosts = {name: {"node_address": f"192.0.2.{ord(name)}"} for name in names}
        groups["talos"]["children"] = {"controlplanes": {"hosts": hosts}}
        rehearsal.inventory.write_text(yaml.safe_dump(groups, sort_keys=False))
        assert rehearsal.up() == 0
        addresses = [node["address"] for node in rehearsal.nodes().values()]
        assert rehearsal("down") == 0
        return addresses

    assert up("a", "b") == [f"{network()}.11", f"{network()}.12"]
    assert up("c", "b") == [f"{network()}.11", f"{network()}.12"]
    assert up("a", "b", "c") == [f"{network()}.13", f"{network()}.12", f"{network()}.11"]


def test_a_daemon_that_starts_too_slowly_is_not_left_behind(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Kept(subprocess.Popen[bytes]):
        def __init__(self, *arguments: t.Any, **options: t.Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr("rehearsal.lifecycle.START_SECONDS", 0.0)
    monkeypatch.setattr("rehearsal.lifecycle.subprocess.Popen", Kept)
    assert rehearsal.up() == 1
    assert "the nodes don't come up" in one_line(capsys)
    assert started[-1].returncode == -signal.SIGKILL


def test_overlay(rehearsal: Rehearsal) -> None:
    assert rehearsal.up() == 0
    command = [str(Path(sys.executable).with_name("ansible-inventory")), "--list"]
    command += ["-i", str(rehearsal.inventory), "-i", str(rehearsal.state.inventory)]
    listed = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    variables, nodes = listed["_meta"]["hostvars"], rehearsal.nodes()
    carl, anna, vm = variables["carl"], variables["anna"], variables["vm"]
    assert carl["node_address"] == nodes["carl"]["address"]
    assert carl["node_mac"] == "DC:A6:32:00:00:01"  # the inventory's own
    assert nodes["carl"]["mac"] == carl["node_mac"].lower()
    assert anna["node_mac"] == nodes["anna"]["mac"]
    for host in (carl, anna, vm):
        assert host["cluster_endpoint"] == f"https://{carl['node_address']}:6443"
        assert host["tool_talosctl_path"] == str(rehearsal.state.bin / "talosctl")
        assert host["cluster_records_dir"] == str(rehearsal.state.records)
        assert host["cluster_admin_dir"] == str(rehearsal.state.admin)
        assert (host["ansible_connection"], host["ansible_python_interpreter"]) == ("local", sys.executable)
    assert vm["ansible_host"] == "localhost"
    assert vm["card_readers"] == []
    assert "vm" not in listed.get("talos", {}).get("hosts", [])


def test_overlay_wins_over_host_vars(rehearsal: Rehearsal) -> None:
    folder = rehearsal.inventory.parent / "host_vars"
    folder.mkdir()
    (folder / "carl.yml").write_text("node_address: 192.0.2.1\ncluster_endpoint: https://192.0.2.1:6443\n")
    assert rehearsal.up() == 0
    command = [str(Path(sys.executable).with_name("ansible-inventory")), "--host", "carl"]
    command += ["-i", str(rehearsal.inventory), "-i", str(rehearsal.state.inventory)]
    carl = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert carl["node_address"] == rehearsal.nodes()["carl"]["address"]
    assert carl["cluster_endpoint"] == f"https://{carl['node_address']}:6443"


def test_everything_is_for_its_owner_only(rehearsal: Rehearsal) -> None:
    assert rehearsal.up() == 0
    run(Client(rehearsal.nodes()["carl"]["address"]).apply(Cluster().config("carl", "controlplane")))
    for path in [rehearsal.state.path, *rehearsal.state.path.rglob("*")]:
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode):
            assert stat.S_IMODE(mode) & 0o077 == 0, path


def test_faults_power_and_calls(rehearsal: Rehearsal, capsys: pytest.CaptureFixture[str]) -> None:
    assert rehearsal.up() == 0
    anna = rehearsal.nodes()["anna"]["address"]
    assert rehearsal("fault", "anna", "permission-denied", "--in", "maintenance", "times=1") == 0
    with pytest.raises(Exception, match="not authorized"):
        run(Client(anna).machine("Version"))
    run(Client(anna).machine("Version"))
    capsys.readouterr()
    assert rehearsal("power", "bert", "off") == 0
    assert capsys.readouterr().out == "bert: off\n"
    assert rehearsal("status") == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert rows["bert"][3] == "off"
    assert rehearsal("power", "bert", "on") == 0
    assert rehearsal.nodes()["bert"]["stage"] == "maintenance"
    assert rehearsal("fault", "anna", "refused") == 0
    assert rehearsal("fault", "anna", "frozen") == 0
    assert rehearsal("fault", "anna", "--clear") == 0
    assert rehearsal("fault", "--clear") == 0
    said = capsys.readouterr().out.splitlines()
    assert said == ["bert: on", "anna: refused", "anna: refused, frozen", "anna: no faults", "everything: no faults"]
    assert rehearsal.nodes()["anna"]["faults"] == []
    calls = [(entry["node"], entry["method"], entry["status"]) for entry in read_calls(rehearsal.state.calls)]
    assert calls == [
        ("anna", "connect", "OK"),
        ("anna", "Version", "PERMISSION_DENIED"),
        ("anna", "connect", "OK"),
        ("anna", "Version", "OK"),
    ]
    assert rehearsal("calls") == 0
    assert "PERMISSION_DENIED" in capsys.readouterr().out
    assert rehearsal("fault", "--list") == 0
    assert "half-open" in capsys.readouterr().out


ERRORS = {
    "no such node": (["fault", "dora", "refused"], "no node 'dora'; nodes: "),
    "no such fault": (["fault", "anna", "tired"], "unknown fault 'tired'"),
    "no words": (["fault", "anna", "hang", "forever"], "'forever' is not KEY=VALUE"),
    "no such stage": (["fault", "anna", "hang", "--in", "lunch"], "unknown stage 'lunch'"),
    "half a fault": (["fault", "anna"], "which fault of which node?"),
}


def test_errors_are_one_line(rehearsal: Rehearsal, capsys: pytest.CaptureFixture[str]) -> None:
    assert rehearsal("status") == 1
    assert "no rehearsal is running in" in one_line(capsys)
    assert rehearsal.up() == 0
    capsys.readouterr()
    for arguments, words in ERRORS.values():
        assert rehearsal(*arguments) == 1
        assert words in one_line(capsys)


def test_no_answer_is_no_success(rehearsal: Rehearsal, capsys: pytest.CaptureFixture[str]) -> None:
    rehearsal.state.make()
    with socket.socket(socket.AF_UNIX) as server, short_path(rehearsal.state) as path:
        server.bind(path)
        server.listen()

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.recv(1 << 16)
            connection.close()

        with ThreadPoolExecutor() as pool:
            pool.submit(hang_up)
            assert rehearsal("power", "anna", "off") == 1
    assert "does not answer" in one_line(capsys)
    rehearsal.state.socket.unlink()
    assert rehearsal.up() == 0
    with pytest.raises(RehearsalError, match=r"the rehearsal failed; see daemon\.log"):
        ask(rehearsal.state, "power")  # of no node: a mistake of ours
    assert "KeyError: 'node'" in rehearsal.state.log.read_text()


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    text = capsys.readouterr().err
    assert text.startswith("rehearsal: ")
    assert text.count("\n") == 1
    return text


UP_ERRORS: dict[str, tuple[str, list[str], str]] = {
    "no talos group": ("all: {hosts: {a: {}}}", [], "has no hosts in a group 'talos'"),
    "not YAML": ("all: [", [], "hosts.yml:2:1)"),
    "a host twice": (INVENTORY.replace("bert:", "anna:"), [], "duplicate mapping key 'anna' ({}:9:"),
    "no groups": ("talos: {children: 3}", [], 'Invalid "children" entry for "talos" group'),
    "old Talos": (INVENTORY, ["--talos-version", "1.12.1"], "Talos 1.12.1 is not simulated"),
    "no network": (INVENTORY, ["--network", "10.0.0.0/33"], "--network 10.0.0.0/33: "),
    "no room": (INVENTORY, ["--network", "127.9.0.0/29"], "has no room for 3 nodes"),
    "no talosctl": (INVENTORY, ["--talosctl", "/bin/true"], "--talosctl /bin/true: no talosctl of version 1.13"),
}


@pytest.mark.parametrize("case", UP_ERRORS)
def test_up_says_what_is_wrong(rehearsal: Rehearsal, capsys: pytest.CaptureFixture[str], case: str) -> None:
    text, arguments, words = UP_ERRORS[case]
    rehearsal.inventory.write_text(text)
    assert rehearsal.up(*arguments) == 1
    assert words.format(rehearsal.inventory) in one_line(capsys)


def test_an_inventory_that_the_product_refuses_is_not_rehearsed(
    rehearsal: Rehearsal, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it is written: the addresses that a rehearsal gives its nodes hide none of its mistakes."""
    wrong = INVENTORY.replace("192.0.2.3", "192.0.2.2").replace("https://192", "192").replace("rpi_5", "rpi_6")
    rehearsal.inventory.write_text(wrong)
    assert rehearsal.up() == 1
    first, *problems, last = capsys.readouterr().err.splitlines()
    assert first == f"rehearsal: the inventory {rehearsal.inventory} can't be used as it is:"
    assert any("cluster_endpoint is 192.0.2.1:6443: " in problem for problem in problems)
    assert any("node_board is rpi_6: " in problem for problem in problems)
    assert "bert: node_address is 192.0.2.2: anna has the same; every node needs its own" in problems
    assert len([problem for problem in problems if not problem.startswith("warning: ")]) == 3
    assert last == "Nothing was started."
    assert not rehearsal.state.path.exists()
    rehearsal.inventory.write_text(INVENTORY)
    assert rehearsal.up() == 0
    rehearsal.inventory.write_text(wrong)
    assert rehearsal.up() == 1


def test_git_tokens_that_are_encrypted_are_not_needed(rehearsal: Rehearsal) -> None:
    encrypted = VaultLib([("default", VaultSecret(b"of the user"))]).encrypt(b"a token").decode()
    values = yaml.safe_load(INVENTORY)
    values["all"]["vars"]["argocd_git_token"] = "REPLACED"
    text = yaml.safe_dump(values, sort_keys=False)
    lines = "".join(f"\n      {line}" for line in encrypted.splitlines())
    rehearsal.inventory.write_text(text.replace("REPLACED", f"!vault |{lines}"))
    assert rehearsal.up() == 0


def test_unknown_inventory(rehearsal: Rehearsal, capsys: pytest.CaptureFixture[str]) -> None:
    rehearsal.inventory.unlink()
    assert rehearsal.up() == 1
    assert f"no inventory at {rehearsal.inventory}" in one_line(capsys)


def test_port_taken(rehearsal: Rehearsal, capsys: pytest.CaptureFixture[str]) -> None:
    """By another rehearsal, most likely: said with the way out, and before anything is made."""
    for address, port in ((f"{network()}.12", 50000), (f"{network()}.10", 3000)):
        with socket.create_server((address, port)):
            assert rehearsal.up() == 1
        said = one_line(capsys)
        assert f"can't listen at {address}:{port}" in said
        assert "another rehearsal? stop it ('rehearsal down --state FOLDER'), or give --network 127.11.0.0/16" in said
        assert not rehearsal.state.path.exists()
    assert str(networks.beside(networks.parse_network("127.11.0.0/16"))) == "127.12.0.0/16"


def test_what_to_run_can_be_pasted(rehearsal: Rehearsal, capsys: pytest.CaptureFixture[str]) -> None:
    """Into a shell that knows nothing of the environment, under a locale that Ansible refuses, in any folder."""
    wanted = (("run", ROOT, "Check the whole inventory"), ("look", rehearsal.inventory.parent, "Show the state of"))
    for title, folder, words in wanted:
        with contextlib.chdir(folder):
            assert rehearsal.up() == 0
        [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{title}: ")]
        done = subprocess.run(
            ["/bin/sh", "-c", f"{line.partition(': ')[2]} --list-tasks"],
            capture_output=True,
            text=True,
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "LC_ALL": "C"},
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert words in done.stdout


def test_a_killed_daemon_leaves_no_obstacle(rehearsal: Rehearsal) -> None:
    assert rehearsal.up() == 0
    pid = ask(rehearsal.state, "ping")
    os.kill(pid, signal.SIGKILL)
    while True:
        try:
            ask(rehearsal.state, "ping")
        except RehearsalError:
            break
    assert rehearsal.up() == 0
    assert ask(rehearsal.state, "ping") != pid


def test_the_real_talosctl_is_taken_by_its_minor(rehearsal: Rehearsal, tmp_path: Path) -> None:
    fake = tmp_path / "talosctl"
    fake.write_text("#!/bin/sh\necho Client:\necho 'Talos v1.13.2'\n")
    fake.chmod(0o755)
    assert client_minor(str(fake)) == "1.13"
    assert rehearsal.up("--talosctl", str(fake)) == 0
    assert (rehearsal.state.bin / "talosctl").resolve() == fake


@pytest.mark.parametrize("how", ["variable", "path"])
def test_the_real_autopilot_is_taken_by_its_version(
    rehearsal: Rehearsal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    folder = tmp_path / "tools"
    folder.mkdir()
    fake, target = folder / "argocd-autopilot", rehearsal.state.bin / "argocd-autopilot"
    for version, is_real in (("v0.4.19", False), ("v0.4.20", True)):
        fake.write_text(f"#!/bin/sh\necho {version}\n")
        fake.chmod(0o755)
        if how == "variable":
            monkeypatch.setenv("REHEARSAL_ARGOCD_AUTOPILOT", f"/nowhere/argocd-autopilot{os.pathsep}{fake}")
        else:
            monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        assert rehearsal.up() == 0
        assert (target.resolve() == fake) == is_real
        assert (f"argocd-autopilot: the real one, {fake}" in capsys.readouterr().out) == is_real
        assert rehearsal("down") == 0


def test_a_stand_in_on_the_path_is_not_taken_for_a_real_one(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{rehearsal.state.bin}{os.pathsep}{os.environ['PATH']}")
    for _ in range(2):
        assert rehearsal.up() == 0
        for name in ("talosctl", "argocd-autopilot"):
            assert f"rehearsal.standin.{name.partition('-')[2] or name}" in (rehearsal.state.bin / name).read_text()
        assert rehearsal("down") == 0


def test_stand_in_launcher_names_its_version(rehearsal: Rehearsal) -> None:
    assert rehearsal.up("--talos-version", "1.14.0") == 0
    text = (rehearsal.state.bin / "talosctl").read_text()
    assert "rehearsal.standin.talosctl" in text
    assert "1.14.0" in text
    assert rehearsal.nodes()["anna"]["talos_version"] == "1.14.0"


# --- without a daemon


def test_addresses_stay_and_are_in_order() -> None:
    wide = networks.parse_network("127.10.0.0/16")
    first = networks.assign(["a", "b"], wide, {})
    assert first == {"a": "127.10.0.11", "b": "127.10.0.12"}
    later = networks.assign(["c", "b"], wide, first)
    assert later == {"c": "127.10.0.11", "b": "127.10.0.12"}
    many = networks.assign([str(number) for number in range(500)], wide, {})
    assert len(set(many.values())) == 500
    assert networks.needs_adding(networks.parse_network("10.7.0.0/24"))
    assert not networks.needs_adding(wide)


@pytest.mark.parametrize(
    ("text", "size"), [("32GB", 32 * 10**9), ("64 GiB", 64 << 30), ("1.5TB", 1500 * 10**9), ("big", 32 * 10**9)]
)
def test_card_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_made_up_macs_are_stable_and_local() -> None:
    assert made_up_mac("a") == made_up_mac("a") != made_up_mac("b")
    assert made_up_mac("a").startswith("02:")


def test_versions() -> None:
    assert TalosVersion.parse("v1.14.0-rc.1").minor == "1.14"
    assert TalosVersion.parse("1.13.9").reboots_for_changes
    for text in ("1.14", "latest", "2.0.0"):
        with pytest.raises(ValueError, match=r"not a Talos version|is not simulated"):
            TalosVersion.parse(text)


@pytest.mark.skipif(os.getuid() != 0, reason="adds addresses to lo: needs root")
def test_another_network_is_added_and_removed(rehearsal: Rehearsal) -> None:
    assert rehearsal("up", "-i", str(rehearsal.inventory), "--network", "198.18.77.0/24") == 0
    address = rehearsal.nodes()["carl"]["address"]
    assert address.startswith("198.18.77.")
    assert run(Client(address).stage()) == "maintenance"
    assert rehearsal("down") == 0
    shown = subprocess.run(["ip", "addr", "show", "lo"], capture_output=True, text=True, check=True).stdout
    assert "198.18.77." not in shown


def test_overlay_is_plain_yaml(rehearsal: Rehearsal) -> None:
    assert rehearsal.up() == 0
    text = (rehearsal.state.inventory / "hosts.yml").read_text()
    assert "&id" not in text
    assert set(yaml.safe_load(text)) == {"talos", "admin"}


def test_the_git_server(rehearsal: Rehearsal, capsys: pytest.CaptureFixture[str]) -> None:
    assert rehearsal.up("--git-tls", "--gitops") == 0
    state, url = rehearsal.state, f"https://{network()}.10:3000/homelab/gitops.git"
    assert (
        f"git:      {url} (user homelab, token in {state.git_token}, CA in {state.git_ca})" in capsys.readouterr().out
    )
    assert rehearsal("status") == 0
    said = capsys.readouterr().out
    assert "kubernetes: not up" in said
    assert f"git:        {url} " in said
    variables = yaml.safe_load((state.inventory / "group_vars" / "all.yml").read_text())
    assert variables["argocd_repo_url"] == url
    token = state.git_token.read_text().strip()
    assert token != state.git_read_token.read_text().strip()
    assert all(token not in path.read_text() for path in state.inventory.rglob("*.yml"))
    cached = state.admin / "cache/raw.githubusercontent.com/argoproj/argo-cd/v3.5.1/manifests/install.yaml"
    assert hashlib.sha256(cached.read_bytes()).hexdigest() == KNOWN["3.5.1"]

    def reached() -> bool:
        command = ["git", "ls-remote", url.replace("//", f"//anybody:{token}@")]
        environment = {**os.environ, "GIT_SSL_CAINFO": str(state.git_ca)}
        return subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60).returncode == 0

    assert reached()
    assert rehearsal("fault", "git", "refused") == 0
    assert capsys.readouterr().out == "git: refused\n"
    assert not reached()
    assert rehearsal("fault", "git", "frozen") == 1
    assert "unknown fault 'frozen'" in capsys.readouterr().err
    assert rehearsal("fault", "git", "refused", "--in", "running") == 1
    assert "--in running: git has no stages, only nodes have" in capsys.readouterr().err
    assert rehearsal("down") == 0
    assert rehearsal.up() == 0
    assert not reached()
    assert rehearsal("fault", "--clear") == 0
    assert reached()


def test_faults_of_argo_cd(rehearsal: Rehearsal, capsys: pytest.CaptureFixture[str]) -> None:
    assert rehearsal.up() == 0
    capsys.readouterr()
    assert rehearsal("fault", "argocd", "app-degraded", "app=web") == 0
    assert capsys.readouterr().out == "argocd: app-degraded\n"
    assert [fault["app"] for fault in json.loads(rehearsal.state.argocd_faults.read_text())] == ["web"]
    assert rehearsal("fault", "argocd", "app-degraded", "times=1") == 1
    assert "app-degraded takes no setting 'times'; it takes: app" in capsys.readouterr().err
    assert rehearsal("fault", "argocd", "app-degraded", "--in", "running") == 1
    assert "--in running: argocd has no stages, only nodes have" in capsys.readouterr().err
    assert rehearsal("fault", "--clear", "argocd") == 0
    assert json.loads(rehearsal.state.argocd_faults.read_text()) == []
    assert rehearsal("fault", "--list") == 0
    assert "argocd app-out-of-sync" in capsys.readouterr().out
