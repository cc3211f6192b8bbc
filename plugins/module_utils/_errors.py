# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What can go wrong, as types: each tells the node, what was called, the cause, and the remedy."""

from __future__ import annotations

import typing as t


class TalosError(Exception):
    """An error that a user can act on.

    ``cause`` and ``remedy`` are sentences without the full stop. ``node`` is empty where no node is concerned;
    ``command`` is the talosctl command that does the same call, for the user to try.
    """

    remedy = ""

    def __init__(self, cause: str, *, node: str = "", command: str = "", remedy: str = "") -> None:
        super().__init__(cause)
        self.cause = cause.strip().rstrip(".")
        self.node = node
        self.command = command
        self.remedy = remedy or type(self).remedy

    def __str__(self) -> str:
        where = f"{self.node}: " if self.node else ""
        what = f"{self.command}: " if self.command else ""
        then = f". {self.remedy}." if self.remedy else ""
        return f"{where}{what}{self.cause}{then}"

    def as_failure(self) -> dict[str, str]:
        """The same as data, for a module's result: kind, node, command, cause, remedy."""
        return {
            "kind": type(self).__name__,
            "node": self.node,
            "command": self.command,
            "cause": self.cause,
            "remedy": self.remedy,
        }


class NoControlPlane(TalosError):
    """No control plane is named, where one must be asked."""

    remedy = "Put the cluster's control planes into the inventory's group controlplanes, or name them in control_planes"


class Unreachable(TalosError):
    """No connection: refused, no route, unknown name, or nobody answers at the address."""

    remedy = "Is the node on, at this address, and past its boot? Port 50000 must be open to the admin host"


class NoAnswer(Unreachable):
    """Connected, but nothing came back within the deadline: a frozen node, or a call that waits for something."""

    remedy = "The node hangs or is very slow: look at its console, power-cycle it if it stays so, then run again"


class ConnectionLost(TalosError):
    """The connection broke while it was made or a call was under way; whether the call took effect is not known."""

    remedy = "The node restarted its API or rebooted in the middle of the call: run again, the state is read anew"


class UnknownAuthority(TalosError):
    """The node's certificate is not signed by our cluster's CA: maintenance, or another cluster's node."""

    remedy = "The node is in maintenance or belongs to another cluster"


class WrongName(TalosError):
    """The node's certificate is of our cluster, and for other names or addresses than the one that was called."""

    remedy = "Declare the address in node_cert_sans, or use the node's IP address in node_address"


class CertificateRequired(TalosError):
    """The node wants a client certificate that it trusts: it is configured, and not by the PKI we came with."""

    remedy = "The node is configured already, with the PKI of another cluster"


class CertificateTime(TalosError):
    """A certificate is not valid at this time, by one of the two clocks."""

    remedy = (
        "Compare the clocks of the admin host and the node; a Raspberry Pi has none of its own until it reaches NTP"
    )


class WrongFingerprint(TalosError):
    """The certificate of a node in maintenance is not the one that was declared."""

    remedy = "Another machine may be at this address: compare node_fingerprint with the node's console"


class WrongMachine(TalosError):
    """The machine at the address is not the declared one."""

    remedy = "Another machine is at this address: check node_mac, node_address and the DHCP leases"


class Refused(TalosError):
    """The node answered with an error; subclasses are the gRPC codes."""

    code = "UNKNOWN"
    remedy = "The node's own words say why; its console and talosctl dmesg say more. Run again when it is mended"


class NotAuthorized(Refused):
    code = "PERMISSION_DENIED"
    remedy = "The client certificate's role does not allow this call: an os:admin talosconfig is needed"


class InvalidRequest(Refused):
    code = "INVALID_ARGUMENT"
    remedy = "Correct the machine config: the message names the document or field"


class NotYet(Refused):
    code = "FAILED_PRECONDITION"
    remedy = "The node is not ready for this yet: wait and run again"


class AlreadyExists(Refused):
    code = "ALREADY_EXISTS"
    remedy = "It was done before, by a run or by hand: look at what the node holds, and run again"


class NotFound(Refused):
    code = "NOT_FOUND"
    remedy = "The node does not have it: it may be of another version of Talos, or not that far in its boot; run again"


class Unimplemented(Refused):
    code = "UNIMPLEMENTED"
    remedy = "This kind of node or version of Talos does not offer the call"


class Unavailable(Refused):
    code = "UNAVAILABLE"
    remedy = "A service behind the node's API is not up: wait and run again"


class ServerError(Refused):
    """Any other code."""


REFUSALS: dict[str, type[Refused]] = {
    kind.code: kind
    for kind in (NotAuthorized, InvalidRequest, NotYet, AlreadyExists, NotFound, Unimplemented, Unavailable)
}


def refusal(code: str, message: str, **where: t.Any) -> TalosError:
    """The error for a gRPC code by its name, such as ``PERMISSION_DENIED``."""
    if code == "DEADLINE_EXCEEDED":
        return NoAnswer(message or code, **where)
    return REFUSALS.get(code, ServerError)(message or code, **where)
