# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rehearsal's Argo CD does with Applications, and what it says of them."""

from __future__ import annotations

import json
import time
import typing as t
from pathlib import Path

import pytest

from rehearsal.argocd import applications, globs, health, sync
from rehearsal.argocd.faults import ApplicationFaults
from rehearsal.errors import RehearsalError
from rehearsal.git.repositories import Repository
from rehearsal.kubernetes.api import MERGE_PATCH, NAMESPACES
from rehearsal.kubernetes.kinds import built_in
from rehearsal.kubernetes.pods import _progress
from rehearsal.kubernetes.status import StatusError
from tests.unit.rehearsal.argocd_scene import (
    AUTOMATED,
    IN_CLUSTER,
    TERMS,
    Object,
    Scene,
    committed,
    config_map,
    definition,
    deployment,
    documents,
)

CONFIG_MAPS, DEPLOYMENTS, SECRETS = (built_in(plural) for plural in ("configmaps", "deployments", "secrets"))
TRACKING = "argocd.argoproj.io/tracking-id"
OPTIONS = "argocd.argoproj.io/sync-options"
LAST = "kubectl.kubernetes.io/last-applied-configuration"


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """With credentials, and without pauses before something is tried again."""
    monkeypatch.setattr(applications, "_HEAL_SECONDS", 0.0)
    monkeypatch.setattr(applications, "_RETRY_SECONDS", 0.0)
    made = Scene(tmp_path)
    made.credentials()
    return made


@pytest.fixture
def synced(scene: Scene) -> Scene:
    """With one Application of two ConfigMaps."""
    committed(
        scene.repository, {"app/one.yaml": documents(config_map("one")), "app/two.yml": documents(config_map("two"))}
    )
    scene.apply("app")
    scene.settle()
    assert scene.state_of() == ("Synced", "Healthy")
    return scene


def reconciled(scene: Scene) -> str:
    return str(scene.status()["reconciledAt"])


# --- as synced


def test_what_a_client_reads(scene: Scene) -> None:
    files = {"app/a.yaml": documents(config_map("one"), deployment("web")), "app/notes.txt": "no manifest"}
    revision = committed(scene.repository, files)
    scene.apply("app")
    scene.settle()
    assert scene.state_of() == ("Synced", "Progressing")
    scene.run("deployments", "attic", "web")
    scene.settle()
    status = scene.status()
    assert status["sync"] == {
        "status": "Synced",
        "revision": revision,
        "comparedTo": {
            "source": {"repoURL": scene.url, "path": "app"},
            "destination": {"server": IN_CLUSTER, "namespace": "attic"},
        },
    }
    assert status["health"]["status"] == "Healthy"
    assert status["resources"] == [
        {"version": "v1", "kind": "ConfigMap", "namespace": "attic", "name": "one", "status": "Synced"},
        {"group": "apps", "version": "v1", "kind": "Deployment", "namespace": "attic", "name": "web"}
        | {"status": "Synced"},
    ]
    assert status["resourceHealthSource"] == "appTree"
    assert status["summary"] == {"images": ["x.invalid/web:1"]}
    assert status["sourceType"] == "Directory"
    operation = status["operationState"]
    assert (operation["phase"], operation["message"]) == ("Succeeded", "successfully synced (all tasks run)")
    assert operation["syncResult"]["revision"] == revision
    assert status["reconciledAt"]
    assert "conditions" not in status


def test_objects_bear_the_mark_of_their_application(synced: Scene) -> None:
    live = synced.api.get(CONFIG_MAPS, "attic", "one")
    assert live["metadata"]["annotations"][TRACKING] == "app:/ConfigMap:attic/one"
    assert json.loads(live["metadata"]["annotations"][LAST])["data"] == {"word": "sesame"}
    assert {(each["manager"], each["operation"]) for each in live["metadata"]["managedFields"]} == {
        ("argocd-controller", "Update")
    }


def test_nothing_changes_and_nothing_is_read_while_all_is_well(synced: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: t.Any) -> bytes:
        raise AssertionError("the source was read again")

    monkeypatch.setattr(Repository, "read", read)
    monkeypatch.setattr(applications, "rendered", read)
    version = synced.api.store.version
    synced.settle()
    assert synced.api.store.version == version


def test_waves_and_kinds_give_the_order(scene: Scene) -> None:
    early = config_map("early", annotations={"argocd.argoproj.io/sync-wave": "-1"})
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cellar"}}
    chest = {"apiVersion": "attic.example/v1", "kind": "Chest", "metadata": {"name": "big", "namespace": "cellar"}}
    kinds = definition("chests", "Chest", "attic.example", "v1")
    committed(scene.repository, {"app/all.yaml": documents(chest, config_map("late"), kinds, namespace, early)})
    scene.apply("app")
    scene.settle()
    assert scene.state_of() == ("Synced", "Healthy")
    results = scene.status()["operationState"]["syncResult"]["resources"]
    assert [each["name"] for each in results] == ["early", "cellar", "late", "chests.attic.example", "big"]
    assert scene.names("chests", "cellar") == ["big"]


def test_nothing_is_synced_that_is_not_automatic(scene: Scene) -> None:
    committed(scene.repository, {"app/a.yaml": documents(config_map("one"), deployment("web"))})
    scene.apply("app", syncPolicy={})
    scene.settle()
    assert scene.state_of() == ("OutOfSync", "Missing")
    assert "operationState" not in scene.status()
    assert scene.names("configmaps") == []


# --- what changes


def test_a_commit_is_followed(synced: Scene) -> None:
    changed = {**config_map("one"), "data": {"other": "word"}}
    revision = committed(synced.repository, {"app/one.yaml": documents(changed), "app/two.yml": None})
    synced.settle()
    assert synced.status()["sync"]["revision"] == revision
    assert synced.api.get(CONFIG_MAPS, "attic", "one")["data"] == {"other": "word"}
    assert synced.names("configmaps") == ["one"]
    results = synced.status()["operationState"]["syncResult"]["resources"]
    assert [(each["name"], each["status"]) for each in results] == [("one", "Synced"), ("two", "Pruned")]


@pytest.mark.parametrize("why", ["by the object", "by the policy"])
def test_what_is_not_pruned_stays_and_is_told(scene: Scene, why: str) -> None:
    kept = config_map("kept", **({"annotations": {OPTIONS: "Prune=false"}} if why == "by the object" else {}))
    committed(scene.repository, {"app/a.yaml": documents(config_map("one")), "app/b.yaml": documents(kept)})
    policy = AUTOMATED if why == "by the object" else {"automated": {"selfHeal": True}}
    scene.apply("app", syncPolicy=policy)
    scene.settle()
    changed = {**config_map("one"), "data": {"word": "open"}}
    committed(scene.repository, {"app/b.yaml": None, "app/a.yaml": documents(changed)})
    scene.settle()
    results = scene.status()["operationState"]["syncResult"]["resources"]
    assert [(each["name"], each["status"]) for each in results] == [("one", "Synced"), ("kept", "PruneSkipped")]
    assert scene.state_of() == ("OutOfSync", "Healthy")
    assert scene.names("configmaps") == ["kept", "one"]
    [told] = [each for each in scene.status()["resources"] if each["name"] == "kept"]
    assert (told["status"], told["requiresPruning"]) == ("OutOfSync", True)


def test_a_source_without_objects_prunes_all_only_where_that_is_allowed(scene: Scene) -> None:
    committed(scene.repository, {"app/a.yaml": documents(config_map("one")), "app/README.md": "about"})
    scene.apply("app", syncPolicy={"automated": {"prune": True}})
    scene.settle()
    revision = committed(scene.repository, {"app/a.yaml": None})
    scene.settle()
    said = f"Skipping sync attempt to {revision}: auto-sync will wipe out all resources"
    assert scene.conditions() == {"SyncError": said}
    assert scene.names("configmaps") == ["one"]
    patch = {"spec": {"syncPolicy": AUTOMATED}}
    scene.api.patch(scene.custom("applications"), "argocd", "app", MERGE_PATCH, patch, TERMS)
    scene.settle()
    assert scene.names("configmaps") == []
    assert scene.state_of() == ("Synced", "Healthy")


@pytest.mark.parametrize(("heals", "word", "state"), [(True, "sesame", "Synced"), (False, "open", "OutOfSync")])
def test_changes_in_the_cluster(scene: Scene, heals: bool, word: str, state: str) -> None:
    committed(scene.repository, {"app/one.yaml": documents(config_map("one"))})
    scene.apply("app", syncPolicy={"automated": {"selfHeal": heals}})
    scene.settle()
    scene.api.patch(CONFIG_MAPS, "attic", "one", MERGE_PATCH, {"data": {"word": "open", "own": "x"}}, TERMS)
    scene.settle()
    # What Git says nothing of is nobody's drift.
    assert scene.api.get(CONFIG_MAPS, "attic", "one")["data"] == {"word": word, "own": "x"}
    assert scene.state_of()[0] == state


def test_refresh(synced: Scene) -> None:
    resource, before = synced.custom("applications"), reconciled(synced)
    time.sleep(1.1)  # the moment is told in whole seconds
    for kind in ("normal", "hard"):
        patch = {"metadata": {"annotations": {applications.REFRESH: kind}}}
        synced.api.patch(resource, "argocd", "app", MERGE_PATCH, patch, TERMS)
        synced.settle()
        live = synced.api.get(resource, "argocd", "app")
        assert applications.REFRESH not in (live["metadata"].get("annotations") or {})
    assert reconciled(synced) != before


def test_deletion_takes_the_objects_along_with_the_finalizer_only(synced: Scene) -> None:
    resource = synced.custom("applications")
    synced.api.delete(resource, "argocd", "app", {}, TERMS)
    synced.settle()
    assert synced.names("configmaps") == ["one", "two"]
    synced.apply("app")
    finalizers = {"metadata": {"finalizers": [applications.FINALIZER]}}
    synced.api.patch(resource, "argocd", "app", MERGE_PATCH, finalizers, TERMS)
    synced.settle()
    synced.api.delete(resource, "argocd", "app", {}, TERMS)
    synced.settle()
    assert synced.names("configmaps") == []
    assert synced.names("applications", "argocd") == []


# --- repositories and their credentials


@pytest.mark.parametrize(
    ("path", "source", "said"),
    [
        ("app", {"repoURL": "{base}/homelab/nothing.git"}, "failed to list refs: repository not found: "),
        ("app", {"repoURL": "http://git.invalid/a/b.git"}, "dial tcp: lookup git.invalid: no such host"),
        ("app", {"targetRevision": "nowhere"}, "unable to resolve 'nowhere' to a commit SHA"),
        ("nowhere", {}, "nowhere: app path does not exist"),
        ("broken", {}, 'desc = Failed to unmarshal "x.yaml": '),
        ("config", {}, "Failed to unmarshal \"config.json\": failed to unmarshal manifest: Object 'Kind' is missing"),
        ("app", {"chart": "web"}, "this rehearsal reads directories and kustomizations only"),
    ],
)
def test_sources_that_cannot_be_read(scene: Scene, path: str, source: dict[str, str], said: str) -> None:
    files = {
        "app/a.yaml": documents(config_map("one")),
        "broken/x.yaml": "apiVersion: v1\nkind: [\nmetadata:",
        "config/config.json": '{"appName": "x"}',
    }
    committed(scene.repository, files)
    scene.apply(path, source={key: value.replace("{base}", scene.base) for key, value in source.items()})
    scene.settle()
    assert scene.state_of() == ("Unknown", "Healthy")
    told = scene.conditions()["ComparisonError"]
    assert told.startswith("Failed to load target state: failed to generate manifest for source 1 of 1: rpc error: ")
    assert said in told


def test_what_git_says_itself(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: t.Any) -> bytes:
        raise RehearsalError("git ls-tree: fatal: bad object")

    committed(scene.repository, {"app/a.yaml": documents(config_map("one"))})
    monkeypatch.setattr(Repository, "read", read)
    scene.apply("app")
    scene.apply("app", "other")
    scene.settle()
    for name in ("app", "other"):
        assert scene.conditions(name)["ComparisonError"].endswith("git ls-tree: fatal: bad object")


def test_credentials(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    committed(scene.repository, {"app/a.yaml": documents(config_map("one"))})
    scene.apply("app")

    def state(said: str = "") -> str:
        scene.settle()
        assert said in scene.conditions().get("ComparisonError", "")
        return scene.state_of()[0]

    refused = "failed to list refs: authentication required: "
    assert state(refused) == "Unknown"
    scene.credentials("guessed")
    assert state(refused) == "Unknown"
    scene.credentials(url=f"{scene.base}/homelab/")  # the longer prefix
    assert state() == "Synced"
    scene.credentials("guessed", kind="repository", url=scene.url.removesuffix(".git"))
    assert state(refused) == "Unknown"


@pytest.mark.parametrize("fault", ["token-revoked", "refused"])
def test_faults_of_the_git_server(synced: Scene, fault: str) -> None:
    synced.server.add_fault(fault, {})
    synced.settle()
    assert synced.state_of() == ("Unknown", "Healthy")
    assert {each["status"] for each in synced.status()["resources"]} == {"Unknown"}
    said = {
        "token-revoked": "authentication required: ",
        "refused": "dial tcp 192.0.2.9:3000: connect: connection refused",
    }
    assert said[fault] in synced.conditions()["ComparisonError"]
    synced.server.clear_faults()
    synced.settle()
    assert synced.state_of() == ("Synced", "Healthy")


def test_the_ca_of_a_repository(tmp_path: Path) -> None:
    scene = Scene(tmp_path, tls=True)
    scene.credentials()
    committed(scene.repository, {"app/a.yaml": documents(config_map("one"))})
    scene.apply("app")
    scene.settle()
    assert "x509: certificate signed by unknown authority" in scene.conditions()["ComparisonError"]
    known: Object = {"metadata": {"name": "argocd-tls-certs-cm"}, "data": {"192.0.2.9": scene.state.git_ca.read_text()}}
    scene.api.create(CONFIG_MAPS, "argocd", known, TERMS)
    scene.settle()
    assert scene.state_of()[0] == "Synced"


def test_a_branch_is_read_and_packed_refs_too(scene: Scene) -> None:
    committed(scene.repository, {"app/a.yaml": documents(config_map("one"))}, "live")
    scene.apply("app", source={"targetRevision": "live"})
    scene.settle()
    assert scene.state_of()[0] == "Synced"
    scene.repository.read("pack-refs", "--all")
    assert not (scene.repository.path / "refs" / "heads" / "live").exists()
    version = scene.api.store.version
    scene.settle()
    assert (scene.state_of()[0], scene.api.store.version) == ("Synced", version)
    assert scene.repository.resolve("../../heads/live") == ""


# --- what a source declares


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["top"]),
        ({"recurse": True}, ["deep", "other", "top"]),
        ({"recurse": True, "include": "sub/*", "exclude": ""}, ["deep", "other"]),
        ({"recurse": True, "exclude": "{sub/deep/*,top.yaml}"}, ["other"]),
    ],
)
def test_directories(scene: Scene, options: Object, names: list[str]) -> None:
    files = {
        "app/top.yaml": documents(config_map("top")),
        "app/sub/other.json": json.dumps(config_map("other")),
        "app/sub/deep/list.yaml": documents({"apiVersion": "v1", "kind": "List", "items": [config_map("deep")]}),
        "app/values.yaml": "just: [values",
    }
    committed(scene.repository, files)
    scene.apply("app", source={"directory": options})
    scene.settle()
    assert scene.names("configmaps") == names


def test_kustomizations(scene: Scene) -> None:
    files = {
        "base/kustomization.yaml": "resources: [one.yaml]\n",
        "base/one.yaml": documents(config_map("one")),
        "overlay/kustomization.yaml": "resources: [../base]\nnamePrefix: my-\n",
        "overlay/config.json": "{}",
        "remote/kustomization.yaml": "resources: ['https://git.invalid/a/b.yaml']\n",
    }
    committed(scene.repository, files)
    scene.apply("overlay")
    scene.apply("remote", "remote")
    scene.settle()
    assert (scene.state_of(), scene.status()["sourceType"]) == (("Synced", "Healthy"), "Kustomize")
    assert scene.names("configmaps") == ["my-one"]
    assert "`kustomize build <path to cached source>/remote` failed" in scene.conditions("remote")["ComparisonError"]


def test_the_same_object_twice(scene: Scene) -> None:
    committed(scene.repository, {"app/a.yaml": documents(config_map("one"), config_map("one"))})
    scene.apply("app")
    scene.settle()
    said = "Resource /ConfigMap/attic/one appeared 2 times among application resources."
    assert scene.conditions() == {"RepeatedResourceWarning": said}


# --- syncs that fail


def failed(scene: Scene) -> str:
    scene.settle()
    operation = scene.status()["operationState"]
    assert (operation["phase"], operation["retryCount"]) == ("Failed", sync.RETRIES)
    assert scene.conditions()["SyncError"].endswith(operation["message"])
    assert scene.state_of()[0] == "OutOfSync"
    return str(operation["message"])


def test_a_namespace_that_is_missing(scene: Scene) -> None:
    committed(scene.repository, {"app/a.yaml": documents(config_map("one"))})
    scene.apply("app", destination={"server": IN_CLUSTER, "namespace": "cellar"})
    said = 'one or more objects failed to apply, reason: namespaces "cellar" not found (retried 5 times).'
    assert failed(scene) == said
    [result] = scene.status()["operationState"]["syncResult"]["resources"]
    assert (result["status"], result["message"]) == ("SyncFailed", 'namespaces "cellar" not found')
    options = {"spec": {"syncPolicy": {**AUTOMATED, "syncOptions": ["CreateNamespace=true"]}}}
    scene.api.patch(scene.custom("applications"), "argocd", "app", MERGE_PATCH, options, TERMS)
    committed(scene.repository, {"other": "a commit"})  # the same one is not tried again
    scene.settle()
    assert scene.state_of() == ("Synced", "Healthy")
    assert scene.api.get(NAMESPACES, "", "cellar")


def test_retries_succeed_once_the_cause_is_gone(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applications, "_RETRY_SECONDS", 3600.0)
    committed(scene.repository, {"app/a.yaml": documents(config_map("one"))})
    scene.apply("app", destination={"server": IN_CLUSTER, "namespace": "cellar"})
    scene.settle()
    operation = scene.status()["operationState"]
    assert (operation["phase"], operation["retryCount"]) == ("Running", 1)
    assert ". Retrying attempt #1 at " in operation["message"]
    scene.api.create(NAMESPACES, "", {"metadata": {"name": "cellar"}}, TERMS)
    monkeypatch.setattr(applications, "_RETRY_SECONDS", 0.0)
    scene.settle()
    assert scene.status()["operationState"]["phase"] == "Succeeded"
    assert scene.state_of() == ("Synced", "Healthy")


@pytest.mark.parametrize("asks", ["", "the object", "the application"])
def test_a_definition_too_long_for_its_annotation(scene: Scene, asks: str) -> None:
    long = definition("chests", "Chest", "attic.example", description="long " * 60_000)
    if asks == "the object":
        long["metadata"]["annotations"] = {OPTIONS: "ServerSideApply=true"}
    options = ["ServerSideApply=true"] if asks == "the application" else []
    committed(scene.repository, {"app/a.yaml": documents(long)})
    scene.apply("app", syncPolicy={**AUTOMATED, "syncOptions": options})
    if not asks:
        assert "metadata.annotations: Too long: may not be more than 262144 bytes" in failed(scene)
        return
    scene.settle()
    assert scene.state_of() == ("Synced", "Healthy")
    live = scene.api.get(built_in("customresourcedefinitions"), "", "chests.attic.example")
    assert LAST not in live["metadata"]["annotations"]
    assert ("argocd-controller", "Apply") in {
        (each["manager"], each["operation"]) for each in live["metadata"]["managedFields"]
    }


def test_a_kind_that_nobody_defines(scene: Scene) -> None:
    chest = {"apiVersion": "attic.example/v1", "kind": "Chest", "metadata": {"name": "big"}}
    committed(scene.repository, {"app/a.yaml": documents(chest, config_map("one"))})
    scene.apply("app")
    said = "failed to discover server resources for group version attic.example/v1"
    assert f"one or more synchronization tasks are not valid: {said}" in failed(scene)
    assert scene.names("configmaps") == []


# --- projects

EVERYWHERE = [{"server": IN_CLUSTER, "namespace": "*"}]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, ""),
        ({"sourceRepos": ["{base}/homelab/*"]}, ""),
        ({"sourceRepos": ["{base}/*"]}, "application repo {url} is not permitted in project 'narrow'"),
        ({"sourceRepos": ["*", "!{url}"]}, "application repo {url} is not permitted in project 'narrow'"),
        ({"destinations": [{"name": "in-cluster", "namespace": "att*"}]}, ""),
        (
            {"destinations": [{"server": IN_CLUSTER, "namespace": "cellar"}]},
            "application destination server 'https://kubernetes.default.svc' and namespace 'attic' do not match any of "
            "the allowed destinations in project 'narrow'",
        ),
        ({"destinations": [{"server": "https://192.0.2.1", "namespace": "*"}]}, "do not match any of"),
        ({"destinations": [*EVERYWHERE, {"server": IN_CLUSTER, "namespace": "!attic"}]}, "do not match any of"),
        (None, "Application referencing project narrow which does not exist"),
    ],
)
def test_what_a_project_says_of_the_application(scene: Scene, spec: Object | None, said: str) -> None:
    committed(scene.repository, {"app/a.yaml": documents(config_map("one"))})
    if spec is not None:
        text = json.dumps({"sourceRepos": ["*"], "destinations": EVERYWHERE, **spec})
        own = json.loads(text.replace("{base}", scene.base).replace("{url}", scene.url))
        value = {"metadata": {"name": "narrow"}, "spec": own}
        scene.api.create(scene.custom("appprojects"), "argocd", value, TERMS)
    scene.apply("app", project="narrow")
    scene.settle()
    if said:
        assert scene.state_of() == ("Unknown", "Unknown")
        assert said.replace("{url}", scene.url) in scene.conditions()["InvalidSpecError"]
        assert scene.names("configmaps") == []
    else:
        assert scene.state_of() == ("Synced", "Healthy")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "resource :Namespace is not permitted in project narrow"),
        ({"clusterResourceWhitelist": [{"group": "", "kind": "Namespace"}]}, ""),
        ({"clusterResourceWhitelist": [{"group": "", "kind": "Namespace", "name": "other"}]}, "resource :Namespace is"),
        (
            {"clusterResourceWhitelist": [{"group": "*", "kind": "*"}], "namespaceResourceWhitelist": []},
            "resource :ConfigMap is not permitted in project narrow",
        ),
        (
            {
                "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
                "namespaceResourceBlacklist": [{"group": "", "kind": "Config*"}],
            },
            "resource :ConfigMap is not permitted in project narrow",
        ),
        (
            {
                "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
                "destinations": [{"server": IN_CLUSTER, "namespace": "attic"}],
            },
            "namespace cellar is not permitted in project 'narrow'",
        ),
    ],
)
def test_what_a_project_says_of_objects(scene: Scene, spec: Object, said: str) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cellar"}}
    committed(scene.repository, {"app/a.yaml": documents(namespace, config_map("one", "cellar"))})
    value = {"metadata": {"name": "narrow"}, "spec": {"sourceRepos": ["*"], "destinations": EVERYWHERE, **spec}}
    scene.api.create(scene.custom("appprojects"), "argocd", value, TERMS)
    scene.apply("app", project="narrow")
    if said:
        assert f"one or more synchronization tasks are not valid: {said}" in failed(scene)
        with pytest.raises(StatusError):
            scene.api.get(NAMESPACES, "", "cellar")
    else:
        scene.settle()
        assert scene.state_of() == ("Synced", "Healthy")


@pytest.mark.parametrize(
    ("destination", "said"),
    [
        ({"name": "elsewhere", "namespace": "attic"}, "there are no clusters with this name: elsewhere"),
        ({"server": "https://192.0.2.1", "namespace": "attic"}, "cluster 'https://192.0.2.1' has not been configured"),
        ({"namespace": "attic"}, "Destination server missing from app spec"),
    ],
)
def test_destinations_that_nobody_knows(scene: Scene, destination: Object, said: str) -> None:
    scene.apply("app", destination=destination)
    scene.settle()
    assert scene.conditions() == {"InvalidSpecError": said}


# --- health


def test_workloads_that_are_not_there_yet(scene: Scene) -> None:
    daemon = {**deployment("daemon"), "kind": "DaemonSet"}
    stateful = {**deployment("stateful"), "kind": "StatefulSet"}
    committed(scene.repository, {"app/a.yaml": documents(daemon, stateful, deployment("web"))})
    scene.apply("app")
    scene.settle()
    assert not any("health" in each for each in scene.status()["resources"])
    for plural, name in (("daemonsets", "daemon"), ("statefulsets", "stateful"), ("deployments", "web")):
        assert scene.state_of() == ("Synced", "Progressing")
        scene.run(plural, "attic", name)
        scene.settle()
    assert scene.state_of() == ("Synced", "Healthy")
    live = scene.api.get(DEPLOYMENTS, "attic", "web")
    scene.api.update(DEPLOYMENTS, "attic", "web", {**live, "spec": {**live["spec"], "paused": True}}, TERMS)
    scene.run("deployments", "attic", "web")
    scene.settle()
    assert scene.state_of() == ("Synced", "Suspended")


def test_the_health_of_each_object_is_written_where_the_parameters_ask_for_it(scene: Scene) -> None:
    parameters = {"metadata": {"name": "argocd-cmd-params-cm"}, "data": {"controller.resource.health.persist": "true"}}
    scene.api.create(CONFIG_MAPS, "argocd", parameters, TERMS)
    committed(scene.repository, {"app/a.yaml": documents(deployment("web"))})
    scene.apply("app")
    scene.settle()
    (web,) = scene.status()["resources"]
    assert web["health"]["status"] == "Progressing"
    assert "resourceHealthSource" not in scene.status()


def test_a_rollout_past_its_deadline_is_degraded() -> None:
    workload: Object = {"metadata": {"name": "web"}, "spec": {"progressDeadlineSeconds": 30}}
    first = _progress(workload, done=False)
    assert [each["reason"] for each in first] == ["MinimumReplicasUnavailable", "ReplicaSetUpdated"]
    old = [{**each, "lastTransitionTime": "2001-01-01T00:00:00Z"} for each in first]
    over = _progress({**workload, "status": {"conditions": old}}, done=False)
    assert (over[1]["status"], over[1]["reason"]) == ("False", "ProgressDeadlineExceeded")
    web = {**workload, "kind": "Deployment", "status": {"conditions": over}}
    assert health.of("apps", web) == ("Degraded", 'Deployment "web" exceeded its progress deadline')
    again = _progress(web, done=False)
    assert again == over
    assert _progress(web, done=True)[1]["reason"] == "NewReplicaSetAvailable"


@pytest.mark.parametrize(("told", "state"), [(False, "Healthy"), (True, "Progressing")])
def test_child_applications_count_where_the_settings_say_how(scene: Scene, told: bool, state: str) -> None:
    child = {"repoURL": scene.url, "path": "app"}
    spec = {"project": "default", "source": child, "destination": {"server": IN_CLUSTER, "namespace": "attic"}}
    value = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": "child"}}
    value |= {"spec": {**spec, "syncPolicy": AUTOMATED}}
    committed(scene.repository, {"root/a.yaml": documents(value), "app/b.yaml": documents(deployment("web"))})
    rules = {"resource.customizations.ignoreResourceUpdates.argoproj.io_Application": "jsonPointers: []"}
    rules |= {"resource.customizations.health.argoproj.io_Application": "return obj.status.health"} if told else {}
    scene.api.create(CONFIG_MAPS, "argocd", {"metadata": {"name": "argocd-cm"}, "data": rules}, TERMS)
    scene.apply("root", "root", destination={"server": IN_CLUSTER, "namespace": "argocd"})
    scene.settle()
    assert scene.state_of("child") == ("Synced", "Progressing")
    assert scene.state_of("root") == ("Synced", state)


# --- faults


@pytest.mark.parametrize(
    ("fault", "state"), [("app-degraded", ("Synced", "Degraded")), ("app-out-of-sync", ("OutOfSync", "Healthy"))]
)
def test_faults_of_applications(synced: Scene, fault: str, state: tuple[str, str]) -> None:
    synced.apply("app", "other", syncPolicy={})
    synced.faults.add(fault, {"app": "app"})
    synced.settle()
    assert synced.state_of("app") == state
    assert synced.state_of("other")[1] == "Healthy"
    synced.faults.clear()
    synced.settle()
    assert synced.state_of("app") == ("Synced", "Healthy")


def test_faults_are_kept(synced: Scene) -> None:
    faults = ApplicationFaults(synced.state)
    faults.add("app-degraded", {})
    assert ApplicationFaults(synced.state).active("app-degraded", "any")
    with pytest.raises(ValueError, match="app-degraded takes no setting 'times'; it takes: app"):
        faults.add("app-degraded", {"times": "1"})
    with pytest.raises(ValueError, match="unknown fault 'frozen'; known: app-degraded, app-out-of-sync"):
        faults.add("frozen", {})


# --- argocd-server


def test_the_first_password_and_the_default_project(scene: Scene) -> None:
    scene.api.create(SECRETS, "argocd", {"metadata": {"name": "argocd-secret"}}, TERMS)
    scene.settle()
    assert set(scene.api.get(SECRETS, "argocd", "argocd-secret")["data"]) == {"admin.password", "server.secretkey"}
    assert scene.api.get(SECRETS, "argocd", "argocd-initial-admin-secret")["data"]["password"]
    assert scene.names("appprojects", "argocd") == ["default"]


def test_nothing_happens_before_the_controller_is_ready(scene: Scene) -> None:
    committed(scene.repository, {"app/a.yaml": documents(config_map("one"))})
    scene.run("statefulsets", "argocd", "argocd-application-controller", ready=0)
    scene.apply("app")
    scene.settle()
    assert "status" not in scene.api.get(scene.custom("applications"), "argocd", "app")


# --- patterns


@pytest.mark.parametrize(
    ("pattern", "text", "matched"),
    [
        ("apps/**/attic/config.json", "apps/web/attic/config.json", True),
        ("apps/**/attic/config.json", "apps/web/overlays/attic/config.json", True),
        ("apps/**/attic/config.json", "apps/web/other/config.json", False),
        ("*.json", "a/b.json", True),
        ("{*.yml,*.yaml}", "x.yaml", True),
        ("[ab].yaml", "c.yaml", False),
        ("a.yaml", "axyaml", False),
        ("?.yaml", "a.yaml", True),
    ],
)
def test_patterns(pattern: str, text: str, matched: bool) -> None:
    assert globs.matches(pattern, text) == matched
