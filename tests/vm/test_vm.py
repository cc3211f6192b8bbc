# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Admin VM that tests/vm/run has made with `vagrant up`: as the workstation sees it, from inside, and at work."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import tempfile
import time
import typing as t
import urllib.request
from pathlib import Path

import pytest
import testinfra
import yaml

if "VM_TEST_PROJECT" not in os.environ:
    pytest.skip("there is no VM: run `make test-vm`", allow_module_level=True)

PROJECT = Path(os.environ["VM_TEST_PROJECT"])
STATE = Path(os.environ["VM_TEST_STATE"])
PING = "[{hosts: admin, gather_facts: false, tasks: [{ansible.builtin.ping: }]}]"


def run(*words: str, given: str = "", **environment: str) -> str:
    done = subprocess.run(
        words,
        input=given,
        capture_output=True,
        text=True,
        check=False,
        cwd=PROJECT,
        timeout=800,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, f"{words}:\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def play(playbook: str) -> str:
    return run("ansible-playbook", "--vault-password-file", str(STATE / "vault-password"), playbook)


def recap(shown: str) -> dict[str, dict[str, int]]:
    """The counts of each host."""
    lines = re.findall(r"^(\S+)\s+: (ok=.*)$", shown, re.MULTILINE)
    return {host: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", counts)} for host, counts in lines}


def until(true: t.Callable[[], bool]) -> bool:
    """Whether it comes true; the bound only ends a wait in vain."""
    end = time.monotonic() + 240
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(2)
    return True


def answer_of(url: str) -> str:
    """What a web server says; empty while there is none."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - the VM
            return str(answer.read().decode().strip())
    except OSError:
        return ""


@pytest.fixture(scope="module")
def variables() -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads(run("ansible-inventory", "--host", "admin-vm")))


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> t.Any:
    """The VM by SSH, as `vagrant ssh-config` says."""
    config = tmp_path_factory.mktemp("ssh") / "config"
    config.write_text(run("vagrant", "ssh-config", "admin-vm"))
    return testinfra.get_host("ssh://admin-vm", ssh_config=str(config), controlpersist=600)


# --- as the workstation sees it


def test_the_inventory_finds_it(variables: dict[str, t.Any]) -> None:
    assert variables["ansible_connection"] == "ssh"
    assert variables["ansible_user"] == "vagrant"
    assert variables["ansible_host"].startswith("192.168.")
    assert Path(variables["ansible_ssh_private_key_file"]).is_file()
    assert variables["admin_forwarded_ports"] == [8443, 8080, 9000]


def test_ansible_reaches_it_and_keeps_its_host_key() -> None:
    # A connection of its own: the one that Vagrant's provisioner left open asks for no key.
    with tempfile.TemporaryDirectory(dir="/tmp") as sockets:
        shown = run("ansible", "admin", "-m", "command", "-a", "hostname", ANSIBLE_SSH_CONTROL_PATH_DIR=sockets)
    assert shown.split()[-1] == "admin-vm"
    identity = next(PROJECT.glob(".vagrant/machines/admin-vm/*/id")).read_text().strip()
    # OpenSSH may keep the names hashed.
    assert run("ssh-keygen", "-F", identity, "-f", ".vagrant/homelab-talos-known_hosts")


def test_vagrant_is_not_asked_a_second_time(variables: dict[str, t.Any]) -> None:
    asked = PROJECT / ".vagrant" / "homelab-talos-ssh.json"
    before = asked.stat().st_mtime_ns
    run("ansible-inventory", "--host", "admin-vm")
    assert asked.stat().st_mtime_ns == before


def test_the_nodes_go_through_it(variables: dict[str, t.Any]) -> None:
    shown = run("ansible", "talos-w3", "-m", "ansible.builtin.debug", "-a", "msg={{ ansible_host }}:{{ ansible_port }}")
    assert f"{variables['ansible_host']}:{variables['ansible_port']}" in shown


def test_the_project_is_not_in_it(vm: t.Any) -> None:
    assert not vm.file("/vagrant").exists


# --- from inside


def test_each_tool_is_the_one_of_the_table(vm: t.Any) -> None:
    table = yaml.safe_load((PROJECT / "roles/tool/files/tools.yml").read_text())
    cluster = yaml.safe_load((PROJECT / "inventory/homelab/group_vars/talos.yml").read_text())
    follows = {"talos": cluster["cluster_talos_version"], "kubernetes": cluster["cluster_kubernetes_version"]}
    wanted = {name: row.get("version") or follows[row["follows"]] for name, row in table.items()}
    script = f"for tool in {' '.join(wanted)}; do echo $tool $($tool version --client --short); done"
    shown = vm.check_output("bash -lc %s", script)
    assert dict(re.findall(r"^([\w-]+) .*?(\d+\.\d+\.\d+)", shown, re.MULTILINE)) == wanted
    # Of this machine, no tool is called: the links in the VM lead to what was downloaded.
    assert vm.file("/usr/local/bin/talosctl").linked_to.startswith("/opt/homelab-talos/tools/")


def test_the_python_of_the_modules(vm: t.Any) -> None:
    vm.check_output("/opt/homelab-talos/venv/bin/python -c 'import grpclib, google.protobuf, yaml, cryptography'")


def test_the_firewall_lets_in_what_is_forwarded(vm: t.Any) -> None:
    with vm.sudo():
        rules = json.loads(vm.check_output("nft --json list chain inet homelab_talos input"))["nftables"]
    (chain,) = (entry["chain"] for entry in rules if "chain" in entry)
    assert (chain["hook"], chain["policy"]) == ("input", "drop")
    matches = [each["match"] for entry in rules if "rule" in entry for each in entry["rule"]["expr"] if "match" in each]
    (ports,) = (
        match["right"]["set"]
        for match in matches
        if match["left"].get("payload") == {"protocol": "tcp", "field": "dport"}
    )
    assert sorted(ports) == [22, 8080, 8443, 9000]
    assert vm.service("homelab-firewall").is_enabled


def test_the_firewall_keeps_out_the_rest(vm: t.Any, variables: dict[str, t.Any]) -> None:
    """Two servers in the VM: one at a port that is forwarded, one at a port that is not."""
    where = variables["ansible_host"]
    for port in (9000, 9001):
        vm.check_output(f"sudo systemd-run --quiet --unit=test-{port} python3 -m http.server --directory /etc {port}")
    try:
        for port in (9000, 9001):
            asked = f"http://127.0.0.1:{port}/hostname"
            program = f"import urllib.request as u; print(u.urlopen('{asked}', timeout=60).read().decode())"
            assert until(lambda program=program: vm.run("python3 -c %s", program).stdout.strip() == "admin-vm")
        assert answer_of(f"http://{where}:9000/hostname") == "admin-vm"
        with pytest.raises(OSError, match="timed out"):
            urllib.request.urlopen(f"http://{where}:9001/hostname", timeout=10)
    finally:
        vm.check_output("sudo systemctl stop test-9000 test-9001")


def test_sshd_takes_no_passwords_no_root_and_many_sessions(vm: t.Any) -> None:
    with vm.sudo():
        config = dict(line.split(" ", 1) for line in vm.check_output("sshd -T").splitlines())
    wanted = {
        "passwordauthentication": "no",
        "kbdinteractiveauthentication": "no",
        "permitrootlogin": "no",
        "pubkeyauthentication": "yes",
        "maxsessions": "100",
        "maxstartups": "100:30:200",
    }
    assert {key: config[key] for key in wanted} == wanted


def test_sshd_offers_nothing_but_keys(variables: dict[str, t.Any]) -> None:
    words = ["ssh", "-v", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentityFile=/dev/null"]
    words += ["-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    words += [f"root@{variables['ansible_host']}", "true"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 255
    assert re.findall(r"Authentications that can continue: (.*)", done.stderr)[-1].strip() == "publickey"


def test_a_wrong_clock_is_set_right(vm: t.Any) -> None:
    assert vm.service("systemd-timesyncd").is_enabled
    with vm.sudo():
        vm.check_output("systemctl stop systemd-timesyncd && rm -f /run/systemd/timesync/synchronized")
        vm.check_output("date --set=@%s", str(int(time.time()) - 7200))
        vm.check_output("systemctl start systemd-timesyncd")
    assert until(lambda: abs(int(vm.check_output("date +%s")) - time.time()) < 600)
    assert until(lambda: vm.check_output("timedatectl show --property NTPSynchronized --value") == "yes")


def test_shells_know_the_cluster(vm: t.Any) -> None:
    shown = vm.check_output("bash -lic %s 2>/dev/null", 'echo "$KUBECONFIG $TALOSCONFIG"; type talosctl-w1; alias k')
    folder = "/home/vagrant/.homelab/homelab"
    assert f"{folder}/kubeconfig {folder}/talosconfig" in shown
    address = json.loads(run("ansible-inventory", "--host", "talos-w1"))["node_address"]
    assert f"talosctl --nodes {address}" in shown
    assert "alias k='kubectl'" in shown


def test_the_login_message_without_a_cluster(vm: t.Any) -> None:
    assert "No cluster homelab yet: run site.yml." in vm.check_output("homelab-status")
    shown = vm.check_output("script --quiet --command %s /dev/null </dev/null", "bash -lic exit")
    # A second is little time under emulation.
    assert re.search("No cluster homelab yet|homelab-status did not answer within a second", shown)


# --- again


def test_provisioning_again_changes_nothing_and_is_quick() -> None:
    start = time.monotonic()
    shown = run("vagrant", "provision", "--no-color")
    took = time.monotonic() - start
    counts = recap(shown)["admin-vm"]
    assert (counts["changed"], counts["failed"], counts["unreachable"]) == (0, 0, 0), shown

    pings = []
    for _ in range(3):
        start = time.monotonic()
        run("ansible-playbook", "/dev/stdin", given=PING)
        pings.append(time.monotonic() - start)
    ping = statistics.median(pings)
    ratio = took / ping
    print(f"\nvagrant provision without changes: {took:.1f} s, {ratio:.1f} times a playbook of one ping ({ping:.1f} s)")
    assert ratio <= 15


# --- at work


def test_site_takes_the_nodes_to_a_cluster(vm: t.Any) -> None:
    counts = recap(play("site.yml"))
    assert set(counts) == {"talos-cp", *(f"talos-w{number}" for number in range(1, 5))}
    assert all(each["changed"] and not each["failed"] for each in counts.values()), counts
    # In the VM, and nowhere on this machine.
    folder = vm.file("/home/vagrant/.homelab/homelab")
    assert (folder.mode, folder.user) == (0o700, "vagrant")
    assert {"kubeconfig", "talosconfig"} <= set(folder.listdir())


def test_site_again_changes_nothing() -> None:
    counts = recap(play("site.yml"))
    assert {host: each["changed"] for host, each in counts.items() if each["changed"]} == {}


def test_status_and_the_login_message(vm: t.Any) -> None:
    play("playbooks/status.yml")
    assert "5 of 5 nodes as declared and ready" in vm.check_output("homelab-status")


def test_a_forward_reaches_the_workstation_on_loopback_only(vm: t.Any) -> None:
    """From the service in the cluster, by the user's systemd, the firewall and Vagrant: with a made-up kubectl."""
    vm.check_output("homelab-forward start argocd")
    try:
        assert until(lambda: answer_of("http://127.0.0.1:18443/hostname") == "admin-vm")
        listening = run("ss", "-Hltn", "sport = :18443")
        assert {line.split()[3] for line in listening.splitlines()} == {"127.0.0.1:18443"}
        assert re.search(r"^argocd\s+active\s", vm.check_output("homelab-forward"), re.MULTILINE)
    finally:
        vm.check_output("homelab-forward stop argocd")
    assert re.search(r"^argocd\s+inactive\s", vm.check_output("homelab-forward"), re.MULTILINE)
