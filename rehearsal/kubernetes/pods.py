# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deployments, StatefulSets and DaemonSets, their pods, and when these are ready."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import itertools
import json
import time
import typing as t

from rehearsal.kubernetes import Object
from rehearsal.kubernetes.api import Api, Terms
from rehearsal.kubernetes.kinds import Resource, built_in
from rehearsal.kubernetes.rules import now
from rehearsal.kubernetes.status import StatusError

_PODS, _NODES = built_in("pods"), built_in("nodes")
_WORKLOADS = tuple(built_in(plural) for plural in ("deployments", "statefulsets", "daemonsets"))
_EXCEEDED = "ProgressDeadlineExceeded"
_HASH = "pod-template-hash"
_STATUS = Terms("kube-controller-manager", subresource="status")
_WRITE = Terms("kube-controller-manager")
# Of a node that does not let pods become ready, as the fault of that name says.
Stuck = t.Callable[[str], bool]


class Workloads:
    """The controllers of workloads, the scheduler and the kubelets in one."""

    def __init__(self, api: Api, pod_time: float, stuck: Stuck) -> None:
        self._api, self._pod_time, self._stuck = api, pod_time, stuck
        self._placed_at: dict[str, float] = {}

    def settle(self) -> None:
        """One round: pods as declared, each on a node, and what their owners say of them."""
        pods: dict[str, list[Object]] = {}
        for pod in self._api.store.all(_PODS.key):
            for owner in pod["metadata"].get("ownerReferences") or []:
                pods.setdefault(owner["uid"], []).append(pod)
        for resource in _WORKLOADS:
            for workload in self._api.store.all(resource.key):
                if "deletionTimestamp" in workload["metadata"]:
                    continue
                # A write that is refused, as in a namespace that goes, is tried again in the next round.
                with contextlib.suppress(StatusError):
                    self._settle(resource, workload, pods.get(workload["metadata"]["uid"], []))

    def _settle(self, resource: Resource, workload: Object, pods: list[Object]) -> None:
        template = _template_hash(workload)
        wanted = self._wanted(resource, workload)
        current = [pod for pod in pods if pod["metadata"]["labels"].get(_HASH) == template]
        outdated = [pod for pod in pods if pod not in current]
        if resource.plural == "statefulsets":  # whose pods keep their names
            self._delete_all(outdated)
        surplus = _surplus(resource, current, wanted)
        self._delete_all(surplus)
        current = [pod for pod in current if pod not in surplus]
        for node in _missing(resource, current, wanted):
            current.append(self._new_pod(resource, workload, template, node))
        current = [self._run(pod) for pod in current]
        if all(map(_is_ready, current)) and resource.plural != "statefulsets":
            self._delete_all(outdated)
        status = _status(resource, workload, current, len(wanted), template)
        if workload.get("status") != status:
            self._write_status(resource, workload, status)

    def _wanted(self, resource: Resource, workload: Object) -> list[str]:
        """For each pod its node, empty where the scheduler chooses."""
        if resource.plural != "daemonsets":
            return [""] * int(workload["spec"].get("replicas", 1))
        return self._nodes_for(workload["spec"]["template"].get("spec") or {}, unready_too=True)

    # --- pods

    def _new_pod(self, resource: Resource, workload: Object, template: str, node: str) -> Object:
        metadata, declared = workload["metadata"], workload["spec"]["template"]
        own = declared.get("metadata") or {}
        owner: Object = {"apiVersion": resource.api_version, "kind": resource.kind}
        owner |= {"name": metadata["name"], "uid": metadata["uid"], "controller": True}
        named: Object = {"generateName": f"{metadata['name']}-{template}-"}
        if resource.plural == "statefulsets":
            named = {"name": self._free_name(metadata)}
        pod_metadata = {
            **named,
            "labels": {**(own.get("labels") or {}), _HASH: template},
            "annotations": own.get("annotations"),
            "ownerReferences": [owner],
        }
        spec = {**(declared.get("spec") or {}), **({"nodeName": node} if node else {})}
        return self._api.create(_PODS, metadata["namespace"], {"metadata": pod_metadata, "spec": spec}, _WRITE)

    def _free_name(self, owner: Object) -> str:
        names = (f"{owner['name']}-{number}" for number in itertools.count())
        return next(name for name in names if not self._api.store.get(_PODS.key, owner["namespace"], name))

    def _run(self, pod: Object) -> Object:
        """The pod after the scheduler and the kubelet have looked at it."""
        if not pod["spec"].get("nodeName"):
            nodes = self._nodes_for(pod["spec"])
            if not nodes:
                return self._with_status(pod, _pod_status(pod, "Pending", False, "Unschedulable"))
            spec = {**pod["spec"], "nodeName": nodes[int(pod["metadata"]["uid"][:8], 16) % len(nodes)]}
            pod = self._api.update(_PODS, *_place(pod), {**pod, "spec": spec}, _WRITE)
        node, uid = pod["spec"]["nodeName"], pod["metadata"]["uid"]
        started_at = self._placed_at.setdefault(uid, 0.0 if _is_ready(pod) else time.monotonic())
        if time.monotonic() < started_at + self._pod_time:
            return self._with_status(pod, _pod_status(pod, "Pending", False, "ContainerCreating"))
        ready = self._node_ready(node) and not self._stuck(node)
        return self._with_status(pod, _pod_status(pod, "Running", ready, "" if ready else "ContainersNotReady"))

    def _with_status(self, pod: Object, status: Object) -> Object:
        if _without_times(pod.get("status") or {}) == _without_times(status):
            return pod
        return self._write_status(_PODS, pod, status)

    def _write_status(self, resource: Resource, obj: Object, status: Object) -> Object:
        metadata = {key: value for key, value in obj["metadata"].items() if key != "resourceVersion"}
        return self._api.update(resource, *_place(obj), {**obj, "metadata": metadata, "status": status}, _STATUS)

    def _delete_all(self, pods: list[Object]) -> None:
        for pod in pods:
            self._placed_at.pop(pod["metadata"]["uid"], None)
            self._api.delete(_PODS, *_place(pod), {}, _WRITE)

    # --- nodes

    def _nodes_for(self, spec: Object, unready_too: bool = False) -> list[str]:
        wanted = (spec.get("nodeSelector") or {}).items()
        return [
            node["metadata"]["name"]
            for node in self._api.store.all(_NODES.key)
            if wanted <= (node["metadata"].get("labels") or {}).items()
            and _tolerates(spec, node)
            and not node["spec"].get("unschedulable")
            and (unready_too or _is_ready(node))
        ]

    def _node_ready(self, name: str) -> bool:
        node = self._api.store.get(_NODES.key, "", name)
        return node is not None and _is_ready(node)


def _place(obj: Object) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _template_hash(workload: Object) -> str:
    text = json.dumps(workload["spec"]["template"], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _missing(resource: Resource, pods: list[Object], wanted: list[str]) -> list[str]:
    """Nodes of the pods that are to be made, empty where the scheduler chooses."""
    if resource.plural != "daemonsets":
        return wanted[len(pods) :]
    taken = {pod["spec"].get("nodeName") for pod in pods}
    return [node for node in wanted if node not in taken]


def _surplus(resource: Resource, pods: list[Object], wanted: list[str]) -> list[Object]:
    if resource.plural == "daemonsets":
        return [pod for pod in pods if pod["spec"].get("nodeName") not in wanted]
    return pods[len(wanted) :]


def _tolerates(spec: Object, node: Object) -> bool:
    tolerations = spec.get("tolerations") or []
    taints = [taint for taint in node["spec"].get("taints") or [] if taint["effect"] in ("NoSchedule", "NoExecute")]
    return all(any(_covers(toleration, taint) for toleration in tolerations) for taint in taints)


def _covers(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]) or toleration.get("key") not in (None, taint["key"]):
        return False
    return toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")


def _is_ready(obj: Object) -> bool:
    conditions = (obj.get("status") or {}).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _condition(kind: str, is_true: bool, reason: str, message: str = "") -> Object:
    status = "True" if is_true else "False"
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now()}


def _without_times(status: Object) -> Object:
    conditions = [{**each, "lastTransitionTime": ""} for each in status.get("conditions") or []]
    return {**{key: value for key, value in status.items() if key != "startTime"}, "conditions": conditions}


def _pod_status(pod: Object, phase: str, ready: bool, reason: str) -> Object:
    placed = reason != "Unschedulable"
    conditions = [
        _condition("PodScheduled", placed, "" if placed else reason),
        _condition("Ready", ready, reason if placed and reason else ""),
        _condition("ContainersReady", ready, reason if placed and reason else ""),
    ]
    if not placed:
        return {"phase": phase, "conditions": conditions}
    running = phase == "Running"
    state = {"running": {}} if running else {"waiting": {"reason": reason}}
    containers = [
        {"name": each["name"], "image": each.get("image", ""), "ready": ready, "started": running, "restartCount": 0}
        | {"state": state}
        for each in pod["spec"].get("containers") or []
    ]
    return {"phase": phase, "conditions": conditions, "startTime": now(), "containerStatuses": containers}


def _status(resource: Resource, workload: Object, pods: list[Object], wanted: int, template: str) -> Object:
    ready = sum(map(_is_ready, pods))
    seen = {"observedGeneration": workload["metadata"].get("generation", 1)}
    if resource.plural == "daemonsets":
        counts = {"desiredNumberScheduled": wanted, "currentNumberScheduled": len(pods), "numberMisscheduled": 0}
        counts |= {"updatedNumberScheduled": len(pods), "numberReady": ready, "numberAvailable": ready}
        return {**seen, **counts}
    counts = {"replicas": len(pods), "updatedReplicas": len(pods), "readyReplicas": ready, "availableReplicas": ready}
    if resource.plural == "statefulsets":
        revision = f"{workload['metadata']['name']}-{template}"
        same = {"currentRevision": revision, "updateRevision": revision, "currentReplicas": len(pods)}
        return {**seen, **counts, **same}
    return {**seen, **counts, "unavailableReplicas": wanted - ready, "conditions": _progress(workload, ready >= wanted)}


def _progress(workload: Object, done: bool) -> list[Object]:
    available = "MinimumReplicasAvailable" if done else "MinimumReplicasUnavailable"
    progressing = "NewReplicaSetAvailable" if done else "ReplicaSetUpdated"
    conditions = [_condition("Available", done, available), _condition("Progressing", True, progressing)]
    before = {each["type"]: each for each in (workload.get("status") or {}).get("conditions") or []}
    for condition in conditions:
        known = before.get(condition["type"])
        if known and condition["type"] == "Progressing" and not done and _is_over(workload, known):
            condition |= {"status": "False", "reason": _EXCEEDED}
        if known and (known["status"], known["reason"]) == (condition["status"], condition["reason"]):
            condition["lastTransitionTime"] = known["lastTransitionTime"]
    return conditions


def _is_over(workload: Object, known: Object) -> bool:
    """Has the rollout made no progress for so long that it counts as failed?"""
    if known["reason"] == _EXCEEDED:
        return True
    since = datetime.datetime.fromisoformat(known["lastTransitionTime"])
    seconds = workload["spec"].get("progressDeadlineSeconds", 600)
    return bool(known["reason"] == "ReplicaSetUpdated" and time.time() - since.timestamp() > seconds)
