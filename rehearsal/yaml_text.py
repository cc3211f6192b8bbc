# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML as Talos writes it."""

from __future__ import annotations

import json
import typing as t

import yaml


class _IndentedLists(yaml.SafeDumper):
    """Lists under a key are indented like maps."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    resolver: t.Any = dumper
    if style is None and resolver.resolve(yaml.ScalarNode, value, (True, False)) != "tag:yaml.org,2002:str":
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_IndentedLists.add_representer(str, _text)


def dump(value: t.Any) -> str:
    """A document in block style, four spaces deep, keys in their order."""
    text: str = yaml.dump(
        value, Dumper=_IndentedLists, indent=4, sort_keys=False, width=1 << 20, default_flow_style=False
    )
    return text


def as_scalar(text: str) -> str:
    """A text as one YAML scalar that reads back as exactly this text."""
    body = text.rstrip("\n")
    newlines = len(text) - len(body)
    plain = body and not body.startswith((" ", "\t")) and not set(text) & set("\r\x85\u2028\u2029\ufeff")
    if not plain or not all(character.isprintable() or character in "\n\t" for character in text):
        return json.dumps(text, ensure_ascii=False) + "\n"
    chomp = {0: "-", 1: ""}.get(newlines, "+")
    return f"|{chomp}\n" + "".join(
        f"    {line}\n" if line else "\n" for line in text.split("\n")[: -1 if newlines else None]
    )
