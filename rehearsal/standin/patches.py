# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patches: read from files or arguments, applied to the documents of a configuration."""

from __future__ import annotations

import copy
import typing as t

import yaml

from rehearsal.standin.decode import Decoder, Document
from rehearsal.standin.deletion import Deletion, EmptiedDocument
from rehearsal.standin.errors import CommandError
from rehearsal.standin.files import read_text
from rehearsal.standin.known_keys import V1ALPHA1
from rehearsal.standin.merge import Merge
from rehearsal.standin.yaml_nodes import documents as documents_of

Patch = list[Document | Deletion]
# Kinds of which only one document may have a name.
_ONE_OF = (
    frozenset(f"{kind}Config" for kind in ("Bond", "Bridge", "DummyLink", "Link", "VLAN", "VRF", "Veth", "Wireguard")),
    frozenset(("HCloudVIPConfig", "Layer2VIPConfig")),
    frozenset(("ExistingVolumeConfig", "UserVolumeConfig")),
)


class JsonPatch(Exception):
    """A patch by RFC 6902, which Talos refuses for several documents and this stand-in always."""

    def refuse(self, documents: int) -> t.NoReturn:
        if documents == 1:
            raise CommandError("this stand-in does no JSON6902 patches: take a real talosctl")
        raise CommandError("JSON6902 patches are not supported for multi-document machine configuration")


def load(arguments: list[str], decoder: Decoder) -> list[Patch | JsonPatch]:
    return [_load(argument, decoder) for argument in arguments]


def _load(argument: str, decoder: Decoder) -> Patch | JsonPatch:
    text = _text(argument)
    try:
        patch = decoder.patch(text)
        if not _skips_absent(decoder):
            refuse_conflicts([document for document in patch if isinstance(document, Document)])
    except CommandError:
        if _is_json_patch(text):
            return JsonPatch()
        raise
    return patch


def _text(argument: str) -> str:
    if argument.startswith("@"):
        return read_text(argument[1:])
    # As Talos guesses: inline patches hold a space or a line break, or start with a bracket.
    if not any(character in argument for character in "\n ") and not argument.startswith(("[", "{")):
        return read_text(argument)
    return argument


def _is_json_patch(text: str) -> bool:
    try:
        # To Talos an empty text is a patch of no operations.
        return isinstance(yaml.compose(text, Loader=yaml.CSafeLoader), yaml.SequenceNode | None)
    except yaml.YAMLError:
        return False


def apply_to_text(text: str, patches: list[Patch | JsonPatch], decoder: Decoder) -> list[Document]:
    if isinstance(patches[0], JsonPatch):
        # It is applied to the text, before anything is decoded.
        patches[0].refuse(len(documents_of(text, decoder.release.minor)))
    return apply(decoder.configuration(text), patches, decoder)


def apply(documents: list[Document], patches: list[Patch | JsonPatch], decoder: Decoder) -> list[Document]:
    patched = copy.deepcopy(documents)
    for patch in patches:
        if isinstance(patch, JsonPatch):
            patch.refuse(len(patched))
        else:
            patched = _apply(patched, patch, decoder)
            refuse_conflicts(patched)
    return patched


def _apply(documents: list[Document], patch: Patch, decoder: Decoder) -> list[Document]:
    patched = list(documents)
    targets = {document.identity: document for document in documents}
    for change in patch:
        target = targets.get(change.identity)
        if target is None:
            _append(change, patched, targets, decoder)
        elif isinstance(change, Deletion):
            try:
                change.apply(target.content, decoder.known)
            except EmptiedDocument:
                del targets[change.identity]
                patched = [document for document in patched if document is not target]
        else:
            Merge(decoder.known).document(change.kind, target.content, change.content)
    # Stable: the rest keeps its order.
    return sorted(patched, key=lambda document: document.kind != V1ALPHA1)


def _append(
    change: Document | Deletion,
    patched: list[Document],
    targets: dict[tuple[str, str, str], Document],
    decoder: Decoder,
) -> None:
    if isinstance(change, Deletion):
        if not _skips_absent(decoder):
            patched.append(_remains_of(change))
        return
    patched.append(copy.deepcopy(change))
    if _skips_absent(decoder):
        targets[change.identity] = patched[-1]


def _skips_absent(decoder: Decoder) -> bool:
    """1.14 skips deletions of documents that are not there; 1.13 takes such a deletion for a document."""
    return decoder.release.minor >= (1, 14)


def _remains_of(deletion: Deletion) -> Document:
    if deletion.name:
        raise CommandError("panic: reflect.Value.Interface: cannot return value obtained from unexported field", code=2)
    return Document("", "", "", {})


def refuse_conflicts(documents: list[Document]) -> None:
    """Refuse documents of which only one may be there."""
    for later, document in enumerate(documents):
        if document.kind and any(document.identity == earlier.identity for earlier in documents[:later]):
            raise CommandError(f"duplicate document: {document.kind}/{document.name}")
        for earlier in documents[:later]:
            if earlier.name == document.name and any(
                {earlier.kind, document.kind} <= kinds for kinds in _ONE_OF if earlier.kind != document.kind
            ):
                first, second = (f"{each.kind}/{each.name}" for each in (earlier, document))
                raise CommandError(f"conflicting documents: {first} and {second}")
