# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Schematics of the Image Factory, and their IDs computed without it.

The ID is the sha256 of the schematic's canonical YAML: the fields of ``pkg/schematic/schematic.go`` in their
order, written by go-yaml v4 with an indentation of 4, ``omitempty`` everywhere but at ``customization``. A
string that go-yaml would quote is refused, because a wrong ID would go unnoticed until a node boots another
image.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import re
import typing as t
from collections.abc import Mapping

from . import _yaml_text
from ._problems import HIDDEN, Report, suggestion

Schematic = dict[str, t.Any]

REGISTRY = "factory.talos.dev"
PI_IMAGE = "siderolabs/sbc-raspberrypi"
# What a board boots with when the inventory adds nothing.
BOARDS: dict[str, Schematic] = {
    "rpi_4": {"overlay": {"image": PI_IMAGE, "name": "rpi_generic"}, "customization": {}},
    "rpi_5": {"overlay": {"image": PI_IMAGE, "name": "rpi_5"}, "customization": {}},
    "generic": {"customization": {}},
}

# Fields in canonical order: a type, or the fields below.
_CUSTOMIZATION: dict[str, t.Any] = {
    "embeddedMachineConfiguration": str,
    "extraKernelArgs": [str],
    "meta": [{"key": int, "value": str}],
    "systemExtensions": {"officialExtensions": [str]},
    "bootloader": str,
    "secureboot": {"includeWellKnownCertificates": bool},
    "diskImage": {"sectorSize": int},
}
_FIELDS: dict[str, t.Any] = {
    "overlay": {"image": str, "name": str, "options": {}},
    "customization": _CUSTOMIZATION,
}
_TYPE_NAMES = {str: "a text", int: "a whole number", bool: "true or false"}

_ID = re.compile(r"[0-9a-f]{64}")
_OPTION = re.compile(r"[A-Za-z]{2,}", re.ASCII)
# One line that go-yaml writes without quotes. A space near the end of a long line could become a fold.
_PLAIN = re.compile(r"-?[A-Za-z/](?:[!-~]|(?<!:) (?=[!-\"$-~])){0,200}", re.ASCII)
_FOLDS_AFTER = 60
_EXTENSION = re.compile(r"[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._-]*")
# The factory serves a schematic to anyone who knows its ID, so nothing secret may be in it.
_SECRET = re.compile(
    r"(?i)^-?(talos\.config(\.[a-z]+)*|siderolink\.api|talos\.customparams)=|"
    r"(token|passw(or)?d|passphrase|psk|secret|(private|preshared).?key|credential)s?\b.*[=:]|://[^/@\s]*@|-----BEGIN"
)
_WORD_BEGIN = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SENSITIVE = (
    ".customization.extraKernelArgs",
    ".customization.meta",
    ".customization.embeddedMachineConfiguration",
    ".overlay.options",
)
# Keys of Talos' META that an image may carry; the others hold secrets, or what Talos itself keeps there.
_META_KEYS = {0x0A: "network", 0x0C: "user", 0x0D: "user", 0x0E: "user", 0x0F: "UUID"}
_CONFIG_TXT = ("kernel=u-boot.bin", "arm_64bit=1")


class SchematicError(ValueError):
    """A schematic whose canonical form is not known for certain."""


def schematic_id(schematic: Mapping[str, t.Any]) -> str:
    """The ID that the Image Factory gives to a schematic."""
    return hashlib.sha256(canonical(schematic).encode()).hexdigest()


def canonical(schematic: Mapping[str, t.Any]) -> str:
    """The YAML that is hashed; raises SchematicError where go-yaml's rendering is not known for certain."""
    ordered = _ordered(schematic, _FIELDS)
    ordered.setdefault("customization", {})
    return _yaml_text.text(ordered, _one_line)


def installer_image(registry: str, identity: str, version: str) -> str:
    """The image that a node is upgraded by."""
    return f"{registry}/metal-installer/{identity}:v{version}"


def read_schematic(value: object, board: str, key: str, report: Report) -> tuple[str, Schematic | None]:
    """A node's ID and schematic: additions over its board's default, or an ID (then no schematic)."""
    if isinstance(value, str):
        if not _ID.fullmatch(value):
            report(key, value, "give an ID of 64 hexadecimal digits, or a mapping with overlay and customization")
        elif "overlay" in BOARDS.get(board, {}) and value == schematic_id({}):
            report(
                key, value, f"is the empty schematic, which has no firmware, so that {board} does not boot; remove it"
            )
        return value, None
    if value is not None and not isinstance(value, Mapping):
        report(key, value, "give a mapping with overlay and customization, or an ID of 64 hexadecimal digits")
        value = None
    found: list[tuple[str, object, str]] = []
    identity, schematic = _read(board, json.dumps(value, default=str), found)
    for problem in found:
        report(key + problem[0], *problem[1:])
    return identity, schematic


def _read(board: str, addition: str, found: list[tuple[str, object, str]]) -> tuple[str, Schematic]:
    identity, schematic, problems = _read_once(board, addition)
    found += problems
    return identity, copy.deepcopy(schematic)


@functools.lru_cache(maxsize=256)
def _read_once(board: str, addition: str) -> tuple[str, Schematic, tuple[tuple[str, object, str], ...]]:
    found: list[tuple[str, object, str]] = []

    def report(key: str, value: object, remedy: str) -> None:
        found.append((key, value, remedy))

    added = json.loads(addition) or {}
    _check(added, _FIELDS, "", report)
    if found:
        return "", {}, tuple(found)
    schematic = _merged(BOARDS.get(board, BOARDS["generic"]), added)
    _check_contents(schematic, report)
    if found:
        # Without an ID, whose errors show values.
        return "", schematic, tuple(found)
    try:
        return schematic_id(schematic), schematic, ()
    except SchematicError as error:
        return "", schematic, (("", added, str(error)),)


def _merged(base: Mapping[str, t.Any], addition: Mapping[str, t.Any]) -> Schematic:
    """A key with nothing behind it adds nothing: the board's overlay stays."""
    merged = dict(base)
    for key, value in addition.items():
        if isinstance(value, Mapping):
            merged[key] = _merged(merged.get(key) or {}, value)
        elif value is not None:
            merged[key] = value
    return merged


def _ordered(value: Mapping[str, t.Any], fields: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The fields in canonical order without the empty ones; what is below ``options`` is sorted by name."""
    result: dict[str, t.Any] = {}
    for key in fields if fields else sorted(value):
        item = value.get(key)
        kind = fields.get(key)
        if isinstance(item, Mapping):
            item = _ordered(item, kind if isinstance(kind, Mapping) else {})
        elif isinstance(item, list) and any("\n" in str(entry) for entry in _leaves(item)):
            raise SchematicError(f"the factory's YAML of several lines in {key} is not known for certain; use one line")
        elif isinstance(item, list) and isinstance(kind, list) and isinstance(kind[0], Mapping):
            item = [{name: entry[name] for name in kind[0]} for entry in item]
        if item or (not fields and item is not None):
            result[key] = item
    return result


def _leaves(items: list[t.Any]) -> t.Iterator[t.Any]:
    for item in items:
        yield from item.values() if isinstance(item, Mapping) else [item]


def _one_line(value: str) -> str:
    sure = _PLAIN.fullmatch(value) and not value.endswith(":") and value.lstrip("-").lower() not in _yaml_text.AMBIGUOUS
    if not sure or (" " in value and len(value) > _FOLDS_AFTER):
        raise SchematicError(
            f"the factory's YAML of {json.dumps(value)} is not known for certain; "
            "start it with a letter and keep it to ASCII, or set node_schematic to the factory's ID"
        )
    return value


def _check(value: object, fields: t.Any, key: str, report: Report) -> None:
    """Holds a schematic to the factory's fields: it refuses unknown ones."""
    if isinstance(fields, Mapping):
        _check_mapping(value, fields, key, report)
    elif isinstance(fields, list):
        if not isinstance(value, list):
            report(key, _harmless(key, value), "must be a list")
            return
        for index, item in enumerate(value):
            _check(item, fields[0], f"{key}[{index}]", report)
    elif not isinstance(value, fields) or (fields is int and isinstance(value, bool)):
        report(key, _harmless(key, value), f"must be {_TYPE_NAMES[fields]}")


def _check_mapping(value: object, fields: Mapping[str, t.Any], key: str, report: Report) -> None:
    if not isinstance(value, Mapping):
        report(key, _harmless(key, value), "must be a mapping")
        return
    for name, item in value.items():
        if not fields:
            if not _OPTION.fullmatch(name) or not isinstance(item, (str, bool)):
                report(f"{key}.{name}", HIDDEN, "an overlay option has a name of letters and a text or true/false")
        elif name not in fields:
            report(f"{key}.{name}", HIDDEN, suggestion(name, fields))
        elif item is not None:
            _check(item, fields[name], f"{key}.{name}", report)


def _harmless(key: str, value: object) -> object:
    """The value, where nothing that stands there could be secret."""
    secret = key.startswith(_SENSITIVE) or _SECRET.search(json.dumps(value))
    return HIDDEN if secret else value


def _check_contents(schematic: Schematic, report: Report) -> None:
    customization = schematic.get("customization") or {}
    if customization.get("embeddedMachineConfiguration"):
        report(
            ".customization.embeddedMachineConfiguration",
            HIDDEN,
            "the factory serves a schematic to anyone, so no configuration goes in; use node_network and node_patches",
        )
    for index, entry in enumerate(customization.get("meta") or ()):
        _check_meta(entry, f".customization.meta[{index}]", report)
    for index, argument in enumerate(customization.get("extraKernelArgs") or ()):
        if _SECRET.search(argument):
            report(
                f".customization.extraKernelArgs[{index}]",
                HIDDEN,
                "could hold a secret or a config, and the factory serves a schematic to anyone; remove it",
            )
    for index, name in enumerate((customization.get("systemExtensions") or {}).get("officialExtensions") or ()):
        if not _EXTENSION.fullmatch(name):
            report(
                f".customization.systemExtensions.officialExtensions[{index}]",
                name,
                "name an extension as siderolabs/iscsi-tools, without a version",
            )
    _check_overlay(schematic.get("overlay") or {}, report)


def _check_meta(entry: Mapping[str, t.Any], key: str, report: Report) -> None:
    if entry.get("key") is None or entry.get("value") is None:
        report(key, HIDDEN, "has a key and a value")
    elif entry["key"] not in _META_KEYS:
        known = ", ".join(f"{number} ({what})" for number, what in _META_KEYS.items())
        report(
            f"{key}.key",
            entry["key"],
            f"Talos keeps secrets or its own state there, and the factory serves a schematic to anyone; use {known}",
        )
    elif _SECRET.search(entry["value"]):
        report(
            f"{key}.value",
            HIDDEN,
            "could hold a secret, and the factory serves a schematic to anyone; remove it",
        )


def _is_secret(name: str, value: object) -> bool:
    """By a line of the value, or by the words of the name, such as wifiPassword's."""
    if not isinstance(value, str):
        return False
    words = _WORD_BEGIN.sub("-", name)
    return any(_SECRET.search(line.strip()) for line in (f"{words}=", *value.splitlines()))


def _check_overlay(overlay: Mapping[str, t.Any], report: Report) -> None:
    if overlay and not (overlay.get("image") and overlay.get("name")):
        report(
            ".overlay",
            {name: value for name, value in overlay.items() if name != "options"},
            "an overlay has an image and a name (the boards rpi_4 and rpi_5 bring theirs)",
        )
    options = overlay.get("options") or {}
    for name, value in options.items():
        if _is_secret(name, value):
            report(
                f".overlay.options.{name}",
                HIDDEN,
                "could hold a secret, and the factory serves a schematic to anyone; remove it",
            )
    replaced = options.get("configTxt")
    if replaced is None or overlay.get("image") != PI_IMAGE:
        return
    lines = [line.strip() for line in str(replaced).splitlines()]
    missing = [line for line in _CONFIG_TXT if line not in lines]
    if missing:
        report(
            ".overlay.options.configTxt",
            HIDDEN,
            f"replaces the whole config.txt, and without {' and '.join(missing)} the Pi does not boot; "
            "add it, or use configTxtAppend",
        )
