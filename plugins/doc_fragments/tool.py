# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that the modules for tools share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  root:
    description: Where the versions of all tools lie, as C(ROOT/NAME/VERSION/).
    type: path
    default: /opt/homelab-talos/tools
  link_dir:
    description: Where the link to the tool is. A file there that is not ours is not replaced, but an error.
    type: path
    default: /usr/local/bin
  share_dir:
    description: Below it are the links to completions, where bash, zsh and fish look for them.
    type: path
    default: /usr/local/share
  cache_dir:
    description:
      - Where downloads land. A file that lies there as C(wget --force-directories URL) would put it is not downloaded.
    type: path
    default: /var/cache/homelab-talos
  shells:
    description: Shells that get a completion.
    type: list
    elements: str
    choices: [bash, zsh, fish]
    default: [bash]
  keep:
    description: How many versions of a tool stay installed, with the one in use.
    type: int
    default: 2
"""

    NETWORK = r"""
options:
  mirror:
    description:
      - URL of a mirror that is asked instead of the publishers. Its layout is that of C(wget --force-directories), as
        C(MIRROR/github.com/derailed/k9s/releases/download/...), and so that of O(cache_dir).
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
    description: Download nothing; what is needed must lie in O(cache_dir).
    type: bool
    default: false
  keep_download:
    description: Leave downloads in O(cache_dir) after their installation.
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
