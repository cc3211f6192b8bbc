# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documents of a generated configuration: contract 1.14 splits what contracts before it keep together."""

from __future__ import annotations

import base64
import typing as t

from rehearsal.standin.decode import Document
from rehearsal.standin.known_keys import V1ALPHA1
from rehearsal.standin.secrets_bundle import Bundle

Content = dict[str, t.Any]
CONTROL_PLANE, WORKER = "controlplane", "worker"
_ROLE_LABEL = "node-role.kubernetes.io/control-plane"
_NO_BALANCER_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"
_POD_SUBNETS, _SERVICE_SUBNETS = ["10.244.0.0/16"], ["10.96.0.0/12"]
_KUBEPRISM_PORT = 7445
_HOST_DNS = {"enabled": True, "forwardKubeDNSToHost": True}
_POD_SECURITY = {
    "apiVersion": "pod-security.admission.config.k8s.io/v1alpha1",
    "kind": "PodSecurityConfiguration",
    "defaults": {
        "enforce": "baseline",
        "enforce-version": "latest",
        "audit": "restricted",
        "audit-version": "latest",
        "warn": "restricted",
        "warn-version": "latest",
    },
    "exemptions": {"usernames": [], "runtimeClasses": [], "namespaces": ["kube-system"]},
}
_AUDIT_POLICY = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}
_AUTHENTICATION = {
    "anonymous": {
        "enabled": True,
        "conditions": [{"path": "/livez"}, {"path": "/readyz"}, {"path": "/healthz"}],
    },
    "jwt": [],
}


class Input(t.NamedTuple):
    contract: tuple[int, int]
    # Of the talosctl itself.
    minor: tuple[int, int]
    cluster_name: str
    endpoint: str
    bundle: Bundle
    kubernetes_version: str
    install_disk: str
    install_image: str
    dns_domain: str
    additional_sans: list[str]
    registry_mirrors: dict[str, list[str]]
    with_cluster_discovery: bool
    with_kubespan: bool


def configuration(given: Input, machine_type: str) -> list[Document]:
    control_plane = machine_type == CONTROL_PLANE
    if given.contract < (1, 14):
        v1alpha1 = _old_v1alpha1(given, machine_type)
        return [v1alpha1, *_registry_mirrors(given), *_network(given)]
    documents = [_v1alpha1(given, machine_type), *_discovery(given), *_machine(given)]
    documents += [*_registry_mirrors(given), *_network(given), *_kubernetes(given, control_plane)]
    return [*documents, *_control_plane(given)] if control_plane else documents


def _document(kind: str, /, name: str = "", **content: t.Any) -> Document:
    named = {"name": name} if name else {}
    return Document(V1ALPHA1, kind, name, {"apiVersion": V1ALPHA1, "kind": kind, **named, **content})


def _v1alpha1_document(machine: Content, cluster: Content) -> Document:
    content = {"version": V1ALPHA1, "debug": False, "persist": True, "machine": machine, "cluster": cluster}
    return Document("", V1ALPHA1, "", content)


def _machine_section(given: Input, machine_type: str) -> Content:
    ca = given.bundle["certs"]["os"]
    return {
        **({} if machine_type == CONTROL_PLANE else {"registries": {}}),
        "type": machine_type,
        "token": given.bundle["trustdinfo"]["token"],
        "ca": dict(ca) if machine_type == CONTROL_PLANE else {"crt": ca["crt"]},
        "certSANs": list(given.additional_sans),
        "features": {"diskQuotaSupport": True},
    }


def _v1alpha1(given: Input, machine_type: str) -> Document:
    cluster: Content = {"token": given.bundle["secrets"]["bootstraptoken"]}
    if machine_type == CONTROL_PLANE:
        cluster["etcd"] = {"ca": dict(given.bundle["certs"]["etcd"])}
    return _v1alpha1_document(_machine_section(given, machine_type), cluster)


def _discovery(given: Input) -> list[Document]:
    service = _document("DiscoveryServiceConfig", "default", endpoint="https://discovery.talos.dev/")
    ids = given.bundle["cluster"]
    identity = _document("DiscoveryIdentityConfig", clusterID=ids["id"], clusterSecret=ids["secret"])
    return [service, identity] if given.with_cluster_discovery else [identity]


def _machine(given: Input) -> list[Document]:
    install = []
    if given.install_disk:
        match = f'disk.dev_path == "{given.install_disk}"'
        provisioning = {"diskSelector": {"match": match}, "wipe": False}
        installer = {"image": given.install_image}
        install = [_document("UnattendedInstallConfig", installer=installer, provisioning=provisioning)]
    return [
        *install,
        _document("ResolverConfig", hostDNS=dict(_HOST_DNS)),
        _document("VolumeConfig", "EPHEMERAL", mount={"secure": True}),
        _document("FilesystemTrimConfig", interval="168h0m0s"),
        _document("SecurityProfileConfig", workloadIsolation=True),
    ]


def _registry_mirrors(given: Input) -> list[Document]:
    return [
        _document("RegistryMirrorConfig", host, endpoints=[{"url": url} for url in urls])
        for host, urls in sorted(given.registry_mirrors.items())
    ]


def _network(given: Input) -> list[Document]:
    hostname = _document("HostnameConfig", auto="stable")
    if given.with_kubespan and given.contract >= (1, 13):
        return [hostname, _document("KubeSpanConfig", enabled=True)]
    return [hostname]


def _kubernetes(given: Input, control_plane: bool) -> list[Document]:
    ca = _pem_pair(given.bundle["certs"]["k8s"])
    node: Content = {}
    if control_plane:
        node = {
            "labels": {_ROLE_LABEL: "", _NO_BALANCER_LABEL: ""},
            "taints": {_ROLE_LABEL: "NoSchedule"},
        }
    return [
        _document("KubeClusterConfig", clusterName=given.cluster_name, endpoint=given.endpoint),
        _document("KubeNodeConfig", **node),
        _document("KubeletConfig", image=_kubelet(given), defaultRuntimeSeccompProfileEnabled=True),
        _document("KubeNetworkConfig", **_subnets(given)),
        _document("KubeAPIServerCAConfig", **({"issuingCA": ca} if control_plane else {"acceptedCAs": [ca["cert"]]})),
        _document("KubePrismConfig", port=_KUBEPRISM_PORT),
    ]


def _control_plane(given: Input) -> list[Document]:
    certs = given.bundle["certs"]
    issuer = {"privateKey": _pem(certs["k8sserviceaccount"]["key"]), "issuerURL": given.endpoint}
    api_server: Content = {"image": _kubernetes_image(given, "kube-apiserver")}
    if given.additional_sans:
        api_server["certExtraSANs"] = list(given.additional_sans)
    return [
        _document("KubeAggregatorCAConfig", issuingCA=_pem_pair(certs["k8saggregator"])),
        _document("KubeAdmissionControlConfig", "PodSecurity", configuration=_POD_SECURITY),
        _document("KubeAuditPolicyConfig", configuration=_AUDIT_POLICY),
        _document("KubeAuthenticationConfig", configuration=_AUTHENTICATION),
        _document("KubeAuthorizerConfig", "node", type="Node"),
        _document("KubeAuthorizerConfig", "rbac", type="RBAC"),
        _document("KubeEtcdEncryptionConfig", config=_etcd_encryption(given.bundle["secrets"])),
        _document("KubeServiceAccountConfig", issuer=issuer),
        _document("KubeAPIServerConfig", **api_server),
        _document("KubeControllerManagerConfig", image=_kubernetes_image(given, "kube-controller-manager")),
        _document("KubeSchedulerConfig", image=_kubernetes_image(given, "kube-scheduler")),
        _document("KubeProxyConfig", image=_kubernetes_image(given, "kube-proxy")),
        _document("KubeFlannelCNIConfig", backendType="vxlan", backendPort=4789),
        _document("KubeCoreDNSConfig", enabled=True),
    ]


def _etcd_encryption(of: Content) -> Content:
    named = (("key2", of.get("secretboxencryptionsecret")), ("key1", of.get("aescbcencryptionsecret")))
    providers = [{"secretbox": {"keys": [{"name": name, "secret": key}]}} for name, key in named if key]
    return {"resources": [{"providers": providers, "resources": ["secrets"]}]}


def _old_v1alpha1(given: Input, machine_type: str) -> Document:
    machine = _machine_section(given, machine_type)
    machine["kubelet"] = {
        "image": _kubelet(given),
        "defaultRuntimeSeccompProfileEnabled": True,
        "disableManifestsDirectory": True,
    }
    machine["install"] = _old_install(given)
    machine["features"]["kubePrism"] = {"enabled": True, "port": _KUBEPRISM_PORT}
    machine["features"]["hostDNS"] = dict(_HOST_DNS)
    if given.contract < (1, 13):
        machine["network"] = {"kubespan": {"enabled": True}} if given.with_kubespan else {}
    cluster = _old_cluster(given)
    if machine_type == CONTROL_PLANE:
        if given.minor < (1, 14):
            cluster |= {"extraManifests": [], "inlineManifests": []}
        machine["nodeLabels"] = {_NO_BALANCER_LABEL: ""}
        cluster |= _old_control_plane(given)
    return _v1alpha1_document(machine, cluster)


def _old_install(given: Input) -> Content:
    install: Content = {"wipe": False, "grubUseUKICmdline": True}
    if given.install_disk:
        install["disk"] = given.install_disk
    if given.install_image:
        install["image"] = given.install_image
    return install


def _old_cluster(given: Input) -> Content:
    return {
        "id": given.bundle["cluster"]["id"],
        "secret": given.bundle["cluster"]["secret"],
        "controlPlane": {"endpoint": given.endpoint},
        "clusterName": given.cluster_name,
        "network": _subnets(given),
        "token": given.bundle["secrets"]["bootstraptoken"],
        "ca": {"crt": given.bundle["certs"]["k8s"]["crt"]},
        "discovery": {
            "enabled": given.with_cluster_discovery,
            "registries": {"kubernetes": {"disabled": True}},
        },
    }


def _old_control_plane(given: Input) -> Content:
    certs = given.bundle["certs"]
    api_server = {
        "image": _kubernetes_image(given, "kube-apiserver"),
        "admissionControl": [{"name": "PodSecurity", "configuration": _POD_SECURITY}],
        "auditPolicy": _AUDIT_POLICY,
        "certSANs": list(given.additional_sans),
    }
    return {
        "secretboxEncryptionSecret": given.bundle["secrets"].get("secretboxencryptionsecret", ""),
        "ca": dict(certs["k8s"]),
        "aggregatorCA": dict(certs["k8saggregator"]),
        "serviceAccount": dict(certs["k8sserviceaccount"]),
        "apiServer": api_server,
        "controllerManager": {"image": _kubernetes_image(given, "kube-controller-manager")},
        "proxy": {"image": _kubernetes_image(given, "kube-proxy")},
        "scheduler": {"image": _kubernetes_image(given, "kube-scheduler")},
        "etcd": {"ca": dict(certs["etcd"])},
    }


def _subnets(given: Input) -> Content:
    return {
        "dnsDomain": given.dns_domain,
        "podSubnets": list(_POD_SUBNETS),
        "serviceSubnets": list(_SERVICE_SUBNETS),
    }


def _kubelet(given: Input) -> str:
    return f"ghcr.io/siderolabs/kubelet:v{given.kubernetes_version}"


def _kubernetes_image(given: Input, name: str) -> str:
    return f"registry.k8s.io/{name}:v{given.kubernetes_version}"


def _pem_pair(pair: Content) -> Content:
    return {"cert": _pem(pair["crt"]), "key": _pem(pair["key"])}


def _pem(encoded: str) -> str:
    return base64.b64decode(encoded).decode()
