# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions for Argo CD share: the repository, its account, and the binaries, from the inventory."""

from __future__ import annotations

import base64
import typing as t

from ansible.errors import AnsibleActionFail

from ..module_utils._argocd_settings import NEEDED
from ..module_utils._values import plain
from ._cluster_action import ClusterAction

# Options of everything that reads or writes the repository.
REPOSITORY = frozenset(
    {"repo_url", "repo_path", "repo_branch", "repo_ca_file", "git_user", "git_token", "commit_name", "commit_email"}
)
# What is not committed, or where and by whom it is committed, which no reader of the repository needs to be told.
_UNCOMMITTED = REPOSITORY | {"admin_password_hash", "mirror", "proxy", "read_token", "read_user"}
# A shorter one may be a part of other words.
_SHORT = 6


class ArgocdAction(ClusterAction):
    """A module about Argo CD or its repository with its options filled in.

    ``from_inventory`` are those that ``argocd_<option>`` gives. ``supplies`` may name ``kubeconfig``, ``kubectl`` and
    ``argocd_autopilot``, too.
    """

    from_inventory: t.ClassVar[frozenset[str]] = REPOSITORY

    def arguments(self) -> dict[str, t.Any]:
        given = super().arguments()
        makers: dict[str, t.Callable[[], t.Any]] = {
            "argocd_autopilot": lambda: self.variable("tool_argocd_autopilot_path"),
            "kubeconfig": lambda: f"{self.admin_dir()}/kubeconfig",
            "kubectl": lambda: self.variable("tool_kubectl_path"),
        }
        found = {name: makers[name]() for name in self.supplies & makers.keys()}
        found |= {name: self.variable(f"argocd_{name}") for name in self.from_inventory}
        arguments = {name: value for name, value in {**found, **given}.items() if value is not None}
        self._require(arguments)
        self._require_public(arguments)
        return arguments

    def _require(self, arguments: dict[str, t.Any]) -> None:
        for variable, remedy in NEEDED.items():
            name = variable.removeprefix("argocd_")
            if name in self.from_inventory and not arguments.get(name):
                raise AnsibleActionFail(f"{name} is not known: {remedy}")

    def _require_public(self, arguments: dict[str, t.Any]) -> None:
        """No option that is committed holds what the inventory keeps encrypted; so the module may log it, too."""
        if "repo_url" not in self.from_inventory:
            return
        forms = [form for secret in self._hidden() if len(secret.strip()) >= _SHORT for form in _forms(secret.strip())]
        for name in sorted(arguments.keys() - _UNCOMMITTED - self.supplies):
            texts = [_squeezed(text) for text in _texts(plain(arguments[name]))]
            if any(form in text for text in texts for form in forms):
                raise AnsibleActionFail(
                    f"{name} holds a value that the inventory keeps encrypted, and everybody who reads the repository "
                    "would read it. Commit it encrypted (Sealed Secrets, SOPS), or make it in the cluster by other "
                    "means."
                )


def _texts(value: t.Any) -> t.Iterator[str]:
    """All keys and scalars."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield str(key)
            yield from _texts(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts(each)
    else:
        yield str(value)


def _forms(secret: str) -> t.Iterator[str]:
    """As it is, and as base64 has it, wherever it stands in what was encoded."""
    yield _squeezed(secret)
    content = secret.encode()
    for offset, begins in enumerate((0, 2, 3)):
        encoded = base64.b64encode(bytes(offset) + content).decode()
        # Whole characters of the secret: those at its ends hold bits of what is beside it.
        yield encoded[begins : (offset + len(content)) * 8 // 6]


def _squeezed(text: str) -> str:
    """Without white space: a text of several lines may be indented, and base64 wrapped."""
    return "".join(text.split())
