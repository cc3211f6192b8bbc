# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Talos release that the stand-in plays, and the contracts that it renders."""

from __future__ import annotations

import os
import re
import typing as t

from rehearsal.standin.errors import CommandError

DEFAULT = "v1.14.2"
# Kubernetes of the releases whose sources were seen; others of a minor count as having the same.
_KUBERNETES = {(1, 13): "1.36.3", (1, 14): "1.37.0-rc.0"}
# The factory's schematic without extensions and kernel arguments.
_EMPTY_SCHEMATIC = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"
_OLDEST_CONTRACT = (1, 12)


class Release(t.NamedTuple):
    tag: str
    minor: tuple[int, int]

    @property
    def kubernetes_version(self) -> str:
        return _KUBERNETES[self.minor]

    @property
    def installer_image(self) -> str:
        if self.minor < (1, 14):
            return f"ghcr.io/siderolabs/installer:{self.tag}"
        return f"factory.talos.dev/metal-installer/{_EMPTY_SCHEMATIC}:{self.tag}"


def played_release() -> Release:
    """The release that the environment asks for."""
    tag = "v" + os.environ.get("STANDIN_TALOSCTL_VERSION", DEFAULT).removeprefix("v")
    minor = _minor_of(tag)
    if minor not in _KUBERNETES:
        raise CommandError(f"STANDIN_TALOSCTL_VERSION: {tag!r} is not played, only v1.13 and v1.14 are")
    return Release(tag, minor)


def contract(talos_version: str, release: Release) -> tuple[int, int]:
    """The contract that a flag asks for; a newer one than the release knows renders as its newest."""
    if not talos_version:
        return release.minor
    tag = "v" + talos_version.removeprefix("v")
    minor = _minor_of(tag)
    if minor is None:
        raise CommandError(f'invalid talos-version: error parsing version "{tag}"')
    if minor < _OLDEST_CONTRACT:
        raise CommandError(f"this stand-in renders contracts from v1.12 on, not {tag}: take a real talosctl")
    return min(minor, release.minor)


def _minor_of(tag: str) -> tuple[int, int] | None:
    match = re.match(r"v(\d+)\.(\d+)($|\.)", tag)
    return (int(match[1]), int(match[2])) if match else None
