# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The COSI resources of a node: what it says about itself."""

from __future__ import annotations

import ipaddress
import time
import typing as t
from dataclasses import dataclass

from rehearsal import readiness
from rehearsal.definitions import types_of
from rehearsal.messages import new
from rehearsal.yaml_text import as_scalar, dump

if t.TYPE_CHECKING:
    from rehearsal.configuration import MachineConfiguration
    from rehearsal.node import Node

# talosctl takes the spec for text that is itself YAML.
IS_YAML = (("talos.dev/yaml-spec", "1"),)
KERNEL = "6.18.44-talos"
NO_MAC = "00:00:00:00:00:00"
BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
# The network interface of a board: its name and its driver.
LINKS = {"rpi_4": ("end0", "bcmgenet"), "rpi_5": ("end0", "macb"), "generic": ("eth0", "virtio_net")}
CONSOLES = {"rpi_4": "ttyAMA0,115200", "rpi_5": "ttyAMA10,115200", "generic": "ttyS0"}
MACHINE_TYPES = {"controlplane": "controlplane", "init": "controlplane", "worker": "worker"}


@dataclass(frozen=True)
class Resource:
    """One resource, its spec as YAML text and, where a client decodes it, as protobuf."""

    namespace: str
    type: str
    id: str
    owner: str
    version: int
    created: float
    updated: float
    yaml_spec: str
    proto_spec: bytes = b""
    annotations: tuple[tuple[str, str], ...] = ()

    def message(self) -> t.Any:
        message = new("cosi.resource.Resource")
        metadata = message.metadata
        metadata.namespace, metadata.type, metadata.id = self.namespace, self.type, self.id
        metadata.version, metadata.owner, metadata.phase = str(self.version), self.owner, "running"
        metadata.created.FromNanoseconds(int(self.created * 1e9))
        metadata.updated.FromNanoseconds(int(self.updated * 1e9))
        for key, value in self.annotations:
            metadata.annotations.add(key=key, value=value)
        message.spec.yaml_spec, message.spec.proto_spec = self.yaml_spec, self.proto_spec
        return message


@dataclass(frozen=True)
class Content:
    """What a builder gives for one resource."""

    id: str
    owner: str
    spec: t.Any


Builder = t.Callable[["Node"], t.Iterable[Content]]


def resources(node: Node, type_name: str, only: str = "") -> list[Resource]:
    """All resources of a type, or the one with an ID."""
    if type_name == "ResourceDefinitions.meta.cosi.dev":
        return _definitions(node)
    if type_name == "MachineConfigs.config.talos.dev":
        return _machine_configs(node, only)
    contents = BUILDERS[type_name](node)
    found = [_observed(node, type_name, content) for content in contents if only in ("", content.id)]
    return sorted(found, key=lambda resource: resource.id)


def _observed(node: Node, type_name: str, content: Content) -> Resource:
    """With a version that grows each time the resource is seen to have changed."""
    now = time.time()
    key = (type_name, content.id)
    spec, version, updated = node.observed.get(key, (None, 0, now))
    if version == 0 or spec != content.spec:
        version, updated = version + 1, now
        node.observed[key] = (content.spec, version, updated)
    text = content.spec if isinstance(content.spec, str) else dump(content.spec)
    text = text if text.endswith("\n") else f"{text}\n"
    namespace = types_of(node.version)[type_name].namespace
    created = max(node.booted_at, node.made_at)
    return Resource(namespace, type_name, content.id, content.owner, version, min(created, updated), updated, text)


def _definitions(node: Node) -> list[Resource]:
    kind = "ResourceDefinitions.meta.cosi.dev"
    began = max(node.booted_at, node.made_at)
    return [
        Resource(
            "meta",
            kind,
            name.lower(),
            "meta",
            1,
            began,
            began,
            dump(entry.definition()),
            entry.definition_message(),
        )
        for name, entry in types_of(node.version).items()
    ]


def _machine_configs(node: Node, only: str) -> list[Resource]:
    record = node.record
    each = (
        ("persistent", node.stored, record.stored_version, record.stored_created, record.stored_updated),
        ("v1alpha1", node.active, record.active_version, record.active_created, record.active_updated),
    )
    return [
        _machine_config(name, configuration, version, created, updated)
        for name, configuration, version, created, updated in each
        if configuration is not None and only in ("", name)
    ]


def _machine_config(
    name: str, configuration: MachineConfiguration, version: int, created: float, updated: float
) -> Resource:
    spec = new("talos.resource.definitions.config.MachineConfigSpec", yaml_marshalled=configuration.data)
    text = as_scalar(configuration.data.decode())
    kind, proto = "MachineConfigs.config.talos.dev", bytes(spec.SerializeToString())
    return Resource("config", kind, name, "", version, created, updated, text, proto, IS_YAML)


# --- one function a type


def _machine_status(node: Node) -> t.Iterator[Content]:
    stage, ready, unmet = readiness.machine_status(node)
    conditions = [{"name": name, "reason": reason} for name, reason in unmet]
    status = {"ready": ready, "unmetConditions": conditions}
    yield Content("machine", "runtime.MachineStatusController", {"stage": stage, "status": status})


def _link(node: Node) -> tuple[str, str]:
    return LINKS.get(node.record.board, LINKS["generic"])


def _links(node: Node) -> t.Iterator[Content]:
    name, driver = _link(node)
    mac = node.record.mac
    yield Content(
        name,
        "network.LinkStatusController",
        {
            "index": 2,
            "type": "ether",
            "linkIndex": 0,
            "flags": "UP,BROADCAST,RUNNING,MULTICAST,LOWER_UP",
            "hardwareAddr": mac,
            "permanentAddr": mac,
            "broadcastAddr": BROADCAST_MAC,
            "mtu": 1500,
            "queueDisc": "mq",
            "operationalState": "up",
            "kind": "",
            "slaveKind": "",
            "driver": driver,
            "driverVersion": KERNEL,
            "linkState": True,
            "speedMbit": 1000,
            "port": "MII",
            "duplex": "Full",
        },
    )
    yield Content(
        "lo",
        "network.LinkStatusController",
        {
            "index": 1,
            "type": "loopback",
            "linkIndex": 0,
            "flags": "UP,LOOPBACK,RUNNING,LOWER_UP",
            "hardwareAddr": NO_MAC,
            "permanentAddr": "",
            "broadcastAddr": NO_MAC,
            "mtu": 65536,
            "queueDisc": "noqueue",
            "operationalState": "unknown",
            "kind": "",
            "slaveKind": "",
            "linkState": True,
            "port": "Other",
            "duplex": "Unknown",
        },
    )


def _addresses(node: Node) -> t.Iterator[Content]:
    name, _ = _link(node)
    for link, index, address, scope in (
        (name, 2, f"{node.address}/24", "global"),
        ("lo", 1, "127.0.0.1/8", "host"),
    ):
        spec = {"address": address, "linkIndex": index, "linkName": link, "family": "inet4", "scope": scope}
        spec |= {"flags": "permanent", "priority": 0}
        yield Content(f"{link}/{address}", "network.AddressStatusController", spec)


def _routes(node: Node) -> t.Iterator[Content]:
    name, _ = _link(node)
    network = ipaddress.ip_network(f"{node.address}/24", strict=False)
    gateway = str(network.network_address + 1)
    routes = (
        (f"inet4/{gateway}//1024", "", "", gateway, 1024, "global", "dhcp"),
        (f"inet4//{network}/1024", str(network), node.address, "", 1024, "link", "kernel"),
    )
    for identifier, destination, source, via, priority, scope, protocol in routes:
        spec = {"family": "inet4", "dst": destination, "src": source, "gateway": via, "outLinkIndex": 2}
        spec |= {
            "outLinkName": name,
            "table": "main",
            "priority": priority,
            "scope": scope,
            "type": "unicast",
        }
        yield Content(identifier, "network.RouteStatusController", {**spec, "flags": "", "protocol": protocol})


def _hostname(node: Node) -> t.Iterator[Content]:
    spec = {"hostname": node.hostname, "domainname": node.domain}
    yield Content("hostname", "network.HostnameSpecController", spec)


def _version(node: Node) -> t.Iterator[Content]:
    yield Content("version", "runtime.VersionController", {"name": "Talos", "version": node.version.tag})


def _time_status(node: Node) -> t.Iterator[Content]:
    synced = readiness.time_in_sync(node)
    spec = {"synced": synced, "epoch": int(synced), "syncDisabled": False}
    if node.version.minor != "1.13":
        spec |= {"spikeDetected": False, "consecutiveSpikes": 0}
    yield Content("node", "time.SyncController", spec)


def _security_state(node: Node) -> t.Iterator[Content]:
    yield Content("securitystate", "runtime.SecurityStateController", {"secureBoot": False})


def _kernel_command_line(node: Node) -> t.Iterator[Content]:
    console = CONSOLES.get(node.record.board, CONSOLES["generic"])
    words = f"talos.platform=metal console=tty0 console={console} talos.dashboard.disabled=1"
    yield Content("cmdline", "runtime.KernelCmdlineController", {"cmdline": words})


def _extensions(node: Node) -> t.Iterator[Content]:
    metadata = {"name": "schematic", "version": node.schematic, "author": "Image Factory"}
    metadata |= {
        "description": "Virtual extension which specifies the schematic of the image built with Image Factory."
    }
    spec = {"image": "", "metadata": {**metadata, "compatibility": {"talos": {"version": ""}}}}
    yield Content("0", "runtime.ExtensionStatusController", spec)


def _schematic(node: Node) -> t.Iterator[Content]:
    spec = {"schematicId": node.schematic, "flavor": "", "apiUrl": "https://factory.talos.dev/"}
    yield Content("schematic", "runtime.ImageFactorySchematicController", spec)


def _unattended_install(node: Node) -> t.Iterator[Content]:
    # A node that was booted from a disk image is installed already: Talos has no status for it.
    return iter(())


def _disks(node: Node) -> t.Iterator[Content]:
    size = node.record.disk_size
    yield Content(
        "mmcblk0",
        "block.DisksController",
        {
            "dev_path": "/dev/mmcblk0",
            "size": size,
            "pretty_size": f"{size / 1e9:.3g} GB",
            "io_size": 512,
            "sector_size": 512,
            "readonly": False,
            "cdrom": False,
            "serial": f"0x{int(node.record.mac.replace(':', '')[-8:], 16):08x}",
            "bus_path": "/platform/emmc2bus/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa",
            "sub_system": "/sys/class/block",
            "transport": "mmc",
            "symlinks": ["/dev/disk/by-path/platform-fe340000.mmc"],
        },
    )


def _system_disk(node: Node) -> t.Iterator[Content]:
    yield Content("system-disk", "block.SystemDiskController", {"diskID": "mmcblk0", "devPath": "/dev/mmcblk0"})


def _services(node: Node) -> t.Iterator[Content]:
    for state in readiness.services(node):
        if state.running:
            spec = {"running": True, "healthy": state.healthy, "unknown": state.unknown}
            yield Content(state.id, "v1alpha1.ServiceController", spec)


def _boot_id(node: Node) -> t.Iterator[Content]:
    yield Content("boot-id", "runtime.BootIDController", {"bootID": node.record.boot_id})


def _machine_type(node: Node) -> t.Iterator[Content]:
    active = node.active
    if active is not None and active.complete:
        name = MACHINE_TYPES.get(active.machine_type, "unknown")
        yield Content("machine-type", "config.MachineTypeController", name)


def _nodename(node: Node) -> t.Iterator[Content]:
    if node.configured:
        spec = {"nodename": node.nodename, "hostnameVersion": "2", "skipNodeRegistration": False}
        yield Content("nodename", "k8s.NodenameController", spec)


def _node_status(node: Node) -> t.Iterator[Content]:
    active = node.active
    if active is None or not node.services_up or not readiness.kubernetes_up(node):
        return
    labels = {"kubernetes.io/hostname": node.nodename, **active.node_labels}
    if node.is_control_plane:
        labels.setdefault("node-role.kubernetes.io/control-plane", "")
    spec = {"nodename": node.nodename, "nodeReady": readiness.node_ready(node), "unschedulable": False}
    yield Content(
        node.nodename,
        "k8s.NodeStatusController",
        {**spec, "labels": labels, "annotations": {}, "podCIDRs": []},
    )


def _members(node: Node) -> t.Iterator[Content]:
    for other in node.fleet.nodes.values():
        if other.up and other.configured and other.identity == node.identity:
            yield _member(other)


def _member(node: Node) -> Content:
    kind = "controlplane" if node.is_control_plane else "worker"
    spec: dict[str, t.Any] = {"nodeId": node.record.boot_id.replace("-", ""), "addresses": [node.address]}
    spec |= {"hostname": node.fqdn, "machineType": kind, "operatingSystem": f"Talos ({node.version.tag})"}
    if node.is_control_plane:
        spec["controlPlane"] = {"port": 6443}
    return Content(node.nodename, "cluster.MemberController", spec)


def _etcd_members(node: Node) -> t.Iterator[Content]:
    member = node.fleet.etcd.member(node)
    if member is not None and readiness.etcd(node).healthy:
        yield Content("local", "etcd.MemberController", {"memberID": member.hexadecimal})


def _static_pods(node: Node) -> t.Iterator[Content]:
    if not node.fleet.etcd.runs_on(node):
        return
    for name in readiness.STATIC_PODS:
        metadata = {"name": name, "namespace": "kube-system"}
        spec = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {"containers": [{"name": name}]},
        }
        yield Content(name, "k8s.ControlPlaneStaticPodController", spec)


def _static_pod_statuses(node: Node) -> t.Iterator[Content]:
    if not node.fleet.etcd.runs_on(node):
        return
    ready = "True" if readiness.node_ready(node) else "False"
    for name in readiness.STATIC_PODS:
        spec = {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}
        yield Content(f"kube-system/{name}-{node.nodename}", "k8s.KubeletStaticPodController", spec)


def _kubelet_spec(node: Node) -> t.Iterator[Content]:
    if node.configured:
        image = f"ghcr.io/siderolabs/kubelet:v{node.kubernetes_version}"
        yield Content("kubelet", "k8s.KubeletSpecController", {"image": image})


def _nothing(node: Node) -> t.Iterator[Content]:
    return iter(())


BUILDERS: dict[str, Builder] = {
    "AddressStatuses.net.talos.dev": _addresses,
    "BootIDs.runtime.talos.dev": _boot_id,
    "Disks.block.talos.dev": _disks,
    "EtcdMembers.etcd.talos.dev": _etcd_members,
    "ExtensionStatuses.runtime.talos.dev": _extensions,
    "HostnameStatuses.net.talos.dev": _hostname,
    "ImageFactorySchematics.runtime.talos.dev": _schematic,
    "KernelCmdlines.runtime.talos.dev": _kernel_command_line,
    "KubeletSpecs.kubernetes.talos.dev": _kubelet_spec,
    "LinkStatuses.net.talos.dev": _links,
    "MachineStatuses.runtime.talos.dev": _machine_status,
    "MachineTypes.config.talos.dev": _machine_type,
    "Members.cluster.talos.dev": _members,
    "MetaKeys.runtime.talos.dev": _nothing,
    "NodeStatuses.kubernetes.talos.dev": _node_status,
    "Nodenames.kubernetes.talos.dev": _nodename,
    "RouteStatuses.net.talos.dev": _routes,
    "SecurityStates.talos.dev": _security_state,
    "Services.v1alpha1.talos.dev": _services,
    "StaticPodStatuses.kubernetes.talos.dev": _static_pod_statuses,
    "StaticPods.kubernetes.talos.dev": _static_pods,
    "SystemDisks.block.talos.dev": _system_disk,
    "TimeStatuses.v1alpha1.talos.dev": _time_status,
    "UnattendedInstallStatuses.runtime.talos.dev": _unattended_install,
    "Versions.runtime.talos.dev": _version,
}
