# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A console as its user finds it, after all that went wrong."""

from __future__ import annotations

import typing as t

import pytest
from testinfra.host import Host

from tests.integration.conftest import Run

testinfra_hosts = ["ansible://admin"]

HOME = "/home/vagrant/.homelab/lab"
FORWARD = "homelab-forward@argocd.service"


def in_login_shell(host: Host, script: str) -> str:
    return str(host.check_output("bash -lc %s", script))


def test_check_mode_has_nothing_to_tell(converge: t.Callable[..., Run], consoles: dict[str, Host]) -> None:
    run = converge("--check").require_ok()
    assert set(run.recap) == set(consoles)
    assert run.changed == {}


def test_each_tool_is_of_the_table_s_version_and_the_second_lies_beside_it(host: Host) -> None:
    variables = host.ansible.get_variables()
    first: dict[str, str] = variables["first_versions"]
    second: dict[str, str] = variables["second_versions"]
    for link, target in (("bin/", "{0}"), ("share/bash-completion/completions/", "completion.bash")):
        links = host.check_output(f"cd /usr/local/{link} && find . -type l -printf '%P %l\\n'").splitlines()
        homes = {name: f"/opt/homelab-talos/tools/{name}/{version}/" for name, version in first.items()}
        assert set(links) == {f"{name} {home}{target.format(name)}" for name, home in homes.items()}
    folders = host.check_output(
        "cd /opt/homelab-talos/tools && find . -mindepth 2 -type d -printf '%P\\n'"
    ).splitlines()
    assert set(folders) == {f"{name}/{version}" for each in (first, second) for name, version in each.items()}
    for name, version in first.items():
        assert version in in_login_shell(host, f"{name} version --client")


def test_nothing_is_left_of_downloads(host: Host) -> None:
    with host.sudo():
        assert host.check_output("find /var/cache/homelab-talos -type f") == ""


def test_the_real_kubectl(host: Host) -> None:
    assert host.check_output("kubectl version --client -o yaml | grep gitVersion").strip() == "gitVersion: v1.37.1"
    assert "__start_kubectl" in host.file("/usr/local/share/bash-completion/completions/kubectl").content_string


def test_the_ssh_server(host: Host) -> None:
    with host.sudo():
        effective = host.check_output("sshd -T").splitlines()
    for line in (
        "maxsessions 100",
        "maxstartups 100:30:200",
        "passwordauthentication no",
        "kbdinteractiveauthentication no",
        "permitrootlogin no",
    ):
        assert line in effective
    words = "-o StrictHostKeyChecking=no -o PubkeyAuthentication=no -o BatchMode=yes -p 2222"
    listens = next(line.split()[1].rpartition(":")[0] for line in effective if line.startswith("listenaddress"))
    assert "Permission denied (publickey)" in host.run(f"ssh {words} vagrant@{listens} true 2>&1; true").stdout


def test_packages_and_the_clock(host: Host) -> None:
    for name in (
        "bash-completion",
        "ca-certificates",
        "git",
        "jq",
        "python3-venv",
        "systemd-timesyncd",
        "unattended-upgrades",
    ):
        assert host.package(name).is_installed
    assert "NTP=fritz.box" in host.file("/etc/systemd/timesyncd.conf.d/homelab-talos.conf").content_string
    enabled = host.check_output("apt-config shell on APT::Periodic::Unattended-Upgrade")
    assert enabled == "on='1'"


def test_the_modules_python(host: Host) -> None:
    script = "import cryptography, google.protobuf, grpclib, yaml"
    assert host.run("/opt/homelab-talos/venv/bin/python -c %s", script).succeeded


def test_the_shell_knows_the_cluster(host: Host) -> None:
    assert in_login_shell(host, 'echo "$KUBECONFIG $TALOSCONFIG"') == f"{HOME}/kubeconfig {HOME}/talosconfig"
    assert "talosctl --nodes 192.0.2.11" in in_login_shell(host, "declare -f talosctl-w1")
    # The start of a shell that is none of login.
    assert host.check_output("bash -ic 'alias k' 2>/dev/null") == "alias k='kubectl'"


def test_the_login_message(host: Host) -> None:
    assert host.check_output("homelab-status") == "No cluster lab yet: run site.yml."


def test_forwards_are_services_of_the_user(host: Host) -> None:
    asked = host.run("homelab-forward start argocd")
    assert asked.failed
    assert "no cluster yet, run site.yml" in asked.stderr
    host.check_output(f"mkdir -p {HOME}")
    host.check_output(f"kubectl --kubeconfig {HOME}/kubeconfig config set-cluster lab --server=https://127.0.0.1:9")
    try:
        host.check_output("homelab-forward start argocd")
        assert "port 8443" in host.check_output("homelab-forward status")
        assert host.check_output(f"systemctl --user show --property=ActiveState {FORWARD}") != "ActiveState=inactive"
        host.check_output("homelab-forward stop argocd")
        assert "inactive" in host.check_output("homelab-forward status")
    finally:
        host.check_output(f"rm -r {HOME}")


def test_they_outlive_the_login(host: Host) -> None:
    assert host.check_output("loginctl show-user vagrant --property=Linger") == "Linger=yes"


def test_a_container_gets_no_firewall(host: Host) -> None:
    assert not host.file("/etc/systemd/system/homelab-firewall.service").exists


@pytest.mark.parametrize("unit", ["ssh.service", "systemd-logind.service"])
def test_the_machine_runs(host: Host, unit: str) -> None:
    assert host.service(unit).is_running
    assert host.check_output("systemctl is-system-running") == "running"
