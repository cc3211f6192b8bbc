# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the options of each role into its README, from its argument specs: `make docs`.

A role takes part when its README holds the two markers. With --check nothing is written, and the exit code says whether
something would be.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import yaml

ROLES = Path(__file__).resolve().parents[1] / "roles"
BEGIN, END = "<!-- options: written by `make docs` -->", "<!-- end of options -->"


def main() -> int:
    stale = []
    for readme in sorted(ROLES.glob("*/README.md")):
        text = readme.read_text(encoding="utf-8")
        if BEGIN in text:
            new = with_options(text, readme.parent)
            if new != text:
                stale.append(str(readme))
                if "--check" not in sys.argv:
                    readme.write_text(new, encoding="utf-8")
    print("\n".join(stale) or "all as the argument specs say")
    return 1 if stale and "--check" in sys.argv else 0


def with_options(text: str, role: Path) -> str:
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{options_of(specs)}\n{END}{after}"


def options_of(specs: dict[str, dict]) -> str:
    lines = []
    for name, spec in specs.items():
        if len(specs) > 1:
            lines += [f"`{name}`: {spec['short_description']}", ""]
        lines += ["| variable | meaning | type | default |", "| --- | --- | --- | --- |"]
        lines += [row(*option) for option in spec.get("options", {}).items()] + [""]
    return "\n".join(lines)


def row(name: str, option: dict) -> str:
    told = option["description"]
    text = plain(" ".join(told) if isinstance(told, list) else told)
    choices = [choice for choice in option.get("choices", []) if choice != ""]
    kind = option.get("type", "str") + (f" of {', '.join(f'`{choice}`' for choice in choices)}" if choices else "")
    default = "required" if option.get("required") else shown(option.get("default"))
    return f"| `{name}` | {text} | {kind} | {default} |"


def plain(text: str) -> str:
    """Ansible's markup as Markdown."""
    return re.sub(r"\b[CVO]\(([^()]*)\)", r"`\1`", text).replace("|", "\\|").strip()


def shown(value: object) -> str:
    if value in ("", None):
        return "none"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


if __name__ == "__main__":
    sys.exit(main())
