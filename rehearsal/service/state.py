# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``cosi.resource.State``: Get, List and Watch."""

from __future__ import annotations

import asyncio
import re

from grpclib.const import Status

from rehearsal.definitions import types_of
from rehearsal.messages import new
from rehearsal.resources import Resource, resources
from rehearsal.service.call import NOT_AUTHORIZED, Answers, Call, Service, refuse

CREATED, UPDATED, DESTROYED, BOOTSTRAPPED = 0, 1, 2, 3
POLL = 0.1


def _check_access(call: Call) -> None:
    request = call.request
    entry = types_of(call.node.version).get(request.type)
    if entry is None:
        refuse(Status.PERMISSION_DENIED, f'resource type "{request.type}" is not supported')
    if entry.sensitive and not call.is_admin:
        raise NOT_AUTHORIZED
    if request.namespace != entry.namespace:
        refuse(Status.PERMISSION_DENIED, f'namespace "{request.namespace}" is not supported')


async def get(call: Call) -> Answers:
    _check_access(call)
    request = call.request
    found = [resource for resource in resources(call.node, request.type, request.id) if resource.id == request.id]
    if not found:
        name = f"{request.type}({request.namespace}/{request.id}@undefined)"
        refuse(Status.NOT_FOUND, f"resource {name} doesn't exist")
    yield new("cosi.resource.GetResponse", resource=found[0].message())


async def list_all(call: Call) -> Answers:
    _check_access(call)
    pattern = call.request.options.id_query.regexp
    for resource in resources(call.node, call.request.type):
        if re.search(pattern, resource.id):
            yield new("cosi.resource.ListResponse", resource=resource.message())


async def watch(call: Call) -> Answers:
    """Events about all resources of a type, or about one; looks again ten times a second."""
    _check_access(call)
    request = call.request
    yield new("cosi.resource.WatchResponse")
    known = {resource.id: resource for resource in resources(call.node, request.type, request.id)}
    if request.id or request.options.bootstrap_contents:
        for resource in known.values():
            yield _event(CREATED, resource)
    if request.options.bootstrap_contents:
        yield _event(BOOTSTRAPPED, None)
    while True:
        await asyncio.sleep(POLL)
        current = {resource.id: resource for resource in resources(call.node, request.type, request.id)}
        for resource in current.values():
            before = known.get(resource.id)
            if before is None:
                yield _event(CREATED, resource)
            elif before.version != resource.version:
                yield _event(UPDATED, resource, before)
        for identifier in known.keys() - current.keys():
            yield _event(DESTROYED, known[identifier])
        known = current


def _event(kind: int, resource: Resource | None, old: Resource | None = None) -> object:
    event = new("cosi.resource.Event", event_type=kind)
    if resource is not None:
        event.resource.CopyFrom(resource.message())
    if old is not None:
        event.old.CopyFrom(old.message())
    return new("cosi.resource.WatchResponse", event=[event])


_PREFIX = "/cosi.resource.State/"
SERVICES: dict[str, Service] = {f"{_PREFIX}Get": get, f"{_PREFIX}List": list_all, f"{_PREFIX}Watch": watch}
