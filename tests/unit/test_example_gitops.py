# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The example repository: what kustomize builds of it, whether its projects and namespaces allow that, and whether the
modules find it as they would write it.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import typing as t
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml

from ansible_collections.homelab.talos.plugins.module_utils import _argocd_applications as applications
from ansible_collections.homelab.talos.plugins.module_utils import _argocd_projects as projects
from ansible_collections.homelab.talos.plugins.module_utils._argocd_applications import Application
from ansible_collections.homelab.talos.plugins.module_utils._argocd_projects import Project
from ansible_collections.homelab.talos.plugins.module_utils._git import Address
from ansible_collections.homelab.talos.plugins.module_utils._gitops_commit import converge
from ansible_collections.homelab.talos.plugins.module_utils._settings import OUR_LABELS
from tests.git_server import client_of, local_git

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "gitops"
URL = "https://github.com/me/homelab.git"
KUBECTL = Path(sys.executable).with_name("kubectl")
OVERLAYS = sorted(path.parent for path in EXAMPLE.glob("apps/*/overlays/*/kustomization.yaml"))
ENFORCE = "pod-security.kubernetes.io/enforce"
# What Talos has the API server enforce where a namespace says nothing.
TALOS_LEVEL = "baseline"
LEVELS = ("restricted", "baseline", "privileged")
CLUSTER_SCOPED = {"Namespace", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "PersistentVolume"}
# A registry, a name and a version of three numbers; more may follow.
IMAGE = re.compile(r"[a-z0-9.-]+\.[a-z]+(/[a-z0-9._-]+)+:v?\d+\.\d+\.\d+(-[a-z0-9.]+)?(@sha256:[0-9a-f]{64})?")
RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
Object = dict[str, t.Any]


def documents(path: Path) -> list[Object]:
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


def built(overlay: Path) -> list[Object]:
    done = subprocess.run(
        [KUBECTL, "kustomize", str(overlay)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def objects() -> dict[Path, list[Object]]:
    """What each overlay is built to."""
    return {overlay: built(overlay) for overlay in OVERLAYS}


def pods(items: Iterable[Object]) -> Iterator[tuple[str, Object]]:
    """Pod templates, by the name of what makes them."""
    for item in items:
        template = (item.get("spec") or {}).get("template")
        if template:
            yield f"{item['kind']} {item['metadata']['name']}", template


def containers(spec: Object) -> list[Object]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def declared_project(name: str) -> Object:
    return documents(EXAMPLE / "projects" / f"{name}.yaml")[0]


def namespace_labels(name: str) -> dict[str, str]:
    (namespace,) = documents(EXAMPLE / "bootstrap/cluster-resources/in-cluster" / f"{name}-ns.yaml")
    assert namespace["metadata"]["name"] == name
    return namespace["metadata"]["labels"]


# --- pod security


def violations(spec: Object, level: str) -> list[str]:
    """What of a pod a level of the pod security standards does not allow; the fields that pods usually have."""
    found: list[str] = []
    if level == "privileged":
        return found
    found += [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    found += [f"volume {volume['name']}" for volume in spec.get("volumes", []) if "hostPath" in volume]
    for each in containers(spec):
        own = each.get("securityContext") or {}
        added = set((own.get("capabilities") or {}).get("add", []))
        found += ["privileged"] if own.get("privileged") else []
        found += ["hostPort"] if any(port.get("hostPort") for port in each.get("ports", [])) else []
        found += [f"capabilities {added}"] if added else []
        if level == "restricted":
            found += [f"{each['name']}: {what}" for what in _unrestricted(own, spec.get("securityContext") or {})]
    if level == "restricted":
        kinds = {kind for volume in spec.get("volumes", []) for kind in volume if kind != "name"}
        found += [f"volumes {kinds - RESTRICTED_VOLUMES}"] if kinds - RESTRICTED_VOLUMES else []
    return found


def _unrestricted(own: Object, of_pod: Object) -> Iterator[str]:
    both = {**of_pod, **own}
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if (own.get("capabilities") or {}).get("drop") != ["ALL"]:
        yield "capabilities"
    if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
        yield "runAsNonRoot"
    if (both.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile"


def strictest(spec: Object) -> str:
    return next(level for level in LEVELS if not violations(spec, level))


def test_levels_are_told_apart() -> None:
    """The measure itself."""
    spec = built(EXAMPLE / "apps/hello/overlays/web")
    ((_name, template),) = pods(spec)
    good = template["spec"]
    assert strictest(good) == "restricted"
    for change, level in (
        ({"hostNetwork": True}, "privileged"),
        ({"volumes": [{"name": "root", "hostPath": {"path": "/"}}]}, "privileged"),
        ({"securityContext": {}}, "baseline"),
        ({"volumes": [{"name": "nfs", "nfs": {}}]}, "baseline"),
    ):
        assert strictest({**good, **change}) == level, change
    for change, level in (
        ({"privileged": True}, "privileged"),
        ({"capabilities": {"add": ["SYS_ADMIN"]}}, "privileged"),
        ({"allowPrivilegeEscalation": True}, "baseline"),
        ({"runAsUser": 0}, "baseline"),
    ):
        changed = copy.deepcopy(good)
        changed["containers"][0]["securityContext"].update(change)
        assert strictest(changed) == level, change


# --- the example


def test_there_is_what_the_readme_tells() -> None:
    found = {(path.parent.parent.name, path.name) for path in OVERLAYS}
    assert found == {("gateway", "base"), ("node-exporter", "monitoring"), ("hello", "web")}
    readme = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    for app, project in found:
        assert re.search(rf"\| `{project}` \| `{app}` \|", readme)


def test_every_file_belongs_to_something() -> None:
    """A manifest that no kustomization names would never be applied."""
    for base in EXAMPLE.glob("apps/*/base"):
        (kustomization,) = documents(base / "kustomization.yaml")
        generated = [name for each in kustomization.get("configMapGenerator", []) for name in each["files"]]
        named = {*kustomization["resources"], *generated, "kustomization.yaml"}
        assert {path.name for path in base.iterdir()} == named, base
    for project in EXAMPLE.glob("projects/*.yaml"):
        # argocd-autopilot reads two documents by their place, and parts them by this alone.
        parts = project.read_text(encoding="utf-8").split("\n---\n")
        assert [yaml.safe_load(part)["kind"] for part in parts] == ["AppProject", "ApplicationSet"]
    for config in EXAMPLE.glob("apps/*/overlays/*/config.json"):
        data = json.loads(config.read_text(encoding="utf-8"))
        assert data["srcPath"] == f"gitops/{config.parent.relative_to(EXAMPLE)}"
        assert data["srcRepoURL"] == URL


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.parent.parent.name)
def test_projects_allow_what_is_built(objects: dict[Path, list[Object]], overlay: Path) -> None:
    spec = declared_project(overlay.name)["spec"]
    allowed = {each["namespace"] for each in spec["destinations"]}
    kinds = {each["kind"] for each in spec.get("clusterResourceWhitelist", [])}
    assert "*" not in allowed
    assert "*" not in kinds
    for item in objects[overlay]:
        if item["kind"] in CLUSTER_SCOPED:
            assert item["kind"] in kinds, item["metadata"]["name"]
        else:
            assert item["metadata"].get("namespace") in allowed, item["metadata"]
    assert spec["sourceRepos"] == [URL]


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.parent.parent.name)
def test_what_runs_is_pinned_bounded_and_labelled(objects: dict[Path, list[Object]], overlay: Path) -> None:
    items = objects[overlay]
    app = overlay.parent.parent.name
    templates = list(pods(items))
    assert templates
    for name, template in templates:
        for container in containers(template["spec"]):
            assert IMAGE.fullmatch(container["image"]), container["image"]
            for bound in ("requests", "limits"):
                assert {"cpu", "memory"} <= container["resources"][bound].keys(), name
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container.get("readinessProbe"), name
        assert template["spec"]["automountServiceAccountToken"] is False
    for item in items:
        assert item["metadata"]["labels"]["app.kubernetes.io/name"] == app
        assert item["kind"] != "Secret"
        selector = item["spec"].get("selector") if "spec" in item else None
        if selector:
            wanted = selector.get("matchLabels", selector)
            assert wanted
            assert any(wanted.items() <= template["metadata"]["labels"].items() for _name, template in templates)


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.parent.parent.name)
def test_namespaces_allow_the_pods_and_no_more(objects: dict[Path, list[Object]], overlay: Path) -> None:
    items = objects[overlay]
    namespaces = {item["metadata"]["namespace"] for item in items}
    needed = max((LEVELS.index(strictest(template["spec"])) for _name, template in pods(items)), default=0)
    for namespace in namespaces:
        assert namespace_labels(namespace).get(ENFORCE, TALOS_LEVEL) == LEVELS[needed]


def selected(spec: Object) -> Iterator[tuple[str, list[str]]]:
    """Labels of nodes with the values that a pod asks for."""
    for key, value in spec.get("nodeSelector", {}).items():
        yield key, [value]
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms", [])
    wishes = affinity.get("preferredDuringSchedulingIgnoredDuringExecution", [])
    for term in [*terms, *(wish["preference"] for wish in wishes)]:
        for expression in term.get("matchExpressions", []):
            yield expression["key"], expression.get("values", [])


def test_nodes_that_pods_are_for_are_there(objects: dict[Path, list[Object]]) -> None:
    inventory = yaml.safe_load((ROOT / "inventory/homelab/hosts.yml").read_text(encoding="utf-8"))
    nodes = [node for group in inventory["talos"]["children"].values() for node in group["hosts"].values()]
    values = {label: {node.get(name) for node in nodes} for name, label in OUR_LABELS.items()}
    asked = [
        pair for items in objects.values() for _name, template in pods(items) for pair in selected(template["spec"])
    ]
    assert ("homelab.talos/board", ["rpi_5"]) in asked
    for label, wanted in asked:
        assert set(wanted) <= values[label], label


def test_each_node_is_measured(objects: dict[Path, list[Object]]) -> None:
    (daemon,) = (item for items in objects.values() for item in items if item["kind"] == "DaemonSet")
    spec = daemon["spec"]["template"]["spec"]
    assert [each["key"] for each in spec["tolerations"]] == ["node-role.kubernetes.io/control-plane"]
    assert "nodeSelector" not in spec
    assert all(mount["readOnly"] for mount in spec["containers"][0]["volumeMounts"])
    assert spec["securityContext"]["runAsNonRoot"] is True


# --- the modules


def test_the_modules_find_it_as_they_would_write_it(tmp_path: Path) -> None:
    declared = [
        (Project("base", ("base-system",), description="What the other projects rely on"), "gateway", "restricted"),
        (
            Project("monitoring", ("monitoring",), description="What looks at the nodes and the cluster"),
            "node-exporter",
            "privileged",
        ),
        (Project("web", ("web",), description="What is shown to the house"), "hello", "restricted"),
    ]
    with local_git(tmp_path / "server") as git, client_of(git, tmp_path / "client") as client:
        git.bootstrap()
        taken = [path for path in EXAMPLE.rglob("*") if path.is_file() and path.name != "README.md"]
        git.put(
            {
                f"gitops/{path.relative_to(EXAMPLE)}": path.read_text(encoding="utf-8").replace(URL, git.url)
                for path in taken
            }
        )
        address = Address.parse(git.url, "gitops")
        for project, name, level in declared:
            application = Application(
                name, project.name, dest_namespace=project.namespaces[0], namespace_labels={ENFORCE: level}
            )
            project.require_valid()
            application.require_valid()
            for pending in (
                lambda content, own=project: projects.present(content, own),
                lambda content, own=application: applications.present(content, own),
            ):
                assert converge(client, address, "By the test", pending).files == []
        assert git.commits()[0] == "By hand"
