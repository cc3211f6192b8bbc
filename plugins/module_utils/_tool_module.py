# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What the modules for tools share towards Ansible. They need Python alone, so that they run on a fresh machine."""

from __future__ import annotations

import os
import typing as t

from ._download import Cache
from ._host_module import HostModule
from ._network_options import network_of
from ._tool_choice import Pin
from ._tools import SHELLS, Installation, Places

# One tool.
PIN_OPTIONS: dict[str, t.Any] = {
    "version": {"type": "str"},
    "url": {"type": "str"},
    "sha256": {"type": "str"},
    "member": {"type": "str", "default": ""},
    "completion": {"type": "list", "elements": "str", "default": []},
}

# Where tools go.
PLACE_OPTIONS: dict[str, t.Any] = {
    "root": {"type": "path", "default": "/opt/homelab-talos/tools"},
    "link_dir": {"type": "path", "default": "/usr/local/bin"},
    "share_dir": {"type": "path", "default": "/usr/local/share"},
    "cache_dir": {"type": "path", "default": "/var/cache/homelab-talos"},
    "shells": {"type": "list", "elements": "str", "choices": list(SHELLS), "default": ["bash"]},
    "keep": {"type": "int", "default": 2},
}


class ToolModule(HostModule):
    """A module about tools."""

    def installation(self, pin: Pin) -> Installation:
        given = self.params
        places = Places(*(os.path.abspath(given[name]) for name in ("root", "link_dir", "share_dir")))
        cache = Cache(
            os.path.abspath(given["cache_dir"]),
            network_of(given, "tool_"),
            offline=bool(given.get("offline")),
            keep=bool(given.get("keep_download")),
        )
        return Installation(pin, places, cache, shells=given["shells"], keep=given["keep"], tell=self.ansible.warn)


def pin_of(options: t.Mapping[str, t.Any]) -> Pin:
    return Pin(
        name=options["name"],
        version=options.get("version") or "",
        url=options.get("url") or "",
        sha256=options.get("sha256") or "",
        member=options.get("member") or "",
        completion=tuple(options.get("completion") or ()),
    )
