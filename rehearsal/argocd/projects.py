# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an AppProject lets its Applications do."""

from __future__ import annotations

import typing as t

from rehearsal.argocd.globs import permits
from rehearsal.kubernetes import Object
from rehearsal.kubernetes.kinds import Resource

IN_CLUSTER, IN_CLUSTER_NAME = "https://kubernetes.default.svc", "in-cluster"
DEFAULT: Object = {
    "metadata": {"name": "default"},
    "spec": {
        "sourceRepos": ["*"],
        "destinations": [{"namespace": "*", "server": "*"}],
        "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
    },
}


def spec_problems(application: Object, project: Object | None) -> list[str]:
    """Why the Application is not looked at any further."""
    spec = application["spec"]
    name, source = spec.get("project") or "default", spec.get("source") or {}
    if project is None:
        return [f"Application referencing project {name} which does not exist"]
    if not source.get("repoURL") or not (source.get("path") or source.get("chart")):
        return ["spec.source.repoURL and either spec.source.path or spec.source.chart are required"]
    problems = []
    if not permits(map(_url, project["spec"].get("sourceRepos") or []), _url(source["repoURL"]), by_segments=True):
        problems.append(f"application repo {source['repoURL']} is not permitted in project '{name}'")
    return [*problems, *_destination_problems(spec.get("destination") or {}, project, name)]


def _url(url: str) -> str:
    return url.lower().rstrip("/").removesuffix(".git")


def _destination_problems(destination: Object, project: Object, name: str) -> list[str]:
    server, cluster = destination.get("server") or "", destination.get("name") or ""
    if cluster not in ("", IN_CLUSTER_NAME):
        return [f"there are no clusters with this name: {cluster}"]
    if not server and not cluster:
        return ["Destination server missing from app spec"]
    if not cluster and server != IN_CLUSTER:
        return [f"cluster '{server}' has not been configured"]
    namespace = destination.get("namespace") or ""
    if _takes(project, namespace):
        return []
    place = f"server '{IN_CLUSTER}' and namespace '{namespace}'"
    return [f"application destination {place} do not match any of the allowed destinations in project '{name}'"]


def _takes(project: Object, namespace: str) -> bool:
    """A destination that is denied by its namespace or its server counts for nothing."""
    known = project["spec"].get("destinations") or []
    denied = any(
        str(each.get("namespace") or "").startswith("!") and not permits(["*", each["namespace"]], namespace)
        for each in known
    )
    return not denied and any(
        permits([each.get("namespace") or ""], namespace)
        and (permits([each.get("server") or ""], IN_CLUSTER) or permits([each.get("name") or ""], IN_CLUSTER_NAME))
        for each in known
    )


def refusal(project: Object, resource: Resource, namespace: str, name: str) -> str:
    """Why an object of a source must not be applied, empty where it may."""
    spec, own = project["spec"], project["metadata"]["name"]
    scope = "namespaceResource" if resource.namespaced else "clusterResource"
    allowed, denied = spec.get(f"{scope}Whitelist"), spec.get(f"{scope}Blacklist") or []
    # Of the namespaced kinds all are allowed unless told otherwise, of the cluster's none.
    is_allowed = resource.namespaced if allowed is None else any(_names(rule, resource, name) for rule in allowed)
    if not is_allowed or any(_names(rule, resource, name) for rule in denied):
        return f"resource {resource.group}:{resource.kind} is not permitted in project {own}"
    if resource.namespaced and not _takes(project, namespace):
        return f"namespace {namespace} is not permitted in project '{own}'"
    return ""


def _names(rule: t.Mapping[str, str], resource: Resource, name: str) -> bool:
    named = (("group", resource.group), ("kind", resource.kind), *((("name", name),) if rule.get("name") else ()))
    return all(permits([rule.get(key, "")], value) for key, value in named)
