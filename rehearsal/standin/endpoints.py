# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The address of a cluster's Kubernetes API, checked as Talos checks it."""

from __future__ import annotations

import re

from rehearsal.standin.errors import CommandError

_URL = re.compile(r"(?:(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*):)?(?://(?P<host>[^/?#]*))?(?P<path>.*)", re.DOTALL)


def error_of(endpoint: str) -> str:
    """Why an endpoint cannot be used; empty where it can."""
    host = _host(endpoint)
    if host.count(":") > 2 and not ("[" in host and "]" in host):
        return "IPv6 addresses MUST be enclosed by square brackets"
    name, port = _name_and_port(host)
    if not name:
        return "hostname must not be blank"
    if port and not (port.isdigit() and 1 <= int(port) <= 65535):
        return "port number must be between 1 and 65535"
    return ""


def parse_error(endpoint: str) -> str:
    """Why a text is no URL at all; empty where it is one."""
    first = endpoint.partition("/")[0]
    if ":" in first and not _scheme(endpoint):
        return f'parse "{endpoint}": first path segment in URL cannot contain colon'
    name, colon, port = _host(endpoint).partition(":")
    if colon and "[" not in name and port and not port.isdigit():
        return f'parse "{endpoint}": invalid port ":{port}" after host'
    return ""


def refuse_for_generation(endpoint: str) -> None:
    scheme = _scheme(endpoint)
    error = parse_error(endpoint)
    if error and "/" in endpoint:
        raise CommandError(f"failed to parse the cluster endpoint URL: {error}")
    host = _host(endpoint) if scheme else endpoint
    port = _name_and_port(host)[1]
    suggestion = f"https://{host}{'' if port else ':6443'}"
    if not scheme:
        missing = "scheme" if port else "scheme and port"
        raise CommandError(f'no {missing} specified for the cluster endpoint URL\ntry: "{suggestion}"')
    if scheme != "https":
        opaque = endpoint.partition(":")[2]
        suggestion = suggestion if opaque.startswith("/") else f"https:{opaque}"
        message = "the control plane endpoint URL should have scheme https://"
        raise CommandError(f'{message}\ntry: "{suggestion}"')
    error = error_of(endpoint)
    if error:
        raise CommandError(f"error validating the cluster endpoint URL: {error}")


def _scheme(endpoint: str) -> str:
    match = _URL.match(endpoint)
    return (match["scheme"] or "").lower() if match else ""


def _host(endpoint: str) -> str:
    match = _URL.match(endpoint)
    return (match["host"] or "") if match else ""


def _name_and_port(host: str) -> tuple[str, str]:
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name, rest.removeprefix(":")
    name, _, port = host.partition(":")
    return name, port
