# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import datetime
import hashlib
import os
import ssl
import subprocess
import traceback
from pathlib import Path

import pytest
import yaml

from ansible_collections.homelab.talos.plugins.module_utils import _credentials
from ansible_collections.homelab.talos.plugins.module_utils._credentials import (
    BadTalosconfig,
    Credentials,
    certificate_times,
)
from ansible_collections.homelab.talos.plugins.module_utils._secrets_bundle import READER, SecretsBundle
from rehearsal.standin import certificates


@pytest.fixture(scope="module")
def credentials() -> Credentials:
    pair = certificates.talos_ca()
    parts = {part: base64.b64encode(getattr(pair, part).encode()).decode() for part in ("crt", "key")}
    return SecretsBundle({"certs": {"os": parts}}).issue(READER, datetime.timedelta(days=7))


def talosconfig(credentials: Credentials, **changes: str) -> str:
    parts = {name: base64.b64encode(getattr(credentials, name)).decode() for name in ("ca", "crt", "key")}
    return yaml.safe_dump({"context": "a", "contexts": {"a": {**parts, **changes}, "b": {}}})


def test_the_current_context_is_read(credentials: Credentials) -> None:
    read = Credentials.from_talosconfig(talosconfig(credentials))
    assert read == credentials
    assert read.roles == (READER,)
    left = certificate_times(read.crt)[1] - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(days=6, hours=23) < left <= datetime.timedelta(days=7)


@pytest.mark.parametrize(
    "text", ["", "s3cret: [", "context: a", "context: a\ncontexts: {b: {}}", "context: a\ncontexts: {a: {ca: s3cret%}}"]
)
def test_what_is_no_talosconfig_is_named_and_not_quoted(text: str) -> None:
    with pytest.raises(BadTalosconfig, match="the/file is not a talosconfig with a current context") as caught:
        Credentials.from_talosconfig(text, "the/file")
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_the_tls_is_of_this_identity_and_trusts_this_ca_only(credentials: Credentials) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    context = credentials.ssl_context()
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1


def test_a_key_of_another_certificate_is_refused(credentials: Credentials) -> None:
    pair = certificates.talos_ca()
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(BadTalosconfig, match="do not belong together"):
        Credentials(credentials.ca, credentials.crt, pair.key.encode()).ssl_context()
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("ca", [b"", b"no certificate", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_ca_that_is_none_is_refused(credentials: Credentials, ca: bytes) -> None:
    with pytest.raises(BadTalosconfig, match="the CA is not a certificate"):
        Credentials(ca, credentials.crt, credentials.key).ssl_context()


def test_credentials_tell_nothing_by_themselves(credentials: Credentials) -> None:
    key = credentials.key.decode().splitlines()[1]
    for text in (repr(credentials), str(credentials), f"{credentials}"):
        assert key not in text


def test_maintenance_verifies_nothing_and_still_speaks_tls_1_3() -> None:
    context = _credentials.insecure_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3


def test_the_fingerprint_is_that_of_openssl(credentials: Credentials, tmp_path: Path) -> None:
    """The SHA-256 of the public key, as a node's console shows it."""
    (tmp_path / "crt").write_bytes(credentials.crt)
    commands = f"openssl x509 -in {tmp_path}/crt -noout -pubkey | openssl pkey -pubin -outform DER"
    key = subprocess.run(["sh", "-c", commands], capture_output=True, check=True).stdout
    der = ssl.PEM_cert_to_DER_cert(credentials.crt.decode())
    assert _credentials.fingerprint(der) == base64.b64encode(hashlib.sha256(key).digest()).decode()
