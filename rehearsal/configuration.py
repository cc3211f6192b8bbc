# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine configuration as its node understands it."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
import typing as t
from dataclasses import dataclass, field

from rehearsal.standin.decode import Decoder, Document
from rehearsal.standin.encode import encode
from rehearsal.standin.errors import CommandError
from rehearsal.standin.known_keys import V1ALPHA1
from rehearsal.standin.release import Release
from rehearsal.standin.validation import validate
from rehearsal.versions import TalosVersion

Content = dict[str, t.Any]
# Where a Raspberry Pi boots from its card.
PLATFORM = "metal"
# The schematics of images without customization, which a node reports when its configuration names no factory image.
VANILLA_SCHEMATICS = {
    "generic": "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba",
    "rpi_4": "ee21ef4a5ef808a9b7484cc0dda0f25075021691c8c09a276591eedb638ea1f9",
    "rpi_5": "a636242df247ad4aad2e36d1026d8d4727b716a3061749bd7b19651e548f65e4",
}


class InvalidConfiguration(Exception):
    """A configuration that Talos refuses; the text is Talos' own."""


@dataclass(frozen=True)
class KeyPair:
    """A certificate and, where the configuration has it, its key (both PEM)."""

    crt: str
    key: str


@dataclass(frozen=True)
class MachineConfiguration:
    """The documents of one configuration, and the exact bytes they came in."""

    data: bytes
    documents: tuple[Document, ...] = field(repr=False)
    _decoder: Decoder = field(repr=False)

    @classmethod
    def parse(cls, data: bytes, version: TalosVersion) -> MachineConfiguration:
        """What Talos makes of the bytes; ``InvalidConfiguration`` in its words."""
        return _parse(data, version)

    def require_valid(self) -> list[str]:
        """Talos' warnings; ``InvalidConfiguration`` for what it refuses."""
        try:
            warnings, error = validate(list(self.documents), self._decoder.release, PLATFORM, strict=False)
        except CommandError as problem:
            raise InvalidConfiguration(str(problem)) from None
        if error:
            raise InvalidConfiguration(error)
        return warnings

    @functools.cached_property
    def v1alpha1(self) -> Content | None:
        return next((document.content for document in self.documents if document.kind == V1ALPHA1), None)

    def of_kind(self, kind: str) -> Content:
        return next((document.content for document in self.documents if document.kind == kind), {})

    def section(self, *path: str) -> t.Any:
        """What stands at a path of the v1alpha1 document, None where nothing does."""
        value: t.Any = self.v1alpha1
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    @property
    def complete(self) -> bool:
        """Documents alone, without v1alpha1, leave the node in maintenance."""
        return self.v1alpha1 is not None

    @property
    def machine_type(self) -> str:
        return str(self.section("machine", "type") or "worker")

    @property
    def is_control_plane(self) -> bool:
        return self.machine_type in ("controlplane", "init")

    @functools.cached_property
    def hostname(self) -> str:
        """The static hostname; empty where the configuration names none, and Talos makes one up."""
        static = self.of_kind("HostnameConfig").get("hostname") or self.section("machine", "network", "hostname")
        return str(static) if static else ""

    @functools.cached_property
    def talos_ca(self) -> KeyPair:
        return _from_base64(self.section("machine", "ca"))

    @property
    def accepted_cas(self) -> list[str]:
        return [_from_base64(entry).crt for entry in self.section("machine", "acceptedCAs") or []]

    @property
    def cert_sans(self) -> list[str]:
        return [str(name) for name in self.section("machine", "certSANs") or []]

    @property
    def kubernetes_sans(self) -> list[str]:
        """Further names of kube-apiserver."""
        return [str(name) for name in self.section("cluster", "apiServer", "certSANs") or []]

    @functools.cached_property
    def kubernetes_ca(self) -> KeyPair:
        issuing = self.of_kind("KubeAPIServerCAConfig").get("issuingCA")
        if issuing:
            return KeyPair(str(issuing.get("cert", "")), str(issuing.get("key", "")))
        return _from_base64(self.section("cluster", "ca"))

    @functools.cached_property
    def etcd_ca(self) -> KeyPair:
        return _from_base64(self.section("cluster", "etcd", "ca"))

    @functools.cached_property
    def identity(self) -> str:
        """Nodes with the same identity belong to one cluster, whatever it is called."""
        return hashlib.sha256(self.talos_ca.crt.encode()).hexdigest()

    @property
    def cluster_name(self) -> str:
        return str(self.of_kind("KubeClusterConfig").get("clusterName") or self.section("cluster", "clusterName") or "")

    @property
    def endpoint(self) -> str:
        document = self.of_kind("KubeClusterConfig").get("endpoint")
        return str(document or self.section("cluster", "controlPlane", "endpoint") or "")

    @property
    def kubernetes_version(self) -> str:
        image = self.of_kind("KubeletConfig").get("image") or self.section("machine", "kubelet", "image") or ""
        return str(image).partition("@")[0].rpartition(":")[2].removeprefix("v")

    @property
    def installer_image(self) -> str:
        document = self.of_kind("UnattendedInstallConfig").get("installer") or {}
        return str(document.get("image") or self.section("machine", "install", "image") or "")

    def schematic(self, board: str) -> str:
        """The factory's schematic in the installer's reference, else the board's vanilla one."""
        found = re.search(r"/([0-9a-f]{64})[:@]", self.installer_image)
        return found.group(1) if found else VANILLA_SCHEMATICS.get(board, VANILLA_SCHEMATICS["generic"])

    @property
    def node_labels(self) -> dict[str, str]:
        labels = dict(self.section("machine", "nodeLabels") or {})
        labels.update(self.of_kind("KubeNodeConfig").get("labels") or {})
        return {str(key): str(value) for key, value in labels.items()}

    @property
    def node_taints(self) -> dict[str, str]:
        """``NoSchedule`` or ``value:NoSchedule`` by key. Up to 1.13 Talos taints control planes by itself."""
        taints = dict(self.section("machine", "nodeTaints") or {})
        taints.update(self.of_kind("KubeNodeConfig").get("taints") or {})
        scheduled = self.section("cluster", "allowSchedulingOnControlPlanes")
        if self.is_control_plane and not self.of_kind("KubeNodeConfig") and not scheduled:
            taints.setdefault("node-role.kubernetes.io/control-plane", "NoSchedule")
        return {str(key): str(value) for key, value in taints.items()}

    @functools.cached_property
    def normal_text(self) -> str:
        """The documents written anew, without comments: what Talos compares and shows as a difference."""
        return encode(list(self.documents), self._decoder.known)

    def v1alpha1_text(self, content: Content) -> str:
        """The same of such a document with this content."""
        return encode([Document("", V1ALPHA1, "", content)], self._decoder.known)


def _from_base64(pair: t.Any) -> KeyPair:
    pair = pair if isinstance(pair, dict) else {}
    return KeyPair(*(base64.b64decode(pair.get(part) or "").decode(errors="replace") for part in ("crt", "key")))


@functools.cache
def _decoder(version: TalosVersion) -> Decoder:
    major, minor = version.minor.split(".")
    return Decoder(Release(version.tag, (int(major), int(minor))))


def _parse(data: bytes, version: TalosVersion) -> MachineConfiguration:
    decoder = _decoder(version)
    try:
        return MachineConfiguration(data, tuple(decoder.configuration(data.decode())), decoder)
    except UnicodeDecodeError:
        raise InvalidConfiguration("decode error: yaml: invalid leading UTF-8 octet") from None
    except CommandError as problem:
        raise InvalidConfiguration(str(problem)) from None
