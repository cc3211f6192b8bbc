# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Argo CD from every state: repository and cluster converge in one run, and the next one changes nothing."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from rehearsal.git.repositories import Repository
from tests.argocd_place import KILLER, NAMESPACE, VERSION, Outcome, Place, small_installation
from tests.conformance.kubernetes import Rehearsed, rehearsed

INSTALL = "gitops/bootstrap/argo-cd/install.yaml"
OVERSIZED = "gitops/bootstrap/cluster-resources/in-cluster/argo-cd-server-side.yaml"
KUSTOMIZATION = "gitops/bootstrap/argo-cd/kustomization.yaml"
PUSHES = ("Autopilot Bootstrap at gitops", f"Argo CD {VERSION}, pinned")
HASH = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsed]:
    with rehearsed(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def place(cluster: Rehearsed, tmp_path: Path) -> Iterator[Place]:
    made = Place(cluster, tmp_path)
    made.renew()
    yield made
    cluster.command("fault", "--clear")
    cluster.command("fault", "git", "--clear")


def annotation(place: Place) -> str:
    return json.dumps(place.secret("argocd-repo-creds")["metadata"].get("annotations") or {})


@pytest.fixture(scope="module")
def tls_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsed]:
    """Its Git server has a certificate of an authority of its own."""
    with rehearsed(tmp_path_factory.mktemp("tls"), "--git-tls") as made:
        yield made


# --- the rows of the table


def test_from_nothing(place: Place) -> None:
    before = place.objects(), place.repository.head
    seen = place.bootstrap(check=True).ok
    assert (place.objects(), place.repository.head) == before
    assert seen["changed"]
    shown = json.dumps(seen["diff"])
    for name in ("Deployment argocd/argocd-server", "applicationsets.argoproj.io", "argocd-repo-creds", place.url):
        assert name in shown
    assert place.token not in shown
    assert place.read_token not in shown

    done = place.bootstrap().ok
    assert done["actions"] == seen["actions"]
    assert done["commit"] == place.repository.head
    assert [line for line in place.commits() if line in PUSHES] == list(reversed(PUSHES))
    place.is_unchanged()

    files = place.files()
    assert "applicationsets.argoproj.io" not in files[INSTALL]
    (definition,) = yaml.safe_load_all(files[OVERSIZED])
    assert definition["metadata"]["name"] == "applicationsets.argoproj.io"
    assert (
        definition["metadata"]["annotations"]["argocd.argoproj.io/sync-options"] == "Prune=false,ServerSideApply=true"
    )

    secret = place.secret("argocd-repo-creds")
    assert secret["metadata"]["labels"]["argocd.argoproj.io/secret-type"] == "repository"
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert data == {"type": "git", "url": place.url, "username": "git", "password": place.read_token}
    everything = place.kubectl("get", "all,configmaps,applications,namespaces,crds", "-A", "-o", "yaml")
    for token in (place.token, place.read_token):
        assert token not in annotation(place)
        assert token not in everything
        assert all(token not in text for text in files.values())


def dying(place: Place, step: int) -> str:
    """A stand-in for argocd-autopilot that is killed after its step of this number."""
    path = place.folder / "dying"
    real = place.arguments()["argocd_autopilot"]
    path.write_text(f'#!/bin/sh\nSTANDIN_AUTOPILOT_DIES_AFTER={step} exec "{real}" "$@"\n')
    path.chmod(0o700)
    return str(path)


@pytest.mark.parametrize(
    "step", [pytest.param(step, marks=[] if step == 8 else pytest.mark.slow) for step in range(1, 12)]
)
def test_after_autopilot_died(place: Place, step: int) -> None:
    died = place.bootstrap(argocd_autopilot=dying(place, step))
    # The cluster without its first Application is recovered by the same run, or here by the next one.
    if step <= 7:
        assert died.failure["kind"] == "AutopilotError", died.output
        place.converged()
    else:
        assert died.ok["changed"]
        place.is_unchanged()


def test_a_new_cluster_is_recovered_without_a_commit(place: Place) -> None:
    assert place.bootstrap().ok["changed"]
    head = place.repository.head
    place.new_cluster()
    seen = place.bootstrap(check=True).ok
    done = place.bootstrap().ok
    assert done["actions"] == seen["actions"]
    assert done["actions"][0].startswith("recover Argo CD in the cluster")
    assert place.repository.head == head
    place.is_unchanged()


def test_an_upgrade_is_a_commit(place: Place) -> None:
    place.converged()
    before = place.objects()
    place.write_installation(small_installation("argo.example/argocd:v9.9.0"))
    seen = place.bootstrap(check=True, version="9.9.0").ok
    text = json.dumps(seen["diff"])
    assert "-      - image: argo.example/argocd:v9.8.7" in text
    assert "+      - image: argo.example/argocd:v9.9.0" in text
    assert place.objects() == before
    done = place.bootstrap(version="9.9.0").ok
    assert done["actions"] == seen["actions"] == ["commit: Argo CD 9.9.0, pinned"]
    assert "v9.9.0" in place.files()[INSTALL]
    place.is_unchanged(version="9.9.0")


@pytest.mark.slow
def test_patches_are_committed(place: Place) -> None:
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm"}}
    patch = {"patch": yaml.safe_dump({**config_map, "data": {"timeout.reconciliation": "60s"}})}
    place.converged(patches=[patch])
    assert "timeout.reconciliation" in place.files()[INSTALL]


@pytest.mark.slow
def test_a_new_token_reaches_the_cluster(place: Place) -> None:
    place.converged()
    done = place.bootstrap(read_token=place.token).ok
    assert done["actions"] == ["replace the repository's Secret"]
    assert base64.b64decode(place.secret("argocd-repo-creds")["data"]["password"]).decode() == place.token
    assert place.token not in json.dumps(done)
    place.is_unchanged(read_token=place.token)


@pytest.mark.slow
def test_the_token_in_an_annotation_is_removed(place: Place) -> None:
    place.converged()
    manifest = place.secret("argocd-repo-creds")
    manifest["metadata"] = {name: manifest["metadata"][name] for name in ("name", "namespace", "labels")}
    place.kubectl("apply", "-f", "-", manifest=json.dumps(manifest))
    assert "last-applied" in annotation(place)
    assert place.bootstrap().ok["actions"] == ["replace the repository's Secret"]
    assert "last-applied" not in annotation(place)


@pytest.mark.slow
def test_an_authority_a_branch_and_a_path_of_ones_own(tls_cluster: Rehearsed, tmp_path: Path) -> None:
    place = Place(tls_cluster, tmp_path)
    place.url = place.url.replace("http://", "https://")
    place.repository._git("branch", "clusters/two")
    where = {"repo_branch": "clusters/two", "repo_path": "a/b", "repo_ca_file": str(tls_cluster.state.git_ca)}
    refused(place, "GitCertificate", "argocd_repo_ca_file", **{**where, "repo_ca_file": None})
    place.converged(**where)
    assert place.commits() == ["First commit"], "another branch"
    certificates = json.loads(place.kubectl("-n", NAMESPACE, "get", "configmap", "argocd-tls-certs-cm", "-o", "json"))
    assert list(certificates["data"].values()) == [tls_cluster.state.git_ca.read_text()]
    head = place.repository._git("rev-parse", "clusters/two")
    place.new_cluster()
    place.converged(**where)
    assert place.repository._git("rev-parse", "clusters/two") == head


@pytest.mark.slow
def test_a_token_that_may_write_is_warned_of(place: Place) -> None:
    other = place.bootstrap(read_user="somebody", read_token=place.token)
    assert other.ok["changed"]
    assert "may push" in other.warnings
    assert "may push" not in place.bootstrap().warnings


@pytest.mark.slow
def test_a_plain_bootstrap_is_taken_over_and_pinned(place: Place) -> None:
    place.converged()
    unpinned = {"resources": ["github.com/argoproj-labs/argocd-autopilot/manifests/base?ref=v0.4.20"]}
    place.commit(
        "As argocd-autopilot does it", {INSTALL: None, OVERSIZED: None, KUSTOMIZATION: yaml.safe_dump(unpinned)}
    )
    place.kubectl("annotate", "namespace", NAMESPACE, "homelab.talos/repository-")
    place.converged()
    assert KUSTOMIZATION not in place.files()

    own = {**unpinned, "patches": [{"patch": "{}"}]}
    place.commit("With a change of ones own", {KUSTOMIZATION: yaml.safe_dump(own)})
    refused(place, "UnusableRepository", "changes of your own", "argocd_patches")


@pytest.mark.slow
def test_the_leftover_of_an_uninstall(place: Place) -> None:
    place.commit("Autopilot Uninstall", {"gitops/bootstrap/DUMMY": ""})
    place.converged()


@pytest.mark.slow
def test_the_password_is_replaced(place: Place) -> None:
    shown = place.bootstrap(return_admin_password=True).ok["admin_password"]
    assert shown == base64.b64decode(place.secret("argocd-initial-admin-secret")["data"]["password"]).decode()
    done = place.bootstrap(admin_password_hash=HASH).ok
    assert done["actions"] == ["replace the admin password", "remove the initial admin password"]
    assert HASH not in json.dumps(done)
    assert base64.b64decode(place.secret("argocd-secret")["data"]["admin.password"]).decode() == HASH
    assert place.kubectl.run("-n", NAMESPACE, "get", "secret", "argocd-initial-admin-secret").returncode == 1
    place.is_unchanged(admin_password_hash=HASH)
    assert place.bootstrap(return_admin_password=True).ok["admin_password"] == ""


# --- what is refused, and what goes wrong


def refused(place: Place, kind: str, *words: str, **more: t.Any) -> Outcome:
    """One clear error, and nothing was touched."""
    before = place.repository.head, place.objects()
    done = place.bootstrap(**more)
    assert done.failure["kind"] == kind, done.output
    for word in words:
        assert word in done.result["msg"], done.result["msg"]
    assert done.failure["remedy"]
    assert (place.repository.head, place.objects()) == before
    assert place.token not in done.output
    return done


@pytest.mark.slow
def test_what_is_not_ours(place: Place) -> None:
    place.converged()
    other = Repository.create(place.rehearsal.state.git, "me/other")
    assert other.head
    refused(place, "ForeignArgoCD", place.url, repo_url=place.url.replace(place.url.split("/")[-1], "other.git"))
    refused(place, "ForeignArgoCD", "the path", repo_path="elsewhere")
    refused(place, "ForeignArgoCD", NAMESPACE, namespace="argocd-two")

    place.commit("Lost", {name: None for name in place.files() if name.startswith("gitops/")})
    refused(place, "LostRepository", "history")


def test_somebody_elses_argo_cd(place: Place) -> None:
    place.kubectl("create", "namespace", NAMESPACE)
    own = [each for each in yaml.safe_load_all(small_installation()) if each["kind"] == "Deployment"]
    place.kubectl("-n", NAMESPACE, "apply", "-f", "-", manifest=yaml.safe_dump_all(own))
    refused(place, "ForeignArgoCD", "Deployment/argocd-server")


@pytest.mark.slow
def test_half_a_layout(place: Place) -> None:
    assert place.bootstrap().ok["changed"]
    place.commit("Half", {"gitops/bootstrap/root.yaml": None})
    refused(place, "UnusableRepository", "gitops/bootstrap/root.yaml", "git log")
    place.commit("Of another place", {"gitops/bootstrap/root.yaml": "{}", "gitops/bootstrap/argo-cd.yaml": "{}"})
    refused(place, "UnusableRepository", "argo-cd.yaml")


@pytest.mark.parametrize(
    ("change", "kind", "word"),
    [
        ({"git_token": "nonsense-token"}, "WrongToken", "argocd_git_token"),
        ({"read_token": "nonsense-token"}, "WrongToken", "token"),
        ({"repo_url": "http://127.0.0.1:9/me/it.git"}, "GitUnreachable", "argocd_repo_url"),
        ({"repo_branch": "nowhere"}, "NoSuchBranch", "argocd_repo_branch"),
        ({"repo_url": "git@github.com:me/it.git"}, "BadAddress", "argocd_repo_url"),
        ({"repo_url": "https://me:secret-word@github.com/me/it"}, "BadAddress", "argocd_git_token"),
        ({"repo_url": "https://secret-word@github.com/me/it"}, "BadAddress", "argocd_git_token"),
        ({"install_sha256": "0" * 64}, "BadInstallation", "argocd_install_sha256"),
        ({"install_file": None, "version": "1.2.3", "install_sha256": None}, "BadSetting", "curl -fsSL"),
        ({"version": "3.9", "namespace": "Argo"}, "BadSetting", "three numbers"),
        ({"admin_password_hash": "hunter2"}, "BadSetting", "bcrypt"),
        ({"kubeconfig": "/nowhere"}, "NoCluster", "healthy control plane"),
        ({"kubectl": "/nowhere"}, "NoCommand", "tool_kubectl_path"),
        ({"patches": [{"patch": "nonsense"}]}, "BadInstallation", "argocd_patches"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_bad_input(place: Place, change: dict[str, t.Any], kind: str, word: str) -> None:
    done = refused(place, kind, word, **change)
    assert "secret-word" not in done.output


def test_a_repository_that_is_none_or_empty(place: Place) -> None:
    refused(place, "NoSuchRepository", "argocd_repo_url", repo_url=place.url.replace("gitops", "nothing"))
    Repository.create(place.rehearsal.state.git, "me/empty", empty=True)
    url = place.url.replace(place.url.split("/")[-1], "empty.git")
    refused(place, "EmptyRepository", "first commit", repo_url=url)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "kind"),
    [("refused", "GitUnreachable"), ("token-revoked", "WrongToken"), ("read-only", "NotAllowedToPush")],
)
def test_a_git_server_that_refuses(place: Place, fault: str, kind: str) -> None:
    place.rehearsal.command("fault", "git", fault)
    refused(place, kind)
    place.rehearsal.command("fault", "git", "--clear")
    place.converged()


def test_check_mode_without_a_cluster(place: Place) -> None:
    done = place.bootstrap(check=True, kubeconfig="/nowhere").ok
    assert done["actions"] == ["bootstrap or recover, once there is a cluster"]
    refused(place, "NotAllowedToPush", check=True, git_token=place.read_token)


@pytest.mark.slow
def test_what_is_being_deleted(place: Place) -> None:
    held = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "finalizers": ["example.org/it"]}}
    place.kubectl("apply", "-f", "-", manifest=json.dumps(held))
    place.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    refused(place, "BeingDeleted", "example.org/it")
    place.kubectl("patch", "namespace", NAMESPACE, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    place.converged()


@pytest.mark.slow
def test_an_argo_cd_without_long_objects(place: Place) -> None:
    place.converged()
    assert OVERSIZED in place.files()
    short = [
        each
        for each in yaml.safe_load_all(small_installation())
        if each["metadata"]["name"] != "applicationsets.argoproj.io"
    ]
    place.write_installation(yaml.safe_dump_all(short))
    place.converged()
    assert OVERSIZED not in place.files()


@pytest.mark.slow
def test_a_claim_alone_is_none(place: Place) -> None:
    """A run for another place broke off before it installed anything."""
    place.kubectl("create", "namespace", NAMESPACE)
    place.kubectl("annotate", "namespace", NAMESPACE, "homelab.talos/repository=https://git.example/other.git")
    place.converged()


@pytest.mark.slow
def test_what_is_no_yaml_is_written_anew(place: Place) -> None:
    assert place.bootstrap().ok["changed"]
    place.commit("Conflict", {INSTALL: "<<<<<<< HEAD\na: {"})
    place.converged()


@pytest.mark.slow
def test_a_protected_branch(place: Place) -> None:
    place.rehearsal.command("fault", "git", "protected-branch")
    failed = place.bootstrap()
    assert failed.failure["kind"] == "NotAllowedToPush"
    assert "argocd_repo_branch" in failed.result["msg"]
    place.rehearsal.command("fault", "git", "--clear")
    place.converged()


@pytest.mark.slow
def test_a_repository_that_moves_on(place: Place) -> None:
    place.converged()
    place.write_installation(small_installation("argo.example/argocd:v9.9.0"))
    place.rehearsal.command("fault", "git", "moves-on")
    actions = place.bootstrap(version="9.9.0").ok["actions"]
    assert actions == ["commit: Argo CD 9.9.0, pinned"]
    assert "Somebody was faster" in place.commits()
    place.is_unchanged(version="9.9.0")


@pytest.mark.slow
def test_pods_that_never_become_ready(place: Place) -> None:
    for node in place.rehearsal.nodes():
        place.rehearsal.command("fault", node, "pods-never-ready")
    failed = place.bootstrap(ready_timeout=3)
    assert failed.failure["kind"] == "NotReady"
    assert "last-applied" not in annotation(place), "no token in the clear, though it failed"
    assert "Deployment/argocd-server" in failed.result["msg"]
    assert "argocd_ready_timeout" in failed.result["msg"]
    place.rehearsal.command("fault", "--clear")
    # How far it came is the real one's own affair: it may push though its wait timed out.
    assert place.bootstrap().rc == 0
    place.is_unchanged()


@pytest.mark.slow
def test_a_node_that_takes_its_pods_with_it(place: Place) -> None:
    place.converged()
    where = ("get", "pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=argocd-server", "-o")
    node = place.kubectl(*where, "jsonpath={.items[0].spec.nodeName}")
    place.rehearsal.command("fault", node, "frozen")
    place.kubectl.until(
        "Unknown", "get", "node", node, "-o", 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
    )
    told = place.folder / "told"
    failed = place.bootstrap(ready_timeout=7, progress_file=str(told))
    assert failed.failure["kind"] == "NotReady"
    for text in (failed.result["msg"], told.read_text()):
        assert f" on {node}, which is not ready: ContainersNotReady" in text
    assert f"Bring {node} back" in failed.failure["remedy"]
    place.rehearsal.command("fault", "--clear")
    place.kubectl.until("True", "get", "node", node, "-o", 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')
    place.is_unchanged()


@pytest.mark.slow
def test_no_node_takes_its_pods(place: Place) -> None:
    """It is told while argocd-autopilot waits, too."""
    nodes = place.rehearsal.nodes()
    place.kubectl("cordon", *nodes)
    told = place.folder / "told"
    failed = place.bootstrap(ready_timeout=8, progress_file=str(told))
    place.kubectl("uncordon", *nodes)
    assert "Unschedulable" in told.read_text()
    assert "Have a worker that is ready" in failed.failure["remedy"]
    assert place.bootstrap().rc == 0
    place.is_unchanged()


# --- killed


def killing(place: Place, at: int, when: str) -> bool:
    """A run whose module, or its argocd-autopilot, is killed at its command of this number. Was there one?"""
    folder = place.folder / "killing"
    folder.mkdir(exist_ok=True)
    given = place.arguments()
    count = folder / "count"
    count.write_text("0\n")
    real = {"git": shutil.which("git"), "kubectl": given["kubectl"], "argocd-autopilot": given["argocd_autopilot"]}
    for name, path in real.items():
        script = folder / name
        script.write_text(KILLER.format(real=path, count=count, at=at, when=when))
        script.chmod(0o700)
    paths = {name.replace("-", "_"): str(folder / name) for name in real if name != "git"}
    environment = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    done = place.bootstrap(environment=environment, **paths)
    reached = int(count.read_text()) >= at
    assert reached or done.rc == 0, done.output
    return reached


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_every_command(place: Place) -> None:
    """Between our own steps, too: each of them is a command."""
    for number in itertools.count(1):
        place.renew()
        if not killing(place, number, "before" if number % 2 else "after"):
            break
        # An argocd-autopilot that outlived its module holds the lock, and is waited for.
        assert place.bootstrap().rc == 0
        place.is_unchanged()
    assert number > 20


@pytest.mark.slow
@pytest.mark.parametrize("at", [12, 17])
def test_killed(place: Place, at: int) -> None:
    assert killing(place, at, "after")
    place.converged()
