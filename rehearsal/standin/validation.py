# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``validate``: the checks of Talos that catch mistakes in an inventory."""

from __future__ import annotations

import base64
import typing as t

from rehearsal.standin import conflicts, endpoints, labels
from rehearsal.standin.decode import Document
from rehearsal.standin.errors import several_errors
from rehearsal.standin.known_keys import V1ALPHA1
from rehearsal.standin.patches import refuse_conflicts
from rehearsal.standin.release import Release

MODES = ("metal", "cloud", "container")
Content = dict[str, t.Any]
_CONTROL_PLANE_TYPES = {"init": "init", "controlplane": "controlplane"}
_MACHINE_TYPES = {**_CONTROL_PLANE_TYPES, "worker": "worker", "join": "worker", "": "worker"}
_IDENTITY_REQUIRED = (
    "cluster {} (.cluster.{} or DiscoveryIdentityConfig) should be set when cluster discovery"
    " (DiscoveryServiceConfig) is enabled"
)


class _Checked(t.NamedTuple):
    documents: list[Document]
    by_kind: dict[str, Content]
    machine: Content
    cluster: Content
    is_new: bool
    mode: str

    @property
    def machine_type(self) -> str:
        """One of Talos' names, or empty where it knows none."""
        return _MACHINE_TYPES.get(self.machine.get("type", ""), "")

    @property
    def is_control_plane(self) -> bool:
        return self.machine_type in _CONTROL_PLANE_TYPES

    def host_dns(self) -> Content | None:
        document = self.by_kind.get("ResolverConfig", {}).get("hostDNS")
        return document or t.cast("Content | None", self.machine.get("features", {}).get("hostDNS"))


def validate(documents: list[Document], release: Release, mode: str, strict: bool) -> tuple[list[str], str]:
    """Warnings, and the error as Talos prints it; empty where there is none."""
    refuse_conflicts(documents)
    by_kind = {document.kind: document.content for document in documents}
    first = by_kind.get(V1ALPHA1, {})
    machine, cluster = first.get("machine"), first.get("cluster")
    checked = _Checked(documents, by_kind, machine or {}, cluster or {}, release.minor >= (1, 14), mode)
    warnings: list[str] = []
    errors: list[str] = []
    if V1ALPHA1 in by_kind:
        warnings, own_errors = _v1alpha1(checked, first)
        if strict:
            own_errors += [f"warning: {warning}" for warning in warnings]
            warnings = []
        errors += [f"v1alpha1.Config: {several_errors(own_errors)}"] if own_errors else []
    for document in documents:
        own_warnings, own_errors = _document(document)
        warnings += own_warnings
        if own_errors:
            errors.append(f"{_title(document)}: " + "\n".join(own_errors))
    if V1ALPHA1 in by_kind:
        errors += conflicts.with_v1alpha1(documents, checked.machine, checked.cluster, checked.is_new)
    errors += _whole(checked)
    return warnings, several_errors(errors) if errors else ""


def _title(document: Document) -> str:
    return f"{document.kind}/{document.name}" if document.name else document.kind


def _v1alpha1(checked: _Checked, first: Content) -> tuple[list[str], list[str]]:
    if "machine" not in first:
        return [], ["machine instructions are required"]
    warnings = []
    if checked.is_new and checked.machine.get("files"):
        warnings.append(".machine.files is deprecated; use dedicated configuration documents instead")
    given = checked.machine.get("type", "")
    if checked.machine_type and checked.machine_type != given:
        warnings.append(f'use "{checked.machine_type}" instead of "{given}" for machine type')
    errors = _cluster(checked, "cluster" in first)
    errors += _install(checked) + _old_container_mode(checked) + _forwarding(checked)
    errors += _issuing_ca(checked) + _by_machine_type(checked)
    errors += _node_errors(checked.machine, "machine node", "nodeLabels", "nodeAnnotations", "nodeTaints")
    errors += [".persist should be enabled"] if first.get("persist") is False else []
    return warnings, errors


def _cluster(checked: _Checked, given: bool) -> list[str]:
    if not given:
        return ["cluster instructions are required"]
    errors = []
    if "controlPlane" in checked.cluster or not checked.is_new:
        endpoint = checked.cluster.get("controlPlane", {}).get("endpoint", "")
        if not endpoint:
            return ["cluster controlplane endpoint is required"]
        error = endpoints.error_of(endpoint)
        errors += [f"invalid controlplane endpoint: {error}"] if error else []
    domain = checked.cluster.get("network", {}).get("dnsDomain", "")
    if domain and not _is_dns_name(domain):
        errors.append(f'"{domain}" is not a valid DNS name')
    if "etcd" in checked.cluster and not checked.is_control_plane:
        errors.append("etcd config is only allowed on control plane machines")
    if not checked.is_control_plane and checked.cluster.get("ca", {}).get("key"):
        errors.append("cluster CA key is not allowed on non-controlplane nodes (.cluster.ca)")
    return errors + _old_discovery(checked.cluster)


def _is_dns_name(name: str) -> bool:
    labels = name.rstrip("._").split(".")
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    return all(label and len(label) <= 63 and label[0] != "-" and set(label) <= allowed for label in labels)


def _old_discovery(cluster: Content) -> list[str]:
    discovery = cluster.get("discovery")
    if not discovery or not discovery.get("enabled"):
        return []
    if discovery.get("registries", {}).get("service", {}).get("disabled"):
        return []
    return [f"cluster discovery service requires .cluster.{key}" for key in ("id", "secret") if not cluster.get(key)]


def _install(checked: _Checked) -> list[str]:
    if checked.mode != "metal":
        return []
    install = checked.machine.get("install")
    if install is None:
        return [] if checked.is_new else ['install instructions are required in "metal" mode']
    errors = []
    if not install.get("disk") and not install.get("diskSelector"):
        errors.append("either install disk or diskSelector should be defined")
    if install.get("extraKernelArgs") and install.get("grubUseUKICmdline"):
        errors.append("install.extraKernelArgs and install.grubUseUKICmdline can't be used together")
    return errors


def _old_container_mode(checked: _Checked) -> list[str]:
    if checked.is_new or checked.mode != "container":
        return []
    host_dns = checked.machine.get("features", {}).get("hostDNS", {})
    where = "container mode (.machine.features.hostDNS."
    errors = []
    if not host_dns.get("enabled"):
        errors.append(f"feature HostDNS should be enabled in {where}enabled)")
    if not host_dns.get("forwardKubeDNSToHost"):
        errors.append(f"feature HostDNS should forward kube-dns to host in {where}forwardKubeDNSToHost)")
    return errors


def _forwarding(checked: _Checked) -> list[str]:
    host_dns = checked.machine.get("features", {}).get("hostDNS", {})
    if host_dns.get("forwardKubeDNSToHost") and not host_dns.get("enabled"):
        requirement = "hostDNS.enabled to be true (.machine.features.hostDNS)"
        return [f"feature hostDNS.forwardKubeDNSToHost requires {requirement}"]
    return []


def _issuing_ca(checked: _Checked) -> list[str]:
    if "ca" in checked.machine or checked.machine.get("acceptedCAs"):
        return []
    return ["issuing CA or some accepted CAs are required (.machine.ca, machine.acceptedCAs)"]


def _by_machine_type(checked: _Checked) -> list[str]:
    ca = checked.machine.get("ca")
    if not checked.machine_type:
        return [f'unknown machine type "{checked.machine["type"]}"']
    if checked.is_control_plane:
        if ca is None:
            return ["issuing CA is required (.machine.ca)"]
        missing = "issuing CA key is required for controlplane nodes (.machine.ca.key)"
        return [] if ca.get("key") else [missing]
    return _of_worker(checked, ca)


def _of_worker(checked: _Checked, ca: Content | None) -> list[str]:
    errors = []
    interfaces = checked.machine.get("network", {}).get("interfaces", [])
    if any(place.get("vip") for interface in interfaces for place in (interface, *interface.get("vlans", []))):
        errors.append("virtual (shared) IP is not allowed on non-controlplane nodes")
    if ca is not None and ca.get("key"):
        errors.append("issuing Talos API CA key is not allowed on non-controlplane nodes (.machine.ca)")
    if ca is not None and not ca.get("crt") and not checked.machine.get("acceptedCAs"):
        where = "(.machine.ca.crt, .machine.acceptedCAs)"
        errors.append(f"trusted CA certificates are required on non-controlplane nodes {where}")
    if checked.cluster.get("ca", {}).get("key"):
        errors.append("issuing Kubernetes API CA key is not allowed on non-controlplane nodes (.cluster.ca)")
    return errors


def _document(document: Document) -> tuple[list[str], list[str]]:
    warnings: list[str] = []
    content = document.content
    if document.kind == "UnattendedInstallConfig" and not content.get("installer", {}).get("image"):
        subject = "if Talos is not booted from asset built by Image Factory"
        warnings.append(f"installer.image is not set, {subject}, installation will fail")
    check = _DOCUMENT_CHECKS.get(document.kind)
    return warnings, check(content) if check else []


def _hostname(content: Content) -> list[str]:
    auto, hostname = content.get("auto"), content.get("hostname", "")
    errors = []
    if auto is None and not hostname:
        errors.append("either 'auto' or 'hostname' must be set")
    # Without 'auto' its value counts as the first of the list, talos-addr, which is not off either.
    if hostname and auto not in (None, "off"):
        errors.append("'auto' and 'hostname' cannot be set at the same time")
    if auto == "talos-addr":
        errors.append("invalid value for 'auto': talos-addr")
    if len(hostname) > 253:
        errors.append(f"fqdn is too long: {len(hostname)}")
    label = hostname.partition(".")[0]
    if hostname and not 1 <= len(label) <= 63:
        errors.append(f'invalid hostname "{label}"')
    return errors


def _node_errors(content: Content, words: str, labels_key: str, annotations_key: str, taints_key: str) -> list[str]:
    found = {
        "labels": labels.label_errors(content.get(labels_key, {})),
        "annotations": labels.annotation_errors(content.get(annotations_key, {})),
        "taints": labels.taint_errors(content.get(taints_key, {})),
    }
    return [f"invalid {words} {what}: {several_errors(errors)}" for what, errors in found.items() if errors]


def _kube_node(content: Content) -> list[str]:
    return _node_errors(content, "node", "labels", "annotations", "taints")


def _unattended_install(content: Content) -> list[str]:
    match = content.get("provisioning", {}).get("diskSelector", {}).get("match")
    return [] if match else ["provisioning.volumeSelector.match is required"]


def _kube_cluster(content: Content) -> list[str]:
    errors = [] if content.get("clusterName") else ["clusterName must be specified"]
    if not content.get("endpoint"):
        return [*errors, "endpoint must be specified"]
    error = endpoints.error_of(content["endpoint"])
    return [*errors, f"cluster endpoint is invalid: {error}"] if error else errors


def _discovery_identity(content: Content) -> list[str]:
    for key in ("clusterID", "clusterSecret"):
        if not content.get(key):
            return [f"{key} is required"]
    secret = content["clusterSecret"]
    try:
        length = len(base64.b64decode(secret, validate=True))
    except ValueError:
        return [f"invalid clusterSecret: failed to decode from base64: {secret}"]
    return [] if length == 32 else [f"invalid clusterSecret: expected 32 bytes, got {length}: {secret}"]


def _kube_network(content: Content) -> list[str]:
    sizes = {}
    errors = []
    for key, words in (("podSubnets", "pod subnets"), ("serviceSubnets", "service subnets")):
        sizes[key] = len(content.get(key, []))
        if not sizes[key]:
            errors.append(f"{words}: at least one subnet must be specified")
        elif sizes[key] > 2:
            errors.append(f"{words}: at most two subnets can be specified for dual-stack clusters")
    if len(set(sizes.values())) > 1:
        errors.append("the number of pod subnets must match the number of service subnets")
    return errors


def _kubeprism(content: Content) -> list[str]:
    port = content.get("port", 0)
    return [] if 0 < port <= 65535 else [f"invalid port {port}: must be in range 1-65535"]


def _kubelet(content: Content) -> list[str]:
    return [] if content.get("image") else ["kubelet image cannot be empty"]


def _api_server(content: Content) -> list[str]:
    return [] if content.get("image") else ["kube-apiserver image cannot be empty"]


_DOCUMENT_CHECKS: dict[str, t.Callable[[Content], list[str]]] = {
    "DiscoveryIdentityConfig": _discovery_identity,
    "HostnameConfig": _hostname,
    "KubeAPIServerConfig": _api_server,
    "KubeClusterConfig": _kube_cluster,
    "KubeNetworkConfig": _kube_network,
    "KubeNodeConfig": _kube_node,
    "KubePrismConfig": _kubeprism,
    "KubeletConfig": _kubelet,
    "UnattendedInstallConfig": _unattended_install,
}


def _whole(checked: _Checked) -> list[str]:
    """What only the documents together tell; 1.13 has no such checks."""
    if not checked.is_new:
        return []
    errors = _container_mode(checked)
    if "DiscoveryServiceConfig" in checked.by_kind and "discovery" not in checked.cluster:
        errors += _identity(checked)
    errors += _etcd_encryption(checked)
    return errors + conflicts.only_for_control_planes(checked.documents, checked.is_control_plane)


def _container_mode(checked: _Checked) -> list[str]:
    if checked.mode != "container":
        return []
    host_dns = checked.host_dns()
    if host_dns is None:
        return ["hostDNS config is required in container mode"]
    errors = []
    if not host_dns.get("enabled"):
        errors.append("hostDNS must be enabled in container mode")
    if not host_dns.get("forwardKubeDNSToHost"):
        errors.append("forwardKubeDNSToHost must be enabled in container mode")
    return errors


def _identity(checked: _Checked) -> list[str]:
    identity = checked.by_kind.get("DiscoveryIdentityConfig", {})
    legacy = checked.cluster if checked.cluster.get("id") or checked.cluster.get("secret") else {}
    errors = []
    for word, key, document_key in (("ID", "id", "clusterID"), ("secret", "secret", "clusterSecret")):
        if not (legacy.get(key) if legacy else identity.get(document_key)):
            errors.append(_IDENTITY_REQUIRED.format(word, key))
    return errors


def _etcd_encryption(checked: _Checked) -> list[str]:
    runs_api_server = "KubeAPIServerCAConfig" in checked.by_kind or "ca" in checked.cluster
    legacy = checked.cluster.get("secretboxEncryptionSecret") or checked.cluster.get("aescbcEncryptionSecret")
    if not checked.is_control_plane or not runs_api_server or legacy:
        return []
    if "KubeEtcdEncryptionConfig" in checked.by_kind:
        return []
    return ["etcd encryption config is required for control plane machines running kube-apiserver"]
