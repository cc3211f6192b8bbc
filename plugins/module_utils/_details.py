# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What a status shows beyond the plan: versions, schematics and certificates of many nodes."""

from __future__ import annotations

import ssl
import typing as t

from ._api import connect, on_each
from ._assessment import endpoint_of
from ._declaration import Node
from ._errors import TalosError
from ._schematic import schematic_id

# An image that no factory made has no ID; it is what the factory makes of this one.
_EMPTY_SCHEMATIC = schematic_id({})


async def details(nodes: t.Sequence[Node], context: ssl.SSLContext, declared_version: str) -> dict[str, dict[str, str]]:
    """By node: its version and schematic, the declared ones, what brings it there, and its API certificate's end.

    Versions as ``v1.14.2``, schematics by their IDs, then a command, empty where none is needed, and UTC in ISO 8601.
    Of a node that does not answer, the ``error`` alone.
    """
    by_name = {node.name: node for node in nodes}
    declared = f"v{declared_version}"

    async def one(name: str) -> dict[str, str]:
        async with connect(endpoint_of(by_name[name]), context) as api:
            version, extensions = (await api.version()).tag, await api.extensions()
            # The factory adds the ID as an extension of this name.
            schematic = next((each.version for each in extensions if each.name == "schematic"), "")
            return _entry(version, schematic, declared, by_name[name], api.certificate_end)

    asked = await on_each(by_name, one)
    return {
        name: {"error": str(answer)} if isinstance(answer, TalosError) else answer for name, answer in asked.items()
    }


def _entry(version: str, schematic: str, declared: str, node: Node, certificate_end: str) -> dict[str, str]:
    same_schematic = node.schematic_id in ("", schematic or _EMPTY_SCHEMATIC)
    upgrade = f"talosctl upgrade --nodes {node.address} --image {node.installer_image}"
    return {
        "version": version,
        "declared_version": declared,
        "schematic_id": schematic,
        "declared_schematic_id": node.schematic_id,
        "upgrade": "" if version == declared and same_schematic else upgrade,
        "certificate_end": certificate_end,
    }
