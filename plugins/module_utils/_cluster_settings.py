# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""The cluster as the inventory's variables give it: its names, versions and layout."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping

from . import _values, _versions
from ._declaration import Cluster
from ._problems import EVERY_NODE, Problems, Report
from ._variables import CLUSTER_VARIABLES

_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,61}[a-z0-9])?", re.ASCII)

Variables = Mapping[str, t.Any]


def read_common(variables: Mapping[str, Variables], found: Problems) -> Cluster:
    """The cluster as the first of some nodes gives it; every other node must agree."""
    if not variables:
        return read({}, lambda key, value, remedy: None)
    names = iter(variables)
    first = next(names)
    for name in names:
        for key in sorted(CLUSTER_VARIABLES | {"group_patches"}):
            value = variables[name].get(key)
            if value != variables[first].get(key) and not found.is_unresolved(EVERY_NODE, key):
                remedy = f"differs from that of {first}; set it once, for all nodes (group_vars/talos)"
                found.reporter(name)(key, value, remedy)
    return read(variables[first], found.reporter(EVERY_NODE))


def read(variables: Variables, report: Report) -> Cluster:
    """The cluster as one node's variables give it."""
    name = variables.get("cluster_name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        report("cluster_name", name, "name the cluster: lower-case letters, digits, '-' and '.', 63 at most")
    endpoint = _values.endpoint(variables.get("cluster_endpoint"), "cluster_endpoint", report)
    talos = _read_version(variables, "cluster_talos_version", _versions.DEFAULT_TALOS, report)
    minor = talos.series
    if minor not in _versions.MINORS:
        known = " and ".join(_versions.MINORS)
        remedy = f"this version of homelab.talos does not support Talos {minor}, but {known}"
        report("cluster_talos_version", _written(talos), remedy)
        minor = ".".join(_versions.DEFAULT_TALOS.split(".")[:2])
    kubernetes = _read_kubernetes(variables, minor, report)
    contract = _read_contract(variables, minor, report)
    return Cluster(str(name), endpoint, _written(talos), _written(kubernetes), contract)


def _written(version: _versions.Version) -> str:
    return f"{version.series}.{version.patch}{version.suffix}"


def _read_version(variables: Variables, key: str, default: str, report: Report) -> _versions.Version:
    value = variables.get(key)
    version = _versions.parse(default if value is None else str(value))
    if version is not None:
        return version
    report(key, value, f"must be a version of three numbers without a v, as '{default}'")
    return t.cast(_versions.Version, _versions.parse(default))


def _read_kubernetes(variables: Variables, talos_minor: str, report: Report) -> _versions.Version:
    key = "cluster_kubernetes_version"
    minor = _versions.MINORS[talos_minor]
    version = _read_version(variables, key, minor.kubernetes_default, report)
    if not _versions.carries(talos_minor, version):
        span = f"1.{minor.kubernetes_first} to 1.{minor.kubernetes_last}"
        report(key, _written(version), f"Talos {talos_minor} carries Kubernetes {span}; choose one of these")
    return version


def _read_contract(variables: Variables, talos_minor: str, report: Report) -> str:
    value = variables.get("cluster_contract")
    if value is None:
        return talos_minor
    contract = str(value)
    if contract not in _versions.MINORS:
        report("cluster_contract", value, f"must be one of {', '.join(map(repr, _versions.MINORS))}, in quotes")
        return talos_minor
    if contract > talos_minor:
        report(
            "cluster_contract",
            value,
            f"is newer than Talos {talos_minor}, which would not understand the config",
        )
    return contract
