# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""The secrets bundle of a cluster, as ``talosctl gen secrets`` makes it, and client certificates of its Talos CA."""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import typing as t

from ._credentials import Credentials
from ._errors import TalosError
from ._redaction import leaves
from ._yaml import load, yaml

# What talosctl writes; a bundle that lacks one of these cannot render a control plane.
_NEEDED = (
    ("cluster", "id"),
    ("cluster", "secret"),
    ("secrets", "bootstraptoken"),
    ("trustdinfo", "token"),
    ("certs", "os", "crt"),
    ("certs", "os", "key"),
    ("certs", "k8s", "crt"),
    ("certs", "k8s", "key"),
    ("certs", "etcd", "crt"),
    ("certs", "etcd", "key"),
)

ADMIN, READER = "os:admin", "os:reader"


class BadBundle(TalosError):
    """Not a secrets bundle."""

    remedy = "Restore the file from version control: a new bundle would be a new PKI that no node accepts"


class SecretsBundle:
    """A parsed bundle. Its repr and str tell nothing."""

    def __init__(self, content: t.Mapping[str, t.Any]) -> None:
        self._content = content

    @classmethod
    def parse(cls, text: bytes | str, origin: str = "the secrets bundle", remedy: str = "") -> SecretsBundle:
        """Read YAML. Raises BadBundle, which never quotes the content."""
        try:
            content = load(text)
        except yaml.YAMLError:
            raise BadBundle(f"{origin} is not YAML", remedy=remedy) from None
        missing = [".".join(path) for path in _NEEDED if not _at(content, path)]
        if missing:
            raise BadBundle(f"{origin} is not a Talos secrets bundle: {', '.join(missing)} missing", remedy=remedy)
        return cls(content)

    def __repr__(self) -> str:
        return "SecretsBundle(<hidden>)"

    def as_dict(self) -> dict[str, t.Any]:
        return dict(self._content)

    def yaml(self) -> bytes:
        """For ``talosctl --with-secrets``."""
        return yaml.safe_dump(dict(self._content), sort_keys=True).encode()

    def leaves(self) -> list[str]:
        return list(leaves(dict(self._content)))

    def digest(self) -> str:
        """Names the PKI; tells nothing about it."""
        return hashlib.sha256(self.yaml()).hexdigest()

    @property
    def talos_ca(self) -> bytes:
        """The Talos API's CA certificate as PEM."""
        return self._pem("os", "crt")

    @property
    def kubernetes_ca(self) -> bytes:
        """The Kubernetes API's CA certificate as PEM."""
        return self._pem("k8s", "crt")

    def _pem(self, authority: str, part: str) -> bytes:
        try:
            return base64.b64decode(self._content["certs"][authority][part], validate=True)
        except binascii.Error as error:
            raise BadBundle(f"certs.{authority}.{part} is not base64") from error

    def issue(self, role: str, lifetime: datetime.timedelta) -> Credentials:
        """A client certificate of the Talos CA, as ``talosctl gen config`` makes it. Raises BadBundle."""
        from cryptography import x509
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

        try:
            authority = x509.load_pem_x509_certificate(self.talos_ca)
            authority_key = serialization.load_pem_private_key(
                self._pem("os", "key").replace(b"ED25519 PRIVATE KEY", b"PRIVATE KEY"), None
            )
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise BadBundle("certs.os holds no certificate and key that can be read") from None
        form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        if authority.public_key().public_bytes(*form) != authority_key.public_key().public_bytes(*form):
            raise BadBundle("certs.os.key does not belong to certs.os.crt")
        key = ed25519.Ed25519PrivateKey.generate()
        now = datetime.datetime.now(datetime.timezone.utc)
        # Talos' CAs are Ed25519, which hashes by itself; an adopted cluster may have another kind.
        digest = None if isinstance(authority_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, role)]))
            .issuer_name(authority.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            # A node's clock may be behind ours for a while after its boot.
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + lifetime)
            .add_extension(_digital_signature(x509), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(_authority_key_identifier(x509, authority), critical=False)
            .sign(authority_key, digest)  # type: ignore[arg-type]
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Credentials(
            ca=self.talos_ca,
            crt=certificate.public_bytes(serialization.Encoding.PEM),
            key=pem.replace(b"PRIVATE KEY", b"ED25519 PRIVATE KEY"),
        )


def _digital_signature(x509: t.Any) -> t.Any:
    others = (
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(digital_signature=True, **dict.fromkeys(others, False))


def _authority_key_identifier(x509: t.Any, authority: t.Any) -> t.Any:
    # Go does not derive the identifier from the key as most do, so it is taken over as it stands.
    extension = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(extension.value)


def _at(content: t.Any, path: tuple[str, ...]) -> t.Any:
    for key in path:
        content = content.get(key) if isinstance(content, dict) else None
    return content
