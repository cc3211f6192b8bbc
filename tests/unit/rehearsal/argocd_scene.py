# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Argo CD whose pods are ready, with a store and a repository, but without nodes and HTTP."""

from __future__ import annotations

import asyncio
import subprocess
import typing as t
from pathlib import Path

import yaml

from rehearsal.argocd.controller import ArgoCd
from rehearsal.argocd.faults import ApplicationFaults
from rehearsal.git.repositories import Repository
from rehearsal.git.server import GitServer
from rehearsal.git.settings import GitSettings, prepare
from rehearsal.kubernetes.api import NAMESPACES, Api, Terms
from rehearsal.kubernetes.kinds import CRDS, Resource, built_in
from rehearsal.kubernetes.store import Store
from rehearsal.state import StateFolder

Object = dict[str, t.Any]
IN_CLUSTER = "https://kubernetes.default.svc"
TERMS = Terms("tester")
AUTOMATED = {"automated": {"prune": True, "selfHeal": True, "allowEmpty": True}}
_STATUS = Terms("tester", subresource="status")
_WORKLOADS = (
    ("deployments", "argocd-server"),
    ("deployments", "argocd-applicationset-controller"),
    ("statefulsets", "argocd-application-controller"),
)


def committed(repository: Repository, files: dict[str, str | None], branch: str = "main") -> str:
    """A commit on top of the branch; files of None are removed."""
    known = repository.resolve(branch)
    lines = [f"commit refs/heads/{branch}", "committer Tester <tester@example.invalid> 0 +0000", "data 0", ""]
    lines += [f"from {known}"] if known else []
    for name, text in files.items():
        lines += [f"D {name}"] if text is None else [f"M 100644 inline {name}", f"data {len(text.encode())}", text]
    command = ["git", "--git-dir", str(repository.path), "fast-import", "--quiet", "--force"]
    subprocess.run(command, input="\n".join(lines) + "\n", text=True, check=True)
    return repository.resolve(branch)


def documents(*objects: Object) -> str:
    return yaml.safe_dump_all(objects)


def config_map(name: str, namespace: str = "", **metadata: t.Any) -> Object:
    own = {"name": name, **({"namespace": namespace} if namespace else {}), **metadata}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": own, "data": {"word": "sesame"}}


def deployment(name: str, image: str = "x.invalid/web:1") -> Object:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": image}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def definition(plural: str, kind: str, group: str = "argoproj.io", version: str = "v1alpha1", **spec: t.Any) -> Object:
    """A CustomResourceDefinition that knows no field and takes each."""
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": {**free, **spec}, "status": free}}}
    served = {"name": version, "served": True, "storage": True, "schema": schema}
    names = {"plural": plural, "kind": kind, "singular": kind.lower()}
    head = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    metadata = {"name": f"{plural}.{group}"}
    return {
        **head,
        "metadata": metadata,
        "spec": {"group": group, "scope": "Namespaced", "names": names} | {"versions": [served]},
    }


class Scene:
    """Everything that one test needs."""

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        state = StateFolder(folder / "state")
        state.make()
        settings = GitSettings("192.0.2.9", tls)
        prepare(state, settings)
        self.state, self.url, self.base = state, settings.url, settings.base
        self.token = state.git_token.read_text().strip()
        self.server = GitServer(state, settings)
        self.repository = Repository(state.git / "homelab" / "gitops.git")
        self.api = Api(Store())
        self.faults = ApplicationFaults(None)
        self.argo_cd = ArgoCd(self.api, self.server, self.faults)
        self._install()

    def _install(self) -> None:
        for name in ("argocd", "attic"):
            self.api.create(NAMESPACES, "", {"metadata": {"name": name}}, TERMS)
        for plural, kind in (
            ("applications", "Application"),
            ("applicationsets", "ApplicationSet"),
            ("appprojects", "AppProject"),
        ):
            self.api.create(CRDS, "", definition(plural, kind), TERMS)
        for plural, name in _WORKLOADS:
            self.run(plural, "argocd", name)

    def run(self, plural: str, namespace: str, name: str, ready: int = 1) -> None:
        """A workload whose pods are ready, new or as Git made it."""
        resource = built_in(plural)
        if self.api.store.get(resource.key, namespace, name) is None:
            labels = {"app.kubernetes.io/name": name}
            obj = {**deployment(name), "kind": resource.kind, "metadata": {"name": name, "labels": labels}}
            self.api.create(resource, namespace, obj, TERMS)
        live = self.api.get(resource, namespace, name)
        counts = {"availableReplicas": ready, "readyReplicas": ready, "updatedReplicas": 1}
        status = {**counts, "observedGeneration": live["metadata"]["generation"]}
        self.api.update(resource, namespace, name, {**live, "status": status}, _STATUS)

    def credentials(self, token: str | None = None, *, url: str = "", kind: str = "repo-creds", **more: str) -> None:
        """A Secret that Argo CD reads repositories with."""
        labels = {"argocd.argoproj.io/secret-type": kind}
        data = {"url": url or f"{self.base}/", "username": "git", "password": token or self.token, **more}
        metadata = {"name": f"{kind}-{len(self.api.select(built_in('secrets'), 'argocd'))}", "labels": labels}
        self.api.create(built_in("secrets"), "argocd", {"metadata": metadata, "stringData": data}, TERMS)

    def custom(self, plural: str) -> Resource:
        return next(each for each in self.api.store.resources if each.plural == plural)

    def apply(self, path: str, name: str = "app", **spec: t.Any) -> None:
        """An Application of that folder of the repository; ``spec`` replaces parts of it, ``source`` parts of that."""
        source = {"repoURL": self.url, "path": path, **spec.pop("source", {})}
        own = {"source": source, "destination": {"server": IN_CLUSTER, "namespace": "attic"}, "project": "default"}
        value = {"metadata": {"name": name}, "spec": {**own, "syncPolicy": AUTOMATED, **spec}}
        self.api.create(self.custom("applications"), "argocd", value, TERMS)

    def settle(self) -> None:
        """Rounds until one changes nothing."""

        async def rounds() -> None:
            for _ in range(30):
                before = self.api.store.version
                await self.argo_cd.look_around()
                if self.api.store.version == before:
                    return
            raise AssertionError("there is no end of it")

        asyncio.run(rounds())

    def status(self, name: str = "app") -> Object:
        return t.cast("Object", self.api.get(self.custom("applications"), "argocd", name)["status"])

    def state_of(self, name: str = "app") -> tuple[str, str]:
        status = self.status(name)
        return status["sync"]["status"], status["health"]["status"]

    def conditions(self, name: str = "app") -> dict[str, str]:
        return {each["type"]: each["message"] for each in self.status(name).get("conditions") or []}

    def names(self, plural: str, namespace: str = "attic") -> list[str]:
        resource = next(each for each in self.api.store.resources if each.plural == plural)
        return [each["metadata"]["name"] for each in self.api.select(resource, namespace)]
