# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Machine configs as documents: read, compared, and shown without their secrets."""

from __future__ import annotations

import copy
import typing as t
from dataclasses import dataclass

from ._errors import TalosError
from ._redaction import Redactor
from ._yaml import SafeDumper, SafeLoader, yaml

ABSENT = "<absent>"

Documents = dict[str, t.Any]


class BadConfig(TalosError):
    """Not YAML."""

    remedy = "Look at the node's config with talosctl get machineconfig; a node in maintenance gets a new one"


@dataclass(frozen=True)
class Difference:
    """One field that differs. ``path`` is dotted; ``before`` and ``after`` are redacted, ``<absent>`` for none."""

    document: str
    path: str
    before: t.Any
    after: t.Any

    def __str__(self) -> str:
        where = f"{self.document} {self.path}".strip()
        return f"{where}: {_short(self.before)} -> {_short(self.after)}"

    def as_dict(self) -> dict[str, t.Any]:
        return {"document": self.document, "path": self.path, "before": self.before, "after": self.after}


def _short(value: t.Any) -> str:
    text = value if isinstance(value, str) else yaml.dump(value, Dumper=SafeDumper, default_flow_style=True)
    text = text.strip().removesuffix("...").strip() if hasattr(text, "removesuffix") else text.strip()
    return text if len(text) <= 80 else text[:77] + "..."


def parse(config: bytes | str) -> Documents:
    """The documents of a machine config by their name: ``v1alpha1``, or kind and name, such as ``VLANConfig end0.5``.

    The order of documents has no meaning in Talos. Raises BadConfig, which never quotes the content.
    """
    try:
        documents = list(yaml.load_all(config, SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark else ""
        raise BadConfig(f"a machine config is not YAML{place}") from None
    return {_name(document): document for document in documents if document is not None}


def _name(document: t.Any) -> str:
    if not isinstance(document, dict) or "kind" not in document:
        return "v1alpha1"
    return " ".join(str(document[key]) for key in ("kind", "name") if document.get(key))


def same(one: t.Any, other: t.Any) -> bool:
    """Equal in value and type: to YAML 1, 1.0 and true are three things, to Python one."""
    if isinstance(one, dict) and isinstance(other, dict):
        return _keys(one) == _keys(other) and all(same(each, other[key]) for key, each in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def _keys(mapping: dict[t.Any, t.Any]) -> set[tuple[type, t.Any]]:
    return {(type(key), key) for key in mapping}


def differences(before: bytes | str, after: bytes | str, redactor: Redactor) -> list[Difference]:
    """Field by field, with secrets hidden. Comments, spacing and the order of documents and keys do not count."""
    old, new = parse(before), parse(after)
    found: list[Difference] = []
    for name in sorted({*old, *new}, key=lambda each: (each != "v1alpha1", each)):
        _compare(name, (), old.get(name, ABSENT), new.get(name, ABSENT), redactor, found)
    return found


def _compare(
    document: str,
    path: tuple[str, ...],
    before: t.Any,
    after: t.Any,
    redactor: Redactor,
    found: list[Difference],
) -> None:
    if same(before, after):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            _compare(
                document,
                (*path, str(key)),
                before.get(key, ABSENT),
                after.get(key, ABSENT),
                redactor,
                found,
            )
        return
    found.append(
        Difference(
            document,
            redactor.text(".".join(path)),
            _shown(path, before, redactor, later=after),
            _shown(path, after, redactor, earlier=before),
        )
    )


def _shown(path: tuple[str, ...], value: t.Any, redactor: Redactor, **others: t.Any) -> t.Any:
    if value == ABSENT:
        return ABSENT
    return redactor.value(copy.deepcopy(value), path, **{name: each for name, each in others.items() if each != ABSENT})


def diff(before: bytes | str, after: bytes | str, redactor: Redactor, name: str) -> dict[str, str]:
    """The same in the form of Ansible's diff mode, whole documents, normalised and redacted."""
    old, new = parse(before), parse(after)
    changed = [
        each
        for each in sorted({*old, *new}, key=lambda each: (each != "v1alpha1", each))
        if not same(old.get(each, ABSENT), new.get(each, ABSENT))
    ]
    return {
        "before_header": f"{name} (on the node)",
        "after_header": f"{name} (as declared)",
        "before": "".join(_text(old[each], redactor, later=new.get(each)) for each in changed if each in old),
        "after": "".join(_text(new[each], redactor, earlier=old.get(each)) for each in changed if each in new),
    }


def _text(document: t.Any, redactor: Redactor, **others: t.Any) -> str:
    shown = redactor.value(copy.deepcopy(document), **others)
    return "---\n" + yaml.dump(shown, Dumper=SafeDumper, sort_keys=True, default_flow_style=False)
