# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller keeps encrypted: the bundle's file, and which values of the inventory stay hidden."""

from __future__ import annotations

import errno
import os
import stat
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import EncryptedString, VaultLib, VaultSecret

from ansible_collections.homelab.talos.plugins.module_utils import _whole_file
from ansible_collections.homelab.talos.plugins.module_utils._secrets_bundle import SecretsBundle
from ansible_collections.homelab.talos.plugins.plugin_utils import _cluster_action, _vaulted
from ansible_collections.homelab.talos.plugins.plugin_utils._bundle_file import BundleFile

PAIR = {"crt": "x", "key": "y"}
CONTENT: dict[str, t.Any] = {
    "cluster": {"id": "id", "secret": "s3cret-of-the-bundle"},
    "secrets": {"bootstraptoken": "a"},
    "trustdinfo": {"token": "b"},
    "certs": dict.fromkeys(("os", "k8s", "etcd"), PAIR),
}
VAULT = VaultLib([("default", VaultSecret(b"password"))])


def loader(*passwords: str) -> DataLoader:
    found = DataLoader()
    found.set_vault_secrets([("default", VaultSecret(each.encode())) for each in passwords])
    return found


def bundle_file(folder: Path, *passwords: str) -> BundleFile:
    return BundleFile(str(folder / "records" / "secrets.vault.yml"), loader(*passwords))


def test_a_bundle_is_stored_encrypted_and_read_back(tmp_path: Path) -> None:
    file = bundle_file(tmp_path, "password")
    assert file.read() is None
    file.create(SecretsBundle(CONTENT))
    path = Path(file.path)
    assert path.read_bytes().startswith(b"$ANSIBLE_VAULT;1.1;AES256")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == [path.name]
    read = file.read()
    assert read is not None
    assert read.as_dict() == CONTENT


@pytest.mark.parametrize("links", [True, False])
def test_a_bundle_of_another_run_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Also in a folder without links, as VirtualBox shares it."""

    def no_links(*_args: t.Any, **_more: t.Any) -> t.NoReturn:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
        monkeypatch.setattr(_whole_file, "_nameless", lambda folder: None)
    file = bundle_file(tmp_path, "password")
    file.create(SecretsBundle(CONTENT))
    before = Path(file.path).read_bytes()
    with pytest.raises(AnsibleActionFail, match="was made by another run in the meantime"):
        file.create(SecretsBundle({**CONTENT, "trustdinfo": {"token": "another"}}))
    assert Path(file.path).read_bytes() == before
    assert os.listdir(Path(file.path).parent) == ["secrets.vault.yml"]
    assert file.read() is not None


@pytest.mark.parametrize(
    ("content", "passwords", "said"),
    [
        (yaml.safe_dump(CONTENT).encode(), ["password"], "is not encrypted"),
        (b"", ["password"], "is not encrypted"),
        (VAULT.encrypt(yaml.safe_dump(CONTENT)), [], "is encrypted. Give the run a vault password"),
        (VAULT.encrypt(yaml.safe_dump(CONTENT)), ["wrong"], "is not the one that this file was encrypted with"),
        (VAULT.encrypt("s3cret: ["), ["password"], "is not YAML"),
        (VAULT.encrypt("cluster: s3cret"), ["password"], "is not a Talos secrets bundle"),
        (b"$ANSIBLE_VAULT;1.1;AES256\ns3cret\n", ["password"], "or the file is damaged"),
    ],
)
def test_a_file_that_is_no_bundle_is_said_and_not_quoted(
    tmp_path: Path, content: bytes, passwords: list[str], said: str
) -> None:
    file = bundle_file(tmp_path, *passwords)
    Path(file.path).parent.mkdir()
    Path(file.path).write_bytes(content)
    with pytest.raises(AnsibleActionFail) as caught:
        file.read()
    # With the causes that Ansible prints below it.
    error: BaseException | None = caught.value
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert said in texts[0]
    assert file.path in texts[0]
    assert "s3cret" not in "".join(texts)
    assert not any("ecryption failed" in text for text in texts)
    assert Path(file.path).read_bytes() == content


def test_without_a_password_nothing_is_begun(tmp_path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match="this run has no vault password"):
        bundle_file(tmp_path).require_password()
    bundle_file(tmp_path, "password").require_password()


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: t.Any) -> t.NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    file = bundle_file(tmp_path, "password")
    with pytest.raises(OSError, match="No space"):
        file.create(SecretsBundle(CONTENT))
    assert os.listdir(Path(file.path).parent) == []


# --- what stays hidden


def sealed(text: str) -> str:
    return bytes(VAULT.encrypt(text)).decode()


@pytest.fixture
def unlocked(monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible.parsing.vault import VaultSecretsContext

    monkeypatch.setattr(VaultSecretsContext, "_current", None)
    VaultSecretsContext.initialize(VaultSecretsContext([("default", VaultSecret(b"password"))]))


@pytest.mark.usefixtures("unlocked")
def test_inline_vaults_are_found_at_whatever_depth_and_once() -> None:
    one, two = (EncryptedString(ciphertext=sealed(text)) for text in ("one-s3cret", "two-s3cret"))
    shared = {"deep": [{"deeper": (one, "plain", 5, None, True)}]}
    vaults = _vaulted.InlineVaults()
    vaults.look({"a": shared, "b": two, "c": "plain"})
    vaults.look({"a": shared, "b": two})
    assert vaults.values == ["one-s3cret", "two-s3cret"]


@pytest.mark.usefixtures("unlocked")
def test_an_inline_vault_of_another_identity_is_passed_over() -> None:
    other = VaultLib([("other", VaultSecret(b"another password"))]).encrypt("s3cret")
    vaults = _vaulted.InlineVaults()
    vaults.look(
        {"a": EncryptedString(ciphertext=bytes(other).decode()), "b": EncryptedString(ciphertext=sealed("known"))}
    )
    assert vaults.values == ["known"]


def test_values_of_encrypted_files_are_found(tmp_path: Path) -> None:
    files = {
        "group_vars/all/vault.yml": sealed("vault_a: s3cret-a\nvault_b: {list: [83629174, true, null], kind: Shown}\n"),
        "host_vars/talos-w1.yml": sealed("node_address: 192.0.2.1\nnode_registry_auth: {x: {password: s3cret-w1}}\n"),
        "group_vars/all/plain.yml": "plain: plain\n",
        "elsewhere/vault.yml": sealed("not: loaded\n"),
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    found = _vaulted.in_files([str(tmp_path), str(tmp_path)], [], loader("password"))
    assert sorted(found) == ["83629174", "s3cret-a", "s3cret-w1"]
    more = _vaulted.in_files([], [str(tmp_path / "elsewhere/vault.yml")], loader("password"))
    assert more == ["loaded"]
    assert _vaulted.in_files([str(tmp_path)], [], loader("wrong")) == []


def test_the_values_of_an_encrypted_patch_are_found_and_not_its_keys() -> None:
    text = "apiVersion: v1alpha1\nkind: KmsgLogConfig\nname: remote\nurl: tcp://x/s3cret\n"
    text += "---\nmachine: {sysctls: {a: '1'}}\n"
    assert _vaulted.in_patch(text) == ["remote", "tcp://x/s3cret", "1"]
    assert "s3cret: [" in _vaulted.in_patch("s3cret: [\n")
    assert _vaulted.in_patch("born: 1234-56-78\n") == ["1234-56-78"]


def test_a_short_secret_is_handed_over_so_that_ansible_tears_no_words() -> None:
    assert _cluster_action._kept_whole("long-enough") == "long-enough"
    assert _cluster_action._kept_whole("auto") not in "automatic auto"
    assert _cluster_action._kept_whole("auto").strip() == "auto"
