#!/usr/bin/python
# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: image
short_description: Have a disk image of the Image Factory on a host
version_added: 0.1.0
description:
  - Downloads an image once, into O(cache_dir). What breaks off stays there, and the next run goes on from there.
  - A new image is decompressed to its end before it gets its name, so that its checksums and its size prove right.
  - The factory publishes no checksums of images. So the SHA-256 of an image is recorded when it is first used, by
    schematic, version and format, in C(images.lock.yml) in the inventory's folder (or C(cluster_records_dir)) on the
    controller. From then on a file of another SHA-256 is an error, and is never put in place.
  - Before the first download the schematic is registered with the factory.
  - Needs nothing but Python, 3.9 or newer, and for V(zst) the package C(backports.zstd), which newer Pythons bring
    along.

author:
  - homelab.talos contributors (@homelab-talos)
extends_documentation_fragment:
  - homelab.talos.image
  - homelab.talos.network
  - homelab.talos.attributes
attributes:
  action:
    description: Options are filled in on the controller, which keeps the lock and shows the progress in a terminal.
    support: full
options:
  sha256:
    description: SHA-256 of the compressed file. By default that of the lock; where it has none, the image is recorded.
    type: str
  file:
    description:
      - An image's file on the host, used in place; nothing is downloaded. It is held to its SHA-256 in the same way.
      - Its format is told by the end of its name, C(.zst) or C(.xz), else it is raw.
    type: path
  cache_dir:
    description:
      - Where downloads land, made for their owner alone. An image that lies there as C(wget --force-directories URL)
        would put it is not downloaded.
      - By default C(cache) in the cluster's folder, as C(~/.homelab/homelab/cache).
    type: path
    default: ~/.homelab/cache
  timeout:
    description:
      - Seconds without an answer or a byte of it, after which a download is tried again. The factory may take minutes
        to build an image that nobody asked for before.
    type: int
    default: 300
  progress_dir:
    description: A folder on the host for the progress. The action plugin fills this in.
    type: path
seealso:
  - module: homelab.talos.schematic
  - module: homelab.talos.sd_card
"""

EXAMPLES = r"""
- name: Have the image of each node on the host with the card reader
  homelab.talos.image:
  delegate_to: "{{ groups['admin'] | first }}"
  register: __image

- name: Have an image of an own factory, of a known SHA-256
  homelab.talos.image:
    board: rpi_5
    talos_version: 1.14.2
    factory: https://factory.example.org
    sha256: cb9e31198d3f63b44848bd0afc4c8efc56e6cfef9c93a4a39a211940e6decd61

- name: Check the file that was brought along on a stick
  homelab.talos.image:
    file: /media/stick/metal-arm64.raw.xz
"""

RETURN = r"""
path:
  description: The image's file.
  returned: success
  type: str
  sample: /home/me/.homelab/homelab/cache/factory.talos.dev/image/ee21.../v1.14.2/metal-arm64.raw.zst
url:
  description: Where it is downloaded from; empty with O(file).
  returned: success
  type: str
sha256:
  description: SHA-256 of the file. Empty in check mode where neither it nor the file is known.
  returned: success
  type: str
size:
  description: Size of the file in bytes; 0 in check mode where it is not there yet.
  returned: success
  type: int
raw_size:
  description: Size of the image in bytes, as on a card; 0 in check mode where it is not there yet.
  returned: success
  type: int
format:
  description: Its format, V(raw), V(xz) or V(zst).
  returned: success
  type: str
schematic_id:
  description: ID of the schematic.
  returned: success
  type: str
version:
  description: Talos version, without a leading v.
  returned: success
  type: str
recorded:
  description: Whether its SHA-256 is new in the lock, or in check mode would be.
  returned: success
  type: bool
failure:
  description: Kind, cause and remedy of an error.
  returned: failure
  type: dict
"""

import os
import typing as t

from ..module_utils._card_module import CardModule
from ..module_utils._download import Cache, Expected
from ..module_utils._image_factory import DiskImage, declared, register, version_of
from ..module_utils._image_options import IMAGE_OPTIONS
from ..module_utils._images import ImageFile, Telling, cached, downloaded, expected, format_of, of_file
from ..module_utils._network_options import NETWORK_OPTIONS, network_of
from ..module_utils._progress import Watch
from ..module_utils._schematic import Schematic


def work(module: CardModule) -> dict[str, t.Any]:
    given = module.params
    identity, schematic = declared(given["schematic"], given["board"])
    form = format_of(given["file"]) if given["file"] else given["format"]
    image = DiskImage(identity, version_of(given["talos_version"]), form)
    sha256 = module.sha256
    with Watch(given["progress_dir"] or "") as watch:
        wanted = expected(sha256, form, watch)
        if given["file"]:
            found, url, changed = of_file(given["file"], wanted), "", False
        else:
            url = image.url(given["factory"])
            found, changed = _from_factory(module, image, schematic, wanted, watch)
    return {
        "changed": changed,
        "path": found.path,
        "url": url,
        "sha256": found.sha256,
        "size": found.size,
        "raw_size": found.raw_size,
        "format": form,
        "schematic_id": identity,
        "version": image.version,
        "recorded": False,
    }


def _from_factory(
    module: CardModule, image: DiskImage, schematic: Schematic | None, wanted: Expected, watch: Watch
) -> tuple[ImageFile, bool]:
    """The file, and whether it had to be downloaded; check mode does not."""
    given = module.params
    network = network_of(given, "card_")
    cache = Cache(
        os.path.abspath(given["cache_dir"]),
        network,
        offline=given["offline"],
        keep=True,
        progress=Telling(watch, "downloaded"),
    )
    found = cached(image, given["factory"], cache, wanted)
    if found:
        return found, False
    if module.check_mode and not given["offline"]:
        return ImageFile(cache.path(image.url(given["factory"])), wanted.sha256), True
    if schematic is not None and not (given["offline"] or given["mirror"]):
        register(schematic, given["factory"], network)
    return downloaded(image, given["factory"], cache, wanted), True


def main() -> None:
    module = CardModule(
        {
            **IMAGE_OPTIONS,
            **NETWORK_OPTIONS,
            "timeout": {"type": "int", "default": 300},
            "sha256": {"type": "str"},
            "file": {"type": "path"},
            "cache_dir": {"type": "path", "default": "~/.homelab/cache"},
            "progress_dir": {"type": "path"},
        }
    )
    module.run(work)


if __name__ == "__main__":
    main()
