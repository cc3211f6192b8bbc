# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents that cannot stand beside what the v1alpha1 document says, or not on a worker."""

from __future__ import annotations

import typing as t

from rehearsal.standin.decode import Document

Content = dict[str, t.Any]
_REMOVE = "please remove it to avoid conflicts"
_USE_ONLY = "Please remove it and use only the new {} document to avoid conflicts"

# By kind: the path in the v1alpha1 document that must be absent or empty, and what Talos says otherwise.
_CONFLICTS: dict[str, list[tuple[str, str]]] = {
    "DiscoveryIdentityConfig": [
        (path, "cluster identity is already configured in .cluster.id/.cluster.secret of the v1alpha1 config")
        for path in ("cluster.id", "cluster.secret")
    ],
    "DiscoveryServiceConfig": [
        (
            "cluster.discovery",
            "discovery service is already configured in .cluster.discovery of the v1alpha1 config",
        )
    ],
    "HostnameConfig": [
        ("machine.network.hostname", "static hostname is already set in v1alpha1 config"),
        ("machine.features.stableHostname", "stable hostname is already set in v1alpha1 config"),
    ],
    "KubeAPIServerCAConfig": [
        ("cluster.ca", "kube-apiserver CA is already set in v1alpha1 config (.cluster.ca)"),
    ],
    "KubeAPIServerConfig": [
        ("cluster.apiServer", "kube-apiserver config is already set in v1alpha1 config (.cluster.apiServer)"),
        (
            "cluster.controlPlane.localAPIServerPort",
            "kube-apiserver API port is already set in v1alpha1 config (.cluster.controlPlane.localAPIServerPort)",
        ),
    ],
    "KubeAdmissionControlConfig": [
        (
            "cluster.apiServer.admissionControl",
            "admission control plugin config is already set in v1alpha1 config",
        ),
    ],
    "KubeAggregatorCAConfig": [
        (
            "cluster.aggregatorCA",
            "kube-apiserver aggregator CA is already set in v1alpha1 config (.cluster.aggregatorCA),"
            " please remove it and use the new KubeAggregatorCAConfig document instead",
        )
    ],
    "KubeAuditPolicyConfig": [
        ("cluster.apiServer.auditPolicy", "audit policy config is already set in v1alpha1 config"),
    ],
    "KubeAuthorizerConfig": [
        (
            "cluster.apiServer.admissionControl",
            "admission control plugin config is already set in v1alpha1 config",
        ),
    ],
    "KubeClusterConfig": [
        (
            "cluster.clusterName",
            "cluster name is already set in the v1alpha1 config (.cluster.clusterName). "
            + _USE_ONLY.format("KubeClusterConfig"),
        ),
        (
            "cluster.controlPlane.endpoint",
            "cluster endpoint is already set in the v1alpha1 config (.cluster.controlPlane.endpoint). "
            + _USE_ONLY.format("KubeClusterConfig"),
        ),
    ],
    "KubeControllerManagerConfig": [
        (
            "cluster.controllerManager",
            "kube-controller-manager config is already set in v1alpha1 config (.cluster.controllerManager)",
        ),
    ],
    "KubeCoreDNSConfig": [
        ("cluster.coreDNS", "CoreDNS config is already set in v1alpha1 config (.cluster.coreDNS)"),
    ],
    "KubeEtcdEncryptionConfig": [
        (path, "etcd encryption config is already set in v1alpha1 config")
        for path in ("cluster.secretboxEncryptionSecret", "cluster.aescbcEncryptionSecret")
    ],
    "KubeFlannelCNIConfig": [
        (
            "cluster.network",
            "cluster network config in v1alpha1 config (.machine.cluster.network) can't be used with"
            f" KubeFlannelCNIConfig document, {_REMOVE}",
        )
    ],
    "KubeNetworkConfig": [
        (
            "cluster.network",
            "cluster network config is already set in the v1alpha1 config (.machine.cluster.network). "
            + _USE_ONLY.format("KubeNetworkConfig"),
        )
    ],
    "KubeNodeConfig": [
        (path, f".{path} is already set in v1alpha1 config")
        for path in (
            "cluster.allowSchedulingOnControlPlanes",
            "cluster.allowSchedulingOnMasters",
            "machine.kubelet.skipNodeRegistration",
            "machine.kubelet.registerWithFQDN",
            "machine.kubelet.nodeIP",
            "machine.nodeLabels",
            "machine.nodeAnnotations",
            "machine.nodeTaints",
        )
    ],
    "KubePrismConfig": [
        (
            "machine.features.kubePrism",
            "KubePrism config in v1alpha1 config (.machine.features.kubePrism) can't be used with"
            f" KubePrismConfig document, {_REMOVE}",
        )
    ],
    "KubeProxyConfig": [
        (
            "cluster.proxy",
            "cluster proxy config in v1alpha1 config (.machine.cluster.proxy) can't be used with"
            f" KubeProxyConfig document, {_REMOVE}",
        )
    ],
    "KubeSchedulerConfig": [
        ("cluster.scheduler", "kube-scheduler config is already set in v1alpha1 config (.cluster.scheduler)"),
    ],
    "KubeServiceAccountConfig": [
        (
            "cluster.serviceAccount",
            "service account is already set in v1alpha1 config (.cluster.serviceAccount)",
        ),
    ],
    "KubeSpanConfig": [
        ("machine.network.kubespan", "kubespan is already configured in v1alpha1 machine.network.kubespan"),
    ],
    "KubeletConfig": [
        ("machine.kubelet", "kubelet config is already set in v1alpha1 config (.machine.kubelet)"),
    ],
    "ResolverConfig": [
        ("machine.network.searchDomains", ".machine.network.searchDomains is already set in v1alpha1 config"),
        ("machine.network.nameservers", ".machine.network.nameservers is already set in v1alpha1 config"),
        (
            "machine.network.disableSearchDomain",
            ".machine.network.disableSearchDomain is already set in v1alpha1 config",
        ),
    ],
    "TimeSyncConfig": [
        (
            "machine.time.disabled",
            "time sync cannot be disabled in both v1alpha1 and new-style configuration",
        ),
        (
            "machine.time.servers",
            "time servers cannot be specified in both v1alpha1 and new-style configuration",
        ),
        (
            "machine.time.bootTimeout",
            "boot timeout cannot be specified in both v1alpha1 and new-style configuration",
        ),
    ],
    "UnattendedInstallConfig": [
        (
            "machine.install",
            "UnattendedInstallConfig config is incompatible with v1alpha1 config (.machine.install)",
        )
    ],
}
# Paths that conflict also where they hold nothing.
_PRESENT_IS_ENOUGH = frozenset(
    (
        "cluster.discovery",
        "cluster.ca",
        "cluster.apiServer",
        "cluster.aggregatorCA",
        "cluster.controllerManager",
        "cluster.coreDNS",
        "cluster.network",
        "cluster.proxy",
        "cluster.scheduler",
        "cluster.serviceAccount",
        "machine.install",
        "machine.kubelet",
        "machine.kubelet.nodeIP",
        "machine.features.kubePrism",
        "machine.network.kubespan",
        "cluster.allowSchedulingOnControlPlanes",
        "cluster.allowSchedulingOnMasters",
        "machine.kubelet.skipNodeRegistration",
        "machine.kubelet.registerWithFQDN",
    )
)
_CONTROL_PLANE_ONLY = frozenset(
    (
        "KubeAPIServerConfig",
        "KubeAdmissionControlConfig",
        "KubeAggregatorCAConfig",
        "KubeAuditPolicyConfig",
        "KubeAuthenticationConfig",
        "KubeAuthorizerConfig",
        "KubeControllerManagerConfig",
        "KubeCoreDNSConfig",
        "KubeEtcdEncryptionConfig",
        "KubeFlannelCNIConfig",
        "KubeProxyConfig",
        "KubeSchedulerConfig",
        "KubeServiceAccountConfig",
        "KubeTalosAPIAccessConfig",
    )
)


def with_v1alpha1(documents: list[Document], machine: Content, cluster: Content, is_new: bool) -> list[str]:
    """At most one conflict a document, the first."""
    first = {"machine": machine, "cluster": cluster}
    errors = []
    for document in documents:
        found = _conflicts(document, first, is_new)
        errors += found[:1]
    return errors


def _conflicts(document: Document, first: Content, is_new: bool) -> list[str]:
    paths = list(_CONFLICTS.get(document.kind, []))
    if document.kind == "ResolverConfig" and is_new and document.content.get("hostDNS"):
        paths.append(("machine.features.hostDNS", ".machine.features.hostDNS is already set in v1alpha1 config"))
    return [message for path, message in paths if _is_set(first, path)]


def _is_set(first: Content, path: str) -> bool:
    value: t.Any = first
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return bool(value) or path in _PRESENT_IS_ENOUGH


def only_for_control_planes(documents: list[Document], is_control_plane: bool) -> list[str]:
    kinds = sorted({document.kind for document in documents} & _CONTROL_PLANE_ONLY)
    if is_control_plane or not kinds:
        return []
    listed = " ".join(kinds)
    return [f"the following document kinds are only allowed on control plane machines: [{listed}]"]
