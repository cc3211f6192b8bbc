# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ApplicationSets of files in Git: an Application for each file, made by a template, and gone with the file."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import re
import typing as t
from pathlib import Path

import yaml

from ansible_collections.homelab.talos.plugins.module_utils._yaml import load
from rehearsal.argocd.applications import API, FINALIZER, REFRESH
from rehearsal.argocd.globs import matches
from rehearsal.argocd.objects import annotations_of
from rehearsal.argocd.repositories import Commit, Repositories, Unreadable, content
from rehearsal.kubernetes import Object
from rehearsal.kubernetes.api import Api, Terms
from rehearsal.kubernetes.kinds import Resource, find
from rehearsal.kubernetes.rules import now
from rehearsal.kubernetes.status import StatusError

Parameters = dict[str, str]
_MANAGER = "argocd-applicationset-controller"
_WRITE = Terms(_MANAGER)
_PLACEHOLDER = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")
_DONE = "All applications have been generated successfully"


class ApplicationSets:
    """The controller of ApplicationSets of one namespace."""

    def __init__(self, api: Api, namespace: str, repositories: Repositories) -> None:
        self._api, self._namespace, self._repositories = api, namespace, repositories

    async def reconcile(self) -> None:
        """Look at every ApplicationSet once."""
        sets = find(self._api.store.resources, *API, "applicationsets")
        applications = find(self._api.store.resources, *API, "applications")
        if sets is None or applications is None:
            return
        for application_set in self._api.store.all(sets.key, self._namespace):
            if "deletionTimestamp" in application_set["metadata"]:
                continue
            problem = ""
            try:
                wanted = await self._wanted(application_set)
                self._converge(applications, application_set, wanted)
            except (Unreadable, StatusError) as refusal:
                problem = str(refusal)
            with contextlib.suppress(StatusError):
                self._describe(sets, application_set, problem)

    async def _wanted(self, application_set: Object) -> list[Object]:
        spec = application_set["spec"]
        if spec.get("goTemplate"):
            raise Unreadable("this rehearsal reads templates without goTemplate only")
        made = []
        for generator in spec.get("generators") or []:
            git = generator.get("git") or {}
            if not git.get("files"):
                raise Unreadable("this rehearsal reads generators of files in Git only")
            commit = self._repositories.commit(self._namespace, git["repoURL"], str(git.get("revision") or ""))
            patterns = tuple(each["path"] for each in git["files"])
            template = merged(git.get("template") or {}, spec["template"])
            for parameters in await asyncio.to_thread(_parameters, commit, patterns):
                made.append(filled(template, parameters))
        return made

    def _converge(self, applications: Resource, application_set: Object, wanted: list[Object]) -> None:
        uid = application_set["metadata"]["uid"]
        known = {
            application["metadata"]["name"]: application
            for application in self._api.store.all(applications.key, self._namespace)
            if any(owner.get("uid") == uid for owner in application["metadata"].get("ownerReferences") or [])
        }
        for template in wanted:
            self._put(applications, application_set, template)
        for name in known.keys() - {template["metadata"]["name"] for template in wanted}:
            if "deletionTimestamp" not in known[name]["metadata"]:
                self._api.delete(applications, self._namespace, name, {}, _WRITE)

    def _put(self, applications: Resource, application_set: Object, template: Object) -> None:
        metadata, name = template["metadata"], template["metadata"]["name"]
        own: Object = {"name": name, "namespace": self._namespace, "labels": metadata.get("labels") or {}}
        own["ownerReferences"] = [_owner(application_set)]
        live = self._api.store.get(applications.key, self._namespace, name)
        if live is None:
            keeps = (application_set["spec"].get("syncPolicy") or {}).get("preserveResourcesOnDeletion")
            own |= {"annotations": metadata.get("annotations") or {}, **({} if keeps else {"finalizers": [FINALIZER]})}
            self._api.create(applications, self._namespace, {"metadata": own, "spec": template["spec"]}, _WRITE)
            return
        if "deletionTimestamp" in live["metadata"]:
            return
        asked = {key: value for key, value in annotations_of(live).items() if key == REFRESH}
        own["annotations"] = {**(metadata.get("annotations") or {}), **asked}
        new = {**live, "metadata": {**live["metadata"], **own}, "spec": template["spec"]}
        self._api.update(applications, self._namespace, name, new, _WRITE)

    def _describe(self, sets: Resource, application_set: Object, problem: str) -> None:
        failed = ("ApplicationGenerationFromParamsError", problem)
        told = {
            "ErrorOccurred": (bool(problem), *(failed if problem else ("ApplicationSetUpToDate", _DONE))),
            "ParametersGenerated": (not problem, *(failed if problem else ("ParametersGenerated", _DONE))),
            "ResourcesUpToDate": (not problem, *(failed if problem else ("ApplicationSetUpToDate", _DONE))),
        }
        before = {each["type"]: each for each in (application_set.get("status") or {}).get("conditions") or []}
        conditions = [_condition(kind, *rest, before.get(kind) or {}) for kind, rest in told.items()]
        name = application_set["metadata"]["name"]
        fresh = self._api.store.get(sets.key, self._namespace, name)
        if fresh is None or (fresh.get("status") or {}).get("conditions") == conditions:
            return
        new = {**fresh, "status": {**(fresh.get("status") or {}), "conditions": conditions}}
        terms = Terms(_MANAGER, subresource="status" if sets.has_status else "")
        self._api.update(sets, self._namespace, name, new, terms)


def _owner(application_set: Object) -> Object:
    metadata = application_set["metadata"]
    named = {"apiVersion": "/".join(API), "kind": "ApplicationSet", "name": metadata["name"], "uid": metadata["uid"]}
    return {**named, "controller": True, "blockOwnerDeletion": True}


def _condition(kind: str, is_true: bool, reason: str, message: str, before: Object) -> Object:
    value = {"type": kind, "status": "True" if is_true else "False", "reason": reason, "message": message}
    if {key: before.get(key) for key in value} == value:
        return before
    return {**value, "lastTransitionTime": now()}


# --- templates


def merged(first: t.Any, second: t.Any) -> t.Any:
    """A generator's own template over that of the ApplicationSet: what it leaves empty is taken from there."""
    if isinstance(first, dict) and isinstance(second, dict):
        return {key: merged(first.get(key), second.get(key)) for key in (second | first)}
    return first if first or second is None else second


def filled(template: t.Any, parameters: Parameters) -> t.Any:
    """The template with its placeholders replaced; unknown ones stay."""
    if isinstance(template, dict):
        return {key: filled(value, parameters) for key, value in template.items()}
    if isinstance(template, list):
        return [filled(value, parameters) for value in template]
    if isinstance(template, str):
        return _PLACEHOLDER.sub(lambda found: parameters.get(found[1], found[0]), template)
    return template


@functools.lru_cache(maxsize=256)
def _parameters(commit: Commit, patterns: tuple[str, ...]) -> tuple[Parameters, ...]:
    """What each file says, and where it is."""
    found = sorted(path for path in commit.files if any(matches(pattern, path) for pattern in patterns))
    return tuple(
        {**_flat(document), **_place(path)}
        for path in found
        for document in _documents(commit.git, commit.files[path], path)
    )


def _documents(git: Path, blob: str, path: str) -> list[Object]:
    text = content(git, blob)
    try:
        value = json.loads(text) if path.endswith(".json") else load(text)
    except (ValueError, yaml.YAMLError) as problem:
        raise Unreadable(f"unable to process file '{path}': unable to parse file: {problem}") from None
    return [value] if isinstance(value, dict) else [each for each in value or [] if isinstance(each, dict)]


def _flat(value: t.Any, above: str = "") -> Parameters:
    """``{"a": {"b": 1}}`` as ``{"a.b": "1"}``."""
    if isinstance(value, dict):
        prefix = f"{above}." if above else ""
        return {name: text for key, below in value.items() for name, text in _flat(below, f"{prefix}{key}").items()}
    if isinstance(value, list):
        return {
            name: text for number, each in enumerate(value) for name, text in _flat(each, f"{above}[{number}]").items()
        }
    return {above: json.dumps(value) if isinstance(value, bool) else "" if value is None else str(value)}


def _place(path: str) -> Parameters:
    folder, _, filename = path.rpartition("/")
    parts = {f"path[{number}]": part for number, part in enumerate(folder.split("/"))}
    return {"path": folder, "path.basename": folder.rpartition("/")[2], "path.filename": filename, **parts}
