# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The definition as a whole: what comes out of a good one, and that every mistake is said with its remedy."""

from __future__ import annotations

import copy
import ipaddress
import json
import pathlib
import sys
import typing as t

import pytest
import yaml

from ansible_collections.homelab.talos.plugins.module_utils import _definition, _variables, _versions
from ansible_collections.homelab.talos.plugins.module_utils._definition import (
    Cluster,
    Definition,
    DefinitionError,
    Node,
    Problem,
)
from ansible_collections.homelab.talos.plugins.module_utils._terms import SHORTEST_TRY

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECRET = "hunter2hunter2"

Variables = dict[str, t.Any]


class Inventory:
    """Two control planes short of nothing: one control plane, two workers, files in memory."""

    def __init__(self) -> None:
        shared = {
            "cluster_name": "lab",
            "cluster_endpoint": "https://10.9.0.10:6443",
            "cluster_talos_version": "1.14.1",
            "cluster_kubernetes_version": "1.36.1",
            "cluster_contract": "1.14",
            "unrelated": object(),
        }
        self.hosts: dict[str, Variables] = {
            name: {
                **shared,
                "node_address": f"10.9.0.{octet}",
                "node_mac": f"02:00:5e:00:00:{octet}",
                "node_board": "rpi_4",
            }
            for name, octet in (("c1", 10), ("w1", 11), ("w2", 12))
        }
        self.groups: dict[str, list[str]] = {
            "all": ["console", "c1", "w1", "w2"],
            "admin": ["console"],
            "talos": ["c1", "w1", "w2"],
            "controlplanes": ["c1"],
            "workers": ["w1", "w2"],
            "attic": ["w2"],
        }
        self.files: dict[str, str] = {}
        self.argocd_due = True

    def read_file(self, path: str) -> str:
        if path not in self.files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return self.files[path]

    def set(self, **variables: t.Any) -> Inventory:
        for host in self.hosts.values():
            host.update(copy.deepcopy(variables))
        return self

    def check(self) -> Definition:
        return _definition.check(self.hosts, self.groups, self.read_file, argocd_due=self.argocd_due)

    def problems(self) -> list[Problem]:
        with pytest.raises(DefinitionError) as error:
            self.check()
        assert len(str(error.value).splitlines()) <= len(error.value.problems)
        return [problem for problem in error.value.problems if problem.severity == "error"]

    def only(self) -> Problem:
        problems = {str(problem): problem for problem in self.problems()}
        assert len(problems) == 1, "\n".join(problems)
        return next(iter(problems.values()))


@pytest.fixture
def inventory() -> Inventory:
    return Inventory()


# --- a good definition


def test_a_good_definition(inventory: Inventory) -> None:
    definition = inventory.check()
    assert definition.cluster == Cluster("lab", "https://10.9.0.10:6443", "1.14.1", "1.36.1", "1.14")
    assert [(node.name, node.machine_type, node.address, node.mac) for node in definition.nodes] == [
        ("c1", "controlplane", "10.9.0.10", "02:00:5e:00:00:10"),
        ("w1", "worker", "10.9.0.11", "02:00:5e:00:00:11"),
        ("w2", "worker", "10.9.0.12", "02:00:5e:00:00:12"),
    ]
    assert definition.warnings == ()
    first = definition.nodes[0]
    assert first.installer_image == f"factory.talos.dev/metal-installer/{first.schematic_id}:v1.14.1"
    assert (first.hostname, first.board, first.fingerprint) == ("c1", "rpi_4", "")


def test_defaults(inventory: Inventory) -> None:
    for host in inventory.hosts.values():
        for key in ("cluster_talos_version", "cluster_kubernetes_version", "cluster_contract"):
            del host[key]
    cluster = inventory.check().cluster
    assert (cluster.talos_version, cluster.contract) == ("1.14.2", "1.14")
    assert cluster.kubernetes_version.startswith("1.37.")


def test_one_node_is_what_check_makes_of_it(inventory: Inventory) -> None:
    inventory.set(cluster_patches=[{"machine": {"sysctls": {"a": "1"}}}], group_patches={"attic": [{"cluster": {}}]})
    for node in inventory.check().nodes:
        alone = _definition.node_from_variables(
            node.name, inventory.hosts[node.name], inventory.groups, inventory.read_file
        )
        assert alone == node
    assert _definition.cluster_from_variables(inventory.hosts["w1"]) == inventory.check().cluster


def test_one_node_alone_is_checked(inventory: Inventory) -> None:
    inventory.hosts["w1"].update(node_addres="10.9.0.1", node_mac="x")
    with pytest.raises(DefinitionError) as error:
        _definition.node_from_variables("w1", inventory.hosts["w1"], inventory.groups, inventory.read_file)
    assert {problem.key for problem in error.value.problems} == {"node_addres", "node_mac"}
    with pytest.raises(DefinitionError, match="cluster_name"):
        _definition.cluster_from_variables({"cluster_endpoint": "https://a:1"})


def test_plain_data_and_back(inventory: Inventory) -> None:
    definition = inventory.check()
    assert Cluster.from_dict(json.loads(json.dumps(definition.cluster.as_dict()))) == definition.cluster
    for node in definition.nodes:
        assert Node.from_dict(json.loads(json.dumps(node.as_dict()))) == node


def test_values_of_ansible_are_plain_data(inventory: Inventory) -> None:
    class Text(str):
        __slots__ = ()

    class Mapping(dict[t.Any, t.Any]):
        pass

    class Whole(int):
        pass

    class Vaulted:
        def __str__(self) -> str:
            return SECRET

    inventory.hosts["w1"].update(
        node_address=Text("10.9.0.11"),
        node_labels=Mapping({Text("a"): Whole(5)}),
        node_registry_auth={"ghcr.io": {"identityToken": Vaulted()}},
    )
    node = inventory.check().nodes[1]
    assert type(node.address) is str
    assert f"identityToken: {SECRET}" in node.patches[0]


def test_only_our_variables_are_looked_at(inventory: Inventory) -> None:
    class Trap(dict[str, t.Any]):
        def __getitem__(self, name: str) -> t.Any:
            assert _definition.is_ours(name), f"{name} is none of ours"
            return super().__getitem__(name)

    inventory.hosts = {name: Trap(host) for name, host in inventory.hosts.items()}
    inventory.check()
    assert {"node_address", "cluster_name", "group_patches", "cluster_records_dir"} <= _definition.OUR_VARIABLES
    assert all(_definition.is_ours(name) for name in _definition.OUR_VARIABLES)


def test_variables_of_the_roles_are_known() -> None:
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        specs = yaml.safe_load(path.read_text())["argument_specs"].values()
        options = {name for spec in specs for name in spec.get("options", {})}
        unknown = options - _definition.OUR_VARIABLES - _variables.ROLE_VARIABLES
        assert not unknown, f"{path}: add these to OTHER_VARIABLES or ROLE_VARIABLES"


def test_known_variables_of_roles_are_used() -> None:
    specs = [
        yaml.safe_load(path.read_text())["argument_specs"] for path in ROOT.glob("roles/*/meta/argument_specs.yml")
    ]
    options = {name for each in specs for spec in each.values() for name in spec.get("options", {})}
    in_actions = "".join(path.read_text() for path in ROOT.glob("plugins/plugin_utils/*.py"))
    unused = [name for name in _variables.ROLE_VARIABLES - options if f'"{name}"' not in in_actions]
    assert not unused


def test_every_variable_is_documented() -> None:
    text = (ROOT / "docs" / "inventory.md").read_text()
    missing = [name for name in sorted(_definition.OUR_VARIABLES) if f"`{name}`" not in text]
    assert not missing


# --- Argo CD

ARGOCD: Variables = {
    "argocd_repo_url": "https://github.com/me/homelab.git",
    "argocd_git_token": SECRET,
    "argocd_read_token": SECRET,
}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"argocd_version": "v3.9.0", "argocd_install_sha256": "AB" * 32},
        {"argocd_applications": "argo-cd,root", "argocd_namespace": "argo", "argocd_ready_timeout": "40"},
        {"argocd_patches": [{"patch": "a: 1", "target": {"kind": "Deployment"}}], "argocd_repo_path": ""},
    ],
)
def test_good_settings_of_argo_cd(inventory: Inventory, more: Variables) -> None:
    inventory.hosts["c1"].update(ARGOCD, **more)
    inventory.check()


@pytest.mark.parametrize(
    ("name", "value", "key", "word"),
    [
        ("argocd_repo_url", "ftp://x", "argocd_repo_url", "must be like https://github.com"),
        ("argocd_repo_url", f"https://me:{SECRET}@github.com/me/it.git", "argocd_repo_url", "argocd_git_token"),
        ("argocd_repo_path", "../x", "argocd_repo_path", "folder of the repository"),
        ("argocd_repo_branch", "a..b", "argocd_repo_branch", "name of a branch"),
        ("argocd_git_token", "", "argocd_git_token", "set argocd_git_token in the inventory"),
        ("argocd_read_token", None, "argocd_read_token", "argocd_git_token may stand in"),
        ("argocd_version", 3.9, "argocd_version", "three numbers"),
        ("argocd_version", "3.9.0", "argocd_install_sha256", "curl -fsSL"),
        ("argocd_install_sha256", 12, "argocd_install_sha256", "64 digits"),
        ("argocd_namespace", "Argo CD", "argocd_namespace", "small letters"),
        ("argocd_applications", ["root", "A b"], "argocd_applications[1]", "lower case"),
        ("argocd_patches", [{"target": SECRET}], "argocd_patches[0]", "patch of kustomize"),
        ("argocd_admin_password_hash", SECRET, "argocd_admin_password_hash", "bcrypt"),
        ("argocd_commit_name", "...", "argocd_commit_name", "author"),
        ("argocd_ready_timeout", "soon", "argocd_ready_timeout", "whole number"),
        ("argocd_offline", "perhaps", "argocd_offline", "true or false"),
        ("argocd_mirror", "mirror.lan", "argocd_mirror", "https://"),
    ],
)
def test_mistakes_about_argo_cd(inventory: Inventory, name: str, value: object, key: str, word: str) -> None:
    inventory.hosts["c1"].update({**ARGOCD, name: value})
    problem = inventory.only()
    assert (problem.host, problem.key) == ("c1", key)
    assert word in problem.remedy
    assert SECRET not in str(problem)


def test_what_argo_cd_needs_is_asked_for_where_the_run_comes_to_it(inventory: Inventory) -> None:
    inventory.hosts["c1"].update({**ARGOCD, "argocd_git_token": "", "argocd_version": "3.9.0"})
    inventory.argocd_due = False
    inventory.check()


def test_argo_cd_is_checked_on_the_node_that_its_phase_runs_on(inventory: Inventory) -> None:
    """Elsewhere its variables are for nobody; without a repository nothing is missing."""
    inventory.hosts["w1"].update(argocd_repo_url="ftp://x")
    inventory.hosts["c1"].update(argocd_repo_url="", argocd_repo_path="../x")
    inventory.check()
    unresolved = _definition.Unresolved("no password", "{{ x }}")
    inventory.hosts["c1"].update({**ARGOCD, "argocd_repo_path": "", "argocd_git_token": unresolved})
    problem = inventory.only()
    assert (problem.key, problem.value) == ("argocd_git_token", "<hidden>")


# --- patches


def test_patches_come_in_order_and_parents_first(inventory: Inventory) -> None:
    def machine(value: str) -> dict[str, t.Any]:
        return {"machine": {"sysctls": {"from": value}}}

    inventory.files["patches/all.yaml"] = "# kept as it is\nmachine:\n  sysctls: {from: file}\n"
    inventory.set(
        cluster_patches=[machine("cluster"), "patches/all.yaml"],
        group_patches={
            "attic": [machine("attic")],
            "workers": [machine("workers-1"), machine("workers-2")],
            "talos": [machine("talos")],
            "all": [machine("all")],
            "controlplanes": [machine("controlplanes")],
        },
    )
    inventory.hosts["w2"]["node_patches"] = [machine("node")]
    nodes = {node.name: node for node in inventory.check().nodes}

    def origins(name: str) -> list[str]:
        return [yaml.safe_load(text)["machine"]["sysctls"]["from"] for text in nodes[name].patches[1:]]

    assert origins("w2") == ["cluster", "file", "all", "talos", "workers-1", "workers-2", "attic", "node"]
    assert origins("c1") == ["cluster", "file", "all", "talos", "controlplanes"]
    assert nodes["c1"].patches[2] == inventory.files["patches/all.yaml"]
    of_groups = ["all[0]", "talos[0]", "workers[0]", "workers[1]", "attic[0]"]
    assert nodes["w2"].patch_places == (
        "settings (node_ variables)",
        "cluster_patches[0]",
        "cluster_patches[1] (patches/all.yaml)",
        *(f"group_patches.{place}" for place in of_groups),
        "node_patches[0]",
    )


def test_groups_of_equal_size_keep_the_order_of_the_inventory(inventory: Inventory) -> None:
    inventory.groups.update({"zone": ["w1", "w2"], "area": ["w1", "w2"]})
    inventory.set(group_patches={name: [{"machine": {"sysctls": {"a": name}}}] for name in ("area", "zone", "workers")})
    patches = inventory.check().nodes[1].patches[1:]
    assert [yaml.safe_load(text)["machine"]["sysctls"]["a"] for text in patches] == ["workers", "zone", "area"]


def test_a_file_may_hold_several_documents(inventory: Inventory) -> None:
    inventory.files["p.yaml"] = (
        "---\n# nothing\n---\nmachine: {}\n"
        "---\napiVersion: v1alpha1\nkind: WatchdogTimerConfig\ndevice: /dev/watchdog0\n"
    )
    inventory.set(node_patches=["p.yaml"])
    assert inventory.check().nodes[0].patches[-1] == inventory.files["p.yaml"]


@pytest.mark.parametrize(
    ("patch", "remedy"),
    [
        ([{"op": "add", "path": "/machine", "value": SECRET}], "JSON patch"),
        ([SECRET], "is not a Talos document"),
        (5, "is not a Talos document"),
        ({}, "is empty"),
        ({"machin": {"token": SECRET}}, "machin is not known; did you mean machine?"),
        ({"machine": {"type": "controlplane"}}, "comes from the groups controlplanes and workers"),
        ({"machine": SECRET}, "machine must be a mapping"),
        ({"kind": "HostnameConfig", "hostname": SECRET}, "one of apiVersion and kind"),
        ({"apiVersion": "v1", "kind": "Secret", "data": SECRET}, "apiVersion must be v1alpha1"),
        ({"apiVersion": "v1alpha1", "kind": "HostnamConfig"}, "did you mean HostnameConfig?"),
        (f"machine:\n  token: {SECRET}\n", "must be a mapping, or the name of a .yaml file"),
        (SECRET, "must be a mapping, or the name of a .yaml file"),
    ],
)
def test_what_is_no_patch(inventory: Inventory, patch: object, remedy: str) -> None:
    inventory.hosts["w1"]["node_patches"] = [{"machine": {}}, patch]
    problem = inventory.only()
    assert (problem.host, problem.key, problem.value) == ("w1", "node_patches[1]", "<hidden>")
    assert remedy in problem.remedy
    assert SECRET not in str(problem)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("- op: add\n  path: /machine\n", "JSON patch"),
        (f"machine: [{SECRET}", "is not YAML: line 2"),
        (f"machine: *{SECRET}\n", "found undefined alias"),
        ("# nothing\n", "holds no document"),
        (f"just {SECRET}\n", "is not a Talos document"),
        ("machine: {}\n---\nmachine: {}\n", "document 2 is p.yaml: the same document stands twice"),
        ("machine: {}\n---\nkind: X\napiVersion: v1alpha1\n", "document 2 is p.yaml: kind X is not known"),
    ],
)
def test_what_is_no_patch_file(inventory: Inventory, text: str, remedy: str) -> None:
    inventory.files["p.yaml"] = text
    inventory.hosts["c1"]["node_patches"] = ["p.yaml"]
    problem = inventory.only()
    assert str(problem).startswith("c1: node_patches[0]")
    assert remedy in str(problem)
    assert SECRET not in str(problem)


def test_a_patch_file_that_is_not_there(inventory: Inventory) -> None:
    inventory.set(cluster_patches=["patches/no.yaml"])
    problems = inventory.problems()
    assert [problem.host for problem in problems] == ["c1", "w1", "w2"]
    assert problems[0].value == "patches/no.yaml"
    assert "No such file" in problems[0].remedy


def test_a_file_is_read_once(inventory: Inventory) -> None:
    reads: list[str] = []

    def read_file(path: str) -> str:
        reads.append(path)
        return "machine: {}\n"

    inventory.set(cluster_patches=["p.yaml"], group_patches={"workers": ["p.yaml"]})
    _definition.check(inventory.hosts, inventory.groups, read_file)
    assert reads == ["p.yaml"]


def test_a_kind_of_the_next_talos(inventory: Inventory) -> None:
    inventory.set(
        cluster_talos_version="1.13.9",
        cluster_contract="1.13",
        cluster_patches=[{"apiVersion": "v1alpha1", "kind": "KubeletConfig"}],
    )
    assert "came with Talos 1.14" in inventory.problems()[0].remedy


def test_groups_of_patches(inventory: Inventory) -> None:
    inventory.set(group_patches={"worker": [], "admin": []})
    found = {(problem.key, problem.remedy) for problem in inventory.problems()}
    assert found == {
        ("group_patches.worker", "the group is not known; did you mean workers?"),
        ("group_patches.admin", "the group holds no nodes; name one below talos"),
    }


# --- keys


def test_unknown_keys(inventory: Inventory) -> None:
    inventory.hosts["w1"].update(node_adress="10.9.0.1", cluster_nam="x", group_patchs={"workers": [SECRET]})
    inventory.hosts["w1"].update(node_regsitry_auth={"a": SECRET}, node_password=SECRET, node_zzzzzz=1)
    found = {problem.key: problem for problem in inventory.problems()}
    assert set(found) == {
        "node_adress",
        "cluster_nam",
        "group_patchs",
        "node_regsitry_auth",
        "node_password",
        "node_zzzzzz",
    }
    assert str(found["node_adress"]) == "w1: node_adress is 10.9.0.1: not known; did you mean node_address?"
    assert "did you mean cluster_name?" in found["cluster_nam"].remedy
    assert "did you mean node_registry_auth?" in found["node_regsitry_auth"].remedy
    assert "remove it" in found["node_zzzzzz"].remedy
    assert SECRET not in "".join(map(str, found.values()))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("clutser_talos_version", "cluster_talos_version"),
        ("talos_version", "cluster_talos_version"),
        ("kubernetes_version", "cluster_kubernetes_version"),
        ("nod_labels", "node_labels"),
        ("groups_patches", "group_patches"),
        ("tool_talosctl_pth", "tool_talosctl_path"),
        ("argocd_repo_ulr", "argocd_repo_url"),
        ("admin_frewall", "admin_firewall"),
        ("carb_size", "card_size"),
    ],
)
def test_a_slip_of_the_hand(inventory: Inventory, name: str, meant: str) -> None:
    for host in inventory.hosts.values():
        host.pop(meant, None)
    inventory.hosts["w1"][name] = "1.13.9"
    problem = inventory.only()
    assert (problem.host, problem.key) == ("w1", name)
    assert problem.remedy == f"not known; did you mean {meant}?"


OF_USERS = """
    ansible_host hostname mac address labels network groups group_names patches ntp_servers cache_dir git_token domain
    mirror proxy timezone users nodes inventory_dir inventory_file inventory_hostname playbook_dir environment packages
    card node cluster admin tool argocd repo_url board mirror_password role
"""


def test_a_users_own_variables_are_nobodys_business(inventory: Inventory) -> None:
    inventory.set(
        talos_version="1.14.1",  # cluster_talos_version is made of it
        my_node_labels={},
        vault_node_registry_auth={},
        default_node_taints={},
        **dict.fromkeys(OF_USERS.split(), "x"),
    )
    assert inventory.check().warnings == ()


def test_unknown_keys_of_the_hosts_that_are_no_nodes(inventory: Inventory) -> None:
    inventory.groups["image_writer"] = ["desk"]
    inventory.hosts["desk"] = {"card_reader": ["/dev/sdb"]}
    inventory.hosts["console"] = {"tool_version": {}, "admin_user": "me", "tool_names": []}
    inventory.hosts["elsewhere"] = {"node_adress": "x"}
    found = {(problem.host, problem.key): problem.remedy for problem in inventory.problems()}
    assert found == {
        ("desk", "card_reader"): "not known; did you mean card_readers?",
        ("console", "tool_version"): "not known; did you mean tool_versions?",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("node_network", [{"wireguard": {"privateKey": SECRET}}]),
        ("node_network", {"wireguard": {"privateKey": SECRET}}),
        ("node_network", [[{"privateKey": SECRET}]]),
        ("node_network", [{"vlans": [{"id": 5, "psk": SECRET}]}]),
        ("node_network", [{"routes": [{"secret": SECRET}]}]),
        ("node_registry_mirrors", {"docker.io": f"https://u:{SECRET}@m"}),
        ("node_registry_mirrors", {"docker.io": [f"https://u:{SECRET}@m"]}),
        ("node_registry_mirrors", {"docker.io": [f"https://u:p@{SECRET}@m"]}),
        ("node_registry_mirrors", {f"https://u:{SECRET}@m": ["https://m"]}),
        ("node_registry_mirrors", {"docker.io": [{"url": "https://m", "password": SECRET}]}),
        ("node_registry_mirrors", {"docker.io": {"endpoints": ["https://m"], "auth": {"password": SECRET}}}),
        ("node_registry_mirrors", {"docker.io": {"auth": {"password": SECRET}}}),
        ("node_registry_auth", {f"https://u:{SECRET}@m": {"auth": SECRET}}),
        ("node_address", f"me:{SECRET}@10.9.0.11"),
        ("node_ntp_servers", [f"me:{SECRET}@ntp.lan"]),
        ("node_nameservers", f"me:{SECRET}@10.9.0.1"),
        ("node_installer_registry", f"me:{SECRET}@registry.lan"),
        ("node_wifi_psk", SECRET),
        ("node_wifi", SECRET),
        ("node_install_disk", {"passphrase": SECRET}),
        ("node_schematic", {"overlay": {"wifi": SECRET}}),
        ("card_factory", f"me:{SECRET}@factory"),
        ("card_proxi", f"http://me:{SECRET}@proxy"),
        ("argocd_git_tokn", SECRET),
        ("argocd_admin_pasword_hash", SECRET),
        ("cluster_endpoint", f"https://me:{SECRET}@10.9.0.10:6443"),
    ],
)
def test_no_secret_in_a_problem(inventory: Inventory, name: str, value: object) -> None:
    inventory.hosts["w1"][name] = value
    problems = inventory.problems()
    assert any(problem.key.startswith(name) for problem in problems)
    assert "hidden" in str(problems)
    assert SECRET not in str(problems)


def test_what_cannot_be_resolved_is_one_problem(inventory: Inventory) -> None:
    unresolved = _definition.Unresolved("no password", "{{ x }}")
    inventory.set(cluster_endpoint=unresolved)
    inventory.hosts["w1"].update(node_address=unresolved, node_registry_auth=unresolved, node_mac="x")
    assert {(problem.host, problem.key, problem.value) for problem in inventory.problems()} == {
        *((host, "cluster_endpoint", "{{ x }}") for host in ("c1", "w1", "w2")),
        ("w1", "node_address", "{{ x }}"),
        ("w1", "node_registry_auth", "<hidden>"),
        ("w1", "node_mac", "x"),
    }
    with pytest.raises(DefinitionError, match="cannot be resolved"):
        _definition.cluster_from_variables(inventory.hosts["c1"])
    with pytest.raises(DefinitionError, match="cannot be resolved"):
        _definition.node_from_variables("w1", inventory.hosts["w1"], inventory.groups, inventory.read_file)


def test_a_problem_of_many_hosts_names_them_all(inventory: Inventory) -> None:
    names = [f"n{number}" for number in range(12)]
    pattern = inventory.hosts["w1"]
    for number, name in enumerate(names):
        own = {"node_address": f"10.8.0.{number + 1}", "node_mac": f"02:00:5e:01:00:{number:02x}", "node_board": "x"}
        inventory.hosts[name] = {**pattern, **own}
    inventory.groups.update(talos=["c1", *names], controlplanes=["c1"], workers=names, attic=[])
    with pytest.raises(DefinitionError) as error:
        inventory.check()
    assert str(error.value).startswith(f"{', '.join(names)}: node_board is x")


def test_mistakes_come_in_one_order(inventory: Inventory) -> None:
    inventory.set(**dict.fromkeys(_variables.RUN_VARIABLES, "²"))
    keys = [problem.key for problem in inventory.problems() if problem.host == "w1"]
    assert keys == list(_variables.RUN_VARIABLES)


def test_a_try_is_long_enough(inventory: Inventory) -> None:
    inventory.set(node_try_timeout=9)
    assert {(each.key, each.remedy) for each in inventory.problems()} == {("node_try_timeout", "must be at least 10")}
    inventory.set(node_try_timeout=int(SHORTEST_TRY))
    inventory.check()


# --- cluster


@pytest.mark.parametrize(
    ("key", "value", "remedy"),
    [
        ("cluster_name", None, "name the cluster"),
        ("cluster_name", "My Lab", "lower-case"),
        ("cluster_endpoint", None, "https://host:port"),
        ("cluster_endpoint", "10.9.0.10:6443", "https://host:port"),
        ("cluster_endpoint", "https://10.9.0.10", "https://host:port"),
        ("cluster_endpoint", "http://10.9.0.10:6443", "https://host:port"),
        ("cluster_endpoint", "https://10.9.0.10:6443/api", "https://host:port"),
        ("cluster_endpoint", "https://10.9.0.10:6443?x", "https://host:port"),
        ("cluster_endpoint", "https://10.9.0.300:6443", "https://host:port"),
        ("cluster_endpoint", "https://10.9.0.10:99999", "https://host:port"),
        ("cluster_endpoint", "https://[::1:6443", "https://host:port"),
        ("cluster_talos_version", "v1.14.1", "without a v"),
        ("cluster_talos_version", "1.14", "three numbers"),
        ("cluster_talos_version", 1.14, "three numbers"),
        ("cluster_talos_version", "1.12.9", "does not support Talos 1.12, but 1.13 and 1.14"),
        ("cluster_talos_version", "1.15.0-alpha.1", "does not support Talos 1.15"),
        ("cluster_kubernetes_version", "1.38.0", "carries Kubernetes 1.33 to 1.37"),
        ("cluster_kubernetes_version", "1.32.9", "carries Kubernetes 1.33 to 1.37"),
        ("cluster_kubernetes_version", "latest", "three numbers"),
        ("cluster_contract", "1.12", "one of '1.13', '1.14'"),
        ("cluster_contract", "v1.14", "one of '1.13', '1.14'"),
    ],
)
def test_cluster_refused(inventory: Inventory, key: str, value: object, remedy: str) -> None:
    inventory.set(**{key: value})
    problem = inventory.only()
    assert (problem.host, problem.key) == ("all nodes", key)
    assert problem.value == ("(not set)" if value is None else str(value))
    assert remedy in problem.remedy


def test_credentials_in_the_endpoint_are_not_shown(inventory: Inventory) -> None:
    inventory.set(cluster_endpoint=f"https://me:{SECRET}@10.9.0.10:6443")
    assert SECRET not in str(inventory.only())


@pytest.mark.parametrize("kubernetes", ["1.31.0", "1.36.3"])
def test_talos_1_13(inventory: Inventory, kubernetes: str) -> None:
    inventory.set(cluster_talos_version="1.13.9", cluster_kubernetes_version=kubernetes, cluster_contract="1.13")
    assert inventory.check().cluster.kubernetes_version == kubernetes
    inventory.set(cluster_kubernetes_version="1.37.0-rc.0")
    assert "1.31 to 1.36" in inventory.only().remedy


def test_a_contract_may_be_older_and_not_newer(inventory: Inventory) -> None:
    inventory.set(cluster_contract=1.13)
    assert inventory.check().cluster.contract == "1.13"
    inventory.set(cluster_talos_version="1.13.9", cluster_contract="1.14")
    assert "newer than Talos 1.13" in inventory.only().remedy


def test_nodes_agree_on_the_cluster(inventory: Inventory) -> None:
    inventory.hosts["w2"].update(
        cluster_endpoint="https://10.9.0.12:6443", cluster_patches=[{"machine": {"token": SECRET}}]
    )
    problems = inventory.problems()
    assert [(problem.host, problem.key) for problem in problems] == [
        ("w2", "cluster_endpoint"),
        ("w2", "cluster_patches"),
    ]
    assert problems[0].remedy.startswith("differs from that of c1")
    assert SECRET not in str(problems)


# --- groups and names


def test_control_planes(inventory: Inventory) -> None:
    inventory.groups.update(controlplanes=[], workers=["c1", "w1", "w2"])
    assert "needs a control plane" in inventory.only().remedy
    inventory.groups.update(controlplanes=["c1", "w1"], workers=["w2"])
    (warning,) = inventory.check().warnings
    assert (warning.severity, warning.key, warning.value) == ("warning", "controlplanes", "2 nodes")
    inventory.groups.update(controlplanes=["c1", "w1", "w2"], workers=[])
    assert not inventory.check().warnings


def test_a_node_is_of_one_type(inventory: Inventory) -> None:
    inventory.groups["workers"] = ["c1", "w1"]
    inventory.groups["talos"].append("w3")
    inventory.hosts["w3"] = {**inventory.hosts["w2"], "node_address": "10.9.0.13", "node_mac": "02:00:5e:00:00:13"}
    found = [(problem.host, problem.value) for problem in inventory.problems()]
    assert found == [("c1", '["controlplanes", "workers"]'), ("w2", '["attic"]'), ("w3", "[]")]


def test_a_misspelt_group_of_nodes_is_named_with_the_one_that_was_meant(inventory: Inventory) -> None:
    inventory.groups["worker"] = inventory.groups.pop("workers")
    for problem in inventory.problems():
        assert problem.host in ("w1", "w2")
        assert "worker" in json.loads(problem.value)
        assert problem.remedy == "a node is in exactly one of controlplanes and workers; did you mean workers?"


def test_node_groups_are_below_talos(inventory: Inventory) -> None:
    inventory.groups["talos"] = ["c1", "w1"]
    problem = inventory.only()
    assert (problem.host, problem.value) == ("w2", "workers")
    inventory.groups.update(talos=[], controlplanes=[], workers=[])
    assert any(problem.key == "talos" for problem in inventory.problems())


@pytest.mark.parametrize("admin", [[], ["console", "other"]])
def test_one_admin_host(inventory: Inventory, admin: list[str]) -> None:
    inventory.groups["admin"] = admin
    problem = inventory.only()
    assert (problem.host, problem.key, problem.value) == ("inventory", "admin", json.dumps(admin))


def test_admin_and_image_writer(inventory: Inventory) -> None:
    inventory.groups.update(admin=["c1"], image_writer=["a", "b"])
    assert {problem.key for problem in inventory.problems()} == {"groups", "image_writer"}
    inventory.groups.update(admin=["console"], image_writer=["w1"])
    assert (inventory.only().host, inventory.only().value) == ("w1", "image_writer")


@pytest.mark.parametrize("name", ["validate", "admin", "image", "apply", "bootstrap", "health", "argocd"])
def test_no_node_is_named_like_a_phase(inventory: Inventory, name: str) -> None:
    rename(inventory, "w1", name)
    assert any("is a phase of the run" in problem.remedy for problem in inventory.problems() if problem.key == "name")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("attic", "is also a group"), ("tagged", "means something to --tags"), ("never", "--tags"), ("w,1", "is a tag")],
)
def test_names_that_are_taken(inventory: Inventory, name: str, remedy: str) -> None:
    rename(inventory, "w1", name)
    assert any(problem.host == name and remedy in problem.remedy for problem in inventory.problems())


def rename(inventory: Inventory, old: str, new: str) -> None:
    inventory.hosts[new] = inventory.hosts.pop(old)
    for members in inventory.groups.values():
        members[:] = [new if member == old else member for member in members]


# --- nodes


@pytest.mark.parametrize(
    ("key", "value", "remedy"),
    [
        ("node_address", None, "must be an IP address or a DNS name"),
        ("node_address", "10.9.0.256", "must be an IP address or a DNS name"),
        ("node_address", "10.9.0.11:50000", "without scheme and port"),
        ("node_address", "https://w1", "without scheme and port"),
        ("node_address", "w 1", "must be an IP address or a DNS name"),
        *(
            ("node_address", address, "is no address that a node is reached by")
            for address in (
                str(ipaddress.IPv4Address(0)),
                "224.0.0.1",
                "169.254.1.1",
                "255.255.255.255",
                "::",
                "ff02::1",
                "fe80::1",
            )
        ),
        ("node_mac", "02:00:5e:00:00", "MAC address"),
        ("node_mac", "03:00:5e:00:00:01", "one network device"),
        ("node_mac", 7384523, "quotes"),
        ("node_fingerprint", "abc", "44 characters"),
        ("node_board", "rpi_6", "choose one of rpi_4, rpi_5, generic"),
        ("node_board", ["rpi_4"], "choose one of"),
        ("node_hostname", "W_1", "host name in lower case"),
        ("node_schematic", "abc", "64 hexadecimal digits"),
        ("node_cert_sans", "w1.lan", "must be a list"),
        ("node_labels", ["a"], "must be a mapping"),
        ("node_patches", {"machine": {}}, "must be a list"),
    ],
)
def test_node_refused(inventory: Inventory, key: str, value: object, remedy: str) -> None:
    inventory.hosts["w1"][key] = value
    problem = inventory.only()
    assert (problem.host, problem.key) == ("w1", key)
    assert remedy in problem.remedy


def test_mac_in_other_spellings(inventory: Inventory) -> None:
    inventory.hosts["w1"]["node_mac"] = "D8-3A-DD-00-00-0F"
    assert inventory.check().nodes[1].mac == "d8:3a:dd:00:00:0f"


def test_fingerprint(inventory: Inventory) -> None:
    fingerprint = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    inventory.hosts["w1"]["node_fingerprint"] = fingerprint
    assert inventory.check().nodes[1].fingerprint == fingerprint


@pytest.mark.parametrize(
    ("key", "first", "second"),
    [
        ("node_address", "10.9.0.11", "10.9.0.11"),
        ("node_address", "fd00::1", "fd00:0::1"),
        ("node_address", "node.lan", "NODE.lan"),
        ("node_mac", "d8:3a:dd:00:00:0f", "D8-3A-DD-00-00-0F"),
        ("node_hostname", "kitchen", "kitchen"),
        (
            "node_fingerprint",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        ),
    ],
)
def test_nothing_stands_twice(inventory: Inventory, key: str, first: str, second: str) -> None:
    inventory.hosts["w1"][key] = first
    inventory.hosts["w2"][key] = second
    problem = inventory.only()
    assert (problem.host, problem.key) == ("w2", key)
    assert "w1 has the same" in problem.remedy


def test_names_are_one_node_to_kubernetes_that_differ_after_the_first_dot(inventory: Inventory) -> None:
    inventory.hosts["w1"]["node_hostname"] = "shelf.kitchen.lan"
    inventory.hosts["w2"]["node_hostname"] = "shelf.attic.lan"
    problem = inventory.only()
    assert (problem.host, problem.key, problem.value) == ("w2", "node_hostname", "shelf.attic.lan")
    assert "before the first dot, which is that of w1" in problem.remedy
    inventory.set(cluster_patches=[{"machine": {"kubelet": {"registerWithFQDN": True}}}])
    assert inventory.check()


@pytest.mark.parametrize(
    ("network", "key", "owner"),
    [
        ([{"addresses": ["10.9.0.12/24", "10.9.0.11/24"]}], "node_network[0].addresses[1]", "w1"),
        ([{"addresses": ["10.5.0.2/16"]}], "node_network[0].addresses[0]", "w1"),
        ([{"name": "a"}, {"name": "b", "addresses": ["10.9.0.10/24"]}], "node_network[1].addresses[0]", "c1"),
        ([{"vlans": [{"id": 6, "addresses": ["10.5.0.2/24"]}]}], "node_network[0].vlans[0].addresses[0]", "w1"),
        ([{"mac": "02-00-5E-00-00-11"}], "node_network[0].mac", "w1"),
    ],
)
def test_addresses_and_devices_in_a_network_stand_once(
    inventory: Inventory, network: object, key: str, owner: str
) -> None:
    inventory.hosts["w1"]["node_network"] = [
        {"addresses": ["10.9.0.11/24"], "vlans": [{"id": 5, "addresses": ["10.5.0.2/24"]}]}
    ]
    assert inventory.check()
    inventory.hosts["w2"]["node_network"] = network
    problem = inventory.only()
    assert (problem.host, problem.key) == ("w2", key)
    assert problem.remedy.startswith(f"{owner} has the same")


def test_warnings(inventory: Inventory) -> None:
    del inventory.hosts["w1"]["node_mac"], inventory.hosts["w1"]["node_board"]
    inventory.hosts["w1"]["node_labels"] = {
        "node-role.kubernetes.io/worker": "",
        "topology.kubernetes.io/zone": "a",
        "node.kubernetes.io/x": "b",
    }
    inventory.hosts["c1"]["node_labels"] = {"node-role.kubernetes.io/x": ""}
    inventory.hosts["w2"]["node_network"] = [{"name": "end0", "addresses": ["10.9.0.99/24"]}]
    found = {(warning.host, warning.key) for warning in inventory.check().warnings}
    assert found == {
        ("w1", "node_mac"),
        ("w1", "node_board"),
        ("w1", "node_labels[node-role.kubernetes.io/worker]"),
        ("w2", "node_address"),
    }
    inventory.hosts["w2"]["node_address"] = "127.10.0.5"  # rehearsed
    assert ("w2", "node_address") not in {(warning.host, warning.key) for warning in inventory.check().warnings}


def test_all_problems_come_at_once(inventory: Inventory) -> None:
    inventory.set(cluster_endpoint="10.9.0.10", node_board="rpi_3", cluster_kubernetes_version="1.20.0")
    inventory.hosts["w1"].update(node_address="nowhere at all", node_mac="x")
    inventory.groups["admin"] = []
    with pytest.raises(DefinitionError) as error:
        inventory.check()
    assert str(error.value).splitlines() == [
        "inventory: admin is []: put exactly one host in this group: the VM, localhost or any SSH host",
        "all nodes: cluster_endpoint is 10.9.0.10: must be https://host:port and nothing more, "
        "as https://talos-cp.fritz.box:6443",
        "all nodes: cluster_kubernetes_version is 1.20.0: Talos 1.14 carries Kubernetes 1.33 to 1.37; "
        "choose one of these",
        "c1, w1, w2: node_board is rpi_3: choose one of rpi_4, rpi_5, generic",
        "w1: node_address is nowhere at all: must be an IP address or a DNS name, without scheme and port",
        "w1: node_mac is x: must be the MAC address of one network device, as d8:3a:dd:01:02:03",
    ]
    assert len(error.value.problems) == 8


def test_warnings_are_marked_among_errors(inventory: Inventory) -> None:
    inventory.hosts["w1"]["node_mac"] = None
    inventory.hosts["w1"]["node_board"] = "x"
    with pytest.raises(DefinitionError) as error:
        inventory.check()
    assert [line.startswith("warning: ") for line in str(error.value).splitlines()] == [False, True]


def test_a_problem_is_one_short_line() -> None:
    inventory = Inventory()
    inventory.hosts["w1"]["node_address"] = "a\nb" * 100
    text = str(inventory.only())
    assert "\n" not in text
    assert len(text) < 200


# --- cards


def test_cards(inventory: Inventory) -> None:
    inventory.set(card_size="32GB", card_verify="written", card_timeout=60, card_force=False, card_file="")
    inventory.hosts["w1"]["card_identity"] = "mmc:035344534c31364780e8a1b2c30141a7"
    inventory.hosts["console"] = {"card_readers": ["/dev/sdb", "/dev/disk/by-id/usb-Generic_SD-0:0"]}
    assert inventory.check()


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("card_size", "32", "as 32GB"),
        ("card_size", "0GB", "as 32GB"),
        ("card_verify", "never", "choose one of full, written"),
        ("card_format", "gz", "choose one of zst, xz"),
        ("card_factory", "factory.talos.dev", "must start with https://"),
        ("card_sha256", "abc", "64 digits"),
        ("card_force", "maybe", "true or false"),
        ("card_timeout", 0, "from 1 to 86400"),
        ("card_sice", "32GB", "did you mean card_size?"),
    ],
)
def test_a_mistake_about_cards(inventory: Inventory, name: str, value: object, remedy: str) -> None:
    inventory.hosts["w1"][name] = value
    problem = inventory.only()
    assert (problem.host, problem.key) == ("w1", name)
    assert remedy in problem.remedy


def test_readers_are_checked_where_they_are(inventory: Inventory) -> None:
    inventory.groups["image_writer"] = ["desk"]
    inventory.hosts["desk"] = {"card_readers": ["sdb"]}
    problem = inventory.only()
    assert (problem.host, problem.key) == ("desk", "card_readers[0]")


def test_readers_of_nodes_are_for_nobody(inventory: Inventory) -> None:
    inventory.set(card_readers=["/dev/sdb"])
    assert "the readers are at console" in inventory.problems()[0].remedy
    # As a variable of all hosts has it.
    inventory.hosts["console"] = {"card_readers": ["/dev/sdb"]}
    assert inventory.check()


def test_a_card_is_one_nodes(inventory: Inventory) -> None:
    inventory.set(card_identity="mmc:1")
    assert [problem.host for problem in inventory.problems()] == ["w1", "w2"]


# --- the mission's inventory


def read_homelab() -> tuple[dict[str, Variables], dict[str, list[str]]]:
    folder = ROOT / "inventory" / "homelab"
    tree = yaml.safe_load((folder / "hosts.yml").read_text())
    shared = yaml.safe_load((folder / "group_vars" / "talos.yml").read_text())
    groups: dict[str, list[str]] = {"all": []}
    hosts: dict[str, Variables] = {}

    def walk(name: str, group: Variables) -> list[str]:
        members = groups.setdefault(name, [])
        for host, variables in (group.get("hosts") or {}).items():
            members.append(host)
            hosts.setdefault(host, {}).update(variables or {})
        for child, below in (group.get("children") or {}).items():
            members += walk(child, below)
        return members

    for name, group in tree.items():
        walk(name, group)
    return {host: {**shared, **variables} for host, variables in hosts.items()}, groups


def test_the_homelab_inventory() -> None:
    hosts, groups = read_homelab()
    definition = _definition.check(hosts, groups, lambda path: (ROOT / "inventory" / "homelab" / path).read_text())
    assert not definition.warnings
    assert definition.cluster == Cluster("homelab", "https://talos-cp.fritz.box:6443", "1.14.2", "1.37.1", "1.14")
    nodes = {node.name: node for node in definition.nodes}
    assert list(nodes) == ["talos-cp", "talos-w1", "talos-w2", "talos-w3", "talos-w4"]
    assert [node.machine_type for node in nodes.values()] == ["controlplane"] + ["worker"] * 4
    assert [node.board for node in nodes.values()] == ["rpi_4"] * 4 + ["rpi_5"]
    assert [(node.address, node.mac) for node in nodes.values()] == [
        (f"192.168.178.{number}", f"d8:3a:dd:0a:10:{number}") for number in range(60, 65)
    ]
    labels = {
        name: next(
            document["labels"]
            for document in yaml.safe_load_all(node.patches[0])
            if document.get("kind") == "KubeNodeConfig"
        )
        for name, node in nodes.items()
    }
    assert {name: one["homelab.talos/rack"] for name, one in labels.items() if one["homelab.talos/rack"] != "4u"} == {
        "talos-w3": "1u"
    }
    assert {name: one["homelab.talos/uplink"] for name, one in labels.items()} == {
        **dict.fromkeys(nodes, "switch"),
        "talos-w3": "router",
    }
    assert {name: hosts[name]["card_size"] for name in nodes} == {**dict.fromkeys(nodes, "32GB"), "talos-w4": "128GB"}


# --- cost and tables


def test_the_work_grows_with_the_nodes_and_not_faster() -> None:
    few, many = _calls_to_check(50), _calls_to_check(500)
    assert many < few * 11


def _calls_to_check(nodes: int) -> int:
    """Calls of functions."""
    inventory = Inventory().set(
        cluster_patches=[{"machine": {"sysctls": {f"a{number}": "1" for number in range(20)}}}, "p.yaml"],
        group_patches={"workers": [{"machine": {}}]},
        node_ntp_servers=["ntp.lan"],
        node_network=[{"vlans": [{"id": 100}]}],
    )
    inventory.files["p.yaml"] = "machine: {}\n"
    names = [f"n{number}" for number in range(nodes)]
    pattern = inventory.hosts["w1"]
    inventory.hosts = {
        name: {
            **copy.deepcopy({key: value for key, value in pattern.items() if key != "unrelated"}),
            "node_address": f"10.8.{number // 250}.{number % 250 + 1}",
            "node_mac": f"02:00:5e:01:{number // 256:02x}:{number % 256:02x}",
        }
        for number, name in enumerate(names)
    }
    inventory.groups = {"admin": ["console"], "talos": names, "controlplanes": names[:3], "workers": names[3:]}
    calls = 0

    def count(_frame: t.Any, event: str, _argument: t.Any) -> None:
        nonlocal calls
        calls += event.endswith("call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        definition = inventory.check()
    finally:
        sys.setprofile(before)
    assert len(definition.nodes) == nodes
    return calls


def test_versions() -> None:
    assert _versions.parse("1.14.0-rc.1") == (1, 14, 0, "-rc.1")
    assert _versions.parse("1.14.2\n") is None
    assert set(_versions.MINORS) == set(_versions.KINDS) == {"1.13", "1.14"}
    assert [len(_versions.KINDS[minor]) for minor in ("1.13", "1.14")] == [44, 89]
    for minor, carried in _versions.MINORS.items():
        default = _versions.parse(carried.kubernetes_default)
        assert default is not None
        assert _versions.carries(minor, default)
