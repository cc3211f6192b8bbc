# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml to its end, with the real installation of Argo CD: a cluster that follows Git, and comes back from it."""

from __future__ import annotations

import base64
import contextlib
import json
import lzma
import os
import re
import shutil
import subprocess
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ansible_collections.homelab.talos.plugins.module_utils._kubectl import FIELD_MANAGER
from rehearsal.git.repositories import FIRST, Repository

from .conftest import ROOT, MakeRehearsal, Rehearsal, files_below, small_homelab

OWN = {"autopilot-bootstrap", "argo-cd", "root", "cluster-resources-in-cluster"}
INSTALLATION = ROOT / "rehearsal" / "data" / "argo-cd-3.5.1-install.yaml.xz"
# Those that write down what they see, and Argo CD, which writes what Git has.
CONTROLLERS = {
    *("kubelet", "kube-controller-manager", "talos"),
    *("argocd-application-controller", "argocd-applicationset-controller", "argocd-controller", "argocd-server"),
}
# argocd-autopilot has kubectl built in.
OURS = {FIELD_MANAGER, "kubectl-client-side-apply"}
TOOLS = ("kubectl", "argocd-autopilot")
# Writes down how it was started, and becomes the real one.
RECORDER = """#!/bin/sh
tr '\\0' '\\n' < /proc/$$/cmdline >> "{log}"
tr '\\0' '\\n' < /proc/$$/environ | grep -v "{known}" >> "{log}"
{path}exec "{real}" "$@"
"""

Name = tuple[str, str, str]  # kind, namespace, name


class Site(Rehearsal):
    """A rehearsal with a repository."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        super().__init__(rehearsal.state, rehearsal.inventory, rehearsal.network)
        self.repository = Repository(self.state / "git" / f"{FIRST}.git")

    def environment(self) -> dict[str, str]:
        """Runs show the options of modules, which Ansible may be told to do."""
        return {**super().environment(), "ANSIBLE_INJECT_INVOCATION": "1"}

    def kubectl(self, *words: str) -> str:
        command = [self.state / "bin" / "kubectl", "--kubeconfig", self.admin_dir / "kubeconfig", *words]
        environment = {**os.environ, "HOME": str(self.state)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def applications(self) -> dict[str, tuple[str, str]]:
        items = json.loads(self.kubectl("-n", "argocd", "get", "applications", "-o", "json"))["items"]
        return {
            each["metadata"]["name"]: (each["status"]["sync"]["status"], each["status"]["health"]["status"])
            for each in items
        }

    def await_application(self, name: str, state: tuple[str, str]) -> None:
        end = time.monotonic() + 60
        while self.applications().get(name) != state:
            assert time.monotonic() < end, self.applications()
            time.sleep(0.2)

    def objects(self) -> dict[Name, dict[str, t.Any]]:
        """The metadata of everything in the cluster."""
        kinds = self.kubectl("api-resources", "--verbs=list", "-o", "name").split()
        names = ",".join(kind for kind in kinds if not kind.startswith("events"))
        items = json.loads(self.kubectl("get", names, "-A", "--show-managed-fields", "-o", "json"))["items"]
        found = ((item["kind"], item["metadata"]) for item in items)
        return {(kind, each.get("namespace", ""), each["name"]): each for kind, each in found}

    def reset(self) -> None:
        """All nodes are in maintenance again, and the cluster is gone; the repository stays."""
        self.down()
        for folder in ("nodes", "kubernetes"):
            for path in (self.state / folder).glob("*.json"):
                path.unlink()
        (self.state / "etcd.json").unlink()
        self.up("--gitops")

    def secrets(self) -> dict[str, str]:
        """By what they are called."""
        password = self.kubectl(
            "-n", "argocd", "get", "secret", "argocd-initial-admin-secret", "-o", "jsonpath={.data.password}"
        )
        return {
            "token": (self.state / "git-token").read_text().strip(),
            "read token": (self.state / "git-read-token").read_text().strip(),
            "password": base64.b64decode(password).decode(),
        }


def writers(before: dict[str, t.Any], after: dict[str, t.Any]) -> set[str]:
    """Who changed an object, by its managed fields; nobody that they name, where something else changed."""
    known = [json.dumps(entry) for entry in before.get("managedFields", [])]
    new = [entry for entry in after.get("managedFields", []) if json.dumps(entry) not in known]
    if not new and before.get("resourceVersion") != after["resourceVersion"]:
        return {"nobody"}
    return {entry["manager"] for entry in new if not only_asks(entry)}


def only_asks(entry: dict[str, t.Any]) -> bool:
    """Argo CD to compare what it has made of Git with Git again."""
    fields = entry.get("fieldsV1") or {}
    annotations = fields.get("f:metadata", {}).get("f:annotations", {}).keys() - {"."}
    asked = {"f:argocd.argoproj.io/refresh", "f:argocd.argoproj.io/application-set-refresh"}
    return (
        fields.keys() <= {"f:metadata"}
        and fields.get("f:metadata", {}).keys() <= {"f:annotations"}
        and annotations <= asked
    )


def may_be_ours() -> set[Name]:
    """What the product, or its argocd-autopilot, has to write itself before Argo CD takes over."""
    text = lzma.decompress(INSTALLATION.read_bytes())
    installed = {(each["kind"], each["metadata"]["name"]) for each in yaml.safe_load_all(text)}
    first = {("Secret", "argocd-repo-creds"), ("Application", "autopilot-bootstrap")}
    in_place = {(kind, namespace, name) for kind, name in installed | first for namespace in ("", "argocd")}
    return {("Namespace", "", "argocd"), *in_place}


class Recorded:
    """The binaries that the product starts, each behind a script that writes down arguments and environment."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._site, self._folder, self._log = site, folder, folder / "log"
        # Its git is its own matter, and the token in its environment the way to give it one.
        self._write("argocd-autopilot", site.state / "bin" / "argocd-autopilot", "^GIT_TOKEN=", f'PATH="{_path()}" ')
        self._write("kubectl", site.state / "bin" / "kubectl")
        self._write("git", Path(shutil.which("git") or "git"))

    def _write(self, name: str, real: Path, known: str = "^$", path: str = "") -> None:
        script = self._folder / name
        script.write_text(RECORDER.format(log=self._log, real=real, known=known, path=path))
        script.chmod(0o700)

    def play(self, *words: str) -> str:
        """What the run showed."""
        paths = {f"tool_{name.replace('-', '_')}_path": str(self._folder / name) for name in TOOLS}
        path = f"{self._folder}{os.pathsep}{_path()}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", path)
            return self._site.play(*words, "-e", json.dumps(paths)).require_ok().output

    @property
    def log(self) -> str:
        return self._log.read_text()


def _path() -> str:
    return os.environ["PATH"]


@pytest.fixture(scope="module")
def site(make_rehearsal: MakeRehearsal, tmp_path_factory: pytest.TempPathFactory) -> Site:
    inventory = small_homelab(tmp_path_factory.mktemp("inventory"), "talos-w4")
    return Site(make_rehearsal(inventory, "--gitops", "--pod-time", "0.2"))


def test_to_a_cluster_that_follows_git_and_no_secret_shows(site: Site, tmp_path: Path) -> None:
    site.play("--skip-tags", "argocd").require_ok()
    before, recorded = site.objects(), Recorded(site, tmp_path)
    output = recorded.play("-vvvv", "--diff", "--tags", "argocd")
    assert "TASK [homelab.talos.argocd" in output
    assert "TASK [homelab.talos.node" not in output
    assert dict.fromkeys(OWN, ("Synced", "Healthy")).items() <= site.applications().items()

    after = site.objects()
    assert before.keys() <= after.keys()
    changed = {name: writers(before.get(name, {}), each) - CONTROLLERS for name, each in after.items()}
    # Every namespace gets it, and it has no field that anybody could own.
    assert changed.pop(("ServiceAccount", "argocd", "default")) == {"nobody"}
    ours = {name: managers for name, managers in changed.items() if managers}
    assert ("Deployment", "argocd", "argocd-server") in ours
    assert ours.keys() <= may_be_ours(), "nothing but Argo CD's own, and nothing that was there before"
    assert set().union(*ours.values()) == OURS

    everything = site.kubectl("get", "all,configmaps,applications,applicationsets,crds,namespaces", "-A", "-o", "yaml")
    secrets = json.loads(site.kubectl("get", "secrets", "-A", "-o", "json"))["items"]
    places = {"output": output, "objects": everything, "metadata": json.dumps([each["metadata"] for each in secrets])}
    started = recorded.log
    assert all(f"{tmp_path}/{name}\n" in started for name in ("git", "kubectl", "argocd-autopilot"))
    places |= {"processes": started, "repository": site.repository._git("log", "-p", "--all")}
    places |= dict(_files(site.state))
    for what, secret in site.secrets().items():
        for form in (secret, base64.b64encode(secret.encode()).decode()):
            assert [place for place, text in places.items() if form in text] == [], what


def _files(state: Path) -> Iterator[tuple[str, str]]:
    """What is left anywhere that a run writes to, but the user's own tokens and the cluster's database."""
    known = {state / "git-token", state / "git-read-token"}
    roots = [state, Path.home() / ".ansible", Path.home() / ".config", *Path("/dev/shm").glob("homelab-talos-*")]
    for root in roots:
        for path in files_below(root):
            if path.is_file() and path not in known and (state / "kubernetes") not in path.parents:
                with contextlib.suppress(OSError):
                    yield str(path), path.read_bytes().decode("latin-1")


def test_a_second_run_changes_nothing(site: Site) -> None:
    head = site.repository.head
    assert site.play("--tags", "argocd").require_ok().changed == {}
    assert site.play("--tags", "argocd", "--check", "--diff").require_ok().changed == {}
    assert site.repository.head == head


def test_it_is_a_phase(site: Site) -> None:
    assert "TASK [homelab.talos.argocd" not in site.play("--tags", "talos-w4").require_ok().output
    without = ("-e", "argocd_repo_url=")
    assert site.play("--tags", "argocd", *without).require_ok().changed == {}
    failed = site.play(*without, playbook="playbooks/argocd.yml")
    assert failed.rc == 2
    assert "set argocd_repo_url in the inventory" in failed.output


def test_what_git_has_comes_into_the_cluster_by_argo_cd(site: Site, tmp_path: Path) -> None:
    playbook = with_application(site, tmp_path)
    assert site.applications()["demo-web"] == ("Synced", "Healthy")

    # Argo CD does not tell why, and has it at its own pace.
    nowhere = ("-e", "board=none", "-e", "seconds=1")
    assert site.play(*nowhere, playbook=str(playbook)).rc == 2
    site.await_application("demo-web", ("Synced", "Progressing"))
    failed = site.play(*nowhere, playbook=str(playbook))
    assert failed.rc == 2
    assert re.search(r"demo-web: Deployment demo/web has 0 of 1 pods ready: web-\S+: Unschedulable", failed.output)


def with_application(site: Site, folder: Path) -> Path:
    """The repository has one, and Argo CD has followed; the playbook that did it."""
    playbook = folder / "apps.yml"
    playbook.write_text(APPLICATIONS)
    site.play(playbook=str(playbook)).require_ok()
    return playbook


APPLICATIONS = """\
- hosts: controlplanes
  gather_facts: false
  tasks:
    - homelab.talos.argocd_project:
        name: demo
        namespaces: [demo]
    - homelab.talos.argocd_application:
        name: web
        project: demo
        dest_namespace: demo
        manifests:
          - apiVersion: v1
            kind: ConfigMap
            metadata: {name: web}
            data: {greeting: hello}
          - apiVersion: apps/v1
            kind: Deployment
            metadata: {name: web}
            spec:
              selector: {matchLabels: {app: web}}
              template:
                metadata: {labels: {app: web}}
                spec:
                  nodeSelector: {homelab.talos/board: "{{ board | default('rpi_5') }}"}
                  containers: [{name: web, image: "web.example/web:1"}]
      register: __application
    - homelab.talos.argocd_wait:
        applications: [demo-web]
        commit: "{{ __application.commit }}"
        timeout: "{{ seconds | default(60) }}"
"""


PASSWORD = """\
- hosts: controlplanes
  gather_facts: false
  tasks:
    - homelab.talos.argocd_bootstrap:
        return_admin_password: true
      no_log: "{{ hidden }}"
      register: argocd
    - ansible.builtin.assert:
        that: argocd.admin_password == lookup('ansible.builtin.file', wanted)
"""


def test_the_password_is_returned_to_those_who_do_not_show_it(site: Site, tmp_path: Path) -> None:
    playbook, wanted = tmp_path / "password.yml", tmp_path / "wanted"
    playbook.write_text(PASSWORD)
    password = site.secrets()["password"]
    wanted.write_text(password)
    words = ["-vvvv", "-e", f"wanted={wanted}"]
    shown = site.play(*words, "-e", "hidden=false", playbook=str(playbook))
    assert shown.rc == 2
    assert "return_admin_password needs no_log" in shown.output
    hidden = site.play(*words, "-e", "hidden=true", playbook=str(playbook)).require_ok()
    assert password not in shown.output + hidden.output


@pytest.mark.slow
def test_a_worker_that_failed_is_named_where_argo_cd_waits_for_it(site: Site) -> None:
    site.fault("talos-w4", "frozen")
    failed = site.play("-e", "argocd_ready_timeout=40")
    site.fault("--clear")
    assert failed.failed == {"talos-cp", "talos-w4"}
    assert re.search(
        r"\[talos-cp\] \d+ s: .* still missing: .*argocd-repo-server-.* on talos-w4, which is not ready", failed.output
    )
    assert "Bring talos-w4 back" in failed.output


@pytest.mark.slow
def test_rebuilt_from_scratch_it_comes_back_from_git(site: Site, tmp_path: Path) -> None:
    site.play().require_ok()
    with_application(site, tmp_path)
    head = site.repository.head
    site.reset()
    assert {node["stage"] for node in site.status().values()} == {"maintenance"}
    site.play().require_ok()
    assert site.repository.head == head, "no commit was needed"
    assert site.applications()["demo-web"][0] == "Synced"
    assert "hello" in site.kubectl("-n", "demo", "get", "configmap", "web", "-o", "yaml")
    assert site.play().require_ok().changed == {}
