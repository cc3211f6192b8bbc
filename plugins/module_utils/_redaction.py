# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What must never be shown, and how a text, a value or a machine config looks without it.

Three nets: the leaves of the secrets bundle (also decoded), values that the caller names (vaulted variables), and
fields of machine configs that hold secrets by their nature. Credentials in URLs are hidden wherever they stand.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
import typing as t

from ._yaml import SafeLoader, yaml

HIDDEN = "<hidden>"
_CHANGED = "<hidden, changed>"

# A shorter value may be a part of other words, and is hidden where it is a word of its own.
_SHORT = 6
# Nothing that is shorter still is a secret, and hiding it would tear every text.
_SHORTEST = 3

# Fields whose value is a secret wherever they stand in a machine config; content is that of files of any kind.
_SECRET_FIELDS = frozenset(
    {
        "PSK",
        "aescbcEncryptionSecret",
        "apiToken",
        "auth",
        "bootstrapToken",
        "clusterSecret",
        "content",
        "identityToken",
        "passphrase",
        "password",
        "presharedKey",
        "privateKey",
        "secret",
        "secretboxEncryptionSecret",
        "token",
        "uniqueToken",
    }
)
# Documents and fields below which everything is a secret.
_SECRET_BRANCHES = frozenset(
    {"env", "environment", "encryptionConfig", "extraManifestHeaders", "headers", "stringData", "variables"}
)
# Names below these are the user's, env among them, and Kubernetes shows the values to everyone.
_PUBLIC_BRANCHES = frozenset({"labels", "nodeLabels", "nodeTaints", "taints"})
# EtcFileConfig's; elsewhere contents are manifests.
_CONTENTS = ("contents",)
_ARGUMENTS = frozenset({"args", "command", "extraArgs", "extraKernelArgs"})
_SECRET_ARGUMENT = re.compile(r"[\w.-]*(?:secret|token|passw|api-?key)[\w.-]*=", re.IGNORECASE)
_PRIVATE_KEY = re.compile(r"PRIVATE KEY-----|^LS0tLS1CRUdJTi")
_SECRET_MANIFEST = re.compile(r"[\"']?\bkind[\"']?:\s*[\"']?Secret\b")
# user:password@ (which may hold an @ itself), ...token= and the like
_IN_URL = re.compile(
    r"(://[^\s/:@]*:)[^\s/]+(?=@)|([?&][\w-]*(?:token|secret|passw(?:or)?d|key|sig|signature)=)[^\s&\"']+",
    re.IGNORECASE,
)
# What Go's YAML decoder quotes, and where Talos begins to list what it does not know.
_QUOTED = re.compile(r"`[^`]*`")
UNKNOWN_KEYS = "unknown keys found during decoding"
_KEY = re.compile(r"\s*(?:- )*[\w.-]+:(?=\s|$)")
# Lines of a PEM or of a manifest that are in every one.
_STRUCTURE = ("-----", "---", "apiVersion:", "kind:", "type:", "#")
_ASSIGNMENT = re.compile(r"(?:- )?[\"']?[\w./-]+[\"']?\s*[:=]\s*(.*)")


def is_secret(path: t.Sequence[str], value: t.Any) -> bool:
    """Is the value at this path of a machine config a secret by its nature?"""
    if not path or value in (None, "", {}, []):
        return False
    if isinstance(value, (bool, dict, list)) or not _PUBLIC_BRANCHES.isdisjoint(path):
        return False
    if path[-1] in _SECRET_FIELDS or tuple(path) == _CONTENTS or not _SECRET_BRANCHES.isdisjoint(path):
        return True
    if not isinstance(value, str):
        return False
    if path[-1] in ("key", "keys"):
        return bool(_PRIVATE_KEY.search(value))
    if path[-1] in _ARGUMENTS and _SECRET_ARGUMENT.match(value):
        return True
    return "PRIVATE KEY-----" in value or bool(_SECRET_MANIFEST.search(value))


class Redactor:
    """Hides known secret values, and fields that hold secrets by their nature."""

    def __init__(self, secrets: t.Iterable[str] = ()) -> None:
        known = {form for secret in secrets for form in forms(secret) if len(form) >= _SHORTEST}
        # Longest first, so that no rest of a longer secret stays behind.
        ordered = [re.escape(each) for each in sorted(known, key=len, reverse=True) if len(each) >= _SHORT]
        words = [re.escape(each) for each in known if len(each) < _SHORT]
        if words:
            ordered.append(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)")
        self._pattern = re.compile("|".join(ordered)) if ordered else None

    def text(self, text: str) -> str:
        known = self._pattern.sub(HIDDEN, text) if self._pattern else text
        return _IN_URL.sub(rf"\1\2{HIDDEN}", known) if "://" in known else known

    def value(self, value: t.Any, path: tuple[str, ...] = (), *, earlier: t.Any = None, later: t.Any = None) -> t.Any:
        """Hide secrets below a value of a machine config.

        One that differs from ``earlier`` says so. Where ``later`` holds a secret, the value was one before: the secret
        that a user replaced is as unknown to us as it is worth hiding.
        """
        if isinstance(value, dict):
            return self._mapping(value, path, earlier, later)
        if isinstance(value, list):
            return self._items(value, path, earlier, later)
        if value is None or isinstance(value, bool):
            return value
        if is_secret(path, value):
            return _CHANGED if earlier not in (None, value) else HIDDEN
        hidden = self.text(str(value))
        if hidden != str(value):
            return hidden.replace(HIDDEN, _CHANGED) if isinstance(earlier, str) and earlier != value else hidden
        if later is not None and later != value and self.text(str(later)) != str(later):
            return HIDDEN
        return value

    def _mapping(self, value: dict[t.Any, t.Any], path: tuple[str, ...], earlier: t.Any, later: t.Any) -> t.Any:
        before = earlier if isinstance(earlier, dict) else {}
        after = later if isinstance(later, dict) else {}
        return {
            self.text(key) if isinstance(key, str) else key: self.value(
                each, (*path, str(key)), earlier=before.get(key), later=after.get(key)
            )
            for key, each in value.items()
        }

    def _items(self, value: list[t.Any], path: tuple[str, ...], earlier: t.Any, later: t.Any) -> t.Any:
        before = earlier if isinstance(earlier, list) else []
        after = later if isinstance(later, list) else []
        # Items have no names, so that any secret one may have taken the place of a text that is gone.
        secret = next((each for each in after if isinstance(each, str) and self.text(each) != each), None)
        found = []
        for index, each in enumerate(value):
            other = secret if isinstance(each, str) and each not in after else _at(after, index)
            found.append(self.value(each, path, earlier=_at(before, index), later=other))
        return found

    def result(self, value: t.Any) -> t.Any:
        """A module's result without the known values: texts as they stand, whatever they are about."""
        if isinstance(value, dict):
            return {key: self.result(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.result(each) for each in value]
        return self.text(value) if isinstance(value, str) else value


def _at(items: list[t.Any], index: int) -> t.Any:
    return items[index] if index < len(items) else None


def without_quotes(error: str) -> str:
    """The words of Talos about a config without the values that it quotes: keys, lines and types stay."""
    known, mark, listed = _QUOTED.sub(f"`{HIDDEN}`", error).partition(UNKNOWN_KEYS)
    if not mark:
        return known
    first, *rest = listed.split("\n")
    lines = [_without_value(line) for line in rest]
    kept = [line for line, above in zip(lines, ["", *lines]) if line.strip() != HIDDEN or above.strip() != HIDDEN]
    return "\n".join([known + mark + first, *kept])


def _without_value(line: str) -> str:
    key = _KEY.match(line)
    if key is None:
        return HIDDEN if line.strip() else line
    return key.group() + (f" {HIDDEN}" if line[key.end() :].strip() else "")


def leaves(value: t.Any) -> t.Iterator[str]:
    """All strings below a value."""
    if isinstance(value, dict):
        for each in value.values():
            yield from leaves(each)
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each)
    elif isinstance(value, str):
        yield value


def secrets_in(patch: str) -> t.Iterator[str]:
    """The values of a patch that are secrets by their nature, for texts that quote them without their field."""
    try:
        documents = list(yaml.load_all(patch, SafeLoader))
    except yaml.YAMLError:
        yield from _parts(patch)
        return
    for document in documents:
        yield from _secrets_below(document, ())


def _secrets_below(value: t.Any, path: tuple[str, ...]) -> t.Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _secrets_below(each, (*path, str(key)))
    elif isinstance(value, list):
        for each in value:
            yield from _secrets_below(each, path)
    elif is_secret(path, value):
        yield str(value)


def forms(secret: str) -> t.Iterator[str]:
    """A secret as it may stand in a text: as given, encoded, quoted, decoded where it is base64 of text, in parts."""
    secret = secret.strip()
    yield secret
    yield base64.b64encode(secret.encode()).decode()
    yield json.dumps(secret)[1:-1]
    text = secret
    if "-----BEGIN" not in secret:
        with contextlib.suppress(binascii.Error, UnicodeDecodeError, ValueError):
            text = base64.b64decode(secret, validate=True).decode().strip()
            yield text
    yield from _parts(text)


def _parts(text: str) -> t.Iterator[str]:
    """The lines of a longer text, and of ``key: value`` the value: a text may hold a part of the secret."""
    lines = text.splitlines()
    for line in map(str.strip, lines if len(lines) > 1 else []):
        found = _ASSIGNMENT.fullmatch(line)
        part = found.group(1).strip("\"' ,") if found else line
        if len(part) >= _SHORT and not line.startswith(_STRUCTURE):
            yield part
