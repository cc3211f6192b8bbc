# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels, annotations and taints of Kubernetes nodes, checked as Talos checks them."""

from __future__ import annotations

import re

Pairs = dict[str, str]
_LONGEST = 63
_LONGEST_PREFIX = 253
_ANNOTATIONS_LIMIT = 256 * 1024
_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_PREFIX = re.compile(rf"{_DNS_LABEL}(\.{_DNS_LABEL})*")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_RESERVED = tuple(f"talos.dev/owned-{what}" for what in ("annotations", "labels", "taints"))


def label_errors(labels: Pairs) -> list[str]:
    errors = []
    for name in sorted(labels):
        errors += [_name_error(name), _value_error(labels[name])]
    return [error for error in errors if error]


def annotation_errors(annotations: Pairs) -> list[str]:
    errors = []
    for name in sorted(annotations):
        errors += [_name_error(name), f'annotation "{name}" is reserved' if name in _RESERVED else ""]
    if sum(len(name) + len(value) for name, value in annotations.items()) > _ANNOTATIONS_LIMIT:
        errors.append(f"total annotation size exceeds limit of {_ANNOTATIONS_LIMIT} bytes")
    return [error for error in errors if error]


def taint_errors(taints: Pairs) -> list[str]:
    errors = []
    for name in sorted(taints):
        value, separator, effect = taints[name].partition(":")
        effect = effect if separator else value
        error = _name_error(name)
        if not error and effect not in _EFFECTS:
            error = f'invalid taint effect: "{effect}"'
        errors.append(error or (_value_error(value) if separator else ""))
    return [error for error in errors if error]


def _name_error(name: str) -> str:
    prefix, slash, bare = name.rpartition("/")
    if "/" in prefix:
        return f'invalid format: too many slashes: "{name}"'
    if slash and not prefix:
        return f'prefix cannot be empty: "{name}"'
    if len(prefix) > _LONGEST_PREFIX:
        return f'prefix "{prefix}" is invalid: domain name length exceeds limit of {_LONGEST_PREFIX}: "{prefix}"'
    if prefix and not _PREFIX.fullmatch(prefix):
        return f'prefix "{prefix}" is invalid: domain doesn\'t match required format: "{prefix}"'
    if not bare:
        return f'name cannot be empty: "{name}"'
    if len(bare) > _LONGEST:
        return f'name is too long: "{name}" (limit is {_LONGEST})'
    return "" if _NAME.fullmatch(bare) else f'name "{bare}" is invalid'


def _value_error(value: str) -> str:
    if len(value) > _LONGEST:
        return f'label value length exceeds limit of {_LONGEST}: "{value}"'
    return "" if not value or _NAME.fullmatch(value) else f'label value "{value}" is invalid'
