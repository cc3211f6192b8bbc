# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of several processes get networks of their own."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from tests import networks

ROOT = Path(__file__).parents[2]
CLAIM = "import random; random.randrange = lambda _: {start}; from tests import networks; print(networks.claim())"


def claimed_elsewhere(start: int) -> str:
    """By a process that begins to look there, and has ended since."""
    command = [sys.executable, "-c", CLAIM.format(start=start)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_no_two_processes_have_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    start = 1000
    monkeypatch.setattr("random.randrange", lambda _: start)
    ours = networks.claim()
    theirs = claimed_elsewhere(start)
    assert theirs not in ("", ours)
    assert networks.claim() == theirs, "it is free again"


def test_addresses_are_those_of_claimed_networks() -> None:
    found = list(itertools.islice(networks.addresses(), 300))
    assert len(set(found)) == 300
    assert len({address.rpartition(".")[0] for address in found}) == 2
