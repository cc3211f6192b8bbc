# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML read into nodes, which keep lines and the text of scalars, and written from plain data."""

from __future__ import annotations

import re
import typing as t

import yaml

from rehearsal.standin.errors import CommandError

Node = yaml.Node
_INT = re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
TRUE, FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_NULL = ("", "~", "null", "Null", "NULL")


class _Dumper(yaml.CSafeDumper):
    pass


def _text(dumper: t.Any, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return t.cast("yaml.ScalarNode", dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style))


_Dumper.add_representer(str, _text)
_Dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign]


def dump(value: t.Any) -> str:
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, indent=4, width=1 << 20, allow_unicode=True))


def documents(text: str, minor: tuple[int, int]) -> list[Node]:
    """The documents of a text, empty ones left out as they are."""
    try:
        return list(yaml.compose_all(text, Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        raise CommandError(f"decode error: {_syntax_error(error, minor)}") from None
    except yaml.YAMLError as error:
        raise CommandError(f"decode error: {error}") from None


def _syntax_error(error: yaml.MarkedYAMLError, minor: tuple[int, int]) -> str:
    stage = "scanner" if isinstance(error, yaml.scanner.ScannerError) else "parser"
    if minor >= (1, 14):
        context = f" ({error.context})" if error.context else ""
        marks = (_position(error.context_mark), _position(error.problem_mark))
        span = "-".join(dict.fromkeys(position for position in marks if position))
        return f"go-yaml load error in {stage}{context} at {span}: {error.problem}"
    # The older one counts lines from 0 in its parser and from 1 in its scanner.
    base = 1 if stage == "scanner" else 0
    places = (_old_position(mark, base) for mark in (error.context_mark, error.problem_mark) if mark)
    context = f"{error.context} at " if error.context else ""
    return f"yaml: {context}{': '.join(dict.fromkeys(places))}: {error.problem}"


def _position(mark: t.Any) -> str:
    return f"L{mark.line + 1}.C{mark.column + 1}" if mark else ""


def _old_position(mark: t.Any, base: int) -> str:
    line = mark.line + base
    if not line:
        return "<unknown position>"
    return f"line {line}, column {mark.column + 1}" if mark.column else f"line {line}"


def line_of(node: Node) -> int:
    return int(node.start_mark.line) + 1


def is_null(node: Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and _plain(node) and node.value in _NULL


def _plain(node: yaml.ScalarNode) -> bool:
    return not node.style


def short_tag(node: Node) -> str:
    """The type of a node in the words of Talos' messages."""
    if isinstance(node, yaml.MappingNode):
        return "!!map"
    if isinstance(node, yaml.SequenceNode):
        return "!!seq"
    names = {str: "str", bool: "bool", int: "int", float: "float", type(None): "null"}
    return f"!!{names[type(plain_scalar(node))]}"


def plain_scalar(node: Node) -> str | bool | int | float | None:
    """The value of a scalar by YAML 1.2, which Talos follows."""
    value = str(node.value)
    if not _plain(t.cast("yaml.ScalarNode", node)):
        return value
    if value in _NULL:
        return None
    if value in TRUE or value in FALSE:
        return value in TRUE
    if _INT.match(value):
        return number(value)
    return float(value) if _FLOAT.match(value) else value


def number(text: str) -> int:
    digits = text.replace("_", "")
    sign, digits = (-1 if digits.startswith("-") else 1), digits.lstrip("+-")
    octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
    return sign * (int(digits, 8) if octal else int(digits, 0))


def plain(node: Node) -> t.Any:
    """Data of a node, whatever it is."""
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [plain(item) for item in node.value]
    return plain_scalar(node)


def node_text(nodes: dict[str, t.Any], depth: int = 0) -> str:
    """Nodes of unknown keys as YAML in the style in which they were written, keys sorted."""
    text = ""
    for key in sorted(nodes):
        value = nodes[key]
        below = isinstance(value, dict)
        body = "\n" + node_text(value, depth + 1) if below else _indented(value, depth + 1)
        text += f"{' ' * 4 * depth}{_key(key)}:{body}"
    return text


def _key(key: str) -> str:
    return dump({key: 0}).rpartition(":")[0]


def _indented(node: Node, depth: int) -> str:
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        lines = yaml.serialize(node, Dumper=_IndentedLists, indent=4, width=1 << 20).splitlines()
        return "".join(f"\n{' ' * 4 * depth}{line}" for line in lines) + "\n"
    line = yaml.serialize(node, Dumper=yaml.CSafeDumper, width=1 << 20)
    return " " + str(line).removesuffix("...\n").rstrip("\n") + "\n"


class _IndentedLists(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)
