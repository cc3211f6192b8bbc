# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A talosconfig for some roles, issued by the cluster's Talos API CA."""

from __future__ import annotations

import base64
import datetime
import typing as t

from rehearsal import pki
from rehearsal.configuration import MachineConfiguration
from rehearsal.yaml_text import dump

LABEL, TALOS_LABEL = b"PRIVATE KEY", b"ED25519 PRIVATE KEY"


def client_configuration(
    configuration: MachineConfiguration, roles: t.Sequence[str], lifetime: datetime.timedelta
) -> dict[str, bytes]:
    """The fields of a GenerateClientConfiguration answer."""
    issued = pki.client_certificate(configuration.talos_ca, roles, lifetime)
    key = issued.key.replace(LABEL, TALOS_LABEL)  # Talos names the algorithm in the label
    ca = configuration.talos_ca.crt.encode()
    name = configuration.cluster_name
    if len(roles) == 1:
        name = f"{roles[0].removeprefix('os:')}@{name}"
    parts = {"ca": _base64(ca), "crt": _base64(issued.crt), "key": _base64(key)}
    text = dump({"context": name, "contexts": {name: {"endpoints": [], **parts}}})
    return {"ca": ca, "crt": issued.crt, "key": key, "talosconfig": text.encode()}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
