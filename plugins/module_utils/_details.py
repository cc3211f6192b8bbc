# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What a status shows beyond the plan: versions and certificates of many nodes."""

from __future__ import annotations

import ssl
import typing as t

from ._api import connect, on_each
from ._assessment import endpoint_of
from ._declaration import Node
from ._errors import TalosError


async def details(nodes: t.Sequence[Node], context: ssl.SSLContext, declared_version: str) -> dict[str, dict[str, str]]:
    """By node: its version, the declared one, what brings it there, and the end of its API's certificate.

    All as ``v1.14.2``, a command, and UTC in ISO 8601; empty where it does not answer us, or needs no command.
    """
    by_name = {node.name: node for node in nodes}
    declared = f"v{declared_version}"

    async def one(name: str) -> dict[str, str]:
        async with connect(endpoint_of(by_name[name]), context) as api:
            version = (await api.version()).tag
            return _entry(version, declared, by_name[name], api.certificate_end)

    asked = await on_each(by_name, one)
    return {
        name: _entry("", declared, by_name[name], "") if isinstance(answer, TalosError) else answer
        for name, answer in asked.items()
    }


def _entry(version: str, declared: str, node: Node, certificate_end: str) -> dict[str, str]:
    differs = version not in ("", declared)
    return {
        "version": version,
        "declared_version": declared,
        "upgrade": f"talosctl upgrade --nodes {node.address} --image {node.installer_image}" if differs else "",
        "certificate_end": certificate_end,
    }
