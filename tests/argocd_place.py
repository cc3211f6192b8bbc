# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A place for Argo CD: a cluster of the rehearsal, a repository, and runs of the modules as Ansible starts them."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

import yaml
from ansible import constants

from rehearsal.git.repositories import Repository
from rehearsal.git.settings import PORT
from rehearsal.state import read_json
from tests.conformance.kubernetes import Rehearsed
from tests.unit.rehearsal.argocd_scene import definition

ROOT = Path(__file__).parents[1]
VERSION = "9.8.7"
NAMESPACE = "argocd"
_MODULES = "ansible_collections.homelab.talos.plugins.modules"
_SECONDS = 180
_KINDS = {
    "applications": ("Application", 0),
    "appprojects": ("AppProject", 0),
    # As long as makes a client-side apply fail.
    "applicationsets": ("ApplicationSet", 300_000),
}
_WORKLOADS = {"argocd-server": "Deployment", "argocd-application-controller": "StatefulSet"}


def _definition(plural: str) -> dict[str, t.Any]:
    kind, length = _KINDS[plural]
    return definition(plural, kind, description="long " * (length // 5))


def _workload(name: str, kind: str, image: str) -> dict[str, t.Any]:
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "argocd"}
    template = {
        "metadata": {"labels": {"app.kubernetes.io/name": name}},
        "spec": {"containers": [{"name": "it", "image": image}]},
    }
    spec: dict[str, t.Any] = {"replicas": 1, "selector": {"matchLabels": {"app.kubernetes.io/name": name}}}
    spec |= {"template": template, **({"serviceName": name} if kind == "StatefulSet" else {})}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec}


def small_installation(image: str = f"argo.example/argocd:v{VERSION}") -> str:
    """What of an installation of Argo CD matters, in the order that its publisher has."""
    maps = [{"apiVersion": "v1", "kind": kind, "metadata": {"name": name}} for kind, name in _MAPS]
    workloads = [_workload(name, kind, image) for name, kind in _WORKLOADS.items()]
    return yaml.safe_dump_all([*(_definition(plural) for plural in _KINDS), *maps, *workloads])


_MAPS = (("Secret", "argocd-secret"), ("ConfigMap", "argocd-cm"), ("ConfigMap", "argocd-tls-certs-cm"))


@dataclass(frozen=True)
class Outcome:
    """How a module ended: what Ansible takes, and all that it wrote."""

    rc: int
    output: str
    result: dict[str, t.Any]

    @property
    def ok(self) -> dict[str, t.Any]:
        assert self.rc == 0, self.output
        return self.result

    @property
    def failure(self) -> dict[str, t.Any]:
        assert self.rc != 0, self.output
        assert "failure" in self.result, self.output
        found: dict[str, t.Any] = self.result["failure"]
        return found

    @property
    def warnings(self) -> str:
        return "; ".join(str(each) for each in self.result.get("warnings") or ())


class Place:
    """One repository in one cluster, which may be made new."""

    _numbers = itertools.count()

    def __init__(self, rehearsal: Rehearsed, folder: Path) -> None:
        self.rehearsal, self.folder = rehearsal, folder
        self.kubectl = rehearsal.kubectl
        folder.mkdir(parents=True, exist_ok=True)
        self.install = folder / "install.yaml"
        self.write_installation(small_installation())
        self.new_repository()
        self.token = rehearsal.state.git_token.read_text().strip()
        self.read_token = rehearsal.state.git_read_token.read_text().strip()

    def new_repository(self) -> None:
        state = self.rehearsal.state
        name = f"me/gitops-{next(self._numbers)}"
        self.repository = Repository.create(state.git, name)
        self.url = f"http://{read_json(state.settings, {})['git']['address']}:{PORT}/{name}.git"

    def write_installation(self, text: str) -> None:
        self.install.write_text(text)

    def arguments(self, **more: t.Any) -> dict[str, t.Any]:
        bin_ = self.rehearsal.state.bin
        given = {
            "kubeconfig": str(self.kubectl.kubeconfig),
            "kubectl": str(bin_ / "kubectl"),
            "argocd_autopilot": str(bin_ / "argocd-autopilot"),
            "repo_url": self.url,
            "git_token": self.token,
            "read_token": self.read_token,
            "version": VERSION,
            "install_file": str(self.install),
            "install_sha256": hashlib.sha256(self.install.read_bytes()).hexdigest(),
            "ready_timeout": 60,
        }
        return {**given, **more}

    def bootstrap(
        self, *, check: bool = False, environment: t.Mapping[str, str] | None = None, **more: t.Any
    ) -> Outcome:
        return self.module("argocd_bootstrap", self.arguments(**more), check=check, environment=environment)

    def module(
        self,
        name: str,
        arguments: t.Mapping[str, t.Any],
        *,
        check: bool = False,
        environment: t.Mapping[str, str] | None = None,
    ) -> Outcome:
        own = {"_ansible_check_mode": check, "_ansible_diff": True, "_ansible_remote_tmp": str(self.folder)}
        # As with -vvv; before it could be chosen, it was always so.
        if hasattr(constants, "INJECT_INVOCATION"):
            own["_ansible_inject_invocation"] = True
        path = self.folder / "arguments.json"
        path.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, **own}}))
        done = subprocess.run(
            [sys.executable, "-m", f"{_MODULES}.{name}", str(path)],
            cwd=ROOT / "collections",
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        path.unlink()
        output = done.stdout + done.stderr
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        return Outcome(done.returncode, output, json.loads(lines[-1]) if lines else {})

    def renew(self) -> None:
        """Nothing was done yet."""
        self.new_repository()
        if self.kubectl.run("get", "namespace", NAMESPACE).returncode == 0:
            self.new_cluster()

    def converged(self, **more: t.Any) -> None:
        """One run converges, and the next changes nothing."""
        assert self.bootstrap(**more).ok["changed"]
        self.is_unchanged(**more)

    def is_unchanged(self, **more: t.Any) -> None:
        self.await_settled()
        before = self.repository.head, self.objects()
        again = self.bootstrap(**more).ok
        assert not again["changed"], again["actions"]
        assert (self.repository.head, self.objects()) == before
        assert not self.bootstrap(check=True, **more).ok["changed"]

    def await_settled(self) -> None:
        """Argo CD itself is as Git has it."""
        end = time.monotonic() + _SECONDS
        while True:
            own = json.loads(self.kubectl("-n", NAMESPACE, "get", "application", "argo-cd", "-o", "json"))
            sync = (own.get("status") or {}).get("sync") or {}
            head = self.repository._git("rev-parse", own["spec"]["source"].get("targetRevision") or "HEAD")
            if (sync.get("status"), sync.get("revision")) == ("Synced", head):
                return
            assert time.monotonic() < end, own
            time.sleep(0.2)

    # --- what there is

    def files(self) -> dict[str, str]:
        """Of the repository's newest commit."""
        names = self.repository._git("ls-tree", "-r", "--name-only", "HEAD").splitlines()
        return {name: self.repository._git("show", f"HEAD:{name}") for name in names}

    def commits(self) -> list[str]:
        return self.repository._git("log", "--format=%s").splitlines()

    def commit(self, message: str, files: t.Mapping[str, str | None]) -> None:
        """By somebody else."""
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        self.repository._git("worktree", "prune")
        _git("clone", "--quiet", str(self.repository.path), str(work))
        for name, text in files.items():
            path = work / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        _git("-C", str(work), "add", "--all")
        _git("-C", str(work), "-c", "user.name=Me", "-c", "user.email=me@example.invalid", "commit", "-qm", message)
        _git("-C", str(work), "push", "--quiet")

    def objects(self) -> dict[str, str]:
        """What is declared in the cluster: objects by kind and name, without what its controllers tell."""
        found = {}
        kinds = "namespaces,secrets,configmaps,deployments,statefulsets,customresourcedefinitions"
        for item in json.loads(self.kubectl("get", kinds, "-A", "-o", "json"))["items"]:
            metadata = item["metadata"]
            content = {name: item.get(name) for name in ("spec", "data", "type")}
            content["annotations"] = metadata.get("annotations")
            content["labels"] = metadata.get("labels")
            found[f"{item['kind']} {metadata.get('namespace', '')}/{metadata['name']}"] = json.dumps(content)
        return found

    def secret(self, name: str) -> dict[str, t.Any]:
        found: dict[str, t.Any] = json.loads(self.kubectl("-n", NAMESPACE, "get", "secret", name, "-o", "json"))
        return found

    def new_cluster(self) -> None:
        """Another cluster at the same address, with the same PKI: what a rebuild from scratch leaves."""
        self.rehearsal.command("down")
        for path in self.rehearsal.state.kubernetes.glob("*.json"):
            path.unlink()
        self.rehearsal.up()
        self.rehearsal.await_ready()


def _git(*words: str) -> None:
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


KILLER = """#!/bin/sh
# Runs the real one, and kills the module before or after its command of a number.
number=$(($(cat "{count}") + 1))
echo $number > "{count}"
[ "$number-{when}" = "{at}-before" ] && kill -KILL $PPID && exit 1
"{real}" "$@"
code=$?
[ "$number-{when}" = "{at}-after" ] && kill -KILL $PPID
exit $code
"""
