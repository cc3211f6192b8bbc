# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Which changes Talos takes at once, and uses only after a reboot, without a word of it."""

from __future__ import annotations

import typing as t

from . import _documents as documents

# What of a setting waits: any change of it; all but what is new in it; what changes in a document that stays.
_ANY, _NOT_NEW, _WITHIN = "any", "not new", "within"

# By Talos' page "Edit Machine Configuration" (changes which might need a reboot), held against the sources of 1.13.9
# and 1.14.0-rc.1; the last two by those alone: WriteUserFiles of the boot sequence, and the options of a mount.
# Talos 1.13 reboots by itself for changes of some of them, and of others that 1.14 uses at once.
_SETTINGS = (
    # A service reads its settings and its environment when it starts.
    ("v1alpha1", "cluster.etcd", _ANY),
    ("v1alpha1", "machine.env", _ANY),
    ("EnvironmentConfig", "variables", _ANY),
    ("SecurityProfileConfig", "workloadIsolation", _ANY),
    # Modules are loaded, and neither unloaded nor loaded anew.
    ("v1alpha1", "machine.kernel.modules", _NOT_NEW),
    ("KernelModuleConfig", "", _NOT_NEW),
    # A volume is encrypted with other keys when it is unlocked.
    ("v1alpha1", "machine.systemDiskEncryption", _ANY),
    ("VolumeConfig", "encryption", _ANY),
    ("UserVolumeConfig", "encryption", _WITHIN),
    ("RawVolumeConfig", "encryption", _WITHIN),
    ("SwapVolumeConfig", "encryption", _WITHIN),
    ("v1alpha1", "machine.files", _ANY),
    ("v1alpha1", "machine.features.diskQuotaSupport", _ANY),
)
# This file of machine.files is made into a setting of the CRI, which is restarted for it.
_CRI_SETTINGS = "/etc/cri/conf.d/20-customization.part"


def after_reboot(active: bytes, declared: bytes) -> list[str]:
    """The settings that wait for a reboot: document and path, without their values. Raises BadConfig."""
    before, after = documents.parse(active), documents.parse(declared)
    if not before:
        return []
    return [
        " ".join(filter(None, (name, path)))
        for kind, path, waiting in _SETTINGS
        for name in sorted({*before, *after})
        if name.split(" ")[0] == kind and _waits(before.get(name), after.get(name), path, waiting)
    ]


def _waits(before: t.Any, after: t.Any, path: str, waiting: str) -> bool:
    if waiting == _WITHIN and (before is None or after is None):
        return False
    old, new = _setting(before, path), _setting(after, path)
    if waiting == _NOT_NEW and isinstance(old, list) and isinstance(new, list):
        return not all(any(documents.same(each, other) for other in new) for each in old)
    if waiting == _NOT_NEW and old is None:
        return False
    return not documents.same(old, new)


def _setting(document: t.Any, path: str) -> t.Any:
    """None where it is absent or empty, which is the same to Talos."""
    for key in filter(None, path.split(".")):
        document = document.get(key) if isinstance(document, dict) else None
    if path == "machine.files" and isinstance(document, list):
        document = [each for each in document if not (isinstance(each, dict) and each.get("path") == _CRI_SETTINGS)]
    return document or None
