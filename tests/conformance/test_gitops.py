# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a bootstrap by argocd-autopilot to a cluster that follows Git, as the real kubectl sees it.

A real argocd-autopilot is run where the environment names one:
``REHEARSAL_ARGOCD_AUTOPILOT=/usr/local/bin/argocd-autopilot``.
"""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from rehearsal.kubernetes import Object
from rehearsal.standin.autopilot import manifests
from tests.conformance.autopilot import REAL, SECRET, Attempt, workload
from tests.conformance.kubernetes import rehearsed
from tests.unit.rehearsal.argocd_scene import IN_CLUSTER, committed, config_map, definition, deployment, documents

_STATE = "jsonpath={.status.sync.status} {.status.health.status}"
_OWN = ("autopilot-bootstrap", "argo-cd", "root", "cluster-resources-in-cluster")


def _argo_cd() -> list[Object]:
    """As little of it as its controllers need to run."""
    kinds = (("applications", "Application"), ("applicationsets", "ApplicationSet"), ("appprojects", "AppProject"))
    return [
        *(definition(plural, kind) for plural, kind in kinds),
        workload("Deployment", "argocd-server"),
        workload("Deployment", "argocd-applicationset-controller"),
        workload("StatefulSet", "argocd-application-controller"),
        SECRET,
    ]


@pytest.fixture(params=["stand-in", "real"])
def attempt(request: pytest.FixtureRequest, tmp_path: Path) -> t.Iterator[Attempt]:
    """Bootstrapped by the one or the other."""
    if request.param == "real" and not REAL:
        pytest.skip("REHEARSAL_ARGOCD_AUTOPILOT names no argocd-autopilot")
    with rehearsed(tmp_path) as rehearsal:
        made = Attempt(rehearsal, tmp_path, "home", "argocd", REAL if request.param == "real" else "")
        made.write_app("argo-cd", *_argo_cd())
        _bootstrap(made)
        yield made


def _bootstrap(attempt: Attempt, *words: str) -> None:
    attempt.bootstrapped("--app", "./argo-cd", "--hide-password", *words)
    for name in _OWN:
        _await_state(attempt, name)


def _await_state(attempt: Attempt, name: str, state: str = "Synced Healthy") -> None:
    own = ("-n", attempt.namespace, "get", "applications.argoproj.io", name)
    attempt.kubectl.until(state, *own, "-o", _STATE)


def _project(attempt: Attempt) -> dict[str, str | None]:
    """A project with an application, as ``project create`` and ``app create`` write them."""
    words = {"appName": "words", "userGivenName": "words", "destNamespace": "attic", "destServer": IN_CLUSTER}
    config = {**words, "srcPath": "apps/words/overlays/home", "srcRepoURL": attempt.url, "srcTargetRevision": ""}
    return {
        "projects/home.yaml": manifests.joined(
            manifests.project("home", attempt.namespace, IN_CLUSTER),
            manifests.project_applications("home", attempt.namespace, attempt.source, {}, {}),
        ),
        "apps/words/base/kustomization.yaml": "resources: [words.yaml]\n",
        "apps/words/base/words.yaml": documents(config_map("words"), deployment("web")),
        "apps/words/overlays/home/kustomization.yaml": "resources: [../../base]\n",
        "apps/words/overlays/home/config.json": json.dumps(config),
        "bootstrap/cluster-resources/in-cluster/attic-ns.yaml": manifests.namespace("attic", {}),
    }


def test_what_is_in_git_is_in_the_cluster(attempt: Attempt) -> None:
    kubectl, found = attempt.kubectl, ("get", "configmap,deployment", "-n", "attic", "-o", "name", "--ignore-not-found")
    files = _project(attempt)
    revision = committed(attempt.repository, files)
    kubectl.until("deployment.apps/web", "get", "deployment", "web", "-n", "attic", "-o", "name")
    _await_state(attempt, "home-words")
    assert kubectl(*found).split() == ["configmap/words", "deployment.apps/web"]
    told = json.loads(kubectl("-n", attempt.namespace, "get", "applications.argoproj.io", "home-words", "-o", "json"))
    assert told["status"]["sync"]["revision"] == revision
    assert told["status"]["summary"]["images"] == ["x.invalid/web:1"]
    kubectl("-n", "attic", "delete", "configmap", "words")
    kubectl.until("configmap/words\ndeployment.apps/web", *found)

    committed(attempt.repository, {name: None for name in files if name.startswith(("apps/", "projects/"))})
    kubectl.until("", *found)
    kubectl.until("", "-n", attempt.namespace, "get", "appprojects", "home", "-o", "name", "--ignore-not-found")
    assert kubectl("get", "namespace", "attic", "-o", "name") == "namespace/attic"  # Prune=false


def test_pods_and_tokens_show_in_the_applications(attempt: Attempt) -> None:
    rehearsal, kubectl = attempt.rehearsal, attempt.kubectl
    rehearsal.command("fault", "argocd", "app-degraded", "app=root")
    _await_state(attempt, "root", "Synced Degraded")
    rehearsal.command("fault", "git", "token-revoked")
    _await_state(attempt, "argo-cd", "Unknown Healthy")
    said = kubectl(
        *("-n", attempt.namespace, "get", "applications.argoproj.io", "argo-cd"),
        *("-o", "jsonpath={.status.conditions[?(@.type=='ComparisonError')].message}"),
    )
    assert "failed to list refs: authentication required" in said
    rehearsal.command("fault", "--clear")
    for name in _OWN:
        _await_state(attempt, name)


def test_recovery_on_another_cluster(attempt: Attempt) -> None:
    revision = committed(attempt.repository, _project(attempt))
    _await_state(attempt, "home-words")
    attempt.rehearsal.rebuild()
    assert attempt.kubectl("get", "namespace", "attic", "--ignore-not-found") == ""
    _bootstrap(attempt, "--recover")
    _await_state(attempt, "home-words")
    assert attempt.repository.head == revision
