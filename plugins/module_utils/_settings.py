# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What the inventory says about a node as Talos documents, laid out by contract.

Contract 1.13 keeps install, labels, taints in the document without a kind; contract 1.14 has documents of
their own for them, and a field may not stand in both places. Source: ``talosctl gen config`` of v1.13.9 and
v1.14.0-rc.1 and ``pkg/machinery/config/types/{network,cri,k8s,runtime,v1alpha1}`` of both. Fields inside a
variable are spelled as Talos spells them.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import re
import typing as t
from collections.abc import Iterable, Iterator, Sequence

from . import _values, _yaml_text
from ._problems import HIDDEN, Report

Document = dict[str, t.Any]

# The names of the labels that board, rack and uplink become.
OUR_LABELS = {
    "node_board": "homelab.talos/board",
    "node_rack": "homelab.talos/rack",
    "node_uplink": "homelab.talos/uplink",
}

# A name of a link that the kernel accepts (IFNAMSIZ less one).
_LINK_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,14}", re.ASCII)
_LINK_NAME_MAX = 15
_DRIVER = re.compile(r"[a-z0-9][a-z0-9_-]*", re.ASCII)
_SIZE = re.compile(r"(<=|>=|<|>|==)?\s*([0-9]{1,6})\s*(kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)", re.ASCII)
_DISK_TYPES = {
    "nvme": 'disk.transport == "nvme"',
    "sd": 'disk.transport == "mmc"',
    "hdd": "disk.rotational",
    "ssd": "!disk.rotational",
}
# A selector's field and the field of a disk that it is a pattern for.
_DISK_PATTERNS = {
    "model": "model",
    "serial": "serial",
    "modalias": "modalias",
    "uuid": "uuid",
    "wwid": "wwid",
    "busPath": "bus_path",
}
DISK_FIELDS = ("match", "size", "type", *_DISK_PATTERNS)
LINK_FIELDS = ("mac", "driver", "name", "alias", "dhcp", "addresses", "gateway", "routes", "mtu", "vlans")
VLAN_FIELDS = ("id", "dhcp", "addresses", "gateway", "routes", "mtu")
ROUTE_FIELDS = ("destination", "gateway", "metric")
MIRROR_FIELDS = ("endpoints", "skipFallback")
ENDPOINT_FIELDS = ("url", "overridePath")
TLS_FIELDS = ("ca", "insecureSkipVerify")
AUTH_FIELDS = ("username", "password", "auth", "identityToken")


@dataclasses.dataclass(frozen=True)
class Addressing:
    """How a link or a VLAN gets its addresses."""

    dhcp: bool
    addresses: tuple[str, ...] = ()
    routes: tuple[Document, ...] = ()
    mtu: int = 0


@dataclasses.dataclass(frozen=True)
class Vlan:
    """A VLAN on a link."""

    identifier: int
    addressing: Addressing


@dataclasses.dataclass(frozen=True)
class Link:
    """A network device: ``name`` is its own, or an alias for what the CEL expression ``match`` finds.

    ``mac`` is empty where the device is not selected by it.
    """

    name: str
    match: str
    addressing: Addressing
    vlans: tuple[Vlan, ...] = ()
    mac: str = ""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is set on one node beside its patches."""

    hostname: str
    installer_image: str
    install_disk: str | Document
    labels: dict[str, str]
    taints: dict[str, str]
    annotations: dict[str, str]
    cert_sans: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    nameservers: tuple[str, ...] = ()
    search_domains: tuple[str, ...] = ()
    ntp_servers: tuple[str, ...] = ()
    mirrors: tuple[Document, ...] = ()
    tls: tuple[Document, ...] = ()
    auth: tuple[Document, ...] = ()


# --- documents


def patch(settings: Settings, contract: str) -> str:
    """The settings as one strategic-merge patch for the output of gen config with this contract."""
    return _yaml_text.write_all(documents(settings, contract))


def documents(settings: Settings, contract: str) -> list[Document]:
    """The settings as documents; none stands twice."""
    machine = _machine_1_13(settings) if contract == "1.13" else _machine(settings)
    found = [{"machine": machine}] if machine else []
    # gen config writes "auto: stable"; a hostname is valid beside "off" alone.
    found.append(_document("HostnameConfig", auto="off", hostname=settings.hostname))
    if contract != "1.13":
        found += _documents_1_14(settings)
    for link in settings.links:
        found += _link(link)
    if settings.nameservers or settings.search_domains:
        found.append(_document("ResolverConfig", **_resolvers(settings)))
    if settings.ntp_servers:
        found.append(_document("TimeSyncConfig", ntp={"servers": list(settings.ntp_servers)}))
    found += settings.mirrors
    found += settings.tls
    found += settings.auth
    return found


def _document(kind: str, **fields: t.Any) -> Document:
    return {"apiVersion": "v1alpha1", "kind": kind, **fields}


def _resolvers(settings: Settings) -> Document:
    found: Document = {}
    if settings.nameservers:
        found["nameservers"] = [{"address": ip} for ip in settings.nameservers]
    if settings.search_domains:
        found["searchDomains"] = {"domains": list(settings.search_domains)}
    return found


def _machine(settings: Settings) -> Document:
    return {"certSANs": list(settings.cert_sans)} if settings.cert_sans else {}


def _machine_1_13(settings: Settings) -> Document:
    machine = _machine(settings)
    disk = settings.install_disk
    # A selector goes before the disk that gen config writes (v1alpha1_sequencer_tasks.go).
    selected = {"diskSelector": disk} if isinstance(disk, dict) else {"disk": disk}
    machine["install"] = {**selected, "image": settings.installer_image}
    if settings.labels:
        machine["nodeLabels"] = settings.labels
    if settings.taints:
        machine["nodeTaints"] = settings.taints
    if settings.annotations:
        machine["nodeAnnotations"] = settings.annotations
    return machine


def _documents_1_14(settings: Settings) -> list[Document]:
    # The expression must stand in the patch: a patch without one removes that of gen config.
    install = {
        "installer": {"image": settings.installer_image},
        "provisioning": {"diskSelector": {"match": disk_expression(settings.install_disk)}},
    }
    found = [_document("UnattendedInstallConfig", **install)]
    kubernetes = {"labels": settings.labels, "taints": settings.taints, "annotations": settings.annotations}
    if any(kubernetes.values()):
        found.append(_document("KubeNodeConfig", **{name: value for name, value in kubernetes.items() if value}))
    return found


def disk_expression(disk: str | Document) -> str:
    """A disk in CEL, as Talos itself turns a selector into it (v1alpha1_provider.go, DiskMatchExpression)."""
    if isinstance(disk, str):
        quoted = json.dumps(disk)
        return f"{quoted} in disk.symlinks" if disk.startswith("/dev/disk/") else f"disk.dev_path == {quoted}"
    if "match" in disk:
        return str(disk["match"])
    parts = [f"glob({json.dumps(disk[name])}, disk.{field})" for name, field in _DISK_PATTERNS.items() if name in disk]
    if "size" in disk:
        operator, number, unit = _size(disk["size"])
        parts.append(f"disk.size {operator} {number}u * {'kB' if unit == 'KB' else unit}")
    if "type" in disk:
        parts.append(_DISK_TYPES[disk["type"]])
    return " && ".join([*parts, 'disk.transport != ""', "!disk.readonly", "!disk.cdrom"])


def _size(value: str) -> tuple[str, str, str]:
    found = _SIZE.fullmatch(value)
    return (found[1] or "==", found[2], found[3]) if found else ("==", "0", "MB")


def addressings(links: Iterable[Link]) -> Iterator[tuple[str, Addressing]]:
    """Of links and their VLANs, each with its key in ``node_network``."""
    for index, link in enumerate(links):
        yield f"node_network[{index}]", link.addressing
        for place, vlan in enumerate(link.vlans):
            yield f"node_network[{index}].vlans[{place}]", vlan.addressing


def _link(link: Link) -> list[Document]:
    found = []
    if link.match:
        found.append(_document("LinkAliasConfig", name=link.name, selector={"match": link.match}))
    # One such document anywhere ends Talos' own DHCP on all links, so this one says that it is up.
    found.append(_document("LinkConfig", name=link.name, **_common(link.addressing)))
    found += _dhcp(link.name, link.addressing)
    for vlan in link.vlans:
        name = vlan_name(link.name, vlan.identifier)
        found.append(
            _document("VLANConfig", name=name, vlanID=vlan.identifier, parent=link.name, **_common(vlan.addressing))
        )
        found += _dhcp(name, vlan.addressing)
    return found


def _common(addressing: Addressing) -> Document:
    found: Document = {"up": True}
    if addressing.mtu:
        found["mtu"] = addressing.mtu
    if addressing.addresses:
        found["addresses"] = [{"address": address} for address in addressing.addresses]
    if addressing.routes:
        found["routes"] = list(addressing.routes)
    return found


def _dhcp(name: str, addressing: Addressing) -> list[Document]:
    return [_document("DHCPv4Config", name=name)] if addressing.dhcp else []


def vlan_name(link: str, identifier: int) -> str:
    """The name of a VLAN's device: link.100, or vlan100 where the kernel finds that too long."""
    name = f"{link}.{identifier}"
    return name if len(name) <= _LINK_NAME_MAX else f"vlan{identifier}"


# --- variables


def read_links(value: object, key: str, report: Report, node_mac: str) -> tuple[Link, ...]:
    """``node_network``: a list of links. An entry that selects none is the link of ``node_mac``."""
    links = []
    for index, item in enumerate(_values.items(value, key, report)):
        links.append(_read_link(item, f"{key}[{index}]", report, node_mac, f"net{index}"))
    known = [link.match or link.name for link in links if '""' not in link.match]
    _report_twice(known, key, "the same link", report)
    names = [link.name for link in links] + [
        vlan_name(link.name, vlan.identifier) for link in links for vlan in link.vlans
    ]
    _report_twice(names, key, "the same name", report)
    addresses = [prefix.split("/")[0] for _key, addressing in addressings(links) for prefix in addressing.addresses]
    _report_twice(list(filter(None, addresses)), key, "the same address", report)
    return tuple(links)


def _report_twice(names: list[str], key: str, what: str, report: Report) -> None:
    for name in sorted({name for name in names if names.count(name) > 1}):
        report(key, name, f"{what} stands there twice; keep one entry for each")


def _read_link(item: object, key: str, report: Report, node_mac: str, alias: str) -> Link:
    fields = _values.mapping(item, key, report, LINK_FIELDS)
    name, match, mac = _selected(fields, key, report, node_mac, alias)
    vlans = tuple(
        _read_vlan(vlan, f"{key}.vlans[{index}]", report)
        for index, vlan in enumerate(_values.items(fields.get("vlans"), f"{key}.vlans", report))
    )
    return Link(name, match, _read_addressing(fields, key, report, leads=bool(vlans)), vlans, mac)


def _selected(fields: Document, key: str, report: Report, node_mac: str, alias: str) -> tuple[str, str, str]:
    """The link's name; unless it is the device's own, the CEL expression that finds the device; and its MAC address."""
    given = [name for name in ("mac", "driver", "name") if fields.get(name) is not None]
    if len(given) > 1:
        report(key, ", ".join(given), "select the link by one of mac, driver, name")
    if fields.get("name") is not None:
        return _link_name(fields["name"], f"{key}.name", report), "", ""
    if fields.get("alias") is not None:
        alias = _link_name(fields["alias"], f"{key}.alias", report)
    if fields.get("driver") is not None:
        driver = fields["driver"]
        if not isinstance(driver, str) or not _DRIVER.fullmatch(driver):
            report(f"{key}.driver", driver, "must be the name of a kernel driver, as bcmgenet")
        return alias, f"link.driver == {json.dumps(str(driver))}", ""
    mac = node_mac
    if fields.get("mac") is not None:
        mac = _values.mac(fields["mac"], f"{key}.mac", report)
    elif not node_mac:
        report(key, None, "select the link by mac, driver or name, or set node_mac")
    return alias, f'mac(link.permanent_addr) == "{mac}"', mac


def _link_name(value: object, key: str, report: Report) -> str:
    if isinstance(value, str) and _LINK_NAME.fullmatch(value):
        return value
    report(
        key,
        value,
        "must be the name of a network device: a letter, then letters, digits, '-', '_', 15 at most",
    )
    return "net"


def _read_vlan(item: object, key: str, report: Report) -> Vlan:
    fields = _values.mapping(item, key, report, VLAN_FIELDS)
    identifier = _values.integer(fields.get("id"), f"{key}.id", report, 1, 4094)
    return Vlan(identifier, _read_addressing(fields, key, report, leads=False))


def _read_addressing(fields: Document, key: str, report: Report, *, leads: bool) -> Addressing:
    """DHCP unless addresses are given. A link that only leads VLANs may have neither."""
    addresses = _values.each(_values.prefix, fields.get("addresses"), f"{key}.addresses", report)
    dhcp = not addresses
    if fields.get("dhcp") is not None:
        dhcp = _values.boolean(fields["dhcp"], f"{key}.dhcp", report)
    if not dhcp and not addresses and not leads:
        report(
            f"{key}.addresses",
            fields.get("addresses"),
            "without dhcp, give an address with its prefix length",
        )
    routes = [
        _read_route(route, f"{key}.routes[{index}]", report)
        for index, route in enumerate(_values.items(fields.get("routes"), f"{key}.routes", report))
    ]
    if fields.get("gateway") is not None:
        routes.insert(0, {"gateway": _values.ip(fields["gateway"], f"{key}.gateway", report)})
    _check_gateways(addresses, routes, key, report, leased=dhcp)
    mtu = 0 if fields.get("mtu") is None else _values.integer(fields["mtu"], f"{key}.mtu", report, 68, 65535)
    return Addressing(dhcp, addresses, tuple(routes), mtu)


def _check_gateways(
    addresses: Sequence[str], routes: Sequence[Document], key: str, report: Report, *, leased: bool
) -> None:
    """A gateway is a neighbour: in the network of one of the link's addresses, or reached by a route without one."""
    own = [ipaddress.ip_interface(each) for each in addresses if each]
    direct = [each["destination"] for each in routes if each.get("destination") and "gateway" not in each]
    near = [*(each.network for each in own), *map(ipaddress.ip_network, direct)]
    for gateway in filter(None, (each.get("gateway") for each in routes)):
        address = ipaddress.ip_address(gateway)
        if any(address == each.ip for each in own):
            report(f"{key}.gateway", gateway, "is the node's own address; name the router's")
        elif own and not leased and not address.is_link_local and not any(address in each for each in near):
            report(f"{key}.gateway", gateway, f"is in none of the link's networks ({', '.join(map(str, near))})")


def _read_route(item: object, key: str, report: Report) -> Document:
    fields = _values.mapping(item, key, report, ROUTE_FIELDS)
    route: Document = {}
    if fields.get("destination") not in (None, "0.0.0.0/0", "::/0"):
        route["destination"] = _values.network(fields["destination"], f"{key}.destination", report)
    if fields.get("gateway") is not None:
        route["gateway"] = _values.ip(fields["gateway"], f"{key}.gateway", report)
    if fields.get("metric") is not None:
        route["metric"] = _values.integer(fields["metric"], f"{key}.metric", report, 1, 2**32 - 1)
    if not route.keys() & {"destination", "gateway"}:
        report(key, item, "a route needs a destination, a gateway, or both")
    return route


def read_labels(value: object, key: str, report: Report) -> dict[str, str]:
    """``node_labels``: a mapping of names and values."""
    labels = {}
    for name, item in _values.mapping(value, key, report).items():
        where = f"{key}[{name}]"
        _values.label_key(name, where, item, report)
        for variable, ours in OUR_LABELS.items():
            if name == ours:
                report(where, item, f"comes from {variable}; set that instead")
        labels[name] = _values.label_value(item, where, report)
    return labels


def read_annotations(value: object, key: str, report: Report) -> dict[str, str]:
    """``node_annotations``: a mapping of names and texts."""
    annotations = {}
    for name, item in _values.mapping(value, key, report).items():
        where = f"{key}[{name}]"
        _values.label_key(name, where, item, report)
        annotations[name] = "" if item == "" else _values.text(item, where, report)
    return annotations


def read_taints(value: object, key: str, report: Report) -> dict[str, str]:
    """``node_taints`` as Talos spells them: name to ``value:Effect`` or ``Effect``."""
    taints = {}
    for name, item in _values.mapping(value, key, report).items():
        where = f"{key}[{name}]"
        _values.label_key(name, where, item, report)
        taint, colon, effect = str(item).rpartition(":")
        if effect not in _values.EFFECTS:
            report(where, item, f"must be an effect ({', '.join(_values.EFFECTS)}) or value:effect")
        elif colon:
            _values.label_value(taint, where, report)
        taints[name] = str(item)
    return taints


def read_install_disk(value: object, key: str, report: Report, contract: str) -> str | Document:
    """``node_install_disk``: a path below /dev, or a selector."""
    if isinstance(value, str):
        if not re.fullmatch(r"/dev/[A-Za-z0-9_./:-]+", value, re.ASCII):
            report(key, value, "must be a device below /dev, as /dev/mmcblk0, or a selector, as {type: sd}")
        return value
    fields = _values.mapping(value, key, report, DISK_FIELDS)
    if not fields:
        report(key, value, f"a selector needs one of {', '.join(DISK_FIELDS)}")
    return {name: _read_disk_field(name, item, f"{key}.{name}", report, contract) for name, item in fields.items()}


def _read_disk_field(name: str, item: object, key: str, report: Report, contract: str) -> str:
    if name == "match" and contract == "1.13":
        report(
            key,
            item,
            "an expression needs contract 1.14; with 1.13 select by size, type, model, serial and so on",
        )
    if name == "type":
        return _values.choice(item, key, report, tuple(_DISK_TYPES))
    if name == "size" and not (isinstance(item, str) and _SIZE.fullmatch(item)):
        report(key, item, "must be a size, as '>= 100GB' or '<= 2TiB'")
    return _values.text(item, key, report)


def read_mirrors(value: object, key: str, report: Report) -> tuple[Document, ...]:
    """``node_registry_mirrors``: registry to a list of endpoints, or to endpoints and skipFallback."""
    found = []
    for name, item in _values.mapping(value, key, report).items():
        where = f"{key}[{name}]"
        if name != "*":
            _values.registry(name, where, report)
        fields = _values.mapping(item, where, report, MIRROR_FIELDS) if isinstance(item, dict) else {"endpoints": item}
        endpoints = [
            _read_mirror_endpoint(endpoint, f"{where}.endpoints[{index}]", report)
            for index, endpoint in enumerate(_values.items(fields.get("endpoints"), f"{where}.endpoints", report))
        ]
        if not endpoints:
            report(where, item, "name at least one endpoint, as https://mirror.fritz.box:5000")
        document = _document("RegistryMirrorConfig", name=name, endpoints=endpoints)
        if fields.get("skipFallback") is not None:
            document["skipFallback"] = _values.boolean(fields["skipFallback"], f"{where}.skipFallback", report)
        found.append(document)
    return tuple(found)


def _read_mirror_endpoint(item: object, key: str, report: Report) -> Document:
    fields = _values.mapping(item, key, report, ENDPOINT_FIELDS) if isinstance(item, dict) else {"url": item}
    endpoint: Document = {"url": _values.url(fields.get("url"), key, report, ("https", "http"))}
    if fields.get("overridePath") is not None:
        endpoint["overridePath"] = _values.boolean(fields["overridePath"], f"{key}.overridePath", report)
    return endpoint


def read_tls(value: object, key: str, report: Report) -> tuple[Document, ...]:
    """``node_registry_tls``: registry to the ``ca`` that its certificate is of, or to ``insecureSkipVerify``."""
    found = []
    for name, item in _values.mapping(value, key, report).items():
        where = f"{key}[{name}]"
        _values.registry(name, where, report)
        fields = _values.mapping(item, where, report, TLS_FIELDS)
        document = _document("RegistryTLSConfig", name=name)
        if fields.get("ca") is not None:
            document["ca"] = _read_ca(fields["ca"], f"{where}.ca", report)
        if fields.get("insecureSkipVerify") is not None:
            skip = _values.boolean(fields["insecureSkipVerify"], f"{where}.insecureSkipVerify", report)
            document["insecureSkipVerify"] = skip
        if not document.keys() & set(TLS_FIELDS):
            report(where, item, "give ca or insecureSkipVerify")
        found.append(document)
    return tuple(found)


def _read_ca(value: object, key: str, report: Report) -> str:
    if isinstance(value, str) and value.startswith("-----BEGIN CERTIFICATE-----"):
        return value
    # It may be the private key.
    report(key, HIDDEN, "must be the text of a certificate: -----BEGIN CERTIFICATE----- and so on")
    return ""


def read_auth(value: object, key: str, report: Report) -> tuple[Document, ...]:
    """``node_registry_auth``: registry to username and password, or auth, or identityToken."""
    found = []
    for name, item in _values.mapping(value, key, report).items():
        where = f"{key}[{name}]"
        _values.registry(name, where, report)
        fields = _values.mapping(item, where, report, AUTH_FIELDS)
        given = {field: fields[field] for field in AUTH_FIELDS if fields.get(field) is not None}
        if set(given) not in ({"username", "password"}, {"auth"}, {"identityToken"}):
            report(where, item, "give username and password, or auth, or identityToken")
        read = {field: _values.text(fields[field], f"{where}.{field}", report) for field in given}
        found.append(_document("RegistryAuthConfig", name=name, **read))
    return tuple(found)
