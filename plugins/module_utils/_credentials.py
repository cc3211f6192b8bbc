# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Client certificates as a talosconfig holds them, and the TLS that they make."""

from __future__ import annotations

import base64
import datetime
import hashlib
import os
import ssl
from dataclasses import dataclass, field

from ._errors import TalosError
from ._yaml import load, yaml

# Go's PEM type for Ed25519 keys; OpenSSL reads the same bytes as PKCS#8.
_GO_ED25519 = b"ED25519 PRIVATE KEY"


class BadTalosconfig(TalosError):
    """A talosconfig that cannot be used."""

    remedy = "Delete the file and run the playbook again: it is made anew from the secrets bundle"


@dataclass(frozen=True)
class Credentials:
    """One context of a talosconfig: CA, certificate and key as PEM. Its repr and str do not tell the key."""

    ca: bytes
    crt: bytes
    key: bytes = field(repr=False)

    @classmethod
    def from_talosconfig(cls, text: str | bytes, origin: str = "talosconfig") -> Credentials:
        """Read the current context. Raises BadTalosconfig."""
        try:
            document = load(text)
            context = document["contexts"][document["context"]]
            return cls(*(base64.b64decode(context[part], validate=True) for part in ("ca", "crt", "key")))
        except (yaml.YAMLError, KeyError, TypeError, ValueError):
            # Those quote what they read.
            raise BadTalosconfig(f"{origin} is not a talosconfig with a current context") from None

    @property
    def roles(self) -> tuple[str, ...]:
        """Talos keeps the roles in the certificate's organization, such as ``os:admin``."""
        from cryptography import x509
        from cryptography.x509.oid import NameOID

        names = x509.load_pem_x509_certificate(self.crt).subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        return tuple(str(name.value) for name in names)

    def ssl_context(self) -> ssl.SSLContext:
        """Mutual TLS 1.3 with this identity, trusting this CA only."""
        context = _base_context()
        try:
            context.load_verify_locations(cadata=self.ca.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise BadTalosconfig(f"the CA is not a certificate ({type(error).__name__})") from None
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = True
        # The ssl module reads certificates from paths only; a memfd has one and never touches a disk.
        descriptor = os.memfd_create("talos-client", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, self.crt + b"\n" + self.key.replace(_GO_ED25519, b"PRIVATE KEY"))
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        except (ssl.SSLError, ValueError) as error:
            raise BadTalosconfig(f"the certificate and key do not belong together: {error}") from error
        finally:
            os.close(descriptor)
        return context


def _base_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    return context


def insecure_context() -> ssl.SSLContext:
    """TLS for a node in maintenance: it signs its own certificate, so nothing is verified here."""
    context = _base_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def certificate_times(pem: bytes) -> tuple[datetime.datetime, datetime.datetime]:
    """From when to when a certificate is good (UTC, aware), with old and new releases of cryptography."""
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(pem)
    if hasattr(certificate, "not_valid_after_utc"):
        return certificate.not_valid_before_utc, certificate.not_valid_after_utc
    utc = datetime.timezone.utc
    return certificate.not_valid_before.replace(tzinfo=utc), certificate.not_valid_after.replace(tzinfo=utc)


def fingerprint(certificate_der: bytes) -> str:
    """Base64 of the SHA-256 of the public key: what a node's console and ``--cert-fingerprint`` show."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    public_key = x509.load_der_x509_certificate(certificate_der).public_key()
    spki = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()
