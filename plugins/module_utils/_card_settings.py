# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""The inventory's variables about cards and images, checked one by one."""

from __future__ import annotations

import functools
import re
import typing as t
from collections.abc import Callable, Mapping

from . import _values
from ._problems import Report

READERS = "card_readers"

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT])(i?)B", re.ASCII)
_POWERS = {"K": 1, "M": 2, "G": 3, "T": 4}
_SHA256 = re.compile(r"[0-9a-f]{64}")


def read_size(value: object, key: str, report: Report) -> int:
    """``card_size`` in bytes."""
    found = _SIZE.fullmatch(str(value))
    if not found or not float(found.group(1)):
        report(key, value, "must be the size of a card, as 32GB")
        return 0
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[unit])


def _read_reader(value: object, key: str, report: Report) -> str:
    if isinstance(value, str) and re.fullmatch(r"/dev/\S+", value):
        return value
    report(key, value, "must be a device, as /dev/sdb, /dev/mmcblk0 or a link in /dev/disk/by-id")
    return ""


def _read_sha256(value: object, key: str, report: Report) -> str:
    if isinstance(value, str) and _SHA256.fullmatch(value):
        return value
    report(key, value, "must be a sha256: 64 digits of 0 to 9 and a to f, in quotes")
    return ""


_read_url = functools.partial(_values.url, schemes=("https", "http"))

# Empty ones are not set.
VARIABLES: dict[str, Callable[[object, str, Report], object]] = {
    "card_become": _values.boolean,
    "card_ca_file": _values.text,
    "card_cache_dir": _values.text,
    "card_factory": _read_url,
    "card_file": _values.text,
    "card_force": _values.boolean,
    "card_format": functools.partial(_values.choice, choices=("zst", "xz")),
    "card_identity": functools.partial(_values.text, what="an identity, as homelab.talos.card_info tells it"),
    "card_mirror": _read_url,
    "card_offline": _values.boolean,
    "card_proxy": _values.text,
    READERS: functools.partial(_values.each, _read_reader),
    "card_retries": functools.partial(_values.integer, low=0, high=100),
    "card_sha256": _read_sha256,
    "card_size": read_size,
    "card_timeout": functools.partial(_values.integer, low=1, high=86400),
    "card_unmount": _values.boolean,
    "card_verify": functools.partial(_values.choice, choices=("full", "written")),
}


def check(variables: Mapping[str, t.Any], report: Report) -> None:
    """Those of one host."""
    for name, read in VARIABLES.items():
        if variables.get(name) not in (None, ""):
            read(variables[name], name, report)
