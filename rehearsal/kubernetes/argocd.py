# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Argo CD does by itself once its pods are ready, as far as an installation of it is judged by that."""

from __future__ import annotations

import base64
import secrets

from rehearsal.kubernetes import Object
from rehearsal.kubernetes.api import Api, Terms
from rehearsal.kubernetes.kinds import built_in

_DEPLOYMENTS, _SECRETS = built_in("deployments"), built_in("secrets")
_WRITE = Terms("argocd-server")
_NAME = "app.kubernetes.io/name"


def settle(api: Api) -> None:
    """Make the first password where a server runs and none is set."""
    for deployment in api.store.all(_DEPLOYMENTS.key):
        labels = deployment["metadata"].get("labels") or {}
        available = (deployment.get("status") or {}).get("availableReplicas")
        if labels.get(_NAME) == "argocd-server" and available:
            _make_password(api, deployment["metadata"]["namespace"])


def _make_password(api: Api, namespace: str) -> None:
    own = api.store.get(_SECRETS.key, namespace, "argocd-secret")
    if own is None or (own.get("data") or {}).get("admin.password"):
        return
    text = {"admin.password": f"$2a$10${secrets.token_urlsafe(40)}", "server.secretkey": secrets.token_urlsafe(32)}
    data = {**(own.get("data") or {}), **{key: _base64(value) for key, value in text.items()}}
    api.update(_SECRETS, namespace, "argocd-secret", {**own, "data": data}, _WRITE)
    name = "argocd-initial-admin-secret"
    if api.store.get(_SECRETS.key, namespace, name) is None:
        first: Object = {"metadata": {"name": name}, "data": {"password": _base64(secrets.token_urlsafe(12))}}
        api.create(_SECRETS, namespace, first, _WRITE)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
