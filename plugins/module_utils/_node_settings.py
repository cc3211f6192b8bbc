# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""A node as the inventory's variables give it, and what is unwise about it."""

from __future__ import annotations

import functools
import re
import typing as t
from collections.abc import Callable, Iterable, Mapping

from . import _settings, _values, _versions
from ._declaration import Cluster, Node
from ._groups import Memberships, machine_type
from ._patches import Patch, PatchReader
from ._problems import HIDDEN, Report, suggestion
from ._schematic import BOARDS, REGISTRY, installer_image, read_schematic
from ._settings import Settings

# The card of a Pi; else the disk that gen config writes.
_DEFAULT_DISKS = {"rpi_4": "/dev/mmcblk0", "rpi_5": "/dev/mmcblk0", "generic": "/dev/sda"}
# The place of the patch that is made of them.
_SETTINGS = "settings (node_ variables)"
# What NodeRestriction lets a kubelet set below these domains. Talos sets a worker's labels as its kubelet,
# all in one request, so one refused label keeps out the others too.
_RESTRICTED = re.compile(r"(?:.*\.)?(?:kubernetes|k8s)\.io")
_UNRESTRICTED = re.compile(
    r"(?:.*\.)?(?:kubelet|node)\.kubernetes\.io/.*|"
    r"(?:beta\.)?kubernetes\.io/(?:os|arch|instance-type|hostname)|"
    r"(?:topology|failure-domain\.beta)\.kubernetes\.io/(?:zone|region)"
)

# Settings that are read from one variable by itself.
_READERS: dict[str, tuple[str, Callable[[object, str, Report], t.Any]]] = {
    "taints": ("node_taints", _settings.read_taints),
    "annotations": ("node_annotations", _settings.read_annotations),
    "nameservers": ("node_nameservers", functools.partial(_values.each, _values.ip)),
    "search_domains": ("node_search_domains", functools.partial(_values.each, _values.dns_name)),
    "ntp_servers": ("node_ntp_servers", functools.partial(_values.each, _values.address)),
    "mirrors": ("node_registry_mirrors", _settings.read_mirrors),
    "tls": ("node_registry_tls", _settings.read_tls),
    "auth": ("node_registry_auth", _settings.read_auth),
}

Variables = Mapping[str, t.Any]


def read(
    name: str, variables: Variables, cluster: Cluster, members: Memberships, patches: PatchReader, report: Report
) -> tuple[Node, Settings]:
    """The node with the texts of its patches, the first of which is made of its settings."""
    one = functools.partial(_read_one, variables, report)
    board = one("node_board", functools.partial(_values.choice, choices=tuple(BOARDS)), "generic")
    identity, _schematic = read_schematic(variables.get("node_schematic"), board, "node_schematic", report)
    registry = one("node_installer_registry", _values.registry, REGISTRY)
    address = _values.node_address(variables.get("node_address"), "node_address", report)
    mac = one("node_mac", _values.mac, "")
    image = installer_image(registry, identity, cluster.talos_version)
    settings = Settings(
        hostname=_read_hostname(name, variables, report),
        installer_image=image,
        install_disk=_read_install_disk(variables, board, cluster.contract, report),
        labels=_read_labels(variables, board, report),
        cert_sans=_read_cert_sans(variables, address, report),
        links=_settings.read_links(variables.get("node_network"), "node_network", report, mac),
        **{field: reader(variables.get(key), key, report) for field, (key, reader) in _READERS.items()},
    )
    declared = tuple(_read_patches(name, variables, cluster, members, patches, report))
    node = Node(
        name=name,
        machine_type=machine_type(name, members),
        address=address,
        mac=mac,
        fingerprint=one("node_fingerprint", _values.fingerprint, ""),
        hostname=settings.hostname,
        board=board,
        schematic_id=identity,
        installer_image=image,
        patches=(_settings.patch(settings, cluster.contract), *(text for _place, text in declared)),
        patch_places=(_SETTINGS, *(place for place, _text in declared)),
    )
    return node, settings


def _read_one(variables: Variables, report: Report, key: str, reader: Callable[..., str], default: str) -> str:
    value = variables.get(key)
    return default if value is None else reader(value, key, report=report)


def _or(value: object, default: object) -> object:
    return default if value is None else value


def _read_hostname(name: str, variables: Variables, report: Report) -> str:
    value = _or(variables.get("node_hostname"), name)
    hostname = _values.dns_name(value, "node_hostname", report, "a host name")
    return hostname or str(value)


def _read_install_disk(variables: Variables, board: str, contract: str, report: Report) -> str | _settings.Document:
    disk = _or(variables.get("node_install_disk"), _DEFAULT_DISKS[board])
    return _settings.read_install_disk(disk, "node_install_disk", report, contract)


def _read_labels(variables: Variables, board: str, report: Report) -> dict[str, str]:
    ours = {
        "node_board": board,
        "node_rack": variables.get("node_rack"),
        "node_uplink": variables.get("node_uplink"),
    }
    labels = {
        _settings.OUR_LABELS[key]: _values.label_value(value, key, report)
        for key, value in ours.items()
        if value is not None
    }
    return {**labels, **_settings.read_labels(variables.get("node_labels"), "node_labels", report)}


def _read_cert_sans(variables: Variables, address: str, report: Report) -> tuple[str, ...]:
    """Names beside those that Talos puts in; the node is reached by its address, so a name goes in too."""
    names = _values.each(_values.address, variables.get("node_cert_sans"), "node_cert_sans", report)
    own = (address,) if address and not _values.is_ip(address) else ()
    return tuple(dict.fromkeys((*own, *names)))


def _read_patches(
    name: str,
    variables: Variables,
    cluster: Cluster,
    members: Memberships,
    patches: PatchReader,
    report: Report,
) -> Iterable[Patch]:
    minor = ".".join(cluster.talos_version.split(".")[:2])
    minor = minor if minor in _versions.MINORS else cluster.contract
    yield from patches.read(variables.get("cluster_patches"), "cluster_patches", report, minor)
    by_group = _values.mapping(variables.get("group_patches"), "group_patches", report)
    known = {*members.groups, "all"}
    for group in by_group:
        if group not in known:
            report(f"group_patches.{group}", HIDDEN, f"the group is {suggestion(group, known)}")
        elif not members.has_nodes(group):
            report(f"group_patches.{group}", HIDDEN, "the group holds no nodes; name one below talos")
    for group in members.of(name, by_group):
        yield from patches.read(by_group[group], f"group_patches.{group}", report, minor)
    yield from patches.read(variables.get("node_patches"), "node_patches", report, minor)


# --- what is unwise


def warn(variables: Variables, node: Node, settings: Settings, report: Report) -> None:
    """Reports what is valid, and probably not meant."""
    if variables.get("node_board") is None and not isinstance(variables.get("node_schematic"), str):
        boards = ", ".join(BOARDS)
        report("node_board", None, f"taken as generic, which has no Raspberry Pi firmware; choose one of {boards}")
    if variables.get("node_mac") is None:
        report("node_mac", None, "without it nothing proves that a machine in maintenance is this node; add it")
    _warn_of_address(node, settings, report)
    if node.machine_type == "worker":
        _warn_of_labels(settings, report)


def _warn_of_address(node: Node, settings: Settings, report: Report) -> None:
    addressings = [addressing for _key, addressing in _settings.addressings(settings.links)]
    static = [prefix.split("/")[0] for addressing in addressings for prefix in addressing.addresses]
    if not static or node.address in static or any(addressing.dhcp for addressing in addressings):
        return
    # A rehearsed node keeps its address in 127.0.0.0/8, whatever its config says.
    if _values.is_ip(node.address) and not node.address.startswith("127."):
        remedy = "is none of the static addresses in node_network; the node would be out of reach"
        report("node_address", node.address, remedy)


def _warn_of_labels(settings: Settings, report: Report) -> None:
    for label, value in settings.labels.items():
        if _RESTRICTED.fullmatch(label.rpartition("/")[0]) and not _UNRESTRICTED.fullmatch(label):
            remedy = "Kubernetes forbids a worker to label itself so, and then none of its labels is set; "
            report(f"node_labels[{label}]", value, remedy + "use kubectl, or another domain")
