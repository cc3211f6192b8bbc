# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorded calls, sent byte for byte to a simulated node that is brought to the same state.

grpclib's client refuses to send empty metadata, which talosctl does send; so the calls go through h2 itself.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import struct
import typing as t
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import yaml
from grpclib.const import Status
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, Event, ResponseReceived, StreamEnded, StreamReset

from rehearsal.fleet import Fleet
from rehearsal.messages import METHODS, message_class
from rehearsal.node import Node
from tests.unit.rehearsal.harness import Cluster, fleet_of, insecure, swapped, until

WIRE = Path(__file__).parent / "wire"
CUT = "(cut)"
CUT_SECONDS = 0.5
STATUS_NAMES = {str(status.value): status.name for status in Status}


@dataclass
class Answer:
    """What came back: status, message, and the raw messages of the stream."""

    status: str
    message: str
    responses: list[bytes] = field(default_factory=list)

    def parsed(self, method: str) -> list[t.Any]:
        return [message_class(METHODS[method][1]).FromString(raw) for raw in self.responses]


def recorded(version: str) -> list[dict[str, t.Any]]:
    lines = (WIRE / f"talos-{version}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def recorded_answer(call: dict[str, t.Any]) -> Answer:
    responses = [base64.b64decode(raw) for raw in call["responses"]]
    return Answer(call["status"], call["message"] or "", responses)


async def send(address: str, context: ssl.SSLContext, call: dict[str, t.Any], metadata: dict[str, str]) -> Answer:
    """The recorded request to a node; cut off like the recording where there is no answer."""
    try:
        async with asyncio.timeout(CUT_SECONDS if call["status"] == CUT else 60):
            return await _exchange(address, context, call, metadata)
    except TimeoutError:
        return Answer(CUT, call["message"] or "")


async def _exchange(address: str, context: ssl.SSLContext, call: dict[str, t.Any], metadata: dict[str, str]) -> Answer:
    reader, writer = await asyncio.open_connection(address, 50000, ssl=context, server_hostname=address)
    connection = H2Connection()
    connection.initiate_connection()
    connection.increment_flow_control_window(1 << 24)
    stream = connection.get_next_available_stream_id()
    headers = {":method": "POST", ":scheme": "https", ":path": call["method"], ":authority": address}
    headers |= {"te": "trailers", "content-type": "application/grpc", **metadata}
    connection.send_headers(stream, list(headers.items()))
    requests = b"".join(_framed(base64.b64decode(raw)) for raw in call["requests"])
    writer.write(connection.data_to_send())
    for start in range(0, len(requests), 16000):
        connection.send_data(stream, requests[start : start + 16000])
        writer.write(connection.data_to_send())
    connection.end_stream(stream)
    writer.write(connection.data_to_send())
    try:
        return await _answer(connection, reader, writer)
    finally:
        writer.close()


def _framed(message: bytes) -> bytes:
    return struct.pack(">BI", 0, len(message)) + message


async def _answer(connection: H2Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
    trailers: dict[str, str] = {}
    data = b""
    while True:
        received = await reader.read(1 << 16)
        events: list[Event] = connection.receive_data(received) if received else []
        for event in events:
            headers = getattr(event, "headers", None)
            if headers is not None:
                trailers |= {_text(name): _text(value) for name, value in headers}
            if isinstance(event, DataReceived):
                data += event.data
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if isinstance(event, StreamEnded | StreamReset | ConnectionTerminated) and "grpc-status" in trailers:
                status = STATUS_NAMES.get(trailers["grpc-status"], trailers["grpc-status"])
                return Answer(status, unquote(trailers.get("grpc-message", "")), _messages(data))
            assert not isinstance(event, ResponseReceived) or trailers[":status"] == "200"
        assert received, f"connection lost: {trailers}"
        writer.write(connection.data_to_send())


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _messages(data: bytes) -> list[bytes]:
    found = []
    while data:
        _, length = struct.unpack(">BI", data[:5])
        found.append(data[5 : 5 + length])
        data = data[5 + length :]
    return found


# --- what is compared


def field_paths(message: t.Any, prefix: str = "") -> set[str]:
    """The fields that are set, and those below them."""
    found: set[str] = set()
    for descriptor, value in message.ListFields():
        path = f"{prefix}{descriptor.name}"
        found.add(path)
        if descriptor.message_type is not None:
            for each in value if descriptor.is_repeated else [value]:
                found |= field_paths(each, f"{path}.")
    return found


def yaml_paths(text: str) -> set[str]:
    """The keys of a spec in YAML, below lists too."""
    return _value_paths(yaml.safe_load(text), "")


def _value_paths(value: t.Any, prefix: str) -> set[str]:
    if isinstance(value, dict):
        below = (_value_paths(each, f"{prefix}.{key}") | {f"{prefix}.{key}"} for key, each in value.items())
        return set().union(*below)
    if isinstance(value, list):
        return set().union(*(_value_paths(each, f"{prefix}[]") for each in value))
    return set()


# --- the replay


# What would end the node for the calls after it, or needs one whose services never start, gets a node of its own.
ALONE = ("reboot-refused", "reset-refused", "health")


async def _steps(version: str) -> dict[int, Answer]:
    """Every call of a recording that is served, in its order; answers by position."""
    calls = {position: call for position, call in enumerate(recorded(version)) if call["method"] in METHODS}
    config = next(call for call in calls.values() if call["during"] == "maint-apply")
    cluster = _recorded_cluster(config)
    answers: dict[int, Answer] = {}
    async with fleet_of("cp", *ALONE, talos_version=version) as fleet:

        async def one(position: int, node: Node) -> None:
            answers[position] = await _step(fleet, node, cluster, calls[position])

        async def alone(position: int) -> None:
            node = fleet.nodes[calls[position]["during"]]
            await _step(fleet, node, cluster, config)
            node.applied_at += 3600  # nothing starts: it does not join the other's etcd either
            await one(position, node)

        async def in_order() -> None:
            for position, call in calls.items():
                if call["during"] not in ALONE:
                    await one(position, fleet.nodes["cp"])

        apart = [alone(position) for position, call in calls.items() if call["during"] in ALONE]
        await asyncio.gather(in_order(), *apart)
    return answers


async def _step(fleet: Fleet, node: Node, cluster: Cluster, call: dict[str, t.Any]) -> Answer:
    """One call, once the node is where the real one was."""
    metadata = {key: node.address if "node" in key and value else value for key, value in call["metadata"].items()}
    if call["during"] == "bootstrap":
        await until(lambda: node.services_up)
    if call["during"] == "bootstrap-again":
        await until(lambda: fleet.etcd.runs_on(node))
    context = insecure() if call["during"].startswith("maint-") else cluster.context()
    answer = await send(node.address, context, call, metadata)
    if call["during"] == "maint-apply":
        await swapped(node)
    return answer


def replay(version: str) -> dict[int, Answer]:
    return asyncio.run(_steps(version))


def _recorded_cluster(call: dict[str, t.Any]) -> Cluster:
    """The cluster whose configuration was applied."""
    from rehearsal.configuration import MachineConfiguration
    from rehearsal.versions import TalosVersion

    request = message_class(METHODS[call["method"]][0]).FromString(base64.b64decode(call["requests"][0]))
    cluster = Cluster()
    cluster.talos_ca = MachineConfiguration.parse(request.data, TalosVersion.parse("1.14.0")).talos_ca
    return cluster
