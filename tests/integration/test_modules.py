# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each module by itself, in small playbooks, in the order of a cluster's life: what it answers, leaves, and refuses."""

from __future__ import annotations

import asyncio
import datetime
import importlib
import json
import os
import stat
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from ansible_collections.homelab.talos.plugins.module_utils import _client_files
from ansible_collections.homelab.talos.plugins.module_utils._api import Endpoint, connect
from ansible_collections.homelab.talos.plugins.module_utils._credentials import Credentials
from ansible_collections.homelab.talos.plugins.module_utils._errors import NotAuthorized
from ansible_collections.homelab.talos.plugins.module_utils._secrets_bundle import ADMIN, READER, SecretsBundle
from ansible_collections.homelab.talos.plugins.plugin_utils import _cluster_action
from tests.real_talosctl import each_real_talosctl

from .conftest import ROOT, MakeRehearsal, Rehearsal, Run, small_homelab

Result = dict[str, t.Any]
Task = dict[str, t.Any]

# Those that speak to nodes, or are about them.
MODULES = sorted(
    path.stem
    for path in (ROOT / "plugins" / "modules").glob("*.py")
    if "TalosModule" in path.read_text() or path.stem == "validate"
)
CP, WORKER = "talos-cp", "talos-w1"
SYSCTL = {"machine": {"sysctls": {"vm.max_map_count": "262144"}}}
DAY = datetime.timedelta(days=1)

# Notes each task's result, as a callback sees it.
CALLBACK = """\
import json, os
from ansible.plugins.callback import CallbackBase

class CallbackModule(CallbackBase):
    CALLBACK_VERSION, CALLBACK_TYPE, CALLBACK_NAME = 2.0, "notification", "notes"

    def _note(self, result, failed):
        with open(os.environ["NOTES"], "a") as file:
            answer = {**json.loads(json.dumps(result.result, default=str)), "failed": failed}
            file.write(json.dumps([result.task.get_name(), result.host.get_name(), answer]) + "\\n")

    def v2_runner_on_ok(self, result):
        self._note(result, False)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._note(result, True)
"""


class Bench(Rehearsal):
    """A rehearsal that runs single modules."""

    def __init__(self, rehearsal: Rehearsal, folder: Path) -> None:
        super().__init__(rehearsal.state, rehearsal.inventory, rehearsal.network)
        self.folder = folder
        self.last = Run(0, "")
        (folder / "callback").mkdir()
        (folder / "callback" / "notes.py").write_text(CALLBACK)

    def environment(self) -> dict[str, str]:
        more = {"ANSIBLE_CALLBACK_PLUGINS": str(self.folder / "callback"), "NOTES": str(self.folder / "notes")}
        return {**super().environment(), **more}

    def tasks(self, *tasks: Task, hosts: str = CP, words: t.Sequence[str] = (), **play: t.Any) -> list[Result]:
        """The results of these tasks on one host; those of others are in ``results``. A failed task ends nothing."""
        named = [{"ignore_errors": True, **task, "name": str(index)} for index, task in enumerate(tasks)]
        playbook = self.folder / "playbook.yml"
        playbook.write_text(json.dumps([{"hosts": hosts, "gather_facts": False, **play, "tasks": named}]))
        notes = self.folder / "notes"
        notes.write_text("")
        self.last = self.play(*words, playbook=str(playbook), password="--no-password" not in words)
        self.results: dict[str, list[Result]] = {}
        for line in notes.read_text().splitlines():
            _task, host, result = json.loads(line)
            self.results.setdefault(host, []).append(result)
        return next(iter(self.results.values()), [])

    def play(self, *words: str, playbook: str = "site.yml", password: bool = True) -> Run:
        return super().play(*(word for word in words if word != "--no-password"), playbook=playbook, password=password)

    def decrypted(self, path: Path | None = None) -> SecretsBundle:
        password = (self.state / "vault-password").read_bytes().strip()
        content = VaultLib([("default", VaultSecret(password))]).decrypt((path or self.bundle).read_bytes())
        return SecretsBundle.parse(content)

    def talosctl(self, *words: str) -> str:
        done = subprocess.run([self.state / "bin" / "talosctl", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def methods(self) -> set[tuple[str, str]]:
        return {(call["node"], call["method"].rsplit("/", 1)[-1]) for call in self.calls()}

    @property
    def address(self) -> str:
        return next(str(node["address"]) for name, node in self.status().items() if name == CP)


def changed(results: t.Sequence[Result]) -> list[bool]:
    return [bool(each.get("changed")) for each in results]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(scope="module")
def bench(make_rehearsal: MakeRehearsal, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    return Bench(make_rehearsal(small_homelab(folder, "talos-w1")), folder)


@pytest.fixture(scope="module")
def other(bench: Bench) -> Path:
    """Machine configs of another cluster: control plane, worker."""
    folder = bench.folder / "other"
    folder.mkdir()
    bundle = folder / "bundle.yaml"
    bundle.write_text(bench.talosctl("gen", "secrets", "-o", "-"))
    for kind in ("controlplane", "worker"):
        words = ("gen", "config", "other", "https://192.0.2.1:6443", "--with-secrets", str(bundle), "-t", kind)
        (folder / f"{kind}.yaml").write_text(bench.talosctl(*words, "-o", "-"))
    return folder


# --- before the first run


def test_secrets_need_a_password_before_anything_is_made(bench: Bench) -> None:
    (result,) = bench.tasks({"homelab.talos.secrets": {}}, words=["--no-password"])
    assert result["failed"]
    assert "--vault-password-file FILE" in result["msg"]
    assert not bench.bundle.exists()
    assert bench.calls() == []


def test_a_look_before_the_first_run_makes_nothing(bench: Bench) -> None:
    run = bench.play("--check", "--diff").require_ok()
    assert run.changed == {CP: 6, WORKER: 1}
    assert not bench.bundle.exists()
    assert list(bench.admin_dir.iterdir()) == []
    assert {node["stage"] for node in bench.status().values()} == {"maintenance"}


def test_wait_in_check_mode_before_the_first_run_says_that_there_is_nothing(bench: Bench) -> None:
    bench.forget_calls()
    (result,) = bench.tasks({"homelab.talos.wait": {}, "check_mode": True})
    assert (result["failed"], result.get("missing")) == (False, ["there is no secrets bundle yet"])
    assert bench.calls() == []


def test_two_runs_at_once_make_one_bundle(bench: Bench) -> None:
    slow = bench.folder / "slow-talosctl"
    slow.write_text(f'#!/bin/sh\n[ "$2" = secrets ] && sleep 3\nexec "{bench.state}/bin/talosctl" "$@"\n')
    slow.chmod(0o755)
    playbook = bench.folder / "secrets.yml"
    playbook.write_text(json.dumps([{"hosts": CP, "gather_facts": False, "tasks": [{"homelab.talos.secrets": {}}]}]))
    argv = bench.argv("-e", f"tool_talosctl_path={slow}", playbook=str(playbook))
    both = [
        subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=bench.environment()
        )
        for _ in range(2)
    ]
    ended = [(process.communicate()[0], process.returncode) for process in both]
    assert sorted(rc for _output, rc in ended) == [0, 2]
    winner, loser = (output for output, _rc in sorted(ended, key=lambda each: each[1]))
    told = f"[{CP}] made {bench.bundle}: only the vault password of this run opens it"
    assert (winner.count(told), loser.count(told)) == (1, 0)
    assert "was made by another run in the meantime. Run again" in loser
    assert bench.bundle.read_text().startswith("$ANSIBLE_VAULT;")
    assert os.listdir(bench.bundle.parent) == [bench.bundle.name]
    bench.decrypted()


def test_node_info_and_wait_in_maintenance(bench: Bench) -> None:
    wait = {"homelab.talos.wait": {"until": "maintenance", "timeout": 20}}
    late = {"homelab.talos.wait": {"until": "configured", "timeout": 1}}
    # Without a time, for it does not wait.
    (check,) = bench.tasks({"homelab.talos.wait": {"until": "configured"}, "check_mode": True})
    assert (check["failed"], check["missing"]) == (False, [f"{CP}: it is in maintenance"])
    results = bench.tasks(wait, late, {"homelab.talos.node_info": {}}, {"homelab.talos.plan": {}}, hosts="talos")
    assert results[0]["missing"] == []
    assert results[1]["failed"]
    assert f"{WORKER}: it is in maintenance" in results[1]["missing"]
    assert "not configured within 1 s" in results[1]["msg"]
    assert f"{WORKER}: it is in maintenance" in results[1]["msg"]
    facts = results[2]["ansible_facts"]["talos"]
    assert (facts["reachable"], facts["maintenance"], facts["stage"]) == (True, True, "maintenance")
    # The facts of whichever of the two hosts was last.
    assert facts["macs"] in (["d8:3a:dd:0a:10:60"], ["d8:3a:dd:0a:10:61"])
    assert facts["version"] == "v1.14.2"
    assert facts["disks"]
    assert facts["etcd"] == {}
    states = {name: node["state"] for name, node in results[3]["nodes"].items()}
    assert states == {CP: "maintenance", WORKER: "maintenance"}
    assert results[3]["due"]["talosconfig"] == "there is none yet"


def test_what_talosctl_quotes_is_hidden_in_errors_alone(bench: Bench) -> None:
    """The words of a plan may stand in a patch's environment, too."""
    patch = {"machine": {"tokn": "s3cret-value", "env": {"STATE": "invalid"}}}
    words = ["-e", json.dumps({"node_patches": [patch]})]
    found, refused = bench.tasks({"homelab.talos.plan": {}}, {"homelab.talos.machine_config": {}}, words=words)
    node = found["nodes"][CP]
    assert node["state"] == "invalid"
    assert "node_patches[0]: unknown keys: machine.tokn." in node["error"]
    assert f"{CP}: invalid, a run would fail" in found["summary"][0]
    assert (refused["failed"], refused["msg"]) == (True, node["error"])
    assert "s3cret-value" not in bench.last.output


@pytest.mark.parametrize("check", [[], ["--check"]], ids=["run", "check"])
def test_a_patch_that_talosctl_refuses_is_told_before_a_node_is_changed(bench: Bench, check: list[str]) -> None:
    bad = {"group_patches": {"workers": [SYSCTL, {"machine": {"sysctl": "s3cret-value"}}]}}
    bench.forget_calls()
    run = bench.play("-e", json.dumps(bad), *check)
    assert run.rc == 2
    assert "ApplyConfiguration" not in {method for _node, method in bench.methods()}
    assert not (bench.admin_dir / "talosconfig").exists()
    line = f"{WORKER}: group_patches.workers[1]: unknown keys: machine.sysctl. Correct it in the inventory."
    assert line in run.output
    assert sum(counts["failed"] for counts in run.recap.values()) == 1
    assert "gen config" not in run.output
    assert "s3cret-value" not in run.output
    # Who is not picked is not looked at.
    picked = bench.play("-e", json.dumps(bad), "--check", "--tags", CP).require_ok()
    assert "sysctl" not in picked.output


def test_a_machine_config_is_rendered_into_a_private_file_and_no_node_hears_of_it(bench: Bench) -> None:
    dest = bench.folder / "rendered" / "node.yaml"
    render = {"homelab.talos.machine_config": {"state": "rendered", "dest": str(dest)}}
    bench.forget_calls()
    first, second, third = bench.tasks({**render, "check_mode": True}, {**render, "check_mode": True}, render)
    assert changed([first, second, third]) == [True, True, True]
    assert mode(dest) == 0o600
    assert mode(dest.parent) == 0o700
    documents = list(yaml.safe_load_all(dest.read_text()))
    assert documents[0]["machine"]["type"] == "controlplane"
    assert documents[0]["machine"]["token"] == bench.decrypted().as_dict()["trustdinfo"]["token"]
    dest.chmod(0o644)
    again, without = bench.tasks(render, {"homelab.talos.machine_config": {"state": "rendered"}})
    assert again["changed"], "others could read it"
    assert mode(dest) == 0o600
    assert "state is rendered but all of the following are missing: dest" in without["msg"]
    assert changed(bench.tasks(render)) == [False]
    assert bench.calls() == []


# --- the bundle of an existing cluster


def test_a_bundle_is_adopted_once_and_for_all(bench: Bench, other: Path) -> None:
    records = bench.folder / "adopted"
    file = records / "secrets.vault.yml"
    adopt = {"homelab.talos.secrets": {"adopt_from": str(other / "controlplane.yaml")}}
    missing = {"homelab.talos.secrets": {"adopt_from": str(other / "none.yaml")}}
    worker = {"homelab.talos.secrets": {"adopt_from": str(other / "worker.yaml")}}
    documents = list(yaml.safe_load_all((other / "controlplane.yaml").read_text()))
    documents[0]["machine"]["ca"]["key"] = ""
    for name, text in {"empty": "", "keyless": yaml.safe_dump_all(documents)}.items():
        (other / f"{name}.yaml").write_text(text)
    empty = {"homelab.talos.secrets": {"adopt_from": str(other / "empty.yaml")}}
    keyless = {"homelab.talos.secrets": {"adopt_from": str(other / "keyless.yaml")}}
    words = ["-e", f"cluster_records_dir={records}"]
    tasks = [{**adopt, "check_mode": True}, missing, worker, empty, keyless]
    check, absent, *wrong = bench.tasks(*tasks, words=words)
    assert check["changed"]
    assert absent["failed"]
    assert absent["msg"].startswith(f"adopt_from: {other}/none.yaml cannot be read or decrypted. Name a control plane")
    for each in wrong:
        assert each["failed"]
        assert "Let adopt_from name the whole machine config of a control plane" in each["msg"]
    assert "what the config of adopt_from holds is not a Talos secrets bundle: certs.os.key" in wrong[-1]["msg"]
    assert not file.exists()

    results = bench.tasks(adopt, adopt, {"homelab.talos.secrets": {}}, words=words)
    assert changed(results) == [True, False, False]
    assert {each["path"] for each in results} == {str(file)}
    assert mode(file) == 0o600
    made = yaml.safe_load((other / "bundle.yaml").read_text())
    adopted = bench.decrypted(file).as_dict()
    assert adopted["certs"] == made["certs"]
    assert adopted["cluster"] == made["cluster"]
    assert adopted["trustdinfo"] == made["trustdinfo"]
    assert adopted["secrets"] == made["secrets"]

    before = file.read_bytes()
    third = bench.folder / "third.yaml"
    bundle = bench.folder / "third-bundle.yaml"
    bundle.write_text(bench.talosctl("gen", "secrets", "-o", "-"))
    config = ("gen", "config", "third", "https://192.0.2.1:6443", "--with-secrets", str(bundle), "-t", "controlplane")
    third.write_text(bench.talosctl(*config, "-o", "-"))
    (refused,) = bench.tasks({"homelab.talos.secrets": {"adopt_from": str(third)}}, words=words)
    assert refused["failed"]
    assert "another cluster" in refused["msg"]
    assert file.read_bytes() == before


def test_a_vaulted_config_is_adopted_and_a_broken_one_is_not_quoted(bench: Bench, other: Path) -> None:
    password = (bench.state / "vault-password").read_bytes().strip()
    text = (other / "controlplane.yaml").read_text()
    sealed = bench.folder / "sealed.yaml"
    sealed.write_bytes(VaultLib([("default", VaultSecret(password))]).encrypt(text))
    token = yaml.safe_load((other / "bundle.yaml").read_text())["trustdinfo"]["token"]
    broken = bench.folder / "broken.yaml"
    broken.write_text(text.replace("    token:", f"    tokn: {token}\n    token:", 1))
    records = bench.folder / "sealed"
    tasks = [{"homelab.talos.secrets": {"adopt_from": str(path)}} for path in (broken, sealed)]
    failed, made = bench.tasks(*tasks, words=["-e", f"cluster_records_dir={records}", "-vvv"])
    assert failed["failed"]
    assert "tokn: <hidden>" in failed["msg"]
    assert "Let adopt_from name the whole machine config" in failed["msg"]
    assert made["changed"]
    assert token not in bench.last.output


# --- a running cluster


@pytest.fixture(scope="module")
def cluster(bench: Bench) -> Bench:
    bench.play().require_ok()
    return bench


def test_node_info_of_a_running_and_of_a_lost_node(cluster: Bench) -> None:
    cluster.command("power", WORKER, "off")
    try:
        cluster.tasks(
            {"homelab.talos.node_info": {}},
            {"homelab.talos.plan": {}, "run_once": True},
            {"homelab.talos.wait": {"until": "running", "timeout": 1}, "run_once": True},
            hosts="talos",
        )
        lost = cluster.results[WORKER][0]["ansible_facts"]["talos"]
    finally:
        cluster.command("power", WORKER, "on")
    facts = cluster.results[CP][0]["ansible_facts"]["talos"]
    results = cluster.results[CP]
    assert (facts["reachable"], facts["maintenance"], facts["stage"], facts["ready"]) == (True, False, "running", True)
    assert facts["hostname"] == CP
    assert facts["error"] == ""
    assert facts["kubernetes_version"].startswith("v1.")
    assert facts["etcd"]["errors"] == []
    assert facts["services"]["etcd"] == {"state": "Running", "healthy": True}
    assert facts["change_pending"] is False
    assert (lost["reachable"], lost["maintenance"]) == (False, False)
    assert set(lost) == {"reachable", "error", "maintenance"}
    assert WORKER in lost["error"]
    assert results[1]["nodes"][WORKER]["state"] == "unreachable"
    assert results[1]["nodes"][CP]["state"] == "as-declared"
    assert any(line.startswith(f"{WORKER}: unreachable, a run would fail") for line in results[1]["summary"])
    assert results[2]["failed"]
    assert [line.split(":")[0] for line in results[2]["missing"]] == [WORKER]
    (healthy,) = cluster.tasks({"homelab.talos.wait": {"timeout": 30}}, hosts="talos")
    assert not healthy["failed"]


@pytest.mark.slow
def test_the_action_group_sets_defaults_for_each_of_its_modules(cluster: Bench) -> None:
    group = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]["talos"]
    defaults = {"secrets": cluster.decrypted().as_dict(), "hidden": ["what nobody may see"]}
    tasks = [{f"homelab.talos.{name}": {}, "check_mode": True} for name in group]
    results = cluster.tasks(*tasks, module_defaults={"group/homelab.talos.talos": defaults})
    assert [each.get("msg", "") for each in results if each["failed"]] == []
    assert len(results) == len(group)


def test_facts_are_gathered_as_those_of_any_host(cluster: Bench) -> None:
    """As the documentation of node_info shows it."""
    texts = importlib.import_module("ansible_collections.homelab.talos.plugins.modules.node_info").EXAMPLES
    _tasks, example = yaml.safe_load(texts)
    defaults = example["module_defaults"]
    defaults["homelab.talos.node_info"]["talosconfig"] = str(cluster.admin_dir / "talosconfig.reader")
    message = "{{ ansible_facts.talos.stage }} {{ ansible_facts.talos.version }}"
    play = {name: example[name] for name in ("gather_facts", "vars", "module_defaults")}
    *_facts, shown = cluster.tasks({"ansible.builtin.debug": {"msg": message}}, **play)
    assert shown["msg"] == "running v1.14.2"


def test_a_reader_may_look_and_reads_no_machine_config(cluster: Bench) -> None:
    reader, admin = cluster.admin_dir / "talosconfig.reader", cluster.admin_dir / "talosconfig"
    tasks = [{"homelab.talos.node_info": {"talosconfig": str(path)}} for path in (reader, admin)]
    by_reader, by_admin = (each["ansible_facts"]["talos"] for each in cluster.tasks(*tasks))
    assert (by_reader["stage"], by_reader["change_pending"]) == ("running", None)
    assert (by_admin["stage"], by_admin["change_pending"]) == ("running", False)

    async def configs(path: Path) -> bytes:
        context = Credentials.from_talosconfig(path.read_bytes()).ssl_context()
        async with connect(Endpoint(CP, cluster.address), context) as node:
            return (await node.machine_configs()).active

    assert b"machine:" in asyncio.run(configs(admin))
    with pytest.raises(NotAuthorized):
        asyncio.run(configs(reader))


@pytest.mark.parametrize("talosctl", each_real_talosctl())
def test_the_real_talosctl_takes_the_talosconfigs(cluster: Bench, talosctl: str) -> None:
    def get(role: str) -> subprocess.CompletedProcess[str]:
        path = cluster.admin_dir / role
        argv = [talosctl, "--talosconfig", path, "get", "machineconfig", "-o", "yaml"]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)

    assert "type: controlplane" in get("talosconfig").stdout
    refused = get("talosconfig.reader")
    assert refused.returncode != 0
    assert "PermissionDenied" in refused.stderr


@pytest.mark.slow
def test_a_talosconfig_is_made_again_when_it_must_be(cluster: Bench) -> None:
    path = cluster.admin_dir / "talosconfig"
    task = {"homelab.talos.client_config": {}}
    path.unlink()
    check, made, again, longer = cluster.tasks(
        {**task, "check_mode": True},
        task,
        task,
        {"homelab.talos.client_config": {"renew_before": 400}},
    )
    assert check["changed"]
    assert (made["changed"], made["reason"], made["path"]) == (True, "there is none yet", str(path))
    assert (again["changed"], again["reason"]) == (False, "")
    assert not longer["changed"]
    assert Credentials.from_talosconfig(path.read_bytes()).roles == (ADMIN,)

    path.chmod(0o640)
    (mended,) = cluster.tasks(task)
    assert mended["reason"] == "others can read it"
    assert mode(path) == 0o600

    # Of another role, and then of another PKI.
    bundle = cluster.decrypted()
    wrong = bundle.issue("os:operator", 90 * DAY)
    path.write_bytes(_client_files.talosconfig("homelab", [cluster.address], [cluster.address], wrong))
    (mended,) = cluster.tasks(task)
    assert mended["reason"] == "its role is os:operator"
    foreign = SecretsBundle.parse(cluster.talosctl("gen", "secrets", "-o", "-")).issue(ADMIN, 90 * DAY)
    path.write_bytes(_client_files.talosconfig("homelab", [cluster.address], [cluster.address], foreign))
    before = path.read_bytes()
    (look,) = cluster.tasks({**task, "check_mode": True})
    assert look["reason"] == "it is of another PKI"
    assert path.read_bytes() == before
    elsewhere = [{"name": CP, "address": "192.0.2.7"}]
    mended, moved, back = cluster.tasks(task, {"homelab.talos.client_config": {"control_planes": elsewhere}}, task)
    assert mended["reason"] == "it is of another PKI"
    assert moved["reason"] == back["reason"] == "its context, endpoints or nodes are others"
    assert Credentials.from_talosconfig(path.read_bytes()).ca == bundle.talos_ca


def test_an_empty_control_planes_is_said_with_the_group(cluster: Bench) -> None:
    empty: Task = {"control_planes": []}
    kubeconfig = {"homelab.talos.kubeconfig": {**empty, "admin_dir": str(cluster.folder / "elsewhere")}}
    for result in cluster.tasks({"homelab.talos.bootstrap": empty}, kubeconfig):
        assert result["failure"]["kind"] == "NoControlPlane"
        assert "control_planes is empty" in result["msg"]
        assert "group controlplanes" in result["failure"]["remedy"]


@pytest.mark.slow
def test_a_kubeconfig_is_fetched_when_it_must_be_and_is_never_half_written(cluster: Bench) -> None:
    path = cluster.admin_dir / "kubeconfig"
    task = {"homelab.talos.kubeconfig": {}}
    path.unlink()
    check, made, again = cluster.tasks({**task, "check_mode": True}, task, task)
    assert check["changed"]
    assert made["reason"] == "there is none yet"
    assert not again["changed"]
    assert mode(path) == 0o600
    good = path.read_text()
    assert yaml.safe_load(good)["clusters"][0]["cluster"]["server"] == f"https://{cluster.address}:6443"

    path.write_text(good.replace(f"{cluster.address}:6443", "192.0.2.9:6443"))
    (mended,) = cluster.tasks(task)
    assert mended["reason"] == "its server is https://192.0.2.9:6443"
    # A patch may have given the nodes this endpoint, and the cluster have another.
    moved = ["-e", "cluster_endpoint=https://192.0.2.8:6443"]
    check, again = cluster.tasks({**task, "check_mode": True}, task, words=moved)
    assert (check["changed"], check["reason"], again["changed"]) == (False, "", False)
    cluster.fault(CP, "permission-denied", "method=Kubeconfig")
    (check,) = cluster.tasks({**task, "check_mode": True}, words=moved)
    cluster.fault("--clear")
    assert (check["changed"], check["failed"]) == (True, False), "a run may be what makes the node give one"
    content = yaml.safe_load(good)
    etcd_ca = cluster.decrypted().as_dict()["certs"]["etcd"]["crt"]
    content["clusters"][0]["cluster"]["certificate-authority-data"] = etcd_ca
    path.write_text(yaml.safe_dump(content))
    path.chmod(0o644)
    broken = path.read_bytes()
    cluster.fault(CP, "permission-denied", "method=Kubeconfig")
    failed, late = cluster.tasks(task, {"homelab.talos.kubeconfig": {"renew_before": 4000}})
    cluster.fault("--clear")
    assert failed["failed"]
    assert CP in failed["msg"]
    assert "kubeconfig" in failed["msg"]
    assert late["failed"]
    assert path.read_bytes() == broken
    # Nothing half-written; a talosconfig of another PKI is kept with its date.
    left = {name for name in os.listdir(cluster.admin_dir) if not name.startswith("talosconfig.2")}
    assert left == {"cache", "kubeconfig", "talosconfig", "talosconfig.reader"}
    mended, late = cluster.tasks(task, {"homelab.talos.kubeconfig": {"renew_before": 4000}})
    assert mended["reason"] == "it is of another PKI"
    (kept,) = cluster.admin_dir.glob("kubeconfig.2*")
    assert (kept.read_bytes(), mode(kept)) == (broken, 0o600)
    assert not late["changed"]
    path.chmod(0o644)
    by_talosconfig = {"homelab.talos.kubeconfig": {"talosconfig": str(cluster.admin_dir / "talosconfig")}}
    mended, again = cluster.tasks(by_talosconfig, by_talosconfig)
    assert mended["reason"] == "others can read it"
    assert not again["changed"]


def test_a_plan_names_each_state(cluster: Bench, other: Path) -> None:
    plan = {"homelab.talos.plan": {}, "run_once": True}

    def look(*words: str) -> Result:
        (result,) = cluster.tasks(plan, hosts="talos", words=words)
        return result

    def states(result: Result) -> dict[str, str]:
        return {name: node["state"] for name, node in result["nodes"].items()}

    patched = json.dumps({"group_patches": {"workers": [SYSCTL]}})
    found = look("-e", patched)
    assert states(found) == {CP: "as-declared", WORKER: "differs"}
    (difference,) = found["nodes"][WORKER]["differences"]
    assert (difference["document"], difference["path"]) == ("v1alpha1", "machine.sysctls")
    assert found["nodes"][WORKER]["would"] == "apply the machine config"
    assert not found["healthy"]

    staged = {"homelab.talos.machine_config": {"mode": "staged"}}
    cluster.tasks(staged, staged, hosts=WORKER, words=["-e", patched])
    assert changed(cluster.results[WORKER]) == [True, False]
    assert states(look("-e", patched)) == {CP: "as-declared", WORKER: "pending-reboot"}
    cluster.tasks({"homelab.talos.machine_config": {}}, hosts=WORKER)
    assert look()["healthy"]

    records = cluster.folder / "foreign"
    adopt = {"homelab.talos.secrets": {"adopt_from": str(other / "controlplane.yaml")}}
    cluster.tasks(adopt, words=["-e", f"cluster_records_dir={records}"])
    foreign = look("-e", f"cluster_records_dir={records}")
    assert states(foreign) == {CP: "foreign-pki", WORKER: "foreign-pki"}
    assert "not by this cluster's PKI" in foreign["nodes"][CP]["error"]

    cluster.fault(WORKER, "other-machine")
    wrong = look()
    cluster.fault("--clear")
    assert states(wrong) == {CP: "as-declared", WORKER: "wrong-machine"}
    assert wrong["nodes"][WORKER]["would"] == "fail"


def test_validate_touches_nothing_and_says_all_at_once(cluster: Bench) -> None:
    cluster.forget_calls()
    (good,) = cluster.tasks({"homelab.talos.validate": {}})
    assert (good["changed"], good["nodes"]) == (False, 2)
    (bad,) = cluster.tasks({"homelab.talos.validate": {}}, words=["-e", "node_board=rpi_6 cluster_endpoint=talos-cp"])
    assert bad["failed"]
    assert "node_board is rpi_6: choose one of" in bad["msg"]
    assert "cluster_endpoint is talos-cp" in bad["msg"]
    assert cluster.calls() == []


def test_what_the_admin_host_lacks_is_said_with_the_command_that_installs_it(cluster: Bench) -> None:
    venv = cluster.folder / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    words = ["-e", f"ansible_python_interpreter={venv}/bin/python"]
    (result,) = cluster.tasks({"homelab.talos.plan": {}}, words=words)
    assert result["failed"]
    assert f"{venv}/bin/python -m pip install PyYAML cryptography protobuf grpclib" in result["msg"]
    assert len(result["msg"].splitlines()) == 1
    assert "Traceback" not in cluster.last.output
    nowhere = ["-e", "ansible_python_interpreter=/nowhere/venv/bin/python"]
    (result,) = cluster.tasks({"homelab.talos.plan": {}}, words=nowhere)
    assert result["failed"]
    assert "not prepared: it has no /nowhere/venv/bin/python. Run playbooks/admin.yml" in result["msg"]


def test_the_readers_talosconfig_is_another_file(cluster: Bench) -> None:
    path = cluster.admin_dir / "talosconfig.reader"
    path.unlink()
    task = {"homelab.talos.client_config": {"role": "reader"}}
    made, again = cluster.tasks(task, task)
    assert (made["changed"], made["path"], again["changed"]) == (True, str(path), False)
    assert Credentials.from_talosconfig(path.read_bytes()).roles == (READER,)
    assert mode(path) == 0o600


# --- without nodes


def test_a_long_wait_tells_what_is_missing_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    action = _cluster_action.ClusterAction.__new__(_cluster_action.ClusterAction)
    action._variables = {"inventory_hostname": CP}
    calls: list[Result] = []

    def call(arguments: Result) -> Result:
        calls.append(arguments)
        return {"waiting": "talos-w1: it is in maintenance"} if len(calls) < 3 else {"missing": []}

    told: list[tuple[str, bool]] = []
    monkeypatch.setattr(action, "call", call)
    monkeypatch.setattr(_cluster_action.display, "display", lambda text, stderr: told.append((text, stderr)))
    assert action.call_in_steps({"until": "ready"}, 40.0) == {"missing": []}
    assert [(each["step"], each["last"]) for each in calls] == [(15, False), (15, False), (10.0, True)]
    assert told == [
        (f"[{CP}] 15 s of 40 s: talos-w1: it is in maintenance", True),
        (f"[{CP}] 30 s of 40 s: talos-w1: it is in maintenance", True),
    ]


def test_long_work_tells_at_intervals_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    action = _cluster_action.ClusterAction.__new__(_cluster_action.ClusterAction)
    action._variables = {"inventory_hostname": CP}
    told: list[str] = []
    twice = threading.Event()

    def tell(text: str, stderr: bool) -> None:
        told.append(text)
        if len(told) == 2:
            twice.set()

    def call(arguments: Result) -> Result:
        assert twice.wait(60)
        return {"changed": True, **arguments}

    monkeypatch.setattr(_cluster_action, "_STEP_SECONDS", 0.1)
    monkeypatch.setattr(action, "call", call)
    monkeypatch.setattr(_cluster_action.display, "display", tell)
    assert action.call_at_length({"node": CP}, "waiting for it") == {"changed": True, "node": CP}
    assert told[:2] == [f"[{CP}] 0 s: waiting for it"] * 2


@pytest.fixture(scope="module")
def documentation() -> dict[str, t.Any]:
    names = [f"homelab.talos.{name}" for name in MODULES]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "LC_ALL": "C.UTF-8"}
    argv = [str(Path(sys.executable).parent / "ansible-doc"), "-t", "module", "-j", *names]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return {name: json.loads(done.stdout)[f"homelab.talos.{name}"] for name in MODULES}


class _Specified(Exception):
    pass


def _argument_spec(name: str, monkeypatch: pytest.MonkeyPatch) -> Result:
    module = importlib.import_module(f"ansible_collections.homelab.talos.plugins.modules.{name}")
    if not hasattr(module, "main"):
        return {}
    found: list[Result] = []

    def specified(argument_spec: Result, **_rest: t.Any) -> t.NoReturn:
        found.append(argument_spec)
        raise _Specified

    # Modules for tools have an edge of their own, which needs no library.
    edge = next(name for name in ("TalosModule", "ToolModule") if hasattr(module, name))
    monkeypatch.setattr(module, edge, specified)
    with pytest.raises(_Specified):
        module.main()
    return found[0]


def _same_options(spec: Result, documented: Result) -> None:
    assert set(spec) == set(documented)
    for name, option in spec.items():
        told = documented[name]
        assert told.get("type", "str") == option.get("type", "str"), name
        assert told.get("default") == option.get("default"), name
        assert bool(told.get("required")) == bool(option.get("required")), name
        assert told.get("choices") == option.get("choices"), name
        _same_options(option.get("options") or {}, told.get("suboptions") or {})


@pytest.mark.parametrize("name", MODULES)
def test_the_documentation_is_what_the_module_and_its_action_take(
    name: str, documentation: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    doc = documentation[name]["doc"]
    spec = _argument_spec(name, monkeypatch)
    _same_options(spec, doc.get("options") or {})
    action = importlib.import_module(f"ansible_collections.homelab.talos.plugins.action.{name}").ActionModule
    assert action.supplies <= set(spec)
    texts = {option: " ".join(_texts(told["description"])) for option, told in (doc.get("options") or {}).items()}
    filled = {option for option, text in texts.items() if "y default" in text or "action plugin fills" in text}
    assert action.supplies <= filled
    # A task may give less than the module requires only where the action fills it in.
    required = {option for option, told in spec.items() if told.get("required")}
    assert required <= action.supplies | ({"name"} if name == "tool" else set())
    # What holds secrets is marked, or Ansible prints it at -vvv.
    for option in ("secrets", "hidden", "control_plane_config", "transit_key"):
        assert spec.get(option, {"no_log": True})["no_log"]
    assert documentation[name]["return"]


def _texts(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_every_module_has_an_action() -> None:
    assert set(MODULES) <= {path.stem for path in (ROOT / "plugins" / "action").glob("*.py")}
