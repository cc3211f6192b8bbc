# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of modules that download."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  mirror:
    description:
      - URL of a mirror that is asked instead of the publishers. Its layout is that of C(wget --force-directories), as
        C(MIRROR/github.com/derailed/k9s/releases/download/...), and so that of C(cache_dir).
    type: str
    default: ""
  proxy:
    description: URL of a proxy. By default that of the environment, if it names one.
    type: str
    default: ""
  ca_file:
    description: PEM file on the host with authorities to trust beside the system's.
    type: path
  offline:
    description: Download nothing; what is needed must lie in C(cache_dir).
    type: bool
    default: false
  timeout:
    description: Seconds without an answer or a byte of it, after which a download is tried again.
    type: int
    default: 30
  retries:
    description: How often to try again where the cause may pass.
    type: int
    default: 3
"""
