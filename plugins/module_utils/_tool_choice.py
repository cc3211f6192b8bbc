# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Which version of each tool a host gets: what was asked for, what the cluster needs, and what is locked."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Iterable, Mapping

from ._errors import TalosError
from ._problems import suggestion
from ._tool_lock import Key, Lock, versions_of
from ._tool_table import Tool, is_version
from ._versions import Version, parse


class Unsuitable(TalosError):
    """Tools that cannot be had as asked for: all of them, before anything is installed."""


@dataclasses.dataclass(frozen=True)
class Pin:
    """One tool in one version for one architecture: all that is needed to install it."""

    name: str
    version: str
    url: str
    sha256: str
    member: str = ""
    completion: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, t.Any]:
        return {**dataclasses.asdict(self), "completion": list(self.completion)}


@dataclasses.dataclass(frozen=True)
class Needs:
    """What tools must fit to. ``lock_command`` refreshes the user's lock when words such as ``helm=4.3.0`` follow."""

    talos: str
    kubernetes: str
    arch: str
    lock_command: str


def choose(
    names: Iterable[str], table: Mapping[str, Tool], lock: Lock, versions: Mapping[str, str], needs: Needs
) -> list[Pin]:
    """A pin for each name; raises Unsuitable with all problems. ``versions`` go before those of the table."""
    names = list(dict.fromkeys(names))
    wrong = [f"{name} in {where} is {suggestion(name, table)}" for name, where in _unknown(names, versions, table)]
    pins = []
    for name in names:
        if name in table:
            try:
                pins.append(_pin(table[name], lock, str(versions.get(name) or ""), needs))
            except Unsuitable as error:
                wrong.append(str(error).rstrip("."))
    if wrong:
        raise Unsuitable("; ".join(wrong), remedy="Nothing was installed")
    return pins


def _unknown(names: Iterable[str], versions: Iterable[str], table: Mapping[str, Tool]) -> list[tuple[str, str]]:
    given = [(name, "tool_names") for name in names] + [(name, "tool_versions") for name in versions]
    return [(name, where) for name, where in given if name not in table]


def _pin(tool: Tool, lock: Lock, asked: str, needs: Needs) -> Pin:
    if asked and not is_version(asked):
        raise Unsuitable(f"{tool.name}: {asked} is not a version", remedy="Write it without a leading v, as 1.2.3")
    version = asked or tool.version or _following(tool, lock, needs)
    if tool.follows == "talos":
        _require_talos_minor(tool.name, version, needs)
    elif tool.follows == "kubernetes":
        _require_kubernetes_skew(tool.name, version, needs)
    sha256 = lock.get(Key(tool.name, version, needs.arch))
    if not sha256:
        others = versions_of(lock, tool.name, needs.arch)
        known = f"locked for {needs.arch}: {', '.join(others)}" if others else f"nothing of it is, for {needs.arch}"
        raise Unsuitable(
            f"{tool.name} {version} for {needs.arch} has no checksum in the lock ({known}), so it could not be told "
            "from another file",
            remedy=f"{needs.lock_command}{tool.name}={version}', or leave it out of tool_names",
        )
    return Pin(
        name=tool.name,
        version=version,
        url=tool.url_for(version, needs.arch),
        sha256=sha256,
        member=tool.member_for(version, needs.arch),
        completion=tool.completion,
    )


def _following(tool: Tool, lock: Lock, needs: Needs) -> str:
    """The very version of what it follows; for Kubernetes the nearest locked one will do, at most a minor apart."""
    if tool.follows == "talos":
        return needs.talos
    if Key(tool.name, needs.kubernetes, needs.arch) in lock:
        return needs.kubernetes
    cluster = _parsed(needs.kubernetes, "cluster_kubernetes_version")
    near = {}
    for version in reversed(versions_of(lock, tool.name, needs.arch)):
        own = parse(version)
        if own and not own.suffix and _apart(own, cluster) <= 1:
            near[_apart(own, cluster), -own.minor] = version
    return near[min(near)] if near else needs.kubernetes


def _apart(one: Version, other: Version) -> int:
    return abs(one.minor - other.minor) if one.major == other.major else 1000


def _require_talos_minor(name: str, version: str, needs: Needs) -> None:
    talos = _parsed(needs.talos, "cluster_talos_version")
    own = parse(version)
    if own is None or own.series != talos.series:
        raise Unsuitable(
            f"{name} {version} does not fit the nodes' Talos {needs.talos}: it must be of the same minor",
            remedy=f"Set tool_versions.{name} to {talos.series}.x or remove it",
        )


def _require_kubernetes_skew(name: str, version: str, needs: Needs) -> None:
    cluster = _parsed(needs.kubernetes, "cluster_kubernetes_version")
    own = parse(version)
    if own is None or _apart(own, cluster) > 1:
        raise Unsuitable(
            f"{name} {version} does not fit the cluster's Kubernetes {needs.kubernetes}: it may be one minor apart",
            remedy=f"Set tool_versions.{name} to {cluster.major}.{cluster.minor}.x or remove it",
        )


def _parsed(version: str, variable: str) -> Version:
    found = parse(version)
    if found is None:
        raise Unsuitable(f"{variable} is {version}", remedy="Write it as 1.2.3")
    return found
