# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What must never be shown, and how a text, a value or a machine config looks without it.

Three nets: the leaves of the secrets bundle (also decoded), values that the caller names (vaulted variables), and
fields of machine configs that hold secrets by their nature.
"""

from __future__ import annotations

import base64
import binascii
import re
import typing as t

HIDDEN = "<hidden>"

# Too short to be a secret of ours, and long enough to stand in other words.
_SHORTEST = 6

# Fields whose value is a secret wherever they stand in a machine config.
_SECRET_FIELDS = frozenset(
    {
        "aescbcEncryptionSecret",
        "auth",
        "bootstrapToken",
        "clusterSecret",
        "identityToken",
        "passphrase",
        "password",
        "presharedKey",
        "privateKey",
        "secret",
        "secretboxEncryptionSecret",
        "token",
    }
)
# Documents and fields below which everything is a secret.
_SECRET_BRANCHES = frozenset({"environment", "encryptionConfig", "stringData"})
_PRIVATE_KEY = re.compile(r"PRIVATE KEY-----|^LS0tLS1CRUdJTi")
_SECRET_MANIFEST = re.compile(r"^\s*[\"']?kind[\"']?:\s*[\"']?Secret\b", re.MULTILINE)


def is_secret(path: t.Sequence[str], value: t.Any) -> bool:
    """Is the value at this path of a machine config a secret by its nature?"""
    if not path or value in (None, "", {}, []):
        return False
    if any(each in _SECRET_BRANCHES for each in path):
        return not isinstance(value, (dict, list))
    if not isinstance(value, str):
        return False
    if path[-1] in _SECRET_FIELDS:
        return True
    if path[-1] in ("key", "keys"):
        return bool(_PRIVATE_KEY.search(value))
    return "PRIVATE KEY-----" in value or bool(_SECRET_MANIFEST.search(value))


class Redactor:
    """Hides known secret values, and fields that hold secrets by their nature."""

    def __init__(self, secrets: t.Iterable[str] = ()) -> None:
        known = {form for secret in secrets for form in forms(secret)}
        # Longest first, so that no rest of a longer secret stays behind.
        ordered = sorted((each for each in known if len(each) >= _SHORTEST), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        return self._pattern.sub(HIDDEN, text) if self._pattern else text

    def value(self, value: t.Any, path: tuple[str, ...] = (), earlier: t.Any = None) -> t.Any:
        """Hide secrets below a value of a machine config; one that differs from ``earlier`` says so."""
        if isinstance(value, dict):
            before = earlier if isinstance(earlier, dict) else {}
            return {key: self.value(each, (*path, str(key)), before.get(key)) for key, each in value.items()}
        if isinstance(value, list):
            others = earlier if isinstance(earlier, list) else []
            return [
                self.value(each, path, others[index] if index < len(others) else None)
                for index, each in enumerate(value)
            ]
        if is_secret(path, value):
            return "<hidden, changed>" if earlier not in (None, value) else HIDDEN
        if isinstance(value, str):
            hidden = self.text(value)
            if hidden != value and isinstance(earlier, str) and earlier != value:
                return hidden.replace(HIDDEN, "<hidden, changed>")
            return hidden
        return value


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


def forms(secret: str) -> t.Iterator[str]:
    """A secret as given, and decoded where it is base64 of text (PEM: also each line of it)."""
    secret = secret.strip()
    yield secret
    text = secret
    if "-----BEGIN" not in secret:
        try:
            text = base64.b64decode(secret, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return
        yield text.strip()
    if "-----BEGIN" in text:
        yield from (line for line in text.splitlines() if line and not line.startswith("-----"))
