# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults on demand: one table of names, and which of them a node has right now."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

FAULTS: dict[str, str] = {
    "refused": "the API port is closed: connection refused",
    "no-route": "nothing at the address answers, not even with a refusal: connections time out or have no route",
    "half-open": "connections are taken and never answered, as after a power cut",
    "frozen": "hands are shaken, then nothing is ever answered",
    "slow": "each call waits before it is answered (delay=SECONDS, default 1)",
    "hang": "calls are never answered (method=NAME picks them)",
    "unknown-authority": "the certificate is another CA's",
    "certificate-required-broken-pipe": "connections break after the handshake, as insecure ones may",
    "permission-denied": "PermissionDenied, not authorized",
    "not-ready-to-bootstrap": "Bootstrap says that it is not available yet",
    "time-not-in-sync": "the clock is not set yet: Bootstrap refuses, the node is not ready",
    "already-bootstrapped": "Bootstrap says that etcd's data directory is not empty",
    "no-quorum": "etcd has no leader",
    "reboot-in-call": "the connection breaks in the middle of a call and the node reboots (method=NAME)",
    "lost-apply-answer": "the configuration is taken, the answer never arrives",
    "old-config": "the node comes back from its next boot with the configuration that it had before",
    "other-machine": "another machine, in maintenance, is at the address: other MAC, other certificate",
    "no-reboot-completes": "the node never comes back from a reboot",
    "pods-never-ready": "pods on the node run, but are never ready",
}
# A fault may be limited to some of these.
STAGES = frozenset(("maintenance", "booting", "running", "rebooting", "resetting", "shutting down", "off"))
# Faults that happen once unless told otherwise.
ONCE = frozenset(("reboot-in-call", "lost-apply-answer", "old-config"))
_SETTINGS = ("times", "method", "after", "delay")


@dataclass
class Fault:
    """One fault of one node, or of what else the rehearsal plays."""

    name: str
    times: int | None = None
    method: str = ""
    after: str = ""
    delay: float = 1.0
    stages: tuple[str, ...] = ()
    armed: bool = field(default=True)
    app: str = ""

    @classmethod
    def from_words(
        cls,
        name: str,
        words: t.Mapping[str, str],
        stages: t.Sequence[str] = (),
        *,
        known: t.Collection[str] = tuple(FAULTS),
        once: t.Collection[str] = ONCE,
        settings: t.Sequence[str] = _SETTINGS,
    ) -> Fault:
        """A fault from ``key=value`` words; ``ValueError`` tells what is wrong with them."""
        if name not in known:
            raise ValueError(f"unknown fault {name!r}; known: {', '.join(known)}")
        unknown = set(words) - set(settings)
        if unknown:
            raise ValueError(f"unknown setting {sorted(unknown)[0]!r}; known: {', '.join(settings)}")
        if strange := set(stages) - STAGES:
            raise ValueError(f"unknown stage {sorted(strange)[0]!r}; known: {', '.join(sorted(STAGES))}")
        times = int(words["times"]) if "times" in words else (1 if name in once else None)
        after = words.get("after", "")
        delay = float(words.get("delay", "1"))
        return cls(name, times, words.get("method", ""), after, delay, tuple(stages), not after, words.get("app", ""))

    def applies(self, stage: str, method: str) -> bool:
        """In this stage, for this method (its last word; empty while no call has begun)?"""
        if not self.armed or self.times == 0 or (self.stages and stage not in self.stages):
            return False
        return not self.method or self.method == method

    def as_json(self) -> dict[str, t.Any]:
        return {
            "name": self.name,
            "times": self.times,
            "method": self.method,
            "after": self.after,
            "delay": self.delay,
            "stages": list(self.stages),
            "armed": self.armed,
            "app": self.app,
        }

    @classmethod
    def from_json(cls, value: dict[str, t.Any]) -> Fault:
        return cls(**{**value, "stages": tuple(value["stages"])})


class NodeFaults:
    """The faults of one node."""

    def __init__(self, faults: t.Iterable[Fault] = ()) -> None:
        self.all = list(faults)

    def __bool__(self) -> bool:
        return bool(self.all)

    def active(self, name: str, stage: str, method: str = "") -> Fault | None:
        """The fault if it applies now, without counting it."""
        return next((fault for fault in self.all if fault.name == name and fault.applies(stage, method)), None)

    def take(self, name: str, stage: str, method: str = "") -> Fault | None:
        """The fault if it applies now, counted as one of its ``times``."""
        fault = self.active(name, stage, method)
        if fault is not None and fault.times is not None:
            fault.times -= 1
        self.all = [kept for kept in self.all if kept.times != 0]
        return fault

    def called(self, method: str) -> None:
        """A call was served: faults that wait for it begin."""
        for fault in self.all:
            if fault.after == method:
                fault.armed = True
