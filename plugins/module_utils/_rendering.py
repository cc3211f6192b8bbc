# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Machine configs as declared, rendered by talosctl only when their inputs changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import typing as t

from ._declaration import Cluster, Node
from ._refused_patches import RefusedPatches
from ._secrets_bundle import SecretsBundle
from ._talosctl import SlowTalosctl, Talosctl, TalosctlError
from ._whole_file import write_private

# Changes when this file renders the same inputs to other bytes.
_FORMAT = "1"


class DigestCache:
    """SHA-256 of each node's rendered config by the hash of its inputs: never a config, so it holds no secret.

    ``path`` is a JSON file ``{node: [inputs, rendered]}``; an unreadable one counts as empty.
    """

    def __init__(self, path: str, *, read_only: bool = False) -> None:
        self._path = path
        self._read_only = read_only
        self._known: dict[str, list[str]] = {}
        with contextlib.suppress(OSError, ValueError, AttributeError), open(path, encoding="utf-8") as file:
            self._known = {name: pair for name, pair in json.load(file).items() if _is_pair(pair)}
        self._changed = False

    def get(self, node: str, inputs: str) -> str | None:
        known = self._known.get(node)
        return known[1] if known and known[0] == inputs else None

    def put(self, node: str, inputs: str, rendered: str) -> None:
        self._changed = self._changed or self._known.get(node) != [inputs, rendered]
        self._known[node] = [inputs, rendered]

    def save(self) -> None:
        if self._changed and not self._read_only:
            write_private(self._path, json.dumps(self._known).encode())


def _is_pair(value: t.Any) -> bool:
    return isinstance(value, list) and len(value) == 2


class Rendering:
    """The declared machine config of each node of one cluster."""

    def __init__(self, talosctl: Talosctl, bundle: SecretsBundle, cluster: Cluster, cache: DigestCache) -> None:
        self._talosctl = talosctl
        self._bundle = bundle
        self._cluster = cluster
        self._cache = cache
        self._secrets = bundle.yaml()
        self._minor_checked = False
        self._refused = RefusedPatches(self._generated)
        self.warnings: list[str] = []

    def digest(self, node: Node) -> str | None:
        """SHA-256 of the declared config, where it is known without rendering."""
        return self._cache.get(node.name, self._inputs(node))

    def config(self, node: Node) -> bytes:
        """The declared config: rendered and validated. Raises TalosctlError naming the node, NoTalosctl."""
        # What is known was rendered by this very binary.
        if not self._minor_checked and self.digest(node) is None:
            self._talosctl.require_minor(self._cluster.talos_version)
            self._minor_checked = True
        try:
            return self._rendered(node)
        except TalosctlError as error:
            error.node = node.name
            raise

    def _rendered(self, node: Node) -> bytes:
        rendered = self._generated_or_told(node)
        inputs, digest = self._inputs(node), sha256(rendered)
        if self._cache.get(node.name, inputs) != digest:
            self.warnings += [f"{node.name}: {warning}" for warning in self._talosctl.validate(rendered)]
            self._cache.put(node.name, inputs, digest)
        return rendered

    def _generated_or_told(self, node: Node) -> bytes:
        try:
            return self._generated(node, node.patches)
        except SlowTalosctl:
            raise
        except TalosctlError as error:
            refused = self._refused.error(node)
            if refused is None:
                raise
            raise refused from error

    def _generated(self, node: Node, patches: t.Sequence[str]) -> bytes:
        return self._talosctl.gen_config(
            cluster_name=self._cluster.name,
            endpoint=self._cluster.endpoint,
            machine_type=node.machine_type,
            secrets=self._secrets,
            contract=self._cluster.contract,
            kubernetes_version=self._cluster.kubernetes_version,
            patches=[patch.encode() for patch in patches],
        )

    def _inputs(self, node: Node) -> str:
        inputs = [
            _FORMAT,
            self._talosctl.identity(),
            hashlib.sha256(self._secrets).hexdigest(),
            self._cluster.as_dict(),
            node.machine_type,
            list(node.patches),
        ]
        return sha256(json.dumps(inputs, sort_keys=True).encode())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
