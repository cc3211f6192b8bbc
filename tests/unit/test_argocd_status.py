# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps Applications from being settled, as the objects of a cluster tell it."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import _argocd_status
from ansible_collections.homelab.talos.plugins.module_utils._argocd_status import (
    NoArgoCD,
    Settling,
    applications,
    shortened,
)
from ansible_collections.homelab.talos.plugins.module_utils._kubectl import Kubectl, KubectlError, NoCluster

Object = dict[str, t.Any]
REFRESH = "argocd.argoproj.io/refresh"
URL = "https://git.lan/me/home.git"
OLD, NEW, NEWER = "a" * 40, "b" * 40, "c" * 40


def application(name: str = "web", sync: str = "Synced", health: str | None = "Healthy", **status: t.Any) -> Object:
    revision = status.pop("revision", NEW)
    told: Object = {"sync": {"status": sync, "revision": revision}, "health": {"status": health} if health else {}}
    spec = {"source": {"repoURL": URL}, "destination": {"server": "https://kubernetes.default.svc"}}
    return {"metadata": {"name": name}, "spec": spec, "status": {**told, **status}}


def workload(name: str, ready: int, wanted: int = 1, kind: str = "Deployment", **status: t.Any) -> Object:
    counts = {"readyReplicas": ready} if kind != "DaemonSet" else {"numberReady": ready}
    counts |= {"desiredNumberScheduled": wanted} if kind == "DaemonSet" else {}
    metadata = {"name": name, "namespace": "web"}
    return {"kind": kind, "metadata": metadata, "spec": {"replicas": wanted}, "status": {**counts, **status}}


def resource(name: str, kind: str = "Deployment", **more: t.Any) -> Object:
    return {"group": "apps", "kind": kind, "namespace": "web", "name": name, "status": "Synced", **more}


def pod(name: str, reason: str) -> Object:
    waiting = [{"state": {"waiting": {"reason": reason}}}] if reason else []
    return {"metadata": {"name": name}, "status": {"phase": "Running", "containerStatuses": waiting}}


class Cluster:
    """What kubectl reads, and writes: an Application that is to be refreshed is, at the next look but one."""

    def __init__(self, *items: Object, **others: list[Object]) -> None:
        self.applications = {each["metadata"]["name"]: each for each in items}
        self.others = others
        self.written: list[tuple[str, list[str]]] = []
        self.read: list[str] = []
        self.errors: list[Exception] = []
        self.head = NEW

    def get(self, kinds: str, *_names: str, namespace: str = "", selector: str = "") -> list[Object]:
        self.read.append(kinds)
        if self.errors:
            raise self.errors.pop(0)
        if kinds != _argocd_status.APPLICATIONS:
            return self.others.get(kinds.partition(".")[0], [])
        found = [{**each, "metadata": {**each["metadata"]}} for each in self.applications.values()]
        for each in self.applications.values():
            if each["metadata"].pop("annotations", None):
                each["status"]["sync"]["revision"] = self.head
        return found

    def annotate(self, kind: str, names: t.Sequence[str], namespace: str, annotation: str, value: str) -> None:
        self.written.append((kind.partition(".")[0], list(names)))
        for name in names if kind == _argocd_status.APPLICATIONS else ():
            self.applications[name]["metadata"]["annotations"] = {annotation: value}

    @property
    def kubectl(self) -> Kubectl:
        return t.cast("Kubectl", self)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_argocd_status, "_PAUSE_SECONDS", 0.01)


def lines(item: Object, **others: list[Object]) -> list[str]:
    (found,) = applications(Cluster(item, **others).kubectl, "argocd")
    return list(found.missing)


# --- what is missing


def test_settled() -> None:
    assert lines(application()) == []
    assert lines(application(operationState={"phase": "Succeeded"})) == []


@pytest.mark.parametrize(
    ("sync", "health", "said"),
    [
        ("OutOfSync", "Degraded", "OutOfSync and Degraded"),
        ("Synced", None, "Unknown"),
        ("Synced", "Suspended", "Suspended"),
        ("", "Healthy", "Argo CD has not looked at it yet"),
    ],
)
def test_states(sync: str, health: str | None, said: str) -> None:
    assert lines(application(sync=sync, health=health)) == [said]


@pytest.mark.parametrize("phase", ["Running", "Terminating"])
def test_a_sync_that_runs_is_waited_for(phase: str) -> None:
    item = application(operationState={"phase": phase, "message": "waiting for hook batch/Job/migrate"})
    assert lines(item) == ["a sync is running: waiting for hook batch/Job/migrate"]
    begun = application(operationState={"phase": "Succeeded", "message": "of the last one"})
    assert lines({**begun, "operation": {"sync": {}}}) == ["a sync is running"]


@pytest.mark.parametrize(
    ("sync", "tried", "told"), [("Synced", NEW, True), ("Synced", OLD, False), ("OutOfSync", OLD, True)]
)
def test_a_sync_that_failed(sync: str, tried: str, told: bool) -> None:
    operation = {"phase": "Failed", "message": "hook failed", "syncResult": {"revision": tried}}
    said = lines(application(sync=sync, operationState=operation))
    assert ("the last sync failed: hook failed" in said) == told


def test_workloads_say_what_argo_cd_does_not() -> None:
    found = [
        workload("web", 0),
        workload("web-api", 1, 2, "StatefulSet"),
        workload("agent", 3, 4, "DaemonSet"),
        workload("fine", 1),
        workload("of-another", 0),
        workload("stuck", 1),
        workload(
            "forbidden", 0, conditions=[{"type": "ReplicaFailure", "status": "True", "message": "violates PodSecurity"}]
        ),
    ]
    pods = [
        *(pod("web-5d-x", "ImagePullBackOff"), pod("web-api-1", "CrashLoopBackOff")),
        *(pod("stuck-6e-y", "ErrImagePull"), pod("fine-7f-z", "")),
    ]
    names = [(each["metadata"]["name"], each["kind"]) for each in found if each["metadata"]["name"] != "of-another"]
    item = application(health="Degraded", resources=[resource(name, kind) for name, kind in names])
    cluster = Cluster(item, deployments=found, pods=pods)
    (seen,) = applications(cluster.kubectl, "argocd")
    assert list(seen.missing) == [
        "Degraded",
        "Deployment web/web has 0 of 1 pods ready: web-5d-x: ImagePullBackOff",
        "StatefulSet web/web-api has 1 of 2 pods ready: web-api-1: CrashLoopBackOff",
        "DaemonSet web/agent has 3 of 4 pods ready",
        "Deployment web/stuck has 1 of 1 pods ready: stuck-6e-y: ErrImagePull",
        "Deployment web/forbidden has 0 of 1 pods ready: violates PodSecurity",
    ]
    assert len(cluster.read) == 3, "a namespace is read once"


def test_workloads_are_looked_at_only_where_they_say_more() -> None:
    found = {"deployments": [workload("web", 0)]}
    own = resource("web", health={"status": "Progressing", "message": "0 of 1"})
    said = lines(application(health="Progressing", resources=[own]), **found)
    assert said == ["Progressing", "Deployment web/web is Progressing: 0 of 1"]
    assert lines(application(resources=[resource("web")]), **found) == []
    elsewhere = application(health="Degraded", resources=[resource("web")])
    elsewhere["spec"]["destination"] = {"name": "other-cluster"}
    assert lines(elsewhere, **found) == ["Degraded"]


def test_many_lines_are_shortened() -> None:
    assert shortened(list("abcde")) == list("abcde")
    assert shortened(list("abcdefg")) == [*"abcde", "and 2 more"]


# --- waiting


def wait(cluster: Cluster, seconds: float = 60, **more: t.Any) -> list[str]:
    return Settling(cluster.kubectl, "argocd", **more).wait(seconds, lambda: None)


def test_absent_applications_share_a_line() -> None:
    cluster = Cluster(application("web"))
    assert wait(cluster, 0.05, names=["c", "web", "a", "b"]) == ["no such Application yet: c, a, b"]


def test_no_application_at_all() -> None:
    with pytest.raises(NoArgoCD):
        wait(Cluster())


def test_an_api_that_does_not_answer_is_waited_for() -> None:
    cluster = Cluster(application("web"))
    cluster.errors = [NoCluster("i/o timeout"), NoCluster("i/o timeout")]
    settling = Settling(cluster.kubectl, "argocd", refresh=True)
    assert settling.wait(60, lambda: None) == []
    assert settling.trouble is None
    assert cluster.written == [("applications", ["web"])], "asked as soon as it answers, and once"

    cluster.errors = [NoCluster("i/o timeout")] * 1000
    assert settling.wait(0.05, lambda: None) == ["the Kubernetes API does not answer: i/o timeout"]
    assert settling.trouble

    cluster.errors = [KubectlError("forbidden")]
    with pytest.raises(KubectlError, match="forbidden"):
        settling.wait(60, lambda: None)


def test_the_last_look_says_why() -> None:
    item = application(health="Progressing", resources=[resource("web")])
    cluster = Cluster(item, deployments=[workload("web", 0)])
    assert wait(cluster, 0.05) == ["web: Progressing", "web: Deployment web/web has 0 of 1 pods ready"]
    looks = cluster.read.count(_argocd_status.APPLICATIONS)
    assert looks > 1
    assert len(cluster.read) == looks + 2, "the others at the last look alone"


def test_what_is_asked_for_ends_it() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Settling(Cluster(application("web", health="Degraded")).kubectl, "argocd").wait(60, stop)


def of_commit(*items: Object, revision: str = OLD) -> Cluster:
    return Cluster(application("autopilot-bootstrap", revision=revision), *items)


def test_a_commit_is_compared_with() -> None:
    other = application("other", revision=OLD)
    other["spec"]["source"] = {"repoURL": URL, "targetRevision": "v2"}
    foreign = application("foreign", revision=OLD)
    foreign["spec"]["source"] = {"repoURL": "https://git.lan/somebody/else.git"}
    head = application("head", revision=OLD)
    head["spec"]["source"] = {"repoURL": URL.removesuffix(".git"), "targetRevision": "HEAD"}
    cluster = of_commit(head, other, foreign, application("done"))
    assert wait(cluster, commit=NEW) == []
    assert cluster.written == [("applications", ["autopilot-bootstrap", "head"])]
    cluster.written.clear()
    assert wait(cluster, commit=NEW, refresh=True) == []
    assert cluster.written == [], "nothing is left to compare"


def test_the_old_comparison_does_not_count() -> None:
    """Synced and Healthy, but of before the commit; where nobody compares, that is what is told."""
    cluster = of_commit()
    cluster.applications["autopilot-bootstrap"]["metadata"]["annotations"] = {REFRESH: "normal"}
    said = wait(cluster, 0, commit=NEW)
    assert said == ["autopilot-bootstrap: Argo CD has not compared it with Git again yet"]
    assert cluster.written == [], "it was asked already"


def test_somebody_pushes_on() -> None:
    cluster = of_commit()
    cluster.head = NEWER
    assert wait(cluster, commit=NEW) == []
    assert len(cluster.written) == 1


def test_sets_are_asked_too() -> None:
    cluster = of_commit()
    cluster.others = {"applicationsets": [{"metadata": {"name": "home"}}]}
    assert wait(cluster, commit=NEW) == []
    assert cluster.written == [("applicationsets", ["home"]), ("applications", ["autopilot-bootstrap"])]


def test_a_commit_needs_the_application_that_names_its_repository() -> None:
    cluster = Cluster(application("web", revision=OLD))
    assert wait(cluster, 0.05, commit=NEW) == ["no such Application yet: autopilot-bootstrap"]
    assert cluster.written == []


def test_check_mode_writes_nothing() -> None:
    cluster = of_commit()
    assert wait(cluster, 0, commit=NEW, check=True)
    assert wait(cluster, 0, refresh=True, check=True) == []
    assert cluster.written == []
