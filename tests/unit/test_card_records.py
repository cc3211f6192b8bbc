# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``cards.yml``: read, refused, and written by many at once."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.homelab.talos.plugins.module_utils._card_records import (
    Record,
    RecordError,
    added,
    parse,
    render,
)
from ansible_collections.homelab.talos.plugins.plugin_utils._card_records_file import CardRecordsFile

RECORD = Record("usb:1:0:31914983424", 31914983424, "1" * 64, "1.14.2", "e" * 64)
ADD = """
import sys
from ansible_collections.homelab.talos.plugins.module_utils._card_records import Record
from ansible_collections.homelab.talos.plugins.plugin_utils._card_records_file import CardRecordsFile
for number in range(int(sys.argv[2]), int(sys.argv[2]) + 20):
    CardRecordsFile(sys.argv[1]).record({f"w{number}": Record(f"mmc:{number}", 1, "1" * 64, "1.14.2", "e" * 64)})
"""


def test_what_is_recorded_is_read_again(tmp_path: Path) -> None:
    file = CardRecordsFile(str(tmp_path / "inventory" / "cards.yml"))
    assert file.read() == {}
    records = dict.fromkeys(("w1", "no", "007", "a.b_C"), RECORD) | {
        "blank": Record("", 1, "1" * 64, "1.14.2", "e" * 64)
    }
    assert file.record(records)
    assert file.read() == records
    assert not file.record({"w1": RECORD})
    assert os.listdir(tmp_path / "inventory") == ["cards.yml"]
    # A reader of YAML that guesses types finds the same.
    guessed = yaml.safe_load(Path(file.path).read_text())
    assert parse(guessed, "cards.yml").keys() == records.keys()
    assert guessed["w1"] == RECORD.as_dict()


def test_a_card_belongs_to_one_node() -> None:
    own = Record("mmc:1", 1, "1" * 64, "1.14.2", "e" * 64)
    assert added({"w1": own, "w2": RECORD}, {"w3": own, "w4": RECORD}) == {"w2": RECORD, "w3": own, "w4": RECORD}


def test_processes_that_record_at_once_lose_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "cards.yml")

    def record(first: int) -> int:
        return subprocess.run([sys.executable, "-c", ADD, path, str(first)], check=False).returncode

    with concurrent.futures.ThreadPoolExecutor() as pool:
        assert list(pool.map(record, range(0, 80, 20))) == [0] * 4
    assert set(CardRecordsFile(path).read()) == {f"w{number}" for number in range(80)}


@pytest.mark.parametrize(
    "change", [{"size": "32GB"}, {"image": "abc"}, {"schematic": ""}, {"owner": "me"}, {"identity": None}]
)
def test_what_is_no_record(change: dict[str, str | None]) -> None:
    entry = {name: value for name, value in {**RECORD.as_dict(), **change}.items() if value is not None}
    with pytest.raises(RecordError, match=r"^cards\.yml: w1: .*remove the entry"):
        parse({"w1": entry}, "cards.yml")
    with pytest.raises(RecordError, match="not a mapping"):
        parse([], "cards.yml")


def test_the_order_of_the_file_is_not_that_of_recording() -> None:
    assert render({"b": RECORD, "a": RECORD}) == render({"a": RECORD, "b": RECORD})
