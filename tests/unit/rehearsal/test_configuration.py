# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ApplyConfiguration on configured nodes: modes, dry runs, tries, and what Talos 1.13 does otherwise."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import typing as t

import pytest
from grpclib.const import Status

from rehearsal.configuration import MachineConfiguration
from rehearsal.differences import difference, reboot_reason
from rehearsal.faults import Fault
from rehearsal.fleet import Fleet
from rehearsal.messages import new
from rehearsal.node import Node
from rehearsal.standin.durations import written
from rehearsal.versions import TalosVersion
from rehearsal.yaml_text import as_scalar
from tests.unit.rehearsal.harness import (
    AUTO,
    NO_REBOOT,
    STAGED,
    TRY,
    Client,
    Cluster,
    configured,
    fleet_of,
    refusal,
    run,
    until,
)

LABEL = {"nodeLabels": {"colour": "blue"}}
NEEDS_REBOOT = {"env": {"GRPC_GO_LOG_VERBOSITY_LEVEL": "99"}}


def on_a_control_plane(test: t.Callable[[Fleet, Cluster, Client], t.Any], **changes: t.Any) -> None:
    async def whole() -> None:
        async with fleet_of("cp", **changes) as fleet:
            cluster = Cluster()
            await test(fleet, cluster, await configured(fleet, cluster, ready=False))

    run(whole())


def test_dry_run_tells_the_difference_from_the_active_one() -> None:
    async def test(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        same = await admin.apply(cluster.config("cp", "controlplane") + b"# a comment\n", dry_run=True)
        assert same.mode_details.endswith("Config diff:\n\nNo changes.")
        changed = await admin.apply(cluster.config("cp", "controlplane", **LABEL), dry_run=True)
        assert "--- a\n+++ b\n@@ " in changed.mode_details
        assert "+        colour: blue\n" in changed.mode_details
        assert (await admin.get("config", "MachineConfigs.config.talos.dev", "v1alpha1")).metadata.version == "1"

    on_a_control_plane(test)


def test_warnings_come_with_an_apply_and_not_with_a_dry_run() -> None:
    async def test(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        files = {"files": [{"path": "/var/x", "content": "x", "permissions": 0o600, "op": "create"}]}
        new = cluster.config("cp", "controlplane", **files)
        assert list((await admin.apply(new, dry_run=True)).warnings) == []
        [warning] = (await admin.apply(new)).warnings
        assert warning.startswith(".machine.files is deprecated")

    on_a_control_plane(test)


def test_staged_waits_for_the_reboot() -> None:
    async def test(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        old, new = cluster.config("cp", "controlplane"), cluster.config("cp", "controlplane", **LABEL)
        answer = await admin.apply(new, STAGED)
        assert (answer.mode, answer.mode_details) == (3, "Staged configuration to be applied after the next reboot")
        assert await admin.config("v1alpha1") == old
        assert await admin.config("persistent") == new
        again = await admin.apply(new, AUTO, dry_run=True)
        assert "colour" in again.mode_details  # a dry run looks at the active one only
        node, boot = fleet.nodes["cp"], fleet.nodes["cp"].record.boot_id
        await admin.machine("Reboot")
        await until(lambda: node.record.boot_id != boot and node.services_up)
        assert await admin.config("v1alpha1") == new

    on_a_control_plane(test)


def test_try_goes_back_by_itself() -> None:
    async def test(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        old, new = cluster.config("cp", "controlplane"), cluster.config("cp", "controlplane", **LABEL)
        answer = await admin.apply(new, TRY, seconds=2)
        assert answer.mode_details.endswith("will be automatically reverted back in 2s")
        assert await admin.config("v1alpha1") == new
        assert await admin.config("persistent") == old
        await until(lambda: not fleet.nodes["cp"].trying)
        assert await admin.config("v1alpha1") == old

    on_a_control_plane(test)


def test_a_second_try_goes_back_to_the_first_one() -> None:
    async def test(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        first, second = (cluster.config("cp", "controlplane", nodeLabels={"colour": each}) for each in ("red", "blue"))
        await admin.apply(first, TRY, seconds=60)
        await admin.apply(second, TRY, seconds=1)
        assert await admin.config("v1alpha1") == second
        await until(lambda: not fleet.nodes["cp"].trying)
        assert await admin.config("v1alpha1") == first

    on_a_control_plane(test)


def test_after_a_killed_rehearsal_no_try_is_under_way() -> None:
    async def test(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        for colour in ("red", "blue"):
            await admin.apply(cluster.config("cp", "controlplane", nodeLabels={"colour": colour}), TRY, seconds=60)
        killed = dataclasses.replace(fleet.nodes["cp"].record)
        again = Node(killed, fleet)
        assert (killed.active, again.trying) == (killed.stored, False)

    on_a_control_plane(test)


@pytest.mark.parametrize("dry_run", [True, False])
def test_any_other_apply_ends_a_try_for_good(dry_run: bool) -> None:
    async def test(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        new = cluster.config("cp", "controlplane", **LABEL)
        await admin.apply(new, TRY, seconds=60)
        assert fleet.nodes["cp"].trying
        await admin.apply(new, NO_REBOOT, dry_run=dry_run)
        assert not fleet.nodes["cp"].trying
        assert await admin.config("v1alpha1") == new

    on_a_control_plane(test)


def test_a_try_that_the_power_cuts_is_gone() -> None:
    async def test(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        old, new = cluster.config("cp", "controlplane"), cluster.config("cp", "controlplane", **LABEL)
        await admin.apply(new, TRY, seconds=60)
        fleet.nodes["cp"].power_off()
        fleet.nodes["cp"].power_on()
        await until(lambda: fleet.endpoints["cp"]._server is not None)
        assert await admin.config("v1alpha1") == old

    on_a_control_plane(test)


def test_1_14_never_reboots_by_itself() -> None:
    async def test(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        answer = await admin.apply(cluster.config("cp", "controlplane", **NEEDS_REBOOT))
        assert (answer.mode, answer.mode_details) == (2, "Applied configuration without a reboot")
        status, _ = await refusal(admin.apply(cluster.config("cp", "controlplane"), 0))
        assert status is Status.UNIMPLEMENTED

    on_a_control_plane(test)


def test_1_13_reboots_for_what_is_not_immediate() -> None:
    async def test(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        at_once = await admin.apply(cluster.config("cp", "controlplane", **LABEL))
        assert at_once.mode == 2
        data, node = cluster.config("cp", "controlplane", **LABEL, **NEEDS_REBOOT), fleet.nodes["cp"]
        status, message = await refusal(admin.apply(data, NO_REBOOT))
        assert status is Status.INVALID_ARGUMENT
        assert message.startswith("this config change can't be applied in immediate mode\ndiff:\n--- a\n+++ b\n")
        dry = await admin.apply(data, dry_run=True)
        assert (dry.mode, dry.mode_details.splitlines()[1]) == (
            0,
            "Applied configuration with a reboot (skipped in dry-run).",
        )
        boot, answer = node.record.boot_id, await admin.apply(data)
        assert answer.mode_details.startswith("Applied configuration with a reboot: this config change")
        await until(lambda: node.services_up and node.record.boot_id != boot)
        assert await admin.config("v1alpha1") == data

    on_a_control_plane(test, talos_version="1.13.9")


def test_1_13_takes_nothing_more_before_its_reboot() -> None:
    async def test(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        fleet.nodes["cp"].rebooting_for_apply = True  # the moment itself is too short to be caught
        status, message = await refusal(admin.apply(cluster.config("cp", "controlplane")))
        assert status is Status.FAILED_PRECONDITION
        assert message.startswith("configuration was already applied and node is rebooting")

    on_a_control_plane(test, talos_version="1.13.9")


def test_documents_alone_are_refused_outside_maintenance() -> None:
    async def test(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        work = admin.apply(b"apiVersion: v1alpha1\nkind: HostnameConfig\nhostname: a\n")
        status, message = await refusal(work)
        assert status is Status.INVALID_ARGUMENT
        assert message.startswith("the applied machine configuration doesn't contain v1alpha1 config")

    on_a_control_plane(test)


def test_a_reader_neither_reads_nor_tries_configurations() -> None:
    async def test(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        reader = Client(fleet.nodes["cp"], cluster.context("os:reader"))
        denied = (Status.PERMISSION_DENIED, "not authorized")
        assert await refusal(reader.config()) == denied
        assert await refusal(reader.apply(cluster.config("cp", "controlplane"), dry_run=True)) == denied
        assert await reader.stage() == "booting"
        operator = Client(fleet.nodes["cp"], cluster.context("os:operator"))
        assert (await operator.machine("Reboot")).actor_id

    on_a_control_plane(test)


def test_a_certificate_without_a_role_may_do_nothing() -> None:
    async def test(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        for role in ("", "os:unheard-of"):
            somebody = Client(fleet.nodes["cp"], cluster.context(role))
            assert await refusal(somebody.machine("Version")) == (Status.PERMISSION_DENIED, "not authorized")

    on_a_control_plane(test)


def test_accepted_cas_are_accepted() -> None:
    async def test(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        other = Cluster()
        stranger = Client(fleet.nodes["cp"], other.context())
        stranger.context.load_verify_locations(cadata=cluster.talos_ca.crt)
        with pytest.raises(Exception, match=r"unknown ca|UNKNOWN_CA|Connection lost|onnection reset|roken pipe"):
            await stranger.machine("Version")
        accepted = [{"crt": base64.b64encode(other.talos_ca.crt.encode()).decode()}]
        await admin.apply(cluster.config("cp", "controlplane", acceptedCAs=accepted))
        assert (await stranger.machine("Version")).features.rbac

    on_a_control_plane(test)


def test_changes_take_effect() -> None:
    async def test(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        await admin.apply(cluster.config("renamed", "controlplane", certSANs=["renamed.example"]))
        assert (await admin.spec("network", "HostnameStatuses.net.talos.dev", "hostname"))["hostname"] == "renamed"
        assert fleet.nodes["cp"].hostname == "renamed"
        admin.context.check_hostname = True
        answer = await admin.machine("Version")  # by its address; a new certificate all the same
        assert answer.version.tag

    on_a_control_plane(test)


def test_the_image_stays_whatever_the_configuration_names() -> None:
    async def test(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        install = {"disk": "/dev/mmcblk0", "image": f"factory.talos.dev/metal-installer/{'ab' * 32}:v1.14.2"}
        await admin.apply(cluster.config("cp", "controlplane", install=install))
        extension = await admin.spec("runtime", "ExtensionStatuses.runtime.talos.dev", "0")
        assert extension["metadata"]["version"] == "cd" * 32

    on_a_control_plane(test, schematic="cd" * 32)


def count_boots(node: Node) -> list[str]:
    """Grows with each boot."""
    boots: list[str] = []
    boot = node.boot

    def counted() -> None:
        boots.append(node.sequence)
        boot()

    vars(node)["boot"] = counted
    return boots


@pytest.mark.parametrize(
    ("first", "second", "won"),
    [("reboot", "reboot", "second"), ("reset", "reboot", "second"), ("reboot", "reset", "first")],
)
def test_one_sequence_at_a_time(first: str, second: str, won: str) -> None:
    """A reboot takes over another one and a reset; a reset takes over neither, and its caller is not told."""

    async def test(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        node = fleet.nodes["cp"]
        boots, done = count_boots(node), list[str]()
        node.start_sequence(first, "first", lambda: done.append("first"))
        node.start_sequence(second, "second", lambda: done.append("second"))
        locked = [event.sequence for event in map(_sequence, node.events.events) if event.error.message]
        assert locked == ([second] if won == "first" else [])
        await until(lambda: boots)
        await asyncio.sleep(0.5)
        assert (len(boots), done) == (1, [won])

    on_a_control_plane(test)


def _sequence(event: t.Any) -> t.Any:
    message = new("machine.SequenceEvent")
    if event.data.type_url.endswith("machine.SequenceEvent"):
        message.ParseFromString(event.data.value)
    return message


def test_power_that_comes_back_ends_a_reboot_that_does_not() -> None:
    async def test(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        node = fleet.nodes["cp"]
        boots = count_boots(node)
        fleet.add_fault(node, Fault("no-reboot-completes"))
        node.start_sequence("reboot")
        await until(lambda: not node.up)
        node.power_on()
        fleet.clear_faults([node])
        await asyncio.sleep(0.5)
        assert len(boots) == 1

    on_a_control_plane(test)


def test_schematic_of_the_installer() -> None:
    async def test(fleet: Fleet, cluster: Cluster, admin: Client) -> None:
        extension = await admin.spec("runtime", "ExtensionStatuses.runtime.talos.dev", "0")
        assert extension["metadata"]["version"].startswith("ee21ef4a")  # the board's own
        image = {"disk": "/dev/mmcblk0", "image": f"factory.example/metal-installer/{'ab' * 32}:v1.14.2"}
        await admin.apply(cluster.config("cp", "controlplane", install=image))
        extension = await admin.spec("runtime", "ExtensionStatuses.runtime.talos.dev", "0")
        assert extension["metadata"] | {"name": "schematic", "version": "ab" * 32} == extension["metadata"]

    on_a_control_plane(test)


def test_several_nodes_answer_in_one_message() -> None:
    async def whole() -> None:
        async with fleet_of("cp", "worker") as fleet:
            cluster = Cluster()
            admin = await configured(fleet, cluster, ready=False)
            worker = fleet.nodes["worker"].address
            from multidict import MultiDict

            metadata = MultiDict([("nodes", admin.address), ("nodes", worker)])
            [answer] = await admin.call("/machine.MachineService/Bootstrap", metadata=metadata)
            good, bad = answer.messages
            assert (good.metadata.hostname, good.metadata.error) == (admin.address, "")
            text = "bootstrap is only available on control plane nodes"
            assert (bad.metadata.status.code, bad.metadata.status.message) == (12, text)
            assert bad.metadata.error == f"rpc error: code = Unimplemented desc = {text}"
            status, _ = await refusal(admin.machine("Bootstrap", metadata={"node": worker}))
            assert status is Status.UNIMPLEMENTED
            status, message = await refusal(admin.machine("Version", metadata={"node": "192.0.2.77"}))
            assert status is Status.UNAVAILABLE
            assert "no route to host" in message
            fleet.nodes["worker"].power_off()
            status, message = await refusal(admin.machine("Version", metadata={"node": worker}))
            assert "no route to host" in message

    run(whole())


# --- without a node

TEXTS = [
    "a: 1\n",
    "a: 1",
    "a\n\n",
    "",
    "  a\n",
    "a\r\nb\n",
    "x:\n\n    - é #\n",
    "\ta\n",
    "a\n \nb\n",
    "a \n",
    "\u2028\n",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_scalar_reads_back_as_the_same_text(text: str) -> None:
    import yaml

    assert yaml.safe_load(as_scalar(text)) == text
    assert yaml.load(as_scalar(text), getattr(yaml, "CSafeLoader", yaml.SafeLoader)) == text  # noqa: S506


@pytest.mark.parametrize(
    ("seconds", "text"), [(30, "30s"), (60, "1m0s"), (90.5, "1m30.5s"), (3600, "1h0m0s"), (0.4, "400ms")]
)
def test_durations(seconds: float, text: str) -> None:
    assert written(seconds) == text


def test_which_changes_need_a_reboot_in_1_13() -> None:
    cluster, version = Cluster(), TalosVersion.parse("1.13.9")

    def parsed(**machine: t.Any) -> MachineConfiguration:
        return MachineConfiguration.parse(cluster.config("a", **machine), version)

    plain = parsed()
    assert reboot_reason(plain, parsed(**LABEL)) == ""
    assert reboot_reason(plain, parsed(features={"rbac": True})) != ""
    with_features = parsed(features={"rbac": True})
    assert reboot_reason(with_features, parsed(features={"rbac": True, "kubePrism": {"enabled": True}})) == ""
    shown = reboot_reason(plain, parsed(**LABEL, **NEEDS_REBOOT))
    assert "GRPC_GO" in shown
    assert "colour" not in shown
    assert difference(plain, plain) == ""
