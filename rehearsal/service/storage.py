# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``storage.StorageService``: the old list of disks, by which ``talosctl reset`` sees the node in maintenance."""

from __future__ import annotations

from rehearsal.messages import new
from rehearsal.service.call import Answers, Call, Service


async def disks(call: Call) -> Answers:
    disk = new("storage.Disk", size=call.node.record.disk_size, device_name="/dev/mmcblk0", name="mmcblk0")
    yield new("storage.DisksResponse", messages=[new("storage.Disks", disks=[disk])])


SERVICES: dict[str, Service] = {"/storage.StorageService/Disks": disks}
