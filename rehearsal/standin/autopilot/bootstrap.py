# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``repo bootstrap``, in the eleven steps of the real one."""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rehearsal.standin import durations
from rehearsal.standin.autopilot import manifests, messages
from rehearsal.standin.autopilot.commands import Kubectl
from rehearsal.standin.autopilot.options import Source, pairs, source
from rehearsal.standin.autopilot.repository import Clone
from rehearsal.standin.errors import CommandError
from rehearsal.standin.flags import Flags
from rehearsal.state import write_private

# The number of the step after which this process is killed, to see what a run leaves behind.
DIES_AFTER = "STANDIN_AUTOPILOT_DIES_AFTER"
STEPS = 11
_FOLDERS = ("bootstrap", "projects")
_DEFAULT_WAIT = 300.0
_POLL = 0.5


@dataclass(frozen=True)
class Built:
    """The manifests of step 1."""

    namespace: str
    installation: str
    credentials: str
    kustomization: str
    bootstrap_app: str
    argo_cd_app: str
    root_app: str
    cluster_resources: str

    @property
    def applied(self) -> str:
        return manifests.joined(self.namespace, self.installation, self.credentials)


def run(flags: Flags) -> None:
    where = source(flags)
    recovers, hides = flags.is_on("recover"), flags.is_on("hide-password")
    own_namespace = flags.one("namespace") or "argocd"
    mode, app = _mode(flags), flags.one("app")
    kubectl = Kubectl(flags.one("kubeconfig"), flags.one("context"))
    if app and Path(app).exists():
        messages.warn("detected local bootstrap manifests, using 'flat' installation mode")
        mode = "flat"
    app = app or (manifests.INSECURE_APP if flags.is_on("insecure") else manifests.DEFAULT_APP)
    made = _build(app, own_namespace, where, pairs(flags.many("namespace-labels")))
    _step_done(1)
    if flags.is_on("dry-run"):
        print(manifests.joined(made.applied, made.bootstrap_app, made.argo_cd_app, made.root_app), end="")
        return
    _step_done(2)
    messages.info(f"cloning repo: {where.url}")
    with Clone(where) as clone:
        clone.fetch(writes=not recovers, creates=not recovers)
        _step_done(3)
        messages.info(f'using revision: "{where.revision}", installation path: "{where.path}"')
        _check_folders(clone, recovers)
        _step_done(4)
        _install(kubectl, made, own_namespace, _wait_seconds(flags))
        if not recovers:
            _write(clone.root, made, mode, own_namespace)
            messages.info("pushing bootstrap manifests to repo")
            clone.push(f"Autopilot Bootstrap at {where.path}" if where.path else "Autopilot Bootstrap")
        _step_done(7)
    messages.info("applying argo-cd bootstrap application")
    kubectl.apply(made.bootstrap_app)
    _step_done(8)
    password = _initial_password(kubectl, own_namespace)
    _step_done(9)
    messages.info("running argocd login to initialize argocd config")
    _log_in(kubectl, own_namespace)
    _step_done(10)
    if not hides:
        messages.info("")
        messages.info(f"argocd initialized. password: {password}")
        messages.info(f"run:\n\n    kubectl port-forward -n {own_namespace} svc/argocd-server 8080:80\n\n")
    _step_done(STEPS)


def _step_done(number: int) -> None:
    if os.environ.get(DIES_AFTER) == str(number):
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def _mode(flags: Flags) -> str:
    mode = flags.one("installation-mode") or "normal"
    if mode not in ("normal", "flat"):
        raise CommandError(f"unknown installation mode: {mode}")
    return mode


def _wait_seconds(flags: Flags) -> float:
    text = flags.one("request-timeout") or "0"
    length = durations.seconds(text)
    if length is None:
        raise CommandError(f'invalid argument "{text}" for "--request-timeout" flag: time: invalid duration "{text}"')
    return length or _DEFAULT_WAIT


def _build(app: str, own_namespace: str, where: Source, labels: dict[str, str]) -> Built:
    value = manifests.kustomization(app, own_namespace, where)
    bootstrap, projects = where.below("bootstrap"), where.below("projects")
    argo_cd = where.below("bootstrap", "argo-cd")
    return Built(
        namespace="" if own_namespace == "default" else manifests.namespace(own_namespace, labels),
        installation=manifests.built(value),
        credentials=manifests.credentials(where, own_namespace),
        kustomization=manifests.dump(value),
        bootstrap_app=manifests.application("autopilot-bootstrap", own_namespace, where, bootstrap),
        argo_cd_app=manifests.application("argo-cd", own_namespace, where, argo_cd, finalized=False),
        root_app=manifests.application("root", own_namespace, where, projects),
        cluster_resources=manifests.cluster_resources(own_namespace, where),
    )


def _check_folders(clone: Clone, recovers: bool) -> None:
    for name in _FOLDERS:
        there = (clone.root / name).exists()
        if there and not recovers:
            raise CommandError(f"folder {name} already exist in: /{clone.source.below(name)}")
        if recovers and not there:
            missing = f"{name} directory is missing in /{clone.source.path}"
            raise CommandError(f"recovery failed: invalid repository, {missing}")


def _install(kubectl: Kubectl, made: Built, own_namespace: str, seconds: float) -> None:
    """Steps 5 and 6."""
    messages.info(f'using context: "{kubectl.context}", namespace: "{own_namespace}"')
    messages.info("applying bootstrap manifests to cluster...")
    kubectl.apply(made.applied)
    _step_done(5)
    try:
        _await_server(kubectl, own_namespace, seconds)
    finally:
        print(flush=True)  # where its spinner was
    _step_done(6)


def _await_server(kubectl: Kubectl, own_namespace: str, seconds: float) -> None:
    """Like the real one, take a server that can't be asked after for a ready one."""
    deadline = time.monotonic() + seconds
    while True:
        done = kubectl.get("-n", own_namespace, "deployment", "argocd-server")
        if done.returncode:
            return
        deployment = json.loads(done.stdout)
        if (deployment.get("status") or {}).get("readyReplicas", 0) >= deployment["spec"]["replicas"]:
            return
        if time.monotonic() >= deadline:
            raise CommandError("context deadline exceeded")
        time.sleep(_POLL)


def _write(root: Path, made: Built, mode: str, own_namespace: str) -> None:
    installation = {"install.yaml": made.installation} if mode == "flat" else {"kustomization.yaml": made.kustomization}
    resources = "bootstrap/cluster-resources"
    files = {
        **{f"bootstrap/argo-cd/{name}": text for name, text in installation.items()},
        "bootstrap/root.yaml": made.root_app,
        "bootstrap/argo-cd.yaml": made.argo_cd_app,
        "bootstrap/cluster-resources.yaml": made.cluster_resources,
        f"{resources}/in-cluster.json": manifests.in_cluster(),
        f"{resources}/in-cluster/README.md": "# Cluster resources\n",
        "projects/README.md": "# Projects\n",
        "apps/README.md": "# Applications\n",
    }
    if made.namespace:
        files[f"{resources}/in-cluster/{own_namespace}-ns.yaml"] = made.namespace
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _initial_password(kubectl: Kubectl, own_namespace: str) -> str:
    done = kubectl.get("-n", own_namespace, "secret", "argocd-initial-admin-secret")
    if done.returncode:
        raise CommandError(done.stderr.strip().partition("): ")[2] or done.stderr.strip())
    data = json.loads(done.stdout).get("data") or {}
    if "password" not in data:
        raise CommandError("argocd initial password not found")
    return base64.b64decode(data["password"]).decode()


def _log_in(kubectl: Kubectl, own_namespace: str) -> None:
    """What ``argocd login --port-forward`` leaves; it needs a ready pod to forward to."""
    selector = "app.kubernetes.io/name=argocd-server"
    done = kubectl.get("-n", own_namespace, "pods", "-l", selector)
    pods = json.loads(done.stdout)["items"] if done.returncode == 0 else []
    if not any(_is_ready(pod) for pod in pods):
        told = f"cannot find ready pod with selector: [{selector}]"
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps({"level": "fatal", "msg": told, "time": moment}, separators=(",", ":"))
        print(line, file=sys.stderr)
        sys.exit(1)
    settings = Path.home() / ".config" / "argocd" / "config"
    settings.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    context = {"name": "autopilot", "server": "port-forward", "user": "autopilot"}
    user = {"name": "autopilot", "auth-token": "stand-in"}
    write_private(settings, manifests.dump({"contexts": [context], "current-context": "autopilot", "users": [user]}))
    print("'admin:login' logged in successfully\nContext 'autopilot' updated", flush=True)


def _is_ready(pod: manifests.Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
