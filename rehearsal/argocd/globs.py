# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patterns as Argo CD reads them."""

from __future__ import annotations

import functools
import re
import typing as t

# An asterisk in them also stands for slashes: git's pathspecs, and the include and exclude of directories.
_ANY = {"*": ".*", "?": "."}
# In those of projects it does not.
_WITHIN = {"*": "[^/]*", "?": "[^/]"}


def matches(pattern: str, text: str) -> bool:
    """Does the whole text match? An asterisk stands for anything."""
    return bool(_compiled(pattern, False).fullmatch(text))


def permits(patterns: t.Iterable[str], text: str, *, by_segments: bool = False) -> bool:
    """One of the patterns matches, and none that begins with an exclamation mark."""
    every = list(patterns)
    denied = any(_matches(pattern[1:], text, by_segments) for pattern in every if pattern.startswith("!"))
    return not denied and any(_matches(pattern, text, by_segments) for pattern in every if not pattern.startswith("!"))


def _matches(pattern: str, text: str, by_segments: bool) -> bool:
    return pattern == "*" or bool(_compiled(pattern, by_segments).fullmatch(text))


@functools.lru_cache(maxsize=512)
def _compiled(pattern: str, by_segments: bool) -> re.Pattern[str]:
    pieces, depth = [], 0
    for piece in re.findall(r"\*+|\[[^\]]*\]|.", pattern, re.DOTALL):
        if piece[0] in _ANY:
            deep = not by_segments or piece.startswith("**")
            pieces.append((_ANY if deep else _WITHIN)[piece[0]])
        elif piece == "{":
            depth += 1
            pieces.append("(?:")
        elif piece == "}" and depth:
            depth -= 1
            pieces.append(")")
        elif piece == "," and depth:
            pieces.append("|")
        else:
            pieces.append(piece if len(piece) > 1 else re.escape(piece))
    return re.compile("".join(pieces) + ")" * depth, re.DOTALL)
