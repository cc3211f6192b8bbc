# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""One commit to a bootstrapped repository, of the files that are not yet as they should be."""

from __future__ import annotations

import dataclasses
import json
import typing as t

from . import _gitops as gitops
from ._argocd_install import BadInstallation, load_all
from ._errors import TalosError
from ._git import Address, Clone, Git, again_when_moved_on
from ._gitops import Layout, UnusableRepository
from ._kubectl import Object
from ._values import plain
from ._yaml_text import write_all

IN_CLUSTER = "https://kubernetes.default.svc"
_CLUSTERS = "bootstrap/cluster-resources"

# New texts of files by their names, None for those to be removed.
Files = dict[str, t.Optional[str]]


class NotBootstrapped(TalosError):
    """Argo CD follows nothing there yet."""

    remedy = "Bootstrap it first: site.yml --tags argocd, or the module argocd_bootstrap"


class UnknownCluster(TalosError):
    """The repository has no folder for the resources of this cluster."""


@dataclasses.dataclass(frozen=True)
class Content:
    """What a bootstrapped repository holds; names are relative to the address's path."""

    clone: Clone
    address: Address
    namespace: str

    def read(self, name: str) -> str | None:
        return self.clone.read(name)

    def files(self, folder: str) -> list[str]:
        return self.clone.files(folder)

    def holds(self, name: str) -> bool:
        """A file or a folder."""
        return self.clone.holds(self.address.below(name))

    def documents(self, name: str) -> list[Object]:
        """Of a YAML file, none where it is not there. Raises UnusableRepository."""
        try:
            return [plain(each) for each in load_all(self.read(name) or "")]
        except BadInstallation as error:
            raise self.unusable(name, error.cause) from error

    def data(self, name: str) -> Object:
        """Of a JSON file, empty where it is not there. Raises UnusableRepository."""
        try:
            found = json.loads(self.read(name) or "{}")
        except ValueError as error:
            raise self.unusable(name, str(error)) from error
        if not isinstance(found, dict):
            raise self.unusable(name, "it is no mapping")
        return found

    def cluster_folder(self, server: str) -> str:
        """Where the cluster's own resources lie. Raises UnknownCluster."""
        names = [name for name in self.files(_CLUSTERS) if name.endswith(".json") and name.count("/") == 2]
        known = {str(self.data(name).get("server")): name.removesuffix(".json") for name in names}
        if server not in known:
            raise UnknownCluster(
                f"dest_server is {server}, and {self.address} knows {', '.join(sorted(known)) or 'no cluster'}",
                remedy="Add the cluster by argocd-autopilot project create --dest-kube-context, or correct dest_server",
            )
        return known[server]

    def unusable(self, name: str, why: str) -> UnusableRepository:
        return UnusableRepository(
            f"{self.address.below(name)} of {self.address.url} cannot be used: {why}",
            remedy="Correct it in the repository",
        )


@dataclasses.dataclass(frozen=True)
class Committed:
    """What was done, or in check mode would be; the diff is Ansible's, a file each."""

    actions: list[str]
    commit: str
    files: list[str]
    diff: list[dict[str, str]]

    def as_result(self) -> dict[str, t.Any]:
        return {"changed": bool(self.actions), **dataclasses.asdict(self)}


def converge(
    git: Git, address: Address, message: str, pending: t.Callable[[Content], Files], *, check: bool = False
) -> Committed:
    """Commit what ``pending`` finds to be changed. Raises TalosError, before anything was pushed."""
    return again_when_moved_on(lambda: _converge(git, address, message, pending, check=check))


def _converge(
    git: Git, address: Address, message: str, pending: t.Callable[[Content], Files], *, check: bool
) -> Committed:
    content = _opened(git.clone(address), address)
    files = pending(content)
    if not files:
        return Committed([], content.clone.commit, [], [])
    diff = [_difference(content, name, files[name]) for name in sorted(files)]
    if check:
        content.clone.require_push()
    else:
        content.clone.change(files)
        content.clone.push(message)
    return Committed([f"commit: {message}"], content.clone.commit, [each["after_header"] for each in diff], diff)


def _opened(clone: Clone, address: Address) -> Content:
    """Raises NotBootstrapped, UnusableRepository."""
    namespace = _namespace(Content(clone, address, ""))
    if gitops.layout(clone, address, namespace) is not Layout.BOOTSTRAPPED:
        raise NotBootstrapped(f"{address} is not bootstrapped")
    return Content(clone, address, namespace)


def _namespace(content: Content) -> str:
    """Argo CD's own."""
    for application in content.documents(gitops.ARGO_CD):
        return str((application.get("metadata") or {}).get("namespace"))
    return ""


def _difference(content: Content, name: str, after: str | None) -> dict[str, str]:
    header = content.address.below(name)
    return {
        "before_header": header,
        "after_header": header,
        "before": content.read(name) or "",
        "after": after or "",
    }


# --- files


def yaml_file(content: Content, name: str, documents: t.Sequence[Object]) -> Files:
    """The file, unless it says the same already."""
    wanted = [plain(each) for each in documents]
    return {} if content.read(name) is not None and content.documents(name) == wanted else {name: write_all(wanted)}


def json_file(content: Content, name: str, data: Object) -> Files:
    """The file, unless it says the same already."""
    wanted = plain(data)
    same = content.read(name) is not None and content.data(name) == wanted
    return {} if same else {name: json.dumps(wanted, indent=2, ensure_ascii=False) + "\n"}


def merged(there: t.Any, wanted: t.Any) -> t.Any:
    """``wanted`` over what is there, whose further keys stay; None in ``wanted`` removes a key."""
    if not isinstance(wanted, dict):
        return wanted
    before = there if isinstance(there, dict) else {}
    after = {**before, **{key: merged(before.get(key), value) for key, value in wanted.items()}}
    return {key: value for key, value in after.items() if value is not None or key not in wanted}


def texts(values: t.Mapping[str, t.Any] | None) -> dict[str, str] | None:
    """Labels, whose values are texts: YAML makes others of ``true`` and ``1``."""
    if values is None:
        return None
    return {key: json.dumps(value) if isinstance(value, bool) else str(value) for key, value in values.items()}
