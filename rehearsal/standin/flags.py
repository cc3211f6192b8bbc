# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flags as talosctl takes them: ``--flag value``, ``--flag=value``, ``-f value``, ``--flag`` of a boolean."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from rehearsal.standin.errors import CommandError

_BOOLEANS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


class Flags(t.NamedTuple):
    arguments: list[str]
    given: dict[str, list[str]]

    def is_given(self, name: str) -> bool:
        return name in self.given

    def one(self, name: str, default: str = "") -> str:
        """The last value of a flag."""
        return self.given.get(name, [default])[-1]

    def many(self, name: str) -> list[str]:
        return self.given.get(name, [])

    def is_on(self, name: str, default: bool = False) -> bool:
        return _BOOLEANS[self.one(name, str(default)).lower()]


def parse(words: list[str], known: Mapping[str, str]) -> Flags:
    """Split words by the known flags: name to "short name:kind", of the kinds text, bool and list."""
    shorts = {spec[0]: name for name, spec in known.items() if spec[0] != ":"}
    flags, rest = Flags([], {}), list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            flags.arguments.extend(rest)
            break
        if word.startswith("-") and word != "-":
            _take(word, rest, known, shorts, flags)
        else:
            flags.arguments.append(word)
    return flags


def _take(word: str, rest: list[str], known: Mapping[str, str], shorts: dict[str, str], flags: Flags) -> None:
    name, separator, value = _split(word, shorts)
    if name not in known:
        raise CommandError(f"unknown flag: --{name}" if word.startswith("--") else _unknown_short(word))
    kind = known[name].partition(":")[2]
    if kind == "bool":
        value = value if separator else "true"
        if value.lower() not in _BOOLEANS:
            raise CommandError(f'invalid argument "{value}" for "--{name}" flag: strconv.ParseBool: parsing')
    elif not separator:
        if not rest:
            flag = f"--{name}" if word.startswith("--") else f"'{word[1]}' in {word}"
            raise CommandError(f"flag needs an argument: {flag}")
        value = rest.pop(0)
    flags.given.setdefault(name, []).extend(value.split(",") if kind == "list" else [value])


def _split(word: str, shorts: dict[str, str]) -> tuple[str, str, str]:
    if word.startswith("--"):
        return word[2:].partition("=")
    name, attached = shorts.get(word[1], ""), word[2:]
    return name, attached and "=", attached.removeprefix("=")


def _unknown_short(word: str) -> str:
    return f"unknown shorthand flag: '{word[1]}' in {word}"
