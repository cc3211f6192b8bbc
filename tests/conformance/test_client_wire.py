# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our client asks what the real talosctl asks, byte for byte, and reads what real nodes answer."""

from __future__ import annotations

import asyncio
import base64
import json
import typing as t
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from ansible_collections.homelab.talos.plugins.module_utils import _messages as messages
from ansible_collections.homelab.talos.plugins.module_utils._api import Endpoint, Node
from ansible_collections.homelab.talos.plugins.module_utils._errors import (
    AlreadyExists,
    InvalidRequest,
    NotAuthorized,
    NotYet,
    TalosError,
)

WIRE = Path(__file__).parent / "wire"
VERSIONS = sorted(path.stem.removeprefix("talos-") for path in WIRE.glob("*.jsonl"))


def recorded(version: str, during: str) -> list[dict[str, t.Any]]:
    lines = (WIRE / f"talos-{version}.jsonl").read_text().splitlines()
    return [call for call in map(json.loads, lines) if call["during"] == during]


class Recorded(Node):
    """A client whose calls are noted, and answered by a recording."""

    def __init__(self, call: dict[str, t.Any]) -> None:
        super().__init__(Endpoint("talos-x", "192.0.2.1"), t.cast(t.Any, None), insecure=False)
        self._recorded = call
        self.sent = b""

    async def _ask(self, kind: t.Any, path: str, types: tuple[t.Any, t.Any], request: t.Any, seconds: float) -> t.Any:
        assert path == self._recorded["method"]
        self.sent = request.SerializeToString(deterministic=True)
        if self._recorded["status"] != "OK":
            raise GRPCError(Status[self._recorded["status"]], self._recorded["message"])
        read = [types[1].FromString(base64.b64decode(each)) for each in self._recorded["responses"]]
        return read if messages.METHODS[path][2] == messages.STREAM else read[0]


def apply(call: dict[str, t.Any], **options: t.Any) -> t.Callable[[Node], t.Awaitable[t.Any]]:
    request = messages.message_class("machine.ApplyConfigurationRequest").FromString(
        base64.b64decode(call["requests"][0])
    )
    return lambda node: node.apply_configuration(request.data, **options)


Call = dict[str, t.Any]
# What was recorded: what our client does for the same purpose, and what it must read from the answer.
PURPOSES: dict[str, tuple[t.Callable[[Call], t.Callable[[Node], t.Any]], t.Callable[[t.Any], bool]]] = {
    "maint-version": (lambda _: Node.version, lambda got: got.tag.startswith("v1.") and got.arch == "amd64"),
    "maint-machinestatus": (lambda _: Node.machine_status, lambda got: got.stage == "maintenance" and got.ready),
    "maint-links": (
        lambda _: Node.links,
        lambda got: any(each.type == "ether" and each.hardware_addr.count(":") == 5 for each in got),
    ),
    "conf-machinestatus": (
        lambda _: Node.machine_status,
        lambda got: got.stage == "booting" and not got.ready and got.unmet[0][0] == "services",
    ),
    "conf-get-mc": (
        lambda _: Node.machine_configs,
        lambda got: got.active == got.stored and got.active.startswith(b"version: v1alpha1"),
    ),
    "conf-dry-run-same": (
        lambda call: apply(call, mode="auto", dry_run=True),
        lambda got: got.details.rstrip().endswith("No changes.") and got.mode == "no-reboot",
    ),
    "conf-dry-run-change": (
        lambda call: apply(call, mode="auto", dry_run=True),
        lambda got: "+debug: true" in got.details and got.mode == "no-reboot",
    ),
    "conf-apply-staged": (lambda call: apply(call, mode="staged"), lambda got: got.mode == "staged"),
    "conf-apply-try": (lambda call: apply(call, mode="try", try_seconds=30), lambda got: got.mode == "try"),
    "conf-apply-noreboot": (lambda call: apply(call, mode="no-reboot"), lambda got: got.mode == "no-reboot"),
    "maint-apply": (lambda call: apply(call, mode="auto"), lambda got: got.mode == "no-reboot"),
    "bootstrap": (lambda _: Node.bootstrap, lambda got: got is None),
    "etcd-members": (
        lambda _: Node.etcd_members,
        lambda got: [each.hostname for each in got] == ["talos-cp"] and len(got[0].id) == 16 and not got[0].learner,
    ),
    "etcd-status": (lambda _: Node.etcd_status, lambda got: got.leader == got.member_id and got.db_size > 0),
    "services": (lambda _: Node.services, lambda got: {"apid", "etcd"} <= {each.id for each in got}),
    "kubeconfig": (lambda _: Node.kubeconfig, lambda got: b"client-certificate-data" in got),
    "get-etcdmembers": (lambda _: lambda node: node.get("etcdmembers"), lambda got: got[0].id == "local"),
    "get-addresses": (lambda _: Node.addresses, lambda got: any(each.startswith("172.30.0.") for each in got)),
    "get-extensions": (lambda _: Node.extensions, lambda got: got == []),
    "get-hostnamestatus": (lambda _: Node.hostname, lambda got: got == "talos-cp"),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("during", PURPOSES)
def test_client_speaks_as_talosctl_does(version: str, during: str) -> None:
    # The first list of a "get" is talosctl's look at the resource definitions, which we do not need.
    call = recorded(version, during)[-1]
    ask, expected = PURPOSES[during]
    node = Recorded(call)
    got = asyncio.run(ask(call)(node))  # type: ignore[arg-type]
    assert node.sent == base64.b64decode(call["requests"][0])
    assert expected(got), got


# What was refused, and as what it must arrive: 1.13 puts the error into an answer, 1.14 gives a status.
REFUSALS: dict[str, tuple[t.Callable[[Call], t.Callable[[Node], t.Any]], type[TalosError], str]] = {
    "maint-get-mc": (lambda _: Node.machine_configs, NotAuthorized, "not authorized"),
    "maint-apply-bad": (lambda call: apply(call, mode="auto"), InvalidRequest, "unknown machine type"),
    "conf-apply-bad": (lambda call: apply(call, mode="auto"), InvalidRequest, "unknown machine type"),
    "bootstrap-again": (lambda _: Node.bootstrap, AlreadyExists, "etcd data directory is not empty"),
    "reboot-refused": (lambda _: Node.reboot, NotYet, "method is not supported in container mode"),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("during", REFUSALS)
def test_refusals_arrive_by_their_code(version: str, during: str) -> None:
    call = recorded(version, during)[-1]
    ask, kind, cause = REFUSALS[during]
    node = Recorded(call)
    with pytest.raises(kind) as caught:
        asyncio.run(ask(call)(node))
    assert node.sent == base64.b64decode(call["requests"][0])
    assert cause in caught.value.cause
    assert "rpc error" not in caught.value.cause


@pytest.mark.parametrize("version", VERSIONS)
def test_every_recorded_message_is_read_without_rest(version: str) -> None:
    """A field that we do not know would be a wrong or missing number in the table; memory has 45 more counters."""
    for line in (WIRE / f"talos-{version}.jsonl").read_text().splitlines():
        call = json.loads(line)
        if call["method"] not in messages.METHODS or call["method"].endswith("/Memory"):
            continue
        request_name, response_name, _kind = messages.METHODS[call["method"]]
        for name, raw in [(request_name, each) for each in call["requests"]] + [
            (response_name, each) for each in call["responses"]
        ]:
            message = messages.message_class(name).FromString(base64.b64decode(raw))
            size = len(message.SerializeToString())
            message.DiscardUnknownFields()
            assert len(message.SerializeToString()) == size, (call["during"], name)
