# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Block-style YAML as Talos and the Image Factory read it (YAML 1.2), written from plain data.

PyYAML writes YAML 1.1, where ``off`` and ``0o17`` mean something else. Here a string stands without quotes
only where every reader takes it for a string.
"""

from __future__ import annotations

import json
import re
import typing as t
from collections.abc import Callable, Iterable, Mapping

INDENT = 4

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*", re.ASCII)
# Words that YAML 1.1 or 1.2 takes for something else than a string.
AMBIGUOUS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})
# Text that a literal block holds as it is: printable ASCII, no line ends in a space, the first starts with
# none.
_LITERAL = re.compile(r"[!-~](?:[ -~]*[!-~])?\n(?:(?: *[!-~](?:[ -~]*[!-~])?)?\n)*(?: *[!-~](?:[ -~]*[!-~])?\n?)?")
_NEEDS_ESCAPE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")

Scalar = Callable[[str], str]


def write(document: Mapping[str, t.Any]) -> str:
    """One document as text; every value comes back as it was given."""
    return text(document, string)


def write_all(documents: Iterable[Mapping[str, t.Any]]) -> str:
    """Several documents as one text."""
    return "---\n".join(write(document) for document in documents)


def text(document: Mapping[str, t.Any], one_line: Scalar) -> str:
    """One document as text; ``one_line`` writes the strings that no literal block holds."""
    return "\n".join(_lines(document, "", one_line)) + "\n"


def string(value: str) -> str:
    """A string on one line, in double quotes unless it is plainly a word."""
    if _PLAIN.fullmatch(value) and value.lower() not in AMBIGUOUS:
        return value
    return _NEEDS_ESCAPE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def is_literal(value: str) -> bool:
    """Whether a literal block holds this text, with nothing left to a writer's taste."""
    return "\n" in value and not value.endswith("\n\n") and _LITERAL.fullmatch(value) is not None


def _lines(value: t.Any, pad: str, one_line: Scalar) -> list[str]:
    lines: list[str] = []
    if isinstance(value, Mapping):
        for key, item in value.items():
            lead = f"{pad}{one_line(str(key))}:"
            lines += _item(lead, item, pad, " " * INDENT, one_line)
    else:
        for item in value:
            lines += _list_item(item, pad, one_line)
    return lines


def _list_item(item: t.Any, pad: str, one_line: Scalar) -> list[str]:
    if isinstance(item, (Mapping, list, tuple)) and item:
        nested = _lines(item, f"{pad}  ", one_line)
        return [f"{pad}- {nested[0].lstrip(' ')}", *nested[1:]]
    return _item(f"{pad}-", item, pad, "  ", one_line)


def _item(lead: str, item: t.Any, pad: str, step: str, one_line: Scalar) -> list[str]:
    if isinstance(item, (Mapping, list, tuple)) and item:
        return [lead, *_lines(item, pad + step, one_line)]
    if isinstance(item, str) and is_literal(item):
        body = item[:-1] if item.endswith("\n") else item
        mark = "|" if item.endswith("\n") else "|-"
        return [f"{lead} {mark}", *(f"{pad}{step}{line}".rstrip(" ") for line in body.split("\n"))]
    return [f"{lead} {_scalar(item, one_line)}"]


def _scalar(item: t.Any, one_line: Scalar) -> str:
    if isinstance(item, str):
        return one_line(item)
    if isinstance(item, Mapping):
        return "{}"
    if isinstance(item, (list, tuple)):
        return "[]"
    if item is None or isinstance(item, (bool, int)):
        return json.dumps(item)
    if isinstance(item, float):
        return _number(item)
    raise TypeError(f"{type(item).__name__} is no YAML value")


def _number(value: float) -> str:
    written = repr(value)
    return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(written, written)
