# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of the Talos API that the nodes speak."""

from __future__ import annotations

from rehearsal.service import cluster, machine, state, storage
from rehearsal.service.call import Service

SERVICES: dict[str, Service] = {**machine.SERVICES, **state.SERVICES, **cluster.SERVICES, **storage.SERVICES}
