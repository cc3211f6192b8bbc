# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Argo CD does by itself once its pods are ready, as far as an installation of it is judged by that."""

from __future__ import annotations

import base64
import secrets

from rehearsal.kubernetes import Object
from rehearsal.kubernetes.api import Api, Terms
from rehearsal.kubernetes.kinds import Resource, built_in, find

_DEPLOYMENTS, _STATEFUL_SETS, _SECRETS = (built_in(plural) for plural in ("deployments", "statefulsets", "secrets"))
_WRITE, _CONTROLLER = Terms("argocd-server"), Terms("argocd-application-controller")
_FINALIZER = "resources-finalizer.argocd.argoproj.io"
_NAME = "app.kubernetes.io/name"


def settle(api: Api) -> None:
    """The server makes the first password where none is set; the controller judges and lets go of Applications."""
    for namespace in _namespaces_running(api, _DEPLOYMENTS, "argocd-server"):
        _make_password(api, namespace)
    applications = find(api.store.resources, "argoproj.io", "v1alpha1", "applications")
    if applications is not None:
        for namespace in _namespaces_running(api, _STATEFUL_SETS, "argocd-application-controller"):
            for application in api.select(applications, namespace):
                _reconcile(api, applications, application)


def _namespaces_running(api: Api, resource: Resource, name: str) -> list[str]:
    return [
        workload["metadata"]["namespace"]
        for workload in api.store.all(resource.key)
        if (workload["metadata"].get("labels") or {}).get(_NAME) == name
        and (workload.get("status") or {}).get("availableReplicas")
    ]


def _reconcile(api: Api, resource: Resource, application: Object) -> None:
    """Nothing is deployed for it here: it counts as synced and healthy, and as cleaned up when it is deleted."""
    metadata = application["metadata"]
    place = (resource, metadata["namespace"], metadata["name"])
    if "deletionTimestamp" in metadata:
        left = [name for name in metadata.get("finalizers") or [] if not name.startswith(_FINALIZER)]
        api.update(*place, {**application, "metadata": {**metadata, "finalizers": left}}, _CONTROLLER)
    elif not (application.get("status") or {}).get("sync", {}).get("status"):
        compared = {"source": application["spec"].get("source"), "destination": application["spec"]["destination"]}
        status = {"sync": {"status": "Synced", "comparedTo": compared}, "health": {"status": "Healthy"}}
        api.update(*place, {**application, "status": status}, _CONTROLLER)


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
