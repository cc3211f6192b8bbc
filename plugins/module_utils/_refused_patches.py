# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Which of a node's patches talosctl refuses, by their places in the inventory, and why in few words.

talosctl itself calls any patch a JSON patch, and does not say which of several it means.
"""

from __future__ import annotations

import re
import typing as t

from ._declaration import Node
from ._redaction import HIDDEN, UNKNOWN_KEYS
from ._talosctl import SlowTalosctl, TalosctlError

_PREFIX = re.compile(r"^error parsing config JSON patch: |^failed to generate config bundle: error patching configs: ")
# The document without a kind has no name that a user would know.
_DOCUMENT = re.compile(r"error decoding document (?P<name>\S*) \(line \d+\): ")
# Types of Go; the lines that follow say where, and what was expected.
_DECODING = re.compile(r"error decoding \S* ?to \S+: yaml: construct errors:\s*")
_KEY = re.compile(r"(?P<indent>\s*(?:- )*)(?P<key>[\w.-]+):(?:\s|$)")
_KEYS_MAX = 5


class PatchRefused(TalosctlError):
    """talosctl renders the config without these patches, and not with them."""

    remedy = "Correct it in the inventory"


class RefusedPatches:
    """``generate`` renders a node's config with some of its patches, or raises TalosctlError."""

    def __init__(self, generate: t.Callable[[Node, t.Sequence[str]], bytes]) -> None:
        self._generate = generate
        # By the patch's text: what stands once in the inventory concerns many nodes.
        self._words: dict[str, str] = {}

    def error(self, node: Node) -> PatchRefused | None:
        """Why the node's config cannot be rendered; None where it is not for a patch. Raises SlowTalosctl."""
        self._find(node)
        refused = [
            f"{_place(node, index)}: {self._words[text]}"
            for index, text in enumerate(node.patches)
            if text in self._words
        ]
        return PatchRefused("; ".join(refused)) if refused else None

    def _find(self, node: Node) -> None:
        unknown = [text for text in node.patches if text not in self._words]
        if not self._objection(node, unknown) or self._objection(node, []):
            return
        taken: list[str] = []
        for text in unknown:
            # With those before it: a patch may delete what an earlier one brings.
            words = self._objection(node, [*taken, text])
            if words:
                self._words[text] = words
            else:
                taken.append(text)

    def _objection(self, node: Node, patches: t.Sequence[str]) -> str:
        """talosctl's words in short; empty where it has none."""
        try:
            self._generate(node, patches)
        except SlowTalosctl:
            raise
        except TalosctlError as error:
            return in_short(error.cause)
        return ""


def _place(node: Node, index: int) -> str:
    return node.patch_places[index] if index < len(node.patch_places) else f"patches[{index}]"


def in_short(words: str) -> str:
    """One line of what talosctl says of a patch, for a reader who knows which one."""
    words = _PREFIX.sub("", words)
    found = _DOCUMENT.match(words)
    document = found["name"].replace("v1alpha1", "").strip("/") if found else ""
    said = words[found.end() :] if found else words
    before, mark, listed = said.partition(f"{UNKNOWN_KEYS}:")
    if mark and not before:
        said = f"unknown keys: {_some(_dotted(listed) or [HIDDEN])}"
    else:
        lines = [line.strip() for line in _DECODING.sub("", said).splitlines()]
        # A first line that leads to the others says nothing by itself.
        said = "; ".join(lines[1:] if lines[1:] and lines[0].endswith(":") else lines)
    return f"{document}: {said}" if document else said


def _some(keys: list[str]) -> str:
    more = len(keys) - _KEYS_MAX
    return ", ".join(keys[:_KEYS_MAX]) + (f" and {more} more" if more > 0 else "")


def _dotted(listed: str) -> list[str]:
    """The paths of the keys that Talos lists as YAML, indented below those that it knows."""
    paths: list[list[tuple[int, str]]] = []
    for found in filter(None, map(_KEY.match, listed.splitlines())):
        indent = len(found["indent"])
        above = [each for each in paths[-1] if each[0] < indent] if paths else []
        if paths and above == paths[-1]:
            paths.pop()
        paths.append([*above, (indent, found["key"])])
    return list(dict.fromkeys(".".join(key for _indent, key in path) for path in paths))
