# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
import hashlib
import json
import stat
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.talos.plugins.module_utils._declaration import Cluster, Node
from ansible_collections.homelab.talos.plugins.module_utils._rendering import DigestCache, Rendering
from ansible_collections.homelab.talos.plugins.module_utils._secrets_bundle import SecretsBundle
from ansible_collections.homelab.talos.plugins.module_utils._talosctl import (
    NoTalosctl,
    SlowTalosctl,
    Talosctl,
    TalosctlError,
)

CLUSTER = Cluster("lab", "https://192.0.2.1:6443", "1.14.2", "1.37.1", "1.14")
NODE = Node(
    "talos-w9", "worker", "192.0.2.9", "", "", "talos-w9", "rpi_4", "id", "image", ("machine: {}\n", "a: s3cret\n")
)
BUNDLE: dict[str, t.Any] = {"cluster": {"secret": "s3cret-of-the-bundle"}}


class Stub(Talosctl):
    """Renders its inputs, and counts."""

    def __init__(self, path: Path) -> None:
        path.write_text("talosctl")
        path.chmod(0o755)
        super().__init__(str(path))
        self.rendered = 0
        self.validated = 0
        self.required: list[str] = []

    def require_minor(self, talos_version: str) -> None:
        self.required.append(talos_version)

    def gen_config(self, **given: t.Any) -> bytes:
        self.rendered += 1
        return repr(sorted(given.items())).encode()

    def validate(self, config: bytes) -> list[str]:
        self.validated += 1
        return ["something is deprecated"]


@pytest.fixture
def talosctl(tmp_path: Path) -> Stub:
    return Stub(tmp_path / "talosctl")


def rendering(
    talosctl: Talosctl,
    folder: Path,
    *,
    bundle: dict[str, t.Any] = BUNDLE,
    cluster: Cluster = CLUSTER,
    read_only: bool = False,
) -> tuple[Rendering, DigestCache]:
    cache = DigestCache(str(folder / "cache" / "rendered.json"), read_only=read_only)
    return Rendering(talosctl, SecretsBundle(bundle), cluster, cache), cache


def known(talosctl: Talosctl, folder: Path, node: Node = NODE, **changes: t.Any) -> bool:
    return rendering(talosctl, folder, **changes)[0].digest(node) is not None


@pytest.fixture
def rendered(talosctl: Stub, tmp_path: Path) -> bytes:
    first, cache = rendering(talosctl, tmp_path)
    assert first.digest(NODE) is None
    config = first.config(NODE)
    cache.save()
    assert talosctl.required == ["1.14.2"]
    assert first.warnings == ["talos-w9: something is deprecated"]
    return config


def test_equal_inputs_are_known_without_rendering(talosctl: Stub, tmp_path: Path, rendered: bytes) -> None:
    again, _cache = rendering(talosctl, tmp_path)
    assert again.digest(NODE) == hashlib.sha256(rendered).hexdigest()
    assert talosctl.rendered == 1


def test_any_other_input_is_not_known(talosctl: Stub, tmp_path: Path, rendered: bytes) -> None:
    def with_(**changes: t.Any) -> Node:
        return dataclasses.replace(NODE, **changes)

    assert known(talosctl, tmp_path)
    assert not known(talosctl, tmp_path, bundle={"cluster": {"secret": "another"}})
    for field, value in (
        ("name", "other"),
        ("endpoint", "https://192.0.2.2:6443"),
        ("talos_version", "1.14.3"),
        ("kubernetes_version", "1.37.2"),
        ("contract", "1.13"),
    ):
        assert not known(talosctl, tmp_path, cluster=dataclasses.replace(CLUSTER, **{field: value})), field
    assert not known(talosctl, tmp_path, with_(patches=NODE.patches[:1]))
    assert not known(talosctl, tmp_path, with_(patches=NODE.patches[::-1]))
    assert not known(talosctl, tmp_path, with_(machine_type="controlplane"))
    assert not known(talosctl, tmp_path, with_(name="talos-w8"))
    # What no config holds costs no rendering.
    assert known(talosctl, tmp_path, with_(address="192.0.2.99", mac="02:00:00:00:00:01"))
    Path(talosctl.path).write_text("another talosctl")
    assert not known(talosctl, tmp_path)


def test_the_file_holds_no_secret_and_is_private(tmp_path: Path, rendered: bytes) -> None:
    path = tmp_path / "cache" / "rendered.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert b"s3cret" in rendered
    ((name, digests),) = json.loads(path.read_text()).items()
    assert name == "talos-w9"
    assert [len(digest) for digest in digests] == [64, 64]
    assert "s3cret" not in path.read_text()


def test_check_mode_leaves_the_file_alone(talosctl: Stub, tmp_path: Path) -> None:
    look, cache = rendering(talosctl, tmp_path, read_only=True)
    look.config(NODE)
    cache.save()
    assert not (tmp_path / "cache").exists()


def test_what_did_not_change_is_not_written(talosctl: Stub, tmp_path: Path, rendered: bytes) -> None:
    path = tmp_path / "cache" / "rendered.json"
    before = path.stat().st_ino
    again, cache = rendering(talosctl, tmp_path)
    again.config(NODE)
    cache.save()
    assert path.stat().st_ino == before
    assert talosctl.validated == 1


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"talos-w9": null}', '{"talos-w9": []}', '{"talos-w9": "x"}', "\x00"]
)
def test_an_unreadable_file_counts_as_empty(talosctl: Stub, tmp_path: Path, content: str) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "rendered.json").write_text(content)
    fresh, cache = rendering(talosctl, tmp_path)
    assert fresh.digest(NODE) is None
    fresh.config(NODE)
    cache.save()
    assert known(talosctl, tmp_path)


def test_an_error_names_the_node(talosctl: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**given: t.Any) -> bytes:
        raise TalosctlError("no")

    monkeypatch.setattr(talosctl, "gen_config", refuse)
    with pytest.raises(TalosctlError, match=r"^talos-w9: no\."):
        rendering(talosctl, tmp_path)[0].config(NODE)


def test_an_error_names_the_patch_that_is_refused(
    talosctl: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**given: t.Any) -> bytes:
        if b"a: s3cret\n" in given["patches"]:
            raise TalosctlError("error parsing config JSON patch: no", command="talosctl gen config ... @FILE")
        return b"config"

    monkeypatch.setattr(talosctl, "gen_config", refuse)
    node = dataclasses.replace(NODE, patch_places=("settings", "group_patches.workers[0]"))
    with pytest.raises(TalosctlError) as caught:
        rendering(talosctl, tmp_path)[0].config(node)
    assert str(caught.value) == "talos-w9: group_patches.workers[0]: no. Correct it in the inventory."


def test_a_talosctl_that_was_too_slow_is_not_asked_again_for_each_patch(
    talosctl: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def hang(**given: t.Any) -> bytes:
        asked.append(given)
        raise SlowTalosctl("not done within 60 s")

    monkeypatch.setattr(talosctl, "gen_config", hang)
    with pytest.raises(SlowTalosctl, match="machine's load"):
        rendering(talosctl, tmp_path)[0].config(NODE)
    assert len(asked) == 1


def test_what_this_talosctl_has_rendered_needs_no_second_look_at_its_version(
    talosctl: Stub, tmp_path: Path, rendered: bytes
) -> None:
    again, _cache = rendering(talosctl, tmp_path)
    assert again.config(NODE) == rendered
    assert talosctl.required == ["1.14.2"]
    again.config(dataclasses.replace(NODE, name="talos-w8"))
    assert talosctl.required == ["1.14.2", "1.14.2"]


def test_without_talosctl_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoTalosctl):
        rendering(Talosctl(str(tmp_path / "none")), tmp_path)[0].digest(NODE)


# --- private files
