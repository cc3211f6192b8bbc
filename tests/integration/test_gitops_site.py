# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml to its end, with the real installation of Argo CD: a cluster that follows Git, and comes back from it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.git.repositories import FIRST, Repository

from .conftest import HOMELAB, MakeRehearsal, Rehearsal

OWN = {"autopilot-bootstrap", "argo-cd", "root", "cluster-resources-in-cluster"}


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

    def objects(self) -> set[str]:
        """All of the cluster, but what its controllers make."""
        kinds = self.kubectl("api-resources", "--verbs=list", "-o", "name").split()
        made = {"events", "pods", "replicasets.apps", "controllerrevisions.apps", "leases.coordination.k8s.io"}
        names = ",".join(kind for kind in kinds if kind not in made)
        items = json.loads(self.kubectl("get", names, "-A", "-o", "json"))["items"]
        return {f"{item['kind']} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}" for item in items}

    def reset(self) -> None:
        """All nodes are in maintenance again, and the cluster is gone; the repository stays."""
        self.down()
        for folder in ("nodes", "kubernetes"):
            for path in (self.state / folder).glob("*.json"):
                path.unlink()
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


@contextlib.contextmanager
def watched_processes() -> Iterator[set[str]]:
    """The arguments of every process that ran long enough to be seen."""
    seen: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    seen.add(path.read_bytes().decode(errors="replace"))
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


@pytest.fixture(scope="module")
def site(make_rehearsal: MakeRehearsal) -> Site:
    return Site(make_rehearsal(HOMELAB, "--gitops", "--pod-time", "0.2"))


def test_to_a_cluster_that_follows_git_and_no_secret_shows(site: Site) -> None:
    site.play("--skip-tags", "argocd").require_ok()
    before = site.objects()
    with watched_processes() as processes:
        output = site.play("-vvvv", "--diff").require_ok().output
    assert dict.fromkeys(OWN, ("Synced", "Healthy")).items() <= site.applications().items()

    made = site.objects() - before
    assert "Deployment argocd/argocd-server" in made
    others = {name for name in made if "/argocd" not in name and " argocd/" not in name}
    assert others == {
        "CustomResourceDefinition /applications.argoproj.io",
        "CustomResourceDefinition /applicationsets.argoproj.io",
        "CustomResourceDefinition /appprojects.argoproj.io",
    }, "nothing but Argo CD's own"

    everything = site.kubectl("get", "all,configmaps,applications,applicationsets,crds,namespaces", "-A", "-o", "yaml")
    secrets = json.loads(site.kubectl("get", "secrets", "-A", "-o", "json"))["items"]
    places = {"output": output, "objects": everything, "metadata": json.dumps([each["metadata"] for each in secrets])}
    places |= {"processes": "\n".join(processes), "repository": site.repository._git("log", "-p", "--all")}
    places |= dict(_files(site.state))
    for what, secret in site.secrets().items():
        for form in (secret, base64.b64encode(secret.encode()).decode()):
            assert [place for place, text in places.items() if form in text] == [], what


def _files(state: Path) -> Iterator[tuple[str, str]]:
    """What is left anywhere that a run writes to, but the user's own tokens and the cluster's database."""
    known = {state / "git-token", state / "git-read-token"}
    roots = [state, Path.home() / ".ansible", Path.home() / ".config", *Path("/dev/shm").glob("homelab-talos-*")]
    for root in roots:
        for path in root.rglob("*"):
            if path.is_file() and path not in known and (state / "kubernetes") not in path.parents:
                with contextlib.suppress(OSError):
                    yield str(path), path.read_bytes().decode("latin-1")


def test_a_second_run_changes_nothing(site: Site) -> None:
    head = site.repository.head
    assert site.play().require_ok().changed == {}
    assert site.play("--check", "--diff").require_ok().changed == {}
    assert site.repository.head == head


def test_it_is_a_phase(site: Site) -> None:
    assert "TASK [homelab.talos.argocd" not in site.play("--tags", "talos-w3").require_ok().output
    output = site.play("--tags", "argocd").require_ok().output
    assert "TASK [homelab.talos.argocd" in output
    assert "TASK [homelab.talos.node" not in output
    assert site.play("-e", "argocd_repo_url=").require_ok().changed == {}
    failed = site.play("-e", "argocd_repo_url=", playbook="playbooks/argocd.yml")
    assert failed.rc == 2
    assert "set argocd_repo_url in the inventory" in failed.output


def test_what_git_has_comes_into_the_cluster_by_argo_cd(site: Site, tmp_path: Path) -> None:
    playbook = tmp_path / "apps.yml"
    playbook.write_text(APPLICATIONS)
    site.play(playbook=str(playbook)).require_ok()
    assert site.applications()["demo-web"] == ("Synced", "Healthy")
    assert site.play(playbook=str(playbook)).require_ok().changed == {}

    site.command("fault", "argocd", "app-degraded", "app=demo-web")
    failed = site.play("-e", "seconds=3", playbook=str(playbook))
    assert failed.rc == 2
    assert "demo-web: Degraded" in failed.output
    site.command("fault", "--clear")


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
    - homelab.talos.argocd_wait:
        applications: [demo-web]
        timeout: "{{ seconds | default(60) }}"
"""


def test_rebuilt_from_scratch_it_comes_back_from_git(site: Site) -> None:
    head = site.repository.head
    site.reset()
    assert {node["stage"] for node in site.status().values()} == {"maintenance"}
    site.play().require_ok()
    assert site.repository.head == head, "no commit was needed"
    assert site.applications()["demo-web"][0] == "Synced"
    assert "hello" in site.kubectl("-n", "demo", "get", "configmap", "web", "-o", "yaml")
    assert site.play().require_ok().changed == {}
