# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real kubectl against the Kubernetes API of a running rehearsal."""

from __future__ import annotations

import base64
import json
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.homelab.talos.plugins.module_utils._commands import Commands
from ansible_collections.homelab.talos.plugins.module_utils._kubectl import Kubectl as ProductsKubectl
from ansible_collections.homelab.talos.plugins.module_utils._progress import Watch
from rehearsal import pki
from tests.conformance.kubernetes import KUBECTL, Kubectl, Rehearsed, rehearsed

WEB: dict[str, t.Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "containers": [
                    {
                        "name": "server",
                        "image": "registry.invalid/web:1",
                        "env": [{"name": "FIRST", "value": "1"}, {"name": "SECOND", "value": "2"}],
                        "ports": [{"containerPort": 80}],
                    }
                ],
            },
        },
    },
}


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Rehearsed]:
    with rehearsed(tmp_path_factory.mktemp("kubectl")) as made:
        yield made


@pytest.fixture(scope="module")
def kubectl(rehearsal: Rehearsed) -> Kubectl:
    return rehearsal.kubectl


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> t.Iterator[str]:
    name = request.node.name.replace("_", "-").lower()
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--timeout=30s")


def _web(**changes: t.Any) -> str:
    changed = json.loads(json.dumps(WEB))
    container = changed["spec"]["template"]["spec"]["containers"][0]
    changed["spec"]["replicas"] = changes.get("replicas", 2)
    container["image"] = changes.get("image", container["image"])
    container["env"] = changes.get("env", container["env"])
    changed["spec"]["template"]["spec"] |= changes.get("pod", {})
    return yaml.safe_dump(changed)


def _config_map(**data: str) -> str:
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "words"}, "data": data})


def _definition(plural: str, *, text: str = "") -> str:
    """A CustomResourceDefinition; ``text`` makes it as long as wanted."""
    spec = {
        "type": "object",
        "required": ["size"],
        "description": text,
        "properties": {"size": {"type": "integer"}, "colour": {"type": "string", "enum": ["red", "blue"]}},
    }
    names = {"plural": plural, "kind": plural[:-1].capitalize(), "shortNames": [plural[:3]]}
    schema = {"type": "object", "required": ["spec"], "properties": {"spec": spec}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    version["additionalPrinterColumns"] = [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]
    return yaml.safe_dump(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.attic.example"},
            "spec": {"group": "attic.example", "scope": "Namespaced", "names": names, "versions": [version]},
        }
    )


# --- the cluster


def test_version_and_nodes(kubectl: Kubectl) -> None:
    assert "Server Version: v1." in kubectl("version")
    rows = [line.split() for line in kubectl("get", "nodes").splitlines()]
    assert rows[0] == ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]
    assert [row[:3] for row in rows[1:]] == [
        ["anton", "Ready", "control-plane"],
        ["berta", "Ready", "<none>"],
        ["cesar", "Ready", "<none>"],
    ]
    assert kubectl("get", "nodes", "-l", "homelab.talos/board=rpi_5", "-o", "name") == "node/cesar"


def test_a_node_that_is_off_is_not_ready(rehearsal: Rehearsed, kubectl: Kubectl) -> None:
    status = ("get", "node", "berta", "-o", 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')
    rehearsal.command("power", "berta", "off")
    kubectl.until("Unknown", *status)
    rehearsal.command("power", "berta", "on")
    kubectl.until("True", *status)


def test_discovery(kubectl: Kubectl) -> None:
    names = kubectl("api-resources", "-o", "name").splitlines()
    assert {"nodes", "deployments.apps", "customresourcedefinitions.apiextensions.k8s.io"} <= set(names)
    assert "apps/v1" in kubectl("api-versions").splitlines()


# --- who may


def test_only_the_administrators_certificate_is_let_in(rehearsal: Rehearsed, kubectl: Kubectl) -> None:
    config = yaml.safe_load(kubectl.kubeconfig.read_text())
    anonymous = Kubectl(kubectl.kubeconfig.with_name("anonymous"))
    config["users"][0]["user"] = {"token": "guessed"}
    anonymous.kubeconfig.write_text(yaml.safe_dump(config))
    assert anonymous.refused("get", "pods") == "error: You must be logged in to the server (Unauthorized)"


def test_another_ca_is_not_trusted(kubectl: Kubectl) -> None:
    config = yaml.safe_load(kubectl.kubeconfig.read_text())
    other = Kubectl(kubectl.kubeconfig.with_name("other"))
    foreign = pki.authority("another").crt.encode()
    config["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(foreign).decode()
    other.kubeconfig.write_text(yaml.safe_dump(config))
    assert "certificate signed by unknown authority" in other.refused("get", "pods")


# --- objects


def test_create_speaks_protobuf(kubectl: Kubectl, namespace: str) -> None:
    own = ("-n", namespace)
    kubectl(*own, "create", "secret", "generic", "pass", "--from-literal=word=sesame")
    kubectl(*own, "create", "configmap", "words", "--from-literal=a=b")
    kubectl(*own, "create", "serviceaccount", "robot")
    assert kubectl(*own, "get", "secret", "pass", "-o", "jsonpath={.data.word} {.type}") == "c2VzYW1l Opaque"
    assert kubectl(*own, "get", "configmap", "words", "-o", "jsonpath={.data}") == '{"a":"b"}'
    assert kubectl(*own, "get", "serviceaccount", "-o", "name").splitlines() == [
        "serviceaccount/default",
        "serviceaccount/robot",
    ]


def test_refusals_in_the_servers_words(kubectl: Kubectl, namespace: str) -> None:
    own = ("-n", namespace)
    kubectl(*own, "apply", "-f", "-", manifest=_config_map(a="1"))
    assert kubectl.refused(*own, "get", "deploy", "web") == (
        'Error from server (NotFound): deployments.apps "web" not found'
    )
    assert kubectl.refused(*own, "create", "-f", "-", manifest=_config_map(a="1")) == (
        'Error from server (AlreadyExists): error when creating "STDIN": configmaps "words" already exists'
    )
    assert 'namespaces "nowhere" not found' in kubectl.refused(
        "-n", "nowhere", "apply", "-f", "-", manifest=_config_map(a="1")
    )
    bad = _config_map(a="1").replace("words", "Big_Words")
    assert kubectl.refused(*own, "apply", "-f", "-", manifest=bad).startswith(
        'The ConfigMap "Big_Words" is invalid: metadata.name: Invalid value: "Big_Words": a lowercase RFC 1123 '
    )
    stale = yaml.safe_load(kubectl(*own, "get", "configmap", "words", "-o", "yaml"))
    kubectl(*own, "patch", "configmap", "words", "-p", '{"data":{"a":"2"}}')
    stale["data"]["a"] = "3"
    assert "the object has been modified; please apply your changes to the latest version and try again" in (
        kubectl.refused(*own, "replace", "-f", "-", manifest=yaml.safe_dump(stale))
    )


def test_a_name_is_made_up(kubectl: Kubectl, namespace: str) -> None:
    manifest = _config_map(a="1").replace("name: words", "generateName: words-")
    made = {kubectl("-n", namespace, "create", "-o", "name", "-f", "-", manifest=manifest) for _ in range(2)}
    assert len(made) == 2
    assert all(name.startswith("configmap/words-") for name in made)


def test_selectors(kubectl: Kubectl, namespace: str) -> None:
    own = ("-n", namespace)
    for name, labels in (("one", "tier=a"), ("two", "tier=b"), ("three", "other=")):
        kubectl(*own, "create", "configmap", name)
        kubectl(*own, "label", "configmap", name, labels)

    def names(*words: str) -> list[str]:
        return kubectl(*own, "get", "configmap", "-o", "name", *words).replace("configmap/", "").split()

    assert names("-l", "tier=a") == ["one"]
    assert names("-l", "tier in (a,b),tier!=a") == ["two"]
    assert names("-l", "tier") == ["one", "two"]
    assert names("-l", "!tier") == ["three"]
    assert names("--field-selector", "metadata.name!=one") == ["three", "two"]
    assert "field label not supported: data.x" in kubectl.refused(
        *own, "get", "configmap", "--field-selector", "data.x=1"
    )


# --- patches and apply


def test_client_side_apply_changes_what_the_manifest_changes(kubectl: Kubectl, namespace: str) -> None:
    own = ("-n", namespace)
    assert kubectl(*own, "apply", "--dry-run=server", "-f", "-", manifest=_web()) == (
        "deployment.apps/web created (server dry run)"
    )
    assert kubectl(*own, "get", "deploy") == ""
    assert kubectl(*own, "apply", "-f", "-", manifest=_web()) == "deployment.apps/web created"
    assert kubectl(*own, "apply", "-f", "-", manifest=_web()) == "deployment.apps/web unchanged"
    kubectl(*own, "set", "env", "deploy/web", "THIRD=3")
    only_second = [{"name": "SECOND", "value": "two"}]
    assert kubectl(*own, "apply", "-f", "-", manifest=_web(env=only_second)) == "deployment.apps/web configured"
    env = json.loads(kubectl(*own, "get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env}"))
    assert env == [{"name": "SECOND", "value": "two"}, {"name": "THIRD", "value": "3"}]


def test_every_kind_of_patch(kubectl: Kubectl, namespace: str) -> None:
    own = ("-n", namespace)
    kubectl(*own, "apply", "-f", "-", manifest=_web())
    image = '{"spec":{"template":{"spec":{"containers":[{"name":"server","image":"registry.invalid/web:2"}]}}}}'
    kubectl(*own, "patch", "deploy", "web", "--type=strategic", "-p", image)
    kubectl(*own, "patch", "deploy", "web", "--type=merge", "-p", '{"metadata":{"labels":{"a":"b"}}}')
    replicas = '[{"op":"test","path":"/spec/replicas","value":2},{"op":"replace","path":"/spec/replicas","value":1}]'
    kubectl(*own, "patch", "deploy", "web", "--type=json", "-p", replicas)
    assert kubectl.refused(*own, "patch", "deploy", "web", "--type=json", "-p", replicas)
    found = json.loads(kubectl(*own, "get", "deploy", "web", "-o", "json"))
    container = found["spec"]["template"]["spec"]["containers"][0]
    assert (container["image"], len(container["env"]), found["spec"]["replicas"]) == ("registry.invalid/web:2", 2, 1)
    assert found["metadata"]["labels"] == {"a": "b"}
    assert found["metadata"]["generation"] == 3


def test_a_patch_of_data_by_standard_input(kubectl: Kubectl, namespace: str, tmp_path: Path) -> None:
    """The product's own client, whose standard input is a file without a name."""
    own = ("-n", namespace)
    kubectl(*own, "create", "secret", "generic", "pass", "--from-literal=word=sesame", "--from-literal=old=1")
    with Watch() as watch:
        commands = Commands(str(tmp_path), {"HOME": str(tmp_path)}, watch)
        client = ProductsKubectl(commands, str(kubectl.kubeconfig), path=str(KUBECTL))
        client.patch_data("secret", "pass", namespace, {"data": {"new": "bmV3", "old": None}})
    found = kubectl(*own, "get", "secret", "pass", "-o", "jsonpath={.data}")
    assert json.loads(found) == {"word": "c2VzYW1l", "new": "bmV3"}


def test_server_side_apply_and_its_conflicts(kubectl: Kubectl, namespace: str) -> None:
    own = ("-n", namespace, "apply", "--server-side", "-f", "-")
    kubectl(*own, "--field-manager=first", manifest=_config_map(a="1", b="1"))
    kubectl(*own, "--field-manager=second", manifest=_config_map(a="1", c="1"))
    said = kubectl.refused(*own, "--field-manager=second", manifest=_config_map(a="2", c="1"))
    assert said.startswith('error: Apply failed with 1 conflict: conflict with "first": .data.a\n')
    kubectl(*own, "--field-manager=second", "--force-conflicts", manifest=_config_map(a="2", c="1"))
    said = kubectl.refused(*own, "--field-manager=third", manifest=_config_map(a="3", b="3"))
    told = 'conflicts with "first":\n- .data.b\nconflicts with "second":\n- .data.a\n'
    assert said.startswith(f"error: Apply failed with 2 conflicts: {told}")
    # What a manager no longer applies goes, unless it is another's too.
    kubectl(*own, "--field-manager=second", manifest=_config_map(a="2"))
    data = json.loads(kubectl("-n", namespace, "get", "configmap", "words", "-o", "jsonpath={.data}"))
    assert data == {"a": "2", "b": "1"}


def test_server_side_apply_after_client_side(kubectl: Kubectl, namespace: str) -> None:
    own = ("-n", namespace)
    kubectl(*own, "apply", "-f", "-", manifest=_config_map(a="1"))
    server_side = (*own, "apply", "--server-side", "-f", "-")
    said = kubectl.refused(*server_side, manifest=_config_map(a="2"))
    assert '"kubectl-client-side-apply" using v1: .data.a\n' in said
    # The same values are no conflict, and kubectl makes the fields server-side apply's.
    kubectl(*server_side, manifest=_config_map(a="1"))
    kubectl(*server_side, manifest=_config_map(a="2"))
    kubectl(*own, "patch", "configmap", "words", "--type=merge", "-p", '{"data":{"a":"3"}}')
    said = kubectl.refused(*server_side, manifest=_config_map(a="4"))
    assert said.startswith('error: Apply failed with 1 conflict: conflict with "kubectl-patch" using v1: .data.a\n')


def test_a_definition_too_long_for_client_side_apply(kubectl: Kubectl) -> None:
    long = _definition("wardrobes", text="oak " * 70_000)
    said = kubectl.refused("apply", "-f", "-", manifest=long)
    told = "metadata.annotations: Too long: may not be more than 262144 bytes"
    assert said == f'The CustomResourceDefinition "wardrobes.attic.example" is invalid: {told}'
    kubectl("apply", "--server-side", "-f", "-", manifest=long)
    assert "wardrobes" in kubectl("api-resources", "--api-group=attic.example")
    kubectl("delete", "crd", "wardrobes.attic.example")


def test_custom_resources(kubectl: Kubectl, namespace: str) -> None:
    own = ("-n", namespace)
    kubectl("apply", "-f", "-", manifest=_definition("chests"))
    kubectl("wait", "--for=condition=Established", "crd/chests.attic.example", "--timeout=30s")
    chest = '{"apiVersion":"attic.example/v1","kind":"Chest","metadata":{"name":"big"},"spec":%s}'
    kubectl(*own, "apply", "-f", "-", manifest=chest % '{"size":3,"colour":"red"}')
    assert [line.split() for line in kubectl(*own, "get", "che").splitlines()] == [["NAME", "SIZE"], ["big", "3"]]
    assert "spec.size: Required value" in kubectl.refused(*own, "apply", "-f", "-", manifest=chest % "{}")
    assert 'unknown field "spec.lid"' in kubectl.refused(
        *own, "apply", "-f", "-", manifest=chest % '{"size":3,"lid":true}'
    )
    assert 'Unsupported value: "pink"' in kubectl.refused(
        *own, "apply", "-f", "-", manifest=chest % '{"size":3,"colour":"pink"}'
    )
    said = kubectl.refused(*own, "patch", "chest", "big", "--type=strategic", "-p", '{"spec":{"size":4}}')
    assert "application/strategic-merge-patch+json is not supported by attic.example/v1, Kind=Chest" in said
    kubectl("delete", "crd", "chests.attic.example")
    assert "could not find the requested resource" in kubectl.refused(*own, "get", "chests")


# --- workloads


def test_a_deployment_becomes_ready_on_the_nodes_that_it_asks_for(kubectl: Kubectl, namespace: str) -> None:
    own = ("-n", namespace)
    manifest = _web(pod={"nodeSelector": {"homelab.talos/board": "rpi_5"}})
    kubectl(*own, "apply", "-f", "-", manifest=manifest)
    assert "successfully rolled out" in kubectl(*own, "rollout", "status", "deploy/web", "--timeout=30s")
    kubectl(*own, "wait", "--for=condition=Available", "deploy/web", "--timeout=30s")
    assert kubectl(*own, "get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}") == "cesar cesar"
    kubectl(*own, "scale", "deploy/web", "--replicas=3")
    kubectl(*own, "rollout", "restart", "deploy/web")
    kubectl(*own, "rollout", "status", "deploy/web", "--timeout=30s")
    kubectl.until("3/3", *own, "get", "deploy", "web", "-o", "jsonpath={.status.readyReplicas}/{.spec.replicas}")
    kubectl(*own, "delete", "deploy", "web")
    assert kubectl(*own, "get", "pods") == ""


def test_stateful_sets_and_daemon_sets(kubectl: Kubectl, namespace: str) -> None:
    own = ("-n", namespace)
    for kind in ("StatefulSet", "DaemonSet"):
        changed = yaml.safe_load(_web()) | {"kind": kind}
        if kind == "DaemonSet":
            del changed["spec"]["replicas"]
            changed["metadata"]["name"] = "everywhere"
        kubectl(*own, "apply", "-f", "-", manifest=yaml.safe_dump(changed))
    kubectl(*own, "rollout", "status", "sts/web", "--timeout=30s")
    kubectl(*own, "rollout", "status", "ds/everywhere", "--timeout=30s")
    names = kubectl(*own, "get", "pods", "-o", "name").splitlines()
    assert {"pod/web-0", "pod/web-1"} <= set(names)
    assert len(names) == 4  # one more for each worker; the control plane is tainted


def test_pods_that_never_become_ready(rehearsal: Rehearsed, kubectl: Kubectl, namespace: str) -> None:
    own = ("-n", namespace)
    rehearsal.command("fault", "cesar", "pods-never-ready")
    kubectl(*own, "apply", "-f", "-", manifest=_web(pod={"nodeSelector": {"homelab.talos/board": "rpi_5"}}))
    kubectl.until("Running Running", *own, "get", "pods", "-o", "jsonpath={.items[*].status.phase}")
    assert "timed out" in kubectl.refused(*own, "rollout", "status", "deploy/web", "--timeout=1s")
    rehearsal.command("fault", "cesar", "--clear")
    kubectl(*own, "rollout", "status", "deploy/web", "--timeout=30s")


# --- time


def test_watch_tells_what_comes_and_goes(kubectl: Kubectl, namespace: str) -> None:
    words = ["--kubeconfig", str(kubectl.kubeconfig), "-n", namespace, "get", "configmap", "-l", "watched"]
    words += ["-w", "--output-watch-events", "-o", r"jsonpath={.type} {.object.metadata.name}{'\n'}"]
    watch = subprocess.Popen([str(KUBECTL), *words], stdout=subprocess.PIPE, text=True)
    assert watch.stdout is not None
    own = ("-n", namespace)
    try:
        kubectl(*own, "apply", "-f", "-", manifest=_config_map(a="1"))
        kubectl(*own, "label", "configmap", "words", "watched=yes")
        assert watch.stdout.readline() == "ADDED words\n"
        kubectl(*own, "apply", "-f", "-", manifest=_config_map(a="2"))
        assert watch.stdout.readline() == "MODIFIED words\n"
        kubectl(*own, "label", "configmap", "words", "watched-")
        assert watch.stdout.readline() == "DELETED words\n"
    finally:
        watch.terminate()
        watch.wait()


def test_wait_for_a_deletion(kubectl: Kubectl, namespace: str) -> None:
    own = ("-n", namespace)
    kept = yaml.safe_load(_config_map(a="1"))
    kept["metadata"]["finalizers"] = ["attic.example/keep"]
    kubectl(*own, "apply", "-f", "-", manifest=yaml.safe_dump(kept))
    kubectl(*own, "delete", "configmap", "words", "--wait=false")
    assert kubectl(*own, "get", "configmap", "words", "-o", "jsonpath={.metadata.deletionTimestamp}")
    kubectl(*own, "patch", "configmap", "words", "--type=json", "-p", '[{"op":"remove","path":"/metadata/finalizers"}]')
    kubectl(*own, "wait", "--for=delete", "configmap/words", "--timeout=30s")


def test_objects_outlive_down_and_up(tmp_path_factory: pytest.TempPathFactory) -> None:
    with rehearsed(tmp_path_factory.mktemp("again")) as made:
        made.kubectl("create", "configmap", "kept")
        made.command("down")
        made.up()
        made.await_ready()
        assert made.kubectl("get", "configmap", "kept", "-o", "name") == "configmap/kept"
