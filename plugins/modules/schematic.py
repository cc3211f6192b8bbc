#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: schematic
short_description: Have a schematic of the Image Factory, and know its images
version_added: 0.1.0
description:
  - Computes the ID of a schematic here, registers the schematic with the factory, and fails where the factory computes
    another ID.
  - Registering is no change, since the ID is that of the content, so it is done in every run. In check mode, with
    O(offline), with O(mirror) and for a mere ID it is not done.
  - Tells the URL of the disk image, the installer image for upgrades, and what a node runs otherwise than declared.

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.image
  - homelab.talos.network
  - homelab.talos.attributes
attributes:
  action:
    description: Options are filled in on the controller.
    support: full
options:
  installer_registry:
    description: Registry of the installer image. By default C(node_installer_registry).
    type: str
    default: factory.talos.dev
  running:
    description: The facts of a node as M(homelab.talos.node_info) returns them, to be compared with.
    type: dict
seealso:
  - module: homelab.talos.image
  - module: homelab.talos.node_info
"""

EXAMPLES = r"""
- name: Have the schematic of each node registered
  homelab.talos.schematic:
  delegate_to: localhost

- name: Have a schematic with an extension, and settings in config.txt
  homelab.talos.schematic:
    board: rpi_4
    talos_version: 1.14.2
    schematic:
      overlay:
        options:
          configTxtAppend: gpu_mem=16
      customization:
        systemExtensions:
          officialExtensions: [siderolabs/iscsi-tools]

- name: Gather the facts of the nodes
  homelab.talos.node_info:

- name: See which nodes do not run their declared schematic
  homelab.talos.schematic:
    running: "{{ ansible_facts.talos }}"
  check_mode: true
"""

RETURN = r"""
id:
  description: ID of the schematic.
  returned: success
  type: str
  sample: ee21ef4a5ef808a9b7484cc0dda0f25075021691c8c09a276591eedb638ea1f9
schematic:
  description: The whole schematic; null where only its ID is given.
  returned: success
  type: dict
registered:
  description: Whether the factory was told, and computed the same ID.
  returned: success
  type: bool
image_url:
  description: URL of the disk image.
  returned: success
  type: str
  sample: >-
    https://factory.talos.dev/image/ee21ef4a5ef808a9b7484cc0dda0f25075021691c8c09a276591eedb638ea1f9/v1.14.2/metal-arm64.raw.zst
installer_image:
  description: The image that a node with this schematic is upgraded by.
  returned: success
  type: str
  sample: factory.talos.dev/metal-installer/ee21ef4a5ef808a9b7484cc0dda0f25075021691c8c09a276591eedb638ea1f9:v1.14.2
differences:
  description: What the node of O(running) runs otherwise than declared; empty where there is no difference.
  returned: success, with O(running)
  type: list
  elements: str
  sample:
    - extension iscsi-tools is missing on the node
failure:
  description: Kind, cause and remedy of an error.
  returned: failure
  type: dict
"""

import typing as t

from ..module_utils._card_module import CardModule
from ..module_utils._image_factory import DiskImage, declared, differences, register, version_of
from ..module_utils._image_options import IMAGE_OPTIONS
from ..module_utils._network_options import NETWORK_OPTIONS, network_of
from ..module_utils._schematic import REGISTRY, installer_image


def work(module: CardModule) -> dict[str, t.Any]:
    given = module.params
    identity, schematic = declared(given["schematic"], given["board"])
    version = version_of(given["talos_version"])
    due = schematic is not None and not (module.check_mode or given["offline"] or given["mirror"])
    if schematic is not None and due:
        register(schematic, given["factory"], network_of(given, "card_"))
    result = {
        "changed": False,
        "id": identity,
        "schematic": schematic,
        "registered": due,
        "image_url": DiskImage(identity, version, given["format"]).url(given["factory"]),
        "installer_image": installer_image(given["installer_registry"], identity, version),
    }
    if given["running"] is not None:
        result["differences"] = differences(identity, schematic, given["running"])
    return result


def main() -> None:
    module = CardModule(
        {
            **IMAGE_OPTIONS,
            **NETWORK_OPTIONS,
            "installer_registry": {"type": "str", "default": REGISTRY},
            "running": {"type": "dict"},
        }
    )
    module.run(work)


if __name__ == "__main__":
    main()
