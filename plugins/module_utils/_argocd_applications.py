# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Applications in argocd-autopilot's layout, below ``apps/<application>/``:

* kustomize: ``base/``, which is the user's, and ``overlays/<project>/`` with ``kustomization.yaml``, ``config.json``
* directory: ``<project>/config_dir.json``, which names a folder of this repository or another

Nothing here applies anything to the cluster: Argo CD does, once it is pushed.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import re
import typing as t

from . import _argocd_projects as projects
from ._argocd_projects import SERVER, require_name, require_project_name
from ._errors import TalosError
from ._git import has_account
from ._gitops_commit import IN_CLUSTER, Content, Files, json_file, merged, yaml_file
from ._kubectl import Object
from ._yaml_text import string, write

KUSTOMIZE, DIRECTORY = "kustomize", "directory"
_KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_OF_KUSTOMIZE = ("manifests", "resources")
_OF_DIRECTORY = ("source_path", "source_url", "source_revision", "include", "exclude")
_MANIFESTS = "manifests.yaml"
_NAMESPACE_LINE = re.compile(r"^namespace:.*$", re.MULTILINE)
# A host and more: https://host/..., git@host:..., github.com/owner/name
_REMOTE = re.compile(r"[a-z+]+:|[^/]*@|[\w-]+(?:\.[\w-]+)+/", re.IGNORECASE | re.ASCII)


class BadApplication(TalosError):
    """An application that cannot be made as declared."""


@dataclasses.dataclass(frozen=True)
class Application:
    """What is declared.

    Of kustomize: ``resources`` begin a base that is not there yet, ``manifests`` are kept in it. Of a directory:
    ``source_path`` in this repository, or in ``source_url`` at ``source_revision``. Both paths are from the
    repository's root. Without ``dest_server`` it is the project's.
    """

    name: str
    project: str
    kind: str = KUSTOMIZE
    dest_namespace: str = "default"
    dest_server: str = ""
    namespace_labels: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    resources: tuple[str, ...] = ()
    manifests: tuple[Object, ...] = ()
    source_url: str = ""
    source_path: str = ""
    source_revision: str = ""
    include: str = ""
    exclude: str = ""

    @property
    def folder(self) -> str:
        return f"apps/{self.name}"

    @property
    def base(self) -> str:
        return f"{self.folder}/base"

    @property
    def overlay(self) -> str:
        return f"{self.folder}/overlays/{self.project}"

    @property
    def own_folder(self) -> str:
        """Of a directory."""
        return f"{self.folder}/{self.project}"

    def require_named(self) -> None:
        """Raises BadProject."""
        require_name("the application's name", self.name)
        require_project_name(self.project)

    def require_valid(self) -> None:
        """Raises BadProject, BadApplication."""
        self.require_named()
        require_name("dest_namespace", self.dest_namespace)
        require_no_secret(self.manifests)
        _require_manifests(self.manifests)
        for name, urls in (("source_url", (self.source_url,)), ("resources", self.resources)):
            if has_account(*urls):
                raise BadApplication(
                    f"{name} of application {self.name} holds a user or a token, which everybody who reads the "
                    "repository would read",
                    remedy="Leave it out; for a private repository make a Secret in Argo CD's namespace",
                )
        of_other = _OF_DIRECTORY if self.kind == KUSTOMIZE else _OF_KUSTOMIZE
        for name in of_other:
            if getattr(self, name):
                raise BadApplication(
                    f"application {self.name} is of the type {self.kind} and has {name}, which is of another type",
                    remedy=f"Leave out {name}, or correct type",
                )
        folders = _folders(self.source_path)
        if ".." in folders or (self.kind == DIRECTORY and not folders):
            raise BadApplication(
                f"source_path of application {self.name} is {self.source_path!r}",
                remedy="It must be the folder of its manifests, from the root of their repository",
            )


def _folders(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def require_no_secret(manifests: t.Any) -> None:
    """In whatever form they are given. Raises BadApplication."""
    for each in manifests if isinstance(manifests, (list, tuple)) else ():
        if not isinstance(each, dict):
            continue
        require_no_secret(each.get("items"))
        if each.get("kind") in ("Secret", "SecretList"):
            metadata = each.get("metadata")
            name = metadata.get("name") if isinstance(metadata, dict) else None
            raise BadApplication(
                f"manifests hold the Secret {name}, which everybody who reads the repository would read",
                remedy="Commit it encrypted (Sealed Secrets, SOPS), or make it in the cluster by other means",
            )


def _require_manifests(manifests: t.Iterable[Object]) -> None:
    for each in manifests:
        metadata = each.get("metadata")
        items = each.get("items")
        if isinstance(items, list):
            _require_manifests(item for item in items if isinstance(item, dict))
        elif not (each.get("apiVersion") and each.get("kind") and isinstance(metadata, dict) and metadata.get("name")):
            raise BadApplication(
                f"an item of manifests is no object of Kubernetes: {json.dumps(each, default=str)[:80]}",
                remedy="It must have apiVersion, kind and metadata.name",
            )


def present(content: Content, application: Application) -> Files:
    """What the repository lacks of the application. Raises TalosError."""
    project = projects.app_project(content, application.project)
    server = application.dest_server or _server_of(project)
    application = dataclasses.replace(application, dest_server=server)
    _require_one_form(content, application)
    _require_own_name(content, application)
    _require_allowed(content, application, project)
    made = _kustomize if application.kind == KUSTOMIZE else _directory
    return {**made(content, application), **_namespace(content, application)}


def absent(content: Content, application: Application) -> Files:
    """All of the application where this project was the last that had it; the namespace stays."""
    users = {project for project, name in projects.applications(content) if name == application.name}
    if application.project not in users:
        return {}
    if users == {application.project}:
        return dict.fromkeys(content.files(application.folder))
    # Beside its config may lie what others use: the folder of a project base is the base.
    configs = [f"{application.own_folder}/{name}" for name in ("config.json", "config_dir.json")]
    own = [name for name in configs if content.read(name) is not None]
    return dict.fromkeys([*content.files(application.overlay), *own])


def _server_of(project: Object) -> str:
    annotations = (project.get("metadata") or {}).get("annotations") or {}
    return str(annotations.get(SERVER) or IN_CLUSTER)


# --- what must be right


def _require_one_form(content: Content, application: Application) -> None:
    """It would be two Applications of one name."""
    forms = {
        KUSTOMIZE: f"{application.overlay}/config.json",
        DIRECTORY: f"{application.own_folder}/config_dir.json",
        "kustomize from another repository": f"{application.own_folder}/config.json",
    }
    for form, name in forms.items():
        if form != application.kind and content.read(name) is not None:
            raise BadApplication(
                f"application {application.name} of project {application.project} is there as {form} ({name})",
                remedy=f"Remove it first (state absent), or leave its type {form}",
            )


def _require_own_name(content: Content, application: Application) -> None:
    full = f"{application.project}-{application.name}"
    for project, name in projects.applications(content):
        if f"{project}-{name}" == full and (project, name) != (application.project, application.name):
            raise BadApplication(
                f"application {application.name} of project {application.project} would be {full} in Argo CD, as is "
                f"{name} of project {project}",
                remedy="Name it otherwise",
            )


def _require_allowed(content: Content, application: Application, project: Object) -> None:
    spec = project.get("spec") or {}
    destinations = [(str(each.get("server")), str(each.get("namespace"))) for each in spec.get("destinations") or []]
    place = (application.dest_server, application.dest_namespace)
    if not any(all(map(fnmatch.fnmatchcase, place, each)) for each in destinations):
        allowed = ", ".join(f"{namespace} at {server}" for server, namespace in destinations)
        raise BadApplication(
            f"project {application.project} does not allow {application.dest_namespace} at {application.dest_server}, "
            f"but {allowed or 'nothing'}",
            remedy="Correct dest_namespace, or add it to the project's namespaces (argocd_project)",
        )
    url = application.source_url or content.address.url
    repositories = [str(each) for each in spec.get("sourceRepos") or []]
    if not any(fnmatch.fnmatchcase(_bare(url), _bare(each)) for each in repositories):
        raise BadApplication(
            f"project {application.project} does not allow {url}, but {', '.join(repositories) or 'no repository'}",
            remedy="Correct source_url, or add it to the project's source_repos (argocd_project)",
        )


def _bare(url: str) -> str:
    return url.rstrip("/").removesuffix(".git")


# --- files


def _kustomize(content: Content, application: Application) -> Files:
    config = {
        "srcPath": content.address.below(application.overlay),
        "srcRepoURL": content.address.url,
        "srcTargetRevision": content.address.branch,
    }
    return {
        **_base(content, application),
        **_overlay(content, application),
        **_config(content, application, f"{application.overlay}/config.json", config),
    }


def _base(content: Content, application: Application) -> Files:
    """The base is the user's: it is begun, and nothing but the manifests is kept equal."""
    files: Files = {}
    name = _kustomization(content, application.base)
    if application.manifests:
        files |= yaml_file(content, f"{application.base}/{_MANIFESTS}", application.manifests)
    if content.read(name) is None:
        return files | yaml_file(content, name, [_begun(content, application)])
    if application.manifests:
        found = content.documents(name)
        if _MANIFESTS not in [each for document in found for each in document.get("resources") or []]:
            raise BadApplication(
                f"{content.address.below(name)} does not name {_MANIFESTS}, and is not changed",
                remedy=f"Add {_MANIFESTS} to its resources, or leave out manifests",
            )
    return files


def _begun(content: Content, application: Application) -> Object:
    for each in application.resources:
        if not _REMOTE.match(each) and not content.holds(f"{application.base}/{each}"):
            raise BadApplication(
                f"resources name {each}, which is not in {content.address.below(application.base)}",
                remedy="Commit it first; a path is seen from there, and what is elsewhere is a URL of kustomize",
            )
    resources = [*([_MANIFESTS] if application.manifests else []), *application.resources]
    if not resources:
        raise BadApplication(
            f"application {application.name} has no base in {content.address.below(application.base)}",
            remedy="Commit one (a kustomization.yaml and what it names), or give manifests or resources",
        )
    return _kustomization_of(resources)


def _overlay(content: Content, application: Application) -> Files:
    name = _kustomization(content, application.overlay)
    text = content.read(name)
    wanted = "" if application.dest_namespace == "default" else application.dest_namespace
    if text is None:
        return {name: write(_kustomization_of(["../../base"], wanted))}
    seen = [str(each.get("namespace") or "") for each in content.documents(name)]
    if seen == [wanted] or not wanted:
        return {}
    return {name: _with_namespace(text, wanted)}


def _with_namespace(text: str, namespace: str) -> str:
    """In its one line, so that the user's own words around it stay."""
    line = f"namespace: {string(namespace)}"
    if _NAMESPACE_LINE.search(text):
        return _NAMESPACE_LINE.sub(line, text, count=1)
    return f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{line}\n"


def _kustomization(content: Content, folder: str) -> str:
    """The file, which may have one of three names."""
    names = [f"{folder}/{name}" for name in _KUSTOMIZATIONS]
    return next((name for name in names if content.read(name) is not None), names[0])


def _kustomization_of(resources: list[str], namespace: str = "") -> Object:
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        **({"namespace": namespace} if namespace else {}),
        "resources": resources,
    }


def _directory(content: Content, application: Application) -> Files:
    path = "/".join(_folders(application.source_path))
    own = _bare(application.source_url or content.address.url) == _bare(content.address.url)
    if own and not content.clone.holds(path):
        raise BadApplication(
            f"{content.address.url} has no folder {path}",
            remedy="Commit it first, or correct source_path, which is seen from the repository's root",
        )
    if own and f"{content.address.below(application.own_folder)}/".startswith(f"{path}/"):
        raise BadApplication(
            f"source_path {path} holds config_dir.json, which Argo CD would take for a manifest",
            remedy=f"Put them into a folder beside it, as {content.address.below(application.folder, 'manifests')}",
        )
    config = {
        "srcPath": path,
        "srcRepoURL": application.source_url or content.address.url,
        "srcTargetRevision": application.source_revision or (content.address.branch if own else ""),
        "exclude": application.exclude,
        "include": application.include,
    }
    return _config(content, application, f"{application.own_folder}/config_dir.json", config)


def _config(content: Content, application: Application, name: str, more: Object) -> Files:
    """What argocd-autopilot wrote there besides stays, such as labels."""
    wanted = {
        "appName": application.name,
        "userGivenName": application.name,
        "destNamespace": application.dest_namespace,
        "destServer": application.dest_server,
        **more,
    }
    there = content.data(name)
    return json_file(content, name, {**wanted, "labels": None, "annotations": None, **there, **wanted})


def _namespace(content: Content, application: Application) -> Files:
    """Argo CD makes it, before and apart from the application."""
    folder = content.cluster_folder(application.dest_server)
    name = f"{folder}/{application.dest_namespace}-ns.yaml"
    there = content.documents(name)
    if application.dest_namespace == "default" or (there and not application.namespace_labels):
        return {}
    first = {"annotations": {"argocd.argoproj.io/sync-options": "Prune=false"}}
    metadata: Object = {"name": application.dest_namespace, **({} if there else first)}
    if application.namespace_labels:
        metadata["labels"] = dict(application.namespace_labels)
    wanted = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    return yaml_file(content, name, [merged(there[0] if there else {}, wanted), *there[1:]])
