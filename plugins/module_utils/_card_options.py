# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Nodes, their cluster and its cards, as options of modules."""

from __future__ import annotations

import typing as t

from ._card_plan import Cluster
from ._card_records import parse

CLUSTER_OPTIONS: dict[str, t.Any] = {
    "cluster": {"type": "str"},
    "records": {"type": "dict", "default": {}},
    "force": {"type": "bool", "default": False},
    "unmount": {"type": "bool", "default": False},
}
NODE_OPTIONS: dict[str, t.Any] = {
    "node": {"type": "str", "required": True},
    "schematic": {"type": "str", "required": True},
    "version": {"type": "str", "required": True},
    "source": {"type": "str", "default": ""},
    "identity": {"type": "str", "default": ""},
    "size": {"type": "int", "default": 0},
}


def cluster_of(given: t.Mapping[str, t.Any]) -> Cluster:
    return Cluster(given["cluster"] or "", parse(given["records"], "records"), given["force"], given["unmount"])
