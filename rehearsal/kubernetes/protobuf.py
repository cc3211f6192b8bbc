# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``kubectl create namespace|configmap|secret|serviceaccount`` sends protobuf, whatever the server would prefer."""

from __future__ import annotations

import base64
import typing as t

from rehearsal.kubernetes import Object
from rehearsal.kubernetes.status import bad_request

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
# Fields by their numbers: a name, and "text", "bytes", "flag", "texts", a map of text or bytes, or a message.
Message = dict[int, tuple[str, t.Any]]
_TEXT_MAP, _BYTES_MAP = {1: ("key", "text"), 2: ("value", "text")}, {1: ("key", "text"), 2: ("value", "bytes")}
_METADATA: Message = {
    1: ("name", "text"),
    2: ("generateName", "text"),
    3: ("namespace", "text"),
    11: ("labels", _TEXT_MAP),
    12: ("annotations", _TEXT_MAP),
    14: ("finalizers", "texts"),
}
_KINDS: dict[str, Message] = {
    "Namespace": {1: ("metadata", _METADATA)},
    "ConfigMap": {
        1: ("metadata", _METADATA),
        2: ("data", _TEXT_MAP),
        3: ("binaryData", _BYTES_MAP),
        4: ("immutable", "flag"),
    },
    "Secret": {
        1: ("metadata", _METADATA),
        2: ("data", _BYTES_MAP),
        3: ("type", "text"),
        4: ("stringData", _TEXT_MAP),
        5: ("immutable", "flag"),
    },
    "ServiceAccount": {1: ("metadata", _METADATA), 4: ("automountServiceAccountToken", "flag")},
}
_TYPE_META: Message = {1: ("apiVersion", "text"), 2: ("kind", "text")}
_ENVELOPE: Message = {1: ("typeMeta", _TYPE_META), 2: ("raw", "raw")}


def decode(body: bytes) -> Object:
    """The object in its JSON form; ``StatusError`` for kinds other than the four."""
    if not body.startswith(_MAGIC):
        raise bad_request("the body is no protobuf of Kubernetes")
    envelope = _message(body[len(_MAGIC) :], _ENVELOPE)
    kind = envelope["typeMeta"]["kind"]
    if kind not in _KINDS:
        raise bad_request(f"the rehearsal does not read protobuf of kind {kind}: send JSON")
    return {**envelope["typeMeta"], **_message(envelope.get("raw", b""), _KINDS[kind])}


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _message(data: bytes, known: Message) -> Object:
    found: Object = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type not in (0, 2):
            raise bad_request(f"unexpected wire type {wire_type}")
        value, at = _varint(data, at)
        chunk, at = (data[at : at + value], at + value) if wire_type == 2 else (b"", at)
        if number in known:
            name, kind = known[number]
            _take(found, name, kind, chunk if wire_type == 2 else value)
    return found


def _take(found: Object, name: str, kind: t.Any, value: t.Any) -> None:
    if kind in (_TEXT_MAP, _BYTES_MAP):
        entry = {"key": "", "value": "", **_message(value, kind)}
        found.setdefault(name, {})[entry["key"]] = entry["value"]
    elif isinstance(kind, dict):
        found[name] = _message(value, kind)
    elif kind == "texts":
        found.setdefault(name, []).append(value.decode())
    elif kind == "flag":
        found[name] = bool(value)
    elif kind == "raw":
        found[name] = value
    elif kind == "bytes":
        found[name] = base64.b64encode(value).decode()
    elif value:  # an empty text is one that was not given
        found[name] = value.decode()
