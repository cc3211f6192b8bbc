# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode on consoles that have nothing yet."""

from __future__ import annotations

import typing as t

from testinfra.host import Host

from tests.integration.conftest import Run


def test_check_mode_tells_what_would_be_done_and_does_nothing(
    consoles: dict[str, Host], converge: t.Callable[..., Run], files: t.Callable[[Host], set[str]]
) -> None:
    before = {name: files(host) for name, host in consoles.items()}
    run = converge("--check").require_ok()
    assert set(run.changed) == set(consoles)
    for name, host in consoles.items():
        assert files(host) ^ before[name] == set()
