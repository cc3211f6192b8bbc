# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import traceback

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import _documents as documents
from ansible_collections.homelab.talos.plugins.module_utils._redaction import HIDDEN, Redactor

CONFIG = b"""\
version: v1alpha1
machine:
  type: worker
  token: abc123.0123456789abcdef
  sysctls: {vm.overcommit_memory: "1"}
---
apiVersion: v1alpha1
kind: HostnameConfig
hostname: talos-w9
"""


def found(before: bytes, after: bytes, *secrets: str) -> list[str]:
    return [str(each) for each in documents.differences(before, after, Redactor(secrets))]


def test_comments_spacing_and_order_of_documents_are_no_difference() -> None:
    first, second = CONFIG.split(b"---\n")
    assert found(CONFIG, b"# a comment\n" + second + b"---\n" + first.replace(b"  ", b"    ")) == []


def test_a_difference_names_document_and_field() -> None:
    after = CONFIG.replace(b"talos-w9", b"talos-w8").replace(b'"1"', b'"2"')
    assert found(CONFIG, after) == [
        "v1alpha1 machine.sysctls.vm.overcommit_memory: 1 -> 2",
        "HostnameConfig hostname: talos-w9 -> talos-w8",
    ]


@pytest.mark.parametrize("after", [b"true", b"1.0"])
def test_another_type_is_a_difference(after: bytes) -> None:
    before = CONFIG.replace(b'"1"', b"1")
    changed = CONFIG.replace(b'"1"', after)
    assert not documents.same(documents.parse(before), documents.parse(changed))
    assert found(before, changed) == [f"v1alpha1 machine.sysctls.vm.overcommit_memory: 1 -> {after.decode()}"]
    assert documents.diff(before, changed, Redactor(), "talos-w9")["before"]


@pytest.mark.parametrize("text", ["1234-56-78", "2026-02-30", "2026-01-02", "2026-01-02 03:04:05", "="])
def test_what_to_yaml_alone_is_no_text_is_one(text: str) -> None:
    plain, quoted = (CONFIG.replace(b'"1"', each.encode()) for each in (text, f"'{text}'"))
    assert found(plain, quoted) == []
    assert found(CONFIG, plain) == [f"v1alpha1 machine.sysctls.vm.overcommit_memory: 1 -> {text}"]
    assert text in documents.diff(CONFIG, plain, Redactor(), "talos-w9")["after"]


@pytest.mark.parametrize("text", ["0b_", "!!int s3cret", "!!float s3cret", "!!bool s3cret", "!!timestamp s3cret"])
def test_a_config_that_cannot_be_read_is_an_error_that_quotes_nothing(text: str) -> None:
    with pytest.raises(documents.BadConfig) as caught:
        documents.parse(CONFIG.replace(b'"1"', text.encode()))
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_documents_of_one_kind_are_told_apart_by_name() -> None:
    vlan = b"---\napiVersion: v1alpha1\nkind: VLANConfig\nname: end0.5\nvlanID: 5\n"
    other = vlan.replace(b"5", b"6")
    assert found(CONFIG + vlan, CONFIG + vlan + other) == [
        "VLANConfig end0.6: <absent> -> {apiVersion: v1alpha1, kind: VLANConfig, name: end0.6, vlanID: 6}"
    ]


def test_a_changed_secret_is_told_and_not_shown() -> None:
    after = CONFIG.replace(b"abc123", b"xyz789")
    assert found(CONFIG, after) == ["v1alpha1 machine.token: <hidden> -> <hidden, changed>"]
    shown = documents.diff(CONFIG, after, Redactor(), "talos-w9")
    assert "  token: <hidden, changed>" in shown["after"]
    assert "abc123" not in str(shown)
    assert "xyz789" not in str(shown)


def test_changed_files_and_environments_are_told_and_not_shown() -> None:
    before = CONFIG.replace(b"  type: worker\n", b"  type: worker\n  env: {TOKEN: s3cret-1}\n") + (
        b"---\nkind: EnvironmentConfig\nvariables: {API_TOKEN: s3cret-2}\n---\nkind: EtcFileConfig\nname: a\n"
        b"contents: s3cret-3\n"
    )
    after = before.replace(b"s3cret-", b"other-")
    assert found(before, after) == [
        "v1alpha1 machine.env.TOKEN: <hidden> -> <hidden, changed>",
        "EnvironmentConfig variables.API_TOKEN: <hidden> -> <hidden, changed>",
        "EtcFileConfig a contents: <hidden> -> <hidden, changed>",
    ]
    assert found(CONFIG, before)[0] == "v1alpha1 machine.env: <absent> -> {TOKEN: <hidden>}"
    shown = str(documents.diff(before, after, Redactor(), "talos-w9"))
    assert "s3cret-" not in shown
    assert "other-" not in shown


def test_known_secrets_are_hidden_wherever_they_stand_and_decoded() -> None:
    kind = "ED25519 PRIVATE KEY"
    pem = f"-----BEGIN {kind}-----\nMC4CAQAwBQYDK2VwBCIEIInventedInventedInv\n-----END {kind}-----\n"
    redactor = Redactor([base64.b64encode(pem.encode()).decode()])
    assert redactor.text(f"x {base64.b64encode(pem.encode()).decode()} y") == f"x {HIDDEN} y"
    assert "Invented" not in redactor.text("key: |\n  MC4CAQAwBQYDK2VwBCIEIInventedInventedInv\n")


def test_fields_that_hold_secrets_by_nature() -> None:
    manifest = "apiVersion: v1\nkind: Secret\nstringData: {a: hunter2hunter2}\n"
    config = {
        "auth": {"username": "me", "password": "hunter2hunter2"},
        "environment": ["TS_AUTHKEY=hunter2hunter2"],
        "inlineManifests": [{"name": "a", "contents": manifest}],
        "wireguard": {"privateKey": "hunter2hunter2", "peers": [{"presharedKey": "hunter2hunter2"}]},
        "taints": [{"key": "node.kubernetes.io/x", "value": "y"}],
        "passphrase": "hunter2hunter2",
    }
    shown = str(Redactor().value(config))
    assert "hunter2" not in shown
    assert "node.kubernetes.io/x" in shown
    assert "me" in shown
