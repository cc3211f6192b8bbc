# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of modules for images of the Image Factory."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  board:
    description: Board whose schematic is the base. By default C(node_board).
    type: str
    choices: [rpi_4, rpi_5, generic]
    default: generic
  schematic:
    description:
      - What is added to the board's schematic, in the Image Factory's own format; overlay options (as
        C(configTxtAppend)), extensions, kernel arguments and META values. Or the ID of a schematic, as text.
      - Whatever could be secret is refused, because the factory serves a schematic to anyone who knows its ID.
      - By default C(node_schematic).
    type: raw
  talos_version:
    description: Talos version. By default C(cluster_talos_version).
    type: str
    required: true
  factory:
    description: URL of the Image Factory.
    type: str
    default: https://factory.talos.dev
  format:
    description: How the image is compressed. For V(zst), Python before 3.14 needs C(backports.zstd).
    type: str
    choices: [zst, xz]
    default: zst
"""
