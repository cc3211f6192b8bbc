# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``$patch: delete`` in a patch: of documents, of keys and of items of lists."""

from __future__ import annotations

import typing as t

import yaml

from rehearsal.standin.errors import CommandError
from rehearsal.standin.known_keys import V1ALPHA1, KnownKeys, Struct, Type
from rehearsal.standin.yaml_nodes import Node, line_of

_SCALAR_KEYS_OF_NOTHING = ("version", "kind", "name")


class EmptiedDocument(Exception):
    """The document itself was deleted."""


class _NotFound(Exception):
    pass


class Deletion(t.NamedTuple):
    """What to delete; ``key`` and ``value`` pick the item of the list to which the path leads."""

    path: tuple[str, ...]
    api_version: str
    kind: str
    name: str
    key: str = ""
    value: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.api_version, self.kind, self.name

    def apply(self, content: dict[str, t.Any], known: KnownKeys) -> None:
        path = ".".join(self.path)
        if not self.path:
            raise EmptiedDocument
        try:
            _delete(content, known.document(self.kind), self.path, self, known)
        except _NotFound as error:
            where = f"'{path}' in document '{self.api_version}/{self.kind}'"
            message = f"patch delete: path {where}: failed to delete path '{path}': {error}"
            if self.name:
                message = f"named patch delete: document {self.api_version}/{self.kind}: failed to delete path"
                message += f" '{path}': {error}"
            raise CommandError(message) from None


def take_deletions(node: Node, index: int) -> tuple[list[Deletion], bool]:
    """Take the deletions out of a document; also whether nothing else is left of it."""
    found: list[Deletion] = []
    try:
        emptied = _walk(node, (), node, found, in_list=False)
    except CommandError as error:
        line = line_of(node)
        raise CommandError(f"error processing patch delete statements at line {line}: {error}") from None
    return found, emptied or _holds_nothing(node)


def _walk(node: Node, path: tuple[str, ...], root: Node, found: list[Deletion], in_list: bool) -> bool:
    """Whether the node is to be taken out of its parent."""
    if isinstance(node, yaml.MappingNode):
        for key, value in list(node.value):
            if _deletes(key, value):
                found.append(_deletion(node, path, root, in_list))
                return True
            if _walk(value, (*path, str(key.value)), root, found, in_list=False):
                node.value.remove((key, value))
                if not node.value:
                    return True
    elif isinstance(node, yaml.SequenceNode):
        return _walk_items(node, path, root, found)
    return False


def _walk_items(node: Node, path: tuple[str, ...], root: Node, found: list[Deletion]) -> bool:
    taken = 0
    for index, item in enumerate(list(node.value)):
        # Talos counts without the items that it has taken out.
        if _walk(item, (*path, f"[{index - taken}]"), root, found, in_list=True):
            node.value.remove(item)
            taken += 1
    return bool(taken) and not node.value


def _deletes(key: Node, value: Node) -> bool:
    return isinstance(value, yaml.ScalarNode) and key.value == "$patch" and value.value == "delete"


def _deletion(node: Node, path: tuple[str, ...], root: Node, in_list: bool) -> Deletion:
    if not in_list and any(part.startswith("[") for part in path):
        raise CommandError(f"cannot delete an inner key in '{'.'.join(path)}'")
    version, kind = (_text_at(root, key, required=not path) for key in ("apiVersion", "kind"))
    if bool(version) != bool(kind):
        raise CommandError(f"kind and apiVersion must be both set for path {'.'.join(path)}")
    picked = ("", "")
    if in_list:
        others = [(str(key.value), str(value.value)) for key, value in node.value if not _deletes(key, value)]
        if not others:
            raise CommandError(f"no key:val found in sequence node for path {'.'.join(path)}")
        picked = others[0]
    return Deletion(path, version, kind or V1ALPHA1, _text_at(root, "name", required=False), *picked)


def _text_at(node: Node, key: str, required: bool) -> str:
    for key_node, value in node.value:
        if key_node.value == key:
            return str(value.value) if isinstance(value, yaml.ScalarNode) else ""
    if required:
        raise CommandError(f"missing {key} in document for which $patch: delete is used")
    return ""


def _holds_nothing(node: Node) -> bool:
    return isinstance(node, yaml.MappingNode) and all(
        isinstance(value, yaml.ScalarNode) and key.value in _SCALAR_KEYS_OF_NOTHING for key, value in node.value
    )


def _delete(content: t.Any, within: Type | Struct, path: tuple[str, ...], deletion: Deletion, known: KnownKeys) -> None:
    key, rest = path[0], path[1:]
    if isinstance(within, Type) and within.form == "struct":
        within = known.struct(within.name)
    if isinstance(within, dict):
        _delete_key(content, within, key, rest, deletion, known)
    elif within.form == "list" and not rest:
        _delete_item(content, within, deletion, known)
    elif within.form in ("map", "args", "any") and isinstance(content, dict) and key in content:
        if not rest:
            del content[key]
        else:
            _delete(content[key], within.of or within, rest, deletion, known)
    else:
        raise _NotFound("lookup failed")


def _delete_key(
    content: dict[str, t.Any],
    struct: Struct,
    key: str,
    rest: tuple[str, ...],
    deletion: Deletion,
    known: KnownKeys,
) -> None:
    if key not in struct:
        raise _NotFound("lookup failed")
    of = struct[key].type
    if not rest:
        content.pop(key, None)
    elif key in content:
        _delete(content[key], of, rest, deletion, known)
    elif of.form == "struct" and not of.pointer:
        _delete({}, of, rest, deletion, known)
    else:
        raise _NotFound("lookup failed")


def _delete_item(items: list[t.Any], of: Type, deletion: Deletion, known: KnownKeys) -> None:
    struct = known.struct(of.of.name) if of.of.form == "struct" else {}
    comparable = deletion.key in struct and struct[deletion.key].type.form in ("s", "url", "prefix", "d")
    for index, item in enumerate(items):
        if comparable and item.get(deletion.key, "") == deletion.value:
            del items[index]
            return
    raise _NotFound("lookup failed")
