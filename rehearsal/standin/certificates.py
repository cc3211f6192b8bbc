# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys and certificates as Talos makes them. Imported only where one is made: cryptography loads slowly."""

from __future__ import annotations

import base64
import datetime
import typing as t

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CA_VALIDITY = datetime.timedelta(hours=87600)
_CLIENT_VALIDITY = datetime.timedelta(hours=8760)

_CAKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Pair(t.NamedTuple):
    """Certificate and key, both PEM."""

    crt: str
    key: str


def talos_ca() -> Pair:
    key = ed25519.Ed25519PrivateKey.generate()
    return Pair(_ca_certificate(key, "talos"), _ed25519_pem(key))


def kubernetes_ca(organization: str) -> Pair:
    """A CA of Kubernetes or etcd; the aggregator's has no organization."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Pair(_ca_certificate(key, organization), _openssl_pem(key))


def service_account_key() -> str:
    return _openssl_pem(rsa.generate_private_key(public_exponent=65537, key_size=4096))


def client_pair(ca: Pair, roles: list[str]) -> Pair:
    """A client of the Talos API whose organizations are its roles."""
    ca_certificate, ca_key = x509.load_pem_x509_certificate(ca.crt.encode()), _load_ed25519(ca.key)
    key = ed25519.Ed25519PrivateKey.generate()
    builder = _builder(_organizations(roles), ca_certificate.subject, key.public_key(), _CLIENT_VALIDITY)
    builder = builder.add_extension(_key_usage(digital_signature=True), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    certificate = builder.add_extension(issuer, critical=False).sign(ca_key, None)
    return Pair(certificate.public_bytes(Encoding.PEM).decode(), _ed25519_pem(key))


def _ca_certificate(key: _CAKey, organization: str) -> str:
    name = _organizations([organization] if organization else [])
    builder = _builder(name, name, key.public_key(), _CA_VALIDITY)
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = builder.add_extension(_key_usage(digital_signature=True, key_cert_sign=True), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    subject_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(subject_key, critical=False)
    algorithm = hashes.SHA256() if isinstance(key, ec.EllipticCurvePrivateKey) else None
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: t.Any, validity: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + validity)
    )


def _organizations(names: list[str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in names])


def _key_usage(digital_signature: bool, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _openssl_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


def _ed25519_pem(key: ed25519.Ed25519PrivateKey) -> str:
    # Talos names the algorithm in the armour of what is PKCS 8 inside.
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return pem.replace(" PRIVATE KEY", " ED25519 PRIVATE KEY")


def _load_ed25519(pem: str) -> ed25519.Ed25519PrivateKey:
    body = "".join(line for line in pem.splitlines() if not line.startswith("-----"))
    key = load_der_private_key(base64.b64decode(body), None)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ValueError("the Talos CA's key is not an Ed25519 one")
    return key
