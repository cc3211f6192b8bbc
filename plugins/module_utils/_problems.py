# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What is wrong with a definition: each problem names host, key, value and remedy."""

from __future__ import annotations

import dataclasses
import difflib
import json
import typing as t
from collections.abc import Callable, Iterable, Sequence

HIDDEN = "<hidden>"
NOT_SET = "(not set)"

Severity = t.Literal["error", "warning"]
_PREFIX: dict[Severity, str] = {"error": "", "warning": "warning: "}
# Takes a key, its value and the remedy. A key may lead into its value: node_network[0].mac.
Report = Callable[[str, object, str], None]


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing to correct: where it is, what stands there, what to do. Its text is one line."""

    host: str
    key: str
    value: str
    remedy: str
    severity: Severity = "error"

    def __str__(self) -> str:
        return _line(self.host, self)


class DefinitionError(Exception):
    """All problems of a definition at once, warnings among them. Its text holds one line for each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(lines(self.problems))


def lines(problems: Iterable[Problem]) -> list[str]:
    """One line for each problem; what several hosts share is said once, with their names."""
    hosts: dict[Problem, list[str]] = {}
    for problem in problems:
        hosts.setdefault(dataclasses.replace(problem, host=""), []).append(problem.host)
    return [_PREFIX[problem.severity] + _line(_names(names), problem) for problem, names in hosts.items()]


def shown(value: object, limit: int = 80) -> str:
    """A value as a problem shows it: on one line, cut when long."""
    if value is None:
        return NOT_SET
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split()) if text.strip() else json.dumps(text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def nearest(name: str, known: Iterable[str], count: int = 1) -> list[str]:
    """The known names that look most like this one, best first; none when nothing comes near."""
    by_lower = {candidate.lower(): candidate for candidate in sorted(known)}
    return [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, count, 0.6)]


def suggestion(name: str, known: Iterable[str]) -> str:
    """What to do about an unknown name: the nearest known one, or to remove it."""
    found = nearest(name, known)
    return f"not known; did you mean {found[0]}?" if found else "not known; correct its name or remove it"


def _names(hosts: Sequence[str]) -> str:
    names = list(dict.fromkeys(hosts))
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"


def _line(host: str, problem: Problem) -> str:
    return " ".join(f"{host}: {problem.key} is {problem.value}: {problem.remedy}".split())
