#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: card_info
short_description: Which cards are in this machine, and what is on them
version_added: 0.1.0
description:
  - Lists the SD cards, sticks and readers of the host, with an identity by which C(homelab.talos.sd_card) finds a card
    again, and with what is on each.
  - Reads the first MiB and the last 64 KiB of each, and the samples that a marker of ours names. Writes nothing.
  - Needs nothing but Python, 3.9 or newer, and the right to read the devices.

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.attributes
attributes:
  platform:
    description: The host that the card reader is at, a Linux machine.
options:
  devices:
    description:
      - Look at these devices, whatever they are, instead of the removable ones.
    type: list
    elements: path
    default: []
  image:
    description:
      - An image's file on the host. Cards that hold it are told from those that hold another one.
    type: path
  sha256:
    description:
      - The SHA-256 of such a file, where it is known. It takes the place of O(image), which need not be there then.
    type: str
seealso:
  - module: homelab.talos.sd_card
"""

EXAMPLES = r"""
- name: Which cards are here?
  homelab.talos.card_info:
  register: found
  become: true

- name: Show them
  ansible.builtin.debug:
    msg: "{{ item.device }} ({{ item.identity }}, {{ item.size }} bytes) holds {{ item.description }}"
  loop: "{{ found.cards }}"
  loop_control:
    label: "{{ item.device }}"
"""

RETURN = r"""
cards:
  description: The cards, and readers without one, by device.
  returned: success
  type: list
  elements: dict
  contains:
    device:
      description: The path of the whole disk; as in O(devices) where that is none.
      type: str
      sample: /dev/mmcblk0
    identity:
      description:
        - What stays the same on every machine. C(mmc:) and the card's CID; C(usb:) with serial number of the reader,
          slot and size of the card; C(disk:) and the WWID or serial number; C(loop:) and the file behind.
        - Empty where the disk has nothing that tells it from others.
      type: str
      sample: mmc:035344534c31364780e8a1b2c30141a7
    bus:
      description: V(mmc), V(usb), V(loop), or V(disk) for all others; empty for what is no disk.
      type: str
    model:
      description: How it calls itself.
      type: str
    size:
      description: Its bytes; 0 for a reader without a card.
      type: int
    sector_size:
      description: Bytes of a sector.
      type: int
    removable:
      description: Whether it is a card or a stick. Others are written only when their identity is declared.
      type: bool
    read_only:
      description: Whether it is locked.
      type: bool
    diskseq:
      description: A number that is another one when the card was swapped; 0 where the kernel has none.
      type: int
    in_use:
      description: What stands on it, mount points and others.
      type: list
      elements: str
    content:
      description:
        - V(empty), V(image) (with O(image) or O(sha256) V(this_image) or V(another_image)), V(node) for the card of a
          node that has its machine config, V(unfinished) where writing was interrupted, V(other), V(none) for a reader
          without a card, or V(unreadable), also for what is no disk.
      type: str
    description:
      description: The same in words.
      type: str
      sample: a Talos image (1.14.2) for talos-w1 of cluster homelab
    node:
      description: The node that it was written for; empty where that is not known.
      type: str
    cluster:
      description: The cluster of that node.
      type: str
    version:
      description: The Talos version of the image.
      type: str
    schematic:
      description: The ID of the image's schematic.
      type: str
    image_sha256:
      description: The SHA-256 of the image's file.
      type: str
    intact:
      description: Whether the samples that were noted when the image was written are still the same.
      type: bool
    partitions:
      description: Labels of the partitions.
      type: list
      elements: str
failure:
  description: Kind, cause and remedy of an error.
  returned: failure
  type: dict
"""

import typing as t

from ..module_utils._block_devices import DeviceError, Disk, Machine
from ..module_utils._card_image import require_sha256
from ..module_utils._card_marker import Marker
from ..module_utils._card_module import CardModule
from ..module_utils._card_state import NONE, UNREADABLE, CardState, look
from ..module_utils._errors import TalosError

_NO_DISK = Disk("", "", "", "", "", "", 0, 0, removable=False, read_only=False, diskseq=0)


def work(module: CardModule) -> dict[str, t.Any]:
    machine = Machine()
    sha256 = module.sha256
    if module.params["image"] and not sha256:
        sha256 = require_sha256(module.params["image"], "")
    named = module.params["devices"]
    if named:
        cards = [_told_of_path(machine, path, sha256) for path in named]
    else:
        cards = [_told(machine, disk, sha256) for disk in machine.readers()]
    return {"changed": False, "cards": cards}


def _told_of_path(machine: Machine, path: str, sha256: str) -> dict[str, t.Any]:
    """A path that is no disk is a row, too: the others are told."""
    try:
        disk = machine.at(path)
    except DeviceError as error:
        return _row(_NO_DISK, path, (), CardState(UNREADABLE, words=str(error)))
    return _told(machine, disk, sha256)


def _told(machine: Machine, disk: Disk, sha256: str) -> dict[str, t.Any]:
    return _row(disk, disk.path, machine.use(disk).described(), _state(disk, sha256))


def _row(disk: Disk, path: str, in_use: t.Sequence[str], state: CardState) -> dict[str, t.Any]:
    marker = state.marker or Marker()
    return {
        "device": path,
        "identity": disk.identity,
        "bus": disk.bus,
        "model": disk.model,
        "size": disk.size,
        "sector_size": disk.sector,
        "removable": disk.removable,
        "read_only": disk.read_only,
        "diskseq": disk.diskseq,
        "in_use": list(in_use),
        "content": state.content,
        "description": state.describe(),
        "node": marker.node,
        "cluster": marker.cluster,
        "version": marker.version,
        "schematic": marker.schematic,
        "image_sha256": marker.image,
        "intact": state.intact,
        "partitions": list(state.partitions),
    }


def _state(disk: Disk, sha256: str) -> CardState:
    if not disk.size:
        return CardState(NONE, words="no card in the reader")
    try:
        return look(disk, sha256)
    except TalosError as error:
        return CardState(UNREADABLE, words=str(error))


def main() -> None:
    module = CardModule(
        {
            "devices": {"type": "list", "elements": "path", "default": []},
            "image": {"type": "path"},
            "sha256": {"type": "str"},
        }
    )
    module.run(work)


if __name__ == "__main__":
    main()
