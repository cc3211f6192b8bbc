# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.talos.plugins.action.machine_config import limits


@pytest.mark.parametrize(
    ("control_plane", "given", "told"),
    [
        (False, {}, "30 s for its first answer, 600 s for each step of a change"),
        (True, {}, "30 s for its first answer, 300 s for etcd, 600 s for each step of a change"),
        (
            True,
            {"reachable_timeout": 1, "etcd_timeout": 2, "timeout": 3, "try_timeout": 4},
            "1 s for its first answer, 2 s for etcd, 3 s for each step of a change",
        ),
    ],
)
def test_a_long_wait_is_told_with_all_of_its_limits(control_plane: bool, given: dict[str, t.Any], told: str) -> None:
    assert limits(given, control_plane=control_plane) == told
