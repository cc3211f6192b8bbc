# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Argo CD does in a cluster, as far as its clients see it: it reads repositories, syncs, and tells how that went.

It follows one source a directory or a kustomization each, and ApplicationSets of files in Git: what autopilot writes.
"""

from __future__ import annotations
