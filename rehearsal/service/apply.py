# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ApplyConfiguration, in the order in which Talos checks and does things."""

from __future__ import annotations

import functools

from grpclib.const import Status

from rehearsal.configuration import InvalidConfiguration, MachineConfiguration
from rehearsal.differences import difference, reboot_reason
from rehearsal.messages import new
from rehearsal.node import Node
from rehearsal.service.call import NOT_AUTHORIZED, Answers, Call, refuse
from rehearsal.standin.durations import written

REBOOT, AUTO, NO_REBOOT, STAGED, TRY = range(5)
TRY_SECONDS = 60.0
_WITHOUT = "Applied configuration without a reboot"
_WITH = "Applied configuration with a reboot"
_STAGED = "Staged configuration to be applied after the next reboot"
_BUSY_REBOOTING = (
    "configuration was already applied and node is rebooting, cannot apply more configuration changes until next reboot"
)


async def apply_configuration(call: Call) -> Answers:
    node, request = call.node, call.request
    if node.rebooting_for_apply:
        refuse(Status.FAILED_PRECONDITION, _BUSY_REBOOTING)
    if node.configured and not call.is_admin:
        raise NOT_AUTHORIZED
    if request.mode != TRY:
        node.keep_tried()  # a dry run too: Talos has it this way
    configuration, warnings = _checked(node, request.data)
    mode, details, reason = _mode(node, configuration, request.mode)
    if request.dry_run:
        yield _answer(mode, _dry_run(node, configuration, details), [])  # Talos warns of real applies only
        return
    if mode == TRY:
        seconds = request.try_mode_timeout.ToTimedelta().total_seconds() or TRY_SECONDS
        details += "\nThe config is applied in 'try' mode and will be automatically reverted back in "
        details += written(seconds)
        node.revert_after(seconds)
    _take(call, configuration, mode)
    yield _answer(mode, details + reason, warnings)


def _checked(node: Node, data: bytes) -> tuple[MachineConfiguration, list[str]]:
    """The configuration, and Talos' warnings."""
    try:
        configuration = MachineConfiguration.parse(data, node.version)
        if node.configured and not configuration.complete:
            raise InvalidConfiguration(
                "the applied machine configuration doesn't contain v1alpha1 config, "
                "did you mean to patch the machine config instead?"
            )
        return configuration, configuration.require_valid()
    except InvalidConfiguration as problem:
        refuse(Status.INVALID_ARGUMENT, str(problem))


def _mode(node: Node, configuration: MachineConfiguration, mode: int) -> tuple[int, str, str]:
    """The mode that it comes to, what is said of it, and the reason of a reboot."""
    if mode not in (REBOOT, AUTO, NO_REBOOT, STAGED, TRY):
        refuse(Status.INVALID_ARGUMENT, f"incorrect mode '{mode}' specified for the apply config call")
    if mode == REBOOT:
        return _reboot_mode(node)
    if mode == STAGED:
        return STAGED, _STAGED, ""
    reason = _reboot_reason(node, configuration)
    if reason and mode == AUTO:
        return REBOOT, _WITH, f": {reason}"
    if reason:
        refuse(Status.INVALID_ARGUMENT, reason)
    return (NO_REBOOT if mode == AUTO else mode), _WITHOUT, ""


def _reboot_mode(node: Node) -> tuple[int, str, str]:
    if not node.configured:
        return NO_REBOOT, _WITHOUT, ""
    if not node.version.reboots_for_changes:
        text = "the REBOOT mode is not supported, please use AUTO or NO_REBOOT modes instead"
        refuse(Status.UNIMPLEMENTED, text)
    return REBOOT, _WITH, ""


def _reboot_reason(node: Node, configuration: MachineConfiguration) -> str:
    active = node.active
    if not node.version.reboots_for_changes or active is None or not node.configured:
        return ""
    return reboot_reason(active, configuration)


def _dry_run(node: Node, configuration: MachineConfiguration, details: str) -> str:
    shown = difference(node.active, configuration) or "No changes."
    return f"Dry run summary:\n{details} (skipped in dry-run).\nConfig diff:\n\n{shown}"


def _take(call: Call, configuration: MachineConfiguration, mode: int) -> None:
    node, data = call.node, configuration.data
    was_configured, before = node.configured, node.active
    if mode != TRY:
        node.set_stored(data)
    if mode in (NO_REBOOT, TRY):
        node.set_active(data)
    node.save()
    if mode == REBOOT:
        node.rebooting_for_apply = True
        call.afterwards.append(functools.partial(node.start_sequence, "reboot"))
    elif mode in (NO_REBOOT, TRY) and configuration.complete:
        if not was_configured:
            call.afterwards.append(node.take_first_configuration)
        elif before is not None and before.identity != node.identity:
            call.afterwards.append(node.swap_certificate)


def _answer(mode: int, details: str, warnings: list[str]) -> object:
    message = new("machine.ApplyConfiguration", mode=mode, mode_details=details, warnings=warnings)
    return new("machine.ApplyConfigurationResponse", messages=[message])
