# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""The names of the inventory's variables: which are ours, and which are misspelt."""

from __future__ import annotations

import difflib
import functools
import typing as t
from collections.abc import Mapping

from . import _argocd_settings, _card_settings
from ._problems import HIDDEN, SECRET_KEYS, Report, suggestion

CLUSTER_VARIABLES = frozenset(
    {
        "cluster_name",
        "cluster_endpoint",
        "cluster_talos_version",
        "cluster_kubernetes_version",
        "cluster_contract",
        "cluster_patches",
    }
)
NODE_VARIABLES = frozenset(
    {
        "node_address",
        "node_annotations",
        "node_board",
        "node_cert_sans",
        "node_fingerprint",
        "node_hostname",
        "node_install_disk",
        "node_installer_registry",
        "node_labels",
        "node_mac",
        "node_nameservers",
        "node_network",
        "node_ntp_servers",
        "node_patches",
        "node_rack",
        "node_registry_auth",
        "node_registry_mirrors",
        "node_registry_tls",
        "node_schematic",
        "node_search_domains",
        "node_taints",
        "node_uplink",
    }
)
# How a run treats nodes and cluster, for the roles: one of these words, or a number of seconds or days
# from this one on.
RUN_VARIABLES: dict[str, tuple[str, ...] | int] = {
    "cluster_bootstrap_timeout": 0,
    "cluster_health_timeout": 0,
    "cluster_renew_before": 0,
    "node_apply_mode": ("auto", "no-reboot", "staged", "try", "reboot"),
    "node_etcd_timeout": 0,
    "node_reachable_timeout": 0,
    "node_reboot": ("allowed", "never"),
    "node_timeout": 0,
    "node_try_timeout": 10,
}
# Known names with our prefixes that say nothing about a node's config.
OTHER_VARIABLES = frozenset(
    {"cluster_admin_dir", "cluster_hidden", "cluster_records_dir", *RUN_VARIABLES, *_card_settings.VARIABLES}
)
OUR_VARIABLES: frozenset[str] = CLUSTER_VARIABLES | NODE_VARIABLES | OTHER_VARIABLES | {"group_patches"}
# Of the roles tool and admin, which check their values themselves, and of argocd, which runs on one node.
ROLE_VARIABLES = _argocd_settings.VARIABLES | frozenset(
    f"{role}_{name}"
    for role, names in {
        "admin": """
            authorized_keys cluster_dir cluster_name firewall forwarded_ports forwards forwards_address login_message
            ntp_servers packages packages_managed pip_ca_file pip_index_url pip_proxy python python_env
            python_requirements shell sshd sshd_hardened sshd_max_sessions sshd_max_startups time_sync
            unattended_upgrades user
            """,
        "tool": """
            architecture argocd_autopilot_path ca_file cache_dir completion_shells keep keep_downloads kubectl_path
            link_dir mirror names offline proxy retries root share_dir table talosctl_path timeout versions
            """,
    }.items()
    for name in names.split()
)

_KNOWN = OUR_VARIABLES | ROLE_VARIABLES
_CHECKED = ("card_", "cluster_", "node_", "group_patch")
_PREFIXES = (*_CHECKED, "admin_", "argocd_", "tool_")
_SECRET_WORDS = ("auth", "key", "pass", "patch", "secret", "token")
# How alike two names are that differ by a slip of the hand.
_SLIP = 0.85


def is_ours(name: str) -> bool:
    """Whether to hand this variable to ``check``: one that it reads, or a misspelt one."""
    return name.startswith(_CHECKED) or (name not in _KNOWN and is_misspelt(name))


def is_of_argocd(name: str) -> bool:
    """Whether to hand this variable of the control plane that the phase argocd runs on to ``check``, too."""
    return name in _argocd_settings.VARIABLES


def is_misspelt(name: str) -> bool:
    """Not known, and with a prefix of ours or like a name of ours."""
    return name not in _KNOWN and (name.startswith(_PREFIXES) or bool(meant(name)))


@functools.lru_cache(maxsize=4096)
def meant(name: str) -> str:
    """The known variable that a slip of the hand made this one of; empty where it is another variable."""
    if name.startswith("ansible_"):
        return ""
    if f"cluster_{name}" in CLUSTER_VARIABLES and "_" in name:
        return f"cluster_{name}"
    alike = difflib.get_close_matches(name, _KNOWN, 1, _SLIP)
    # my_node_labels is a user's own, of which node_labels may be made.
    return alike[0] if alike and alike[0] not in name else ""


def check_known(variables: Mapping[str, t.Any], report: Report) -> None:
    """Reports the misspelt ones of a host; a user's own variable may be like one of ours that is made of it."""
    for name, value in variables.items():
        if not is_misspelt(name):
            continue
        known = meant(name)
        if name.startswith(_PREFIXES) or variables.get(known) in (None, "", [], {}):
            remedy = f"not known; did you mean {known}?" if known else suggestion(name, _KNOWN)
            report(name, value if _is_public(name, value, known) else HIDDEN, remedy)


def _is_public(name: str, value: object, known: str) -> bool:
    """A misspelt variable may be a secret one, or anything."""
    if known not in OUR_VARIABLES - SECRET_KEYS or any(word in name for word in _SECRET_WORDS):
        return False
    return not isinstance(value, (dict, list))


def check_run(variables: Mapping[str, t.Any], report: Report) -> None:
    """How a run treats nodes and cluster."""
    if not isinstance(variables.get("cluster_hidden", []), list):
        report("cluster_hidden", variables["cluster_hidden"], "must be a list of values")
    for key, choice in RUN_VARIABLES.items():
        if key not in variables:
            continue
        value = variables[key]
        if isinstance(choice, tuple):
            if value not in choice:
                report(key, value, f"choose one of {', '.join(choice)}")
        elif not (str(value).isascii() and str(value).isdigit()):
            report(key, value, "must be a whole number")
        elif int(value) < choice:
            report(key, value, f"must be at least {choice}")
