# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kubectl's words as types."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from ansible_collections.homelab.talos.plugins.module_utils._commands import Commands
from ansible_collections.homelab.talos.plugins.module_utils._kubectl import (
    Kubectl,
    KubectlError,
    NoCluster,
    NotTrusted,
)
from ansible_collections.homelab.talos.plugins.module_utils._progress import Watch

_WEBHOOK = 'Error from server (InternalError): Internal error occurred: failed calling webhook "policy.lan": failed to '


@pytest.mark.parametrize(
    ("said", "kind", "named"),
    [
        ("Unable to connect to the server: x509: certificate signed by unknown authority", NotTrusted, "kubeconfig"),
        ("The connection to the server 127.0.0.1:6443 was refused - is it up?", NoCluster, "bootstrap,health"),
        (
            f'{_WEBHOOK}call webhook: Post "https://x": x509: certificate has expired',
            KubectlError,
            "webhook policy.lan",
        ),
        (f'{_WEBHOOK}call webhook: Post "https://x": connect: connection refused', KubectlError, "policy.lan"),
        (f"{_WEBHOOK}call webhook: context deadline exceeded", KubectlError, "policy.lan"),
        ("Error from server: etcdserver: request timed out", NoCluster, "bootstrap,health"),
        ('Error from server (NotFound): secrets "x" not found', KubectlError, "kubectl's words"),
    ],
)
def test_words(tmp_path: Path, said: str, kind: type[KubectlError], named: str) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f"#!/bin/sh\nprintf '%s\\n' {shlex.quote(said)} >&2\nexit 1\n")
    kubectl.chmod(0o755)
    with Watch() as watch:
        client = Kubectl(Commands(str(tmp_path), {"PATH": "/usr/bin:/bin"}, watch), "none", path=str(kubectl))
        with pytest.raises(KubectlError) as caught:
            client.get("secrets", "x", namespace="argocd")
    assert type(caught.value) is kind
    assert named in caught.value.remedy
    assert said in caught.value.cause
