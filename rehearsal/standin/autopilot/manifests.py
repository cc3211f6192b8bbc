# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What autopilot writes into the repository, and applies to the cluster."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import typing as t
from pathlib import Path

import yaml

from rehearsal.standin.autopilot.commands import kubectl_path
from rehearsal.standin.autopilot.options import Source
from rehearsal.standin.errors import CommandError

Object = dict[str, t.Any]
DEFAULT_APP = "github.com/argoproj-labs/argocd-autopilot/manifests/base?ref=v0.4.20"
INSECURE_APP = "manifests/insecure"
IN_CLUSTER = "https://kubernetes.default.svc"
MANAGED_BY = {"app.kubernetes.io/managed-by": "argocd-autopilot"}
_INTERVAL = 20
_EMPTY_TEMPLATE = {"metadata": {}, "spec": {"destination": {}, "project": ""}}
_IGNORED = [{"group": "argoproj.io", "jsonPointers": ["/status"], "kind": "Application"}]


def dump(value: Object) -> str:
    """A document as the Go libraries of Kubernetes write it: keys sorted, lists not indented."""
    text: str = yaml.safe_dump(value, default_flow_style=False, width=1 << 20, allow_unicode=True)
    return text


def joined(*documents: str) -> str:
    return "\n---\n".join(document for document in documents if document)


# --- the installation


def kustomization(app: str, namespace: str, source: Source) -> Object:
    value: Object = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    value |= {"namespace": namespace, "resources": [app]}
    if source.certificate:
        host = source.host.partition("//")[2].strip("/").partition(":")[0]
        literal = f"{host}={Path(source.certificate).read_text(encoding='utf-8')}"
        value["configMapGenerator"] = [{"name": "argocd-tls-certs-cm", "behavior": "merge", "literals": [literal]}]
    return value


def built(value: Object) -> str:
    """What kustomize makes of it, in a folder of the current one as the real one does it."""
    folder = Path(tempfile.mkdtemp(prefix="auto-pilot", dir="."))
    try:
        resources = [_seen_from(folder, app) for app in value["resources"]]
        (folder / "kustomization.yaml").write_text(dump({**value, "resources": resources}), encoding="utf-8")
        command = [kubectl_path(), "kustomize", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        shutil.rmtree(folder)
    if done.returncode:
        said = done.stderr.strip().removeprefix("error: ")
        raise CommandError(f"failed to build bootstrap manifests: failed running kustomization: {said}")
    return done.stdout


def _seen_from(folder: Path, app: str) -> str:
    return os.path.relpath(app, folder) if Path(app).exists() and not Path(app).is_absolute() else app


def namespace(name: str, labels: dict[str, str]) -> str:
    metadata: Object = {"annotations": {"argocd.argoproj.io/sync-options": "Prune=false"}, "creationTimestamp": None}
    metadata |= {"labels": labels} if labels else {}
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {**metadata, "name": name}}
    return dump({**document, "spec": {}, "status": {}})


def credentials(source: Source, name: str) -> str:
    """The Secret that Argo CD reads every repository of the host with."""
    labels = {"argocd.argoproj.io/secret-type": "repo-creds", **MANAGED_BY}
    metadata = {"creationTimestamp": None, "labels": labels, "name": "argocd-repo-creds", "namespace": name}
    data = {"password": source.token, "type": "git", "url": source.host, "username": source.user}
    return dump({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data, "type": "Opaque"})


# --- Argo CD's objects


def application(name: str, own_namespace: str, source: Source, path: str, *, finalized: bool = True) -> str:
    metadata: Object = {"creationTimestamp": None, "labels": {**MANAGED_BY, "app.kubernetes.io/name": name}}
    metadata |= {"finalizers": ["resources-finalizer.argocd.argoproj.io"]} if finalized else {}
    metadata |= {"name": name, "namespace": own_namespace}
    spec = {
        "destination": {"namespace": own_namespace, "server": IN_CLUSTER},
        "ignoreDifferences": _IGNORED,
        "project": "default",
        "source": {"path": path, "repoURL": source.url, **_revision(source)},
        "syncPolicy": {"automated": _automated(prune=True), "syncOptions": ["allowEmpty=true"]},
    }
    compared = {"comparedTo": {"destination": {}, "source": {"repoURL": ""}}, "status": ""}
    status = {"health": {}, "sourceHydrator": {}, "summary": {}, "sync": compared}
    head = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": metadata}
    return dump({**head, "spec": spec, "status": status})


def _revision(source: Source) -> dict[str, str]:
    return {"targetRevision": source.revision} if source.revision else {}


def _automated(*, prune: bool) -> dict[str, bool]:
    return {"allowEmpty": True, **({"prune": True} if prune else {}), "selfHeal": True}


def _application_set(name: str, own_namespace: str, generators: list[Object], template: Object, policy: Object) -> str:
    annotations = {"argocd.argoproj.io/sync-wave": "0"}
    metadata = {"annotations": annotations, "creationTimestamp": None, "name": name, "namespace": own_namespace}
    spec = {"generators": generators, "syncPolicy": policy, "template": template}
    head = {"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet", "metadata": metadata}
    return dump({**head, "spec": spec, "status": {}})


def _files(source: Source, path: str, template: Object = _EMPTY_TEMPLATE) -> Object:
    files = {"files": [{"path": path}], "repoURL": source.url, "requeueAfterSeconds": _INTERVAL}
    return {"git": {**files, "revision": source.revision, "template": template}}


def cluster_resources(own_namespace: str, source: Source) -> str:
    name, path = "cluster-resources-{{name}}", source.below("bootstrap", "cluster-resources")
    labels = {**MANAGED_BY, "app.kubernetes.io/name": name}
    template = {
        "metadata": {"labels": labels, "name": name, "namespace": own_namespace},
        "spec": {
            "destination": {"server": "{{server}}"},
            "ignoreDifferences": _IGNORED,
            "project": "default",
            "source": {"path": f"{path}/{{{{name}}}}", "repoURL": source.url, **_revision(source)},
            "syncPolicy": {"automated": _automated(prune=False)},
        },
    }
    policy = {"preserveResourcesOnDeletion": True}
    return _application_set("cluster-resources", own_namespace, [_files(source, f"{path}/*.json")], template, policy)


def project(name: str, own_namespace: str, server: str) -> str:
    annotations = {
        "argocd-autopilot.argoproj-labs.io/default-dest-server": server,
        "argocd.argoproj.io/sync-options": "PruneLast=true",
        "argocd.argoproj.io/sync-wave": "-2",
    }
    metadata = {"annotations": annotations, "creationTimestamp": None, "name": name, "namespace": own_namespace}
    everything = [{"group": "*", "kind": "*"}]
    spec = {
        "clusterResourceWhitelist": everything,
        "description": f"{name} project",
        "destinations": [{"namespace": "*", "server": "*"}],
        "namespaceResourceWhitelist": [dict(kind) for kind in everything],
        "sourceRepos": ["*"],
    }
    head = {"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": metadata}
    return dump({**head, "spec": spec, "status": {}})


def project_applications(
    name: str, own_namespace: str, source: Source, labels: dict[str, str], annotations: dict[str, str]
) -> str:
    """The ApplicationSet that makes an application of each ``config.json`` of the project."""
    path = source.below("apps", "**", name)
    directory = {"exclude": "{{ exclude }}", "include": "{{ include }}", "jsonnet": {}, "recurse": True}
    of_directories = {**_EMPTY_TEMPLATE["spec"], "source": {"directory": directory, "repoURL": ""}}
    generators = [
        _files(source, f"{path}/config.json"),
        _files(source, f"{path}/config_dir.json", {"metadata": {}, "spec": of_directories}),
    ]
    own = labels or {**MANAGED_BY, "app.kubernetes.io/name": "{{ appName }}"}
    metadata = {"labels": own, "name": f"{name}-{{{{ userGivenName }}}}", "namespace": own_namespace}
    template = {
        "metadata": {**metadata, **({"annotations": annotations} if annotations else {})},
        "spec": {
            "destination": {"namespace": "{{ destNamespace }}", "server": "{{ destServer }}"},
            "ignoreDifferences": _IGNORED,
            "project": name,
            "source": {
                "path": "{{ srcPath }}",
                "repoURL": "{{ srcRepoURL }}",
                "targetRevision": "{{ srcTargetRevision }}",
            },
            "syncPolicy": {"automated": _automated(prune=True)},
        },
    }
    return _application_set(name, own_namespace, generators, template, {})


def in_cluster() -> str:
    return json.dumps({"name": "in-cluster", "server": IN_CLUSTER}, separators=(",", ":"))
