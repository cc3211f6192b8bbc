# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which roles may call what, as Talos has it (``machined.go``)."""

from __future__ import annotations

ADMIN, OPERATOR, READER, ETCD_BACKUP = "os:admin", "os:operator", "os:reader", "os:etcd:backup"
ROLES = frozenset((ADMIN, OPERATOR, READER, ETCD_BACKUP, "os:meta:writer", "os:image:verifier", "os:impersonator"))

_ADMIN = frozenset((ADMIN,))
_OPERATOR = _ADMIN | {OPERATOR}
_READER = _OPERATOR | {READER}
_ETCD_READER = _READER | {ETCD_BACKUP}

_MACHINE = {
    # A reader may in maintenance only; the call itself checks that.
    "ApplyConfiguration": _ADMIN | {READER},
    "Bootstrap": _ADMIN,
    "EtcdAlarmList": _ETCD_READER,
    "EtcdForfeitLeadership": _ADMIN,
    "EtcdLeaveCluster": _ADMIN,
    "EtcdMemberList": _ETCD_READER,
    "EtcdRemoveMemberByID": _ADMIN,
    "EtcdSnapshot": _OPERATOR | {ETCD_BACKUP},
    "EtcdStatus": _ETCD_READER,
    "Events": _READER,
    "GenerateClientConfiguration": _ADMIN,
    "Kubeconfig": _ADMIN,
    "Memory": _READER,
    "Read": _ADMIN,
    "Reboot": _OPERATOR,
    "Reset": _ADMIN,
    "ServiceList": _READER,
    "Shutdown": _OPERATOR,
    "Version": _READER,
}
RULES: dict[str, frozenset[str]] = {
    "/cluster.ClusterService/HealthCheck": _READER,
    "/cosi.resource.State/Get": _READER,
    "/cosi.resource.State/List": _READER,
    "/cosi.resource.State/Watch": _READER,
    "/storage.StorageService/Disks": _READER,
    **{f"/machine.MachineService/{name}": roles for name, roles in _MACHINE.items()},
}


def known_roles(organizations: frozenset[str]) -> frozenset[str]:
    return organizations & ROLES


def may_call(roles: frozenset[str], method: str) -> bool:
    return bool(roles & RULES.get(method, frozenset()))
