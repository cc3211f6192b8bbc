# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects that a source declares: those in the files of a directory, or what a kustomization makes."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import tempfile
import typing as t
from dataclasses import dataclass
from pathlib import Path

import yaml

from rehearsal.argocd.globs import matches
from rehearsal.argocd.repositories import Commit, Unreadable, content
from rehearsal.kubernetes import Object
from rehearsal.standin.autopilot.commands import kubectl_path
from rehearsal.standin.errors import CommandError

DIRECTORY, KUSTOMIZE = "Directory", "Kustomize"
_MANIFEST = re.compile(r".*\.(yaml|yml|json)")
_KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_LOOKS_LIKE_ONE = ("apiVersion:", "kind:", "metadata:")
_CACHE = "<path to cached source>"
_SECONDS = 60.0
# kustomize fetches remote bases with git and over HTTP, and the rehearsal reaches out to nobody.
_NO_NETWORK = {"GIT_ALLOW_PROTOCOL": "none", "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}


@dataclass(frozen=True)
class Rendered:
    """How the source was read, and its objects."""

    source_type: str
    objects: tuple[Object, ...]


def rendered(commit: Commit, source: Object) -> Rendered:
    """What the source declares at that commit; ``Unreadable`` as the repository server says it."""
    path = str(source.get("path") or ".").strip("/")
    prefix = "" if path == "." else f"{path}/"
    files = {name.removeprefix(prefix): blob for name, blob in commit.files.items() if name.startswith(prefix)}
    if not files and prefix:
        raise _unknown(f"{path}: app path does not exist")
    if source.get("chart") or "Chart.yaml" in files or source.get("plugin"):
        raise _unknown("this rehearsal reads directories and kustomizations only")
    if "directory" not in source and any(name in files for name in _KUSTOMIZATIONS):
        return Rendered(KUSTOMIZE, tuple(_expanded(_kustomized(commit, path))))
    return Rendered(DIRECTORY, tuple(_directory(commit, files, source.get("directory") or {})))


def _unknown(said: str) -> Unreadable:
    return Unreadable(f"rpc error: code = Unknown desc = {said}")


def _precondition(said: str) -> Unreadable:
    return Unreadable(f"rpc error: code = FailedPrecondition desc = {said}")


def _directory(commit: Commit, files: dict[str, str], options: Object) -> t.Iterator[Object]:
    include, exclude = options.get("include") or "", options.get("exclude") or ""
    for name in sorted(files, key=lambda path: path.split("/")):
        if not _MANIFEST.fullmatch(name) or ("/" in name and not options.get("recurse")):
            continue
        if (exclude and matches(exclude, name)) or (include and not matches(include, name)):
            continue
        yield from documents(commit.git, files[name], name.rpartition("/")[2])


@functools.lru_cache(maxsize=512)
def documents(git: Path, blob: str, name: str) -> tuple[Object, ...]:
    """The objects of one file, whose name says how to read it; a YAML file that has none is somebody else's."""
    text = content(git, blob)
    try:
        read = [json.loads(text)] if name.endswith(".json") else list(yaml.load_all(text, yaml.CSafeLoader))
        found = [_as_json(document) for document in read if document is not None]
    except (ValueError, TypeError, yaml.YAMLError) as problem:
        if name.endswith(".json") or all(word in text for word in _LOOKS_LIKE_ONE):
            said = " ".join(str(problem).split())
            raise _precondition(f'Failed to unmarshal "{name}": failed to unmarshal manifest: {said}') from None
        return ()
    return tuple(_expanded(found))


def _as_json(document: t.Any) -> Object:
    """Without what YAML knows beyond JSON, such as dates."""
    if not isinstance(document, dict) or not document.get("kind"):
        raise ValueError(f"Object 'Kind' is missing in '{json.dumps(document, default=str)[:200]}'")
    return t.cast("Object", json.loads(json.dumps(document, default=str)))


def _expanded(objects: t.Iterable[Object]) -> t.Iterator[Object]:
    for obj in objects:
        if obj["kind"].endswith("List") and isinstance(obj.get("items"), list):
            yield from obj["items"]
        else:
            yield obj


def _kustomized(commit: Commit, path: str) -> list[Object]:
    with tempfile.TemporaryDirectory(prefix="rehearsal-kustomize-") as folder:
        commit.export(Path(folder))
        try:
            command = [kubectl_path(), "kustomize", os.path.join(folder, path)]
        except CommandError as problem:
            raise _unknown(str(problem)) from None
        environment = {**os.environ, **_NO_NETWORK}
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise _unknown(f"`kustomize build {_CACHE}/{path}` timed out after {_SECONDS:g}s") from None
        if done.returncode:
            said = done.stderr.strip().replace(folder, _CACHE)
            raise _unknown(f"`kustomize build {_CACHE}/{path}` failed exit status {done.returncode}: {said}")
    return [_as_json(document) for document in yaml.load_all(done.stdout, yaml.CSafeLoader) if document is not None]
