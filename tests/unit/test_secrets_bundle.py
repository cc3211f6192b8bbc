# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import datetime
import subprocess
import traceback
import typing as t
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ansible_collections.homelab.talos.plugins.module_utils._secrets_bundle import (
    ADMIN,
    READER,
    BadBundle,
    SecretsBundle,
)
from rehearsal.standin import certificates

HOUR = datetime.timedelta(hours=1)


def _pair(pair: certificates.Pair) -> dict[str, str]:
    return {part: base64.b64encode(getattr(pair, part).encode()).decode() for part in ("crt", "key")}


def make_bundle() -> dict[str, t.Any]:
    """As talosctl makes it, but for the key of service accounts, which takes seconds."""
    kubernetes = {name: _pair(certificates.kubernetes_ca(name)) for name in ("etcd", "k8s", "k8saggregator")}
    return {
        "cluster": {"id": "an-id", "secret": "a-secret"},
        "secrets": {"bootstraptoken": "abcdef.0123456789abcdef", "secretboxencryptionsecret": "b64"},
        "trustdinfo": {"token": "ghijkl.0123456789abcdef"},
        "certs": {**kubernetes, "os": _pair(certificates.talos_ca())},
    }


@pytest.fixture(scope="module")
def content() -> dict[str, t.Any]:
    return make_bundle()


def without(content: dict[str, t.Any], *path: str) -> dict[str, t.Any]:
    copy: dict[str, t.Any] = yaml.safe_load(yaml.safe_dump(content))
    *parents, last = path
    branch = copy
    for key in parents:
        branch = branch[key]
    del branch[last]
    return copy


def test_a_bundle_is_read_and_written_and_named(content: dict[str, t.Any]) -> None:
    bundle = SecretsBundle.parse(yaml.safe_dump(content))
    assert bundle.as_dict() == content
    assert yaml.safe_load(bundle.yaml()) == content
    again = SecretsBundle.parse(yaml.safe_dump(content, sort_keys=False))
    assert again.digest() == bundle.digest()
    other = make_bundle()
    other["cluster"]["secret"] = "another"
    assert SecretsBundle(other).digest() != bundle.digest()
    assert content["cluster"]["secret"] in bundle.leaves()
    assert len(bundle.leaves()) >= 12


def test_a_bundle_tells_nothing_by_itself(content: dict[str, t.Any]) -> None:
    bundle = SecretsBundle(content)
    assert (repr(bundle), str(bundle), f"{bundle}") == ("SecretsBundle(<hidden>)",) * 3


@pytest.mark.parametrize("path", ["trustdinfo.token", "cluster.secret", "certs.os.key", "certs.etcd.crt"])
def test_what_a_bundle_lacks_is_named(content: dict[str, t.Any], path: str) -> None:
    with pytest.raises(BadBundle, match=rf"the file is not a Talos secrets bundle: {path} missing"):
        SecretsBundle.parse(yaml.safe_dump(without(content, *path.split("."))), "the file")


@pytest.mark.parametrize(
    "text",
    [
        "s3cret: [",
        "s3cret",
        "- s3cret",
        "",
        "a: b: s3cret",
        "certs: s3cret",
        "\t s3cret: {",
        "a: !!int s3cret",
        "2026-02-30",
    ],
)
def test_an_error_never_quotes_the_content(text: str) -> None:
    with pytest.raises(BadBundle) as caught:
        SecretsBundle.parse(text, "the file")
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    assert "the file is not" in str(caught.value)


def test_a_certificate_that_is_not_base64_is_named_and_not_quoted(content: dict[str, t.Any]) -> None:
    broken = without(content, "certs", "os", "key")
    broken["certs"]["os"]["key"] = "s3cret!!"
    with pytest.raises(BadBundle) as caught:
        SecretsBundle(broken).issue(ADMIN, HOUR)
    assert "certs.os.key" in str(caught.value)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_a_ca_that_cannot_sign_is_a_bad_bundle(content: dict[str, t.Any]) -> None:
    other = make_bundle()["certs"]["os"]
    for part, value, said in (
        ("crt", base64.b64encode(b"s3cret").decode(), "no certificate and key that can be read"),
        ("key", base64.b64encode(b"s3cret").decode(), "no certificate and key that can be read"),
        ("key", other["key"], "does not belong to certs.os.crt"),
    ):
        broken = {**content, "certs": {**content["certs"], "os": {**content["certs"]["os"], part: value}}}
        with pytest.raises(BadBundle, match=said) as caught:
            SecretsBundle(broken).issue(ADMIN, HOUR)
        assert "s3cret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("role", [ADMIN, READER])
def test_a_client_certificate_has_the_form_of_talos(content: dict[str, t.Any], role: str) -> None:
    """As ``talosctl gen config`` makes that of its talosconfig."""
    credentials = SecretsBundle(content).issue(role, 10 * HOUR)
    authority = x509.load_pem_x509_certificate(base64.b64decode(content["certs"]["os"]["crt"]))
    certificate = x509.load_pem_x509_certificate(credentials.crt)
    assert certificate.subject == x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, role)])
    assert certificate.issuer == authority.subject
    assert isinstance(certificate.public_key(), ed25519.Ed25519PublicKey)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert list(extended.value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    key_identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert key_identifier == authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    now = datetime.datetime.now(datetime.UTC)
    # A node's clock may be behind ours.
    assert certificate.not_valid_before_utc < now - datetime.timedelta(minutes=30)
    assert abs(certificate.not_valid_after_utc - now - 10 * HOUR) < datetime.timedelta(minutes=1)
    assert credentials.key.startswith(b"-----BEGIN ED25519 PRIVATE KEY-----")
    assert credentials.ca == base64.b64decode(content["certs"]["os"]["crt"])


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_openssl_accepts_the_certificate(tmp_path: Path, kind: str) -> None:
    content = make_bundle()
    if kind == "ecdsa":
        # Talos makes no such CA; an adopted cluster may have one of its owner's.
        content["certs"]["os"] = content["certs"]["k8s"]
    credentials = SecretsBundle(content).issue(ADMIN, HOUR)
    (tmp_path / "ca").write_bytes(credentials.ca)
    (tmp_path / "crt").write_bytes(credentials.crt)
    argv = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", tmp_path / "ca", tmp_path / "crt"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # The key belongs to it, or this raises.
    credentials.ssl_context()
