# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Nodes and groups as tags: which nodes a run with --tags and --skip-tags is about.

A run that names only targets runs every phase on them; a run that also names a phase runs that phase on them.
All lists keep the inventory's order, because Ansible's own lists of tags have none.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from ._problems import nearest

NODES_GROUP = "talos"
TARGET_GROUPS = ("controlplanes", "workers")
PHASES = ("validate", "admin", "image", "apply", "bootstrap", "health", "argocd")
# A phase that has a playbook of its own and no part in a run on nodes.
_ALONE = "admin"
SPECIAL_TAGS = ("all", "always", "never", "tagged", "untagged")
# A pattern for "hosts" that matches none, without Ansible's warning about an empty one.
NO_HOSTS = ("!all",)
# A name alone in a pattern: with wildcards, ranges and expressions, what matches nothing may be meant.
_PLAIN = re.compile(r"[&!]?([\w.-]+)")
# From 0 to 1: what is less like a tag than this was not meant by it.
_LIKENESS = 0.7

Groups = Mapping[str, Sequence[str]]


class UnknownTag(ValueError):
    """A tag that is neither a target, a phase, nor one of Ansible's own words."""


def node_hosts(groups: Groups, run_tags: Iterable[str], skip_tags: Iterable[str]) -> list[str]:
    """The nodes of a run: the targets in ``run_tags`` (none there: all) less those in ``skip_tags``."""
    run, skip = _known(groups, run_tags, skip_tags)
    chosen = list(dict.fromkeys(groups.get(NODES_GROUP, ())))
    if run & set(_targets(groups)):
        picked = _members(groups, run)
        chosen = [node for node in chosen if node in picked]
    left_out = _members(groups, skip)
    return [node for node in chosen if node not in left_out] or list(NO_HOSTS)


def node_tags(groups: Groups, run_tags: Iterable[str], skip_tags: Iterable[str]) -> list[str]:
    """The tags of the nodes play: the run's targets if it names nothing else, so that all phases run."""
    run, skip = _known(groups, run_tags, skip_tags)
    targets = _targets(groups)
    if run - set(targets) - {"all"}:
        return []
    return [target for target in targets if target in run - skip]


def is_due(phase: str, node: str, groups: Groups, run_tags: Iterable[str], skip_tags: Iterable[str]) -> bool:
    """Does a run come to this phase of a playbook on this node?"""
    run, skip = _known(groups, run_tags, skip_tags)
    phases = run - set(_targets(groups)) - {"all"}
    return phase not in skip and (phase in run or not phases) and node in node_hosts(groups, run, skip)


def unknown_in_limit(groups: Groups, patterns: Iterable[str]) -> list[str]:
    """What is wrong with --limit: plain names in it that are no host and no group, with the nearest. Ansible warns."""
    known = dict.fromkeys([*groups.get("all", ()), *groups, "localhost"])
    names = [match[1] for match in map(_PLAIN.fullmatch, patterns) if match]
    return [_no_host(name, _nearest(name, list(known))) for name in names if name not in known]


def _no_host(name: str, near: Sequence[str]) -> str:
    return f"no such host or group: {name}" + (f" (did you mean {' or '.join(near)}?)" if near else "")


def _known(groups: Groups, run_tags: Iterable[str], skip_tags: Iterable[str]) -> tuple[set[str], set[str]]:
    run, skip = {str(tag) for tag in run_tags}, {str(tag) for tag in skip_tags}
    known = [*_targets(groups), *_phases(), *SPECIAL_TAGS]
    unknown = sorted((run | skip) - set(known))
    if unknown:
        raise UnknownTag("; ".join(_unknown(tag, known) for tag in unknown))
    return run, skip


def _unknown(tag: str, known: Sequence[str]) -> str:
    if tag == _ALONE:
        return f"no such tag: {tag} is no phase of a run on nodes, but playbooks/{tag}.yml (homelab.talos.{tag})"
    near = _nearest(tag, [each for each in known if each not in SPECIAL_TAGS])
    if near:
        return f"no such tag: {tag} (did you mean {' or '.join(near)}?)"
    return f"no such tag: {tag} (there are the nodes, {', '.join((*TARGET_GROUPS, *_phases()))})"


def _nearest(tag: str, known: Sequence[str]) -> list[str]:
    """Those that are as near as the nearest: farther ones were not meant."""
    near = nearest(tag, known, 3)
    likeness = [difflib.SequenceMatcher(None, each.lower(), tag.lower()).ratio() for each in near]
    return [each for each, like in zip(near, likeness) if like == likeness[0] >= _LIKENESS]


def _phases() -> list[str]:
    return [phase for phase in PHASES if phase != _ALONE]


def _targets(groups: Groups) -> list[str]:
    return [*dict.fromkeys(groups.get(NODES_GROUP, ())), *TARGET_GROUPS]


def _members(groups: Groups, tags: set[str]) -> set[str]:
    return tags.union(*(groups.get(group, ()) for group in TARGET_GROUPS if group in tags))
