# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What the Image Factory makes of a schematic: where it is, and how the schematic gets there."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping

from ._download import Fetcher, Network, WrongContent
from ._errors import TalosError
from ._problems import brief, shown
from ._schematic import BOARDS, Schematic, canonical, read_schematic, schematic_id
from ._versions import parse

FACTORY = "https://factory.talos.dev"
FORMATS = ("zst", "xz")
# Talos adds this one itself, where others bring kernel modules.
_ADDED_EXTENSION = "modules.dep"


class BadSchematic(TalosError):
    """What is declared is no schematic, or one that could hold a secret."""

    remedy = "Nothing was asked of the Image Factory"


class OtherSchematic(TalosError):
    """The factory computes another ID than we do, so it would build another image than the declared one."""

    remedy = (
        "Nothing was downloaded. Compare the schematic that the factory shows for its ID with the declared one; if "
        "they are the same, set node_schematic to that ID"
    )


class DiskImage(t.NamedTuple):
    """An image as the factory names it. The version has no leading v; the format is that of the compression."""

    schematic_id: str
    version: str
    format: str

    def url(self, factory: str) -> str:
        name = f"metal-arm64.raw.{self.format}"
        return f"{factory.rstrip('/')}/image/{self.schematic_id}/v{self.version}/{name}"


def declared(value: object, board: str) -> tuple[str, Schematic | None]:
    """ID and schematic; None where only the ID is declared. Raises BadSchematic with all that is wrong."""
    wrong: list[str] = []
    identity, schematic = read_schematic(
        value, board, "schematic", lambda key, found, remedy: wrong.append(f"{key} is {brief(shown(found))}: {remedy}")
    )
    if wrong:
        raise BadSchematic("; ".join(wrong))
    return identity, schematic


def version_of(text: str) -> str:
    """Without the leading v. Raises TalosError."""
    version = text[1:] if text.startswith("v") else text
    if parse(version) is None:
        raise TalosError(f"talos_version is {text}", remedy="It must be a version of three numbers, as 1.14.2")
    return version


def register(schematic: Schematic, factory: str, network: Network) -> None:
    """Let the factory know the schematic, which changes nothing where it does. Raises OtherSchematic."""
    identity = schematic_id(schematic)
    url = f"{factory.rstrip('/')}/schematics"
    answer = Fetcher(network).post(url, canonical(schematic).encode(), "application/yaml")
    try:
        seen = json.loads(answer)["id"]
    except (ValueError, KeyError, TypeError) as error:
        raise WrongContent(f"{url} does not answer as an Image Factory does") from error
    if seen != identity:
        raise OtherSchematic(f"{url} makes {seen} of a schematic whose ID is {identity}")


def differences(identity: str, schematic: Schematic | None, running: Mapping[str, t.Any]) -> list[str]:
    """What a node runs otherwise than declared. ``running`` has schematic_id and extensions as node_info gives them."""
    seen = str(running.get("schematic_id") or "")
    if seen == identity:
        return []
    found = [f"schematic {_named(identity)} is declared, {_named(seen)} runs"]
    if schematic is None:
        return found
    customization = schematic.get("customization") or {}
    wanted = {
        name.rpartition("/")[2]
        for name in (customization.get("systemExtensions") or {}).get("officialExtensions") or ()
    }
    there = set(running.get("extensions") or {}) - {_ADDED_EXTENSION}
    found += [f"extension {name} is missing on the node" for name in sorted(wanted - there)]
    found += [f"extension {name} runs and is not declared" for name in sorted(there - wanted)]
    if wanted == there:
        found.append("the extensions are the same; overlay, its options, kernel arguments or META differ")
    return found


def _named(identity: str) -> str:
    names = [board for board, schematic in BOARDS.items() if schematic_id(schematic) == identity]
    return f"{identity} ({names[0]} without additions)" if names else identity or "none"
