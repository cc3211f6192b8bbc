# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have the secrets bundle: read it, or make it once and store it encrypted."""

from __future__ import annotations

import os
import typing as t

from ansible.errors import AnsibleActionFail, AnsibleError

from ansible_collections.homelab.talos.plugins.module_utils._errors import TalosError
from ansible_collections.homelab.talos.plugins.module_utils._secrets_bundle import SecretsBundle
from ansible_collections.homelab.talos.plugins.plugin_utils._bundle_file import BundleFile
from ansible_collections.homelab.talos.plugins.plugin_utils._cluster_action import ClusterAction


class ActionModule(ClusterAction):
    supplies: t.ClassVar[frozenset[str]] = frozenset({"admin_dir", "cluster", "talosctl"})

    def work(self) -> dict[str, t.Any]:
        file = self.bundle_file()
        bundle = file.read()
        if bundle is None:
            return self._make(file)
        if self._task.args.get("adopt_from"):
            self._require_same(bundle, file.path)
        return {"changed": False, "path": file.path}

    def _make(self, file: BundleFile) -> dict[str, t.Any]:
        file.require_password()
        # What the module answers can be printed at -vvv, so the bundle comes back sealed.
        key = _new_key()
        arguments = self.arguments()
        arguments["transit_key"] = key.decode()
        arguments["nodes"] = self._all_nodes()
        if arguments.pop("adopt_from", None):
            arguments["control_plane_config"] = self._control_plane_config()
        result = self.call(arguments)
        sealed = result.pop("sealed", None)
        if sealed and not result.get("failed"):
            self._store(file, _unsealed(sealed, key))
        return {**result, "path": file.path}

    def _all_nodes(self) -> list[dict[str, str]]:
        return [
            {"name": host, "address": str(self.variable("node_address", host) or "")}
            for host in self.groups.get("talos", [])
        ]

    def _control_plane_config(self) -> str:
        path = os.path.join(self.inventory_dir(), os.path.expanduser(self._task.args["adopt_from"]))
        try:
            return str(self._loader.get_text_file_contents(path))
        except AnsibleError as error:
            raise AnsibleActionFail(
                f"adopt_from: {path} cannot be read or decrypted. Name a control plane's machine config on the "
                "controller; an encrypted one needs the vault password of this run."
            ) from error

    def _store(self, file: BundleFile, text: bytes) -> None:
        try:
            file.create(SecretsBundle.parse(text))
        except TalosError as error:
            raise AnsibleActionFail(str(error)) from error
        self._tell(
            f"made {file.path}: only the vault password of this run opens it, and only with it the nodes let you in. "
            "Keep the password, and commit the file."
        )

    def _require_same(self, bundle: SecretsBundle, path: str) -> None:
        """Adopting again is no change; adopting another cluster would be a second PKI."""
        key = _new_key()
        arguments = self.arguments()
        arguments.pop("adopt_from")
        arguments |= {
            "transit_key": key.decode(),
            "nodes": [],
            "control_plane_config": self._control_plane_config(),
        }
        result = self.call({**arguments, "compare_with": bundle.digest()})
        if result.get("failed"):
            raise AnsibleActionFail(str(result.get("msg")))
        if not result.get("same"):
            raise AnsibleActionFail(
                f"{path} holds the bundle of another cluster than the config of adopt_from. "
                "Two clusters need two inventories; nothing was changed."
            )


def _new_key() -> bytes:
    from cryptography.fernet import Fernet

    return Fernet.generate_key()


def _unsealed(sealed: str, key: bytes) -> bytes:
    from cryptography.fernet import Fernet

    return Fernet(key).decrypt(sealed)
