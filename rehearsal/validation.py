# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks that Talos makes before it takes a configuration, in its words."""

from __future__ import annotations

from rehearsal.configuration import InvalidConfiguration, MachineConfiguration
from rehearsal.documents import CONTROL_PLANE_KINDS


def multierror(errors: list[str]) -> str:
    """Several errors as one text, as Go's multierror prints them."""
    count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
    return f"{count} occurred:\n\t* " + "\n\t* ".join(errors) + "\n\n"


def validate(configuration: MachineConfiguration) -> None:
    """Raise ``InvalidConfiguration`` for what Talos refuses."""
    errors: list[str] = []
    if configuration.v1alpha1 is not None:
        own = _v1alpha1_errors(configuration)
        errors += [f"v1alpha1.Config: {multierror(own)}"] if own else []
    errors += _hostname_errors(configuration)
    errors += _control_plane_only(configuration)
    if errors:
        raise InvalidConfiguration(multierror(errors))


def _v1alpha1_errors(configuration: MachineConfiguration) -> list[str]:
    if configuration.section("machine") is None:
        return ["machine instructions are required"]
    errors = []
    machine_type = configuration.machine_type
    if not configuration.is_control_plane and configuration.section("cluster", "etcd"):
        errors.append("etcd config is only allowed on control plane machines")
    if machine_type not in ("controlplane", "init", "worker"):
        errors.append(f'unknown machine type "{machine_type}"')
        return errors
    return errors + _ca_errors(configuration) + _endpoint_errors(configuration)


def _ca_errors(configuration: MachineConfiguration) -> list[str]:
    if not configuration.talos_ca.crt and not configuration.accepted_cas:
        return ["issuing CA or some accepted CAs are required (.machine.ca, machine.acceptedCAs)"]
    if configuration.is_control_plane:
        if not configuration.talos_ca.key:
            return ["issuing CA key is required for controlplane nodes (.machine.ca.key)"]
    elif configuration.talos_ca.key:
        return ["issuing Talos API CA key is not allowed on non-controlplane nodes (.machine.ca)"]
    return []


def _endpoint_errors(configuration: MachineConfiguration) -> list[str]:
    if configuration.endpoint.startswith("https://"):
        return []
    return ["cluster instructions are required"] if not configuration.endpoint else ["invalid cluster endpoint"]


def _hostname_errors(configuration: MachineConfiguration) -> list[str]:
    document = configuration.of_kind("HostnameConfig")
    if not document:
        return []
    automatic = document.get("auto") not in (None, "off", False)
    if automatic and document.get("hostname"):
        return ["'auto' and 'hostname' cannot be set at the same time"]
    if configuration.section("machine", "network", "hostname"):
        return ["static hostname is already set in v1alpha1 config"]
    if configuration.section("machine", "features", "stableHostname"):
        return ["stable hostname is already set in v1alpha1 config"]
    return []


def _control_plane_only(configuration: MachineConfiguration) -> list[str]:
    kinds = sorted({str(document.get("kind")) for document in configuration.documents} & CONTROL_PLANE_KINDS)
    if not kinds or configuration.is_control_plane or configuration.v1alpha1 is None:
        return []
    listed = " ".join(kinds)
    return [f"the following document kinds are only allowed on control plane machines: [{listed}]"]
