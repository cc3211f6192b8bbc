# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""The definition of a cluster: what the inventory's variables say, checked as a whole before anything runs.

Input is the resolved variables of each node and the groups, as Ansible gives them; output is what a node's
config is rendered from. ``docs/inventory.md`` describes the variables.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence

from . import _card_settings, _settings, _uniqueness, _values, _variables, _versions
from ._declaration import Cluster, Node
from ._patches import PatchReader
from ._problems import (
    HIDDEN,
    SECRET_KEYS,
    DefinitionError,
    Problem,
    Report,
    Severity,
    Unresolved,
    shown,
    shown_key,
    suggestion,
)
from ._schematic import BOARDS, REGISTRY, installer_image, read_schematic
from ._targets import PHASES, SPECIAL_TAGS
from ._variables import CLUSTER_VARIABLES, OUR_VARIABLES, is_ours

__all__ = [
    "OUR_VARIABLES",
    "Cluster",
    "Definition",
    "DefinitionError",
    "Node",
    "Problem",
    "Unresolved",
    "check",
    "checked_hosts",
    "cluster_from_variables",
    "is_ours",
    "node_from_variables",
]

NODES_GROUP = "talos"
MACHINE_TYPES = {"controlplanes": "controlplane", "workers": "worker"}
ADMIN_GROUP = "admin"
IMAGE_WRITER_GROUP = "image_writer"
EVERY_NODE = "all nodes"
INVENTORY = "inventory"
_UNRESOLVED = "cannot be resolved ({}); correct the template, or run with the vault password"

_CLUSTER_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,61}[a-z0-9])?", re.ASCII)
_NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
# The card of a Pi; else the disk that gen config writes.
_DEFAULT_DISKS = {"rpi_4": "/dev/mmcblk0", "rpi_5": "/dev/mmcblk0", "generic": "/dev/sda"}
# What NodeRestriction lets a kubelet set below these domains. Talos sets a worker's labels as its kubelet,
# all in one request, so one refused label keeps out the others too.
_RESTRICTED = re.compile(r"(?:.*\.)?(?:kubernetes|k8s)\.io")
_UNRESTRICTED = re.compile(
    r"(?:.*\.)?(?:kubelet|node)\.kubernetes\.io/.*|"
    r"(?:beta\.)?kubernetes\.io/(?:os|arch|instance-type|hostname)|"
    r"(?:topology|failure-domain\.beta)\.kubernetes\.io/(?:zone|region)"
)

Groups = Mapping[str, Sequence[str]]
Variables = Mapping[str, t.Any]
ReadFile = Callable[[str], str]


@dataclasses.dataclass(frozen=True)
class Definition:
    """A checked cluster; nodes stand in the inventory's order."""

    cluster: Cluster
    nodes: tuple[Node, ...]
    warnings: tuple[Problem, ...]


def check(hosts: Mapping[str, Variables], groups: Groups, read_file: ReadFile) -> Definition:
    """Checks the whole definition: raises DefinitionError with all problems, or returns it with its warnings.

    ``hosts`` holds the variables of ``checked_hosts``, of which those are read that ``is_ours`` names; an
    ``Unresolved`` one is told as a problem.
    """
    found = _Problems()
    names = _nodes(groups)
    _check_groups(names, groups, found)
    variables = {name: _taken(name, hosts.get(name, {}), found) for name in checked_hosts(groups)}
    _check_names(names, groups, found)
    for name, ours in variables.items():
        _variables.check_known(ours, found.reporter(name))
    for name in names:
        _variables.check_run(variables[name], found.reporter(name))
        _card_settings.check(variables[name], found.reporter(name))
    of_nodes = {name: variables[name] for name in names}
    _check_readers(image_writer(groups), variables, of_nodes, found)
    cluster = _common_cluster(of_nodes, found)
    patches = PatchReader(read_file)
    members = _Memberships(groups)
    nodes = [
        _node(name, variables[name], _machine_type(name, members), cluster, members, patches, found) for name in names
    ]
    cards = {name: str(ours.get("card_identity") or "") for name, ours in of_nodes.items()}
    _uniqueness.check(nodes, cards, found.reporter)
    found.raise_errors()
    return Definition(cluster, tuple(node for node, _settings in nodes), tuple(found.problems))


def cluster_from_variables(variables: Variables) -> Cluster:
    """The cluster as one node's variables give it; raises DefinitionError."""
    found = _Problems()
    of_cluster = {name: variables[name] for name in variables if name in CLUSTER_VARIABLES}
    cluster = _cluster(_taken(EVERY_NODE, of_cluster, found), found.reporter(EVERY_NODE))
    found.raise_errors()
    return cluster


def node_from_variables(name: str, variables: Variables, groups: Groups, read_file: ReadFile) -> Node:
    """One node by itself; raises DefinitionError. What concerns several nodes is left to ``check``."""
    found = _Problems()
    ours = _taken(name, variables, found)
    members = _Memberships(groups)
    _check_machine_type(name, members, found)
    _check_names([name], groups, found)
    _variables.check_known(ours, found.reporter(name))
    cluster = _cluster(ours, found.reporter(EVERY_NODE))
    node, _settings = _node(name, ours, _machine_type(name, members), cluster, members, PatchReader(read_file), found)
    found.raise_errors()
    return node


def checked_hosts(groups: Groups) -> list[str]:
    """Whose variables ``check`` looks at: the nodes, the admin host, and the one with the card readers."""
    return list(dict.fromkeys(filter(None, (*_nodes(groups), *groups.get(ADMIN_GROUP, ()), image_writer(groups)))))


def _nodes(groups: Groups) -> list[str]:
    return list(dict.fromkeys(groups.get(NODES_GROUP, ())))


def image_writer(groups: Groups) -> str:
    """The host with the card readers; without one of its own, the admin host. Empty where there is neither."""
    return next(iter([*groups.get(IMAGE_WRITER_GROUP, ()), *groups.get(ADMIN_GROUP, ())]), "")


class _Problems:
    """Collects problems; what a secret variable holds is hidden here, whoever reports it."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._unresolved: set[tuple[str, str]] = set()

    def add(self, host: str, key: str, value: object, remedy: str, severity: Severity = "error") -> None:
        if not self.is_unresolved(host, _variable(key)):
            self.problems.append(Problem(host, shown_key(key), shown(value), remedy, severity))

    def add_unresolved(self, host: str, name: str, value: Unresolved) -> None:
        """What else is wrong with this variable follows from that."""
        self.add(host, name, _visible(name, value.template), _UNRESOLVED.format(value.reason.rstrip(".")))
        self._unresolved |= {(host, name), (EVERY_NODE, name)}

    def is_unresolved(self, host: str, name: str) -> bool:
        return (host, name) in self._unresolved

    def reporter(self, host: str, severity: Severity = "error") -> Report:
        def report(key: str, value: object, remedy: str) -> None:
            self.add(host, key, _visible(key, value), remedy, severity)

        return report

    def raise_errors(self) -> None:
        if any(problem.severity == "error" for problem in self.problems):
            raise DefinitionError(self.problems)


def _visible(key: str, value: object) -> object:
    variable = _variable(key)
    if variable not in SECRET_KEYS or value is None:
        return value
    # PatchReader shows names of files and nothing else.
    return value if variable != "node_registry_auth" and isinstance(value, str) and _is_file(value) else HIDDEN


def _variable(key: str) -> str:
    return re.split(r"[.\[,]", key, maxsplit=1)[0]


def _is_file(value: str) -> bool:
    return re.fullmatch(r"[\w./ ~-]+\.(ya?ml|json)", value) is not None


def _taken(host: str, variables: Variables, found: _Problems) -> dict[str, t.Any]:
    """Our variables of a host as plain data, without those that could not be resolved: these are told here."""
    taken = {}
    for name in filter(is_ours, variables):
        value = variables[name]
        if isinstance(value, Unresolved):
            found.add_unresolved(host, name, value)
        else:
            taken[name] = _values.plain(value)
    return taken


# --- groups and names


class _Memberships:
    """Which groups a node is in, the larger ones first: a parent holds at least what its child holds."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self._members = {group: frozenset(hosts) for group, hosts in groups.items()}
        order = {group: index for index, group in enumerate(groups)}
        self.ordered = sorted(groups, key=lambda group: (-len(self._members[group]), order[group]))
        self.nodes = self._members.get(NODES_GROUP, frozenset())

    def holds(self, group: str, name: str) -> bool:
        return group == "all" or name in self._members.get(group, ())

    def of(self, name: str, among: Iterable[str]) -> list[str]:
        wanted = set(among)
        first = ["all"] if "all" in wanted else []
        return first + [group for group in self.ordered if group in wanted - {"all"} and self.holds(group, name)]

    def has_nodes(self, group: str) -> bool:
        return group == "all" or bool(self._members[group] & self.nodes)


def _machine_type(name: str, members: _Memberships) -> str:
    return "controlplane" if members.holds("controlplanes", name) else "worker"


def _check_machine_type(name: str, members: _Memberships, found: _Problems) -> None:
    held = [group for group in MACHINE_TYPES if members.holds(group, name)]
    if len(held) != 1:
        found.add(name, "groups", held, "a node is in exactly one of controlplanes and workers")


def _check_groups(names: Sequence[str], groups: Groups, found: _Problems) -> None:
    members = _Memberships(groups)
    for name in names:
        _check_machine_type(name, members, found)
    for group in MACHINE_TYPES:
        for name in groups.get(group, ()):
            if name not in members.nodes:
                found.add(name, "groups", group, f"make {group} a child of the group {NODES_GROUP}")
    count = len(set(groups.get("controlplanes", ())))
    if not count:
        found.add(INVENTORY, "controlplanes", [], "a cluster needs a control plane; put a node in this group")
    elif count % 2 == 0:
        found.add(
            INVENTORY,
            "controlplanes",
            f"{count} nodes",
            "an even number of etcd members survives no more failures than one less; use an odd number",
            "warning",
        )
    _check_admin(groups, members, found)


def _check_admin(groups: Groups, members: _Memberships, found: _Problems) -> None:
    admin = list(groups.get(ADMIN_GROUP, ()))
    if len(admin) != 1:
        found.add(
            INVENTORY,
            ADMIN_GROUP,
            admin,
            "put exactly one host in this group: the VM, localhost or any SSH host",
        )
    if len(groups.get(IMAGE_WRITER_GROUP, ())) > 1:
        writers = list(groups[IMAGE_WRITER_GROUP])
        found.add(INVENTORY, IMAGE_WRITER_GROUP, writers, "put one host in this group, or none for the admin host")
    for group in (ADMIN_GROUP, IMAGE_WRITER_GROUP):
        for name in groups.get(group, ()):
            if name in members.nodes:
                found.add(name, "groups", group, "a Talos node runs no Ansible modules; choose another host")


def _check_names(names: Sequence[str], groups: Groups, found: _Problems) -> None:
    for name in names:
        if name in PHASES:
            found.add(name, "name", name, f"is a phase of the run ({', '.join(PHASES)}); rename the node")
        elif name in SPECIAL_TAGS:
            found.add(name, "name", name, "means something to --tags; rename the node")
        elif name in groups or name == "all":
            found.add(name, "name", name, "is also a group; rename one of the two")
        elif not _NODE_NAME.fullmatch(name):
            found.add(name, "name", name, "is a tag too; use letters, digits, '-', '_' and '.'")


def _check_readers(
    writer: str, hosts: Mapping[str, Variables], nodes: Mapping[str, Variables], found: _Problems
) -> None:
    """They are looked for at one host: declared at the nodes alone, they would be for nobody."""
    declared = hosts.get(writer, {})
    _card_settings.check(declared, found.reporter(writer))
    if _card_settings.READERS not in declared:
        for name, variables in nodes.items():
            if variables.get(_card_settings.READERS):
                remedy = f"the readers are at {writer or 'the host of the group image_writer'}; declare them there"
                found.add(name, _card_settings.READERS, variables[_card_settings.READERS], remedy)


# --- cluster


def _common_cluster(variables: Mapping[str, Variables], found: _Problems) -> Cluster:
    """The cluster as the first node gives it; every other node must agree."""
    if not variables:
        found.add(INVENTORY, NODES_GROUP, [], "the group has no nodes; put controlplanes and workers below it")
        return _cluster({}, lambda key, value, remedy: None)
    names = iter(variables)
    first = next(names)
    for name in names:
        for key in sorted(CLUSTER_VARIABLES | {"group_patches"}):
            value = variables[name].get(key)
            if value != variables[first].get(key) and not found.is_unresolved(EVERY_NODE, key):
                visible = _visible(key, value)
                found.add(
                    name,
                    key,
                    visible,
                    f"differs from that of {first}; set it once, for all nodes (group_vars/talos)",
                )
    return _cluster(variables[first], found.reporter(EVERY_NODE))


def _cluster(variables: Variables, report: Report) -> Cluster:
    name = variables.get("cluster_name")
    if not isinstance(name, str) or not _CLUSTER_NAME.fullmatch(name):
        report("cluster_name", name, "name the cluster: lower-case letters, digits, '-' and '.', 63 at most")
    endpoint = _values.endpoint(variables.get("cluster_endpoint"), "cluster_endpoint", report)
    talos = _read_version(variables, "cluster_talos_version", _versions.DEFAULT_TALOS, report)
    minor = talos.series
    if minor not in _versions.MINORS:
        known = " and ".join(_versions.MINORS)
        report("cluster_talos_version", _written(talos), f"Talos {minor} is not recorded yet; {known} are")
        minor = _versions.parse(_versions.DEFAULT_TALOS).series  # type: ignore[union-attr]
    kubernetes = _read_kubernetes(variables, minor, report)
    contract = _read_contract(variables, minor, report)
    return Cluster(str(name), endpoint, _written(talos), _written(kubernetes), contract)


def _written(version: _versions.Version) -> str:
    return f"{version.series}.{version.patch}{version.suffix}"


def _read_version(variables: Variables, key: str, default: str, report: Report) -> _versions.Version:
    value = variables.get(key)
    version = _versions.parse(default if value is None else str(value))
    if version is not None:
        return version
    report(key, value, f"must be a version of three numbers without a v, as '{default}'")
    return t.cast(_versions.Version, _versions.parse(default))


def _read_kubernetes(variables: Variables, talos_minor: str, report: Report) -> _versions.Version:
    key = "cluster_kubernetes_version"
    minor = _versions.MINORS[talos_minor]
    version = _read_version(variables, key, minor.kubernetes_default, report)
    if not _versions.carries(talos_minor, version):
        span = f"1.{minor.kubernetes_first} to 1.{minor.kubernetes_last}"
        report(key, _written(version), f"Talos {talos_minor} carries Kubernetes {span}; choose one of these")
    return version


def _read_contract(variables: Variables, talos_minor: str, report: Report) -> str:
    value = variables.get("cluster_contract")
    if value is None:
        return talos_minor
    contract = str(value)
    if contract not in _versions.MINORS:
        report("cluster_contract", value, f"must be one of {', '.join(map(repr, _versions.MINORS))}, in quotes")
        return talos_minor
    if contract > talos_minor:
        report(
            "cluster_contract",
            value,
            f"is newer than Talos {talos_minor}, which would not understand the config",
        )
    return contract


# --- node


def _node(
    name: str,
    variables: Variables,
    machine_type: str,
    cluster: Cluster,
    members: _Memberships,
    patches: PatchReader,
    found: _Problems,
) -> tuple[Node, _settings.Settings]:
    report = found.reporter(name)
    read = functools.partial(_read, variables, report)
    board = read("node_board", functools.partial(_values.choice, choices=tuple(BOARDS)), "generic")
    address = _values.node_address(variables.get("node_address"), "node_address", report)
    mac = read("node_mac", _values.mac, "")
    hostname = _read_hostname(name, variables, report)
    identity, _schematic = read_schematic(variables.get("node_schematic"), board, "node_schematic", report)
    registry = read("node_installer_registry", _values.registry, REGISTRY)
    image = installer_image(registry, identity, cluster.talos_version)
    settings = _settings.Settings(
        hostname=hostname,
        installer_image=image,
        install_disk=_settings.read_install_disk(
            _or(variables.get("node_install_disk"), _DEFAULT_DISKS[board]),
            "node_install_disk",
            report,
            cluster.contract,
        ),
        labels=_read_labels(variables, board, report),
        taints=_settings.read_taints(variables.get("node_taints"), "node_taints", report),
        annotations=_settings.read_annotations(variables.get("node_annotations"), "node_annotations", report),
        cert_sans=_read_cert_sans(variables, address, report),
        links=_settings.read_links(variables.get("node_network"), "node_network", report, mac),
        nameservers=_values.each(_values.ip, variables.get("node_nameservers"), "node_nameservers", report),
        search_domains=_values.each(
            _values.dns_name, variables.get("node_search_domains"), "node_search_domains", report
        ),
        ntp_servers=_values.each(_values.address, variables.get("node_ntp_servers"), "node_ntp_servers", report),
        mirrors=_settings.read_mirrors(variables.get("node_registry_mirrors"), "node_registry_mirrors", report),
        tls=_settings.read_tls(variables.get("node_registry_tls"), "node_registry_tls", report),
        auth=_settings.read_auth(variables.get("node_registry_auth"), "node_registry_auth", report),
    )
    _warn(name, variables, machine_type, address, settings, found)
    texts = (
        _settings.patch(settings, cluster.contract),
        *_read_patches(name, variables, cluster, members, patches, report),
    )
    fingerprint = read("node_fingerprint", _values.fingerprint, "")
    node = Node(name, machine_type, address, mac, fingerprint, hostname, board, identity, image, texts)
    return node, settings


def _read(variables: Variables, report: Report, key: str, reader: Callable[..., str], default: str) -> str:
    value = variables.get(key)
    return default if value is None else reader(value, key, report=report)


def _or(value: object, default: object) -> object:
    return default if value is None else value


def _read_hostname(name: str, variables: Variables, report: Report) -> str:
    value = _or(variables.get("node_hostname"), name)
    hostname = _values.dns_name(value, "node_hostname", report, "a host name")
    return hostname or str(value)


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
    members: _Memberships,
    patches: PatchReader,
    report: Report,
) -> Iterable[str]:
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


def _warn(
    name: str,
    variables: Variables,
    machine_type: str,
    address: str,
    settings: _settings.Settings,
    found: _Problems,
) -> None:
    warn = found.reporter(name, "warning")
    if variables.get("node_board") is None and not isinstance(variables.get("node_schematic"), str):
        warn(
            "node_board",
            None,
            f"taken as generic, which has no Raspberry Pi firmware; choose one of {', '.join(BOARDS)}",
        )
    if variables.get("node_mac") is None:
        warn("node_mac", None, "without it nothing proves that a machine in maintenance is this node; add it")
    addressings = [addressing for _key, addressing in _settings.addressings(settings.links)]
    static = [prefix.split("/")[0] for addressing in addressings for prefix in addressing.addresses]
    leased = any(addressing.dhcp for addressing in addressings)
    # A rehearsed node keeps its address in 127.0.0.0/8, whatever its config says.
    if static and not leased and _values.is_ip(address) and address not in static and not address.startswith("127."):
        warn(
            "node_address",
            address,
            "is none of the static addresses in node_network; the node would be out of reach",
        )
    if machine_type == "worker":
        for label in settings.labels:
            if _RESTRICTED.fullmatch(label.rpartition("/")[0]) and not _UNRESTRICTED.fullmatch(label):
                warn(
                    f"node_labels[{label}]",
                    settings.labels[label],
                    "Kubernetes forbids a worker to label itself so, and then none of its labels is set; "
                    "use kubectl, or another domain",
                )
