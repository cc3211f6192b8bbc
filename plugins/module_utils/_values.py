# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Values of inventory variables: made plain, read, and checked one by one.

Every reader takes a value, the key that a problem names, and a ``Report``. It returns what it read, or
something harmless of the same type after it reported.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import functools
import ipaddress
import re
import typing as t
import urllib.parse
from collections.abc import Callable, Collection, Mapping, Sequence

from ._problems import HIDDEN, Report, suggestion

T = t.TypeVar("T")

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_DNS_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
# Source of the next four: pkg/machinery/labels/validate.go of Talos (the rules of Kubernetes).
_QUALIFIED = re.compile(r"(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]", re.ASCII)
_QUALIFIED_MAX = 63
_PREFIX_MAX = 253
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REGISTRY = re.compile(rf"{_LABEL}(?:\.{_LABEL})*(?::[0-9]{{1,5}})?(?:/[a-z0-9][a-z0-9._-]*)*", re.ASCII)


def plain(value: t.Any) -> t.Any:
    """The value as plain data; tagged and lazy ones are subclasses, vaulted ones become text."""
    kind = type(value)
    if value is None or kind in (str, bool, int, float):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return {_name(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    return str(value)


def _name(key: t.Any) -> str:
    return plain(key) if isinstance(key, str) else str(key)


def text(value: object, key: str, report: Report, what: str = "a text") -> str:
    """A text; a number stands for its digits. A boolean is refused: YAML makes one of yes, no, on, off."""
    if isinstance(value, str) and value:
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    report(key, value, f"must be {what}" + ("; put it in quotes" if isinstance(value, bool) else ""))
    return ""


def boolean(value: object, key: str, report: Report) -> bool:
    """True or false. A text that says so is taken too: a template gives one."""
    said = {"true": True, "yes": True, "false": False, "no": False}.get(str(value).lower())
    if said is None:
        report(key, value, "must be true or false")
        return True
    return said


def integer(value: object, key: str, report: Report, low: int, high: int) -> int:
    """A whole number within bounds."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    report(key, value, f"must be a whole number from {low} to {high}")
    return low


def items(value: object, key: str, report: Report) -> list[t.Any]:
    """A list; nothing is an empty one."""
    if value is None:
        return []
    if isinstance(value, list):
        return value
    report(key, value, "must be a list")
    return []


def mapping(value: object, key: str, report: Report, known: Collection[str] = ()) -> dict[str, t.Any]:
    """A mapping; nothing is an empty one. With ``known``, other keys are reported, whose values may be secrets."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        report(key, value, "must be a mapping" + (f" with {', '.join(known)}" if known else ""))
        return {}
    for name in value if known else ():
        if name not in known:
            report(f"{key}.{name}", HIDDEN, suggestion(name, known))
    return value


def each(read: Callable[[object, str, Report], T], value: object, key: str, report: Report) -> tuple[T, ...]:
    """A list, each item read in the same way."""
    return tuple(read(item, f"{key}[{index}]", report) for index, item in enumerate(items(value, key, report)))


def choice(value: object, key: str, report: Report, choices: Sequence[str]) -> str:
    """One of some words."""
    if isinstance(value, str) and value in choices:
        return value
    report(key, value, f"choose one of {', '.join(choices)}")
    return choices[0]


def is_ip(value: str) -> bool:
    """Whether this is an IP address."""
    return _ip(value) is not None


@functools.lru_cache(maxsize=4096)
def _ip(value: str) -> str | None:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        return None


def ip(value: object, key: str, report: Report) -> str:
    """An IP address."""
    found = _ip(value) if isinstance(value, str) else None
    if found is None:
        report(key, value, "must be an IP address, as 192.168.178.60")
    return found or ""


def prefix(value: object, key: str, report: Report) -> str:
    """A host's address with the length of its network: 192.168.178.60/24."""
    try:
        if isinstance(value, str) and "/" in value:
            found = ipaddress.ip_interface(value)
            if _is_of_a_host(found):
                return str(found)
            report(key, value, f"is no address of a single host of {found.network}")
            return ""
    except ValueError:
        pass
    report(key, value, "must be an address with its prefix length, as 192.168.178.60/24")
    return ""


def _is_of_a_host(found: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> bool:
    network = found.network
    if found.ip.is_unspecified or found.ip.is_multicast:
        return False
    # Both addresses of a network of two are hosts.
    return network.num_addresses <= 2 or found.ip not in (
        network.network_address,
        network.broadcast_address if found.version == 4 else None,
    )


def network(value: object, key: str, report: Report) -> str:
    """A destination of a route."""
    try:
        if isinstance(value, str) and "/" in value:
            return str(ipaddress.ip_network(value))
    except ValueError:
        pass
    report(key, value, "must be a network without host bits, as 10.20.0.0/16")
    return ""


def dns_name(value: object, key: str, report: Report, what: str = "a DNS name") -> str:
    """A DNS name in lower case, as Kubernetes demands it of a node."""
    if isinstance(value, str) and len(value) <= _PREFIX_MAX and _DNS_NAME.fullmatch(value):
        return value
    report(key, value, f"must be {what} in lower case: letters, digits, '-' and '.'")
    return ""


def address(value: object, key: str, report: Report) -> str:
    """An IP address or a DNS name, without a port."""
    if isinstance(value, str):
        found = _ip(value)
        if found is not None:
            return found
        # What consists of digits and dots only is a mistyped address and no name.
        if not re.fullmatch(r"[0-9.]+", value) and _DNS_NAME.fullmatch(value.lower()):
            return value.lower()
    report(key, value, "must be an IP address or a DNS name, without scheme and port")
    return ""


def node_address(value: object, key: str, report: Report) -> str:
    """Where a node answers: an IP address of a single host, or a DNS name."""
    found = address(value, key, report)
    if is_ip(found) and _is_no_place(found):
        report(key, value, "is no address that a node is reached by; give the one that it keeps")
    return found


@functools.lru_cache(maxsize=4096)
def _is_no_place(value: str) -> bool:
    found = ipaddress.ip_address(value)
    return found.is_unspecified or found.is_multicast or found.is_link_local or value == "255.255.255.255"


def mac(value: object, key: str, report: Report) -> str:
    """A MAC address of one device, in Talos' own spelling: lower case, with colons."""
    if isinstance(value, str):
        found = value.lower().replace("-", ":")
        if _MAC.fullmatch(found) and not int(found[:2], 16) & 1 and found != "00:00:00:00:00:00":
            return found
    unquoted = isinstance(value, (int, float))
    report(
        key,
        value,
        "put it in quotes: YAML reads digits with colons as a number"
        if unquoted
        else "must be the MAC address of one network device, as d8:3a:dd:01:02:03",
    )
    return ""


def fingerprint(value: object, key: str, report: Report) -> str:
    """A certificate's fingerprint as the node's console shows it: base64 of a sha256."""
    try:
        if isinstance(value, str) and len(base64.b64decode(value, validate=True)) == 32:
            return value
    except (binascii.Error, ValueError):
        pass
    report(key, value, "must be the fingerprint from the node's console: 44 characters of base64")
    return ""


def label_key(value: str, key: str, shown: object, report: Report) -> None:
    """A name of a label or taint: name or prefix/name."""
    lead, slash, name = value.rpartition("/")
    good = len(name) <= _QUALIFIED_MAX and _QUALIFIED.fullmatch(name)
    if slash:
        good = good and len(lead) <= _PREFIX_MAX and _DNS_NAME.fullmatch(lead)
    if not good:
        report(key, shown, "the name must be 'name' or 'domain/name': letters, digits, '-', '_', '.', 63 at most")


def label_value(value: object, key: str, report: Report) -> str:
    """A label's value; numbers stand for their digits, booleans must be quoted."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and (not value or (len(value) <= _QUALIFIED_MAX and _QUALIFIED.fullmatch(value))):
        return value
    hint = "; put it in quotes" if isinstance(value, bool) else ""
    report(key, value, f"must be a label's value: letters, digits, '-', '_', '.', 63 at most{hint}")
    return ""


def registry(value: object, key: str, report: Report) -> str:
    """A registry, perhaps with a path below it: factory.talos.dev."""
    if isinstance(value, str) and _REGISTRY.fullmatch(value):
        return value
    report(
        key,
        value,
        "must be a registry without scheme and tag, as factory.talos.dev or registry.lan:5000/cache",
    )
    return ""


def url(value: object, key: str, report: Report, schemes: Sequence[str]) -> str:
    """A URL with a scheme and a host, without credentials."""
    if isinstance(value, str) and not re.search(r"\s", value):
        try:
            parts = urllib.parse.urlsplit(value)
            if parts.scheme in schemes and parts.hostname and parts.username is None and parts.port != 0:
                return value
        except ValueError:
            pass
    report(
        key, value, f"must start with {' or '.join(f'{s}://' for s in schemes)} and name a host, without credentials"
    )
    return ""


def endpoint(value: object, key: str, report: Report) -> str:
    """The address of Kubernetes: https://host:port."""
    remedy = "must be https://host:port and nothing more, as https://talos-cp.fritz.box:6443"
    try:
        parts = urllib.parse.urlsplit(value if isinstance(value, str) else "")
        host = parts.hostname or ""
        good = parts.scheme == "https" and parts.port and parts.username is None
        good = good and parts.path in ("", "/") and not parts.query and not parts.fragment
        if good and (is_ip(host) or (_DNS_NAME.fullmatch(host) and not re.fullmatch(r"[0-9.]+", host))):
            return str(value).rstrip("/")
    except ValueError:
        pass
    report(key, value, remedy)
    return ""
