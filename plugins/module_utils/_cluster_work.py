# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""From a module's options to the objects of the collection."""

from __future__ import annotations

import datetime
import re
import typing as t

from . import _client_files as files
from ._assessment import Assessment, Assessor
from ._declaration import Cluster, Node
from ._rendering import DigestCache, Rendering
from ._secrets_bundle import ADMIN, READER, SecretsBundle
from ._talosctl import Talosctl
from ._whole_file import expand

if t.TYPE_CHECKING:
    from ._module import TalosModule
    from ._planning import Plan

_DIGESTS = ("cache", "rendered.json")


def cluster_of(module: TalosModule) -> Cluster:
    return Cluster.from_dict(module.params["cluster"])


def node_of(module: TalosModule) -> Node:
    return Node.from_dict(module.params["node"])


def nodes_of(module: TalosModule) -> list[Node]:
    return [Node.from_dict(each) for each in module.params["nodes"]]


def assessor_of(module: TalosModule, bundle: SecretsBundle) -> tuple[Assessor, Rendering, DigestCache]:
    cache = DigestCache(module.folder_path(*_DIGESTS), read_only=module.check_mode)
    talosctl = Talosctl(module.params["talosctl"])
    rendering = Rendering(talosctl, bundle, cluster_of(module), cache)
    return Assessor(rendering, module.redactor), rendering, cache


def talosconfig_due_for(module: TalosModule, bundle: SecretsBundle, name: str, role: str) -> str:
    """Why this talosconfig of the cluster's folder must be made again; empty where it need not."""
    addresses = [each.address for each in module.control_planes]
    return files.talosconfig_due(
        expand(module.folder_path(name)),
        context=cluster_of(module).name,
        endpoints=addresses,
        nodes=addresses[:1],
        role=role,
        ca=bundle.talos_ca,
        renew_before=datetime.timedelta(days=module.params["renew_before"]),
    )


def kubeconfig_due_for(
    module: TalosModule, bundle: SecretsBundle | None, server: str = "", configs: t.Sequence[bytes] = ()
) -> str:
    """``server`` is what a node gives. ``configs`` of control planes may have another endpoint, too, by a patch."""
    home = (server, cluster_of(module).endpoint)
    return files.kubeconfig_due(
        expand(module.folder_path(files.KUBECONFIG)),
        leads_home=lambda held: held in home or any(_has_endpoint(config, held) for config in configs),
        ca=bundle.kubernetes_ca if bundle else None,
        renew_before=datetime.timedelta(days=module.params["renew_before"]),
    )


def _has_endpoint(config: bytes, url: str) -> bool:
    return re.search(rb"\bendpoint: [\"']?" + re.escape(url.encode()) + rb"[\"']?\s", config) is not None


def files_due(module: TalosModule, bundle: SecretsBundle, plan: Plan) -> dict[str, str]:
    """All client files that are due, with the reason."""
    configs = [_config(plan.nodes[name]) for name in plan.control_planes]
    found = {
        files.TALOSCONFIG: talosconfig_due_for(module, bundle, files.TALOSCONFIG, ADMIN),
        files.READER_TALOSCONFIG: talosconfig_due_for(module, bundle, files.READER_TALOSCONFIG, READER),
        files.KUBECONFIG: kubeconfig_due_for(module, bundle, configs=configs),
    }
    return {name: reason for name, reason in found.items() if reason}


def _config(assessed: Assessment) -> bytes:
    """The declared config, which is rendered where the node's may differ from it; empty where neither is known."""
    configs = assessed.observation.configs
    return assessed.config or (configs.active if configs else b"")
