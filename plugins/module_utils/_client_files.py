# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""The client files of a cluster's folder: talosconfig and kubeconfig, and when they are due to be made again."""

from __future__ import annotations

import base64
import binascii
import datetime
import os
import ssl
import time
import typing as t

from ._api import Endpoint, connect
from ._credentials import BadTalosconfig, Credentials, certificate_times
from ._errors import TalosError
from ._whole_file import is_private, read_private, write_private
from ._yaml import load, yaml

TALOSCONFIG, READER_TALOSCONFIG, KUBECONFIG = "talosconfig", "talosconfig.reader", "kubeconfig"

NO_BUNDLE = "there is no secrets bundle yet"

OTHER_PKI = "it is of another PKI"

# Talos issues client certificates for a year.
LIFETIME = datetime.timedelta(days=365)


def talosconfig(context: str, endpoints: t.Sequence[str], nodes: t.Sequence[str], credentials: Credentials) -> bytes:
    """A talosconfig of one context, whose commands go to ``nodes`` by way of ``endpoints``."""
    parts = {name: base64.b64encode(getattr(credentials, name)).decode() for name in ("ca", "crt", "key")}
    content = {
        "context": context,
        "contexts": {context: {"endpoints": list(endpoints), "nodes": list(nodes), **parts}},
    }
    return yaml.safe_dump(content, sort_keys=False).encode()


def talosconfig_due(
    path: str,
    *,
    context: str,
    endpoints: t.Sequence[str],
    nodes: t.Sequence[str],
    role: str,
    ca: bytes,
    renew_before: datetime.timedelta,
) -> str:
    """Why the file must be made again; empty where it need not."""
    text = read_private(path)
    if text is None:
        return "there is none yet"
    try:
        credentials = Credentials.from_talosconfig(text, path)
        held = load(text)["contexts"].get(context)
        roles, times = credentials.roles, certificate_times(credentials.crt)
    except (BadTalosconfig, ValueError, AttributeError):
        return "it is not readable"
    if credentials.ca.strip() != ca.strip():
        return OTHER_PKI
    if roles != (role,):
        return f"its role is {', '.join(roles)}"
    if held is None or held.get("endpoints") != list(endpoints) or held.get("nodes") != list(nodes):
        return "its context, endpoints or nodes are others"
    return _ending(times, renew_before) or _too_open(path)


def kubeconfig_due(
    path: str, *, leads_home: t.Callable[[str], bool], ca: bytes | None, renew_before: datetime.timedelta
) -> str:
    """The same for a kubeconfig; ``leads_home`` tells of a server whether it is the cluster's endpoint.

    Without ``ca`` nobody knows which PKI it should be of.
    """
    text = read_private(path)
    if text is None:
        return "there is none yet"
    try:
        content = load(text)
        cluster = content["clusters"][0]["cluster"]
        held_ca = base64.b64decode(cluster["certificate-authority-data"], validate=True)
        user = content["users"][0]["user"]
        times = certificate_times(base64.b64decode(user["client-certificate-data"], validate=True))
    except (yaml.YAMLError, KeyError, IndexError, TypeError, ValueError, binascii.Error):
        return "it is not readable"
    if ca is not None and held_ca.strip() != ca.strip():
        return OTHER_PKI
    server = str(cluster.get("server"))
    if not leads_home(server):
        return f"its server is {server}"
    return _ending(times, renew_before) or _too_open(path)


async def fetch_kubeconfig(control_planes: t.Sequence[Endpoint], context: ssl.SSLContext) -> bytes:
    """From the first control plane that gives one. Raises the error of the first."""
    errors: list[TalosError] = []
    for endpoint in control_planes:
        try:
            async with connect(endpoint, context) as node:
                return await node.kubeconfig()
        except TalosError as error:
            errors.append(error)
    raise errors[0]


def kubeconfig_server(text: bytes) -> str:
    """Where a kubeconfig that a node gave leads to. Raises TalosError."""
    try:
        return str(load(text)["clusters"][0]["cluster"]["server"])
    except (yaml.YAMLError, LookupError, TypeError):
        # Those quote what they read.
        raise TalosError(
            "what the node gave is no kubeconfig", remedy="Look at what talosctl kubeconfig gives"
        ) from None


def _ending(times: tuple[datetime.datetime, datetime.datetime], renew_before: datetime.timedelta) -> str:
    """At the latest in the last third of its time, or a short-lived one would be due as soon as it is made."""
    begins, ends = times
    if ends - datetime.datetime.now(datetime.timezone.utc) < min(renew_before, (ends - begins) / 3):
        return f"its certificate ends on {ends:%Y-%m-%d}"
    return ""


def _too_open(path: str) -> str:
    return "" if is_private(path) else "others can read it"


def put(path: str, content: bytes, reason: str = "") -> None:
    """Whole or not at all, 0600. One of another PKI is kept beside it: it may be all that still opens that cluster."""
    if reason == OTHER_PKI:
        os.chmod(path, 0o600)
        os.replace(path, f"{path}.{time.strftime('%Y-%m-%d-%H%M%S')}")
    write_private(path, content)
