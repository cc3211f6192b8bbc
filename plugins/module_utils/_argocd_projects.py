# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Projects in argocd-autopilot's layout: ``projects/<name>.yaml`` is an AppProject and the ApplicationSet that makes an
Application of each ``config.json`` of the project.

The AppProject allows what is asked for and no more, where argocd-autopilot's own allows everything.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ._argocd_settings import is_name
from ._errors import TalosError
from ._git import has_account
from ._gitops_commit import IN_CLUSTER, Content, Files, merged, yaml_file
from ._kubectl import Object

_PATTERN = re.compile(r"[-a-z0-9*]{1,63}", re.ASCII)
# Argo CD's own project and autopilot's own ApplicationSet; the folder of overlays.
_RESERVED = frozenset({"default", "cluster-resources", "overlays"})
SERVER = "argocd-autopilot.argoproj-labs.io/default-dest-server"
_APPLICATION = re.compile(r"apps/(?P<app>[^/]+)/(?:overlays/)?(?P<project>[^/]+)/config(?:_dir)?\.json")
_SECONDS = 20
_DIRECTORY = {
    "directory": {"exclude": "{{ exclude }}", "include": "{{ include }}", "jsonnet": {}, "recurse": True},
    "repoURL": "",
}


class BadProject(TalosError):
    """A project that cannot be made or removed as declared."""


class UnknownProject(TalosError):
    """The repository has no such project."""


@dataclasses.dataclass(frozen=True)
class Project:
    """What is declared.

    ``namespaces`` may hold patterns. ``source_repos`` are allowed beside the project's own repository. Kinds are
    mappings of ``group`` and ``kind``; without any, no cluster-scoped one is allowed, and every namespaced one.
    ``labels`` and ``annotations`` are those of its Applications; None leaves what is there.
    """

    name: str
    namespaces: tuple[str, ...]
    source_repos: tuple[str, ...] = ()
    cluster_kinds: tuple[t.Mapping[str, str], ...] = ()
    namespaced_kinds: tuple[t.Mapping[str, str], ...] = ()
    description: str = ""
    dest_server: str = IN_CLUSTER
    labels: t.Mapping[str, str] | None = None
    annotations: t.Mapping[str, str] | None = None

    def require_valid(self) -> None:
        """Raises BadProject."""
        require_project_name(self.name)
        if not self.namespaces:
            raise BadProject(
                f"project {self.name} has no namespaces, so that nothing could run in it",
                remedy="List those that its applications may use in namespaces",
            )
        if has_account(*self.source_repos):
            raise BadProject(
                f"source_repos of project {self.name} hold a user or a token, which everybody who reads the repository "
                "would read",
                remedy="Leave it out; for a private repository make a Secret in Argo CD's namespace",
            )
        for namespace in self.namespaces:
            if not _PATTERN.fullmatch(namespace):
                raise BadProject(
                    f"project {self.name}: {namespace!r} in namespaces is not the name of a namespace",
                    remedy="It must be of small letters, digits and -, with * for a pattern",
                )


def require_name(what: str, name: str) -> None:
    """Raises BadProject."""
    if not is_name(name):
        raise BadProject(
            f"{what} is {name!r}",
            remedy="It must be of small letters, digits and -, begin and end with none of -, and have at most 63",
        )


def require_project_name(name: str) -> None:
    """Raises BadProject."""
    require_name("the project's name", name)
    if name in _RESERVED:
        raise BadProject(
            f"the project's name is {name}, which Argo CD or argocd-autopilot's layout uses itself",
            remedy="Name it otherwise",
        )


def file_of(name: str) -> str:
    return f"projects/{name}.yaml"


def applications(content: Content) -> list[tuple[str, str]]:
    """Pairs of project and application, of all that the repository has."""
    found = (_APPLICATION.fullmatch(name) for name in content.files("apps"))
    return sorted((each["project"], each["app"]) for each in found if each)


def app_project(content: Content, name: str) -> Object:
    """The AppProject. Raises UnknownProject, UnusableRepository."""
    if content.read(file_of(name)) is None:
        files = content.files("projects")
        names = [each[len("projects/") : -len(".yaml")] for each in files if each.endswith(".yaml")]
        raise UnknownProject(
            f"{content.address} has no project {name}, but {', '.join(names) or 'none at all'}",
            remedy="Make it first, by the module argocd_project",
        )
    return _one(content, name, "AppProject")


def present(content: Content, project: Project) -> Files:
    """What the repository lacks of the project. Further documents and fields in its file stay."""
    content.cluster_folder(project.dest_server)
    name = file_of(project.name)
    wanted = {each["kind"]: each for each in (_app_project(content, project), _application_set(content, project))}
    if content.read(name) is None:
        return yaml_file(content, name, [merged({}, each) for each in wanted.values()])
    for kind in wanted:
        _one(content, project.name, kind)
    documents = [
        merged(_cleared(each, project), wanted[each["kind"]]) if each.get("kind") in wanted else each
        for each in content.documents(name)
    ]
    return yaml_file(content, name, documents)


def absent(content: Content, name: str) -> Files:
    """Raises BadProject while applications are in it."""
    left = [app for project, app in applications(content) if project == name]
    if left:
        raise BadProject(
            f"project {name} of {content.address} still has {', '.join(left)}",
            remedy="Remove these applications first (argocd_application with state absent)",
        )
    return {} if content.read(file_of(name)) is None else {file_of(name): None}


def _one(content: Content, name: str, kind: str) -> Object:
    """Raises UnusableRepository."""
    found = [each for each in content.documents(file_of(name)) if each.get("kind") == kind]
    if len(found) != 1:
        raise content.unusable(file_of(name), f"it holds {len(found)} {kind}s instead of one")
    return found[0]


def _app_project(content: Content, project: Project) -> Object:
    destinations = [{"namespace": each, "server": project.dest_server} for each in project.namespaces]
    annotations = {
        SERVER: project.dest_server,
        "argocd.argoproj.io/sync-options": "PruneLast=true",
        "argocd.argoproj.io/sync-wave": "-2",
    }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AppProject",
        "metadata": {"name": project.name, "namespace": content.namespace, "annotations": annotations},
        "spec": {
            "description": project.description or f"{project.name} project",
            "sourceRepos": list(dict.fromkeys((content.address.url, *project.source_repos))),
            "destinations": destinations,
            "clusterResourceWhitelist": [dict(each) for each in project.cluster_kinds] or None,
            # Argo CD takes an empty list for none at all, and a missing one for all.
            "namespaceResourceWhitelist": [dict(each) for each in project.namespaced_kinds] or None,
        },
    }


def _application_set(content: Content, project: Project) -> Object:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "ApplicationSet",
        "metadata": {
            "name": project.name,
            "namespace": content.namespace,
            "annotations": {"argocd.argoproj.io/sync-wave": "0"},
        },
        "spec": {
            "generators": [
                _generator(content, project, "config.json", {}),
                _generator(content, project, "config_dir.json", {"source": _DIRECTORY}),
            ],
            "syncPolicy": {},
            "template": _template(content, project),
        },
    }


def _generator(content: Content, project: Project, file: str, spec: Object) -> Object:
    return {
        "git": {
            "files": [{"path": content.address.below("apps", "**", project.name, file)}],
            "repoURL": content.address.url,
            "requeueAfterSeconds": _SECONDS,
            "revision": content.address.branch,
            "template": {"metadata": {}, "spec": {"destination": {}, "project": "", **spec}},
        }
    }


def _template(content: Content, project: Project) -> Object:
    """Of an Application; Argo CD fills in what config.json says."""
    labels = {
        "app.kubernetes.io/managed-by": "argocd-autopilot",
        "app.kubernetes.io/name": "{{ appName }}",
        **(project.labels or {}),
    }
    return {
        "metadata": {
            "name": f"{project.name}-{{{{ userGivenName }}}}",
            "namespace": content.namespace,
            "labels": labels,
            **({"annotations": dict(project.annotations)} if project.annotations else {}),
        },
        "spec": {
            "project": project.name,
            "source": {
                "repoURL": "{{ srcRepoURL }}",
                "path": "{{ srcPath }}",
                "targetRevision": "{{ srcTargetRevision }}",
            },
            "destination": {"server": "{{ destServer }}", "namespace": "{{ destNamespace }}"},
            "ignoreDifferences": [{"group": "argoproj.io", "jsonPointers": ["/status"], "kind": "Application"}],
            "syncPolicy": {"automated": {"allowEmpty": True, "prune": True, "selfHeal": True}},
        },
    }


def _cleared(document: Object, project: Project) -> Object:
    """The document without the labels and annotations of Applications that the project declares as a whole."""
    declared = [name for name in ("labels", "annotations") if getattr(project, name) is not None]
    metadata = ((document.get("spec") or {}).get("template") or {}).get("metadata")
    if not metadata or not declared:
        return document
    left = {key: value for key, value in metadata.items() if key not in declared}
    spec = {**document["spec"], "template": {**document["spec"]["template"], "metadata": left}}
    return {**document, "spec": spec}
