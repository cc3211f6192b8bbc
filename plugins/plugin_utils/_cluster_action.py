# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the action plug-ins share: they fill in what a task does not say, from the inventory and the bundle's file.

Definitions and secrets are resolved on the controller; the module then runs on the admin host, which the node's
connection variables name.
"""

from __future__ import annotations

import errno
import os
import threading
import typing as t

from ansible.errors import AnsibleActionFail, AnsibleError, AnsibleFileNotFound
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..module_utils import _definition as definition
from ..module_utils._redaction import Redactor
from ..module_utils._secrets_bundle import SecretsBundle
from ..module_utils._values import plain
from ..module_utils._versions import DEFAULT_TALOS
from ._bundle_file import FILE_NAME, BundleFile
from ._vaulted import InlineVaults, in_files, in_patch, is_encrypted_file, scalars

display = Display()

T = t.TypeVar("T")

# The progress of a long wait is told in steps of this many seconds.
_STEP_SECONDS = 15
# A shorter secret may be a part of other words.
_SHORT = 6

_NO_SUCH_COMMAND = 127
_UNPREPARED = (
    'The admin host is not prepared: it has no {}. Run playbooks/admin.yml (README.md, step 2 of "With real Pis", also '
    "says how to make it by hand), or let ansible_python_interpreter name a Python that has what the collection's "
    "requirements/runtime.txt names."
)


class ClusterAction(ActionBase):
    """A module of the collection with its options filled in. Subclasses say which in ``supplies``."""

    supplies: t.ClassVar[frozenset[str]] = frozenset()

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        self._variables: dict[str, t.Any] = task_vars or {}
        self._inline_vaults = InlineVaults()
        self._encrypted_patches: list[str] = []
        self._named: list[str] = []
        result: dict[str, t.Any] = super().run(tmp, self._variables)
        result.update(self.work())
        return result

    def work(self) -> dict[str, t.Any]:
        """The module's result. Subclasses that do more than one call override it."""
        return self.call(self.arguments())

    def call(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        result: dict[str, t.Any] = self._execute_module(
            module_name=self.module_name, module_args=arguments, task_vars=self._variables
        )
        # The shell's answer, and no module's.
        if result.get("rc") == _NO_SUCH_COMMAND and "module_stderr" in result:
            raise AnsibleActionFail(_UNPREPARED.format(self.variable("ansible_python_interpreter")))
        return result

    @property
    def module_name(self) -> str:
        return f"homelab.talos.{self._task.action.rsplit('.', 1)[-1]}"

    def arguments(self) -> dict[str, t.Any]:
        """What the task gives, and for the rest what this action supplies."""
        given = dict(self._task.args)
        makers: dict[str, t.Callable[[], t.Any]] = {
            "admin_dir": self.admin_dir,
            "board": lambda: self.variable("node_board"),
            "cache_dir": self.cache_dir,
            "cluster": lambda: self.cluster().as_dict(),
            "control_planes": self.control_planes,
            "installer_registry": lambda: self.variable("node_installer_registry"),
            "node": self.node,
            "nodes": lambda: [self.node_of(name) for name in self._variables["ansible_play_hosts"]],
            "schematic": lambda: plain(self.variable("node_schematic")),
            "secrets": self.secrets,
            "talos_version": lambda: self.variable("cluster_talos_version") or DEFAULT_TALOS,
            "talosctl": lambda: self.variable("tool_talosctl_path") or "talosctl",
        }
        wanted = [name for name in makers if name in self.supplies and given.get(name) is None]
        if given.get("talosconfig"):
            # A talosconfig that the task names stands in for the bundle.
            wanted = [name for name in wanted if name != "secrets"]
        for name in wanted:
            given[name] = makers[name]()
        if "hidden" in self.supplies:
            given["hidden"] = [_kept_whole(each) for each in (*(given.get("hidden") or []), *self._hidden())]
        return {name: value for name, value in given.items() if value is not None}

    def _is_pipelining_enabled(self, module_style: str, wrap_async: bool = False) -> bool:
        """Always where the connection can: without it, the options, secrets and all, would stand in a file."""
        possible = self._connection.has_pipelining and not self._connection.become
        return bool(possible or super()._is_pipelining_enabled(module_style, wrap_async))

    # --- the inventory

    def variable(self, name: str, host: str | None = None) -> t.Any:
        """A variable of a host (by default of the task's), templated; None where it is not set."""
        host = host or self._variables["inventory_hostname"]
        try:
            return self._variables["hostvars"][host].get(name)
        except AnsibleError as error:
            raise AnsibleActionFail(f"{host}: {name} cannot be resolved: {error}") from error

    def variables(self, host: str, wanted: t.Callable[[str], bool] = definition.is_ours) -> dict[str, t.Any]:
        """The variables of a host that our definition reads or must refuse; one of them may be ``Unresolved``."""
        raw = self._variables["hostvars"].raw_get(host)
        self._inline_vaults.look(raw)
        templar = self._templar.copy_with_new_env(available_variables=raw)

        def resolved(name: str) -> t.Any:
            try:
                return plain(templar.template(raw[name]))
            except AnsibleError as error:
                template = {"template": raw[name]} if isinstance(raw[name], str) else {}
                return definition.Unresolved(str(error), **template)

        found = {name: resolved(name) for name in raw if wanted(name)}
        self._named += scalars(found.get("cluster_hidden"))
        return found

    def _hidden(self) -> list[str]:
        """What no module may show: what variables and patches keep encrypted, and what cluster_hidden names."""
        # "vars" holds all of these once more.
        self._inline_vaults.look({name: each for name, each in self._variables.items() if name != "vars"})
        folders = [self.inventory_dir(), *self._inventory_folders(), str(self._variables.get("playbook_dir") or "")]
        values = in_files(filter(None, folders), self._inline_vaults.sources, self._loader)
        named = scalars(plain(self.variable("cluster_hidden")))
        return list(
            dict.fromkeys([*self._inline_vaults.values, *values, *self._encrypted_patches, *self._named, *named])
        )

    def _inventory_folders(self) -> list[str]:
        sources = [str(each) for each in self._variables.get("ansible_inventory_sources") or ()]
        return [each if os.path.isdir(each) else os.path.dirname(each) for each in sources]

    @property
    def groups(self) -> dict[str, list[str]]:
        return t.cast("dict[str, list[str]]", self._variables["groups"])

    def inventory_dir(self) -> str:
        return str(self._variables.get("inventory_dir") or os.getcwd())

    def read_file(self, path: str) -> str:
        """A patch file, relative to the inventory's folder; an encrypted one is decrypted, and stays hidden."""
        full = os.path.join(self.inventory_dir(), os.path.expanduser(path))
        try:
            text = str(self._loader.get_text_file_contents(full))
        # One of the mistakes that are told all at once, in the definition's own words.
        except AnsibleFileNotFound as error:
            raise OSError(errno.ENOENT, "there is no such file") from error
        except AnsibleError as error:
            raise OSError(0, "no permission, not UTF-8, or encrypted with another vault password") from error
        if is_encrypted_file(full):
            self._encrypted_patches += in_patch(text)
        return text

    def cluster(self) -> definition.Cluster:
        host = self._variables["inventory_hostname"]
        return self.or_fail(lambda: definition.cluster_from_variables(self.variables(host)))

    def node(self) -> dict[str, t.Any]:
        return self.node_of(self._variables["inventory_hostname"])

    def node_of(self, host: str) -> dict[str, t.Any]:
        variables = self.variables(host)
        node = self.or_fail(lambda: definition.node_from_variables(host, variables, self.groups, self.read_file))
        return node.as_dict()

    def or_fail(self, make: t.Callable[[], T], what: str = "{}") -> T:
        """What is made of the inventory, or the task's failure; no text shows what the inventory keeps encrypted."""
        try:
            return make()
        except definition.DefinitionError as error:
            problems = self.without_secrets(error.problems)
        # Ansible would add the cause's text, which is the same once more.
        raise AnsibleActionFail(what.format(definition.DefinitionError(problems)))

    def without_secrets(self, problems: t.Iterable[definition.Problem]) -> list[definition.Problem]:
        redactor = Redactor(self._hidden())
        return [problem.without(redactor.text) for problem in problems]

    def control_planes(self) -> list[dict[str, str]]:
        return [
            {"name": host, "address": str(self.variable("node_address", host) or "")}
            for host in self.groups.get("controlplanes", [])
        ]

    def admin_dir(self) -> str:
        return str(self.variable("cluster_admin_dir") or f"~/.homelab/{self.variable('cluster_name')}")

    def cache_dir(self) -> str | None:
        known = self.variable("cluster_admin_dir") or self.variable("cluster_name")
        return f"{self.admin_dir()}/cache" if known else None

    def record_path(self, name: str) -> str:
        """A file on the controller that the user commits."""
        folder = str(self.variable("cluster_records_dir") or self.inventory_dir())
        return os.path.join(os.path.expanduser(folder), name)

    # --- secrets

    def bundle_file(self) -> BundleFile:
        return BundleFile(self.record_path(FILE_NAME), self._loader)

    def secrets(self) -> dict[str, t.Any] | None:
        bundle: SecretsBundle | None = self.bundle_file().read()
        return bundle.as_dict() if bundle else None

    # --- progress

    def call_at_length(
        self, arguments: dict[str, t.Any], what: str, now: t.Callable[[], str] = str
    ) -> dict[str, t.Any]:
        """Call a module that may take minutes, and tell at times that it is still at it, with what ``now`` knows."""
        ended = threading.Event()
        teller = threading.Thread(target=self._tell_until, args=(ended, what, now), daemon=True)
        teller.start()
        try:
            return self.call(arguments)
        finally:
            ended.set()
            teller.join()

    def _tell_until(self, ended: threading.Event, what: str, now: t.Callable[[], str]) -> None:
        gone = 0.0
        while not ended.wait(_STEP_SECONDS):
            gone += _STEP_SECONDS
            known = now()
            self._tell(f"{gone:.0f} s: {what}{f', still missing: {known}' if known else ''}")

    def _tell(self, progress: str) -> None:
        display.display(f"[{self._variables['inventory_hostname']}] {progress}", stderr=True)

    def call_in_steps(self, arguments: dict[str, t.Any], seconds: float, **later: t.Any) -> dict[str, t.Any]:
        """Call a module that waits, in steps, and tell at each what is still missing.

        ``later`` are options of the steps after the first.
        """
        gone = 0.0
        while True:
            if gone:
                arguments = {**arguments, **later}
            step = min(_STEP_SECONDS, seconds - gone)
            last = gone + step >= seconds
            result = self.call({**arguments, "step": step, "last": last})
            if last or not result.get("waiting"):
                return result
            gone += step
            self._tell(f"{gone:.0f} s of {seconds:.0f} s: {result['waiting']}")


def _kept_whole(secret: str) -> str:
    """Ansible masks the values of secret options in all results, also within other words, as a short one would be."""
    return secret if len(secret) >= _SHORT else f"\n\n{secret}\n\n"
