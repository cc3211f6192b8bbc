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
