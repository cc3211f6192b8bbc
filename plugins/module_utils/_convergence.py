# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""From what a node is to what is declared."""

from __future__ import annotations

import ssl
import typing as t
from dataclasses import dataclass, field, replace

from . import _api as api
from . import _etcd as etcd
from . import _observation as observation
from ._after_reboot import after_reboot
from ._api import Endpoint
from ._assessment import AS_DECLARED, PENDING, Assessment, Assessor
from ._declaration import Node
from ._delivery import Delivery, Goal
from ._errors import CertificateRequired, ConnectionLost, InvalidRequest, TalosError
from ._line import PASSING, Line, away
from ._observation import Observation, observe
from ._reboot import reboot
from ._terms import Terms
from ._try import Try, require_no_earlier_try
from ._waiting import WaitedTooLong

_WORKER_REMEDY = (
    "A worker that was sent its config answers only once a control plane is up, since it gets its certificate there: "
    "look after the control planes first, then run again"
)
# Where a config names the image that Talos is installed from, by contract.
_INSTALLER_IMAGE = ("machine.install.image", "installer.image")
_LONGER = "; reachable_timeout (node_reachable_timeout) gives it more time"
_UNKNOWN_REBOOT = "whether these changes need a reboot cannot be asked while another config waits for one, or is tried"


class WouldReboot(TalosError):
    """A change needs a reboot, and reboots are not allowed."""

    remedy = "Allow it (mode: auto, reboot: allowed), or stage it (mode: staged) and reboot when it suits"


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
    ) -> None:
        self._node = node
        self._control_planes = control_planes
        self._context = context
        self._assessor = assessor
        self._terms = terms
        self._line = Line(node, context, terms)
        self._delivery = Delivery(self._line)

    async def run(self) -> Outcome:
        """Raises TalosError; whatever was begun, a later run goes on from there."""
        seen = await self._reach()
        if self._assessor.needs_macs(self._node, seen):
            seen = replace(seen, macs=await self._line.ask(observation.macs))
        found = self._assessor.assess(self._node, seen)
        if found.error is not None:
            raise found.error
        changes = found.state != AS_DECLARED and not (found.state == PENDING and self._terms.mode == "staged")
        if changes and found.config is not None:
            await self._change(found, found.config)
        return Outcome(changes, found, self._line.actions, self._line.warnings)

    async def _reach(self) -> Observation:
        """Look until the node answers; a node that reboots is given a while."""
        seen = Observation(observation.UNREACHABLE)

        async def look() -> Observation:
            nonlocal seen
            seen = await observe(self._line.endpoint, self._context, expected_fingerprint=self._node.fingerprint)
            if isinstance(seen.error, PASSING) and not self._terms.check:
                raise away(seen)
            return seen

        try:
            return await self._line.poll(look, self._terms.reachable_seconds, "the node must answer")
        except WaitedTooLong:
            # The node's own error says more than that we waited.
            if seen.error is not None:
                seen.error.cause += f" (asked again and again for {self._terms.reachable_seconds:g} s)"
                seen.error.remedy += _LONGER
            return seen

    async def _change(self, found: Assessment, config: bytes) -> None:
        staged = self._terms.mode == "staged" and found.state != observation.MAINTENANCE
        # What waits for the next boot disturbs no member.
        if self._node.machine_type == "controlplane" and not staged:
            await self._spare_etcd(found)
        if found.state == observation.MAINTENANCE:
            await self._change_in_maintenance(config)
        else:
            await self._change_configured(found, config)

    async def _spare_etcd(self, found: Assessment) -> None:
        where = (self._line.endpoint, self._node.hostname, self._control_planes, self._context)
        new = found.state == observation.MAINTENANCE
        if new:
            await etcd.require_free_address(*where)
        if not self._terms.check:
            await etcd.gate(*where, seconds=self._terms.etcd_seconds, new=new)
            return
        missing = await etcd.lacks(*where, new=new)
        if missing:
            self._line.warn(
                f"a run would wait up to {self._terms.etcd_seconds:g} s for etcd before it changes this control plane, "
                f"and then fail: {'; '.join(missing)}"
            )

    # --- maintenance

    async def _change_in_maintenance(self, config: bytes) -> None:
        self._line.actions.append("apply-config --insecure")
        if self._terms.check:
            return
        try:
            await self._delivery.deliver(
                lambda: self._send_insecurely(config), lambda: self._delivery.why_not(Goal(config))
            )
        except WaitedTooLong as error:
            if self._node.machine_type == "worker":
                error.remedy = _WORKER_REMEDY
            raise

    async def _send_insecurely(self, config: bytes) -> TalosError | None:
        """The error where the answer was lost, so that only a look can tell. Waits for another apply to end."""

        async def apply(node: api.Node) -> None:
            # On the connection that the secrets will use, so that nobody can step in between.
            observation.require_machine(self._line.endpoint, self._node.mac, await observation.macs(node))
            await self._delivery.send_on(node, config, "auto")

        try:
            return await self._line.call(apply, "the node must take a config", insecurely=True)
        except CertificateRequired as error:
            # It was in maintenance a moment ago, so this is no other cluster's node.
            return ConnectionLost(error.cause, node=error.node, command=error.command)

    # --- configured

    async def _change_configured(self, found: Assessment, config: bytes) -> None:
        if self._node.mac:
            observation.require_machine(self._line.endpoint, self._node.mac, await self._line.ask(observation.macs))
        waiting = after_reboot(_active(found), config)
        self._require_no_reboot(waiting)
        foretold = await self._foretell(found, config)
        if self._terms.check:
            self._line.actions += self._terms.actions(rebooting=foretold)
        else:
            await self._tell(found, config)
        rebooting = foretold if self._terms.check else self._delivery.rebooting
        if waiting and self._terms.told == "auto" and rebooting is False:
            self._line.warn(f"what it stores takes effect after a reboot: {', '.join(waiting)}")
        if any(each.path in _INSTALLER_IMAGE for each in found.differences):
            self._line.warn(
                "its installer image changes, which by itself upgrades nothing: playbooks/status.yml tells "
                "what the node runs and how to upgrade it, docs/day-2.md in which order"
            )

    def _require_no_reboot(self, waiting: t.Sequence[str]) -> None:
        """By what is known without asking the node."""
        if self._terms.mode == "reboot" and not self._terms.reboot_allowed:
            raise WouldReboot("mode reboot reboots the node", node=self._node.name)
        if waiting and self._terms.bars_reboot:
            why = f"to take effect, these changes need a reboot: {', '.join(waiting)}"
            raise WouldReboot(why, node=self._node.name)

    async def _foretell(self, found: Assessment, config: bytes) -> bool:
        """Would Talos reboot? Asked before the node is told, where it is not told at all, or should not have to refuse.

        Raises WouldReboot, and InvalidRequest where the node would not take it.
        """
        terms = self._terms
        if not terms.check and (terms.reboot_allowed or not terms.bars_reboot):
            return False
        needed = await self._needs_reboot(found, config)
        if needed and terms.bars_reboot:
            raise self._would_reboot("these changes need a reboot", found)
        if needed is None and terms.bars_reboot and not terms.reboot_allowed:
            raise self._would_reboot(f"{_UNKNOWN_REBOOT}, so that it counts as one", found)
        if needed is None and terms.told not in ("staged", "reboot"):
            self._line.warn(f"{_UNKNOWN_REBOOT}: a run may {'fail' if terms.bars_reboot else 'reboot it'}")
        return bool(needed)

    async def _tell(self, found: Assessment, config: bytes) -> None:
        try:
            await self._apply(config)
        except InvalidRequest:
            if self._terms.bars_reboot and await self._needs_reboot(found, config):
                raise self._would_reboot("these changes need a reboot", found) from None
            raise

    async def _apply(self, config: bytes) -> None:
        if self._terms.mode in ("try", "staged", "reboot"):
            # The others make the config active for good, whatever is tried.
            await require_no_earlier_try(self._line)
        if self._terms.mode == "try":
            await Try(self._line, config).run()
        elif self._terms.mode == "reboot":
            await self._delivery.apply(config, "staged")
            await reboot(self._line)
            await self._delivery.require_arrival(Goal(config))
        else:
            await self._delivery.apply(config, self._terms.told)

    def _would_reboot(self, why: str, found: Assessment) -> WouldReboot:
        return WouldReboot(f"{why}: {'; '.join(map(str, found.differences))}", node=self._node.name)

    async def _needs_reboot(self, found: Assessment, config: bytes) -> bool | None:
        """Would Talos reboot for it? None where it cannot be asked: a dry run would cancel a try that is under way."""
        configs = found.observation.configs
        if configs is None or configs.stored != configs.active:
            return None
        dry = await self._line.ask(lambda node: node.apply_configuration(config, mode="auto", dry_run=True))
        return dry.mode == "reboot"


def _active(found: Assessment) -> bytes:
    return found.observation.configs.active if found.observation.configs else b""
