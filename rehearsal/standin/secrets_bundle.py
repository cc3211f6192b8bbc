# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The secrets of a cluster: made, checked, read and recovered from a control plane's configuration."""

from __future__ import annotations

import base64
import secrets
import string
import typing as t

import yaml

from rehearsal.standin.decode import Decoder
from rehearsal.standin.errors import CommandError, several_errors
from rehearsal.standin.files import read_text
from rehearsal.standin.known_keys import V1ALPHA1
from rehearsal.standin.release import Release
from rehearsal.standin.yaml_nodes import plain

Bundle = dict[str, t.Any]
_ENCRYPTION = ("secretboxencryptionsecret", "aescbcencryptionsecret")


def new_bundle(release: Release) -> Bundle:
    from rehearsal.standin import certificates

    encode_id = base64.urlsafe_b64encode if release.minor < (1, 14) else base64.b64encode
    return {
        "cluster": {"id": encode_id(secrets.token_bytes(32)).decode(), "secret": _random_base64()},
        "secrets": {"bootstraptoken": _token(), "secretboxencryptionsecret": _random_base64()},
        "trustdinfo": {"token": _token()},
        "certs": {
            "etcd": _pair(certificates.kubernetes_ca("etcd")),
            "k8s": _pair(certificates.kubernetes_ca("kubernetes")),
            "k8saggregator": _pair(certificates.kubernetes_ca("")),
            "k8sserviceaccount": {"key": _base64(certificates.service_account_key())},
            "os": _pair(certificates.talos_ca()),
        },
    }


def load_bundle(path: str) -> Bundle:
    try:
        node = yaml.compose(read_text(path), Loader=yaml.CSafeLoader)
        bundle = plain(node) if node else {}
    except (CommandError, yaml.YAMLError) as error:
        raise CommandError(f"failed to load secrets bundle: {error}") from None
    if not isinstance(bundle, dict):
        raise CommandError("failed to load secrets bundle: yaml: construct errors: cannot construct into Bundle")
    errors = _errors(bundle)
    if errors:
        raise CommandError(f"failed to validate secrets bundle: {several_errors(errors)}")
    return bundle


def _errors(bundle: Bundle) -> list[str]:
    errors = _missing(bundle, "cluster", ("id", "secret"))
    errors += _missing(bundle, "secrets", ("bootstraptoken",))
    if bundle.get("secrets"):
        given = [key for key in _ENCRYPTION if bundle["secrets"].get(key)]
        names = ", ".join(f"secrets.{key}" for key in _ENCRYPTION)
        if not given:
            errors.append(f"one of [{names}] is required")
        elif len(given) > 1:
            errors.append(f"only one of [{names}] is allowed")
    errors += _missing(bundle, "trustdinfo", ("token",))
    return errors + _certificate_errors(bundle.get("certs"))


def _missing(bundle: Bundle, section: str, keys: tuple[str, ...]) -> list[str]:
    if not bundle.get(section):
        return [f"{section} is required"]
    return [f"{section}.{key} is required" for key in keys if not bundle[section].get(key)]


def _certificate_errors(certs: t.Any) -> list[str]:
    if not certs:
        return ["certs is required"]
    errors = []
    for name in ("etcd", "k8s", "k8saggregator", "k8sserviceaccount", "os"):
        if not certs.get(name):
            errors.append(f"certs.{name} is required")
            continue
        for part in ("key",) if name == "k8sserviceaccount" else ("crt", "key"):
            if not _is_pem(certs[name].get(part)):
                what = f"certs.{name}.key" if name == "k8sserviceaccount" else f"certs.{name}"
                errors.append(f"{what} is invalid: failed to parse PEM block")
                break
    return errors


def _is_pem(value: t.Any) -> bool:
    try:
        return base64.b64decode(str(value), validate=True).startswith(b"-----BEGIN ")
    except ValueError:
        return False


def bundle_from_configuration(path: str, decoder: Decoder) -> Bundle:
    try:
        documents = decoder.configuration(read_text(path))
    except CommandError as error:
        raise CommandError(f"failed to load controlplane config: {error}") from None
    by_kind = {document.kind: document.content for document in documents}
    sections = by_kind.get(V1ALPHA1, {})
    if "machine" not in sections or "cluster" not in sections or _lacks_service_account(by_kind, decoder):
        # Talos does not look before it reads.
        raise CommandError("panic: runtime error: invalid memory address or nil pointer dereference", code=2)
    return _recovered(by_kind)


def _lacks_service_account(by_kind: dict[str, t.Any], decoder: Decoder) -> bool:
    """As a worker does, at which 1.14 dies; 1.13 writes a bundle with holes."""
    given = "KubeServiceAccountConfig" in by_kind or "serviceAccount" in by_kind[V1ALPHA1]["cluster"]
    return decoder.release.minor >= (1, 14) and not given


def _recovered(by_kind: dict[str, t.Any]) -> Bundle:
    machine = by_kind[V1ALPHA1]["machine"]
    cluster = by_kind[V1ALPHA1]["cluster"]
    identity = by_kind.get("DiscoveryIdentityConfig", {})
    issuer = by_kind.get("KubeServiceAccountConfig", {}).get("issuer", {})
    secret = cluster.get("secretboxEncryptionSecret") or _secretbox(by_kind.get("KubeEtcdEncryptionConfig", {}))
    encryption = {
        "aescbcencryptionsecret": cluster.get("aescbcEncryptionSecret"),
        "secretboxencryptionsecret": secret,
    }
    return {
        "cluster": {
            "id": identity.get("clusterID") or cluster.get("id", ""),
            "secret": identity.get("clusterSecret") or cluster.get("secret", ""),
        },
        "secrets": {
            "bootstraptoken": cluster.get("token", ""),
            **{key: value for key, value in encryption.items() if value},
        },
        "trustdinfo": {"token": machine.get("token", "")},
        "certs": {
            "etcd": cluster.get("etcd", {}).get("ca"),
            "k8s": _issuing(by_kind, "KubeAPIServerCAConfig") or cluster.get("ca"),
            "k8saggregator": _issuing(by_kind, "KubeAggregatorCAConfig") or cluster.get("aggregatorCA"),
            "k8sserviceaccount": ({"key": _base64(issuer["privateKey"])} if issuer else cluster.get("serviceAccount")),
            "os": machine.get("ca"),
        },
    }


def _issuing(by_kind: dict[str, t.Any], kind: str) -> dict[str, str] | None:
    ca = by_kind.get(kind, {}).get("issuingCA")
    return {"crt": _base64(ca["cert"]), "key": _base64(ca["key"])} if ca else None


def _secretbox(encryption: dict[str, t.Any]) -> str:
    """The secret of the first provider that encrypts secrets."""
    for resource in encryption.get("config", {}).get("resources", []):
        if "secrets" in resource.get("resources", []) and resource.get("providers"):
            keys = resource["providers"][0].get("secretbox", {}).get("keys", [])
            if keys:
                return str(keys[0]["secret"])
    return ""


def _pair(pair: t.Any) -> dict[str, str]:
    return {"crt": _base64(pair.crt), "key": _base64(pair.key)}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _random_base64() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def _token() -> str:
    letters = string.ascii_lowercase + string.digits
    first, second = ("".join(secrets.choice(letters) for _ in range(length)) for length in (6, 16))
    return f"{first}.{second}"
