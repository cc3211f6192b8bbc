# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of Argo CD's pods while they are waited for, and when waiting has no use."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import _argocd_readiness
from ansible_collections.homelab.talos.plugins.module_utils._argocd_readiness import NotReady, Readiness
from ansible_collections.homelab.talos.plugins.module_utils._kubectl import Kubectl, NoCluster

Object = dict[str, t.Any]
SERVER = ["Deployment/argocd-server"]
WORKLOADS = [*SERVER, "Deployment/argocd-redis"]


def node(name: str, ready: str = "True") -> Object:
    return {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


def pod(name: str, on: str = "", **state: str) -> Object:
    """Waiting for a ``reason``, or just not ready."""
    waiting = {"containerStatuses": [{"state": {"waiting": state}}]} if state else {}
    kind = "Ready" if on else "PodScheduled"
    conditions = [{"type": kind, "status": "False", "reason": "ContainersNotReady" if on else "Unschedulable"}]
    return {
        "metadata": {"name": name},
        "spec": {"nodeName": on} if on else {},
        "status": {"phase": "Running", "conditions": conditions, **waiting},
    }


class Scene:
    """A wait whose clock is set by hand; a look is due each time that it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nodes = [node("w1"), node("w2", "Unknown")]
        self.pods: list[Object] = []
        self.answers = True
        self.told: list[str] = []
        self.seconds = 0.0
        monkeypatch.setattr(_argocd_readiness.time, "monotonic", lambda: self.seconds)
        self.readiness = Readiness(t.cast("Kubectl", self), "argocd", WORKLOADS, 1200, self.told.append)

    def get(self, kinds: str, *_names: str, namespace: str = "") -> list[Object]:
        if not self.answers:
            raise NoCluster("busy")
        return {"pods": self.pods, "nodes": self.nodes}[kinds]

    def look(self, after: float = _argocd_readiness.PATIENCE_SECONDS / 2) -> None:
        self.seconds += after
        self.readiness.look(SERVER)

    @property
    def last(self) -> str:
        return self.told[-1]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_what_is_missing_is_told_with_its_node(scene: Scene) -> None:
    scene.pods = [
        pod("argocd-server-x", "w1", reason="ImagePullBackOff", message="no such host"),
        pod("argocd-redis-x"),
    ]
    scene.look()
    assert scene.last == "argocd-redis-x: Unschedulable; argocd-server-x on w1: ImagePullBackOff no such host"
    scene.pods = [pod("argocd-server-x", "w2"), pod("argocd-redis-x", "w2")]
    scene.look()
    assert scene.last == "argocd-redis-x, argocd-server-x on w2, which is not ready: ContainersNotReady"


def test_the_api_is_asked_now_and_then_only_and_may_be_busy(scene: Scene) -> None:
    scene.look(1)
    assert scene.told == []
    scene.answers = False
    scene.look()
    assert scene.told == []
    scene.answers = True
    scene.look()
    assert scene.told == ["Deployment/argocd-server"]


@pytest.mark.parametrize(
    ("on", "words"),
    [("w2", ("argocd-server-x on w2, which is not ready", "Bring w2 back")), ("", ("Unschedulable", "a worker"))],
    ids=["node is gone", "no node"],
)
def test_a_wait_without_hope_ends(scene: Scene, on: str, words: tuple[str, ...]) -> None:
    scene.pods = [pod("argocd-server-x", on)]
    scene.look()
    scene.look()
    with pytest.raises(NotReady) as error:
        scene.look()
    for word in words:
        assert word in str(error.value)
    assert "images" not in str(error.value)


def test_a_wait_with_hope_goes_on(scene: Scene) -> None:
    """Another pod may still come up, or the node comes back."""
    stuck, starting = pod("argocd-server-x", "w2"), pod("argocd-server-y", "w1", reason="ContainerCreating")
    for pods in ([stuck, starting], [stuck], [stuck], [starting], [stuck], [stuck], []):
        scene.pods = pods
        scene.look()
    assert len(scene.told) == 7


def test_a_workload_of_somebody_else_or_without_pods_ends_nothing(scene: Scene) -> None:
    scene.pods = [pod("my-own-x", "w2")]
    for _look in range(4):
        scene.look()
    scene.pods.append(pod("argocd-redis-x", "w2"))
    for _look in range(4):
        scene.look()
    assert scene.told == [*["Deployment/argocd-server"] * 4, *[scene.last] * 4]
    assert "my-own" not in scene.last


def test_the_time_is_over(scene: Scene) -> None:
    scene.pods = [pod("argocd-server-x", "w2"), pod("argocd-redis-x", "w1", reason="ErrImagePull")]
    lost = str(scene.readiness.error(SERVER))
    assert "argocd-server-x on w2, which is not ready" in lost
    assert "Bring w2 back" in lost
    scene.pods = scene.pods[1:]
    assert "images that cannot be pulled" in str(scene.readiness.error(SERVER))
