# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The secrets bundle's file on the controller: encrypted with the run's vault identity, and nothing else."""

from __future__ import annotations

import os
import typing as t

import yaml
from ansible import constants as C
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import AnsibleVaultError, VaultLib, is_encrypted, match_encrypt_secret

from ..module_utils._errors import TalosError
from ..module_utils._secrets_bundle import SecretsBundle
from ..module_utils._whole_file import whole_file

FILE_NAME = "secrets.vault.yml"

_HOW_TO_UNLOCK = (
    "Give the run a vault password: --vault-password-file FILE, --ask-vault-pass, or ANSIBLE_VAULT_PASSWORD_FILE."
)


class BundleFile:
    """Reads and creates ``secrets.vault.yml``; never replaces it."""

    def __init__(self, path: str, loader: DataLoader) -> None:
        self.path = path
        self._vault = VaultLib(loader._vault.secrets or [])

    def read(self) -> SecretsBundle | None:
        """None where there is no file. Raises AnsibleActionFail for plaintext, a wrong password, or not a bundle."""
        try:
            with open(self.path, "rb") as file:
                content = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AnsibleActionFail(f"{self.path}: {error.strerror}") from error
        if not is_encrypted(content):
            raise AnsibleActionFail(
                f"{self.path} is not encrypted, and it holds the cluster's private keys. "
                f"Encrypt it: ansible-vault encrypt {self.path}. If it was ever committed in the clear, its PKI is "
                "no secret any more."
            )
        if not self._vault.secrets:
            raise AnsibleActionFail(f"{self.path} is encrypted. {_HOW_TO_UNLOCK}")
        try:
            return SecretsBundle.parse(self._vault.decrypt(content), self.path)
        except AnsibleError:
            # Without the cause, which Ansible would print below: it knows no more than this.
            raise AnsibleActionFail(
                f"{self.path}: the vault password of this run is not the one that this file was encrypted with, or the "
                f"file is damaged. Find the password by ansible-vault view {self.path}, or take the file from your "
                "last commit."
            ) from None
        except TalosError as error:
            raise AnsibleActionFail(str(error)) from error

    def require_password(self) -> None:
        """Raises AnsibleActionFail where a new bundle could not be encrypted."""
        if not self._vault.secrets:
            raise AnsibleActionFail(
                f"A new secrets bundle is stored encrypted in {self.path}, and this run has no vault password. "
                f"{_HOW_TO_UNLOCK}"
            )

    def create(self, bundle: SecretsBundle) -> None:
        """Raises AnsibleActionFail where another run made one in the meantime."""
        encrypted = self._encrypt(yaml.safe_dump(bundle.as_dict(), sort_keys=True))
        folder = os.path.dirname(self.path)
        os.makedirs(folder, exist_ok=True)
        try:
            with whole_file(folder, encrypted) as temporary:
                self._publish(temporary)
        except FileExistsError as error:
            raise AnsibleActionFail(
                f"{self.path} was made by another run in the meantime. Run again: this one keeps nothing."
            ) from error

    def _publish(self, temporary: str) -> None:
        try:
            # A link, unlike a rename, never replaces a bundle that another run made.
            os.link(temporary, self.path)
        except FileExistsError:
            raise
        except OSError:
            # Shared folders of virtual machines have no links: hold the name, then put the content in its place.
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            os.replace(temporary, self.path)

    def _encrypt(self, text: str) -> bytes:
        identity = C.config.get_config_value("DEFAULT_VAULT_ENCRYPT_IDENTITY")
        try:
            vault_id, secret = match_encrypt_secret(self._vault.secrets, encrypt_vault_id=identity)
        except AnsibleVaultError as error:
            raise AnsibleActionFail(f"No vault identity to encrypt {self.path} with: {error}") from error
        encrypted: t.Any = self._vault.encrypt(text, secret=secret, vault_id=vault_id)
        return bytes(encrypted)
