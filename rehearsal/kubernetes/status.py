# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refusals as the API server words them: objects of kind ``Status``."""

from __future__ import annotations

import typing as t

from rehearsal.kubernetes import Object
from rehearsal.kubernetes.kinds import Resource

Cause = tuple[str, str, str]  # field, reason, message


class StatusError(Exception):
    """A refusal with its HTTP code, its reason in one word and its message."""

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details or {}

    def as_json(self) -> Object:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        }


def success(resource: Resource, obj: Object) -> Object:
    """The answer to a delete that is done."""
    details = {**_details(resource, obj["metadata"]["name"]), "uid": obj["metadata"]["uid"]}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _details(resource: Resource, name: str) -> Object:
    group = {"group": resource.group} if resource.group else {}
    return {"name": name, **group, "kind": resource.plural}


def not_found(resource: Resource, name: str) -> StatusError:
    return StatusError(404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name))


def no_such_path() -> StatusError:
    return StatusError(404, "NotFound", "the server could not find the requested resource")


def already_exists(resource: Resource, name: str) -> StatusError:
    return StatusError(409, "AlreadyExists", f'{resource.qualified} "{name}" already exists', _details(resource, name))


def conflict(resource: Resource, name: str) -> StatusError:
    said = "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {said}'
    return StatusError(409, "Conflict", message, _details(resource, name))


def apply_conflict(message: str, causes: t.Sequence[Cause]) -> StatusError:
    return StatusError(409, "Conflict", message, {"causes": _causes(causes)})


def _causes(causes: t.Sequence[Cause]) -> list[Object]:
    return [{"reason": reason, "message": message, "field": field} for field, reason, message in causes]


def invalid(resource: Resource, name: str, *causes: Cause) -> StatusError:
    said = [f"{field}: {message}" for field, _reason, message in causes]
    text = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    details = {**_details(resource, name), "kind": resource.kind, "causes": _causes(causes)}
    return StatusError(422, "Invalid", f'{kind} "{name}" is invalid: {text}', details)


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def forbidden(resource: Resource, name: str, message: str) -> StatusError:
    named = f' "{name}"' if name else ""
    details = _details(resource, name)
    return StatusError(403, "Forbidden", f"{resource.qualified}{named} is forbidden: {message}", details)


def unauthorized() -> StatusError:
    return StatusError(401, "Unauthorized", "Unauthorized")


def method_not_allowed() -> StatusError:
    return StatusError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def unknown_format(accepted: t.Sequence[str]) -> StatusError:
    message = "the body of the request was in an unknown format - accepted media types include: "
    return StatusError(415, "UnsupportedMediaType", message + ", ".join(accepted))


def too_large() -> StatusError:
    return StatusError(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728")


def expired(wanted: int, oldest: int) -> StatusError:
    return StatusError(410, "Expired", f"too old resource version: {wanted} ({oldest})")
