# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""A cluster's first secrets bundle: adopted, or made where there is no cluster that a second PKI would lock out."""

from __future__ import annotations

import os
import typing as t

from ._api import Endpoint, connect, on_each
from ._client_files import KUBECONFIG, TALOSCONFIG
from ._errors import CertificateRequired, NoAnswer, TalosError, Unreachable
from ._secrets_bundle import SecretsBundle
from ._talosctl import Talosctl

_ADOPTABLE = "Let adopt_from name the whole machine config of a control plane: a worker's lacks the keys of the CAs"


def adopt(control_plane_config: str, talosctl: Talosctl) -> SecretsBundle:
    """The bundle of an existing cluster. Raises TalosctlError or BadBundle, which quote nothing."""
    content = talosctl.gen_secrets_from(control_plane_config.encode(), _ADOPTABLE)
    return SecretsBundle.parse(content, "what the config of adopt_from holds", _ADOPTABLE)


async def require_no_cluster(folder: str, nodes: t.Sequence[Endpoint]) -> None:
    """``folder`` is the cluster's on the admin host; ``nodes`` are all of the inventory. Raises TalosError."""
    require_no_files(folder)
    await require_maintenance(nodes)


def require_no_files(folder: str) -> None:
    """Nodes may be off; what an earlier run left here still opens their cluster, and its CA could be adopted by it."""
    paths = [os.path.join(folder, name) for name in (TALOSCONFIG, KUBECONFIG)]
    left = [path for path in paths if os.path.exists(path)]
    if left:
        raise TalosError(
            f"a new secrets bundle is refused, since there is a cluster already: {', '.join(left)}",
            remedy="Restore secrets.vault.yml from version control, or adopt the cluster's bundle with adopt_from; if "
            "the cluster is to be given up, move its folder away first",
        )


async def require_maintenance(nodes: t.Sequence[Endpoint]) -> None:
    """A node that asks for a certificate belongs to a cluster already: its PKI must not be replaced."""
    by_name = {node.name: node for node in nodes}

    async def ask(name: str) -> None:
        async with connect(by_name[name], None) as node:
            await node.machine_status()

    asked = await on_each(by_name, ask)
    configured = [name for name, answer in asked.items() if isinstance(answer, CertificateRequired)]
    if configured:
        raise TalosError(
            f"a new secrets bundle is refused, since {', '.join(configured)} answers and is configured already: "
            "no node of an existing cluster accepts a new PKI",
            remedy="Restore secrets.vault.yml from version control, adopt the cluster's bundle with adopt_from, or "
            "wipe these nodes first if the cluster is to be given up",
        )
    for answer in asked.values():
        # One that hangs or broke off is there, and may be configured.
        is_off = isinstance(answer, Unreachable) and not isinstance(answer, NoAnswer)
        if isinstance(answer, TalosError) and not is_off:
            raise TalosError(
                "a new secrets bundle is refused, since it is not known whether this node is configured already: "
                f"{answer.cause}",
                node=answer.node,
                command=answer.command,
                remedy="Run again when it answers, or with this node off",
            )
