# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What a node holds against what is declared for it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from . import _documents as documents
from . import _observation as observation
from ._api import Endpoint, MachineConfigs
from ._declaration import Node
from ._errors import TalosError, WrongMachine
from ._kubernetes_path import KubernetesPath, require_path
from ._observation import Observation
from ._redaction import Redactor
from ._rendering import Rendering, sha256
from ._talosctl import SlowTalosctl, TalosctlError

AS_DECLARED = "as-declared"
DIFFERS = "differs"
PENDING = "pending-reboot"
INVALID = "invalid"
WRONG_MACHINE = observation.WRONG_MACHINE


@dataclass(frozen=True)
class Assessment:
    """One node against its declaration. ``differences`` and ``diff`` are redacted."""

    name: str
    state: str
    observation: Observation
    config: bytes | None = None
    differences: tuple[documents.Difference, ...] = ()
    diff: dict[str, str] | None = None
    error: TalosError | None = None

    @property
    def would(self) -> str:
        """What a run would do to the node."""
        return {
            observation.MAINTENANCE: "apply the machine config, insecurely",
            AS_DECLARED: "nothing",
            DIFFERS: "apply the machine config",
            PENDING: "apply the machine config again, or leave it staged",
        }.get(self.state, "fail")

    @property
    def needs_work(self) -> bool:
        return self.state != AS_DECLARED

    @property
    def refused(self) -> bool:
        """Is what is declared for it at fault? What it holds is not, nor is a busy admin host."""
        return isinstance(self.error, TalosctlError) and not isinstance(self.error, SlowTalosctl)

    @property
    def answers_us(self) -> bool:
        """By our PKI, and it is the right machine."""
        return self.error is None and self.observation.configs is not None

    def as_dict(self) -> dict[str, t.Any]:
        status = self.observation.status
        return {
            "state": self.state,
            "would": self.would,
            "needs_work": self.needs_work,
            "stage": status.stage if status else "",
            "ready": bool(status and status.ready),
            "unmet": [f"{name}: {reason}" for name, reason in status.unmet] if status else [],
            "differences": [each.as_dict() for each in self.differences],
            "error": str(self.error) if self.error else "",
        }


class Assessor:
    """Compares nodes with their declaration; renders only for those that are not byte for byte as rendered last."""

    def __init__(self, rendering: Rendering, redactor: Redactor) -> None:
        self._rendering = rendering
        self._redactor = redactor

    def needs_macs(self, node: Node, seen: Observation) -> bool:
        """Must the node's MAC addresses be read too? Where it holds what was rendered for it, it is the right one."""
        return bool(node.mac) and seen.configs is not None and not self._as_rendered(node, seen.configs)

    def assess(self, node: Node, seen: Observation) -> Assessment:
        """An error of one node, which is no other's, is in its assessment. Raises NoTalosctl."""
        try:
            found = self._assess(node, seen)
            if found.needs_work and found.config is None and self._rendering.digest(node) is None:
                # It may be up when its turn comes: what it would be sent must be known to be good before that.
                self._rendering.config(node)
            return found
        except (TalosctlError, documents.BadConfig, KubernetesPath) as error:
            error.node = node.name
            return Assessment(node.name, INVALID, seen, error=error)

    def _as_rendered(self, node: Node, configs: MachineConfigs) -> bool:
        digest = self._rendering.digest(node)
        return digest is not None and digest == sha256(configs.active) == sha256(configs.stored)

    def _assess(self, node: Node, seen: Observation) -> Assessment:
        if seen.state == observation.MAINTENANCE:
            return self._assess_maintenance(node, seen)
        if seen.configs is None:
            return Assessment(node.name, seen.state, seen, error=seen.error)
        if self._as_rendered(node, seen.configs):
            return Assessment(node.name, AS_DECLARED, seen)
        if not node.mac:
            return self._assess_configured(node, seen, seen.configs)
        return _wrong_machine(node, seen) or self._assess_configured(node, seen, seen.configs)

    def _assess_maintenance(self, node: Node, seen: Observation) -> Assessment:
        wrong = _wrong_machine(node, seen)
        if wrong:
            return wrong
        config = self._rendering.config(node)
        return self._compared(node, observation.MAINTENANCE, seen, b"", config)

    def _assess_configured(self, node: Node, seen: Observation, configs: MachineConfigs) -> Assessment:
        config = self._rendering.config(node)
        active_is = same(configs.active, config)
        stored_is = same(configs.stored, config)
        if active_is and stored_is:
            return Assessment(node.name, AS_DECLARED, seen, config)
        require_path(configs.active, config)
        state = PENDING if stored_is else DIFFERS
        return self._compared(node, state, seen, configs.stored if active_is else configs.active, config)

    def _compared(self, node: Node, state: str, seen: Observation, before: bytes, config: bytes) -> Assessment:
        return Assessment(
            node.name,
            state,
            seen,
            config,
            tuple(documents.differences(before, config, self._redactor)),
            documents.diff(before, config, self._redactor, f"{node.name}: machine config"),
        )


def _wrong_machine(node: Node, seen: Observation) -> Assessment | None:
    try:
        observation.require_machine(endpoint_of(node), node.mac, seen.macs)
    except WrongMachine as error:
        return Assessment(node.name, WRONG_MACHINE, seen, error=error)
    return None


def same(held: bytes, declared: bytes) -> bool:
    return held == declared or documents.same(documents.parse(held), documents.parse(declared))


def endpoint_of(node: Node) -> Endpoint:
    return Endpoint(node.name, node.address)
