# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""``cards.yml``: which card is which node's, as it was written last."""

from __future__ import annotations

import dataclasses
import re
import typing as t
from collections.abc import Mapping

from ._errors import TalosError

FILE_NAME = "cards.yml"

_HEADER = """\
---
# Which card is which node's: its identity and size, and the image that was written to it (version, ID of the schematic,
# sha256 of the file). Commit this file. A node that stands here has its card, and is asked for none; to make it another
# one, remove its entry.
"""
# Of a reader with a slot, not of the card in it.
_READERS = ("usb:",)
_HASH = re.compile(r"[0-9a-f]{64}")


class RecordError(TalosError):
    """A file of records that cannot be used as it is."""


@dataclasses.dataclass(frozen=True)
class Record:
    """``identity`` as card_info tells it, empty where the card has none; ``size`` in bytes; ``image`` is a sha256."""

    identity: str
    size: int
    schematic: str
    version: str
    image: str

    def as_dict(self) -> dict[str, t.Any]:
        return dataclasses.asdict(self)


# By node.
Records = t.Dict[str, Record]  # noqa: UP006 - evaluated on Python 3.9


def names_card(identity: str) -> bool:
    """Whether no other card could have this identity. That of a USB reader is the same for all cards of a size."""
    return bool(identity) and not identity.startswith(_READERS)


def parse(data: object, where: str) -> Records:
    """The records from plain data, of which all scalars may be texts. Raises RecordError with all that is wrong."""
    wrong: list[str] = []
    records: Records = {}
    if data is not None and not isinstance(data, Mapping):
        wrong.append("it is not a mapping of nodes")
    for node, entry in data.items() if isinstance(data, Mapping) else ():
        try:
            records[str(node)] = _record(entry)
        except ValueError as error:
            wrong.append(f"{node}: {error}")
    if wrong:
        raise RecordError(f"{where}: {'; '.join(wrong)}", remedy="Correct it by hand, or remove the entry")
    return records


def _record(entry: object) -> Record:
    names = [field.name for field in dataclasses.fields(Record)]
    if not isinstance(entry, Mapping) or set(entry) != set(names):
        raise ValueError(f"it needs {', '.join(names)}, and nothing else")
    texts = {name: str(entry[name]) for name in names}
    if not re.fullmatch(r"[0-9]+", texts["size"]):
        raise ValueError(f"size {texts['size']} is not a number of bytes")
    for name in ("schematic", "image"):
        if not _HASH.fullmatch(texts[name]):
            raise ValueError(f"{name} {texts[name]!r} is not a sha256")
    return Record(texts["identity"], int(texts["size"]), texts["schematic"], texts["version"], texts["image"])


def added(records: Records, new: Records) -> Records:
    """With the new ones. A card that is another node's now is the old one's no more."""
    taken = {record.identity for record in new.values() if names_card(record.identity)}
    kept = {node: record for node, record in records.items() if record.identity not in taken}
    return {**kept, **new}


def render(records: Records) -> str:
    """The file's text."""
    lines = [_HEADER]
    for node in sorted(records):
        lines.append(f"{_quoted(node)}:\n")
        lines += [f"  {name}: {_quoted(value)}\n" for name, value in records[node].as_dict().items()]
    return "".join(lines)


def _quoted(value: object) -> str:
    """What YAML could take for something else than the text, as ``no`` or a sha256 of digits, in quotes."""
    text = str(value)
    if isinstance(value, int) or re.fullmatch(r"[a-z]+[0-9-][a-z0-9-]*|[0-9]+\.[0-9]+\.[0-9]+[a-z0-9.-]*", text):
        return text
    return "'" + text.replace("'", "''") + "'"
