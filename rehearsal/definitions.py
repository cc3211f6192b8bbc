# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The COSI resource types that the nodes serve, and the definitions by which talosctl finds them."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from rehearsal.messages import new
from rehearsal.versions import TalosVersion

SENSITIVE = "sensitive"


@dataclass(frozen=True)
class ResourceType:
    """A type: its name, display name, namespace, aliases, and the columns of talosctl's table."""

    type: str
    display: str
    namespace: str
    aliases: tuple[str, ...]
    columns: tuple[tuple[str, str], ...] = ()
    sensitive: bool = False
    since_1_14: bool = False

    def definition(self) -> dict[str, t.Any]:
        """The spec of its ResourceDefinition."""
        name, *suffix = self.type.lower().split(".")
        lengths = range(len(suffix))
        every = [".".join([name, *suffix[:length]]) for length in lengths] + list(self.aliases)
        spec: dict[str, t.Any] = {
            "type": self.type,
            "displayType": self.display,
            "defaultNamespace": self.namespace,
            "aliases": list(self.aliases),
            "allAliases": every,
            "printColumns": [{"name": title, "jsonPath": path} for title, path in self.columns],
        }
        return {**spec, "sensitivity": SENSITIVE} if self.sensitive else spec

    def definition_message(self) -> bytes:
        spec = self.definition()
        columns = [new("cosi.resource.meta.PrintColumn", name=name, json_path=path) for name, path in self.columns]
        message = new(
            "cosi.resource.meta.ResourceDefinitionSpec",
            resource_type=self.type,
            display_type=self.display,
            default_namespace=self.namespace,
            aliases=spec["aliases"],
            all_aliases=spec["allAliases"],
            print_columns=columns,
            sensitivity=1 if self.sensitive else 0,
        )
        return bytes(message.SerializeToString())


def _type(
    full: str,
    display: str,
    namespace: str,
    aliases: str,
    columns: str = "",
    *,
    sensitive: bool = False,
    new_type: bool = False,
) -> ResourceType:
    pairs = (column.split("=", 1) for column in columns.split("; ") if column)
    return ResourceType(
        full,
        display,
        namespace,
        tuple(aliases.split()),
        tuple((title, f"{{{path}}}") for title, path in pairs),
        sensitive,
        new_type,
    )


TYPES: dict[str, ResourceType] = {
    entry.type: entry
    for entry in (
        _type(
            "AddressStatuses.net.talos.dev",
            "AddressStatus",
            "network",
            "address addresses addressstatus as",
            "Address=.address; Link=.linkName",
        ),
        _type(
            "BootIDs.runtime.talos.dev",
            "BootID",
            "runtime",
            "bootid bid bids",
            "Boot ID=.bootID",
            new_type=True,
        ),
        _type(
            "Disks.block.talos.dev",
            "Disk",
            "runtime",
            "disk",
            "Size=.pretty_size; Read Only=.readonly; Transport=.transport; Rotational=.rotational; WWID=.wwid; "
            "Model=.model; Serial=.serial",
        ),
        _type("EtcdMembers.etcd.talos.dev", "EtcdMember", "etcd", "etcdmember em ems", "Member ID=.memberID"),
        _type(
            "ExtensionStatuses.runtime.talos.dev",
            "ExtensionStatus",
            "runtime",
            "extensions extensionstatus es",
            "Name=.metadata.name; Version=.metadata.version",
        ),
        _type(
            "HostnameStatuses.net.talos.dev",
            "HostnameStatus",
            "network",
            "hostname hostnamestatus hs",
            "Hostname=.hostname; Domainname=.domainname",
        ),
        _type(
            "ImageFactorySchematics.runtime.talos.dev",
            "ImageFactorySchematic",
            "runtime",
            "imagefactoryschematic ifs",
            "Schematic ID=.schematicId; Flavor=.flavor; API URL=.apiUrl",
            new_type=True,
        ),
        _type(
            "KernelCmdlines.runtime.talos.dev",
            "KernelCmdline",
            "runtime",
            "cmdline kernelcmdline kc kcs",
            "Cmdline=.cmdline",
        ),
        _type("KubeletSpecs.kubernetes.talos.dev", "KubeletSpec", "k8s", "kubeletspec ks", sensitive=True),
        _type(
            "LinkStatuses.net.talos.dev",
            "LinkStatus",
            "network",
            "link links linkstatus ls",
            "Alias=.alias; Type=.type; Kind=.kind; Hw Addr=.hardwareAddr; Oper State=.operationalState; "
            "Link State=.linkState",
        ),
        _type(
            "MachineConfigs.config.talos.dev",
            "MachineConfig",
            "config",
            "machineconfig mc mcs",
            sensitive=True,
        ),
        _type(
            "MachineStatuses.runtime.talos.dev",
            "MachineStatus",
            "runtime",
            "machinestatus ms",
            "Stage=.stage; Ready=.status.ready",
        ),
        _type("MachineTypes.config.talos.dev", "MachineType", "config", "machinetype mt mts", "Type=@"),
        _type(
            "Members.cluster.talos.dev",
            "Member",
            "cluster",
            "member",
            "Hostname=.hostname; Machine Type=.machineType; OS=.operatingSystem; Addresses=.addresses",
        ),
        _type("MetaKeys.runtime.talos.dev", "MetaKey", "runtime", "meta metakey mk mks", "Value=.value"),
        _type("Nodenames.kubernetes.talos.dev", "Nodename", "k8s", "nodename", "Nodename=.nodename"),
        _type(
            "NodeStatuses.kubernetes.talos.dev",
            "NodeStatus",
            "k8s",
            "nodestatus ns",
            "Ready=.nodeReady; Unschedulable=.unschedulable",
        ),
        _type(
            "ResourceDefinitions.meta.cosi.dev",
            "ResourceDefinition",
            "meta",
            "api-resources resourcedefinition rd rds",
            "Aliases=.aliases[:]",
        ),
        _type(
            "RouteStatuses.net.talos.dev",
            "RouteStatus",
            "network",
            "route routes routestatus rs",
            "Destination=.dst; Gateway=.gateway; Link=.outLinkName; Metric=.priority",
        ),
        _type(
            "SecurityStates.talos.dev",
            "SecurityState",
            "runtime",
            "securitystate ss",
            "SecureBoot=.secureBoot; UKISigningKeyFingerprint=.ukiSigningKeyFingerprint; "
            "PCRSigningKeyFingerprint=.pcrSigningKeyFingerprint; SELinuxState=.selinuxState; "
            "ModuleSignatureEnforced=.moduleSignatureEnforced",
        ),
        _type(
            "Services.v1alpha1.talos.dev",
            "Service",
            "runtime",
            "svc service",
            "Running=.running; Healthy=.healthy; Health Unknown=.unknown",
        ),
        _type("StaticPods.kubernetes.talos.dev", "StaticPod", "k8s", "staticpod sp sps"),
        _type(
            "StaticPodStatuses.kubernetes.talos.dev",
            "StaticPodStatus",
            "k8s",
            "podstatus staticpodstatus sps",
            'Ready=.conditions[?(@.type=="Ready")].status',
        ),
        _type("SystemDisks.block.talos.dev", "SystemDisk", "runtime", "systemdisk sd sds", "Disk=.diskID"),
        _type("TimeStatuses.v1alpha1.talos.dev", "TimeStatus", "runtime", "timestatus ts", "Synced=.synced"),
        _type(
            "UnattendedInstallStatuses.runtime.talos.dev",
            "UnattendedInstallStatus",
            "runtime",
            "unattendedinstallstatus uis",
            "Phase=.phase",
            new_type=True,
        ),
        _type("Versions.runtime.talos.dev", "Version", "runtime", "version", "Name=.name; Version=.version"),
    )
}


def types_of(version: TalosVersion) -> dict[str, ResourceType]:
    """The types that this Talos version has."""
    old = version.minor == "1.13"
    return {name: entry for name, entry in TYPES.items() if not (old and entry.since_1_14)}
