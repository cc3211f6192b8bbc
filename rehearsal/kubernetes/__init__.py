# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Kubernetes API of the simulated control planes, as far as kubectl and Argo CD's installation need it."""

from __future__ import annotations

import typing as t

Object = dict[str, t.Any]
