# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules return is in their docs."""

from __future__ import annotations

import ast
import typing as t
from pathlib import Path

import pytest
import yaml

MODULES = Path(__file__).parents[2] / "plugins" / "modules"


def returned(name: str) -> dict[str, t.Any]:
    for node in ast.parse((MODULES / f"{name}.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "RETURN":
            return t.cast("dict[str, t.Any]", yaml.safe_load(ast.literal_eval(node.value)))
    return {}


# The action of validate does its work.
@pytest.mark.parametrize("name", sorted({path.stem for path in MODULES.glob("*.py")} - {"validate"}))
def test_a_failure_is_documented(name: str) -> None:
    assert returned(name)["failure"]["returned"] == "failure"


def test_the_file_of_a_rendered_config_is_documented() -> None:
    assert "dest" in returned("machine_config")
