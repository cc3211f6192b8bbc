# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of Git applied to the cluster: as ``kubectl apply`` does it, or on the server's side."""

from __future__ import annotations

import copy
import json

from rehearsal.kubernetes import Object
from rehearsal.kubernetes.api import APPLY, Api, Terms
from rehearsal.kubernetes.fields import Fields
from rehearsal.kubernetes.kinds import Resource
from rehearsal.kubernetes.rules import as_stored
from rehearsal.kubernetes.status import StatusError

MANAGER = "argocd-controller"
_LAST = "kubectl.kubernetes.io/last-applied-configuration"
_WRITTEN_BY_THE_SERVER = ("managedFields", "resourceVersion", "generation")


def apply(api: Api, resource: Resource, target: Object, live: Object | None, by_server: bool, dry: bool) -> Object:
    """The object as it is then; ``StatusError`` where the API refuses it."""
    metadata = target["metadata"]
    place = (resource, metadata.get("namespace", ""), metadata["name"])
    if by_server:
        return api.patch(*place, APPLY[0], target, Terms(MANAGER, dry_run=dry, force=True))
    marked = _with_annotation(target, _LAST, json.dumps(target, separators=(",", ":"), sort_keys=True) + "\n")
    if live is None:
        return api.create(resource, place[1], marked, Terms(MANAGER, dry_run=dry))
    return api.update(*place, _merged(resource, live, marked), Terms(MANAGER, dry_run=dry))


def differs(api: Api, resource: Resource, target: Object, live: Object, by_server: bool) -> bool:
    """Would it change anything that counts? What the API refuses counts as well."""
    try:
        applied = apply(api, resource, target, live, by_server, dry=True)
    except StatusError:
        return True
    return _compared(applied) != _compared(live)


def _merged(resource: Resource, live: Object, marked: Object) -> Object:
    """What the last declaration said and this one does not is taken away; what others wrote stays."""
    fields, stored = Fields(resource), as_stored(resource, marked)
    merged = {key: value for key, value in fields.merged(live, stored).items() if key != "stringData"}
    merged["metadata"] = {key: value for key, value in merged["metadata"].items() if key != "resourceVersion"}
    last = json.loads(((live["metadata"].get("annotations") or {}).get(_LAST)) or "{}")
    wanted = fields.leaves(stored).keys()
    gone = [path for path in fields.leaves(last) if not any(kept[: len(path)] == path for kept in wanted)]
    if gone:
        merged = copy.deepcopy(merged)
        for path in sorted(gone, key=len):
            fields.remove(merged, path)
    return merged


def _with_annotation(obj: Object, name: str, value: str) -> Object:
    annotations = {**(obj["metadata"].get("annotations") or {}), name: value}
    return {**obj, "metadata": {**obj["metadata"], "annotations": annotations}}


def _compared(obj: Object) -> Object:
    metadata = {key: value for key, value in obj["metadata"].items() if key not in _WRITTEN_BY_THE_SERVER}
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != _LAST}
    return {**obj, "metadata": {**metadata, "annotations": annotations}, "status": None}
