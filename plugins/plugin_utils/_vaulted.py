# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which values the inventory keeps encrypted: they stay hidden wherever a template took them."""

from __future__ import annotations

import os
import typing as t

from ansible import context
from ansible._internal._datatag._tags import Origin
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultHelper

from ..module_utils._problems import SECRET_KEYS
from ..module_utils._variables import OUR_VARIABLES
from ..module_utils._yaml import SafeLoader, yaml

_HEADER = b"$ANSIBLE_VAULT"
_FOLDERS = ("group_vars", "host_vars")
# In an encrypted file these hold no secret, and hiding them would only tear what a run tells.
_PUBLIC_KEYS = (OUR_VARIABLES - SECRET_KEYS) | {"apiVersion", "kind"}


def scalars(value: t.Any) -> t.Iterator[str]:
    """All texts and numbers of a decrypted file."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key not in _PUBLIC_KEYS:
                yield from scalars(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from scalars(each)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def in_patch(text: str) -> list[str]:
    """All values of an encrypted patch file."""
    try:
        return [each for document in yaml.load_all(text, SafeLoader) for each in scalars(document)]
    except yaml.YAMLError:
        return [line.strip() for line in text.splitlines()]


def is_encrypted_file(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(_HEADER)) == _HEADER
    except OSError:
        return False


class InlineVaults:
    """Values of ``!vault``, at whatever depth of whatever variable; a value that hosts share is looked at once.

    ``sources`` are the files that variables came from, as far as Ansible knows: of vars_files, roles, include_vars, ...
    """

    def __init__(self) -> None:
        self.values: list[str] = []
        self.sources: set[str] = set()
        # The values are kept, so that no other one takes an id.
        self._seen: dict[int, t.Any] = {}

    def look(self, value: t.Any) -> None:
        if value is None or type(value) in (str, int, bool, float) or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        origin = Origin.get_tag(value)
        if origin and origin.path:
            self.sources.add(origin.path)
        if isinstance(value, dict):
            for each in value.values():
                self.look(each)
        elif isinstance(value, (list, tuple)):
            for each in value:
                self.look(each)
        elif _vaulted(value):
            try:
                self.values.append(str(value))
            except AnsibleError:
                # Of a vault identity that this run lacks: whoever needs the value says so.
                return


def _vaulted(value: t.Any) -> bool:
    try:
        return VaultHelper.get_ciphertext(value, with_tags=False) is not None
    except (AttributeError, TypeError):
        return False


def in_files(folders: t.Iterable[str], sources: t.Iterable[str], loader: DataLoader) -> list[str]:
    """Values of encrypted files: these, those beside these inventories and playbooks, those of the command line."""
    found: list[str] = []
    for path in dict.fromkeys([*_variable_files(folders), *_extra_files(), *sorted(sources)]):
        if not is_encrypted_file(path):
            continue
        try:
            content = loader.load_from_file(path, unsafe=True)
        except AnsibleError:
            continue
        if isinstance(content, dict):
            found += scalars(content)
    return found


def _variable_files(folders: t.Iterable[str]) -> t.Iterator[str]:
    for folder in dict.fromkeys(folders):
        for name in _FOLDERS:
            for parent, _subfolders, files in os.walk(os.path.join(folder, name), followlinks=True):
                yield from (os.path.join(parent, each) for each in sorted(files))


def _extra_files() -> t.Iterator[str]:
    for each in context.CLIARGS.get("extra_vars") or ():
        if str(each).startswith("@"):
            yield os.path.expanduser(str(each)[1:])
