# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill in argocd_project from the inventory."""

from __future__ import annotations

from ansible_collections.homelab.talos.plugins.plugin_utils._argocd_action import ArgocdAction


class ActionModule(ArgocdAction):
    pass
