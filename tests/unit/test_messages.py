# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Field numbers that no recording holds: client and rehearsal share the table, so a wrong one would fail nothing else.

From ``api/machine/machine.proto`` of siderolabs/talos. Numbers of a published API never change, so this table never
has a reason to.
"""

from __future__ import annotations

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import _messages as messages

NUMBERS = {
    "machine.ApplyConfiguration": {"warnings": 2},
    "machine.ReadRequest": {"path": 1},
    "machine.ServiceHealth": {"last_message": 3},
    "machine.EtcdMember": {"is_learner": 6},
    "machine.EtcdMemberStatus": {"errors": 8, "is_learner": 9},
    "machine.EtcdMemberAlarm": {"member_id": 1, "alarm": 2},
    # Recorded with their zero only, which is nothing on the wire; a wrong one would be a reboot or a recovery.
    "machine.RebootRequest": {"mode": 1},
    "machine.BootstrapRequest": {"recover_etcd": 1, "recover_skip_hash_check": 2},
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_those_of_talos(name: str) -> None:
    fields = messages.message_class(name).DESCRIPTOR.fields_by_name
    assert {field: fields[field].number for field in NUMBERS[name]} == NUMBERS[name]
