# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What the modules for cards share towards Ansible. They need Python alone, and zstd's library for images in zstd."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ._errors import TalosError
from ._tool_table import is_hash


class CardModule:
    """An AnsibleModule whose ``run`` turns every TalosError into one clear failure."""

    def __init__(self, argument_spec: dict[str, t.Any], **kwargs: t.Any) -> None:
        self.ansible = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True, **kwargs)
        self.params: dict[str, t.Any] = self.ansible.params
        self.check_mode: bool = self.ansible.check_mode

    @property
    def sha256(self) -> str:
        """The option of this name, in small letters; empty where it is not given. Raises TalosError."""
        given = str(self.params["sha256"] or "")
        if given and not is_hash(given.lower()):
            raise TalosError(f"sha256 is {given}", remedy="It must be 64 digits of 0 to 9 and a to f")
        return given.lower()

    def run(self, work: t.Callable[[CardModule], t.Mapping[str, t.Any]]) -> t.NoReturn:
        try:
            result = work(self)
        except TalosError as error:
            self.ansible.fail_json(msg=str(error), failure=error.as_failure(), exception=None)
        if result.get("failed"):
            self.ansible.fail_json(**result, exception=None)
        self.ansible.exit_json(**result)
