# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults on demand: one table of names, and which of them a node has right now."""

from __future__ import annotations

import time
import typing as t
from dataclasses import asdict, dataclass, field

from rehearsal.messages import METHODS


class Kind(t.NamedTuple):
    """What a fault does, the settings that it takes, and whether it happens once unless told otherwise."""

    text: str
    settings: tuple[str, ...] = ()
    once: bool = False


# Any fault of a node can wait for a call, and some seconds more.
LATER = ("after", "delay")
_COUNTED = ("times", *LATER)
_OF_CALLS = ("method", *_COUNTED)

FAULTS: dict[str, Kind] = {
    "refused": Kind("the API port is closed: connection refused", LATER),
    "no-route": Kind("nothing at the address answers any more; new connections time out or have no route", LATER),
    "half-open": Kind("nothing answers any more; connections are taken all the same, as by a firewall", LATER),
    "frozen": Kind("nothing answers any more; new connections end with the handshake, as of a node that hangs", LATER),
    "slow": Kind("each call waits before it is answered (delay=SECONDS, default 1)", _OF_CALLS),
    "hang": Kind("calls are never answered (method=NAME picks them)", _OF_CALLS),
    "unknown-authority": Kind("the certificate is another CA's", _COUNTED),
    "certificate-required-broken-pipe": Kind("connections break after the handshake, as insecure ones may", _COUNTED),
    "permission-denied": Kind("PermissionDenied, not authorized", _OF_CALLS),
    "not-ready-to-bootstrap": Kind("Bootstrap says that it is not available yet", _COUNTED),
    "time-not-in-sync": Kind("the clock is not set yet: Bootstrap refuses, the node is not ready", _COUNTED),
    "already-bootstrapped": Kind("Bootstrap says that etcd's data directory is not empty", _COUNTED),
    "no-quorum": Kind("etcd has no leader", LATER),
    "reboot-in-call": Kind("the connection breaks in the middle of a call and the node reboots", _OF_CALLS, once=True),
    "lost-answer": Kind("a call that changes something does it, the answer never arrives", _OF_CALLS, once=True),
    "old-config": Kind("the node comes back from a boot with the configuration before this one", _COUNTED, once=True),
    "other-machine": Kind("another machine, in maintenance, is at the address: other MAC and certificate", LATER),
    "no-reboot-completes": Kind("the node never comes back from a reboot", LATER),
    "pods-never-ready": Kind("pods on the node run, but are never ready", LATER),
}
# A fault may be limited to some of these.
STAGES = frozenset(("maintenance", "booting", "running", "rebooting", "resetting", "shutting down", "off"))
_METHODS = frozenset(path.rpartition("/")[2] for path in METHODS)


@dataclass
class Fault:
    """One fault of one node, or of what else the rehearsal plays. ``begins`` is a time, 0 where it has begun."""

    name: str
    times: int | None = None
    method: str = ""
    after: str = ""
    delay: float = 0.0
    stages: tuple[str, ...] = ()
    armed: bool = field(default=True)
    app: str = ""
    begins: float = 0.0

    @classmethod
    def from_words(
        cls,
        name: str,
        words: t.Mapping[str, str],
        stages: t.Sequence[str] = (),
        *,
        known: t.Mapping[str, Kind] = FAULTS,
    ) -> Fault:
        """A fault from ``key=value`` words; ``ValueError`` tells what is wrong with them."""
        if name not in known:
            raise ValueError(f"unknown fault {name!r}; known: {', '.join(known)}")
        kind = known[name]
        _check(name, kind, words, stages)
        times = _number(int, words, "times", 1 if kind.once else None)
        delay = _number(float, words, "delay", 1.0 if name == "slow" else 0.0)
        after = words.get("after", "")
        return cls(name, times, words.get("method", ""), after, delay, tuple(stages), not after, words.get("app", ""))

    def applies(self, stage: str, method: str) -> bool:
        """In this stage, for this method (its last word; empty while no call has begun)?"""
        if not self.armed or self.times == 0 or (self.stages and stage not in self.stages):
            return False
        return self.begins <= time.time() and (not self.method or self.method == method)

    def called(self, method: str) -> None:
        """A call was served: a fault that waits for it begins, at once or after its delay."""
        if self.after == method and not self.armed:
            self.armed = True
            # The delay of a slow node is that of its answers.
            self.begins = time.time() + self.delay if self.delay and self.name != "slow" else 0.0

    def as_json(self) -> dict[str, t.Any]:
        return {**asdict(self), "stages": list(self.stages)}

    @classmethod
    def from_json(cls, value: dict[str, t.Any]) -> Fault:
        return cls(**{**value, "stages": tuple(value["stages"])})


def _check(name: str, kind: Kind, words: t.Mapping[str, str], stages: t.Sequence[str]) -> None:
    if unknown := sorted(set(words) - set(kind.settings)):
        raise ValueError(f"{name} takes no setting {unknown[0]!r}; it takes: {', '.join(kind.settings) or 'none'}")
    for key in ("method", "after"):
        if words.get(key, "Version") not in _METHODS:
            raise ValueError(f"{key}={words[key]}: no such call; known: {', '.join(sorted(_METHODS))}")
    if "delay" in words and "after" not in words and name != "slow":
        raise ValueError(f"delay={words['delay']}: {name} begins so long after a call; name it with after=NAME")
    if strange := set(stages) - STAGES:
        raise ValueError(f"unknown stage {sorted(strange)[0]!r}; known: {', '.join(sorted(STAGES))}")


N = t.TypeVar("N", int, float)


def _number(kind: type[N], words: t.Mapping[str, str], key: str, default: N | None) -> t.Any:
    try:
        return kind(words[key]) if key in words else default
    except ValueError:
        raise ValueError(f"{key}={words[key]}: not a number") from None


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
            fault.called(method)
