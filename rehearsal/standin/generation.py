# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``gen secrets`` and ``gen config``."""

from __future__ import annotations

import base64
import os
import sys
import typing as t

from rehearsal.standin import documents, endpoints, patches
from rehearsal.standin.decode import Decoder, Document
from rehearsal.standin.encode import encode
from rehearsal.standin.errors import CommandError, several_errors
from rehearsal.standin.files import refuse_existing, write_text
from rehearsal.standin.flags import Flags
from rehearsal.standin.release import Release, contract
from rehearsal.standin.secrets_bundle import Bundle, bundle_from_configuration, load_bundle, new_bundle
from rehearsal.standin.yaml_nodes import dump

_TALOSCONFIG = "talosconfig"
_TYPES = (documents.CONTROL_PLANE, documents.WORKER, _TALOSCONFIG)
_PATCH_FLAGS = {
    documents.CONTROL_PLANE: "config-patch-control-plane",
    documents.WORKER: "config-patch-worker",
}


def gen_secrets(flags: Flags, release: Release) -> None:
    contract(flags.one("talos-version"), release)
    if flags.one("from-controlplane-config"):
        bundle = bundle_from_configuration(flags.one("from-controlplane-config"), Decoder(release))
    else:
        bundle = new_bundle(release)
    path = flags.one("output-file", "secrets.yaml")
    if path == "-":
        sys.stdout.write(dump(bundle))
        return
    refuse_existing(path, flags.is_on("force"))
    write_text(path, dump(bundle), 0o600)


def gen_config(flags: Flags, release: Release) -> None:
    endpoints.refuse_for_generation(flags.arguments[1])
    types = flags.many("output-types") or list(_TYPES)
    _refuse_types(types, flags)
    given = _input(flags, release)
    decoder = Decoder(release)
    loaded = _patches(flags, decoder)
    print("generating PKI and tokens", file=sys.stderr)
    # Talos patches both, so that a patch that fits one of them only is an error for the other too.
    patched = {machine_type: _patched(machine_type, given, loaded, decoder) for machine_type in _PATCH_FLAGS}
    commented = flags.is_on("with-docs", True) or flags.is_on("with-examples", True)
    for machine_type in _TYPES:
        if machine_type not in types:
            continue
        if machine_type == _TALOSCONFIG:
            text = _talosconfig(given.cluster_name, given.bundle)
        else:
            text = encode(patched[machine_type], decoder.known, commented)
        _write(text, _path(machine_type, types, flags), flags.is_on("force"))


def _refuse_types(types: list[str], flags: Flags) -> None:
    if len(types) > 1 and flags.one("output") == "-":
        raise CommandError("can't use multiple output types with stdout")
    unknown = [f'invalid output type: "{name}"' for name in types if name not in _TYPES]
    if unknown:
        raise CommandError(several_errors(unknown))


def _input(flags: Flags, release: Release) -> documents.Input:
    mirrors: dict[str, list[str]] = {}
    for mirror in flags.many("registry-mirror"):
        host, separator, url = mirror.partition("=")
        if not separator:
            raise CommandError(f'invalid registry mirror spec: "{mirror}"')
        mirrors.setdefault(host, []).append(url)
    version = contract(flags.one("talos-version"), release)
    bundle = load_bundle(flags.one("with-secrets")) if flags.one("with-secrets") else new_bundle(release)
    return documents.Input(
        contract=version,
        minor=release.minor,
        cluster_name=flags.arguments[0],
        endpoint=flags.arguments[1],
        bundle=bundle,
        kubernetes_version=flags.one("kubernetes-version", release.kubernetes_version).removeprefix("v"),
        install_disk=flags.one("install-disk", "/dev/sda"),
        install_image=flags.one("install-image", release.installer_image),
        dns_domain=flags.one("dns-domain", "cluster.local"),
        additional_sans=flags.many("additional-sans"),
        registry_mirrors=mirrors,
        with_cluster_discovery=flags.is_on("with-cluster-discovery", True),
        with_kubespan=flags.is_on("with-kubespan"),
    )


_Loaded = dict[str, list[t.Any]]


def _patches(flags: Flags, decoder: Decoder) -> _Loaded:
    """The patches by machine type, those for all first."""
    try:
        for_all = patches.load(flags.many("config-patch"), decoder)
        own = {machine_type: patches.load(flags.many(flag), decoder) for machine_type, flag in _PATCH_FLAGS.items()}
    except CommandError as error:
        raise CommandError(f"error parsing config JSON patch: {error}") from None
    return {machine_type: [*for_all, *loaded] for machine_type, loaded in own.items()}


def _patched(machine_type: str, given: documents.Input, loaded: _Loaded, decoder: Decoder) -> list[Document]:
    generated = documents.configuration(given, machine_type)
    try:
        return patches.apply(generated, loaded[machine_type], decoder)
    except CommandError as error:
        message = f"failed to generate config bundle: error patching configs: {error}"
        raise CommandError(message, error.code) from None


def _talosconfig(cluster_name: str, bundle: Bundle) -> str:
    from rehearsal.standin import certificates

    ca = bundle["certs"]["os"]
    pems = (base64.b64decode(ca[part]).decode() for part in ("crt", "key"))
    client = certificates.client_pair(certificates.Pair(*pems), ["os:admin"])
    crt, key = (base64.b64encode(pem.encode()).decode() for pem in client)
    context = {"endpoints": [], "ca": ca["crt"], "crt": crt, "key": key}
    return dump({"context": cluster_name, "contexts": {cluster_name: context}})


def _path(machine_type: str, types: list[str], flags: Flags) -> str:
    output = flags.one("output")
    if output == "-" or (output and len(types) == 1):
        return output
    name = _TALOSCONFIG if machine_type == _TALOSCONFIG else f"{machine_type}.yaml"
    return os.path.join(output or os.getcwd(), name)


def _write(text: str, path: str, force: bool) -> None:
    if path == "-":
        sys.stdout.write(text)
        return
    refuse_existing(path, force)
    write_text(path, text, 0o644)
    print(f"Created {path}", file=sys.stderr)
