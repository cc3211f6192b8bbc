# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""argocd-autopilot, the stand-in or a real one, at work on a repository and a namespace of a running rehearsal."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import yaml

from rehearsal.git.repositories import Repository
from rehearsal.standin.autopilot.options import Source
from rehearsal.tools import write_autopilot
from tests.conformance.kubernetes import Rehearsed
from tests.unit.rehearsal.argocd_scene import definition

APPLICATIONS = definition("applications", "Application")
# As long as makes a client-side apply fail.
APPLICATION_SETS = definition("applicationsets", "ApplicationSet", description="long " * 60_000)


def workload(kind: str, name: str, replicas: int = 1) -> dict[str, t.Any]:
    """A part of Argo CD, labelled as it is found by."""
    labels = {"app.kubernetes.io/name": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "server", "image": "x.invalid/s"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec}


def server(replicas: int) -> dict[str, t.Any]:
    return workload("Deployment", "argocd-server", replicas)


# Of a real argocd-autopilot, empty where the environment names none.
REAL = os.environ.get("REHEARSAL_ARGOCD_AUTOPILOT", "").split(os.pathsep)[0]
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "argocd-secret"}}


class Attempt:
    """A repository, a namespace and a folder for one test's runs."""

    def __init__(self, rehearsal: Rehearsed, folder: Path, name: str, namespace: str = "", real: str = "") -> None:
        """``real`` is the path of a real argocd-autopilot, without which the stand-in is run."""
        self.rehearsal, self.folder, self.namespace = rehearsal, folder, namespace or name
        self.command = Path(real) if real else folder / "argocd-autopilot"
        self.login_fails = bool(real)
        if not real:
            write_autopilot(self.command)
        self.kubectl = rehearsal.kubectl
        self.repository = Repository.create(rehearsal.state.git, f"attic/{name}")
        base = json.loads(rehearsal.state.settings.read_text())["git"]["address"]
        self.url = f"http://{base}:3000/attic/{name}.git"
        self.missing = self.url.replace(name, "nobody")
        (folder / ".gitconfig").write_text("[user]\n name = Tester\n email = tester@example.invalid\n")
        self.token = rehearsal.state.git_token.read_text().strip()
        self.write_app("app-fixed", APPLICATIONS, server(1), SECRET)
        self.write_app("app-full", APPLICATIONS, server(1), SECRET, APPLICATION_SETS)

    @property
    def source(self) -> Source:
        """The repository as autopilot's own manifests name it."""
        host = self.url.partition("attic/")[0]
        return Source(self.url, host, "", "", "username", self.token, "", False)

    def write_app(self, name: str, *objects: dict[str, t.Any]) -> None:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "install.yaml").write_text(yaml.safe_dump_all(objects))
        (folder / "kustomization.yaml").write_text("resources: [install.yaml]\n")

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        bin_ = self.rehearsal.state.bin
        own = {"HOME": str(self.folder), "KUBECONFIG": str(self.kubectl.kubeconfig), "GIT_TOKEN": self.token}
        own |= {"PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}", "GIT_CONFIG_NOSYSTEM": "1"}
        return subprocess.run(
            [str(self.command), *words],
            cwd=self.folder,
            env={**os.environ, **own, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def bootstrap(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        words = ("--repo", self.url, "--app", "./app-fixed", "-n", self.namespace, "--request-timeout", "60s", *words)
        return self.run("repo", "bootstrap", *words, **environment)

    def bootstrapped(self, *words: str) -> None:
        """Up to the login, which a real one gets no answer to: that would need argocd-server itself."""
        done = self.bootstrap(*words)
        assert "running argocd login" in done.stderr, done.stdout + done.stderr
        assert done.returncode == self.login_fails, done.stderr

    def files(self) -> dict[str, str]:
        """Of the repository's newest commit."""
        names = self.repository._git("ls-tree", "-r", "--name-only", "HEAD").splitlines()
        return {name: self.repository._git("show", f"HEAD:{name}") for name in names}

    def commits(self) -> list[str]:
        return self.repository._git("log", "--format=%s").splitlines()
