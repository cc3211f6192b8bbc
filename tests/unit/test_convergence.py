# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One node to its declared config, in every mode, and never the wrong node. Faults are in test_faults.py."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import typing as t

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import _declaration as declaration
from ansible_collections.homelab.talos.plugins.module_utils import _etcd, _planning
from ansible_collections.homelab.talos.plugins.module_utils import _observation as observation
from ansible_collections.homelab.talos.plugins.module_utils._api import Node as Connection
from ansible_collections.homelab.talos.plugins.module_utils._api import Service, connect
from ansible_collections.homelab.talos.plugins.module_utils._assessment import (
    AS_DECLARED,
    DIFFERS,
    INVALID,
    PENDING,
    Assessment,
    endpoint_of,
)
from ansible_collections.homelab.talos.plugins.module_utils._convergence import Convergence, WouldReboot
from ansible_collections.homelab.talos.plugins.module_utils._delivery import NotTaken
from ansible_collections.homelab.talos.plugins.module_utils._documents import BadConfig
from ansible_collections.homelab.talos.plugins.module_utils._errors import (
    ConnectionLost,
    InvalidRequest,
    NotAuthorized,
    TalosError,
    UnknownAuthority,
    Unreachable,
    WrongFingerprint,
    WrongMachine,
)
from ansible_collections.homelab.talos.plugins.module_utils._etcd import StaleMember
from ansible_collections.homelab.talos.plugins.module_utils._kubernetes_path import KubernetesPath, require_path
from ansible_collections.homelab.talos.plugins.module_utils._rendering import sha256
from ansible_collections.homelab.talos.plugins.module_utils._talosctl import SlowTalosctl, TalosctlError
from ansible_collections.homelab.talos.plugins.module_utils._terms import TryTooShort
from ansible_collections.homelab.talos.plugins.module_utils._waiting import WaitedTooLong
from rehearsal.node import Node
from tests import simulated
from tests.simulated import ENVIRONMENT, IMPATIENT, SYSCTLS, TERMS, UDEV, Simulation, simulation
from tests.unit.rehearsal.harness import Cluster, until

VERSIONS = pytest.mark.parametrize("version", ["1.13.9", "1.14.2"])
NEVER = dataclasses.replace(TERMS, reboot_allowed=False)


def mode(name: str) -> t.Any:
    return dataclasses.replace(TERMS, mode=name)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated.hurry(monkeypatch)


class Held:
    """What a node holds, by the declaration of the moment."""

    def __init__(self, nodes: Simulation, name: str = "cp") -> None:
        self._nodes, self._node = nodes, nodes.fleet.nodes[name]
        self.boot = self._node.record.boot_id

    @property
    def rebooted(self) -> bool:
        return self._node.record.boot_id != self.boot

    @property
    def active(self) -> bool:
        return self._is(self._node.record.active)

    @property
    def stored(self) -> bool:
        return self._is(self._node.record.stored)

    def _is(self, encoded: str) -> bool:
        return base64.b64decode(encoded) == self._nodes.config(self._nodes.declared(self._node.name))


def on_a_node(test: t.Callable[[Simulation], t.Awaitable[None]], version: str = "1.14.2") -> None:
    """One control plane, configured."""

    async def whole() -> None:
        async with simulation("cp", talos_version=version) as nodes:
            await nodes.converge("cp")
            # It swaps its certificate in this moment, and open connections end.
            await asyncio.sleep(0.2)
            nodes.log.entries.clear()
            await test(nodes)

    asyncio.run(whole())


def on_three(test: t.Callable[[Simulation], t.Awaitable[None]]) -> None:
    """Three control planes with etcd."""

    async def whole() -> None:
        async with simulation("cp1", "cp2", "cp3", control_planes=3) as nodes:
            await nodes.everything()
            nodes.log.entries.clear()
            await test(nodes)

    asyncio.run(whole())


def in_maintenance(test: t.Callable[[Simulation], t.Awaitable[None]], *names: str) -> None:
    async def whole() -> None:
        async with simulation(*(names or ("cp",))) as nodes:
            await test(nodes)

    asyncio.run(whole())


# --- modes


@VERSIONS
def test_no_change_is_no_apply(version: str) -> None:
    async def test(nodes: Simulation) -> None:
        outcome = await nodes.converge("cp")
        assert (outcome.changed, outcome.actions, outcome.assessment.state) == (False, [], AS_DECLARED)
        assert nodes.calls("ApplyConfiguration") == []

    on_a_node(test, version)


@VERSIONS
@pytest.mark.parametrize("machine", [SYSCTLS, UDEV], ids=["sysctls", "udev"])
def test_auto_reboots_where_talos_must(version: str, machine: dict[str, t.Any]) -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine, held = machine, Held(nodes)
        assert (await nodes.converge("cp")).changed
        assert held.active
        assert held.stored
        assert held.rebooted is (version == "1.13.9" and machine is UDEV)
        assert not (await nodes.converge("cp")).changed

    on_a_node(test, version)


BY_A_REBOOT = "apply-config --mode auto (by a reboot)"
WAITS = "what it stores takes effect after a reboot: v1alpha1 machine.env"


@VERSIONS
def test_auto_tells_what_waits_for_a_reboot_and_check_mode_tells_the_same(version: str) -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine, held = ENVIRONMENT, Held(nodes)
        reboots = version == "1.13.9"
        told = await nodes.converge("cp", dataclasses.replace(TERMS, check=True))
        assert (held.active, held.stored, held.rebooted) == (False, False, False)
        done = await nodes.converge("cp")
        assert (held.active, held.stored, held.rebooted) == (True, True, reboots)
        assert told.actions == done.actions == ([BY_A_REBOOT] if reboots else ["apply-config --mode auto"])
        assert told.warnings == done.warnings == ([] if reboots else [f"cp: {WAITS}"])
        assert (await nodes.converge("cp")).warnings == []

    on_a_node(test, version)


@pytest.mark.parametrize("check", [True, False])
def test_another_installer_image_is_told_to_upgrade_nothing(check: bool) -> None:
    """Talos reads it when it is installed, and not again."""

    async def test(nodes: Simulation) -> None:
        nodes.machine = {"install": {"disk": "/dev/mmcblk0", "image": "factory.example/installer/abc:v1.14.3"}}
        [warning] = (await nodes.converge("cp", dataclasses.replace(TERMS, check=check))).warnings
        assert warning.startswith("cp: its installer image changes, which by itself upgrades nothing: ")

    on_a_node(test)


@VERSIONS
@pytest.mark.parametrize("name", ["staged", "reboot"])
def test_what_is_staged_is_not_told_to_wait_for_a_reboot(version: str, name: str) -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine = ENVIRONMENT
        for terms in (dataclasses.replace(TERMS, mode=name, check=True), mode(name)):
            assert (await nodes.converge("cp", terms)).warnings == []

    on_a_node(test, version)


@VERSIONS
@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
@pytest.mark.parametrize("words", [{"reboot_allowed": False}, {"mode": "no-reboot"}, {"mode": "try"}], ids=str)
def test_a_change_without_effect_before_a_reboot_is_refused_where_none_may_be(
    version: str, words: dict[str, t.Any], check: bool
) -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine, held = ENVIRONMENT, Held(nodes)
        with pytest.raises(WouldReboot, match=r"need a reboot: v1alpha1 machine\.env") as caught:
            await nodes.converge("cp", dataclasses.replace(TERMS, check=check, **words))
        assert "mode: staged" in caught.value.remedy
        assert (held.active, held.stored, held.rebooted) == (False, False, False)

    on_a_node(test, version)


@pytest.mark.parametrize("name", ["auto", "no-reboot", "staged", "try", "reboot"])
def test_check_mode_fails_where_the_node_would_refuse(name: str) -> None:
    """As a 1.13 node does with a document of 1.14."""

    async def test(nodes: Simulation) -> None:
        nodes.machine = {"nonsense": True}
        with pytest.raises(InvalidRequest, match="unknown keys"):
            await nodes.converge("cp", dataclasses.replace(TERMS, mode=name, check=True))

    on_a_node(test, "1.13.9")


def test_check_mode_asks_for_no_dry_run_while_a_change_is_pending() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine = SYSCTLS
        await nodes.converge("cp", mode("staged"))
        nodes.log.entries.clear()
        [warning] = (await nodes.converge("cp", dataclasses.replace(TERMS, check=True))).warnings
        assert warning.endswith("cannot be asked while another config waits for one, or is tried: a run may reboot it")
        assert nodes.calls("ApplyConfiguration") == []

    on_a_node(test)


@VERSIONS
def test_no_reboot_fails_where_talos_must(version: str) -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine, held = UDEV, Held(nodes)
        if version == "1.13.9":
            with pytest.raises(WouldReboot, match=r"these changes need a reboot: v1alpha1 machine\.udev"):
                await nodes.converge("cp", mode("no-reboot"))
            assert not held.stored
        else:
            assert (await nodes.converge("cp", mode("no-reboot"))).changed
            assert held.active
        assert not held.rebooted

    on_a_node(test, version)


@VERSIONS
def test_staged_waits_for_a_reboot(version: str) -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine, held = UDEV, Held(nodes)
        assert (await nodes.converge("cp", mode("staged"))).changed
        assert (held.stored, held.active, held.rebooted) == (True, False, False)
        again = await nodes.converge("cp", mode("staged"))
        assert (again.changed, again.assessment.state) == (False, PENDING)
        assert (await nodes.plan()).nodes["cp"].state == PENDING
        assert nodes.calls("ApplyConfiguration") == ["cp"]
        assert (await nodes.converge("cp", mode("reboot"))).actions == ["apply-config --mode staged", "reboot"]
        assert (held.active, held.rebooted) == (True, True)

    on_a_node(test, version)


@VERSIONS
def test_reboot_always_reboots(version: str) -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine, held = SYSCTLS, Held(nodes)
        await nodes.converge("cp", mode("reboot"))
        assert (held.active, held.stored, held.rebooted) == (True, True, True)

    on_a_node(test, version)


@VERSIONS
def test_a_try_that_holds_is_kept(version: str) -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine, held = SYSCTLS, Held(nodes)
        outcome = await nodes.converge("cp", mode("try"))
        assert outcome.actions == ["apply-config --mode try", "apply-config --mode no-reboot"]
        await asyncio.sleep(TERMS.try_seconds + 0.5)
        assert (held.active, held.stored) == (True, True)

    on_a_node(test, version)


@VERSIONS
@pytest.mark.parametrize("fault", ["frozen", "refused"])
def test_a_try_without_an_answer_rolls_back_and_fails(version: str, fault: str) -> None:
    """The change cuts the node off, until the rollback brings it back."""

    async def test(nodes: Simulation) -> None:
        nodes.machine, held = SYSCTLS, Held(nodes)
        nodes.fault("cp", fault, after="ApplyConfiguration")
        healing = asyncio.get_running_loop().create_task(_heal_with_the_rollback(nodes))
        with pytest.raises(NotTaken, match="it rolled back") as caught:
            await nodes.converge("cp", mode("try"))
        assert "previous config" in caught.value.remedy
        assert (held.active, held.stored) == (False, False)
        assert nodes.calls("ApplyConfiguration") == ["cp"]
        await healing

    on_a_node(test, version)


@pytest.mark.parametrize("fault", ["frozen", "refused"])
def test_a_try_that_cuts_the_node_off_only_after_a_second_rolls_back_and_fails(fault: str) -> None:
    """Talos answers before it has changed its links and addresses."""

    async def test(nodes: Simulation) -> None:
        nodes.machine, held = SYSCTLS, Held(nodes)
        nodes.fault("cp", fault, after="ApplyConfiguration", delay="1")
        healing = asyncio.get_running_loop().create_task(_heal_with_the_rollback(nodes))
        with pytest.raises(NotTaken, match="it rolled back"):
            await nodes.converge("cp", mode("try"))
        assert (held.active, held.stored) == (False, False)
        assert nodes.calls("ApplyConfiguration") == ["cp"]
        await healing

    on_a_node(test)


def test_a_try_is_not_kept_once_it_is_over() -> None:
    """The node is proven, and takes no more applies until it has rolled back."""

    async def test(nodes: Simulation) -> None:
        nodes.machine, held = SYSCTLS, Held(nodes)
        nodes.fault("cp", "hang", method="ApplyConfiguration", after="ApplyConfiguration")
        healing = asyncio.get_running_loop().create_task(_heal_with_the_rollback(nodes))
        with pytest.raises(NotTaken, match="could not be applied for good in time"):
            await nodes.converge("cp", mode("try"))
        assert (held.active, held.stored) == (False, False)
        assert nodes.calls("ApplyConfiguration", "OK") == ["cp"]
        await healing

    on_a_node(test)


@pytest.mark.parametrize("earlier", ["the same", "another"])
def test_a_try_goes_back_to_the_stored_config_also_after_an_earlier_try_that_is_still_under_way(earlier: str) -> None:
    """Of a run that was killed, or of somebody else. Talos goes back to what is active when it is told to try."""

    async def test(nodes: Simulation) -> None:
        stored, nodes.machine = nodes.config(nodes.declared("cp")), SYSCTLS
        tried = SYSCTLS if earlier == "the same" else {"nodeLabels": {"colour": "blue"}}
        config = nodes.pki.config("cp", "controlplane", **tried)
        async with connect(endpoint_of(nodes.declared("cp")), nodes.context) as client:
            await client.apply_configuration(config, mode="try", try_seconds=2)
        nodes.fault("cp", "refused", after="ApplyConfiguration", delay="1")
        held = Held(nodes)
        trying = asyncio.get_running_loop().create_task(nodes.converge("cp", mode("try")))
        await until(lambda: len(nodes.calls("ApplyConfiguration")) == 2, 20)
        assert base64.b64decode(nodes.fleet.nodes["cp"].record.rollback_to) == stored
        await _heal_with_the_rollback(nodes)
        with pytest.raises(NotTaken, match="it rolled back"):
            await trying
        assert (held.active, held.stored) == (False, False)

    on_a_node(test)


def test_a_staged_change_does_not_leave_active_what_somebody_tries() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine, held = SYSCTLS, Held(nodes)
        before = nodes.fleet.nodes["cp"].record.active
        async with connect(endpoint_of(nodes.declared("cp")), nodes.context) as client:
            tried = nodes.pki.config("cp", "controlplane", nodeLabels={"colour": "blue"})
            await client.apply_configuration(tried, mode="try", try_seconds=2)
        await nodes.converge("cp", mode("staged"))
        assert (nodes.fleet.nodes["cp"].record.active, held.stored) == (before, True)

    on_a_node(test)


def test_a_change_that_waits_for_its_reboot_is_no_try_to_wait_for() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine, held = SYSCTLS, Held(nodes)
        await nodes.converge("cp", mode("staged"))
        async with connect(endpoint_of(nodes.declared("cp")), nodes.context) as client:
            assert not (await client.machine_configs()).tried
        await nodes.converge("cp", mode("try"))
        assert (held.active, held.stored) == (True, True)

    on_a_node(test)


def test_a_config_that_stays_active_without_being_stored_is_no_try_for_ever() -> None:
    """Of a try with a longer window, or left active by a dry run: it has borne a whole window, and is tried anew."""

    async def test(nodes: Simulation) -> None:
        nodes.machine, held = SYSCTLS, Held(nodes)
        config = nodes.config(nodes.declared("cp"))
        async with connect(endpoint_of(nodes.declared("cp")), nodes.context) as client:
            await client.apply_configuration(config, mode="try", try_seconds=60)
        async with connect(endpoint_of(nodes.declared("cp")), nodes.context) as client:
            await client.apply_configuration(config, mode="auto", dry_run=True)
        assert (await nodes.converge("cp", mode("try"))).changed
        assert (held.active, held.stored) == (True, True)

    on_a_node(test)


def test_a_try_needs_time_to_prove_anything() -> None:
    with pytest.raises(TryTooShort, match="try_timeout is 1 s") as caught:
        dataclasses.replace(TERMS, mode="try", try_seconds=1)
    assert "node_try_timeout" in caught.value.remedy


async def _heal_with_the_rollback(nodes: Simulation) -> None:
    await until(lambda: nodes.fleet.nodes["cp"].trying, 10)
    await until(lambda: not nodes.fleet.nodes["cp"].trying, 10)
    await nodes.clear()


def test_a_try_that_talos_refuses_says_which_changes_need_a_reboot() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine = UDEV
        with pytest.raises(WouldReboot, match=r"machine\.udev"):
            await nodes.converge("cp", mode("try"))

    on_a_node(test, "1.13.9")


@VERSIONS
def test_reboot_never_refuses_only_what_reboots(version: str) -> None:
    async def test(nodes: Simulation) -> None:
        held = Held(nodes)
        nodes.machine = UDEV
        if version == "1.13.9":
            with pytest.raises(WouldReboot, match=r"machine\.udev: <absent> -> .*gpio") as caught:
                await nodes.converge("cp", NEVER)
            assert "mode: staged" in caught.value.remedy
            assert not held.stored
        else:
            await nodes.converge("cp", NEVER)
            assert held.active
        nodes.machine = SYSCTLS
        if version == "1.13.9":
            await nodes.converge("cp", NEVER)
            assert held.active
        assert not held.rebooted

    on_a_node(test, version)


def test_reboot_never_and_mode_reboot_contradict_each_other() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine = SYSCTLS
        with pytest.raises(WouldReboot):
            await nodes.converge("cp", dataclasses.replace(NEVER, mode="reboot"))
        assert nodes.calls("ApplyConfiguration") == []

    on_a_node(test)


def test_reboot_never_asks_for_no_dry_run_while_a_change_is_pending() -> None:
    """A dry run cancels the rollback of a try, and is judged against the active config only."""

    async def test(nodes: Simulation) -> None:
        nodes.machine = SYSCTLS
        await nodes.converge("cp", mode("staged"))
        nodes.log.entries.clear()
        with pytest.raises(WouldReboot, match="cannot be asked while another config waits"):
            await nodes.converge("cp", NEVER)
        assert nodes.calls("ApplyConfiguration") == []

    on_a_node(test)


def test_reboot_never_leaves_the_refusal_to_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was true when it was asked: it is not told to reboot."""

    async def test(nodes: Simulation) -> None:
        nodes.machine, held = UDEV, Held(nodes)

        async def no_need(*_words: object) -> bool:
            return False

        monkeypatch.setattr(Convergence, "_needs_reboot", no_need)
        with pytest.raises(InvalidRequest, match="immediate mode"):
            await nodes.converge("cp", NEVER)
        await asyncio.sleep(0.5)
        assert (held.stored, held.rebooted) == (False, False)

    on_a_node(test, "1.13.9")


def test_a_refusal_while_a_change_is_pending_is_told_in_the_nodes_words() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine = SYSCTLS
        await nodes.converge("cp", mode("staged"))
        nodes.machine = {"nonsense": True}
        with pytest.raises(InvalidRequest, match="unknown keys"):
            await nodes.converge("cp", mode("no-reboot"))

    on_a_node(test)


@pytest.mark.parametrize("name", ["auto", "no-reboot", "staged", "try", "reboot"])
def test_check_mode_changes_nothing_and_tells_what_a_run_does(name: str) -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine, held = SYSCTLS, Held(nodes)
        told = await nodes.converge("cp", dataclasses.replace(TERMS, mode=name, check=True))
        assert (told.changed, told.assessment.state, told.warnings) == (True, DIFFERS, [])
        assert (held.active, held.stored, held.rebooted) == (False, False, False)
        assert (await nodes.converge("cp", mode(name))).actions == told.actions

    on_a_node(test)


@pytest.mark.parametrize("name", ["no-reboot", "try"])
def test_check_mode_fails_where_the_run_would(name: str) -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine, held = UDEV, Held(nodes)
        check = dataclasses.replace(TERMS, mode=name, check=True)
        with pytest.raises(WouldReboot, match=r"these changes need a reboot: v1alpha1 machine\.udev"):
            await nodes.converge("cp", check)
        assert (held.active, held.stored) == (False, False)
        nodes.machine = SYSCTLS
        await nodes.converge("cp", mode("staged"))
        nodes.log.entries.clear()
        [warning] = (await nodes.converge("cp", check)).warnings
        assert warning.startswith("cp: whether these changes need a reboot cannot be asked")
        assert nodes.calls("ApplyConfiguration") == []

    on_a_node(test, "1.13.9")


def test_a_node_with_its_config_and_another_staged_has_rebooted_when_the_run_ends() -> None:
    async def test(nodes: Simulation) -> None:
        declared, nodes.machine, held = nodes.machine, SYSCTLS, Held(nodes)
        await nodes.converge("cp", mode("staged"))
        nodes.machine = declared
        await nodes.converge("cp", mode("reboot"))
        assert (held.rebooted, held.active, held.stored) == (True, True, True)

    on_a_node(test)


def test_a_reboot_that_never_arrived_is_called_again() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine, held = SYSCTLS, Held(nodes)
        nodes.fault("cp", "hang", method="Reboot", times="1")
        await nodes.converge("cp", mode("reboot"))
        assert (held.rebooted, held.active) == (True, True)
        assert nodes.calls("Reboot") == ["cp", "cp"]

    on_a_node(test)


def test_check_mode_sends_nothing_insecurely() -> None:
    async def test(nodes: Simulation) -> None:
        assert (await nodes.converge("cp", dataclasses.replace(TERMS, check=True))).changed
        assert nodes.calls("ApplyConfiguration") == []

    in_maintenance(test)


def test_a_node_in_maintenance_that_is_busy_with_another_apply_is_waited_for() -> None:
    async def test(nodes: Simulation) -> None:
        node = nodes.fleet.nodes["cp"]
        node.rebooting_for_apply = True
        converging = asyncio.get_running_loop().create_task(nodes.converge("cp"))
        await until(lambda: nodes.calls("ApplyConfiguration", "FAILED_PRECONDITION"))
        node.rebooting_for_apply = False
        assert (await converging).changed
        assert nodes.calls("ApplyConfiguration", "OK") == ["cp"]

    in_maintenance(test)


def test_a_node_that_does_not_answer_is_told_with_the_setting_that_gives_it_more_time() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.fault("cp", "refused")
        with pytest.raises(Unreachable) as caught:
            await nodes.converge("cp", IMPATIENT)
        assert "asked again and again for 3 s" in caught.value.cause
        assert caught.value.remedy.endswith("reachable_timeout (node_reachable_timeout) gives it more time")
        # In check mode it is not waited for.
        with pytest.raises(Unreachable) as caught:
            await nodes.converge("cp", dataclasses.replace(IMPATIENT, check=True))
        assert "node_reachable_timeout" not in caught.value.remedy

    in_maintenance(test)


def test_a_node_that_goes_down_between_the_look_and_its_first_apply_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(nodes: Simulation) -> None:
        render = nodes.config

        def config(node: declaration.Node) -> bytes:
            # After the look, and before anything is sent.
            nodes.fault("cp", "refused")
            asyncio.get_running_loop().call_later(0.5, nodes.fleet.clear_faults, [nodes.fleet.nodes["cp"]])
            return render(node)

        monkeypatch.setattr(nodes, "config", config)
        assert (await nodes.converge("cp")).changed
        assert nodes.calls("ApplyConfiguration") == ["cp"]

    in_maintenance(test)


def test_the_warnings_of_a_first_apply_are_told() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine = {"files": [{"path": "/var/x", "content": "x", "permissions": 0o600, "op": "create"}]}
        [warning] = (await nodes.converge("cp")).warnings
        assert warning.startswith("cp: .machine.files is deprecated")

    in_maintenance(test)


# --- a node that does not do as it is told


def test_a_node_that_comes_back_with_its_old_config() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine = UDEV
        nodes.fault("cp", "old-config")
        with pytest.raises(NotTaken, match="came back with its previous one"):
            await nodes.converge("cp")

    on_a_node(test, "1.13.9")


@pytest.mark.parametrize("lasts", [False, True], ids=["passing", "lasting"])
def test_a_node_that_refuses_our_role_after_an_apply_is_waited_for_a_while(lasts: bool) -> None:
    """Talos does so while it sets up its API: siderolabs/talos#14163."""

    async def test(nodes: Simulation) -> None:
        nodes.machine = SYSCTLS
        nodes.fault("cp", "permission-denied", after="ApplyConfiguration")
        if lasts:
            with pytest.raises(NotAuthorized):
                await nodes.converge("cp", IMPATIENT)
        else:
            asyncio.get_running_loop().call_later(1, nodes.fleet.clear_faults, nodes.fleet.nodes.values())
            assert (await nodes.converge("cp")).changed
        assert nodes.calls("List", "PERMISSION_DENIED")
        assert nodes.calls("ApplyConfiguration") == ["cp"]

    on_a_node(test)


def test_a_node_that_never_comes_back() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine = UDEV
        nodes.fault("cp", "no-reboot-completes")
        with pytest.raises(WaitedTooLong, match=r"must answer with its new config.*connection refused"):
            await nodes.converge("cp", IMPATIENT)
        await nodes.clear()
        assert not (await nodes.converge("cp")).changed

    on_a_node(test, "1.13.9")


def test_an_apply_whose_answer_was_lost_is_not_sent_again_once_it_arrived() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine = SYSCTLS
        nodes.fault("cp", "lost-answer")
        assert (await nodes.converge("cp")).changed
        assert nodes.calls("ApplyConfiguration") == ["cp"]

    on_a_node(test)


@pytest.mark.parametrize("name", ["staged", "auto", "reboot", "try"])
def test_an_apply_that_never_arrived_is_sent_again(name: str) -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine, held = SYSCTLS, Held(nodes)
        nodes.fault("cp", "reboot-in-call", method="ApplyConfiguration")
        assert (await nodes.converge("cp", dataclasses.replace(mode(name), try_seconds=6))).changed
        assert held.stored
        assert held.active is (name != "staged")

    on_a_node(test)


def test_it_waits_while_the_node_reboots_for_an_earlier_apply() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine = UDEV
        first = asyncio.get_running_loop().create_task(nodes.converge("cp"))
        await until(lambda: nodes.fleet.nodes["cp"].rebooting_for_apply)
        nodes.machine = {**UDEV, **SYSCTLS}
        assert (await nodes.converge("cp")).changed
        assert Held(nodes).active
        await asyncio.gather(first, return_exceptions=True)

    on_a_node(test, "1.13.9")


def test_a_worker_without_a_control_plane_says_what_it_waits_for() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.fault("cp", "refused")
        nodes.fleet.nodes["cp"].power_off()
        with pytest.raises(WaitedTooLong) as caught:
            await nodes.converge("w1", IMPATIENT)
        assert "control plane" in caught.value.remedy
        nodes.fleet.nodes["cp"].power_on()
        await nodes.clear()
        await nodes.everything()

    in_maintenance(test, "cp", "w1")


def test_a_readers_certificate_is_refused_at_once() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.context = nodes.pki.context("os:reader")
        with pytest.raises(NotAuthorized):
            await nodes.converge("cp")
        refused = [entry["method"] for entry in nodes.log.entries if entry.get("status") == "PERMISSION_DENIED"]
        assert refused == ["List"]

    on_a_node(test)


# --- the right machine


MACS = {"": "node_mac is not declared", "02:00:00:00:00:99": "the machine at .* has dc:a6:32.*, declared is 02:00"}


@pytest.mark.parametrize("mac", MACS, ids=["none", "other"])
def test_no_config_is_sent_in_maintenance_unless_the_mac_is_the_declared_one(mac: str) -> None:
    async def test(nodes: Simulation) -> None:
        with pytest.raises(WrongMachine, match=MACS[mac]) as caught:
            await nodes.converge("cp", mac=mac)
        assert "node_mac" in caught.value.remedy
        assert nodes.calls("ApplyConfiguration") == []

    in_maintenance(test)


def test_no_config_is_sent_to_a_configured_node_with_another_mac() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine = SYSCTLS
        with pytest.raises(WrongMachine):
            await nodes.converge("cp", mac="02:00:00:00:00:99")
        assert nodes.calls("ApplyConfiguration") == []

    on_a_node(test)


def test_a_configured_node_with_another_mac_is_no_node_that_differs() -> None:
    """Two that swapped their leases: a run would fail, so the plan says so."""

    async def test(nodes: Simulation) -> None:
        nodes.machine = SYSCTLS
        node = nodes.fleet.nodes["cp"]
        node.record.mac, declared = "02:00:00:00:00:99", node.record.mac
        swapped = dataclasses.replace(nodes.declared("cp"), mac=declared)
        plan = await _planning.plan([swapped], nodes.context, nodes.assessor, nodes.control_planes)
        assert (plan.nodes["cp"].state, plan.nodes["cp"].would) == (observation.WRONG_MACHINE, "fail")
        assert f"declared is {declared}" in str(plan.nodes["cp"].error)

    on_a_node(test)


def test_no_link_is_read_of_a_node_that_is_byte_for_byte_as_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(nodes: Simulation) -> None:
        digest = sha256(nodes.config(nodes.declared("cp")))
        monkeypatch.setattr(nodes, "digest", lambda _node: digest)
        assert (await nodes.plan()).nodes["cp"].state == AS_DECLARED
        # Of the machine's status, its two configs, and etcd's members.
        assert len(nodes.calls("List")) == 3

    on_a_node(test)


def test_a_declaration_that_cannot_be_rendered_is_its_nodes_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(nodes: Simulation) -> None:
        render = nodes.config

        def config(node: declaration.Node) -> bytes:
            if node.name == "cp":
                raise TalosctlError("unknown keys: nested")
            return render(node)

        monkeypatch.setattr(nodes, "config", config)
        plan = await nodes.plan()
        assert {name: each.state for name, each in plan.nodes.items()} == {"cp": INVALID, "w1": "maintenance"}
        assert plan.nodes["cp"].needs_work
        assert plan.summary()[0].startswith("cp: invalid, a run would fail: cp: unknown keys: nested.")
        with pytest.raises(TalosctlError, match="cp: unknown keys"):
            await nodes.converge("cp")

    in_maintenance(test, "cp", "w1")


def test_what_is_declared_is_known_to_be_good_before_a_node_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be up when its turn comes, after others were changed."""

    async def test(nodes: Simulation) -> None:
        rendered = []

        def config(node: declaration.Node) -> bytes:
            rendered.append(node.name)
            raise TalosctlError(f"{'group' if node.name != 'cp' else 'node'}_patches is wrong")

        monkeypatch.setattr(nodes, "config", config)
        nodes.fleet.nodes["w1"].power_off()
        plan = await nodes.plan()
        assert {each.state for each in plan.nodes.values()} == {INVALID}
        cause = "patches is wrong. Correct the declared settings or patches that the message names."
        assert plan.refused() == [f"cp: node_{cause}", f"w1, w2: group_{cause}"]
        rendered.clear()
        monkeypatch.setattr(nodes, "digest", lambda _node: "known")
        plan = await nodes.plan("w1")
        assert (rendered, plan.nodes["w1"].state, plan.refused()) == ([], "unreachable", [])

    in_maintenance(test, "cp", "w1", "w2")


@pytest.mark.parametrize(
    ("version", "said", "remedy"),
    [
        ("v1.37.1", "1.35.4, declared is 1.37.1: it goes up one minor at a time", "to one of 1.36 first and run again"),
        ("v1.34.9", "1.35.4, declared is 1.34.9: it does not go back", "to 1.35.4, or to a later one"),
        ("v1.36.0", "", ""),
        ("v1.35.1", "", ""),
        # By a patch that names no version.
        ("latest", "", ""),
    ],
)
def test_kubernetes_goes_no_further_than_talos_takes_it(version: str, said: str, remedy: str) -> None:
    def kubelet(version: str) -> dict[str, t.Any]:
        return {"kubelet": {"image": f"ghcr.io/siderolabs/kubelet:{version}"}}

    async def test(nodes: Simulation) -> None:
        nodes.machine = kubelet("v1.35.4")
        await nodes.converge("cp")
        await asyncio.sleep(0.2)
        nodes.log.entries.clear()
        nodes.machine = kubelet(version)
        plan = await nodes.plan()
        assert plan.nodes["cp"].state == (INVALID if said else DIFFERS)
        if said:
            with pytest.raises(KubernetesPath, match=said) as caught:
                await nodes.converge("cp")
            assert remedy in caught.value.remedy
            assert nodes.calls("ApplyConfiguration") == []

    in_maintenance(test)


def test_both_layouts_tell_the_version_of_kubernetes() -> None:
    old = b"machine: {kubelet: {image: 'ghcr.io/siderolabs/kubelet:v1.33.2'}}\n"
    new = b"machine: {}\n---\nkind: KubeletConfig\nimage: ghcr.io/siderolabs/kubelet:v1.37.0-rc.0@sha256:12\n"
    with pytest.raises(KubernetesPath, match=r"is 1\.33\.2, declared is 1\.37\.0-rc\.0: "):
        require_path(old, new)
    with pytest.raises(KubernetesPath, match="does not go back"):
        require_path(new, old)


def fingerprint(node: Node) -> str:
    certificate = node.certificate()
    assert certificate
    return certificate.fingerprint


def test_the_right_fingerprint_is_taken() -> None:
    async def test(nodes: Simulation) -> None:
        outcome = await nodes.converge("cp", fingerprint=fingerprint(nodes.fleet.nodes["cp"]))
        assert outcome.warnings == []

    in_maintenance(test, "cp")


def test_a_wrong_fingerprint_ends_it_at_once() -> None:
    async def test(nodes: Simulation) -> None:
        wrong = base64.b64encode(bytes(32)).decode()
        with pytest.raises(WrongFingerprint, match="declared is AAAA") as caught:
            await nodes.converge("cp", fingerprint=wrong)
        assert "console" in caught.value.remedy
        # The node tells of connections after us: of one that trusted our CA only, and of the insecure one.
        await until(lambda: [entry["status"] for entry in nodes.log.entries][1:] == ["OK"])
        seen = await observation.observe(endpoint_of(nodes.declared("cp")), nodes.context, expected_fingerprint=wrong)
        assert seen.state == observation.WRONG_MACHINE
        # Not even asked anything.
        assert {entry["method"] for entry in nodes.log.entries} == {"connect"}

    in_maintenance(test)


def test_the_fingerprint_is_that_of_the_connection_that_gets_the_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only that of the look before it."""

    async def test(nodes: Simulation) -> None:
        node = nodes.fleet.nodes["cp"]

        async def another_machine(*_words: object, **_options: object) -> None:
            node.swap_certificate()

        declared = fingerprint(node)
        monkeypatch.setattr(_etcd, "gate", another_machine)
        with pytest.raises(WrongFingerprint):
            await nodes.converge("cp", fingerprint=declared)
        assert nodes.calls("ApplyConfiguration") == []

    in_maintenance(test)


def test_the_machine_that_was_checked_is_the_one_that_gets_the_config() -> None:
    """A connection that breaks is not made again behind our back: another machine may be there by then."""

    async def test(nodes: Simulation) -> None:
        node = nodes.declared("cp")
        async with connect(endpoint_of(node), None) as checked:
            observation.require_machine(endpoint_of(node), node.mac, await observation.macs(checked))
            nodes.fault("cp", "other-machine")
            await asyncio.sleep(0.1)
            with pytest.raises(ConnectionLost):
                await checked.apply_configuration(nodes.config(node), mode="auto")
        assert nodes.calls("ApplyConfiguration") == []
        assert len([each for each in nodes.log.entries if each["method"] == "connect"]) == 1

    in_maintenance(test)


def test_a_node_of_another_cluster_is_left_alone() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.pki = Cluster()
        nodes.context = nodes.pki.context()
        assert (await nodes.plan()).nodes["cp"].state == observation.FOREIGN
        with pytest.raises(UnknownAuthority, match="not by this cluster's PKI") as caught:
            await nodes.converge("cp")
        assert "restore the bundle" in caught.value.remedy
        assert nodes.calls("ApplyConfiguration") == []

    on_a_node(test)


# --- etcd


def test_a_control_plane_is_not_changed_while_another_member_is_away() -> None:
    async def test(nodes: Simulation) -> None:
        nodes.machine = SYSCTLS
        nodes.fault("cp2", "refused")
        with pytest.raises(WaitedTooLong, match="member cp2 does not answer"):
            await nodes.converge("cp1", dataclasses.replace(TERMS, etcd_seconds=0.5))
        assert nodes.calls("ApplyConfiguration") == []
        [warning] = (await nodes.converge("cp1", dataclasses.replace(TERMS, check=True))).warnings
        assert warning.startswith("cp1: a run would wait up to 60 s for etcd")
        assert warning.endswith("member cp2 does not answer")
        await nodes.clear()
        await nodes.everything()

    on_three(test)


@pytest.mark.parametrize("check", [True, False])
def test_a_change_is_staged_while_another_member_is_away(check: bool) -> None:
    """A member that is dead for good must not keep a correction from where the next boot finds it."""

    async def test(nodes: Simulation) -> None:
        nodes.machine = SYSCTLS
        nodes.fault("cp2", "refused")
        terms = dataclasses.replace(TERMS, mode="staged", etcd_seconds=0.5, check=check)
        before = nodes.fleet.nodes["cp1"].record.stored
        outcome = await nodes.converge("cp1", terms)
        assert (outcome.changed, outcome.warnings) == (True, [])
        assert (nodes.fleet.nodes["cp1"].record.stored == before) is check

    on_three(test)


def test_a_control_plane_that_is_away_may_be_changed_itself() -> None:
    """Its own member is not asked for, by its host name, its address or its ID."""

    async def test(nodes: Simulation) -> None:
        nodes.machine = SYSCTLS
        nodes.fault("cp2", "hang", method="EtcdStatus")
        assert (await nodes.converge("cp2")).changed

    on_three(test)


def test_a_control_plane_is_not_changed_while_etcd_has_no_quorum() -> None:
    """As after a power cut: all answer, and no member is healthy."""

    async def test(nodes: Simulation) -> None:
        nodes.machine = SYSCTLS
        for name in ("cp1", "cp2", "cp3"):
            nodes.fault(name, "no-quorum")
        unhealthy = "it is a member of etcd that is not healthy"
        assert [each.partition(" (")[0] for each in (await nodes.plan()).etcd_problems] == [
            f"{name}: {unhealthy}" for name in ("cp1", "cp2", "cp3")
        ]
        with pytest.raises(WaitedTooLong, match=rf"cp2: {unhealthy} \(.*; cp3: {unhealthy}") as caught:
            await nodes.converge("cp1", dataclasses.replace(TERMS, etcd_seconds=0.5))
        assert f"cp1: {unhealthy}" not in str(caught.value)
        assert nodes.calls("ApplyConfiguration") == []
        await nodes.clear()
        await nodes.everything()

    on_three(test)


def test_a_member_whose_health_check_has_not_passed_holds_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Talos checks every 20 s, so a member that has just come back has a leader before it counts as healthy."""
    really = _etcd._joined

    async def joined(node: Connection) -> bool:
        return node.endpoint.name != "cp2" and await really(node)

    async def test(nodes: Simulation) -> None:
        monkeypatch.setattr(_etcd, "_joined", joined)
        designated, second, _third = nodes.control_planes
        [missing] = await _etcd.lacks(designated, "cp1", nodes.control_planes, nodes.context, new=False)
        assert missing.startswith("cp2: it is a member of etcd that is not healthy")
        assert await _etcd.lacks(second, "cp2", nodes.control_planes, nodes.context, new=False) == []

    on_three(test)


def test_the_only_control_plane_may_be_changed_to_heal_its_etcd() -> None:
    async def test(nodes: Simulation) -> None:
        await nodes.bootstrap()
        nodes.machine = SYSCTLS
        nodes.fault("cp", "no-quorum")
        assert (await nodes.converge("cp")).changed

    on_a_node(test)


@pytest.mark.parametrize("disk", [True, False])
def test_new_control_planes_that_wait_for_the_time_can_be_corrected(
    disk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they are new is seen as soon as their disk is there."""
    paths: list[str] = []

    async def services(_self: Connection) -> list[Service]:
        return [Service("etcd", "Waiting", None, "")]

    async def exists(_self: Connection, path: str) -> bool:
        paths.append(path)
        return disk and path == "/var/lib/etcd"

    async def test(nodes: Simulation) -> None:
        for name in nodes.control_plane_names:
            await nodes.converge(name)
        # They swap their certificates in this moment, and open connections end.
        await asyncio.sleep(0.2)
        monkeypatch.setattr(Connection, "services", services)
        monkeypatch.setattr(Connection, "exists", exists)
        nodes.machine = SYSCTLS
        view = await _etcd.view(nodes.control_planes, nodes.context)
        assert (bool(view.possible), set(paths)) == (not disk, {"/var/lib/etcd", "/var/lib/etcd/member"})
        missing = await _etcd.lacks(nodes.control_planes[0], "cp1", nodes.control_planes, nodes.context, new=False)
        booting = "it is booting, and does not tell yet whether it has etcd's data"
        assert missing == ([] if disk else [f"cp2: {booting}"])

    async def whole() -> None:
        async with simulation("cp1", "cp2", control_planes=2) as nodes:
            await test(nodes)

    asyncio.run(whole())


def test_a_learner_is_told_as_one() -> None:
    async def test(nodes: Simulation) -> None:
        [cluster] = nodes.fleet.etcd.clusters
        learner = next(member for member in cluster.members if member.node == "cp3")
        nodes.fleet.etcd.boot_time = 3600
        learner.voter = False
        assert (await nodes.plan()).etcd_problems == [
            "cp3: it is a member of etcd that is not healthy (etcdserver: rpc not supported for learner)",
            "member cp3 is still a learner",
        ]
        nodes.machine = SYSCTLS
        with pytest.raises(WaitedTooLong, match="member cp3 is still a learner"):
            await nodes.converge("cp1", dataclasses.replace(TERMS, etcd_seconds=0.5))

    on_three(test)


def test_one_picked_control_plane_answers_for_itself_only() -> None:
    """As with --tags: no other node is asked, and the other members are not its own."""

    async def test(nodes: Simulation) -> None:
        plan = await nodes.plan("cp2")
        assert (plan.etcd_problems, plan.healthy) == ([], True)
        assert await nodes.missing("healthy", "cp2") == []
        assert {entry["node"] for entry in nodes.log.entries} == {"cp2"}
        nodes.fault("cp2", "permission-denied", method="EtcdStatus")
        assert (await nodes.plan("cp2")).etcd_problems == ["member cp2 does not answer"]

    on_three(test)


def test_where_all_control_planes_are_picked_any_other_member_is_told() -> None:
    async def test(nodes: Simulation) -> None:
        [cluster] = nodes.fleet.etcd.clusters
        stale = next(member for member in cluster.members if member.node == "cp3")
        cluster.members.append(dataclasses.replace(stale, id=7, node="old", hostname="old", address="192.0.2.7"))
        assert (await nodes.plan()).etcd_problems == ["member old does not answer"]
        assert await nodes.missing() == ["etcd: member old does not answer"]
        assert (await nodes.plan("cp1", "cp2")).etcd_problems == []

    on_three(test)


def test_a_member_has_the_hostname_without_its_domain() -> None:
    async def test(nodes: Simulation) -> None:
        endpoint = dataclasses.replace(nodes.control_planes[0], address="192.0.2.1")
        seen = await _etcd.view(nodes.control_planes, nodes.context)
        away = dataclasses.replace(seen, statuses={})
        assert [each.hostname for each in away.members_on(endpoint, "cp1.example.net")] == ["cp1"]
        assert away.members_on(endpoint, "cp.example.net") == []
        others = nodes.control_planes[1:]
        await _etcd.require_free_address(nodes.control_planes[0], "cp1.example.net", others, nodes.context)
        with pytest.raises(StaleMember):
            await _etcd.require_free_address(nodes.control_planes[0], "cp9.example.net", others, nodes.context)

    on_three(test)


def reflash(node: Node) -> None:
    """The card is written anew: nothing is left, and etcd was not told."""
    node.power_off()
    node.forget_configuration()
    node.record.etcd_data = False
    node.power_on()


def test_a_control_plane_with_a_new_card_joins_again() -> None:
    async def test(nodes: Simulation) -> None:
        reflash(nodes.fleet.nodes["cp3"])
        await until(lambda: nodes.fleet.nodes["cp3"].stage == "maintenance")
        assert (await nodes.converge("cp3")).changed
        assert not await nodes.bootstrap()
        await nodes.healthy()
        [cluster] = nodes.fleet.etcd.clusters
        assert len(cluster.members) == 3

    on_three(test)


def test_a_new_control_plane_at_the_address_of_another_member_is_refused_with_the_command() -> None:
    """Talos removes a stale member of the node's own name only."""

    async def test(nodes: Simulation) -> None:
        reflash(nodes.fleet.nodes["cp3"])
        await until(lambda: nodes.fleet.nodes["cp3"].stage == "maintenance")
        [cluster] = nodes.fleet.etcd.clusters
        stale = next(member for member in cluster.members if member.node == "cp3")
        stale.hostname = "talos-old"
        with pytest.raises(StaleMember, match="talos-old") as caught:
            await nodes.converge("cp3")
        asked = nodes.fleet.nodes["cp1"].address
        assert f"talosctl -n {asked} etcd remove-member {stale.hexadecimal}" in caught.value.remedy
        assert nodes.calls("ApplyConfiguration") == []
        nodes.fleet.remove_member("cp3")
        await nodes.everything()

    on_three(test)


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (TalosctlError("unknown keys"), True),
        (SlowTalosctl("not done within 60 s"), False),
        (KubernetesPath("it goes up one minor at a time", remedy="Set it lower"), False),
        (BadConfig("it is not YAML"), False),
    ],
)
def test_only_what_talosctl_refuses_stops_the_run_for_all(error: TalosError, refused: bool) -> None:
    """A node that was left behind, or a busy admin host, is that node's failure."""
    assert Assessment("w1", INVALID, observation.Observation("maintenance"), error=error).refused is refused
