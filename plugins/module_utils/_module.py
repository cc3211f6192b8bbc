# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What modules share towards Ansible: options, the bundle, the edge where errors become failures."""

from __future__ import annotations

import asyncio
import datetime
import functools
import importlib.util
import os
import ssl
import sys
import traceback
import typing as t

from ansible.module_utils.basic import AnsibleModule

# What ansible-core does not bring along: said with the command that installs it, not with a traceback.
REQUIREMENTS = {"yaml": "PyYAML", "cryptography": "cryptography", "google.protobuf": "protobuf", "grpclib": "grpclib"}

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
    "patch_places": {"type": "list", "elements": "str", "default": []},
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


class _UnloggedModule(AnsibleModule):
    """Sends nothing to syslog: there Ansible masks no secret of several lines within a list, as a patch is."""

    def __init__(self, **kwargs: t.Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]

    def log(self, msg: str, log_args: dict[str, t.Any] | None = None) -> None:
        pass


class TalosModule:
    """An AnsibleModule whose ``run`` turns every TalosError into one clear, redacted failure."""

    def __init__(self, argument_spec: dict[str, t.Any], **kwargs: t.Any) -> None:
        self.ansible = _UnloggedModule(argument_spec=argument_spec, supports_check_mode=True, **kwargs)
        self.params: dict[str, t.Any] = self.ansible.params
        self.check_mode: bool = self.ansible.check_mode
        self._made: SecretsBundle | None = None
        missing = [package for name, package in REQUIREMENTS.items() if not _importable(name)]
        if missing:
            self.ansible.fail_json(
                msg=f"The admin host's Python lacks {', '.join(missing)}, to speak to Talos nodes. Install it there: "
                f"{sys.executable} -m pip install {' '.join(missing)}, or let ansible_python_interpreter name a Python "
                "that has it. The collection's requirements/runtime.txt lists the tested versions.",
            )

    def run(self, work: t.Callable[[TalosModule], t.Mapping[str, t.Any]]) -> t.NoReturn:
        from ._errors import TalosError

        try:
            result = dict(work(self))
        except TalosError as error:
            self.fail(error)
        except Exception as error:  # Ansible would show its text as it stands.
            self._fail_unexpectedly(error)
        warnings = result.pop("warnings", [])
        redactor = self.thorough_redactor() if warnings else self.redactor
        for warning in warnings:
            self.ansible.warn(redactor.text(warning))
        self.ansible.exit_json(**redactor.result(result))

    def fail(self, error: TalosError, **result: t.Any) -> t.NoReturn:
        from ._errors import InvalidRequest
        from ._redaction import without_quotes

        if isinstance(error, InvalidRequest):
            error.cause = without_quotes(error.cause)
        shown = {"msg": str(error), "failure": error.as_failure(), **result}
        # Without "exception", or Ansible takes the exception's own text.
        self.ansible.fail_json(**self.thorough_redactor().result(shown), exception=None)

    def _fail_unexpectedly(self, error: Exception) -> t.NoReturn:
        redactor = self.thorough_redactor()
        self.ansible.fail_json(
            msg=redactor.text(f"unexpected {type(error).__name__}: {error}"),
            exception=redactor.text(traceback.format_exc()),
        )

    @functools.cached_property
    def redactor(self) -> Redactor:
        """Knows the bundle's leaves and the values that the action plug-in found vaulted."""
        from ._redaction import Redactor

        return Redactor(self._secrets())

    def thorough_redactor(self) -> Redactor:
        """Knows the secrets in the options too: for the words of others, which may quote them without their field."""
        from ._redaction import Redactor, secrets_in

        nodes = [self.params.get("node") or {}, *(self.params.get("nodes") or [])]
        texts = {text for node in nodes for text in node.get("patches") or []}
        texts.add(self.params.get("control_plane_config") or "")
        return Redactor([*self._secrets(), *(secret for text in texts for secret in secrets_in(text))])

    def _secrets(self) -> list[str]:
        from ._redaction import leaves

        bundle = self._made.as_dict() if self._made else self.params.get("secrets") or {}
        return [*leaves(bundle), *(self.params.get("hidden") or [])]

    @property
    def before_first_run(self) -> bool:
        """In check mode there may be no bundle yet, and then nothing exists that could be looked at."""
        return self.check_mode and not self.params.get("secrets") and not self.params.get("talosconfig")

    @property
    def bundle(self) -> SecretsBundle:
        """The secrets bundle. In check mode before the first run: one for this look only."""
        from ._secrets_bundle import BadBundle, SecretsBundle
        from ._talosctl import Talosctl

        content = self.params.get("secrets")
        if content:
            return SecretsBundle(content)
        if self.check_mode and self.params.get("cluster") and self.params.get("talosctl"):
            if self._made is None:
                talosctl = Talosctl(self.params["talosctl"])
                self._made = SecretsBundle.parse(talosctl.gen_secrets(self.params["cluster"]["talos_version"]))
            return self._made
        raise BadBundle(
            "there is no secrets bundle yet",
            remedy="Run homelab.talos.secrets first (site.yml does), or give talosconfig",
        )

    def context(self, bundle: SecretsBundle | None = None) -> ssl.SSLContext:
        """Mutual TLS by the talosconfig where one is given, else by the bundle with a certificate of one hour."""
        from ._credentials import Credentials
        from ._secrets_bundle import ADMIN
        from ._whole_file import read_private

        path = self.params.get("talosconfig")
        if path:
            text = read_private(path)
            if text is None:
                self.ansible.fail_json(msg=f"There is no talosconfig {path}")
            return Credentials.from_talosconfig(text, path).ssl_context()
        return (bundle or self.bundle).issue(ADMIN, datetime.timedelta(hours=1)).ssl_context()

    @property
    def control_planes(self) -> list[Endpoint]:
        """At least one. Raises NoControlPlane."""
        from ._errors import NoControlPlane

        if not self.params["control_planes"]:
            raise NoControlPlane("control_planes is empty: by default it is the group controlplanes")
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
