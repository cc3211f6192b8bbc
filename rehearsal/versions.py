# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between the Talos versions that a node can be."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

ETCD_VERSION = "3.6.12"
ETCD_STORAGE_VERSION = "3.6.0"
DEFAULT_VERSION = "1.14.2"
KUBERNETES_VERSIONS = {"1.13": "1.36.3", "1.14": "1.37.1"}
SUPPORTED_MINORS = tuple(KUBERNETES_VERSIONS)


@dataclass(frozen=True)
class TalosVersion:
    """A Talos version, such as 1.14.2 or 1.14.0-rc.1."""

    number: str

    @classmethod
    def parse(cls, text: str) -> TalosVersion:
        """The version named by ``1.14.2`` or ``v1.14.2``; ``ValueError`` for one that we can't simulate."""
        number = text.strip().removeprefix("v")
        if not re.fullmatch(r"\d+\.\d+\.\d+(-[0-9A-Za-z.]+)?", number):
            raise ValueError(f"not a Talos version: {text!r}")
        version = cls(number)
        if version.minor not in SUPPORTED_MINORS:
            raise ValueError(f"Talos {number} is not simulated (only {' and '.join(SUPPORTED_MINORS)})")
        return version

    @property
    def tag(self) -> str:
        return f"v{self.number}"

    @functools.cached_property
    def minor(self) -> str:
        return ".".join(self.number.split(".")[:2])

    @property
    def kubernetes(self) -> str:
        """The Kubernetes that it runs where its configuration names no image."""
        return KUBERNETES_VERSIONS[self.minor]

    @property
    def reboots_for_changes(self) -> bool:
        """Up to 1.13 some changes of the configuration reboot the node; 1.14 never does by itself."""
        return self.minor == "1.13"

    @property
    def go_version(self) -> str:
        return "go1.26.6"
