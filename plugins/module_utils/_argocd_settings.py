# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What settings of Argo CD must be like: told of the whole inventory beforehand, and by the phase in the same words.

Every run loads it, and so nothing that costs time.
"""

from __future__ import annotations

import functools
import re
import typing as t
import urllib.parse
from collections.abc import Callable, Mapping

from . import _values
from ._errors import TalosError
from ._problems import HIDDEN, Problems, Report

DEFAULT_VERSION = "3.5.1"
# SHA-256 of install.yaml by version: what was tried with argocd-autopilot and this collection.
KNOWN = {"3.5.1": "795a3a972224da6a7f9d32c3e946445f062b60fb46028476715affeb688236e3"}
URL = "https://raw.githubusercontent.com/argoproj/argo-cd/v{version}/manifests/install.yaml"
UNKNOWN_SHA256 = (
    "not known for Argo CD {version}: look at its release notes, then set it to what this prints: curl -fsSL {url} | "
    "sha256sum"
)

# What the phase cannot do without.
NEEDED = {
    "argocd_repo_url": "set argocd_repo_url in the inventory, where it is empty or not there",
    "argocd_git_token": "set argocd_git_token in the inventory, where it is empty or not there",
    "argocd_read_token": (
        "set argocd_read_token to a token that only reads the repository, for the cluster; argocd_git_token may stand "
        "in for it (argocd_read_token: '{{ argocd_git_token }}')"
    ),
}


class BadSetting(TalosError):
    """Settings that cannot be used."""

    remedy = "Correct it in the inventory"


_VERSION = re.compile(r"v?[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.]+)?", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_BCRYPT = re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}", re.ASCII)
# git leaves the others out at both ends of a name, and takes none of which nothing is left.
_IN_A_NAME = re.compile(r"[^\s.,:;<>\"\\'\x00-\x20]")
_LONGEST = 86400


def is_name(text: str) -> bool:
    """Whether Kubernetes takes it for a namespace and the like."""
    return _NAME.fullmatch(text) is not None


def _read_matching(value: object, key: str, report: Report, pattern: re.Pattern[str], remedy: str) -> None:
    if not pattern.fullmatch(str(value)):
        report(key, value, remedy)


def _read_sha256(value: object, key: str, report: Report) -> None:
    if not isinstance(value, str) or not _SHA256.fullmatch(value.lower()):
        report(key, value, "must be a sha256: 64 digits of 0 to 9 and a to f, in quotes")


def _read_author(value: object, key: str, report: Report) -> None:
    if not isinstance(value, str) or "\n" in value or not _IN_A_NAME.search(value):
        report(key, value, "must be a text of one line that git takes for an author's, with a letter or a digit")


def _read_applications(value: object, key: str, report: Report) -> None:
    # Ansible makes a list of a text.
    _values.each(_values.dns_name, value.split(",") if isinstance(value, str) else value, key, report)


def _read_patch(value: object, key: str, report: Report) -> None:
    if not isinstance(value, dict) or not isinstance(value.get("patch"), str):
        report(key, value, "must be a patch of kustomize: a mapping with patch, a text, and target where it needs one")


_read_name = functools.partial(
    _read_matching,
    pattern=_NAME,
    remedy="must be of small letters, digits and -, begin and end with none of -, and have at most 63",
)
_read_url = functools.partial(_values.url, schemes=("https", "http"))
_read_seconds = functools.partial(_values.integer, low=0, high=_LONGEST)

# Empty ones are not set. Where the repository is, is checked as a whole.
_READERS: dict[str, Callable[[object, str, Report], object]] = {
    "argocd_admin_password_hash": functools.partial(
        _read_matching, pattern=_BCRYPT, remedy="must be a bcrypt hash; make it: argocd account bcrypt --password …"
    ),
    "argocd_applications": _read_applications,
    "argocd_ca_file": _values.text,
    "argocd_cache_dir": _values.text,
    "argocd_commit_email": _read_author,
    "argocd_commit_name": _read_author,
    "argocd_git_token": _values.text,
    "argocd_git_user": _values.text,
    "argocd_install_file": _values.text,
    "argocd_install_sha256": _read_sha256,
    "argocd_mirror": _read_url,
    "argocd_namespace": _read_name,
    "argocd_offline": _values.boolean,
    "argocd_patches": functools.partial(_values.each, _read_patch),
    "argocd_proxy": _values.text,
    "argocd_read_token": _values.text,
    "argocd_read_user": _values.text,
    "argocd_ready_timeout": _read_seconds,
    "argocd_repo_ca_file": _values.text,
    "argocd_sync_timeout": _read_seconds,
    "argocd_version": functools.partial(
        _read_matching, pattern=_VERSION, remedy=f"must be a version of three numbers, as {DEFAULT_VERSION}"
    ),
}
VARIABLES = frozenset({*_READERS, "argocd_repo_branch", "argocd_repo_path", "argocd_repo_url"})


def check(variables: Mapping[str, t.Any], report: Report, *, due: bool) -> None:
    """Those of the host that the phase runs on. Without a repository it is left out, and lacks nothing.

    What must be there is asked for where the run comes to the phase: others may have no tokens at hand.
    """
    for name, read in _READERS.items():
        if variables.get(name) not in (None, ""):
            read(variables[name], name, report)
    url, path, branch = (variables.get(f"argocd_repo_{what}") for what in ("url", "path", "branch"))
    if not url:
        return
    check_address(str(url), str(path or ""), str(branch or ""), report)
    if not due:
        return
    for name, remedy in NEEDED.items():
        if not variables.get(name):
            report(name, None, remedy)
    _check_pin(variables, report)


def _check_pin(variables: Mapping[str, t.Any], report: Report) -> None:
    version = str(variables.get("argocd_version") or DEFAULT_VERSION)
    if _VERSION.fullmatch(version) and not variables.get("argocd_install_sha256"):
        version = version.removeprefix("v")
        if version not in KNOWN:
            remedy = UNKNOWN_SHA256.format(version=version, url=URL.format(version=version))
            report("argocd_install_sha256", None, remedy)


def check_address(url: str, path: str, branch: str, report: Report) -> None:
    """A repository, its folder and its branch; the first thing that is wrong."""
    remedy = "must be like https://github.com/me/homelab.git: argocd-autopilot speaks HTTP only"
    try:
        parts = urllib.parse.urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return report("argocd_repo_url", HIDDEN, remedy)
    shown = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
    if parts.username is not None or parts.password is not None:
        said = "holds a user or a token; put them into argocd_git_user and argocd_git_token"
        return report("argocd_repo_url", shown, said)
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not parts.path.strip("/"):
        return report("argocd_repo_url", shown, remedy)
    named = parts.path.rstrip("/").removesuffix(".git")
    if parts.query or parts.fragment or ".git/" in named:
        said = (
            "names more than a repository; put the branch into argocd_repo_branch and the folder into argocd_repo_path"
        )
        return report("argocd_repo_url", shown, said)
    names = folders(path)
    if ".." in names or any(re.search(r"[^\w.-]", name) for name in names):
        said = "must be a folder of the repository, of letters, digits, and . _ - /"
        return report("argocd_repo_path", path, said)
    # Where argocd-autopilot takes this apart, which is the first time that it sees one of them.
    whole = f"{named}.git/{'/'.join(names)}?ref={branch}"
    mark = ".git" if ".git" in named else "_git/" if "_git/" in whole else ""
    if mark:
        said = (
            f"or the path or branch, has {mark} within, where argocd-autopilot cuts it; use a repository, path and "
            "branch without it, which those of Azure DevOps cannot be; at the end of the repository's name .git is fine"
        )
        return report("argocd_repo_url", shown, said)
    if branch and re.search(r"[^\w./-]|\.\.|^[-/]|/$", branch):
        report("argocd_repo_branch", branch, "must be the name of a branch")
    return None


def folders(path: str) -> list[str]:
    """The names in a path."""
    return [name for name in path.split("/") if name not in ("", ".")]


def complaints(checked: Callable[[Report], object]) -> str:
    """What a check reports, in one line; empty where all is well."""
    found = Problems()
    checked(found.reporter(""))
    return "; ".join(problem.said for problem in found.problems)
