# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""READMEs of roles say what their argument specs say, and so do their defaults."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
# Roles whose README is made from their argument specs by `make docs`.
ROLES = sorted(path.parent for path in ROOT.glob("roles/*/README.md"))


def test_make_docs_has_nothing_to_do() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/role-docs.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"run make docs: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_the_readme_holds_every_variable(role: Path) -> None:
    text = (role / "README.md").read_text()
    for name in _options(role):
        assert f"| `{name}` |" in text


@pytest.mark.parametrize("role", sorted(ROOT.glob("roles/*")), ids=lambda path: path.name)
def test_defaults_are_those_of_the_specs(role: Path) -> None:
    path = role / "defaults" / "main.yml"
    defaults = yaml.safe_load(path.read_text()) if path.exists() else {}
    specified = _options(role)
    templated = {name for name, value in defaults.items() if "{{" in str(value)}
    assert set(defaults) == {name for name, option in specified.items() if not option.get("required")}
    assert {name: defaults[name] for name in defaults if name not in templated} == {
        name: option.get("default") for name, option in specified.items() if name in defaults and name not in templated
    }
    assert all(name.startswith(f"{role.name}_") for name in defaults)


def _options(role: Path) -> dict[str, dict[str, object]]:
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    return {name: option for spec in specs.values() for name, option in spec.get("options", {}).items()}
