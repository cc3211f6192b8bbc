# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""From what a node is to what is declared: assess, then converge."""

from __future__ import annotations

import asyncio
import ssl
import time
import typing as t
from dataclasses import dataclass, field, replace

from . import _api as api
from . import _documents as documents
from . import _etcd as etcd
from . import _observation as observation
from ._api import Endpoint, MachineConfigs, connect
from ._declaration import Node
from ._errors import (
    CertificateRequired,
    CertificateTime,
    ConnectionLost,
    InvalidRequest,
    NoAnswer,
    NotAuthorized,
    NotYet,
    TalosError,
    Unavailable,
    UnknownAuthority,
    Unreachable,
    WrongMachine,
)
from ._observation import Observation, observe
from ._redaction import Redactor
from ._rendering import Rendering, sha256
from ._talosctl import TalosctlError
from ._waiting import StillWaiting, WaitedTooLong, poll

T = t.TypeVar("T")

AS_DECLARED = "as-declared"
DIFFERS = "differs"
PENDING = "pending-reboot"
INVALID = "invalid"
WRONG_MACHINE = observation.WRONG_MACHINE

MODES = ("auto", "no-reboot", "staged", "try", "reboot")

_WORKER_REMEDY = (
    "A worker that was sent its config answers only once a control plane is up, since it gets its certificate there: "
    "look after the control planes first, then run again"
)
# What passes by itself while a node boots; a Pi has the wrong time until it reaches NTP.
_PASSING = (Unreachable, ConnectionLost, Unavailable, NotYet, CertificateTime)
_GOING_DOWN = ("rebooting", "shutting down")
_SHORTEST_TRY = 10.0
# Parts of a try: no proof before this one is over, for so long without a gap, and none after that one.
_EARLIEST_PROOF, _STEADY, _LATEST_PROOF = 1 / 2, 1 / 3, 4 / 5
_UNKNOWN_REBOOT = "whether these changes need a reboot cannot be asked while another config waits for one, or is tried"
# For so long after an apply a node may refuse our role, while it sets up its API.
_ROLE_SECONDS = 60.0
_ANOTHER = (
    "the node answers with another config than it was sent: it came back with its previous one, or somebody else "
    "changed it"
)
# A node that answers for so long with another stored config did not take ours.
_SETTLED_SECONDS = 4.0


class NotTaken(TalosError):
    """The node does not hold the config that it was sent."""

    remedy = "Look at the node's console for why it fell back, correct the config, and run again"


class TryTooShort(TalosError):
    """Too little time to prove a node with a tried config, and to keep it."""


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

    def needs_macs(self, node: Node, seen: Observation) -> bool:
        """Must the node's MAC addresses be read too? Where it holds what was rendered for it, it is the right one."""
        return bool(node.mac) and seen.configs is not None and not self._as_rendered(node, seen.configs)

    def assess(self, node: Node, seen: Observation) -> Assessment:
        """An error of one node, which is no other's, is in its assessment. Raises NoTalosctl."""
        try:
            return self._assess(node, seen)
        except (TalosctlError, documents.BadConfig) as error:
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


def _wrong_machine(node: Node, seen: Observation) -> Assessment | None:
    try:
        observation.require_machine(endpoint_of(node), node.mac, seen.macs)
    except WrongMachine as error:
        return Assessment(node.name, WRONG_MACHINE, seen, error=error)
    return None


def _same(held: bytes, declared: bytes) -> bool:
    return held == declared or documents.same(documents.parse(held), documents.parse(declared))


def endpoint_of(node: Node) -> Endpoint:
    return Endpoint(node.name, node.address)


@dataclass(frozen=True)
class Terms:
    """How a node may be changed. Seconds are upper bounds. Raises TryTooShort."""

    mode: str = "auto"
    reboot_allowed: bool = True
    check: bool = False
    try_seconds: int = 60
    reachable_seconds: float = 30.0
    settle_seconds: float = 600.0
    etcd_seconds: float = 300.0

    def __post_init__(self) -> None:
        if self.mode == "try" and self.try_seconds < _SHORTEST_TRY:
            raise TryTooShort(
                f"try_timeout is {self.try_seconds} s, too short to see whether the node bears the config",
                remedy=f"Set try_timeout (node_try_timeout) to at least {_SHORTEST_TRY:g} seconds",
            )

    @property
    def told(self) -> str:
        """The mode that a node is told: where it may not reboot, it shall itself refuse what it must reboot for."""
        return "no-reboot" if self.mode == "auto" and not self.reboot_allowed else self.mode

    @property
    def actions(self) -> list[str]:
        """What is done to a configured node that needs it."""
        if self.mode == "reboot":
            return [_action("staged"), "reboot"]
        return [_action(self.told)] + ([_action("no-reboot")] if self.mode == "try" else [])


def _action(mode: str) -> str:
    return f"apply-config --mode {mode}"


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
        self._endpoint = endpoint_of(node)
        self._control_planes = control_planes
        self._context = context
        self._assessor = assessor
        self._terms = terms
        self._actions: list[str] = []
        self._warnings: list[str] = []
        self._sent = 0.0

    async def run(self) -> Outcome:
        """Raises TalosError; whatever was begun, a later run goes on from there."""
        seen = await self._reach()
        if self._assessor.needs_macs(self._node, seen):
            seen = replace(seen, macs=await self._ask(observation.macs))
        found = self._assessor.assess(self._node, seen)
        if found.error is not None:
            raise found.error
        changes = found.state != AS_DECLARED and not (found.state == PENDING and self._terms.mode == "staged")
        if changes and found.config is not None:
            await self._change(found, found.config)
        return Outcome(changes, found, self._actions, self._warnings)

    async def _reach(self) -> Observation:
        """Look until the node answers; a node that reboots is given a while."""
        seen = Observation(observation.UNREACHABLE)

        async def look() -> Observation:
            nonlocal seen
            seen = await observe(self._endpoint, self._context, expected_fingerprint=self._node.fingerprint)
            if isinstance(seen.error, _PASSING) and not self._terms.check:
                raise _away(seen)
            return seen

        try:
            return await self._poll(look, self._terms.reachable_seconds, "the node must answer")
        except WaitedTooLong:
            # The node's own error says more than that we waited.
            if seen.error is not None:
                seen.error.cause += f" (asked again and again for {self._terms.reachable_seconds:g} s)"
            return seen

    async def _change(self, found: Assessment, config: bytes) -> None:
        if self._node.machine_type == "controlplane":
            await self._spare_etcd(found)
        if found.state == observation.MAINTENANCE:
            await self._change_in_maintenance(config)
        else:
            await self._change_configured(found, config)

    async def _spare_etcd(self, found: Assessment) -> None:
        where = (self._endpoint, self._node.hostname, self._control_planes, self._context)
        new = found.state == observation.MAINTENANCE
        if new:
            await etcd.require_free_address(*where)
        if not self._terms.check:
            await etcd.gate(*where, seconds=self._terms.etcd_seconds, new=new)
            return
        missing = await etcd.lacks(*where, new=new)
        if missing:
            self._warn(
                f"a run would wait up to {self._terms.etcd_seconds:g} s for etcd before it changes this control plane, "
                f"and then fail: {'; '.join(missing)}"
            )

    def _warn(self, what: str) -> None:
        self._warnings.append(f"{self._node.name}: {what}")

    async def _poll(self, look: t.Callable[[], t.Awaitable[T]], seconds: float, what: str) -> T:
        return await poll(look, seconds=seconds, what=what, node=self._node.name)

    # --- maintenance

    async def _change_in_maintenance(self, config: bytes) -> None:
        self._actions.append("apply-config --insecure")
        if self._terms.check:
            return
        try:
            await self._deliver(lambda: self._send_insecurely(config), lambda: self._why_not(_Goal(config)))
        except WaitedTooLong as error:
            if self._node.machine_type == "worker":
                error.remedy = _WORKER_REMEDY
            raise

    async def _send_insecurely(self, config: bytes) -> TalosError | None:
        """The error where the answer was lost, so that only a look can tell."""
        try:
            async with connect(self._endpoint, None, expected_fingerprint=self._node.fingerprint) as node:
                # On the connection that the secrets will use, so that nobody can step in between.
                observation.require_machine(self._endpoint, self._node.mac, await observation.macs(node))
                await node.apply_configuration(config, mode="auto")
        except CertificateRequired as error:
            # It was in maintenance a moment ago, so this is no other cluster's node.
            return ConnectionLost(error.cause, node=error.node, command=error.command)
        except (ConnectionLost, NoAnswer) as error:
            return error
        return None

    # --- configured

    async def _change_configured(self, found: Assessment, config: bytes) -> None:
        if self._node.mac:
            observation.require_machine(self._endpoint, self._node.mac, await self._ask(observation.macs))
        await self._require_no_reboot(found, config)
        if self._terms.check:
            self._actions += self._terms.actions
        elif self._terms.mode == "try":
            await self._try(found, config)
        elif self._terms.mode == "reboot":
            await self._apply(found, config, "staged")
            await self._reboot()
            await self._require_arrival(_Goal(config))
        else:
            await self._apply(found, config, self._terms.told)

    async def _apply(self, found: Assessment, config: bytes, mode: str) -> None:
        self._actions.append(_action(mode))
        goal = _Goal(config, active=mode != "staged")
        await self._deliver(lambda: self._send(found, config, mode), lambda: self._why_not(goal))

    async def _ask(self, question: t.Callable[[api.Node], t.Awaitable[T]]) -> T:
        """A question may be asked again where the connection broke."""

        async def look() -> T:
            try:
                async with connect(self._endpoint, self._context) as node:
                    return await question(node)
            except (Unreachable, ConnectionLost) as error:
                if self._terms.check:
                    raise
                raise StillWaiting(error) from error

        return await self._poll(look, self._terms.reachable_seconds, "the node must answer")

    async def _require_no_reboot(self, found: Assessment, config: bytes) -> None:
        """Ask before the node is told, where it is not told at all (check mode) or should not have to refuse."""
        terms = self._terms
        if terms.mode == "reboot" and not terms.reboot_allowed:
            raise WouldReboot("mode reboot reboots the node", node=self._node.name)
        if terms.told not in ("no-reboot", "try") or (terms.reboot_allowed and not terms.check):
            return
        needed = await self._needs_reboot(found, config)
        if needed:
            raise self._would_reboot("these changes need a reboot", found)
        if needed is None and not terms.reboot_allowed:
            raise self._would_reboot(f"{_UNKNOWN_REBOOT}, so that it counts as one", found)
        if needed is None:
            self._warn(f"{_UNKNOWN_REBOOT}: a run may fail")

    def _would_reboot(self, why: str, found: Assessment) -> WouldReboot:
        return WouldReboot(f"{why}: {'; '.join(map(str, found.differences))}", node=self._node.name)

    async def _needs_reboot(self, found: Assessment, config: bytes) -> bool | None:
        """None where it cannot be asked: a dry run would cancel a try that is under way."""
        configs = found.observation.configs
        if configs is None or configs.stored != configs.active:
            return None
        dry = await self._ask(lambda node: node.apply_configuration(config, mode="auto", dry_run=True))
        return dry.mode == "reboot"

    async def _send(self, found: Assessment, config: bytes, mode: str) -> TalosError | None:
        """The error where the answer was lost, so that only a look can tell. Waits for another apply to end."""

        async def apply(node: api.Node) -> None:
            self._sent = time.monotonic()
            answer = await node.apply_configuration(config, mode=mode, try_seconds=self._terms.try_seconds)
            for each in answer.warnings:
                self._warn(each)

        try:
            return await self._call(apply, "the node must take a config")
        except InvalidRequest:
            if mode in ("no-reboot", "try") and await self._needs_reboot(found, config):
                raise self._would_reboot("these changes need a reboot", found) from None
            raise

    async def _call(self, call: t.Callable[[api.Node], t.Awaitable[None]], what: str) -> TalosError | None:
        """The error where the answer was lost, so that only a look can tell. Waits while the node cannot take it."""

        async def look() -> TalosError | None:
            try:
                async with connect(self._endpoint, self._context) as node:
                    await call(node)
            except (ConnectionLost, NoAnswer) as error:
                return error
            except (NotYet, Unavailable, Unreachable) as error:
                raise StillWaiting(error) from error
            return None

        return await self._poll(look, self._terms.settle_seconds, what)

    async def _reboot(self) -> None:
        """Have the node in its next boot; call once more where the answer was lost and it stays up."""
        self._actions.append("reboot")
        before = await self._ask(api.Node.boot_id)
        lost = await self._call(api.Node.reboot, "the node must take a reboot")
        if await self._boots(before, lost):
            return
        lost = await self._call(api.Node.reboot, "the node must take a reboot")
        if not await self._boots(before, lost):
            unanswered = f", and left two calls without an answer: {lost.cause}" if lost else ""
            raise NotTaken(f"the node does not reboot{unanswered}", node=self._node.name)

    async def _boots(self, before: str, lost: TalosError | None) -> bool:
        """Wait until the boot ID is another than before. False where the call was lost, and nothing comes of it."""
        idle_since = 0.0

        async def look() -> bool:
            nonlocal idle_since
            try:
                async with connect(self._endpoint, self._context) as node:
                    boot_id, stage = await node.boot_id(), (await node.machine_status()).stage
            except UnknownAuthority:
                # Not what it was before; whoever looks for the config tells what it is now.
                return True
            except (*_PASSING, NotAuthorized) as error:
                idle_since = 0.0
                raise StillWaiting(error) from error
            if boot_id != before:
                return True
            now = time.monotonic()
            idle_since = 0.0 if stage in _GOING_DOWN else idle_since or now
            if lost is not None and idle_since and now - idle_since >= _SETTLED_SECONDS:
                return False
            raise StillWaiting(f"it is still in its boot of before, in stage {stage}")

        return await self._poll(look, self._terms.settle_seconds, "the node must come back from its reboot")

    async def _try(self, found: Assessment, config: bytes) -> None:
        """Apply, see that the node bears it, apply for good before the rollback; else see it rolled back, and fail."""
        self._actions.append(_action("try"))
        try:
            await self._deliver(lambda: self._send(found, config, "try"), lambda: self._why_not_proven(config))
        except WaitedTooLong as error:
            await self._rolled_back(config)
            raise self._not_kept(f"with the tried config the node did not answer steadily ({error.cause})") from error
        self._actions.append(_action("no-reboot"))
        await self._keep(config)
        why_not = await self._why_not(_Goal(config))
        if why_not:
            raise self._not_kept(f"the tried config could not be applied for good in time ({why_not})")

    def _not_kept(self, why: str) -> NotTaken:
        remedy = "The node has its previous config: correct the change and run again"
        return NotTaken(f"{why}, and it rolled back", node=self._node.name, remedy=remedy)

    async def _why_not_proven(self, config: bytes) -> str:
        """Wait until the node has answered steadily with the tried config. Raises WaitedTooLong.

        An answer right after the apply proves nothing: links and addresses change a while later.
        """
        window = self._terms.try_seconds
        steady_since = other_since = 0.0

        async def look() -> str:
            nonlocal steady_since, other_since
            seen = await observe(self._endpoint, self._context)
            now = time.monotonic()
            tried = seen.configs is not None and _same(seen.configs.active, config)
            steady_since = (steady_since or now) if tried else 0.0
            other_since = (other_since or now) if seen.configs is not None and not tried else 0.0
            if other_since and now - other_since >= _SETTLED_SECONDS:
                return _ANOTHER
            if other_since:
                raise StillWaiting("it answers with another config")
            if not tried:
                raise _away(seen)
            if now < self._sent + window * _EARLIEST_PROOF or now - steady_since < window * _STEADY:
                raise StillWaiting("it answers, but not for long enough to trust it")
            return ""

        return await poll(
            look,
            seconds=max(0.0, self._sent + window * _LATEST_PROOF - time.monotonic()),
            what="the node must answer steadily with the tried config",
            node=self._node.name,
            longest_pause=min(2.0, window / 10),
        )

    async def _keep(self, config: bytes) -> None:
        """Apply the tried config for good while it is tried. Returns once it was, or else once the try is over.

        Nothing is sent later: it would store what has just been rolled back.
        """
        ends = self._sent + self._terms.try_seconds

        async def keep() -> None:
            async with connect(self._endpoint, self._context) as node:
                if _same((await node.machine_configs()).active, config):
                    for each in (await node.apply_configuration(config, mode="no-reboot")).warnings:
                        self._warn(each)

        async def look() -> None:
            left = ends - time.monotonic()
            if left <= 0:
                await asyncio.sleep(_SETTLED_SECONDS)
                return
            try:
                await asyncio.wait_for(keep(), left)
            except (*_PASSING, asyncio.TimeoutError, TimeoutError) as error:
                raise StillWaiting(str(error)) from error

        await self._poll(look, self._terms.try_seconds + _SETTLED_SECONDS, "the tried config must be kept")

    async def _rolled_back(self, config: bytes) -> None:
        async def look() -> None:
            seen = await observe(self._endpoint, self._context)
            if seen.configs is None:
                raise _away(seen)
            if _same(seen.configs.active, config):
                raise StillWaiting("the tried config is still active")

        await self._poll(look, self._terms.try_seconds + self._terms.settle_seconds, "the try must roll back")

    # --- arrival

    async def _deliver(
        self,
        send: t.Callable[[], t.Awaitable[TalosError | None]],
        why_not_there: t.Callable[[], t.Awaitable[str]],
    ) -> None:
        """Send, and once more where the answer was lost and the config is not there. Raises NotTaken."""
        lost = await send()
        why_not = await why_not_there()
        if why_not and lost is not None:
            lost = await send()
            why_not = await why_not_there()
        if why_not:
            unanswered = f", and it left two applies without an answer: {lost.cause}" if lost else ""
            raise NotTaken(why_not + unanswered, node=self._node.name)

    async def _require_arrival(self, goal: _Goal) -> None:
        why_not = await self._why_not(goal)
        if why_not:
            raise NotTaken(why_not, node=self._node.name)

    async def _why_not(self, goal: _Goal) -> str:
        """Wait until the node answers, by our PKI, with what it was sent: empty then, or why it did not take it."""
        started = time.monotonic()
        settled_since = 0.0

        async def look() -> str:
            nonlocal settled_since
            seen = await observe(self._endpoint, self._context)
            now = time.monotonic()
            if seen.configs is not None and goal.reached(seen.configs):
                return ""
            if seen.state == observation.UNREACHABLE:
                settled_since = 0.0
                self._require_transient(seen.error, now - started)
                raise _away(seen)
            if seen.configs is not None and goal.near(seen.configs):
                settled_since = 0.0
                raise StillWaiting("the config is stored, and not active yet")
            settled_since = settled_since or now
            if now - settled_since < _SETTLED_SECONDS:
                raise StillWaiting(f"the node is {seen.state}, without the config that it was sent")
            if seen.error is not None:
                raise seen.error
            if seen.state == observation.MAINTENANCE:
                observation.require_machine(self._endpoint, self._node.mac, seen.macs)
                return "the node is in maintenance, without the config that it was sent"
            return _ANOTHER

        return await self._poll(look, self._terms.settle_seconds, "the node must answer with its new config")

    def _require_transient(self, error: TalosError | None, gone: float) -> None:
        if isinstance(error, (NotAuthorized, Unavailable)) and gone > _ROLE_SECONDS:
            raise error


def _away(seen: Observation) -> StillWaiting:
    return StillWaiting(seen.error or f"the node is in {seen.state}")


@dataclass(frozen=True)
class _Goal:
    """Where a node must hold its config: on its disk, and at work too if ``active``."""

    config: bytes
    active: bool = True

    def reached(self, held: MachineConfigs) -> bool:
        return _same(held.stored, self.config) and (not self.active or _same(held.active, self.config))

    def near(self, held: MachineConfigs) -> bool:
        """It is on the disk, and the node has yet to begin with it."""
        return _same(held.stored, self.config)
