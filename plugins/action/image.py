# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill in image from the inventory and the lock of images, record new ones there, and tell how far a download is."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail

from ansible_collections.homelab.talos.plugins.module_utils._errors import TalosError
from ansible_collections.homelab.talos.plugins.module_utils._image_factory import (
    FORMATS,
    DiskImage,
    declared,
    version_of,
)
from ansible_collections.homelab.talos.plugins.module_utils._image_lock import FILE_NAME
from ansible_collections.homelab.talos.plugins.module_utils._images import format_of
from ansible_collections.homelab.talos.plugins.plugin_utils._image_lock_file import ImageLockFile
from ansible_collections.homelab.talos.plugins.plugin_utils._progress_action import (
    Progress,
    ProgressAction,
    pace,
)


class ActionModule(ProgressAction):
    supplies: t.ClassVar[frozenset[str]] = frozenset({"board", "cache_dir", "schematic", "talos_version"})

    def work(self) -> dict[str, t.Any]:
        arguments = self.arguments()
        lock = ImageLockFile(self.record_path(FILE_NAME))
        try:
            image = _image(arguments)
            locked = lock.sha256(image)
        except TalosError as error:
            return {"failed": True, "msg": str(error), "failure": error.as_failure()}
        given = arguments.get("sha256")
        if given and locked not in ("", given):
            raise AnsibleActionFail(
                f"sha256 is {given}, and {lock.path} has {locked} for this image. Find out which is right, and remove "
                "the other one; nothing was downloaded."
            )
        result = self.call_with_progress({**arguments, "sha256": given or locked})
        if result.get("failed") or given or locked:
            return result
        return self._recorded(result, lock, image)

    def _recorded(self, result: dict[str, t.Any], lock: ImageLockFile, image: DiskImage) -> dict[str, t.Any]:
        if not self._task.check_mode:
            try:
                lock.record(image, str(result["sha256"]))
            except TalosError as error:
                return {**result, "failed": True, "msg": str(error), "failure": error.as_failure()}
        return {**result, "changed": True, "recorded": True}

    def describe(self, progress: Progress) -> t.Iterator[str]:
        done, size, begin = progress["done"], progress["size"], progress["begin"]
        of_size = f" of {size / 2**20:.0f}" if size else ""
        left = f", {pace(done - begin, size - begin, progress['seconds'])}" if size else ""
        yield f"image: {done / 2**20:.0f}{of_size} MiB {progress['step']}{left}"


def _image(arguments: dict[str, t.Any]) -> DiskImage:
    identity, _schematic = declared(arguments.get("schematic"), str(arguments.get("board") or "generic"))
    form = format_of(str(arguments["file"])) if arguments.get("file") else str(arguments.get("format") or FORMATS[0])
    return DiskImage(identity, version_of(str(arguments.get("talos_version"))), form)
