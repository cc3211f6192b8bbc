# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates as Talos and Kubernetes issue them."""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import os
import ssl
import tempfile
import typing as t
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rehearsal.configuration import KeyPair

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
SKEW = datetime.timedelta(seconds=10)
SERVER_LIFETIME = datetime.timedelta(hours=24)
# X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python has no name for.
NO_CHECK_TIME = 0x200000
YEAR = datetime.timedelta(days=365)
_PKCS8 = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, both PEM, and the fingerprint that talosctl's ``--cert-fingerprint`` takes."""

    crt: bytes
    key: bytes
    fingerprint: str


def load_key(pem: str) -> t.Any:
    """A private key in PEM; Talos labels its keys with the algorithm, which only EC keys may have elsewhere."""
    text = pem.replace("ED25519 PRIVATE KEY", "PRIVATE KEY")
    return serialization.load_pem_private_key(text.encode(), None)


def _subject(organizations: t.Sequence[str], common_name: str) -> x509.Name:
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations]
    if common_name:
        names.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return x509.Name(names)


def _alternative_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(encipherment: bool) -> x509.KeyUsage:
    return x509.KeyUsage(True, False, encipherment, False, False, False, False, False, False)


def _builder(subject: x509.Name, key: PrivateKey, lifetime: datetime.timedelta) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + lifetime)
    )


def _issued(certificate: x509.Certificate, key: PrivateKey) -> Issued:
    public = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return Issued(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, *_PKCS8),
        base64.b64encode(hashlib.sha256(public).digest()).decode(),
    )


def self_signed(names: t.Sequence[str]) -> Issued:
    """The certificate of a node in maintenance."""
    key = ed25519.Ed25519PrivateKey.generate()
    subject = _subject(["talos"], "maintenance-service.talos.dev")
    builder = _builder(subject, key, SERVER_LIFETIME).issuer_name(subject)
    builder = builder.add_extension(x509.SubjectAlternativeName([_alternative_name(n) for n in names]), False)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    return _issued(builder.sign(key, None), key)


def _key_identifier(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """The issuer's, as its own certificate names it: Go computes it otherwise than OpenSSL."""
    try:
        own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _signed(builder: x509.CertificateBuilder, key: PrivateKey, ca: KeyPair) -> Issued:
    authority = x509.load_pem_x509_certificate(ca.crt.encode())
    builder = builder.issuer_name(authority.subject).add_extension(_key_identifier(authority), False)
    ca_key = load_key(ca.key)
    algorithm = None if isinstance(ca_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return _issued(builder.sign(ca_key, algorithm), key)


def server_certificate(ca: KeyPair, names: t.Sequence[str]) -> Issued:
    """The certificate of a configured node, issued by the cluster's Talos API CA."""
    key = ed25519.Ed25519PrivateKey.generate()
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _builder(_subject([], names[-1]), key, SERVER_LIFETIME)
        .add_extension(_usage(False), True)
        .add_extension(x509.ExtendedKeyUsage(usages), False)
        .add_extension(x509.SubjectAlternativeName([_alternative_name(name) for name in names]), False)
    )
    return _signed(builder, key, ca)


def client_certificate(ca: KeyPair, roles: t.Sequence[str], lifetime: datetime.timedelta) -> Issued:
    """A certificate for the Talos API: the organizations are its roles."""
    key = ed25519.Ed25519PrivateKey.generate()
    builder = (
        _builder(_subject(roles, ""), key, lifetime)
        .add_extension(_usage(False), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
    )
    return _signed(builder, key, ca)


def kubernetes_admin(ca: KeyPair) -> Issued:
    """The client certificate in an administrator's kubeconfig."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(_subject(["system:masters"], "admin"), key, YEAR)
        .add_extension(_usage(True), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
    )
    return _signed(builder, key, ca)


def _authority_usage() -> x509.KeyUsage:
    return x509.KeyUsage(True, False, False, False, False, True, False, False, False)


def authority(organization: str = "talos") -> KeyPair:
    """A new CA, such as that of a cluster which nobody here knows."""
    key = ed25519.Ed25519PrivateKey.generate()
    subject = _subject([organization], "")
    builder = _builder(subject, key, 10 * YEAR).issuer_name(subject)
    builder = builder.add_extension(x509.BasicConstraints(True, None), True)
    builder = builder.add_extension(_authority_usage(), True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    issued = _issued(builder.sign(key, None), key)
    return KeyPair(issued.crt.decode(), issued.key.decode())


def server_context(certificate: Issued, client_cas: t.Sequence[str]) -> ssl.SSLContext:
    """TLS as apid speaks it: 1.3, HTTP/2, and clients known by their CA where one is given."""
    context = _context(certificate)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    context.num_tickets = 0
    if client_cas:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata="\n".join(client_cas))
    return context


def kubernetes_context(certificate: Issued, client_ca: str) -> ssl.SSLContext:
    """TLS as kube-apiserver speaks it: a client without a certificate, or with an expired one, is refused by HTTP."""
    context = _context(certificate)
    context.set_alpn_protocols(["http/1.1"])
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= NO_CHECK_TIME
    context.load_verify_locations(cadata=client_ca)
    return context


def web_context(certificate: Issued) -> ssl.SSLContext:
    """TLS of a web server that knows its clients by other means."""
    return _context(certificate)


def _context(certificate: Issued) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    descriptor, path = tempfile.mkstemp()  # Python loads a chain from a file only; this one is ours alone (0600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(certificate.crt + certificate.key)
        context.load_cert_chain(path)
    finally:
        os.unlink(path)
    return context
