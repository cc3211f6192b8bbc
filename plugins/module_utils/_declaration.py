# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""One cluster and its nodes as the modules get them: what is left of the inventory once it is checked."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Cluster:
    """What all nodes share. Versions are written without a leading v; ``contract`` is a minor: 1.14."""

    name: str
    endpoint: str
    talos_version: str
    kubernetes_version: str
    contract: str

    def as_dict(self) -> dict[str, t.Any]:
        """The same as plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, t.Any]) -> Cluster:
        """Back from plain data."""
        return cls(**{field.name: str(data[field.name]) for field in dataclasses.fields(cls)})


_LISTS = ("patches", "patch_places")


@dataclasses.dataclass(frozen=True)
class Node:
    """One node. ``patches`` are YAML texts for gen config, in order: settings, cluster, groups, node.

    They may hold secrets; ``patch_places`` say where each stands in the inventory. ``mac`` and ``fingerprint`` are
    empty where the inventory gives none.
    """

    name: str
    machine_type: str
    address: str
    mac: str
    fingerprint: str
    hostname: str
    board: str
    schematic_id: str
    installer_image: str
    patches: tuple[str, ...]
    patch_places: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, t.Any]:
        """The same as plain data, lists for tuples."""
        return {**dataclasses.asdict(self), **{name: list(getattr(self, name)) for name in _LISTS}}

    @classmethod
    def from_dict(cls, data: Mapping[str, t.Any]) -> Node:
        """Back from plain data."""
        names = [field.name for field in dataclasses.fields(cls) if field.name not in _LISTS]
        patches, places = (tuple(map(str, data[name])) for name in _LISTS)
        return cls(**{name: str(data[name]) for name in names}, patches=patches, patch_places=places)
