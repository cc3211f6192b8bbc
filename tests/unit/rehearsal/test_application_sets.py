# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ApplicationSets as argocd-autopilot writes them, in the rehearsal's Argo CD."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml

from rehearsal.argocd import applications
from rehearsal.argocd.application_sets import filled, merged
from rehearsal.kubernetes.api import MERGE_PATCH
from rehearsal.standin.autopilot import manifests
from rehearsal.standin.autopilot.options import Source
from tests.unit.rehearsal.argocd_scene import IN_CLUSTER, TERMS, Object, Scene, committed, config_map, documents


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    made.credentials()
    return made


def source(scene: Scene) -> Source:
    return Source(scene.url, f"{scene.base}/", "", "", "git", scene.token, "", False)


def create(scene: Scene, text: str) -> None:
    for document in yaml.safe_load_all(text):
        resource = next(each for each in scene.api.store.resources if each.kind == document["kind"])
        scene.api.create(resource, "argocd", document, TERMS)


def conditions(scene: Scene, name: str) -> dict[str, tuple[str, str]]:
    status = scene.api.get(scene.custom("applicationsets"), "argocd", name)["status"]
    return {each["type"]: (each["status"], each["message"]) for each in status["conditions"]}


def config(scene: Scene, name: str, path: str, **more: t.Any) -> str:
    """autopilot's file of an application."""
    words = {"appName": name, "userGivenName": name, "destNamespace": "attic", "destServer": IN_CLUSTER}
    return json.dumps({**words, "srcPath": path, "srcRepoURL": scene.url, "srcTargetRevision": "", **more})


def get(scene: Scene, name: str) -> Object:
    return scene.api.get(scene.custom("applications"), "argocd", name)


def test_the_resources_of_the_cluster(scene: Scene) -> None:
    folder = "bootstrap/cluster-resources"
    files = {
        f"{folder}/in-cluster.json": manifests.in_cluster(),
        f"{folder}/in-cluster/a.yaml": documents(config_map("one", "attic")),
    }
    committed(scene.repository, files)
    create(scene, manifests.cluster_resources("argocd", source(scene)))
    scene.settle()
    name = "cluster-resources-in-cluster"
    assert scene.state_of(name) == ("Synced", "Healthy")
    made = get(scene, name)
    assert made["metadata"]["labels"]["app.kubernetes.io/name"] == name
    assert "finalizers" not in made["metadata"]
    assert made["spec"]["source"]["path"] == f"{folder}/in-cluster"
    assert made["metadata"]["ownerReferences"][0]["kind"] == "ApplicationSet"
    assert {key: value[0] for key, value in conditions(scene, "cluster-resources").items()} == {
        "ErrorOccurred": "False",
        "ParametersGenerated": "True",
        "ResourcesUpToDate": "True",
    }
    scene.api.delete(scene.custom("applicationsets"), "argocd", "cluster-resources", {}, TERMS)
    scene.settle()
    assert scene.names("applications", "argocd") == []
    assert scene.names("configmaps") == ["one"]


def test_a_project_and_its_applications(scene: Scene) -> None:
    directory = config(scene, "web", "manifests/web", exclude="*secret*", include="")
    files = {
        "apps/web/home/config_dir.json": directory,
        "apps/tool/overlays/home/config.json": config(scene, "tool", "apps/tool/overlays/home"),
        "apps/tool/overlays/home/kustomization.yaml": "resources: [a.yaml]\n",
        "apps/tool/overlays/home/a.yaml": documents(config_map("tool")),
        "apps/other/away/config.json": config(scene, "other", "nowhere"),
        "manifests/web/deep/a.yaml": documents(config_map("web")),
        "manifests/web/secret.yaml": documents(config_map("secret")),
    }
    committed(scene.repository, files)
    create(scene, manifests.project("home", "argocd", IN_CLUSTER))
    create(scene, manifests.project_applications("home", "argocd", source(scene), {}, {}))
    scene.settle()
    assert scene.names("applications", "argocd") == ["home-tool", "home-web"]
    assert scene.names("configmaps") == ["tool", "web"]
    web = get(scene, "home-web")
    assert web["spec"]["source"]["directory"] == {"exclude": "*secret*", "include": "", "jsonnet": {}, "recurse": True}
    assert web["spec"]["project"] == "home"
    assert web["metadata"]["finalizers"] == [applications.FINALIZER]

    moved = config(scene, "tool", "manifests/web")
    committed(scene.repository, {"apps/web/home/config_dir.json": None, "apps/tool/overlays/home/config.json": moved})
    scene.settle()
    assert scene.names("applications", "argocd") == ["home-tool"]
    assert scene.names("configmaps") == ["secret"]


def test_what_others_write_is_put_right_but_a_refresh_is_left(scene: Scene) -> None:
    committed(scene.repository, {"apps/a/home/config.json": config(scene, "a", "apps"), "apps/README.md": "about"})
    create(scene, manifests.project("home", "argocd", IN_CLUSTER))
    create(scene, manifests.project_applications("home", "argocd", source(scene), {}, {}))
    scene.settle()
    scene.run("statefulsets", "argocd", "argocd-application-controller", ready=0)
    annotations = {applications.REFRESH: "normal", "other": "x"}
    patch = {"metadata": {"annotations": annotations}, "spec": {"project": "default"}}
    scene.api.patch(scene.custom("applications"), "argocd", "home-a", MERGE_PATCH, patch, TERMS)
    scene.settle()
    assert get(scene, "home-a")["spec"]["project"] == "home"
    assert get(scene, "home-a")["metadata"]["annotations"] == {applications.REFRESH: "normal"}


def test_errors_keep_what_is_there(scene: Scene) -> None:
    files = {"apps/a/home/config.json": config(scene, "a", "apps"), "apps/README.md": "about"}
    committed(scene.repository, files)
    create(scene, manifests.project("home", "argocd", IN_CLUSTER))
    create(scene, manifests.project_applications("home", "argocd", source(scene), {}, {}))
    scene.settle()
    scene.server.add_fault("token-revoked", {})
    scene.settle()
    assert conditions(scene, "home")["ErrorOccurred"][0] == "True"
    assert "authentication required" in conditions(scene, "home")["ErrorOccurred"][1]
    assert scene.names("applications", "argocd") == ["home-a"]
    scene.server.clear_faults()
    committed(scene.repository, {"apps/a/home/config.json": "{"})
    scene.settle()
    assert "unable to process file 'apps/a/home/config.json'" in conditions(scene, "home")["ErrorOccurred"][1]
    assert scene.names("applications", "argocd") == ["home-a"]


def test_templates() -> None:
    assert merged({"a": "", "b": {"c": 1}, "d": {}}, {"a": 2, "b": {"e": 3}}) == {
        "a": 2,
        "b": {"c": 1, "e": 3},
        "d": {},
    }
    template = {"a": ["{{x}}-{{ y.z }}", 3], "b": "{{ unknown }}"}
    assert filled(template, {"x": "1", "y.z": "2"}) == {"a": ["1-2", 3], "b": "{{ unknown }}"}
