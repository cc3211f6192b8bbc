# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""The line to one node: questions, which may be repeated, and calls, whose answer may be lost."""

from __future__ import annotations

import ssl
import typing as t

from . import _api as api
from ._api import connect
from ._assessment import endpoint_of
from ._declaration import Node
from ._errors import (
    CertificateTime,
    ConnectionLost,
    NoAnswer,
    NotYet,
    TalosError,
    Unavailable,
    Unreachable,
)
from ._observation import Observation
from ._terms import Terms
from ._waiting import StillWaiting, poll

T = t.TypeVar("T")

# What passes by itself while a node boots; a Pi has the wrong time until it reaches NTP.
PASSING = (Unreachable, ConnectionLost, Unavailable, NotYet, CertificateTime)


class Line:
    """One node, how it may be changed, and what was done to it."""

    def __init__(self, node: Node, context: ssl.SSLContext, terms: Terms) -> None:
        self.node = node
        self.endpoint = endpoint_of(node)
        self.context = context
        self.terms = terms
        self.actions: list[str] = []
        self.warnings: list[str] = []

    def warn(self, what: str) -> None:
        self.warnings.append(f"{self.node.name}: {what}")

    async def poll(self, look: t.Callable[[], t.Awaitable[T]], seconds: float, what: str) -> T:
        return await poll(look, seconds=seconds, what=what, node=self.node.name)

    async def ask(self, question: t.Callable[[api.Node], t.Awaitable[T]]) -> T:
        """A question may be asked again where the connection broke."""

        async def look() -> T:
            try:
                async with connect(self.endpoint, self.context) as node:
                    return await question(node)
            except (Unreachable, ConnectionLost) as error:
                if self.terms.check:
                    raise
                raise StillWaiting(error) from error

        return await self.poll(look, self.terms.reachable_seconds, "the node must answer")

    async def call(
        self, call: t.Callable[[api.Node], t.Awaitable[None]], what: str, *, insecurely: bool = False
    ) -> TalosError | None:
        """The error where the answer was lost, so that only a look can tell. Waits while the node cannot take it."""
        context, fingerprint = (None, self.node.fingerprint) if insecurely else (self.context, "")

        async def look() -> TalosError | None:
            try:
                async with connect(self.endpoint, context, expected_fingerprint=fingerprint) as node:
                    await call(node)
            except (ConnectionLost, NoAnswer) as error:
                return error
            except (NotYet, Unavailable, Unreachable) as error:
                raise StillWaiting(error) from error
            return None

        return await self.poll(look, self.terms.settle_seconds, what)


def away(seen: Observation) -> StillWaiting:
    return StillWaiting(seen.error or f"the node is in {seen.state}")
