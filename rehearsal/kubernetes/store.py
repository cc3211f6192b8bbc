# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What etcd holds for one cluster: objects, the version of the whole, and what happened lately."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path

from rehearsal.kubernetes import Object
from rehearsal.kubernetes.kinds import BUILT_IN, CRDS, Key, Resource, custom
from rehearsal.kubernetes.status import expired
from rehearsal.state import read_json, write_private

Name = tuple[str, str]  # namespace (empty for those of the cluster) and name
_REMEMBERED = 4000
_SAVE_SECONDS = 1.0


@dataclass(frozen=True)
class Event:
    """``before`` is the object as it was: a watch with a selector tells from it whether the object came or went."""

    version: int
    type: str
    key: Key
    object: Object
    before: Object | None


class Store:
    """Objects by resource and name. They are never changed in place, so that everyone may keep what they read."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.version = 1
        self._objects: dict[Key, dict[Name, Object]] = {}
        self._events: list[Event] = []
        self._news = asyncio.Event()
        self._saved_version, self._saved_at = 0, 0.0
        if path is not None:
            self._read(read_json(path, {}))
        self._oldest = self.version
        self._custom: list[Resource] = []
        self._find_custom()

    def _read(self, value: Object) -> None:
        self.version = self._saved_version = value.get("version", 1)
        for group, plural, objects in value.get("objects", []):
            self._objects[group, plural] = {_name(obj): obj for obj in objects}

    def save(self, at_once: bool = False) -> None:
        """Write to disk what changed: at most once a second, for it is the whole."""
        if self._path is None or self.version == self._saved_version:
            return
        if at_once or time.monotonic() >= self._saved_at + _SAVE_SECONDS:
            objects = [[*key, list(named.values())] for key, named in self._objects.items() if named]
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            write_private(self._path, json.dumps({"version": self.version, "objects": objects}))
            self._saved_version, self._saved_at = self.version, time.monotonic()

    def forget(self) -> None:
        """The data is wiped."""
        self._objects.clear()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    # --- objects

    def get(self, key: Key, namespace: str, name: str) -> Object | None:
        return self._objects.get(key, {}).get((namespace, name))

    def all(self, key: Key, namespace: str = "") -> list[Object]:
        """By namespace and name."""
        named = self._objects.get(key, {})
        return [obj for name, obj in sorted(named.items()) if namespace in ("", name[0])]

    def everything(self) -> list[tuple[Key, Object]]:
        return [(key, obj) for key, named in self._objects.items() for obj in named.values()]

    def put(self, key: Key, obj: Object) -> Object:
        """Keep an object; it comes back with its new version."""
        self.version += 1
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        named = self._objects.setdefault(key, {})
        before = named.get(_name(obj))
        named[_name(obj)] = obj
        self._tell(Event(self.version, "MODIFIED" if before else "ADDED", key, obj, before))
        return obj

    def remove(self, key: Key, obj: Object) -> None:
        self.version += 1
        before = self._objects[key].pop(_name(obj))
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        self._tell(Event(self.version, "DELETED", key, obj, before))

    # --- custom resources

    @property
    def resources(self) -> list[Resource]:
        return [*BUILT_IN, *self._custom]

    def _find_custom(self) -> None:
        self._custom = [resource for definition in self.all(CRDS.key) for resource in custom(definition)]

    # --- events

    def _tell(self, event: Event) -> None:
        if event.key == CRDS.key:
            self._find_custom()
        self._events.append(event)
        if len(self._events) > _REMEMBERED:
            del self._events[: _REMEMBERED // 2]
            self._oldest = self._events[0].version - 1
        news, self._news = self._news, asyncio.Event()
        news.set()

    def since(self, version: int, key: Key) -> list[Event]:
        """What happened after that version; ``StatusError`` where it is forgotten."""
        if version < self._oldest:
            raise expired(version, self._oldest)
        return [event for event in self._events if event.version > version and event.key == key]

    async def news(self, seen: int) -> None:
        """Until something has happened after that version."""
        while self.version <= seen:
            await self._news.wait()


def _name(obj: Object) -> Name:
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
