# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault of the simulated nodes in every phase in which it can strike: it ends, says why, and heals.

First without Ansible, each fault in each phase; at the end of the file a whole run of site.yml for each fault.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import typing as t
from dataclasses import dataclass, replace

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import _api
from ansible_collections.homelab.talos.plugins.module_utils._assessment import endpoint_of
from ansible_collections.homelab.talos.plugins.module_utils._client_files import fetch_kubeconfig
from ansible_collections.homelab.talos.plugins.module_utils._errors import TalosError
from ansible_collections.homelab.talos.plugins.module_utils._new_bundle import require_maintenance
from ansible_collections.homelab.talos.plugins.module_utils._planning import Plan
from rehearsal.faults import FAULTS, Fault
from tests import simulated
from tests.simulated import SYSCTLS, UDEV, Simulation, simulation
from tests.unit.rehearsal.harness import until

from .conftest import MakeRehearsal, Rehearsal, Run

# What each phase ends with while the fault lasts: the kind of the error, the words in quotes, "-" where the phase
# succeeds although the fault struck, or "." where it has no occasion to strike.
#
#   secrets new          the look before a secrets bundle is made, with all nodes in maintenance
#   secrets              the same with this one configured, which succeeds where a second PKI is refused
#   look new, look       the plan, of a node in maintenance and of a configured one (told in the node's entry)
#   first, change        machine_config in maintenance, and with a change for a configured node: the fault is there
#   in first, in change  the same, but the fault strikes with the node's answer to the apply, or in place of it; the
#                        change is one for which the node reboots
#   bootstrap, in boot.  the same for bootstrap
#   kubeconfig           fetching it
#   wait                 what the wait for health says
LASTING = """
fault                            | secrets new         | secrets   | look new       | look
refused                          | -                   | "is made" | Unreachable    | Unreachable
no-route                         | -                   | "is made" | Unreachable    | Unreachable
half-open                        | -                   | "is made" | Unreachable    | Unreachable
frozen                           | "not known whether" | -         | NoAnswer       | NoAnswer
slow                             | -                   | .         | -              | -
hang                             | "not known whether" | .         | NoAnswer       | NoAnswer
unknown-authority                | -                   | -         | -              | UnknownAuthority
certificate-required-broken-pipe | "not known whether" | -         | ConnectionLost | ConnectionLost
permission-denied                | "not known whether" | .         | NotAuthorized  | NotAuthorized
not-ready-to-bootstrap           | .                   | .         | .              | .
time-not-in-sync                 | .                   | .         | .              | "time is not synced"
already-bootstrapped             | .                   | .         | .              | .
no-quorum                        | .                   | .         | .              | "etcdserver: no leader"
reboot-in-call                   | "not known whether" | .         | "connection"   | ConnectionLost
lost-answer                      | .                   | .         | .              | .
old-config                       | .                   | .         | .              | .
other-machine                    | -                   | "is made" | WrongMachine   | WrongMachine
no-reboot-completes              | .                   | .         | .              | .

fault                            | first            | in first         | change           | in change
refused                          | Unreachable      | WaitedTooLong    | Unreachable      | WaitedTooLong
no-route                         | Unreachable      | WaitedTooLong    | Unreachable      | WaitedTooLong
half-open                        | Unreachable      | WaitedTooLong    | Unreachable      | WaitedTooLong
frozen                           | NoAnswer         | WaitedTooLong    | NoAnswer         | WaitedTooLong
slow                             | -                | -                | -                | -
hang                             | NoAnswer         | NotTaken         | NoAnswer         | NotTaken
unknown-authority                | UnknownAuthority | UnknownAuthority | UnknownAuthority | UnknownAuthority
certificate-required-broken-pipe | ConnectionLost   | WaitedTooLong    | ConnectionLost   | WaitedTooLong
permission-denied                | NotAuthorized    | NotAuthorized    | NotAuthorized    | NotAuthorized
not-ready-to-bootstrap           | .                | .                | .                | .
time-not-in-sync                 | -                | -                | -                | -
already-bootstrapped             | .                | .                | .                | .
no-quorum                        | .                | .                | .                | .
reboot-in-call                   | -                | -                | -                | -
lost-answer                      | -                | -                | -                | -
old-config                       | .                | .                | .                | NotTaken
other-machine                    | WrongMachine     | WrongMachine     | WrongMachine     | WrongMachine
no-reboot-completes              | .                | .                | .                | WaitedTooLong

fault                            | bootstrap        | in bootstrap     | kubeconfig       | wait
refused                          | Unreachable      | WaitedTooLong    | Unreachable      | "connection refused"
no-route                         | Unreachable      | WaitedTooLong    | Unreachable      | "no connection"
half-open                        | Unreachable      | WaitedTooLong    | Unreachable      | "no connection"
frozen                           | NoAnswer         | WaitedTooLong    | NoAnswer         | "no answer within"
slow                             | -                | -                | -                | -
hang                             | NoAnswer         | WaitedTooLong    | NoAnswer         | "no answer within"
unknown-authority                | RefusedBootstrap | UnknownAuthority | UnknownAuthority | "not by this cluster's PKI"
certificate-required-broken-pipe | ConnectionLost   | WaitedTooLong    | ConnectionLost   | "the connection broke"
permission-denied                | NotAuthorized    | NotAuthorized    | NotAuthorized    | "not authorized"
not-ready-to-bootstrap           | WaitedTooLong    | WaitedTooLong    | .                | .
time-not-in-sync                 | WaitedTooLong    | WaitedTooLong    | .                | "time is not synced"
already-bootstrapped             | WaitedTooLong    | WaitedTooLong    | .                | .
no-quorum                        | WaitedTooLong    | WaitedTooLong    | .                | "etcd not healthy"
reboot-in-call                   | -                | -                | ConnectionLost   | "the connection broke"
lost-answer                      | -                | -                | .                | .
old-config                       | .                | .                | .                | .
other-machine                    | RefusedBootstrap | UnknownAuthority | UnknownAuthority | "another machine"
no-reboot-completes              | .                | .                | .                | .
"""
# Nothing that is tested here looks at pods: see test_argocd.py.
OF_PODS = {"pods-never-ready"}
# A fault that is gone soon after it struck is waited for, in every phase that changes something, but for these: there
# is no reason to believe that they pass.
NOT_WAITED_FOR = {
    ("unknown-authority", "change"),
    ("unknown-authority", "bootstrap"),
    ("unknown-authority", "in bootstrap"),
    ("already-bootstrapped", "bootstrap"),
    ("already-bootstrapped", "in bootstrap"),
    ("permission-denied", "first"),
    ("permission-denied", "in first"),
    ("permission-denied", "change"),
    ("permission-denied", "in change"),
    ("permission-denied", "bootstrap"),
    ("permission-denied", "in bootstrap"),
    ("old-config", "in change"),
    ("other-machine", "first"),
    ("other-machine", "change"),
    ("other-machine", "bootstrap"),
    ("other-machine", "in bootstrap"),
}
PHASES_WITH_PATIENCE = ("first", "in first", "change", "in change", "bootstrap", "in bootstrap")
# A part of the matrix for every `make test`.
USUAL = ("refused", "frozen", "hang", "unknown-authority", "reboot-in-call", "lost-answer", "other-machine")

# A phase that has not ended by then never will.
SECONDS = 120.0
AT_ONCE = 8
# Only it reboots for some changes.
_TALOS = {"in change": "1.13.9"}
# Faults that need a reason to begin later begin with the answer to this call; the others in place of it.
_METHODS = {"in first": "ApplyConfiguration", "in change": "ApplyConfiguration", "in bootstrap": "Bootstrap"}
_OF_A_CALL = {"hang", "slow", "permission-denied", "reboot-in-call"}
_OF_THE_ADDRESS = {
    "refused",
    "no-route",
    "half-open",
    "frozen",
    "unknown-authority",
    "certificate-required-broken-pipe",
    "other-machine",
}


def _parsed(table: str) -> dict[str, dict[str, str]]:
    """Phase, fault: what happens."""
    found: dict[str, dict[str, str]] = {}
    phases: list[str] = []
    for line in filter(None, table.splitlines()):
        name, *cells = (cell.strip() for cell in line.split("|"))
        if name == "fault":
            phases = cells
            continue
        for phase, cell in zip(phases, cells, strict=True):
            found.setdefault(phase, {})[name] = cell
    return found


EXPECTED = _parsed(LASTING)
_CELLS = [(phase, fault, cell) for phase, faults in EXPECTED.items() for fault, cell in faults.items()]


def test_the_table_knows_every_fault_in_every_phase() -> None:
    assert {phase: set(faults) for phase, faults in EXPECTED.items()} == dict.fromkeys(_PHASES, set(FAULTS) - OF_PODS)
    # Each of them strikes somewhere.
    assert {fault for _phase, fault, cell in _CELLS if cell != "."} == set(FAULTS) - OF_PODS


# Addresses at which the product got no connection, in the order of its errors: a closed port writes no log.
_closed: list[str] = []


@pytest.mark.parametrize("fault", sorted(_OF_THE_ADDRESS))
def test_a_fault_strikes_only_whom_it_meets(fault: str) -> None:
    """Otherwise a phase that asks nobody would count as one that succeeds in spite of it."""

    async def scenario() -> None:
        async with simulation("cp") as nodes:
            watched = Watched.put(fault, {}, nodes)
            await asyncio.sleep(0.3)  # the nodes' clockwork goes on
            assert not watched.struck
            await nodes.plan()
            assert watched.struck

    asyncio.run(scenario())


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated.hurry(monkeypatch)
    opens = _api._open

    async def told(channel: t.Any, endpoint: _api.Endpoint, *words: t.Any) -> None:
        try:
            await opens(channel, endpoint, *words)
        except TalosError:
            _closed.append(endpoint.address)
            raise

    monkeypatch.setattr(_api, "_open", told)


def test_a_lasting_fault() -> None:
    _require({(phase, fault): cell for phase, fault, cell in _CELLS if fault in USUAL and cell != "."})


@pytest.mark.faults
def test_every_lasting_fault() -> None:
    _require({(phase, fault): cell for phase, fault, cell in _CELLS})


@pytest.mark.faults
def test_a_fault_that_passes() -> None:
    patient = [cells for cells in _CELLS if cells[0] in PHASES_WITH_PATIENCE and cells[2] != "."]
    expected = {(phase, fault): cell if (fault, phase) in NOT_WAITED_FOR else "-" for phase, fault, cell in patient}
    _require(expected, passes_after=0.7)


def _require(expected: dict[tuple[str, str], str], passes_after: float | None = None) -> None:
    """All at once, each on nodes of its own: most of the time is spent waiting."""

    async def all_of_them() -> list[str]:
        at_once = asyncio.Semaphore(AT_ONCE)

        async def one(phase: str, fault: str, cell: str) -> str:
            async with at_once:
                # Where it is not waited for, it must be there for as long as a busy machine takes to meet it.
                passes = passes_after if cell == "-" else None
                return await _case(phase, fault, cell not in ("-", "."), passes)

        return await asyncio.gather(*(one(*case, cell) for case, cell in expected.items()))

    found = dict(zip(expected, asyncio.run(all_of_them()), strict=True))
    wrong = [
        f"{phase}, {fault}: expected {cell}, found {found[phase, fault]}"
        for (phase, fault), cell in expected.items()
        if not _is(cell, found[phase, fault])
    ]
    assert not wrong, "\n".join(wrong)


def _is(cell: str, found: str) -> bool:
    return cell.strip('"') in found if cell.startswith('"') else found.split(":")[0] == cell


async def _case(phase: str, fault: str, fails: bool, passes_after: float | None) -> str:
    """What the phase ended with; after it, without the fault, everything must converge."""
    async with simulation("cp", "beside", talos_version=_TALOS.get(phase, "1.14.2")) as nodes:
        await _prepare(phase, nodes)
        if fails:
            nodes.give_up_soon()
        watched = Watched.put(fault, _words(phase, fault), nodes)
        await asyncio.sleep(0.05)
        passing = asyncio.create_task(_pass(nodes, watched, passes_after))
        try:
            async with asyncio.timeout(SECONDS):
                found = await _PHASES[phase](nodes)
        except TalosError as error:
            found = _told(error)
        except TimeoutError:
            return "it does not end"
        passing.cancel()
        if found == "-" and not watched.struck:
            found = "."
        if any(name.startswith("other machine") for name in nodes.calls("ApplyConfiguration")):
            return f"another machine was sent a config: {found}"
        if fails:
            nodes.be_patient()
        await nodes.clear()
        await nodes.everything()
        again = [name for name in nodes.fleet.nodes if (await nodes.converge(name)).changed]
        return f"changed again: {again}" if again else found


async def _pass(nodes: Simulation, fault: Watched, seconds: float | None) -> None:
    """Gone so long after it struck; None: never."""
    if seconds is not None:
        await until(lambda: fault.struck, SECONDS)
        await asyncio.sleep(seconds)
        nodes.fleet.clear_faults(nodes.fleet.nodes.values())


class Watched(Fault):
    """A fault that knows whether anybody has suffered it."""

    asked = False
    nodes: Simulation
    # How much was in the log of connections, and among the product's errors, as the fault began.
    logged = failed = 0

    @classmethod
    def put(cls, fault: str, words: dict[str, str], nodes: Simulation) -> Watched:
        """On the control plane."""
        watched = t.cast(Watched, cls.from_words(fault, words))
        watched.nodes = nodes
        watched.begin()
        nodes.fleet.add_fault(nodes.fleet.nodes["cp"], watched)
        return watched

    def begin(self) -> None:
        self.logged, self.failed = len(self.nodes.log.entries), len(_closed)

    @property
    def struck(self) -> bool:
        if self.name in _OF_THE_ADDRESS:
            return self.armed and self._met()
        return self.asked if self.times is None else self.times == 0

    def _met(self) -> bool:
        """Did anybody try to connect? The node itself asks for such a fault whether or not anybody does."""
        address = self.nodes.fleet.nodes["cp"].address
        lines = self.nodes.log.entries[self.logged :]
        connected = any(line["method"] == "connect" and line["address"] == address for line in lines)
        return connected or address in _closed[self.failed :]

    def called(self, method: str) -> None:
        was_armed = self.armed
        super().called(method)
        if self.armed and not was_armed:
            self.begin()

    def applies(self, stage: str, method: str) -> bool:
        applies = super().applies(stage, method)
        # The nodes' own clockwork looks at faults, too.
        if applies and asyncio.current_task() is not self.nodes.fleet._ticking:
            self.asked = True
        return applies


def _words(phase: str, fault: str) -> dict[str, str]:
    words = {"delay": "0.4"} if fault == "slow" else {}
    method = _METHODS.get(phase)
    if method and fault in _OF_A_CALL:
        words["method"] = method
    if method and fault in _OF_THE_ADDRESS:
        words["after"] = method
    return words


def _told(error: TalosError) -> str:
    """The kind, where the error says which node it is about, and what to do."""
    if not re.search(r"\bcp\b", error.node or error.cause):
        return f"error without its node: {error}"
    if not error.remedy:
        return f"error without a remedy: {error}"
    return f"{type(error).__name__}: {error.cause}"


async def _prepare(phase: str, nodes: Simulation) -> None:
    if phase in ("look", "wait", "kubeconfig"):
        await nodes.everything()
    elif phase == "secrets":
        await nodes.converge("cp")
    elif phase not in ("secrets new", "look new", "first", "in first"):
        for name in nodes.fleet.nodes:
            await nodes.converge(name)


async def _secrets_new(nodes: Simulation) -> str:
    await require_maintenance([endpoint_of(node) for node in nodes.nodes])
    return "-"


async def _secrets(nodes: Simulation) -> str:
    try:
        await _secrets_new(nodes)
    except TalosError as error:
        return "-" if "a new secrets bundle is refused" in error.cause else _told(error)
    return "a second PKI is made"


async def _look_new(nodes: Simulation) -> str:
    return _planned(await nodes.plan())


async def _look(nodes: Simulation) -> str:
    plan = await nodes.plan()
    found = _planned(plan)
    return found if found != "-" else "; ".join(plan.nodes["cp"].as_dict()["unmet"] + plan.etcd_problems) or "-"


def _planned(plan: Plan) -> str:
    beside = plan.nodes["beside"]
    assert beside.state in ("maintenance", "as-declared"), beside
    error = plan.nodes["cp"].error
    return _told(error) if error else "-"


async def _first(nodes: Simulation) -> str:
    await nodes.converge("cp")
    return "-"


async def _change(nodes: Simulation) -> str:
    nodes.machine = SYSCTLS
    await nodes.converge("cp")
    return "-"


async def _change_with_reboot(nodes: Simulation) -> str:
    nodes.machine = UDEV
    await nodes.converge("cp")
    return "-"


async def _bootstrap(nodes: Simulation) -> str:
    assert await nodes.bootstrap()
    return "-"


async def _kubeconfig(nodes: Simulation) -> str:
    assert b"client-key-data" in await fetch_kubeconfig(nodes.control_planes, nodes.context)
    return "-"


async def _wait(nodes: Simulation) -> str:
    lacks = await nodes.missing()
    return "; ".join(lacks) or "-"


_PHASES: dict[str, t.Callable[[Simulation], t.Awaitable[str]]] = {
    "secrets new": _secrets_new,
    "secrets": _secrets,
    "look new": _look_new,
    "look": _look,
    "first": _first,
    "in first": _first,
    "change": _change,
    "in change": _change_with_reboot,
    "bootstrap": _bootstrap,
    "in bootstrap": _bootstrap,
    "kubeconfig": _kubeconfig,
    "wait": _wait,
}


# --- runs of site.yml


@dataclass(frozen=True)
class Case:
    """A fault of one node during a run of site.yml. ``said`` is empty where the run succeeds in spite of it."""

    fault: str
    said: str
    words: tuple[str, ...] = ()
    node: str = "talos-w2"
    # On a running cluster, with a change that is applied by a reboot; else from maintenance on.
    later: bool = False
    # With the secrets bundle made before: none is made while a node hangs, which may be configured.
    with_bundle: bool = False


AT_APPLY = ("after=ApplyConfiguration",)
CASES = {
    case.fault: case
    for case in (
        Case("refused", "connection refused"),
        Case("no-route", "no connection to 127"),
        Case("half-open", "no connection to 127", AT_APPLY),
        Case("frozen", "no answer within 10 s", with_bundle=True),
        Case("slow", "", ("delay=0.5", "times=4")),
        Case("hang", "no answer within 10 s", ("method=List",), with_bundle=True),
        Case("unknown-authority", "not by this cluster's PKI", AT_APPLY),
        Case("certificate-required-broken-pipe", "the connection broke", AT_APPLY),
        Case("permission-denied", "not authorized", ("method=ApplyConfiguration",)),
        Case("not-ready-to-bootstrap", "", ("times=2",), "talos-cp"),
        Case("time-not-in-sync", "time is not in sync yet", (), "talos-cp"),
        Case("already-bootstrapped", "etcd data directory is not empty", (), "talos-cp"),
        Case("no-quorum", "etcdserver: no leader", (), "talos-cp"),
        Case("reboot-in-call", "", ("method=ApplyConfiguration",)),
        Case("lost-answer", ""),
        Case("old-config", "came back with its previous one", later=True),
        Case("other-machine", "declared is d8:3a:dd:0a:10:6"),
        Case("no-reboot-completes", "the node must come back from its reboot", later=True),
    )
}
NODES = {"talos-cp", "talos-w1", "talos-w2", "talos-w3", "talos-w4"}
# So that a run that cannot succeed does not wait for a real boot.
PATIENCE = "node_timeout=12 cluster_bootstrap_timeout=12 cluster_health_timeout=60"
CHANGED = json.dumps({"cluster_patches": [{"machine": {"sysctls": {"vm.swappiness": "1"}}}]})
REBOOTED = json.dumps({"node_apply_mode": "reboot"})


def test_there_is_a_run_for_every_fault() -> None:
    assert set(CASES) == set(FAULTS) - OF_PODS


@pytest.mark.slow
def test_a_run_with_a_fault_on_each_of_three_nodes(make_rehearsal: MakeRehearsal) -> None:
    usual = (CASES["refused"], replace(CASES["other-machine"], node="talos-w3"), CASES["time-not-in-sync"])
    _run_with(usual, make_rehearsal)


@pytest.mark.faults
@pytest.mark.parametrize("fault", CASES)
def test_a_run_with(fault: str, make_rehearsal: MakeRehearsal) -> None:
    _run_with([CASES[fault]], make_rehearsal)


@pytest.mark.faults
def test_a_worker_that_is_never_ready_fails_and_no_other(make_rehearsal: MakeRehearsal) -> None:
    rehearsal = make_rehearsal()
    rehearsal.fault("talos-w3", "time-not-in-sync")
    run = rehearsal.play("-e", "cluster_health_timeout=15")
    assert run.rc == 2
    assert run.failed == {"talos-w3"}, run.output
    assert "Not healthy within 15 s, still missing: talos-w3: time: time is not synced" in run.output
    rehearsal.fault("--clear")
    assert rehearsal.play().require_ok().changed == {}


def _run_with(cases: t.Sequence[Case], make_rehearsal: MakeRehearsal) -> None:
    rehearsal = make_rehearsal()
    words = ["-e", PATIENCE]
    if any(case.later for case in cases):
        rehearsal.play().require_ok()
        words += ["-e", CHANGED, "-e", REBOOTED]
    if any(case.with_bundle for case in cases):
        rehearsal.play(playbook="playbooks/validate.yml").require_ok()
    for case in cases:
        rehearsal.fault(case.node, case.fault, *case.words)
    before = rehearsal.bundle.read_bytes() if rehearsal.bundle.exists() else None
    run = rehearsal.play(*words)
    bundle = rehearsal.bundle.read_bytes()
    assert before in (None, bundle)
    _require_end(cases, run)
    _require_struck(cases, rehearsal)
    _require_others_done(cases, rehearsal)
    rehearsal.fault("--clear")
    time.sleep(1.5)  # a node that rebooted for ever goes on booting
    rehearsal.play(*words).require_ok()
    assert rehearsal.play(*words).require_ok().changed == {}
    assert rehearsal.bundle.read_bytes() == bundle
    rehearsal.down()


def _require_end(cases: t.Sequence[Case], run: Run) -> None:
    """By itself, with the exit code that fits, the failed nodes in the recap, and the cause beside each one's name."""
    failing = {case.node: case for case in cases if case.said}
    assert run.rc != -1, run.output
    assert (run.rc != 0) is bool(failing), run.output
    assert run.failed == set(failing), run.output
    for name, case in failing.items():
        assert any(name in line and case.said in line for line in run.output.splitlines()), (case, run.output)


def _require_struck(cases: t.Sequence[Case], rehearsal: Rehearsal) -> None:
    """A run that succeeds in spite of a fault has met it, as often as it strikes."""
    for case in cases:
        left = [fault["name"] for fault in rehearsal.status()[case.node]["faults"]]
        assert case.said or case.fault not in left, case


def _require_others_done(cases: t.Sequence[Case], rehearsal: Rehearsal) -> None:
    """The failed nodes stopped nobody else, and a wrong machine got nothing."""
    status = rehearsal.status()
    # What goes wrong at the bootstrap comes after the config.
    failing = {case.node for case in cases if case.said and case.node != "talos-cp"}
    assert {name for name in NODES - failing if status[name]["stage"] == "maintenance"} == set()
    applied = {call["address"] for call in rehearsal.calls() if call["method"] == "ApplyConfiguration"}
    assert applied.isdisjoint(status[case.node]["address"] for case in cases if case.fault == "other-machine")
