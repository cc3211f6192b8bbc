# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings as documents by contract, and the variables that they are read from."""

from __future__ import annotations

import pathlib
import subprocess
import typing as t

import pytest
import yaml

from ansible_collections.homelab.talos.plugins.module_utils import _definition, _yaml_text
from rehearsal.standin import talosctl as standin
from rehearsal.standin.release import Release
from rehearsal.standin.secrets_bundle import new_bundle
from tests.real_talosctl import real_talosctls

MAC = "02:00:5e:10:00:07"
CLUSTER = {
    "cluster_name": "lab",
    "cluster_endpoint": "https://10.9.0.10:6443",
    "cluster_talos_version": "1.14.1",
    "cluster_kubernetes_version": "1.36.1",
}
IMAGE = "factory.talos.dev/metal-installer/ee21ef4a5ef808a9b7484cc0dda0f25075021691c8c09a276591eedb638ea1f9:v1.14.1"
GROUPS = {
    "all": ["console", "n7", "c1"],
    "admin": ["console"],
    "talos": ["c1", "n7"],
    "controlplanes": ["c1"],
    "workers": ["n7"],
}


def no_file(path: str) -> str:
    raise FileNotFoundError(2, "No such file or directory", path)


def node(name: str = "n7", **variables: t.Any) -> _definition.Node:
    given = {**CLUSTER, "node_address": "10.9.0.17", "node_mac": MAC, "node_board": "rpi_4", **variables}
    return _definition.node_from_variables(name, given, GROUPS, no_file)


def documents(**variables: t.Any) -> list[dict[str, t.Any]]:
    found: list[dict[str, t.Any]] = list(yaml.safe_load_all(node(**variables).patches[0]))
    identities = [(document.get("kind"), document.get("name")) for document in found]
    assert len(identities) == len(set(identities)), "Talos refuses a patch with the same document twice"
    return found


def of_kind(kind: str, **variables: t.Any) -> list[dict[str, t.Any]]:
    found = [document for document in documents(**variables) if document.get("kind") == kind]
    assert all(document["apiVersion"] == "v1alpha1" for document in found)
    return [{name: item for name, item in one.items() if name not in ("apiVersion", "kind")} for one in found]


def remedies(**variables: t.Any) -> dict[str, str]:
    with pytest.raises(_definition.DefinitionError) as error:
        node(**variables)
    return {problem.key: problem.remedy for problem in error.value.problems if problem.severity == "error"}


# --- layout by contract


def test_contract_1_14() -> None:
    assert documents(node_rack="4u", node_labels={"a": "b"}, node_taints={"dedicated": "db:NoSchedule"}) == [
        {"apiVersion": "v1alpha1", "kind": "HostnameConfig", "auto": "off", "hostname": "n7"},
        {
            "apiVersion": "v1alpha1",
            "kind": "UnattendedInstallConfig",
            "installer": {"image": IMAGE},
            "provisioning": {"diskSelector": {"match": 'disk.dev_path == "/dev/mmcblk0"'}},
        },
        {
            "apiVersion": "v1alpha1",
            "kind": "KubeNodeConfig",
            "labels": {"homelab.talos/board": "rpi_4", "homelab.talos/rack": "4u", "a": "b"},
            "taints": {"dedicated": "db:NoSchedule"},
        },
    ]


def test_contract_1_13() -> None:
    assert documents(
        cluster_contract="1.13", node_uplink="router", node_taints={"a": "NoExecute"}, node_cert_sans=["n7.lan"]
    ) == [
        {
            "machine": {
                "certSANs": ["n7.lan"],
                "install": {"disk": "/dev/mmcblk0", "image": IMAGE},
                "nodeLabels": {"homelab.talos/board": "rpi_4", "homelab.talos/uplink": "router"},
                "nodeTaints": {"a": "NoExecute"},
            }
        },
        {"apiVersion": "v1alpha1", "kind": "HostnameConfig", "auto": "off", "hostname": "n7"},
    ]


def test_auto_off_is_quoted_for_yaml_1_1() -> None:
    assert 'auto: "off"' in node().patches[0]


def test_hostname_and_address_by_name() -> None:
    assert of_kind("HostnameConfig", node_hostname="kitchen")[0]["hostname"] == "kitchen"
    first = documents(node_address="N7.lan", node_cert_sans=["10.9.0.99"])[0]
    assert first == {"machine": {"certSANs": ["n7.lan", "10.9.0.99"]}}


def test_installer_registry() -> None:
    image = node(node_installer_registry="registry.lan:5000/factory").installer_image
    assert image.startswith("registry.lan:5000/factory/metal-installer/ee21ef4a5ef8")
    assert "without scheme" in remedies(node_installer_registry="https://registry.lan")["node_installer_registry"]


# --- disks


@pytest.mark.parametrize(
    ("disk", "expression"),
    [
        ("/dev/nvme0n1", 'disk.dev_path == "/dev/nvme0n1"'),
        ("/dev/disk/by-id/usb-x", '"/dev/disk/by-id/usb-x" in disk.symlinks'),
        ({"match": "disk.size > 10u * GB"}, "disk.size > 10u * GB"),
        ({"type": "sd"}, 'disk.transport == "mmc" && disk.transport != "" && !disk.readonly && !disk.cdrom'),
        (
            {"model": 'a"b*', "size": ">= 100GB", "busPath": "/pci*"},
            'glob("a\\"b*", disk.model) && glob("/pci*", disk.bus_path) && disk.size >= 100u * GB'
            ' && disk.transport != "" && !disk.readonly && !disk.cdrom',
        ),
    ],
)
def test_install_disk_as_expression(disk: object, expression: str) -> None:
    install = of_kind("UnattendedInstallConfig", node_install_disk=disk)[0]
    assert install["provisioning"]["diskSelector"]["match"] == expression


def test_install_disk_in_contract_1_13() -> None:
    selector = {"size": "<= 1TB", "type": "ssd"}
    install = documents(cluster_contract="1.13", node_install_disk=selector)[0]["machine"]["install"]
    assert install == {"diskSelector": selector, "image": IMAGE}
    generic = documents(cluster_contract="1.13", node_board="generic")[0]["machine"]["install"]
    assert generic["disk"] == "/dev/sda"


def test_install_disk_refused() -> None:
    assert "below /dev" in remedies(node_install_disk="mmcblk0")["node_install_disk"]
    assert "selector needs" in remedies(node_install_disk={})["node_install_disk"]
    assert "as '>= 100GB'" in remedies(node_install_disk={"size": "big"})["node_install_disk.size"]
    assert "nvme, sd, hdd, ssd" in remedies(node_install_disk={"type": "usb"})["node_install_disk.type"]
    assert "did you mean busPath?" in remedies(node_install_disk={"bus_path": "x"})["node_install_disk.bus_path"]
    assert (
        "contract 1.14"
        in remedies(cluster_contract="1.13", node_install_disk={"match": "x"})["node_install_disk.match"]
    )


# --- network


def test_dhcp_link_of_the_node_itself() -> None:
    variables = {"node_network": [{"mtu": 1400}]}
    assert of_kind("LinkAliasConfig", **variables) == [
        {"name": "net0", "selector": {"match": f'mac(link.permanent_addr) == "{MAC}"'}}
    ]
    assert of_kind("LinkConfig", **variables) == [{"name": "net0", "up": True, "mtu": 1400}]
    assert of_kind("DHCPv4Config", **variables) == [{"name": "net0"}]


def test_static_link() -> None:
    variables = {
        "node_network": [
            {
                "name": "end0",
                "addresses": ["10.9.0.17/24"],
                "gateway": "10.9.0.1",
                "routes": [
                    {"destination": "10.20.0.0/16", "gateway": "10.9.0.2", "metric": 50},
                    {"destination": "0.0.0.0/0", "gateway": "10.9.0.3"},
                ],
            }
        ]
    }
    assert of_kind("LinkConfig", **variables) == [
        {
            "name": "end0",
            "up": True,
            "addresses": [{"address": "10.9.0.17/24"}],
            "routes": [
                {"gateway": "10.9.0.1"},
                {"destination": "10.20.0.0/16", "gateway": "10.9.0.2", "metric": 50},
                {"gateway": "10.9.0.3"},
            ],
        }
    ]
    assert not of_kind("DHCPv4Config", **variables)
    assert not of_kind("LinkAliasConfig", **variables)


def test_an_address_needs_no_gateway() -> None:
    link = of_kind("LinkConfig", node_network=[{"addresses": ["10.9.0.17/24"]}])[0]
    assert "routes" not in link


def test_vlans() -> None:
    variables = {
        "node_network": [
            {
                "driver": "bcmgenet",
                "alias": "lan",
                "dhcp": False,
                "vlans": [
                    {"id": 100, "addresses": ["10.100.0.7/24"], "gateway": "10.100.0.1"},
                    {"id": 200, "mtu": 1300},
                ],
            },
            {"name": "enx02005e100007", "vlans": [{"id": 4094}]},
        ]
    }
    assert of_kind("LinkAliasConfig", **variables)[0]["selector"] == {"match": 'link.driver == "bcmgenet"'}
    assert of_kind("LinkConfig", **variables)[0] == {"name": "lan", "up": True}
    assert of_kind("VLANConfig", **variables) == [
        {
            "name": "lan.100",
            "vlanID": 100,
            "parent": "lan",
            "up": True,
            "addresses": [{"address": "10.100.0.7/24"}],
            "routes": [{"gateway": "10.100.0.1"}],
        },
        {"name": "lan.200", "vlanID": 200, "parent": "lan", "up": True, "mtu": 1300},
        # A device's name has 15 characters at most.
        {"name": "vlan4094", "vlanID": 4094, "parent": "enx02005e100007", "up": True},
    ]
    assert [one["name"] for one in of_kind("DHCPv4Config", **variables)] == ["lan.200", "enx02005e100007", "vlan4094"]


@pytest.mark.parametrize(
    ("network", "key", "remedy"),
    [
        ({}, "node_network", "must be a list"),
        ([{"vlan": []}], "node_network[0].vlan", "did you mean vlans?"),
        ([{"vlans": [{"id": 0}]}], "node_network[0].vlans[0].id", "from 1 to 4094"),
        ([{"vlans": [{"id": 4095}]}], "node_network[0].vlans[0].id", "from 1 to 4094"),
        ([{"vlans": [{"id": 7}, {"id": 7}]}], "node_network", "the same name stands there twice"),
        ([{"mac": "02:00:5e"}], "node_network[0].mac", "MAC address"),
        ([{"name": "end0", "driver": "x"}], "node_network[0]", "one of mac, driver, name"),
        ([{"name": "end0"}, {"name": "end0"}], "node_network", "twice"),
        ([{"dhcp": False}], "node_network[0].addresses", "without dhcp"),
        ([{"dhcp": "maybe"}], "node_network[0].dhcp", "true or false"),
        ([{"addresses": ["10.9.0.17"]}], "node_network[0].addresses[0]", "prefix length"),
        ([{"addresses": ["10.9.0.0/24"]}], "node_network[0].addresses[0]", "single host of 10.9.0.0/24"),
        ([{"addresses": ["10.9.0.255/24"]}], "node_network[0].addresses[0]", "single host"),
        ([{"addresses": ["224.0.0.5/24"]}], "node_network[0].addresses[0]", "single host"),
        ([{"addresses": ["0.0.0.0/0"]}], "node_network[0].addresses[0]", "single host"),
        ([{"addresses": ["10.9.0.17/24", "10.9.0.17/16"]}], "node_network", "the same address"),
        (
            [{"addresses": ["10.9.0.17/24"], "gateway": "10.8.0.1"}],
            "node_network[0].gateway",
            "is in none of the link's networks (10.9.0.0/24)",
        ),
        ([{"addresses": ["10.9.0.17/24"], "gateway": "10.9.0.17"}], "node_network[0].gateway", "own address"),
        (
            [{"addresses": ["10.9.0.17/24"], "routes": [{"destination": "10.1.0.0/16", "gateway": "10.2.0.1"}]}],
            "node_network[0].gateway",
            "is in none",
        ),
        ([{"addresses": ["10.9.0.17/33"]}], "node_network[0].addresses[0]", "prefix length"),
        ([{"gateway": "router"}], "node_network[0].gateway", "IP address"),
        ([{"routes": [{"destination": "10.0.0.1/8"}]}], "node_network[0].routes[0].destination", "host bits"),
        ([{"routes": [{"metric": 5}]}], "node_network[0].routes[0]", "destination, a gateway"),
        ([{"mtu": 20}], "node_network[0].mtu", "from 68"),
        ([{"alias": "far-too-long-a-name"}], "node_network[0].alias", "15 at most"),
    ],
)
def test_network_refused(network: object, key: str, remedy: str) -> None:
    found = remedies(node_network=network)
    assert list(found) == [key]
    assert remedy in found[key]


@pytest.mark.parametrize(
    "link",
    [
        {"addresses": ["10.9.0.17/31"], "gateway": "10.9.0.16"},
        {"addresses": ["fd00::17/64"], "gateway": "fe80::1"},
        {"addresses": ["10.9.0.17/32"], "gateway": "10.1.0.1", "routes": [{"destination": "10.1.0.1/32"}]},
        {"dhcp": True, "addresses": ["10.9.0.17/24"], "gateway": "10.1.0.1"},
        {"gateway": "10.1.0.1"},
    ],
)
def test_a_gateway_that_is_a_neighbour(link: dict[str, t.Any]) -> None:
    assert node(node_network=[link])


def test_resolvers_and_time() -> None:
    variables = {"node_nameservers": ["10.9.0.1", "fd00::1"], "node_ntp_servers": ["ntp.lan", "10.9.0.1"]}
    assert of_kind("ResolverConfig", **variables) == [
        {"nameservers": [{"address": "10.9.0.1"}, {"address": "fd00::1"}]}
    ]
    assert of_kind("TimeSyncConfig", **variables) == [{"ntp": {"servers": ["ntp.lan", "10.9.0.1"]}}]
    assert "node_nameservers[0]" in remedies(node_nameservers=["ns.lan"])
    assert "node_ntp_servers[0]" in remedies(node_ntp_servers=["https://ntp.lan"])


def test_search_domains() -> None:
    assert of_kind("ResolverConfig", node_search_domains=["lan"]) == [{"searchDomains": {"domains": ["lan"]}}]
    assert "node_search_domains[0]" in remedies(node_search_domains=["https://lan"])


# --- registries


def test_registry_mirrors() -> None:
    mirrors = {
        "docker.io": ["https://mirror.lan:5000"],
        "ghcr.io": {"endpoints": [{"url": "http://h.lan/v2/g", "overridePath": True}], "skipFallback": True},
    }
    assert of_kind("RegistryMirrorConfig", node_registry_mirrors=mirrors) == [
        {"name": "docker.io", "endpoints": [{"url": "https://mirror.lan:5000"}]},
        {"name": "ghcr.io", "endpoints": [{"url": "http://h.lan/v2/g", "overridePath": True}], "skipFallback": True},
    ]
    assert "must start with https://" in str(remedies(node_registry_mirrors={"docker.io": ["mirror.lan"]}))
    assert "at least one" in str(remedies(node_registry_mirrors={"docker.io": []}))
    assert "did you mean skipFallback?" in str(remedies(node_registry_mirrors={"a.io": {"skip_fallback": True}}))


def test_registry_tls() -> None:
    tls = {"mirror.lan:5000": {"ca": CA}, "any.lan": {"insecureSkipVerify": True}}
    assert of_kind("RegistryTLSConfig", node_registry_tls=tls) == [
        {"name": "mirror.lan:5000", "ca": CA},
        {"name": "any.lan", "insecureSkipVerify": True},
    ]
    with pytest.raises(_definition.DefinitionError) as error:
        node(node_registry_tls={"a.lan": {"ca": "-----BEGIN PRIVATE KEY-----\nhunter2"}, "b.lan": {}})
    assert "hunter2" not in str(error.value)
    assert [problem.key for problem in error.value.problems] == [
        "node_registry_tls[a.lan].ca",
        "node_registry_tls[b.lan]",
    ]


def test_registry_auth() -> None:
    auth = {"mirror.lan:5000": {"username": "bot", "password": "0x1F\nsecond line"}, "ghcr.io": {"identityToken": "on"}}
    assert of_kind("RegistryAuthConfig", node_registry_auth=auth) == [
        {"name": "mirror.lan:5000", "username": "bot", "password": "0x1F\nsecond line"},
        {"name": "ghcr.io", "identityToken": "on"},
    ]


def test_a_wrong_registry_auth_is_not_shown() -> None:
    with pytest.raises(_definition.DefinitionError) as error:
        node(node_registry_auth={"ghcr.io": {"username": "bot", "pasword": "hunter2"}})
    assert "hunter2" not in str(error.value)
    assert "bot" not in str(error.value)
    assert "did you mean password?" in str(error.value)


# --- labels and taints


def test_labels_refused() -> None:
    found = remedies(
        node_labels={"a b": "c", "d": "e f", "g": True, "homelab.talos/rack": "4u", "UPPER.lan/x": "y", "/x": "y"},
        node_taints={"a": "NoWay", "b": "v v:NoSchedule"},
        node_rack=["4u"],
    )
    assert set(found) == {
        "node_labels[a b]",
        "node_labels[d]",
        "node_labels[g]",
        "node_labels[homelab.talos/rack]",
        "node_labels[UPPER.lan/x]",
        "node_labels[/x]",
        "node_taints[a]",
        "node_taints[b]",
        "node_rack",
    }
    assert "quotes" in found["node_labels[g]"]
    assert "node_rack" in found["node_labels[homelab.talos/rack]"]


def test_annotations() -> None:
    annotations = {"a.b/c": "any: text", "n": 5, "empty": ""}
    made = {"a.b/c": "any: text", "n": "5", "empty": ""}
    assert of_kind("KubeNodeConfig", node_annotations=annotations)[0]["annotations"] == made
    assert documents(cluster_contract="1.13", node_annotations=annotations)[0]["machine"]["nodeAnnotations"] == made
    assert set(remedies(node_annotations={"a b": "c", "d": True})) == {"node_annotations[a b]", "node_annotations[d]"}


def test_numbers_are_labels_too() -> None:
    labels = of_kind("KubeNodeConfig", node_labels={"n": 5}, node_rack=1)[0]["labels"]
    assert labels == {"homelab.talos/board": "rpi_4", "homelab.talos/rack": "1", "n": "5"}


# --- the text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "off",
            "Yes",
            "1.0",
            "0o17",
            "1e3",
            "12:30:00",
            "",
            " a ",
            "a: b",
            "a #b",
            "é\u0085\u2028",
            "😀",
            '"q"',
            "a\\b",
        ),
        *(
            "a\nb\n",
            "a\n\n b",
            "a \nb\n",
            "\n",
            "\ta\nb",
            "-----BEGIN X-----\nabc=\n-----END X-----\n",
            "~",
            "<<",
            "\x7f",
        ),
    ],
)
def test_texts_come_back(text: str) -> None:
    document = {"key": text, "list": [text, {"a": text, "b": [text]}], text or "x": 1}
    assert yaml.safe_load(_yaml_text.write(document)) == document


def test_values_come_back() -> None:
    document = {"a": {}, "b": [], "c": [[1, [2]], {}], "d": None, "e": True, "f": 1.5, "g": -3, "h": {"i": {"j": [{}]}}}
    assert yaml.safe_load(_yaml_text.write(document)) == document
    with pytest.raises(TypeError):
        _yaml_text.write({"a": object()})


# --- talosctl: the real one where there is one, else the stand-in


STANDIN = "stand-in"
CA = "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n"
EVERYTHING = {
    "node_address": "n7.lan",
    "node_rack": "4u",
    "node_uplink": "switch",
    "node_labels": {"a.b/c": "on", "n": 5},
    "node_taints": {"dedicated": "db:NoSchedule", "gone": "NoExecute"},
    "node_annotations": {"a.b/c": "any: text", "n": 5, "empty": ""},
    "node_search_domains": ["lan", "fritz.box"],
    "node_registry_tls": {"mirror.lan:5000": {"ca": CA}, "any.lan": {"insecureSkipVerify": True}},
    "node_nameservers": ["10.9.0.1", "fd00::1"],
    "node_ntp_servers": ["ntp.lan", "10.9.0.1"],
    "node_registry_mirrors": {"docker.io": ["https://mirror.lan:5000"], "*": {"endpoints": ["http://any.lan"]}},
    "node_registry_auth": {"mirror.lan:5000": {"username": "on", "password": "p: #'\"ü\n0x1"}},
    "node_network": [
        {"addresses": ["10.9.0.17/24"], "gateway": "10.9.0.1"},
        {"driver": "bcmgenet", "alias": "lan", "dhcp": False, "vlans": [{"id": 100}]},
    ],
    "node_install_disk": {"size": ">= 20GB", "type": "sd", "model": "S*"},
}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("secrets") / "secrets.yaml"
    path.write_text(yaml.safe_dump(new_bundle(Release("v1.14.2", (1, 14)))))
    return str(path)


@pytest.mark.parametrize("variables", [{}, EVERYTHING], ids=["least", "everything"])
@pytest.mark.parametrize("machine", ["controlplane", "worker"])
@pytest.mark.parametrize("contract", ["1.13", "1.14"])
@pytest.mark.parametrize("binary", real_talosctls() or [STANDIN])
def test_talosctl_takes_the_settings(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    secrets: str,
    binary: str,
    contract: str,
    machine: str,
    variables: dict[str, t.Any],
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        if binary == STANDIN:
            code = standin.main(arguments)
        else:
            code = subprocess.run([binary, *arguments], timeout=60, check=False).returncode
        said = capfd.readouterr()
        assert code == 0, said
        return said.out

    if contract == "1.14" and "v1.13" in run("version", "--client", "--short"):
        pytest.skip("a talosctl does not know the contracts after it")
    made = node("c1" if machine == "controlplane" else "n7", **{**variables, "cluster_contract": contract})
    (tmp_path / "patch.yaml").write_text(made.patches[0])
    run(
        *("gen", "config", "lab", "https://10.9.0.10:6443", "--talos-version", f"v{contract}", "-t", machine),
        *("-o", "out.yaml", "--config-patch", "@patch.yaml", "--with-secrets", secrets),
    )
    run("validate", "-c", "out.yaml", "-m", "metal", "--strict")
    assert f"hostname: {made.hostname}" in (tmp_path / "out.yaml").read_text()
