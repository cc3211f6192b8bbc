# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""The messages and methods of the Talos API that we speak, as one table of field numbers.

Source: ``api/**/*.proto`` of Talos v1.13.9 and v1.14.0-rc.1, and ``state.proto`` and ``resource.proto`` of the
COSI specification. The two Talos versions agree on every number below. The client and the rehearsal both build
their classes from this table; ``tests/conformance/test_client_wire.py`` holds it to bytes recorded from real tools, and
``tests/unit/test_messages.py`` what was not recorded.
"""

from __future__ import annotations

import functools
import typing as t

if t.TYPE_CHECKING:
    from google.protobuf import descriptor_pb2

# A field reads "name: type = number"; "*" after the type means repeated. Enums travel as int32.
# In order: a message stands below the messages that it uses.
MESSAGES: dict[str, tuple[str, ...]] = {
    "google.rpc.Status": ("code: int32 = 1", "message: string = 2", "details: google.protobuf.Any* = 3"),
    # --- common
    "common.Metadata": ("hostname: string = 1", "error: string = 2", "status: google.rpc.Status = 3"),
    "common.Data": ("metadata: common.Metadata = 1", "bytes: bytes = 2"),
    "common.Error": ("code: int32 = 1", "message: string = 2", "details: google.protobuf.Any* = 3"),
    # --- machine: configuration and bootstrap
    "machine.ApplyConfigurationRequest": (
        "data: bytes = 1",
        "mode: int32 = 4",
        "dry_run: bool = 5",
        "try_mode_timeout: google.protobuf.Duration = 6",
    ),
    "machine.ApplyConfiguration": (
        "metadata: common.Metadata = 1",
        "warnings: string* = 2",
        "mode: int32 = 3",
        "mode_details: string = 4",
    ),
    "machine.ApplyConfigurationResponse": ("messages: machine.ApplyConfiguration* = 1",),
    "machine.BootstrapRequest": ("recover_etcd: bool = 1", "recover_skip_hash_check: bool = 2"),
    "machine.Bootstrap": ("metadata: common.Metadata = 1",),
    "machine.BootstrapResponse": ("messages: machine.Bootstrap* = 1",),
    "machine.GenerateClientConfigurationRequest": (
        "roles: string* = 1",
        "crt_ttl: google.protobuf.Duration = 2",
    ),
    "machine.GenerateClientConfiguration": (
        "metadata: common.Metadata = 1",
        "ca: bytes = 2",
        "crt: bytes = 3",
        "key: bytes = 4",
        "talosconfig: bytes = 5",
    ),
    "machine.GenerateClientConfigurationResponse": ("messages: machine.GenerateClientConfiguration* = 1",),
    # --- machine: power and life cycle
    "machine.RebootRequest": ("mode: int32 = 1",),
    "machine.Reboot": ("metadata: common.Metadata = 1", "actor_id: string = 2"),
    "machine.RebootResponse": ("messages: machine.Reboot* = 1",),
    "machine.ShutdownRequest": ("force: bool = 1",),
    "machine.Shutdown": ("metadata: common.Metadata = 1", "actor_id: string = 2"),
    "machine.ShutdownResponse": ("messages: machine.Shutdown* = 1",),
    "machine.ResetPartitionSpec": ("label: string = 1", "wipe: bool = 2"),
    "machine.ResetRequest": (
        "graceful: bool = 1",
        "reboot: bool = 2",
        "system_partitions_to_wipe: machine.ResetPartitionSpec* = 3",
        "user_disks_to_wipe: string* = 4",
        "mode: int32 = 5",
    ),
    "machine.Reset": ("metadata: common.Metadata = 1", "actor_id: string = 2"),
    "machine.ResetResponse": ("messages: machine.Reset* = 1",),
    "machine.ReadRequest": ("path: string = 1",),
    # --- machine: version, services, memory
    "machine.VersionInfo": (
        "tag: string = 1",
        "sha: string = 2",
        "built: string = 3",
        "go_version: string = 4",
        "os: string = 5",
        "arch: string = 6",
    ),
    "machine.PlatformInfo": ("name: string = 1", "mode: string = 2"),
    "machine.FeaturesInfo": ("rbac: bool = 1",),
    "machine.Version": (
        "metadata: common.Metadata = 1",
        "version: machine.VersionInfo = 2",
        "platform: machine.PlatformInfo = 3",
        "features: machine.FeaturesInfo = 4",
    ),
    "machine.VersionResponse": ("messages: machine.Version* = 1",),
    "machine.ServiceEvent": ("msg: string = 1", "state: string = 2", "ts: google.protobuf.Timestamp = 3"),
    "machine.ServiceEvents": ("events: machine.ServiceEvent* = 1",),
    "machine.ServiceHealth": (
        "unknown: bool = 1",
        "healthy: bool = 2",
        "last_message: string = 3",
        "last_change: google.protobuf.Timestamp = 4",
    ),
    "machine.ServiceInfo": (
        "id: string = 1",
        "state: string = 2",
        "events: machine.ServiceEvents = 3",
        "health: machine.ServiceHealth = 4",
    ),
    "machine.ServiceList": ("metadata: common.Metadata = 1", "services: machine.ServiceInfo* = 2"),
    "machine.ServiceListResponse": ("messages: machine.ServiceList* = 1",),
    "machine.MemInfo": ("memtotal: uint64 = 1", "memfree: uint64 = 2", "memavailable: uint64 = 3"),
    "machine.Memory": ("metadata: common.Metadata = 1", "meminfo: machine.MemInfo = 2"),
    "machine.MemoryResponse": ("messages: machine.Memory* = 1",),
    # --- machine: etcd
    "machine.EtcdMemberListRequest": ("query_local: bool = 1",),
    "machine.EtcdMember": (
        "id: uint64 = 2",
        "hostname: string = 3",
        "peer_urls: string* = 4",
        "client_urls: string* = 5",
        "is_learner: bool = 6",
    ),
    "machine.EtcdMembers": (
        "metadata: common.Metadata = 1",
        "legacy_members: string* = 2",
        "members: machine.EtcdMember* = 3",
    ),
    "machine.EtcdMemberListResponse": ("messages: machine.EtcdMembers* = 1",),
    "machine.EtcdMemberStatus": (
        "protocol_version: string = 1",
        "db_size: int64 = 2",
        "db_size_in_use: int64 = 3",
        "leader: uint64 = 4",
        "raft_index: uint64 = 5",
        "raft_term: uint64 = 6",
        "raft_applied_index: uint64 = 7",
        "errors: string* = 8",
        "is_learner: bool = 9",
        "member_id: uint64 = 10",
        "storage_version: string = 11",
    ),
    "machine.EtcdStatus": ("metadata: common.Metadata = 1", "member_status: machine.EtcdMemberStatus = 2"),
    "machine.EtcdStatusResponse": ("messages: machine.EtcdStatus* = 1",),
    "machine.EtcdMemberAlarm": ("member_id: uint64 = 1", "alarm: int32 = 2"),
    "machine.EtcdAlarm": (
        "metadata: common.Metadata = 1",
        "member_alarms: machine.EtcdMemberAlarm* = 2",
    ),
    "machine.EtcdAlarmListResponse": ("messages: machine.EtcdAlarm* = 1",),
    "machine.EtcdSnapshotRequest": (),
    "machine.EtcdLeaveClusterRequest": (),
    "machine.EtcdLeaveCluster": ("metadata: common.Metadata = 1",),
    "machine.EtcdLeaveClusterResponse": ("messages: machine.EtcdLeaveCluster* = 1",),
    "machine.EtcdForfeitLeadershipRequest": (),
    "machine.EtcdForfeitLeadership": ("metadata: common.Metadata = 1", "member: string = 2"),
    "machine.EtcdForfeitLeadershipResponse": ("messages: machine.EtcdForfeitLeadership* = 1",),
    "machine.EtcdRemoveMemberByIDRequest": ("member_id: uint64 = 1",),
    "machine.EtcdRemoveMemberByID": ("metadata: common.Metadata = 1",),
    "machine.EtcdRemoveMemberByIDResponse": ("messages: machine.EtcdRemoveMemberByID* = 1",),
    # --- machine: events
    "machine.EventsRequest": (
        "tail_events: int32 = 1",
        "tail_id: string = 2",
        "tail_seconds: int32 = 3",
        "with_actor_id: string = 4",
    ),
    "machine.Event": (
        "metadata: common.Metadata = 1",
        "data: google.protobuf.Any = 2",
        "id: string = 3",
        "actor_id: string = 4",
    ),
    "machine.SequenceEvent": ("sequence: string = 1", "action: int32 = 2", "error: common.Error = 3"),
    "machine.PhaseEvent": ("phase: string = 1", "action: int32 = 2"),
    "machine.TaskEvent": ("task: string = 1", "action: int32 = 2"),
    "machine.ServiceStateEvent": (
        "service: string = 1",
        "action: int32 = 2",
        "message: string = 3",
        "health: machine.ServiceHealth = 4",
    ),
    "machine.UnmetCondition": ("name: string = 1", "reason: string = 2"),
    "machine.MachineStatus": ("ready: bool = 1", "unmet_conditions: machine.UnmetCondition* = 2"),
    "machine.MachineStatusEvent": ("stage: int32 = 1", "status: machine.MachineStatus = 2"),
    # --- cluster
    "cluster.ClusterInfo": (
        "control_plane_nodes: string* = 1",
        "worker_nodes: string* = 2",
        "force_endpoint: string = 3",
    ),
    "cluster.HealthCheckRequest": (
        "wait_timeout: google.protobuf.Duration = 1",
        "cluster_info: cluster.ClusterInfo = 2",
    ),
    "cluster.HealthCheckProgress": ("metadata: common.Metadata = 1", "message: string = 2"),
    # --- storage
    "storage.Disk": (
        "size: uint64 = 1",
        "model: string = 2",
        "device_name: string = 3",
        "name: string = 4",
        "serial: string = 5",
    ),
    "storage.Disks": ("metadata: common.Metadata = 1", "disks: storage.Disk* = 2"),
    "storage.DisksResponse": ("messages: storage.Disks* = 1",),
    # --- cosi.resource (maps are repeated entries on the wire)
    "cosi.resource.Entry": ("key: string = 1", "value: string = 2"),
    "cosi.resource.Metadata": (
        "namespace: string = 1",
        "type: string = 2",
        "id: string = 3",
        "version: string = 4",
        "owner: string = 5",
        "phase: string = 6",
        "created: google.protobuf.Timestamp = 7",
        "updated: google.protobuf.Timestamp = 8",
        "finalizers: string* = 9",
        "labels: cosi.resource.Entry* = 10",
        "annotations: cosi.resource.Entry* = 11",
    ),
    "cosi.resource.Spec": ("proto_spec: bytes = 1", "yaml_spec: string = 2"),
    "cosi.resource.Resource": ("metadata: cosi.resource.Metadata = 1", "spec: cosi.resource.Spec = 2"),
    "cosi.resource.LabelTerm": (
        "key: string = 1",
        "op: int32 = 2",
        "value: string* = 3",
        "invert: bool = 5",
    ),
    "cosi.resource.LabelQuery": ("terms: cosi.resource.LabelTerm* = 1",),
    "cosi.resource.IDQuery": ("regexp: string = 1",),
    "cosi.resource.GetOptions": (),
    "cosi.resource.GetRequest": (
        "namespace: string = 1",
        "type: string = 2",
        "id: string = 3",
        "options: cosi.resource.GetOptions = 4",
    ),
    "cosi.resource.GetResponse": ("resource: cosi.resource.Resource = 1",),
    "cosi.resource.ListOptions": (
        "label_query: cosi.resource.LabelQuery* = 1",
        "id_query: cosi.resource.IDQuery = 2",
    ),
    "cosi.resource.ListRequest": (
        "namespace: string = 1",
        "type: string = 2",
        "options: cosi.resource.ListOptions = 3",
    ),
    "cosi.resource.ListResponse": ("resource: cosi.resource.Resource = 1",),
    "cosi.resource.WatchOptions": (
        "bootstrap_contents: bool = 1",
        "tail_events: int32 = 2",
        "label_query: cosi.resource.LabelQuery* = 3",
        "id_query: cosi.resource.IDQuery = 4",
        "aggregated: bool = 5",
        "start_from_bookmark: bytes = 6",
        "bootstrap_bookmark: bool = 7",
    ),
    "cosi.resource.WatchRequest": (
        "namespace: string = 1",
        "type: string = 2",
        "id: string = 3",
        "options: cosi.resource.WatchOptions = 4",
        "api_version: int32 = 5",
    ),
    "cosi.resource.Event": (
        "resource: cosi.resource.Resource = 1",
        "event_type: int32 = 2",
        "old: cosi.resource.Resource = 3",
        "error: string = 4",
        "bookmark: bytes = 5",
    ),
    "cosi.resource.WatchResponse": ("event: cosi.resource.Event* = 1",),
    # --- resource specs whose protobuf form we read or serve
    "cosi.resource.meta.PrintColumn": ("name: string = 1", "json_path: string = 2"),
    "cosi.resource.meta.ResourceDefinitionSpec": (
        "resource_type: string = 1",
        "display_type: string = 2",
        "default_namespace: string = 3",
        "aliases: string* = 4",
        "all_aliases: string* = 5",
        "print_columns: cosi.resource.meta.PrintColumn* = 6",
        "sensitivity: int32 = 7",
    ),
    "talos.resource.definitions.config.MachineConfigSpec": ("yaml_marshalled: bytes = 1",),
}

UNARY, STREAM = "unary", "stream"

# gRPC path: request, response, kind of answer.
METHODS: dict[str, tuple[str, str, str]] = {
    "/machine.MachineService/ApplyConfiguration": (
        "machine.ApplyConfigurationRequest",
        "machine.ApplyConfigurationResponse",
        UNARY,
    ),
    "/machine.MachineService/Bootstrap": ("machine.BootstrapRequest", "machine.BootstrapResponse", UNARY),
    "/machine.MachineService/EtcdAlarmList": (
        "google.protobuf.Empty",
        "machine.EtcdAlarmListResponse",
        UNARY,
    ),
    "/machine.MachineService/EtcdForfeitLeadership": (
        "machine.EtcdForfeitLeadershipRequest",
        "machine.EtcdForfeitLeadershipResponse",
        UNARY,
    ),
    "/machine.MachineService/EtcdLeaveCluster": (
        "machine.EtcdLeaveClusterRequest",
        "machine.EtcdLeaveClusterResponse",
        UNARY,
    ),
    "/machine.MachineService/EtcdMemberList": (
        "machine.EtcdMemberListRequest",
        "machine.EtcdMemberListResponse",
        UNARY,
    ),
    "/machine.MachineService/EtcdRemoveMemberByID": (
        "machine.EtcdRemoveMemberByIDRequest",
        "machine.EtcdRemoveMemberByIDResponse",
        UNARY,
    ),
    "/machine.MachineService/EtcdSnapshot": ("machine.EtcdSnapshotRequest", "common.Data", STREAM),
    "/machine.MachineService/EtcdStatus": ("google.protobuf.Empty", "machine.EtcdStatusResponse", UNARY),
    "/machine.MachineService/Events": ("machine.EventsRequest", "machine.Event", STREAM),
    "/machine.MachineService/GenerateClientConfiguration": (
        "machine.GenerateClientConfigurationRequest",
        "machine.GenerateClientConfigurationResponse",
        UNARY,
    ),
    "/machine.MachineService/Kubeconfig": ("google.protobuf.Empty", "common.Data", STREAM),
    "/machine.MachineService/Memory": ("google.protobuf.Empty", "machine.MemoryResponse", UNARY),
    "/machine.MachineService/Read": ("machine.ReadRequest", "common.Data", STREAM),
    "/machine.MachineService/Reboot": ("machine.RebootRequest", "machine.RebootResponse", UNARY),
    "/machine.MachineService/Reset": ("machine.ResetRequest", "machine.ResetResponse", UNARY),
    "/machine.MachineService/ServiceList": ("google.protobuf.Empty", "machine.ServiceListResponse", UNARY),
    "/machine.MachineService/Shutdown": ("machine.ShutdownRequest", "machine.ShutdownResponse", UNARY),
    "/machine.MachineService/Version": ("google.protobuf.Empty", "machine.VersionResponse", UNARY),
    "/cluster.ClusterService/HealthCheck": (
        "cluster.HealthCheckRequest",
        "cluster.HealthCheckProgress",
        STREAM,
    ),
    "/storage.StorageService/Disks": ("google.protobuf.Empty", "storage.DisksResponse", UNARY),
    "/cosi.resource.State/Get": ("cosi.resource.GetRequest", "cosi.resource.GetResponse", UNARY),
    "/cosi.resource.State/List": ("cosi.resource.ListRequest", "cosi.resource.ListResponse", STREAM),
    "/cosi.resource.State/Watch": ("cosi.resource.WatchRequest", "cosi.resource.WatchResponse", STREAM),
}

# Names of descriptor_pb2.FieldDescriptorProto.Type, without "TYPE_".
_SCALARS = frozenset({"bool", "bytes", "int32", "int64", "string", "uint64"})


def _add_field(message: descriptor_pb2.DescriptorProto, text: str) -> None:
    name, rest = text.split(": ")
    kind, number = rest.split(" = ")
    field = message.field.add(name=name, number=int(number))
    field.label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
    kind = kind.rstrip("*")
    if kind in _SCALARS:
        field.type = getattr(field, f"TYPE_{kind.upper()}")
    else:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{kind}"


@functools.cache
def _classes() -> dict[str, t.Any]:
    # Imported at the first use, so that without protobuf modules can still say that it is missing.
    from google.protobuf import (
        any_pb2,
        descriptor_pb2,
        descriptor_pool,
        duration_pb2,
        empty_pb2,
        message_factory,
        timestamp_pb2,
    )

    pool = descriptor_pool.DescriptorPool()
    known = [module.DESCRIPTOR for module in (any_pb2, duration_pb2, empty_pb2, timestamp_pb2)]
    for descriptor in known:
        pool.AddSerializedFile(descriptor.serialized_pb)
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for full_name, fields in MESSAGES.items():
        package, name = full_name.rsplit(".", 1)
        if package not in files:
            earlier = [descriptor.name for descriptor in known] + list(files)
            files[package] = descriptor_pb2.FileDescriptorProto(
                name=package, package=package, syntax="proto3", dependency=earlier
            )
        message = files[package].message_type.add(name=name)
        for field in fields:
            _add_field(message, field)
    for file in files.values():
        pool.Add(file)
    names = [*MESSAGES, *(f"google.protobuf.{name}" for name in ("Any", "Duration", "Empty", "Timestamp"))]
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names}


def message_class(name: str) -> t.Any:
    """The class of a message by its full name, such as ``machine.VersionResponse``."""
    return _classes()[name]


def new(name: str, /, **fields: t.Any) -> t.Any:
    """A message by its full name, with fields set."""
    return _classes()[name](**fields)
