# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""From what a node is to what is declared: assess, then converge."""

from __future__ import annotations

import asyncio
import ssl
import typing as t
from dataclasses import dataclass, field

from . import _documents as documents
from . import _etcd as etcd
from . import _observation as observation
from ._api import Applied, Endpoint, MachineConfigs, connect
from ._definition import Node
from ._errors import (
    CertificateRequired,
    ConnectionLost,
    NoAnswer,
    NotAuthorized,
    NotYet,
    TalosError,
    Unavailable,
)
from ._observation import Observation, observe
from ._redaction import Redactor
from ._rendering import Rendering, sha256
from ._waiting import Progress, StillWaiting, WaitedTooLong, poll

AS_DECLARED = "as-declared"
DIFFERS = "differs"
PENDING = "pending-reboot"
WRONG_MACHINE = "wrong-machine"

MODES = ("auto", "no-reboot", "staged", "try", "reboot")

# For so long after an apply a node may refuse our role, while it sets up its API.
_ROLE_SECONDS = 60.0
# A node that answers for so long with another stored config did not take ours.
_SETTLED_SECONDS = 4.0


class NotTaken(TalosError):
    """The node does not hold the config that it was sent."""

    remedy = "Look at the node's console for why it fell back, correct the config, and run again"


class WouldReboot(TalosError):
    """A change needs a reboot, and reboots are not allowed."""

    remedy = "Allow it (reboot: allowed), or stage it (mode: staged) and reboot when it suits"


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

    def assess(self, node: Node, seen: Observation) -> Assessment:
        """Raises TalosctlError where the declaration cannot be rendered."""
        if seen.state == observation.MAINTENANCE:
            return self._assess_maintenance(node, seen)
        if seen.configs is None:
            return Assessment(node.name, seen.state, seen, error=seen.error)
        return self._assess_configured(node, seen, seen.configs)

    def _assess_maintenance(self, node: Node, seen: Observation) -> Assessment:
        try:
            observation.require_machine(endpoint_of(node), node.mac, seen.macs)
        except TalosError as error:
            return Assessment(node.name, WRONG_MACHINE, seen, error=error)
        config = self._rendering.config(node)
        return self._compared(node, observation.MAINTENANCE, seen, b"", config)

    def _assess_configured(self, node: Node, seen: Observation, configs: MachineConfigs) -> Assessment:
        digest = self._rendering.digest(node)
        if digest is not None and digest == sha256(configs.active) == sha256(configs.stored):
            return Assessment(node.name, AS_DECLARED, seen)
        config = self._rendering.config(node)
        active_is = _same(configs.active, config)
        stored_is = _same(configs.stored, config)
        if active_is and stored_is:
            return Assessment(node.name, AS_DECLARED, seen, config)
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


def _same(held: bytes, declared: bytes) -> bool:
    return held == declared or documents.parse(held) == documents.parse(declared)


def endpoint_of(node: Node) -> Endpoint:
    return Endpoint(node.name, node.address)


@dataclass(frozen=True)
class Terms:
    """How a node may be changed. Seconds are upper bounds."""

    mode: str = "auto"
    reboot_allowed: bool = True
    check: bool = False
    try_seconds: int = 60
    reachable_seconds: float = 30.0
    settle_seconds: float = 600.0
    etcd_seconds: float = 300.0


@dataclass
class Outcome:
    """What converging a node did, or in check mode would do."""

    changed: bool
    assessment: Assessment
    actions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Convergence:
    """Brings one node to its declared machine config, from whatever state it is in."""

    def __init__(
        self,
        node: Node,
        control_planes: t.Sequence[Endpoint],
        context: ssl.SSLContext,
        assessor: Assessor,
        terms: Terms,
        progress: Progress | None = None,
    ) -> None:
        self._node = node
        self._endpoint = endpoint_of(node)
        self._control_planes = control_planes
        self._context = context
        self._assessor = assessor
        self._terms = terms
        self._progress = progress
        self._actions: list[str] = []
        self._warnings: list[str] = []

    async def run(self) -> Outcome:
        """Raises TalosError; whatever was begun, a later run goes on from there."""
        found = self._assessor.assess(self._node, await self._reach())
        if found.error is not None:
            raise found.error
        changes = found.state != AS_DECLARED and not (found.state == PENDING and self._terms.mode == "staged")
        if changes and found.config is not None:
            await self._change(found, found.config)
        return Outcome(changes, found, self._actions, self._warnings)

    async def _reach(self) -> Observation:
        """Look until the node answers; a node that reboots is given a while."""

        async def look() -> Observation:
            seen = await observe(self._endpoint, self._context, expected_fingerprint=self._node.fingerprint or "")
            if seen.state == observation.UNREACHABLE and not self._terms.check:
                raise StillWaiting(str(seen.error))
            return seen

        try:
            return await poll(
                look,
                seconds=self._terms.reachable_seconds,
                what="the node must answer",
                progress=self._progress,
            )
        except WaitedTooLong:
            # The node's own error says more than that we waited.
            seen = await observe(self._endpoint, self._context)
            if seen.error is not None and seen.state == observation.UNREACHABLE:
                raise seen.error from None
            return seen

    async def _change(self, found: Assessment, config: bytes) -> None:
        if self._node.machine_type == "controlplane" and not self._terms.check:
            await etcd.gate(
                self._node.name,
                self._control_planes,
                self._context,
                seconds=self._terms.etcd_seconds,
                progress=self._progress,
            )
        if found.state == observation.MAINTENANCE:
            await self._change_in_maintenance(config)
        else:
            await self._change_configured(found, config)

    # --- maintenance

    async def _change_in_maintenance(self, config: bytes) -> None:
        if not self._node.fingerprint:
            self._warnings.append(
                f"{self._node.name}: node_fingerprint is not declared, so only the MAC address told that this is "
                "the right machine when it was sent the cluster's secrets"
            )
        self._actions.append("apply-config --insecure")
        if self._terms.check:
            return
        for last in (False, True):
            answered = await self._send_insecurely(config)
            if await self._arrived(config):
                return
            if answered is not None or last:
                raise NotTaken("the node went back to maintenance", node=self._node.name)

    async def _send_insecurely(self, config: bytes) -> Applied | None:
        """None where the answer was lost, so that only a look can tell."""
        fingerprint = self._node.fingerprint or ""
        async with connect(self._endpoint, None, expected_fingerprint=fingerprint) as node:
            # On the connection that the secrets will use, so that nobody can step in between.
            observation.require_machine(self._endpoint, self._node.mac, await observation.macs(node))
            try:
                return await node.apply_configuration(config, mode="auto")
            except (ConnectionLost, NoAnswer, CertificateRequired):
                return None

    # --- configured

    async def _change_configured(self, found: Assessment, config: bytes) -> None:
        async with connect(self._endpoint, self._context) as node:
            if self._node.mac:
                observation.require_machine(self._endpoint, self._node.mac, await observation.macs(node))
        await self._require_no_reboot(found, config)
        mode = self._terms.mode
        self._actions.append(f"apply-config --mode {mode}")
        if self._terms.check:
            return
        if mode == "try":
            await self._try(config)
        elif mode == "staged":
            await self._send(config, "staged")
        elif mode == "reboot":
            await self._send(config, "staged")
            await self._reboot()
            await self._require_arrival(config)
        else:
            await self._send(config, mode)
            await self._require_arrival(config)

    async def _require_no_reboot(self, found: Assessment, config: bytes) -> None:
        if self._terms.reboot_allowed or self._terms.mode == "staged":
            return
        listed = "; ".join(map(str, found.differences))
        if self._terms.mode == "reboot":
            raise WouldReboot("mode reboot reboots the node", node=self._node.name)
        if await self._needs_reboot(found, config):
            raise WouldReboot(f"these changes need a reboot: {listed}", node=self._node.name)

    async def _needs_reboot(self, found: Assessment, config: bytes) -> bool:
        configs = found.observation.configs
        if configs is None or configs.stored != configs.active:
            # A dry run would cancel a try that is under way.
            return True
        async with connect(self._endpoint, self._context) as node:
            dry = await node.apply_configuration(config, mode="auto", dry_run=True)
        return dry.mode == "reboot"

    async def _send(self, config: bytes, mode: str) -> Applied | None:
        """Retries while another apply is under way. None where the answer was lost."""

        async def look() -> Applied | None:
            try:
                async with connect(self._endpoint, self._context) as node:
                    answer = await node.apply_configuration(config, mode=mode, try_seconds=self._terms.try_seconds)
                    self._warnings.extend(f"{self._node.name}: {each}" for each in answer.warnings)
                    return answer
            except (ConnectionLost, NoAnswer):
                return None
            except NotYet as error:
                raise StillWaiting(error.cause) from error

        return await poll(
            look,
            seconds=self._terms.settle_seconds,
            what="the node must take a config",
            node=self._node.name,
            progress=self._progress,
        )

    async def _reboot(self) -> None:
        self._actions.append("reboot")
        async with connect(self._endpoint, self._context) as node:
            try:
                await node.reboot()
            except (ConnectionLost, NoAnswer):
                return

    async def _try(self, config: bytes) -> None:
        """Apply, prove that the node answers with it, apply for good; else see it rolled back, and fail."""
        await self._send(config, "try")
        try:
            await asyncio.wait_for(self._require_arrival(config), self._terms.try_seconds * 0.8)
        except (TalosError, asyncio.TimeoutError, TimeoutError) as error:
            await self._rolled_back(config)
            raise NotTaken(
                f"with the tried config the node did not answer, and it rolled back ({error})",
                node=self._node.name,
                remedy="The node has its previous config: correct the change and run again",
            ) from error
        self._actions.append("apply-config --mode no-reboot")
        await self._send(config, "no-reboot")
        await self._require_arrival(config)

    async def _rolled_back(self, config: bytes) -> None:
        async def look() -> None:
            seen = await observe(self._endpoint, self._context)
            if seen.configs is None:
                raise StillWaiting(str(seen.error))
            if _same(seen.configs.active, config):
                raise StillWaiting("the tried config is still active")

        await poll(
            look,
            seconds=self._terms.try_seconds + self._terms.settle_seconds,
            what="the try must roll back",
            node=self._node.name,
            progress=self._progress,
        )

    # --- arrival

    async def _require_arrival(self, config: bytes) -> None:
        if not await self._arrived(config):
            raise NotTaken(
                "the node answers with another config than it was sent: it came back with its previous one, "
                "or somebody else changed it",
                node=self._node.name,
            )

    async def _arrived(self, config: bytes) -> bool:
        """Wait until the node answers, by our PKI, with this config active; False where it did not take it."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        settled_since: float | None = None

        async def look() -> bool:
            nonlocal settled_since
            seen = await observe(self._endpoint, self._context)
            if seen.configs is not None and _same(seen.configs.stored or b"", config):
                settled_since = None
                if _same(seen.configs.active, config):
                    return True
                raise StillWaiting("the config is stored, and not active yet")
            if seen.state == observation.UNREACHABLE:
                settled_since = None
                self._require_transient(seen.error, loop.time() - started)
                raise StillWaiting(str(seen.error))
            if seen.state == observation.FOREIGN and seen.error is not None:
                raise seen.error
            # In a try the stored config stays the old one.
            if seen.configs is not None and _same(seen.configs.active, config) and self._terms.mode == "try":
                return True
            settled_since = settled_since or loop.time()
            if loop.time() - settled_since > _SETTLED_SECONDS:
                return False
            raise StillWaiting(f"the node is {seen.state}, with its previous config")

        return await poll(
            look,
            seconds=self._terms.settle_seconds,
            what="the node must answer with its new config",
            node=self._node.name,
            progress=self._progress,
        )

    def _require_transient(self, error: TalosError | None, gone: float) -> None:
        if isinstance(error, (NotAuthorized, Unavailable)) and gone > _ROLE_SECONDS:
            raise error
