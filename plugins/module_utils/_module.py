# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What modules share towards Ansible: options, the bundle, the edge where errors become failures."""

from __future__ import annotations

import asyncio
import datetime
import importlib.util
import os
import ssl
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

# What ansible-core does not bring along: said with the command that installs it, not with a traceback.
REQUIREMENTS = ("yaml", "cryptography", "google.protobuf", "grpclib")

if t.TYPE_CHECKING:
    from ._api import Endpoint
    from ._errors import TalosError
    from ._redaction import Redactor
    from ._secrets_bundle import SecretsBundle

T = t.TypeVar("T")

NODE_OPTIONS: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "machine_type": {"type": "str", "choices": ["controlplane", "worker"], "required": True},
    "mac": {"type": "str", "default": ""},
    "fingerprint": {"type": "str", "default": ""},
    "hostname": {"type": "str", "default": ""},
    "board": {"type": "str", "default": ""},
    "schematic_id": {"type": "str", "default": ""},
    "installer_image": {"type": "str", "default": ""},
    "patches": {"type": "list", "elements": "str", "default": [], "no_log": True},
}

CLUSTER_OPTIONS: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "endpoint": {"type": "str", "required": True},
    "talos_version": {"type": "str", "required": True},
    "kubernetes_version": {"type": "str", "required": True},
    "contract": {"type": "str", "required": True},
}

ENDPOINT_OPTIONS: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
}

# Options that several modules have; each module picks by name.
SHARED: dict[str, dict[str, t.Any]] = {
    "admin_dir": {"type": "path", "required": True},
    "cluster": {"type": "dict", "options": CLUSTER_OPTIONS, "required": True},
    "control_planes": {"type": "list", "elements": "dict", "options": ENDPOINT_OPTIONS, "required": True},
    "hidden": {"type": "list", "elements": "str", "default": [], "no_log": True},
    "node": {"type": "dict", "options": NODE_OPTIONS, "required": True},
    "nodes": {"type": "list", "elements": "dict", "options": NODE_OPTIONS, "required": True},
    "secrets": {"type": "dict", "no_log": True},
    "talosconfig": {"type": "path"},
    "talosctl": {"type": "path", "default": "talosctl"},
}


def shared(*names: str) -> dict[str, t.Any]:
    """The argument spec of these shared options."""
    return {name: SHARED[name] for name in names}


class TalosModule:
    """An AnsibleModule whose ``run`` turns every TalosError into one clear, redacted failure."""

    def __init__(self, argument_spec: dict[str, t.Any], **kwargs: t.Any) -> None:
        self.ansible = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True, **kwargs)
        self.params: dict[str, t.Any] = self.ansible.params
        self.check_mode: bool = self.ansible.check_mode
        missing = [name for name in REQUIREMENTS if not _importable(name)]
        if missing:
            self.ansible.fail_json(
                msg=missing_required_lib(", ".join(missing), reason="to speak to Talos nodes")
                + " The collection's requirements/runtime.txt lists what the admin host needs; the role admin "
                "installs it.",
            )

    def run(self, work: t.Callable[[TalosModule], t.Mapping[str, t.Any]]) -> t.NoReturn:
        from ._errors import TalosError

        try:
            result = dict(work(self))
        except TalosError as error:
            self.fail(error)
        for warning in result.pop("warnings", []):
            self.ansible.warn(self.redactor.text(warning))
        self.ansible.exit_json(**result)

    def fail(self, error: TalosError, **result: t.Any) -> t.NoReturn:
        redactor = self.redactor
        self.ansible.fail_json(
            msg=redactor.text(str(error)),
            failure={key: redactor.text(value) for key, value in error.as_failure().items()},
            **result,
        )

    @property
    def redactor(self) -> Redactor:
        """Knows the bundle's leaves and the values that the action plug-in found vaulted."""
        from ._redaction import Redactor, leaves

        return Redactor([*leaves(self.params.get("secrets") or {}), *(self.params.get("hidden") or [])])

    @property
    def bundle(self) -> SecretsBundle:
        """The secrets bundle. In check mode before the first run: one for this look only."""
        from ._secrets_bundle import BadBundle, SecretsBundle
        from ._talosctl import Talosctl

        content = self.params.get("secrets")
        if content:
            return SecretsBundle(content)
        if self.check_mode and self.params.get("cluster"):
            talosctl = Talosctl(self.params["talosctl"])
            return SecretsBundle.parse(talosctl.gen_secrets(self.params["cluster"]["talos_version"]))
        raise BadBundle(
            "there is no secrets bundle yet",
            remedy="Run homelab.talos.secrets first (site.yml does), or give talosconfig",
        )

    def context(self, bundle: SecretsBundle | None = None) -> ssl.SSLContext:
        """Mutual TLS by the talosconfig where one is given, else by the bundle with a certificate of one hour."""
        from ._credentials import Credentials
        from ._rendering import read_private
        from ._secrets_bundle import ADMIN

        path = self.params.get("talosconfig")
        if path:
            text = read_private(path)
            if text is None:
                self.ansible.fail_json(msg=f"There is no talosconfig {path}")
            return Credentials.from_talosconfig(text, path).ssl_context()
        return (bundle or self.bundle).issue(ADMIN, datetime.timedelta(hours=1)).ssl_context()

    @property
    def control_planes(self) -> list[Endpoint]:
        return endpoints(self.params["control_planes"])

    def folder_path(self, *names: str) -> str:
        return os.path.join(self.params["admin_dir"], *names)


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def endpoints(options: t.Iterable[t.Mapping[str, t.Any]]) -> list[Endpoint]:
    from ._api import Endpoint

    return [Endpoint(each["name"], each["address"]) for each in options]


def wait_for(coroutine: t.Coroutine[t.Any, t.Any, T]) -> T:
    """Run asynchronous work to its end."""
    return asyncio.run(coroutine)
