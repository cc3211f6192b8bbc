# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""The kubectl binary: objects in and out as data. What may be secret reaches it by standard input only."""

from __future__ import annotations

import json
import os
import re
import typing as t

from ._commands import Commands, CommandTimeout, found
from ._errors import TalosError

Object = dict[str, t.Any]

SECONDS = 60.0
FIELD_MANAGER = "homelab.talos"
_REMEDY = "Install kubectl of the cluster's minor version (role tool), or set tool_kubectl_path"
_HEALTHY = "Argo CD needs a healthy control plane: run ansible-playbook site.yml --tags bootstrap,health first"


class KubectlError(TalosError):
    """The API refused a request, with its words."""

    remedy = "kubectl's words say more"


class NoCluster(KubectlError):
    """The Kubernetes API does not answer, or is not ready."""

    remedy = _HEALTHY


class NotTrusted(KubectlError):
    """The API does not take the kubeconfig's certificate, or has one of another cluster."""

    remedy = "Is it this cluster's kubeconfig, and is it valid still? site.yml --tags bootstrap makes it anew"


# Of an admission webhook that cannot be asked, for whatever reason.
_WEBHOOK = re.compile(r"failed calling webhook \"([^\"]*)\"")
_ERRORS: tuple[tuple[str, type[KubectlError]], ...] = (
    (r"x509|certificate|Unauthorized|must be logged in", NotTrusted),
    (r"Unable to connect|refused|no route to host|i/o timeout|deadline|connection reset|no such host|EOF", NoCluster),
    (r"apiserver not ready|ServiceUnavailable|currently unable to handle", NoCluster),
    # A Raspberry Pi that pulls images is as slow as this.
    (r"etcdserver: (request timed out|leader changed)|\(Timeout\)|TooManyRequests|Too Many Requests", NoCluster),
)
_UNKNOWN_KIND = re.compile(r"the server doesn't have a resource type|no matches for kind|could not find the requested")


class Kubectl:
    """One method a command, with one kubeconfig."""

    def __init__(self, commands: Commands, kubeconfig: str, *, path: str = "kubectl") -> None:
        self._commands, self._given_path, self.kubeconfig = commands, path, kubeconfig
        self._cache = os.path.join(commands.folder, "kubectl-cache")

    def require_ready(self) -> None:
        """Raises NoCluster, NotTrusted."""
        if not os.path.isfile(self.kubeconfig):
            raise NoCluster(f"there is no kubeconfig {self.kubeconfig}")
        said = self._run(["get", "--raw", "/readyz"])
        if said.strip() != "ok":
            raise NoCluster(f"the Kubernetes API is not ready: {said.strip()}")

    def context(self) -> str:
        """The name of the context in use."""
        return self._run(["config", "current-context"]).strip()

    def get(self, kinds: str, *names: str, namespace: str = "", selector: str = "") -> list[Object]:
        """Those that are there; none where the kind itself is not. All namespaces where none is given."""
        where = ["--namespace", namespace] if namespace else [] if names else ["--all-namespaces"]
        which = ["--selector", selector] if selector else []
        try:
            text = self._run(["get", kinds, *names, *where, *which, "--ignore-not-found", "--output=json"])
        except KubectlError as error:
            if _UNKNOWN_KIND.search(error.cause):
                return []
            raise
        if not text.strip():
            return []
        found_objects = json.loads(text)
        items: list[Object] = found_objects["items"] if found_objects["kind"] == "List" else [found_objects]
        return items

    def exist(self, manifests: str) -> set[str]:
        """Which of these are there, as ``kind.group/name``."""
        text = self._run(["get", "--ignore-not-found", "--output=name", "--filename=-"], manifests, unknown_kinds=True)
        return set(text.split())

    def apply(self, manifests: str) -> None:
        """Server-side, and ours where others own a field."""
        options = ["--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}"]
        self._run(["apply", *options, "--filename=-"], manifests)

    def replace(self, item: Object) -> None:
        """The object as a whole, so that nothing of what was there stays."""
        self._run(["replace", f"--field-manager={FIELD_MANAGER}", "--filename=-"], json.dumps(item))

    def create(self, item: Object) -> None:
        self._run(["create", f"--field-manager={FIELD_MANAGER}", "--filename=-"], json.dumps(item))

    def patch_data(self, kind: str, name: str, namespace: str, change: Object) -> None:
        """A merge patch, such as ``{"data": {...}}``; None removes a key, and what it does not name stays."""
        where = [kind, name, "--namespace", namespace, "--type=merge", f"--field-manager={FIELD_MANAGER}"]
        self._run(["patch", *where, "--patch-file=/dev/stdin"], json.dumps(change))

    def annotate(self, kind: str, names: t.Sequence[str], namespace: str, annotation: str, value: str) -> None:
        options = ["--overwrite", f"--field-manager={FIELD_MANAGER}"]
        self._run(["annotate", kind, *names, f"{annotation}={value}", "--namespace", namespace, *options])

    def delete(self, kind: str, name: str, namespace: str) -> None:
        self._run(["delete", kind, name, "--namespace", namespace, "--ignore-not-found", "--wait=false"])

    def kustomize(self, folder: str) -> str:
        """The manifests that a kustomization makes; no cluster is asked."""
        return self._run(["kustomize", folder])

    def _run(self, arguments: t.Sequence[str], given: str = "", *, unknown_kinds: bool = False) -> str:
        binary = found(self._given_path, _REMEDY)
        options = ["--kubeconfig", self.kubeconfig, "--cache-dir", self._cache, f"--request-timeout={SECONDS / 2:.0f}s"]
        command = f"kubectl {arguments[0]}"
        try:
            done = self._commands.run([binary, *options, *arguments], seconds=SECONDS, given=given)
        except CommandTimeout as error:
            raise NoCluster(error.cause, command=command) from error
        if done.code and not (unknown_kinds and _UNKNOWN_KIND.search(done.err)):
            raise _error(done.err or done.out, command)
        return done.out


def _error(said: str, command: str) -> KubectlError:
    lines = list(dict.fromkeys(line.strip() for line in said.splitlines() if line.strip()))
    words = "; ".join(line for line in lines if not re.match(r"[EIW]\d{4} ", line)) or "; ".join(lines)
    webhook = _WEBHOOK.search(words)
    if webhook:
        return KubectlError(words, command=command, remedy=_webhook_remedy(webhook[1]))
    kind = next((kind for pattern, kind in _ERRORS if re.search(pattern, words)), KubectlError)
    return kind(words, command=command)


def _webhook_remedy(name: str) -> str:
    return (
        f"The cluster's admission webhook {name} does not work: repair what serves it, or delete its "
        "ValidatingWebhookConfiguration or MutatingWebhookConfiguration (kubectl get names them), then run again"
    )
