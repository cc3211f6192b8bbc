# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changes between two configurations, and whether Talos 1.13 can take it without a reboot."""

from __future__ import annotations

import copy
import difflib
import typing as t

from rehearsal.configuration import MachineConfiguration

# Talos 1.13 takes changes of these without a reboot; any other change under "machine" needs one.
IMMEDIATE_MACHINE_KEYS = (
    *("ca", "acceptedCAs", "time", "certSANs", "install", "network", "sysfs", "sysctls", "logging", "controlPlane"),
    *("kubelet", "kernel", "registries", "pods", "seccompProfiles", "nodeAnnotations", "nodeLabels", "nodeTaints"),
)
IMMEDIATE_FEATURES = ("kubernetesTalosAPIAccess", "kubePrism", "hostDNS", "imageCache", "nodeAddressSortAlgorithm")


def text_difference(old: str, new: str) -> str:
    """A unified difference with Talos' file names, empty where the texts are equal."""
    lines = difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), fromfile="a", tofile="b")
    return "".join(lines)


def difference(old: MachineConfiguration | None, new: MachineConfiguration) -> str:
    return text_difference(old.normal_text if old else "", new.normal_text)


def reboot_reason(old: MachineConfiguration, new: MachineConfiguration) -> str:
    """Why Talos 1.13 needs a reboot for a change, empty where it needs none."""
    if old.v1alpha1 is None:
        return "current config is not v1alpha1"
    if new.v1alpha1 is None:
        return "new config is not v1alpha1"
    after = _without_immediate_changes(old.v1alpha1, new.v1alpha1)
    if after == old.v1alpha1:
        return ""
    shown = text_difference(old.v1alpha1_text(old.v1alpha1), new.v1alpha1_text(after))
    return f"this config change can't be applied in immediate mode\ndiff:\n{shown}"


def _without_immediate_changes(old: dict[str, t.Any], new: dict[str, t.Any]) -> dict[str, t.Any]:
    """The new document with everything that is applied at once set back to what it was."""
    result = copy.deepcopy(new)
    _take_over(result, old, ("debug", "cluster"))
    machine, old_machine = result.get("machine"), old.get("machine")
    if isinstance(machine, dict) and isinstance(old_machine, dict):
        _take_over(machine, old_machine, IMMEDIATE_MACHINE_KEYS)
        features, old_features = machine.get("features"), old_machine.get("features")
        if isinstance(features, dict) and isinstance(old_features, dict):
            _take_over(features, old_features, IMMEDIATE_FEATURES)
    return result


def _take_over(target: dict[str, t.Any], source: dict[str, t.Any], keys: t.Iterable[str]) -> None:
    for key in keys:
        if key in source:
            target[key] = source[key]  # in place, so that the shown difference keeps the order
        else:
            target.pop(key, None)
