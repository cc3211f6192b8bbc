# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several modules share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
requirements:
  - grpclib, protobuf, PyYAML and cryptography on the admin host (C(requirements/runtime.txt) of the collection)
"""

    CLUSTER = r"""
options:
  cluster:
    description:
      - The cluster. By default it is taken from the inventory's C(cluster_) variables, see C(docs/inventory.md).
    type: dict
    required: true
    suboptions:
      name:
        description: Name of the cluster.
        type: str
        required: true
      endpoint:
        description: URL of the Kubernetes API.
        type: str
        required: true
      talos_version:
        description: Talos version of the nodes, such as V(1.14.2).
        type: str
        required: true
      kubernetes_version:
        description: Kubernetes version.
        type: str
        required: true
      contract:
        description: Talos minor whose layout the machine configs have, such as V(1.14).
        type: str
        required: true
"""

    SECRETS = r"""
options:
  secrets:
    description:
      - The secrets bundle as a mapping. By default the action plugin reads C(secrets.vault.yml) in the inventory's
        folder (or C(cluster_records_dir)) and decrypts it with the run's vault identity.
    type: dict
  hidden:
    description:
      - More values that must never be shown. By default the action plugin gives what variables keep encrypted, and
        those of C(cluster_hidden).
    type: list
    elements: str
    default: []
"""

    TALOSCONFIG = r"""
options:
  talosconfig:
    description:
      - A talosconfig on the admin host to use instead of the secrets bundle.
    type: path
"""

    TALOSCTL = r"""
options:
  talosctl:
    description:
      - The talosctl binary on the admin host, of the nodes' minor version. By default C(tool_talosctl_path).
    type: path
    default: talosctl
"""

    ADMIN_DIR = r"""
options:
  admin_dir:
    description:
      - The cluster's folder on the admin host. By default C(cluster_admin_dir), or C(~/.homelab/) and the cluster's
        name.
    type: path
    required: true
"""

    CONTROL_PLANES = r"""
options:
  control_planes:
    description:
      - All control planes of the cluster, the designated one (which is bootstrapped) first. By default the
        inventory's group C(controlplanes).
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the node.
        type: str
        required: true
      address:
        description: Its address.
        type: str
        required: true
"""

    NODE = r"""
options:
  node:
    description:
      - The node. By default it is made from the inventory's variables of the host.
    type: dict
    required: true
    suboptions:
      name:
        description: Name of the node.
        type: str
        required: true
      address:
        description: Where its API is.
        type: str
        required: true
      machine_type:
        description: What the node is.
        type: str
        required: true
        choices: [controlplane, worker]
      mac:
        description: MAC address of one of its cards. Without it no node in maintenance is configured.
        type: str
        default: ""
      fingerprint:
        description: Fingerprint of its certificate in maintenance, as its console shows it.
        type: str
        default: ""
      hostname:
        description: Its hostname.
        type: str
        default: ""
      board:
        description: The board, such as V(rpi_4).
        type: str
        default: ""
      schematic_id:
        description: ID of its Image Factory schematic.
        type: str
        default: ""
      installer_image:
        description: Its installer image.
        type: str
        default: ""
      patches:
        description: Strategic-merge patches as YAML texts, in the order in which they are merged.
        type: list
        elements: str
        default: []
      patch_places:
        description: Where each of them stands, such as C(cluster_patches[0]), for errors to name.
        type: list
        elements: str
        default: []
"""

    NODES = r"""
options:
  nodes:
    description:
      - The nodes. By default all hosts of the play, from their variables in the inventory.
    type: list
    required: true
    elements: dict
    suboptions:
      name:
        description: Name of the node.
        type: str
        required: true
      address:
        description: Where its API is.
        type: str
        required: true
      machine_type:
        description: What the node is.
        type: str
        required: true
        choices: [controlplane, worker]
      mac:
        description: MAC address of one of its cards. Without it no node in maintenance is configured.
        type: str
        default: ""
      fingerprint:
        description: Fingerprint of its certificate in maintenance, as its console shows it.
        type: str
        default: ""
      hostname:
        description: Its hostname.
        type: str
        default: ""
      board:
        description: The board, such as V(rpi_4).
        type: str
        default: ""
      schematic_id:
        description: ID of its Image Factory schematic.
        type: str
        default: ""
      installer_image:
        description: Its installer image.
        type: str
        default: ""
      patches:
        description: Strategic-merge patches as YAML texts, in the order in which they are merged.
        type: list
        elements: str
        default: []
      patch_places:
        description: Where each of them stands, such as C(cluster_patches[0]), for errors to name.
        type: list
        elements: str
        default: []
"""
