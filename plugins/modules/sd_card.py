#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: sd_card
short_description: Let SD cards hold a Talos image, or nothing
version_added: 0.1.0
description:
  - Makes each card hold the image, checks every byte of it, and marks the card for its node. All cards of a task are
    written at the same time; one that fails does not stop the others. One that hangs without an error holds them up,
    until its reader gives up or it is pulled out.
  - Changes nothing on a card that holds the image already, by its marker, its partition table and samples. On others it
    writes only what differs, so that an interrupted card is finished.
  - Refuses, before a card is opened for writing, what is no whole disk; what is not removable, such as a hard disk at
    USB, unless its identity is declared; what is mounted as a part of this machine, at C(/), or at or below C(/boot),
    C(/home), C(/opt), C(/srv), C(/var) and the like; what is mounted elsewhere, swap, or a part of LVM, RAID or
    encryption; read-only and too small cards; a card of another identity, or one that was swapped since it was checked;
    and, without O(force), the card of a node that has its machine config, or one that is marked for another node or
    cluster.
  - The first block of a card is erased first and written last, when all else was read back. So a card that was
    interrupted, by a signal, by the end of the connection or by its removal, never boots.
  - Needs nothing but Python, 3.9 or newer, and for images in zstd the package C(backports.zstd), which newer Pythons
    bring along; and the right to write the devices, for which their group is enough.

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.attributes
attributes:
  action:
    description: The cluster's name is filled in on the controller, which shows the progress in a terminal.
    support: full
  diff_mode:
    support: full
  platform:
    description: The host that the card reader is at, a Linux machine.
options:
  state:
    description:
      - V(present) - the cards hold the image.
      - V(absent) - they are empty, as O(wipe) says.
    type: str
    choices: [present, absent]
    default: present
  cards:
    description: The cards. Each is named by its device, by its identity, or by both, which must then be the same card.
    type: list
    elements: dict
    required: true
    suboptions:
      device:
        description: The whole disk, such as V(/dev/sdb) or a link in V(/dev/disk/by-id).
        type: path
      identity:
        description: As C(homelab.talos.card_info) tells it.
        type: str
      node:
        description:
          - The node that the card is for, which its marker names. Without it, no card that is marked for a node is
            overwritten or erased, unless by O(force).
        type: str
        default: ""
      diskseq:
        description: The number that C(homelab.talos.card_info) told. A card that was swapped since then is refused.
        type: int
        default: 0
  image:
    description: The image's file on the host, raw or in zstd or xz. Required for O(state=present).
    type: path
  sha256:
    description:
      - The SHA-256 of that file. Another one is refused before a card is touched. By default it is what the file has.
    type: str
    default: ""
  version:
    description: The Talos version of the image, for the marker.
    type: str
    default: ""
  schematic:
    description: The ID of its schematic, for the marker.
    type: str
    default: ""
  cluster:
    description:
      - The cluster of the nodes, for the marker, and to tell cards of other clusters by. By default C(cluster_name).
    type: str
    default: ""
  verify:
    description:
      - V(full) - every byte of the image is compared with the card, zeros too.
      - V(written) - what is written is read back, and zeros are not looked at. This takes a fifth of the time, and what
        an old card has where the image has zeros stays there. META is written in any case.
    type: str
    choices: [full, written]
    default: full
  full_check:
    description: Compare every byte of a card that seems to hold the image already.
    type: bool
    default: false
  wipe:
    description:
      - For O(state=absent).
      - V(signatures) - the first and the last MiB of the card and of its partitions are erased.
      - V(all) - every byte that the card shows is. So are the secrets of a node in them, but for copies in blocks that
        the card itself put out of use or holds in reserve, which nothing but its destruction takes away.
    type: str
    choices: [signatures, all]
    default: signatures
  force:
    description:
      - Overwrite the card of a node that has its machine config, and one that is marked for another node or cluster.
    type: bool
    default: false
  unmount:
    description: Unmount what is mounted of a card. What is busy is not unmounted, and the card is refused.
    type: bool
    default: false
  progress_dir:
    description: A folder on the host for the progress. The action plugin fills this in.
    type: path
seealso:
  - module: homelab.talos.card_info
"""

EXAMPLES = r"""
- name: Have the image
  homelab.talos.image:
  register: __image

- name: Have it on the card in the reader
  homelab.talos.sd_card:
    image: "{{ __image.path }}"
    sha256: "{{ __image.sha256 }}"
    version: "{{ __image.version }}"
    schematic: "{{ __image.schematic_id }}"
    cards:
      - device: /dev/mmcblk0
        node: talos-w1
  become: true

- name: Write two declared cards at once
  homelab.talos.sd_card:
    image: /var/cache/homelab-talos/metal-arm64.raw.xz
    sha256: cb9e31198d3f63b44848bd0afc4c8efc56e6cfef9c93a4a39a211940e6decd61
    cards:
      - identity: usb:07A80207B128:0:31914983424
        node: talos-w1
      - identity: usb:07A80207B128:1:31914983424
        node: talos-w2

- name: Erase every byte of a node's card
  homelab.talos.sd_card:
    state: absent
    wipe: all
    force: true
    cards:
      - device: /dev/sdb
        identity: usb:07A80207B128:0:31914983424
  become: true
"""

RETURN = r"""
cards:
  description: The cards, in the order of the task.
  returned: always, once the options and the image were right
  type: list
  elements: dict
  contains:
    device:
      description: The path of the whole disk.
      type: str
    identity:
      description: The identity of the card.
      type: str
    size:
      description: Its bytes; 0 where it is not there.
      type: int
    node:
      description: The node that it is for.
      type: str
    before:
      description: What was on it, in words.
      type: str
      sample: nothing
    after:
      description: What is on it now, or in check mode would be.
      type: str
      sample: a Talos image (1.14.2) for talos-w1 of cluster homelab
    changed:
      description: Whether it was written to, or in check mode would be.
      type: bool
    failed:
      description: Whether something went wrong with it; RV(cards[].msg) and RV(cards[].failure) tell what.
      type: bool
    bytes_written:
      description: How many bytes were written to it.
      type: int
    msg:
      description: What went wrong, and what helps.
      type: str
    failure:
      description: Kind, cause and remedy of an error.
      type: dict
failure:
  description: Kind, cause and remedy of the first error.
  returned: failure
  type: dict
"""

import typing as t

from ..module_utils._card_marker import Marker
from ..module_utils._card_module import CardModule
from ..module_utils._cards import Asked, Cards, Rules
from ..module_utils._progress import Watch


def work(module: CardModule) -> dict[str, t.Any]:
    given = module.params
    asked = [Asked(**{name: value for name, value in card.items() if value is not None}) for card in given["cards"]]
    rules = Rules(given["force"], given["unmount"], given["verify"] == "full", given["full_check"])
    with Watch(given["progress_dir"] or "") as watch:
        cards = Cards(asked, rules, watch)
        if given["state"] == "absent":
            cards.absent(given["wipe"] == "all", module.check_mode, given["cluster"])
        else:
            marker = Marker(
                cluster=given["cluster"],
                image=module.sha256,
                version=given["version"],
                schematic=given["schematic"],
            )
            cards.present(given["image"], marker, module.check_mode)
    return _result(cards)


def _result(cards: Cards) -> dict[str, t.Any]:
    told = [card.as_result() for card in cards.all]
    result: dict[str, t.Any] = {
        "changed": any(each["changed"] for each in told),
        "cards": told,
        "diff": [_diff(each) for each in told if each["changed"]],
    }
    errors = [card.error for card in cards.all if card.error]
    if errors:
        result.update(failed=True, msg=" ".join(map(str, errors)), failure=errors[0].as_failure())
    return result


def _diff(card: dict[str, t.Any]) -> dict[str, str]:
    name = f"{card['device']} ({card['identity']})"
    return {
        "before": f"{card['before']}\n",
        "after": f"{card['after']}\n",
        "before_header": name,
        "after_header": name,
    }


def main() -> None:
    module = CardModule(
        {
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "cards": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "device": {"type": "path"},
                    "identity": {"type": "str"},
                    "node": {"type": "str", "default": ""},
                    "diskseq": {"type": "int", "default": 0},
                },
            },
            "image": {"type": "path"},
            "sha256": {"type": "str", "default": ""},
            "version": {"type": "str", "default": ""},
            "schematic": {"type": "str", "default": ""},
            "cluster": {"type": "str", "default": ""},
            "verify": {"type": "str", "choices": ["full", "written"], "default": "full"},
            "full_check": {"type": "bool", "default": False},
            "wipe": {"type": "str", "choices": ["signatures", "all"], "default": "signatures"},
            "force": {"type": "bool", "default": False},
            "unmount": {"type": "bool", "default": False},
            "progress_dir": {"type": "path"},
        },
        required_if=[("state", "present", ["image"])],
    )
    module.run(work)


if __name__ == "__main__":
    main()
