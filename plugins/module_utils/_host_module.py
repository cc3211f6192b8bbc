# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What the modules that speak to no node share towards Ansible. They need no library of ours but what they name."""

from __future__ import annotations

import re
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ._errors import TalosError

# user:password@, or token@, which is longer than the name of a user
_SECRET_IN_URL = re.compile(r"://(?:[^\s/:@]*:([^\s/]+)|([^\s/:@]{8,}))@")


class HostModule:
    """An AnsibleModule whose ``run`` turns every TalosError into one clear failure."""

    def __init__(self, argument_spec: dict[str, t.Any], **kwargs: t.Any) -> None:
        self.ansible = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True, **kwargs)
        self.params: dict[str, t.Any] = self.ansible.params
        # Ansible gives a module's arguments back with its result: to whoever asks for -vvv, and 2.19 always.
        for value in self.params.values():
            for found in _SECRET_IN_URL.finditer(str(value)):
                self.ansible.no_log_values.add(found[1] or found[2])
        self.check_mode: bool = self.ansible.check_mode

    def run(self, work: t.Callable[[t.Any], t.Mapping[str, t.Any]]) -> t.NoReturn:
        """``work`` gets this object, and returns the result; one with ``failed`` is a failure."""
        try:
            result = work(self)
        except TalosError as error:
            self.ansible.fail_json(msg=str(error), failure=error.as_failure(), exception=None)
        if result.get("failed"):
            self.ansible.fail_json(**result, exception=None)
        self.ansible.exit_json(**result)
