# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of an inventory that cannot be used: all at once, of every host, and nothing that it keeps encrypted."""

from __future__ import annotations

import os
import subprocess
import sys
import types
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret, VaultSecretsContext
from ansible.playbook.play_context import PlayContext
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

from ansible_collections.homelab.talos.plugins.action import machine_config, validate
from ansible_collections.homelab.talos.plugins.plugin_utils._cluster_action import ClusterAction

SECRET = "kept-encrypted-7vB2-" + "which-is-longer-than-what-a-problem-shows-of-a-value " * 3

KEY = b"of this run"
ROOT = Path(__file__).resolve().parents[2]

INVENTORY: dict[str, t.Any] = {
    "admin": {"hosts": {"console": {}}},
    "talos": {
        "vars": {"cluster_name": "lab", "cluster_endpoint": "https://10.9.0.10:6443", "node_board": "rpi_4"},
        "children": {
            "controlplanes": {"hosts": {"c1": {"node_address": "10.9.0.10", "node_mac": "02:00:5e:00:00:10"}}},
            "workers": {
                "hosts": {
                    "w1": {"node_address": "10.9.0.11", "node_mac": "02:00:5e:00:00:11"},
                    "w2": {"node_address": "10.9.0.12", "node_mac": "02:00:5e:00:00:12"},
                }
            },
        },
    },
}


class Vaulted(str):
    __slots__ = ()


class Dumper(yaml.SafeDumper):
    pass


Dumper.add_representer(Vaulted, lambda dumper, value: dumper.represent_scalar("!vault", str(value), style="|"))


def vaulted(text: str, key: bytes = KEY) -> Vaulted:
    return Vaulted(VaultLib([("default", VaultSecret(key))]).encrypt(text.encode()).decode())


class Site:
    """An inventory as Ansible resolves it, and our actions on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.more: dict[str, dict[str, t.Any]] = {}

    def set(self, host: str, **variables: t.Any) -> None:
        self.more.setdefault(host, {}).update(variables)

    def action(self, plugin: type[ClusterAction], host: str = "c1") -> ClusterAction:
        (self.folder / "hosts.yml").write_text(yaml.dump(INVENTORY, Dumper=Dumper))
        for name, variables in self.more.items():
            path = self.folder / "host_vars" / f"{name}.yml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(yaml.dump(variables, Dumper=Dumper))
        loader = DataLoader()
        loader.set_vault_secrets([("default", VaultSecret(KEY))])
        inventory = InventoryManager(loader, str(self.folder / "hosts.yml"))
        manager = VariableManager(loader, inventory)
        self.variables = manager.get_vars(host=inventory.get_host(host), include_hostvars=False)
        self.variables["hostvars"] = HostVars(inventory, manager, loader)
        self.variables["ansible_play_hosts"] = ["c1", "w1", "w2"]
        task = types.SimpleNamespace(args={}, action="homelab.talos.validate", async_val=0, check_mode=False)
        return plugin(
            task=task,
            connection=types.SimpleNamespace(_shell=types.SimpleNamespace(tmpdir="none")),
            play_context=PlayContext(),
            loader=loader,
            templar=Templar(loader, self.variables),
            shared_loader_obj=None,
        )

    def validate(self) -> list[str]:
        """What is said, line by line."""
        action = self.action(validate.ActionModule)
        with pytest.raises(AnsibleActionFail) as error:
            action.run(task_vars=self.variables)
        lines = str(error.value).splitlines()
        assert lines[0] == "The inventory cannot be used as it is:"
        assert lines[-1].endswith("Nothing was touched.")
        return lines[1:-1]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(VaultSecretsContext, "_current", None)
    VaultSecretsContext.initialize(VaultSecretsContext([("default", VaultSecret(KEY))]))
    return Site(tmp_path)


def test_a_good_inventory(site: Site) -> None:
    action = site.action(validate.ActionModule)
    assert action.run(task_vars=site.variables) == {"changed": False, "nodes": 3}


@pytest.mark.parametrize("limit", [None, "", "w1", "w1:&workers", "!w2,c1"])
def test_a_limit_to_some_of_its_hosts_is_good(site: Site, limit: str | None) -> None:
    action = site.action(validate.ActionModule)
    assert not action.run(task_vars={**site.variables, "ansible_limit": limit})["changed"]


def test_a_limit_to_a_host_that_is_not_there_is_refused(site: Site) -> None:
    """Ansible warns, and runs on the others."""
    action = site.action(validate.ActionModule)
    with pytest.raises(AnsibleActionFail, match=r"--limit: no such host or group: worker \(did you mean workers\?\)"):
        action.run(task_vars={**site.variables, "ansible_limit": "c1,worker"})


def test_why_a_patch_cannot_be_read_is_said(site: Site) -> None:
    (site.folder / "locked.yaml").write_text(vaulted(SECRET, b"another"))
    site.set("c1", node_patches=["nowhere.yaml"])
    site.set("w1", node_patches=["locked.yaml"])
    assert site.validate() == [
        "c1: node_patches[0] is nowhere.yaml: cannot be read (there is no such file); is it in the inventory's folder?",
        "w1: node_patches[0] is locked.yaml: cannot be read (no permission, not UTF-8, or encrypted with another vault "
        "password); is it in the inventory's folder?",
    ]


def test_what_cannot_be_resolved_is_told_beside_the_rest(site: Site) -> None:
    site.set("c1", node_labels={"a": "{{ nowhere }}"}, cluster_name="{{ nowhere }}")
    site.set("w1", node_address="{{ nowhere }}", node_mac=vaulted(SECRET, b"another"), node_board="rpi_6")
    site.set("console", card_reader=["/dev/sdb"])
    undefined = "cannot be resolved ('nowhere' is undefined); correct the template, or run with the vault password"
    found = site.validate()
    assert f"c1: cluster_name is {{{{ nowhere }}}}: {undefined}" in found
    assert f"c1: node_labels is <hidden>: {undefined}" in found
    assert f"w1: node_address is {{{{ nowhere }}}}: {undefined}" in found
    assert "w1: node_board is rpi_6: choose one of rpi_4, rpi_5, generic" in found
    assert "console: card_reader is <hidden>: not known; did you mean card_readers?" in found
    (vault,) = (line for line in found if line.startswith("w1: node_mac is <hidden>: cannot be resolved"))
    assert "Decryption failed" in vault
    # Nothing follows from what is missing.
    assert len(found) == 6


def test_settings_of_argo_cd_are_checked_where_its_phase_runs(site: Site) -> None:
    wrong = {"argocd_repo_url": "ftp://x", "argocd_version": "3.9"}
    site.set("c1", **wrong, argocd_git_token=vaulted(SECRET), argocd_read_token="{{ nowhere }}", node_board="rpi_6")
    site.set("w1", **wrong)
    found = site.validate()
    assert [line.partition(" is ")[0] for line in found] == [
        *("c1: argocd_read_token", "c1: argocd_version", "c1: argocd_repo_url", "c1: node_board")
    ]
    assert "cannot be resolved" in found[0]


@pytest.mark.parametrize("host", ["w2", "console"])
def test_what_is_encrypted_is_not_shown_in_a_wrong_place(site: Site, host: str) -> None:
    """As it stands, in a template, in a list, in an unknown variable, and in one that is misspelt."""
    value = vaulted(SECRET)
    site.set(
        host,
        my_secret=value,
        node_bord=value,
        node_wifi_psk=value,
        card_file=[value],
        card_timeout=value,
        card_readers=[value],
        node_rack="in {{ my_secret }}",
        node_board=value,
        node_address="{{ my_secret }}",
        node_taints={"a": value},
        node_network=[{"name": value, "wireguard": {"privateKey": value}}],
        cluster_endpoint=value,
    )
    text = "\n".join(site.validate())
    assert "node_bord is <hidden>" in text
    assert "hidden" in text
    for piece in range(0, len(SECRET), 8):
        assert SECRET[piece : piece + 8] not in text


def test_what_is_encrypted_is_not_shown_by_another_module(site: Site) -> None:
    site.set("w2", node_board=vaulted(SECRET), node_labels={"a": "{{ nowhere }}"})
    action = site.action(machine_config.ActionModule, "w2")
    with pytest.raises(AnsibleActionFail) as error:
        action.run(task_vars=site.variables)
    assert "w2: node_board is <hidden>: choose one of" in str(error.value)
    assert "w2: node_labels is <hidden>: cannot be resolved" in str(error.value)


def test_what_is_named_secret_is_not_shown(site: Site) -> None:
    site.set(
        "w1", cluster_hidden=["{{ looked_up }}", {"pin": 83629174}], looked_up=SECRET, node_board="{{ looked_up }}"
    )
    site.set("w2", cluster_hidden=SECRET, node_rack="pin 83629174")
    site.set("console", cluster_hiden=[SECRET])
    text = "\n".join(site.validate())
    assert "w1: node_board is <hidden>: choose one of" in text
    assert "w2: node_rack is pin <hidden>: " in text
    assert "w2: cluster_hidden is <hidden>: must be a list of values" in text
    assert "console: cluster_hiden is <hidden>: not known; did you mean cluster_hidden?" in text
    assert SECRET[:16] not in text


# Where a value comes from: what the play has for it, and what the command line.
WAYS: dict[str, tuple[dict[str, t.Any], list[str]]] = {
    "vars_files": ({"vars_files": ["vault.yml"]}, []),
    "include_vars": ({"pre_tasks": [{"include_vars": "vault.yml"}]}, []),
    "a role": ({"roles": ["keeper"]}, []),
    "an inventory": ({}, ["-i", "more.yml"]),
    "the command line": ({}, ["-e", "@vault.yml"]),
    "a play": ({"vars": {"kept": vaulted(SECRET)}}, []),
    "a lookup": ({}, ["-e", '{"kept": "{{ lookup(\'file\', \'plain\') }}", "cluster_hidden": ["{{ kept }}"]}']),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_comes_from_elsewhere_is_not_shown(tmp_path: Path, way: str) -> None:
    play, words = WAYS[way]
    tasks = [{"set_fact": {"node_board": "{{ kept }}"}}, {"homelab.talos.validate": {}}]
    kept = vaulted(yaml.safe_dump({"kept": SECRET}))
    for name, text in {
        "hosts.yml": yaml.safe_dump(INVENTORY),
        "play.yml": yaml.dump([{"hosts": "c1", **play, "tasks": tasks}], Dumper=Dumper),
        "vault.yml": kept,
        "roles/keeper/vars/main.yml": kept,
        "more.yml": vaulted(yaml.safe_dump({"all": {"vars": {"kept": SECRET, "node_rack": "attic"}}})),
        "plain": SECRET,
        "password": KEY.decode(),
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            *("--vault-password-file", "password", "-i", "hosts.yml", "play.yml", *words),
        ],
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "c1: node_board is <hidden>: choose one of rpi_4, rpi_5, generic" in done.stdout, done.stdout + done.stderr
    assert SECRET[:16] not in done.stdout + done.stderr


def test_a_host_that_is_pasted_twice_is_refused(tmp_path: Path) -> None:
    """Ansible itself takes the last one, with a warning: a node would vanish."""
    hosts = tmp_path / "hosts.yml"
    hosts.write_text("talos:\n  hosts:\n    w2: {rack: 1}\n    w2: {rack: 2}\n")
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-inventory"), "-i", hosts, "--list"],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Found duplicate mapping key 'w2'" in done.stderr
