# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for plays on nodes: their hosts and their tags from --tags and --skip-tags.

The documentation stands in node_hosts.yml and node_tags.yml.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence

from ansible.errors import AnsibleFilterError

from ansible_collections.homelab.talos.plugins.module_utils import _targets

Filter = Callable[[Mapping[str, Sequence[str]], Iterable[str], Iterable[str]], list[str]]


def _filter(function: Filter) -> Filter:
    def filtered(
        groups: Mapping[str, Sequence[str]], run_tags: Iterable[str], skip_tags: Iterable[str] = ()
    ) -> list[str]:
        if not isinstance(groups, Mapping):
            raise AnsibleFilterError(f"{function.__name__} is for the variable groups: groups | {function.__name__}")
        try:
            return function(groups, run_tags, skip_tags)
        except _targets.UnknownTag as error:
            raise AnsibleFilterError(str(error)) from None

    return filtered


class FilterModule:
    """Names the filters."""

    def filters(self) -> dict[str, t.Any]:
        return {"node_hosts": _filter(_targets.node_hosts), "node_tags": _filter(_targets.node_tags)}
