# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which changes Talos takes at once, and uses only after a reboot."""

from __future__ import annotations

import typing as t

import pytest
import yaml

from ansible_collections.homelab.talos.plugins.module_utils._after_reboot import after_reboot


def config(*documents: dict[str, t.Any], **machine: t.Any) -> bytes:
    first = {"version": "v1alpha1", "machine": {"type": "worker", **machine}, "cluster": {}}
    return yaml.safe_dump_all([first, *documents]).encode()


def document(kind: str, **content: t.Any) -> dict[str, t.Any]:
    return {"apiVersion": "v1alpha1", "kind": kind, **content}


def modules(*names: str) -> dict[str, t.Any]:
    return {"kernel": {"modules": [{"name": each} for each in names]}}


CRI = {"path": "/etc/cri/conf.d/20-customization.part", "content": "x", "op": "create"}
FILE = {"path": "/var/x", "content": "x", "op": "create"}
KEYS = {"provider": "luks2", "keys": [{"slot": 0, "nodeID": {}}]}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (config(), config(sysctls={"a": "1"}, udev={"rules": ["x"]}), []),
        (config(), config(env={"A": "1"}), ["v1alpha1 machine.env"]),
        (config(env={"A": "1"}), config(), ["v1alpha1 machine.env"]),
        (config(env={}), config(), []),
        (config(), config(files=[FILE]), ["v1alpha1 machine.files"]),
        (config(), config(files=[CRI]), []),
        (config(**modules("a")), config(**modules("a", "b")), []),
        (config(**modules("a", "b")), config(**modules("b")), ["v1alpha1 machine.kernel.modules"]),
        (config(), config(document("KernelModuleConfig", name="a")), []),
        (config(document("KernelModuleConfig", name="a")), config(), ["KernelModuleConfig a"]),
        (
            config(document("KernelModuleConfig", name="a")),
            config(document("KernelModuleConfig", name="a", parameters=["x=1"])),
            ["KernelModuleConfig a"],
        ),
        (
            config(),
            config(document("EnvironmentConfig", variables={"A": "1"})),
            ["EnvironmentConfig variables"],
        ),
        (
            config(),
            config(document("VolumeConfig", name="EPHEMERAL", encryption=KEYS)),
            ["VolumeConfig EPHEMERAL encryption"],
        ),
        (config(), config(document("VolumeConfig", name="EPHEMERAL", provisioning={"maxSize": "9GB"})), []),
        (config(), config(document("UserVolumeConfig", name="data", encryption=KEYS)), []),
        (config(document("UserVolumeConfig", name="data", encryption=KEYS)), config(), []),
        (
            config(document("UserVolumeConfig", name="data")),
            config(document("UserVolumeConfig", name="data", encryption=KEYS)),
            ["UserVolumeConfig data encryption"],
        ),
        (
            config(document("SecurityProfileConfig", workloadIsolation=True)),
            config(),
            ["SecurityProfileConfig workloadIsolation"],
        ),
        (b"", config(), []),
    ],
)
def test_what_waits_for_a_reboot(before: bytes, after: bytes, told: list[str]) -> None:
    assert after_reboot(before, after) == told


def test_etcd_is_not_restarted_for_its_settings() -> None:
    def etcd(**settings: t.Any) -> bytes:
        return yaml.safe_dump({"machine": {}, "cluster": {"etcd": {"ca": {"crt": "x"}, **settings}}}).encode()

    assert after_reboot(etcd(), etcd(extraArgs={"election-timeout": "5000"})) == ["v1alpha1 cluster.etcd"]
