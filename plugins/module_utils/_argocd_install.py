# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""A pinned installation of Argo CD, as it is committed: built from its publisher's ``install.yaml`` and patches."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import os
import typing as t

from ._argocd_settings import KNOWN, UNKNOWN_SHA256, URL
from ._download import Cache, Expected, sha256_of_file
from ._errors import TalosError
from ._git import Address
from ._kubectl import Kubectl, KubectlError, Object
from ._yaml import SafeDumper, SafeLoader, yaml

CERTIFICATES = "argocd-tls-certs-cm"
_SYNC_OPTIONS = "argocd.argoproj.io/sync-options"
# The API takes 262144 bytes of annotations; a client-side apply keeps the whole object in one.
_LONGEST_APPLIED = 250_000
_PARTS = {"CustomResourceDefinition", "Deployment", "StatefulSet"}


class BadInstallation(TalosError):
    """The version, its manifests or the patches cannot be used."""

    remedy = "Choose another argocd_version, or read its install.yaml"


@dataclasses.dataclass(frozen=True)
class Installation:
    """``objects`` are what argocd-autopilot applies; ``oversized`` ones need a server-side apply."""

    version: str
    objects: tuple[Object, ...]
    oversized: tuple[Object, ...]

    @functools.cached_property
    def text(self) -> str:
        """``bootstrap/argo-cd/install.yaml``."""
        return dump_all(self.objects)

    @functools.cached_property
    def oversized_text(self) -> str:
        return dump_all(self.oversized)

    @functools.cached_property
    def workloads(self) -> frozenset[str]:
        """Such as ``Deployment/argocd-server``."""
        found = (each for each in self.objects if each["kind"] in ("Deployment", "StatefulSet"))
        return frozenset(f"{each['kind']}/{each['metadata']['name']}" for each in found)


def fetch(version: str, sha256: str, cache: Cache) -> str:
    """The path of ``install.yaml`` in the cache. Raises BadInstallation, DownloadError."""
    return cache.get(*_source(version, sha256)).path


def is_cached(version: str, sha256: str, cache: Cache) -> bool:
    return cache.find(*_source(version, sha256)) is not None


def _source(version: str, sha256: str) -> tuple[str, Expected]:
    wanted = sha256 or KNOWN.get(version, "")
    url = URL.format(version=version)
    if not wanted:
        raise BadInstallation(f"argocd_install_sha256 is {UNKNOWN_SHA256.format(version=version, url=url)}")
    return url, Expected(wanted)


def require_file(path: str, version: str, sha256: str) -> str:
    """A file that the user brought, of the pinned content. Raises BadInstallation."""
    if not os.path.isfile(path):
        raise BadInstallation(f"there is no argocd_install_file {path}", remedy="It is a path on the admin host")
    wanted, seen = sha256 or KNOWN.get(version, ""), sha256_of_file(path)
    if wanted != seen:
        raise BadInstallation(
            f"{path} has the SHA-256 {seen}, and Argo CD {version} must have {wanted or 'one that is declared'}",
            remedy="Bring the file of this version, or set argocd_version and argocd_install_sha256 to its own",
        )
    return path


def build(
    path: str,
    version: str,
    namespace: str,
    patches: t.Sequence[t.Mapping[str, t.Any]],
    address: Address,
    kubectl: Kubectl,
    folder: str,
) -> Installation:
    """Built by kustomize; ``folder`` becomes what argocd-autopilot may apply. Raises BadInstallation.

    That one stays without a namespace, or argocd-autopilot could not merge into it.
    """
    own = [*map(dict, patches), *_certificate_patch(address)]
    with open(path, encoding="utf-8") as file:
        _write(folder, "install.yaml", file.read())
    _kustomization(folder, resources=["install.yaml"], patches=own)
    _kustomization(f"{folder}.built", namespace=namespace, resources=[f"../{os.path.basename(folder)}"])
    try:
        built = load_all(kubectl.kustomize(f"{folder}.built"))
    except KubectlError as error:
        raise BadInstallation(error.cause, remedy="Correct argocd_patches: they are patches of kustomize") from error
    installation = _divided(version, built)
    _kustomization(folder, resources=["install.yaml"], patches=own + list(map(_deletion, installation.oversized)))
    return installation


def _kustomization(folder: str, **content: t.Any) -> None:
    _write(folder, "kustomization.yaml", dump_all([content]))


def _deletion(item: Object) -> Object:
    metadata = {"name": item["metadata"]["name"]}
    return {
        "patch": dump_all(
            [{**{key: item[key] for key in ("apiVersion", "kind")}, "metadata": metadata, "$patch": "delete"}]
        )
    }


def _certificate_patch(address: Address) -> list[Object]:
    """Argo CD trusts the repository's authority, as argocd-autopilot writes it, too."""
    if not address.ca_file:
        return []
    with open(address.ca_file, encoding="utf-8") as file:
        data = {address.host: file.read()}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CERTIFICATES}, "data": data}
    return [{"patch": json.dumps(config_map)}]


def _divided(version: str, built: t.Sequence[Object]) -> Installation:
    kinds = {each.get("kind") for each in built}
    if not kinds >= _PARTS:
        raise BadInstallation(f"install.yaml of Argo CD {version} has no {', '.join(sorted(_PARTS - kinds))}")
    objects: list[Object] = []
    oversized: list[Object] = []
    for each in built:
        long = len(json.dumps(each, separators=(",", ":"))) > _LONGEST_APPLIED
        (oversized if long else objects).append(each)
    return Installation(version, tuple(objects), tuple(map(_applied_by_server, oversized)))


def _applied_by_server(item: Object) -> Object:
    """Argo CD applies it as we do, and does not prune it where another Application of its own had it before."""
    metadata = dict(item["metadata"])
    annotations = {_SYNC_OPTIONS: "Prune=false,ServerSideApply=true"}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **annotations}
    return {**item, "metadata": metadata}


# --- manifests as text and data


def load_all(text: str) -> list[Object]:
    """The objects of a YAML text. Raises BadInstallation."""
    try:
        return [each for each in yaml.load_all(text, Loader=SafeLoader) if isinstance(each, dict)]
    except yaml.YAMLError as error:
        raise BadInstallation(f"manifests cannot be read: {error}") from error


def dump_all(objects: t.Iterable[t.Mapping[str, t.Any]]) -> str:
    text: str = yaml.dump_all(objects, Dumper=SafeDumper, sort_keys=True, allow_unicode=True)
    return text


def named(item: t.Mapping[str, t.Any]) -> str:
    """Such as ``Deployment argocd/argocd-server``."""
    metadata = item.get("metadata") or {}
    namespace = metadata.get("namespace")
    return f"{item.get('kind')} {f'{namespace}/' if namespace else ''}{metadata.get('name')}"


def same(one: str | None, other: t.Sequence[Object]) -> bool:
    """Does a text hold these objects, in whatever order and style?"""
    return one is not None and _readable(one) == _by_name(other)


def difference(one: str | None, other: t.Sequence[Object]) -> str:
    """The lines of the objects that differ; of wholly new or removed ones just their names."""
    before, after = _readable(one or ""), _by_name(other)
    lines: list[str] = []
    for name in sorted(before.keys() | after.keys()):
        if name not in before or name not in after:
            lines.append(f"{'+' if name in after else '-'}{name}\n")
        elif before[name] != after[name]:
            old, new = (dump_all([each[name]]).splitlines(keepends=True) for each in (before, after))
            lines += difflib.unified_diff(old, new, name, name)
    return "".join(lines)


def _readable(text: str) -> dict[str, Object]:
    """Nothing, where somebody left what is no YAML."""
    try:
        return _by_name(load_all(text))
    except BadInstallation:
        return {}


def _by_name(objects: t.Iterable[Object]) -> dict[str, Object]:
    return {named(each): each for each in objects}


def _write(folder: str, name: str, text: str) -> None:
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write(text)
