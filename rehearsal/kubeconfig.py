# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kubeconfig of an administrator, and the archive that it travels in."""

from __future__ import annotations

import base64
import io
import tarfile
import time

from rehearsal import pki
from rehearsal.configuration import MachineConfiguration
from rehearsal.yaml_text import dump


def kubeconfig(configuration: MachineConfiguration) -> str:
    """With a new client certificate each time, as Talos gives it."""
    ca, name = configuration.kubernetes_ca, configuration.cluster_name
    admin = pki.kubernetes_admin(ca)
    user = f"admin@{name}"
    cluster = {"certificate-authority-data": _base64(ca.crt.encode()), "server": configuration.endpoint}
    credentials = {"client-certificate-data": _base64(admin.crt), "client-key-data": _base64(admin.key)}
    context = {"cluster": name, "namespace": "default", "user": user}
    return dump(
        {
            "apiVersion": "v1",
            "clusters": [{"cluster": cluster, "name": name}],
            "contexts": [{"context": context, "name": user}],
            "current-context": user,
            "kind": "Config",
            "users": [{"name": user, "user": credentials}],
        }
    )


def archive(text: str) -> bytes:
    """A tar.gz with the one file ``kubeconfig``."""
    buffer, data = io.BytesIO(), text.encode()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.USTAR_FORMAT) as tar:
        entry = tarfile.TarInfo("kubeconfig")
        entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
        tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
