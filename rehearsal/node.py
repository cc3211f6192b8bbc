# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One simulated node: its configuration, its power and its boots."""

from __future__ import annotations

import asyncio
import base64
import re
import time
import typing as t
import uuid
from dataclasses import asdict, dataclass

from rehearsal import pki
from rehearsal.configuration import VANILLA_SCHEMATICS, MachineConfiguration
from rehearsal.events import EventHistory
from rehearsal.faults import Fault, NodeFaults
from rehearsal.versions import TalosVersion

if t.TYPE_CHECKING:
    from rehearsal.fleet import Fleet

# The answer to a call leaves the node before its connections go.
GRACE = 0.05
# Which sequences give way to another one.
TAKES_OVER = {"reboot": ("reboot", "reset"), "shutdown": ("reboot", "reset", "shutdown"), "reset": ()}
STAGES_OF_SEQUENCES = {"reboot": "rebooting", "shutdown": "shutting down", "reset": "resetting"}


@dataclass
class NodeRecord:
    """What of a node outlives the daemon; configurations as base64."""

    name: str
    address: str
    mac: str
    board: str = "generic"
    disk_size: int = 32_000_000_000
    talos_version: str = "1.14.2"
    schematic: str = ""
    powered: bool = True
    active: str = ""
    stored: str = ""
    previous: str = ""
    rollback_to: str = ""
    active_version: int = 0
    stored_version: int = 0
    active_created: float = 0.0
    stored_created: float = 0.0
    active_updated: float = 0.0
    stored_updated: float = 0.0
    boot_id: str = ""
    etcd_data: bool = False

    def as_json(self) -> dict[str, t.Any]:
        return asdict(self)


class Node:
    """The state of one node. What it answers is the business of the services."""

    def __init__(self, record: NodeRecord, fleet: Fleet) -> None:
        self.record = record
        self.fleet = fleet
        self.name, self.address = record.name, record.address
        self.version = TalosVersion.parse(record.talos_version)
        self.faults = NodeFaults()
        self.events = EventHistory()
        self.observed: dict[tuple[str, str], tuple[t.Any, int, float]] = {}
        self.sequence = ""
        self.up = record.powered
        self.made_at = time.time()
        self.booted_at = 0.0
        self.applied_at = 0.0
        self.rebooting_for_apply = False
        self.etcd_stopped = False
        self.impostor: Node | None = None
        self._certificate: pki.Issued | None = None
        self._rollback: asyncio.TimerHandle | None = None
        self._then: t.Callable[[], None] | None = None
        self._parsed_configurations: dict[str, MachineConfiguration] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._going_down: asyncio.Task[None] | None = None
        self.record.boot_id = self.record.boot_id or str(uuid.uuid4())
        if record.rollback_to:
            # The daemon was killed in a try: as after a power cut.
            record.active, record.rollback_to = record.stored, ""

    # --- configuration

    @property
    def active(self) -> MachineConfiguration | None:
        """The configuration that the node runs by."""
        return self._parsed(self.record.active)

    @property
    def stored(self) -> MachineConfiguration | None:
        """The configuration on its disk: what the next boot runs by."""
        return self._parsed(self.record.stored)

    def _parsed(self, encoded: str) -> MachineConfiguration | None:
        if not encoded:
            return None
        known = self._parsed_configurations
        if encoded not in known:
            kept = {text: known[text] for text in (self.record.active, self.record.stored) if text in known}
            kept[encoded] = MachineConfiguration.parse(base64.b64decode(encoded), self.version)
            self._parsed_configurations = kept
        return self._parsed_configurations[encoded]

    @property
    def configured(self) -> bool:
        active = self.active
        return active is not None and active.complete

    @property
    def is_control_plane(self) -> bool:
        active = self.active
        return active is not None and active.complete and active.is_control_plane

    @property
    def identity(self) -> str:
        active = self.active
        return active.identity if active is not None and active.complete else ""

    @property
    def fqdn(self) -> str:
        """The static hostname, with its domain if it has one, else the one that Talos makes up from the machine."""
        made_up = f"talos-{uuid.uuid5(uuid.NAMESPACE_DNS, self.record.mac).hex[:3]}"
        made_up += f"-{uuid.uuid5(uuid.NAMESPACE_OID, self.record.mac).hex[:3]}"
        active = self.active
        return (active.hostname if active else "") or made_up

    @property
    def hostname(self) -> str:
        return self.fqdn.partition(".")[0]

    @property
    def domain(self) -> str:
        return self.fqdn.partition(".")[2]

    @property
    def nodename(self) -> str:
        """The name in Kubernetes; empty where nothing of the hostname can be in one."""
        active = self.active
        whole = active is not None and active.section("machine", "kubelet", "registerWithFQDN")
        name = (self.fqdn if whole else self.hostname).lower().replace("_", "-")
        return re.sub(r"[^a-z0-9.-]", "", name).strip("-.")

    @property
    def schematic(self) -> str:
        """The schematic of the image on the card; where nobody said which, what the configuration's installer names."""
        if self.record.schematic:
            return self.record.schematic
        active = self.active
        board = self.record.board
        return active.schematic(board) if active else VANILLA_SCHEMATICS.get(board, VANILLA_SCHEMATICS["generic"])

    @property
    def kubernetes_version(self) -> str:
        active = self.active
        return (active.kubernetes_version if active else "") or self.version.kubernetes

    def set_stored(self, data: bytes) -> None:
        record, now = self.record, time.time()
        encoded = base64.b64encode(data).decode()
        if encoded != record.stored:
            record.previous = record.stored
        record.stored = encoded
        record.stored_version += 1
        record.stored_created = record.stored_created or now
        record.stored_updated = now

    def set_active(self, data: bytes) -> None:
        record, now = self.record, time.time()
        encoded = base64.b64encode(data).decode()
        if encoded == record.active:
            return
        if self.configured:
            # That of maintenance lasts until the answer to the first configuration has left.
            self._certificate = None
        record.active = encoded
        record.active_version += 1
        record.active_created = record.active_created or now
        record.active_updated = now

    def save(self) -> None:
        self.fleet.save(self)

    # --- try mode

    def revert_after(self, seconds: float) -> None:
        """Go back to the configuration that is active now, tried or not, unless another apply comes first."""
        self.keep_tried()
        self.record.rollback_to = self.record.active
        self._rollback = asyncio.get_running_loop().call_later(seconds, self._revert)

    def keep_tried(self) -> None:
        """No rollback any more (any apply does this, a dry run too)."""
        if self._rollback is not None:
            self._rollback.cancel()
        self._rollback, self.record.rollback_to = None, ""

    @property
    def trying(self) -> bool:
        return self._rollback is not None

    def _revert(self) -> None:
        before = self.record.rollback_to
        self.keep_tried()
        self.set_active(base64.b64decode(before))
        self.save()
        self.fleet.refresh(self)

    # --- faults

    def fault(self, name: str, method: str = "") -> Fault | None:
        """The named fault if it applies now."""
        return self.faults.active(name, self.stage, method) if self.faults else None

    def take_fault(self, name: str, method: str = "") -> Fault | None:
        """The same, counted."""
        fault = self.faults.take(name, self.stage, method) if self.faults else None
        if fault is not None and fault.times is not None:
            self.fleet.save_faults()
        return fault

    @property
    def reachable_for_peers(self) -> bool:
        """For etcd: a node that is frozen or cut off is no member that counts."""
        return self.up and not self.fault("frozen") and not self.fault("no-route") and not self.fault("half-open")

    # --- power and boots

    @property
    def is_off(self) -> bool:
        return not self.record.powered and not self.sequence

    @property
    def stage(self) -> str:
        if self.is_off:
            return "off"
        if self.sequence:
            return STAGES_OF_SEQUENCES[self.sequence]
        if not self.configured:
            return "maintenance"
        if not self.services_up or (self.is_control_plane and not self.fleet.etcd.runs_on(self)):
            return "booting"
        return "running"

    @property
    def services_up(self) -> bool:
        """Have kubelet and its like had the time to start since the boot or the first configuration?"""
        began = max(self.booted_at, self.applied_at)
        return self.up and self.configured and time.time() >= began + self.fleet.boot_time

    def certificate(self) -> pki.Issued | None:
        """The certificate of the API: None for a worker while no control plane can issue one."""
        if self._certificate is None:
            self._certificate = self._new_certificate()
        return self._certificate

    def _new_certificate(self) -> pki.Issued | None:
        active = self.active
        if active is None or not active.complete:
            return pki.self_signed([self.address])
        names = list(dict.fromkeys((*active.cert_sans, self.address, self.hostname, self.fqdn)))
        ca = active.talos_ca if active.talos_ca.key else self.fleet.issuing_ca(self)
        try:
            return pki.server_certificate(ca, names) if ca else None
        except ValueError:
            # Talos takes a CA that is no PEM, and names that no certificate can have; its API then has none.
            return None

    def swap_certificate(self) -> None:
        """Another certificate from now on; open connections end."""
        self._certificate = None
        self.fleet.drop_connections(self)
        self.fleet.refresh(self)

    def take_first_configuration(self) -> None:
        """Out of maintenance: the node boots on with its configuration."""
        self.applied_at = time.time()
        self._later(self._leave_maintenance())

    async def _leave_maintenance(self) -> None:
        await asyncio.sleep(GRACE)
        self.swap_certificate()

    def start_sequence(self, sequence: str, actor: str = "", then: t.Callable[[], None] | None = None) -> None:
        """Reboot, shut down or reset: answers first, then the node goes. The call does not tell of one in its way."""
        if not self.up:
            return
        if self.sequence and self.sequence not in TAKES_OVER[sequence]:
            self.events.locked(sequence)
            return
        self._give_up_sequence()
        self.sequence, self._then = sequence, then
        self.events.sequence(sequence, actor)
        self._going_down = self._later(self._go_down())

    def _give_up_sequence(self) -> None:
        if self._going_down is not None:
            self._going_down.cancel()
            self._going_down = None

    async def _go_down(self) -> None:
        await asyncio.sleep(GRACE * 2)
        self.events.task("stopAllServices")
        await asyncio.sleep(GRACE * 2)
        self.up = False
        self.fleet.drop_connections(self)
        self.fleet.refresh(self)
        if not self._leaves_power():
            return
        await asyncio.sleep(self.fleet.boot_time / 2)
        while self.fault("no-reboot-completes"):
            await asyncio.sleep(GRACE)
        self.boot()

    def _leaves_power(self) -> bool:
        """Do what the sequence is there for; is there something to boot after it?"""
        then, self._then = self._then, None
        if then is not None:
            then()
        if self.sequence == "shutdown" or not self.record.powered:
            self.record.powered, self.sequence = False, ""
            self.save()
        return self.record.powered

    def boot(self) -> None:
        """The node is up again, with the stored configuration."""
        self._run_by_stored()
        self._certificate = None
        self.observed.clear()
        self.events = EventHistory()
        self.sequence, self.up, self.rebooting_for_apply, self.etcd_stopped = "", True, False, False
        self.booted_at = time.time()
        self.save()
        self.fleet.refresh(self)

    def _run_by_stored(self) -> None:
        """What a boot makes of the record."""
        self.keep_tried()
        if self.take_fault("old-config"):
            self.record.stored = self.record.previous
        self.record.powered, self.record.boot_id = True, str(uuid.uuid4())
        if self.record.stored == self.record.active:
            return
        if self.record.stored:
            self.set_active(base64.b64decode(self.record.stored))
        else:
            self.record.active = ""

    def power_off(self) -> None:
        """The plug is pulled: connections just stop."""
        for task in self._tasks:
            task.cancel()
        self.record.powered, self.up, self.sequence, self._then = False, False, "", None
        self.keep_tried()
        self.fleet.follow(self)
        self.save()
        self.fleet.refresh(self)

    def power_on(self) -> None:
        if not self.up:
            self._give_up_sequence()
            self.boot()

    def halt(self) -> None:
        """Stay down after what is going on now."""
        self.record.powered = False

    def forget_configuration(self) -> None:
        record = self.record
        record.active = record.stored = record.previous = ""
        record.active_version = record.stored_version = 0
        record.active_created = record.stored_created = 0.0

    def forget_etcd(self) -> None:
        """Its member leaves, and the data go."""
        self.record.etcd_data = False
        self.fleet.remove_member(self.name)

    def lose_etcd(self) -> None:
        """The data go, and nobody is told: the member stays listed."""
        self.record.etcd_data = False
        self.fleet.drop_lost_etcd()

    def _later(self, work: t.Coroutine[t.Any, t.Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def stop(self) -> None:
        """End what is under way: the daemon goes down. A sequence counts as completed, a try as rolled back."""
        for task in self._tasks:
            task.cancel()
        if self.sequence and self._leaves_power():
            self._run_by_stored()
        if self.record.rollback_to:
            self.record.active = self.record.rollback_to
        self.keep_tried()
        self.save()
