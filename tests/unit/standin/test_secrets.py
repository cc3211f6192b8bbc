# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``gen secrets`` of the stand-in."""

from __future__ import annotations

import base64
import datetime
import re
import stat
import typing as t

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from .conftest import Standin


def _pem(encoded: str) -> bytes:
    return base64.b64decode(encoded, validate=True)


def test_writes_for_its_owner_only(standin: Standin) -> None:
    assert standin("gen", "secrets", "-o", "new.yaml") == (0, "", "")
    path = standin.directory / "new.yaml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert list(made) == ["cluster", "secrets", "trustdinfo", "certs"]


def test_keeps_an_existing_file(standin: Standin) -> None:
    standin.write("old.yaml", "mine")
    refused = standin("gen", "secrets", "-o", "old.yaml")
    assert refused == (1, "", 'file "old.yaml" already exists, use --force to overwrite\n')
    assert (standin.directory / "old.yaml").read_text(encoding="utf-8") == "mine"
    assert standin("gen", "secrets", "-o", "old.yaml", "--force").code == 0
    assert (standin.directory / "old.yaml").read_text(encoding="utf-8") != "mine"


def test_formats(bundle: dict[str, t.Any]) -> None:
    token = re.compile(r"[a-z0-9]{6}\.[a-z0-9]{16}")
    assert token.fullmatch(bundle["secrets"]["bootstraptoken"])
    assert token.fullmatch(bundle["trustdinfo"]["token"])
    for secret in (bundle["cluster"]["secret"], bundle["secrets"]["secretboxencryptionsecret"]):
        assert len(base64.b64decode(secret, validate=True)) == 32


def test_the_alphabet_of_the_cluster_id(standin: Standin) -> None:
    for version, other in (("v1.13.9", "+/"), ("v1.14.2", "-_")):
        made = yaml.safe_load(standin("gen", "secrets", "-o", "-", version=version).stdout)
        assert not set(other) & set(made["cluster"]["id"])
        assert len(base64.urlsafe_b64decode(made["cluster"]["id"].translate(str.maketrans("+/", "-_")))) == 32


@pytest.mark.parametrize(
    ("name", "organizations", "armour"),
    [
        ("os", ["talos"], "ED25519 PRIVATE KEY"),
        ("k8s", ["kubernetes"], "EC PRIVATE KEY"),
        ("etcd", ["etcd"], "EC PRIVATE KEY"),
        ("k8saggregator", [], "EC PRIVATE KEY"),
    ],
)
def test_cas(name: str, organizations: list[str], armour: str, bundle: dict[str, t.Any]) -> None:
    pair = bundle["certs"][name]
    certificate = x509.load_pem_x509_certificate(_pem(pair["crt"]))
    assert [attribute.value for attribute in certificate.subject] == organizations
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lifetime == datetime.timedelta(hours=87600)
    pem = _pem(pair["key"])
    assert pem.startswith(f"-----BEGIN {armour}-----\n".encode())
    key = load_pem_private_key(pem.replace(b"ED25519 PRIVATE", b"PRIVATE"), None)
    assert key.public_key() == certificate.public_key()


def test_the_service_account_key(bundle: dict[str, t.Any]) -> None:
    key = load_pem_private_key(_pem(bundle["certs"]["k8sserviceaccount"]["key"]), None)
    assert getattr(key, "key_size", 0) == 4096


@pytest.mark.parametrize("contract", ["v1.12", "v1.13", "v1.14"])
def test_recovers_a_bundle(contract: str, standin: Standin, bundle: dict[str, t.Any]) -> None:
    standin.write("cp.yaml", standin.generate("controlplane", "--talos-version", contract).stdout)
    recovered = standin("gen", "secrets", "-o", "-", "--from-controlplane-config", "cp.yaml")
    assert yaml.safe_load(recovered.stdout) == bundle


def test_recovers_nothing_from_a_worker(standin: Standin) -> None:
    standin.write("worker.yaml", standin.generate("worker").stdout)
    assert standin("gen", "secrets", "-o", "-", "--from-controlplane-config", "worker.yaml").code == 2


def test_refuses_an_incomplete_bundle(standin: Standin, bundle: dict[str, t.Any]) -> None:
    holed = {**bundle, "trustdinfo": {}, "certs": {**bundle["certs"], "os": {"crt": "cGx1bQ==", "key": ""}}}
    standin.write("secrets.yaml", yaml.safe_dump(holed))
    refused = standin.generate("worker")
    assert refused.code == 1
    assert "trustdinfo is required" in refused.stderr
    assert "certs.os is invalid" in refused.stderr
