# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What is wrong with a definition: each problem names host, key, value and remedy."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import typing as t
from collections.abc import Callable, Iterable, Mapping

HIDDEN = "<hidden>"
NOT_SET = "(not set)"
# The host of what concerns the cluster.
EVERY_NODE = "all nodes"
# Variables whose values no message shows.
SECRET_KEYS = frozenset(
    {
        *("argocd_admin_password_hash", "argocd_git_token", "argocd_patches", "argocd_proxy", "argocd_read_token"),
        *("cluster_hidden", "cluster_patches", "group_patches", "node_patches", "node_registry_auth"),
    }
)

Severity = t.Literal["error", "warning"]
_PREFIX: dict[Severity, str] = {"error": "", "warning": "warning: "}
# Takes a key, its value and the remedy. A key may lead into its value: node_network[0].mac.
Report = Callable[[str, object, str], None]

_UNRESOLVED = "cannot be resolved ({}); correct the template, or run with the vault password"
_VALUE_MAX = 80
# user:password@ of a URL or address; a password may hold whatever stands before the last @.
_CREDENTIALS = re.compile(r".*@", re.DOTALL)
_CREDENTIALS_IN_KEY = re.compile(r"(?<=[\[.])[^\[]*@")


@dataclasses.dataclass(frozen=True)
class Unresolved:
    """Stands for the value of a variable that Ansible could not resolve: its ``template`` if that may be shown."""

    reason: str
    template: str = HIDDEN


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing to correct: where it is, what stands there (whole), what to do. Its text is one line."""

    host: str
    key: str
    value: str
    remedy: str
    severity: Severity = "error"

    def __str__(self) -> str:
        return _line(self.host, self)

    @property
    def said(self) -> str:
        """Without its host."""
        return " ".join(f"{self.key} is {brief(self.value)}: {self.remedy}".split())

    def without(self, hide: Callable[[str], str]) -> Problem:
        """The same, its texts without secrets that ``hide`` knows."""
        return dataclasses.replace(self, key=hide(self.key), value=hide(self.value), remedy=hide(self.remedy))


class DefinitionError(Exception):
    """All problems of a definition at once, warnings among them. Its text holds one line for each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(lines(self.problems))


class Problems:
    """Collects problems; what a secret variable holds is hidden here, whoever reports it."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._unresolved: set[tuple[str, str]] = set()

    def add(self, host: str, key: str, value: object, remedy: str, severity: Severity = "error") -> None:
        if not self.is_unresolved(host, _variable(key)):
            self.problems.append(Problem(host, shown_key(key), shown(value), remedy, severity))

    def add_unresolved(self, host: str, name: str, value: Unresolved) -> None:
        """What else is wrong with this variable follows from that."""
        self.add(host, name, _visible(name, value.template), _UNRESOLVED.format(value.reason.rstrip(".")))
        self._unresolved |= {(host, name), (EVERY_NODE, name)}

    def is_unresolved(self, host: str, name: str) -> bool:
        return (host, name) in self._unresolved

    def reporter(self, host: str, severity: Severity = "error") -> Report:
        def report(key: str, value: object, remedy: str) -> None:
            self.add(host, key, _visible(key, value), remedy, severity)

        return report

    def raise_errors(self) -> None:
        if any(problem.severity == "error" for problem in self.problems):
            raise DefinitionError(self.problems)


def _visible(key: str, value: object) -> object:
    variable = _variable(key)
    if variable not in SECRET_KEYS or value is None:
        return value
    # PatchReader shows names of files and nothing else.
    return value if variable.endswith("_patches") and isinstance(value, str) and _is_file(value) else HIDDEN


def _variable(key: str) -> str:
    return re.split(r"[.\[,]", key, maxsplit=1)[0]


def _is_file(value: str) -> bool:
    return re.fullmatch(r"[\w./ ~-]+\.(ya?ml|json)", value) is not None


def lines(problems: Iterable[Problem]) -> list[str]:
    """One line for each problem; what several hosts share is said once, with their names."""
    hosts: dict[Problem, list[str]] = {}
    for problem in problems:
        hosts.setdefault(dataclasses.replace(problem, host=""), []).append(problem.host)
    return [
        _PREFIX[problem.severity] + _line(", ".join(dict.fromkeys(names)), problem) for problem, names in hosts.items()
    ]


def shown(value: object) -> str:
    """A value as a problem holds it: of mappings the keys alone, and no credentials before an @."""
    if value is None:
        return NOT_SET
    harmless = _harmless(value)
    return harmless if isinstance(harmless, str) else json.dumps(harmless, ensure_ascii=False, default=str)


def shown_key(key: str) -> str:
    """A key as a problem holds it: parts of it may be the user's words, such as the name of a registry."""
    return _CREDENTIALS_IN_KEY.sub(f"{HIDDEN}@", key) if "@" in key else key


def brief(text: str) -> str:
    """A shown value on one line, cut when long."""
    line = " ".join(text.split()) if text.strip() else json.dumps(text)
    return line if len(line) <= _VALUE_MAX else f"{line[: _VALUE_MAX - 1]}…"


def _harmless(value: object) -> object:
    if isinstance(value, str):
        return _CREDENTIALS.sub(f"{HIDDEN}@", value)
    if isinstance(value, Mapping):
        return {str(_harmless(key)): HIDDEN for key in value}
    return [_harmless(item) for item in value] if isinstance(value, (list, tuple)) else value


def nearest(name: str, known: Iterable[str], count: int = 1) -> list[str]:
    """The known names that look most like this one, best first; none when nothing comes near."""
    by_lower = {candidate.lower(): candidate for candidate in sorted(known)}
    return [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, count, 0.6)]


def suggestion(name: str, known: Iterable[str]) -> str:
    """What to do about an unknown name: the nearest known one, or to remove it."""
    found = nearest(name, known)
    return f"not known; did you mean {found[0]}?" if found else "not known; correct its name or remove it"


def _line(host: str, problem: Problem) -> str:
    return f"{host}: {problem.said}"
