# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Argo CD that runs in a cluster: its three parts, each at work while its pods are ready."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import time
import traceback

from rehearsal.argocd import projects
from rehearsal.argocd.application_sets import ApplicationSets
from rehearsal.argocd.applications import API, Applications
from rehearsal.argocd.faults import ApplicationFaults
from rehearsal.argocd.repositories import Repositories
from rehearsal.git.server import GitServer
from rehearsal.kubernetes import Object
from rehearsal.kubernetes.api import Api, Terms
from rehearsal.kubernetes.kinds import Resource, built_in, find
from rehearsal.kubernetes.status import StatusError

_DEPLOYMENTS, _STATEFUL_SETS, _SECRETS = (built_in(plural) for plural in ("deployments", "statefulsets", "secrets"))
_SERVER = Terms("argocd-server")
_NAME = "app.kubernetes.io/name"
# Git is asked this often; after a change of the cluster there is a look at once, but never two in a moment.
_READ_SECONDS, _PAUSE_SECONDS = 2.0, 0.2


class ArgoCd:
    """Whatever Argo CD a cluster runs, in however many namespaces."""

    def __init__(self, api: Api, git: GitServer | None, faults: ApplicationFaults) -> None:
        self._api, self._faults = api, faults
        self._repositories = Repositories(api, git)
        self._controllers: dict[str, tuple[Applications, ApplicationSets]] = {}
        self._round: asyncio.Task[None] | None = None
        self._seen = (0, 0)
        self._looked_at = float("-inf")

    def settle(self) -> None:
        """Begin a round where one is due; it goes on while the nodes answer."""
        if self._round is None or self._round.done():
            changed = self._seen != (self._api.store.version, self._faults.changes)
            waited = time.monotonic() - self._looked_at
            if waited >= (_PAUSE_SECONDS if changed else _READ_SECONDS):
                self._round = asyncio.get_running_loop().create_task(self._work())

    def stop(self) -> None:
        if self._round is not None:
            self._round.cancel()

    async def _work(self) -> None:
        try:
            await self.look_around()
        except Exception:
            traceback.print_exc()  # nobody awaits this task: the daemon's log is where it is seen
        self._looked_at = time.monotonic()

    async def look_around(self) -> None:
        """One round of every part that runs."""
        self._seen = (self._api.store.version, self._faults.changes)
        for namespace in self._namespaces_running(_DEPLOYMENTS, "argocd-server"):
            # A write that is refused, as in a namespace that goes, is tried again in the next round.
            with contextlib.suppress(StatusError):
                self._make_password(namespace)
                self._make_project(namespace)
        for namespace in self._namespaces_running(_DEPLOYMENTS, "argocd-applicationset-controller"):
            await self._of(namespace)[1].reconcile()
        for namespace in self._namespaces_running(_STATEFUL_SETS, "argocd-application-controller"):
            await self._of(namespace)[0].reconcile()

    def _of(self, namespace: str) -> tuple[Applications, ApplicationSets]:
        if namespace not in self._controllers:
            applications = Applications(self._api, namespace, self._repositories, self._faults)
            sets = ApplicationSets(self._api, namespace, self._repositories)
            self._controllers[namespace] = (applications, sets)
        return self._controllers[namespace]

    def _namespaces_running(self, resource: Resource, name: str) -> list[str]:
        return [
            workload["metadata"]["namespace"]
            for workload in self._api.store.all(resource.key)
            if (workload["metadata"].get("labels") or {}).get(_NAME) == name
            and (workload.get("status") or {}).get("availableReplicas")
        ]

    # --- argocd-server

    def _make_password(self, namespace: str) -> None:
        """The first one, where none is set."""
        own = self._api.store.get(_SECRETS.key, namespace, "argocd-secret")
        if own is None or (own.get("data") or {}).get("admin.password"):
            return
        text = {"admin.password": f"$2a$10${secrets.token_urlsafe(40)}", "server.secretkey": secrets.token_urlsafe(32)}
        data = {**(own.get("data") or {}), **{key: _base64(value) for key, value in text.items()}}
        self._api.update(_SECRETS, namespace, "argocd-secret", {**own, "data": data}, _SERVER)
        name = "argocd-initial-admin-secret"
        if self._api.store.get(_SECRETS.key, namespace, name) is None:
            first: Object = {"metadata": {"name": name}, "data": {"password": _base64(secrets.token_urlsafe(12))}}
            self._api.create(_SECRETS, namespace, first, _SERVER)

    def _make_project(self, namespace: str) -> None:
        """The project that lets everything, which there always is."""
        resource = find(self._api.store.resources, *API, "appprojects")
        if resource is not None and self._api.store.get(resource.key, namespace, "default") is None:
            self._api.create(resource, namespace, projects.DEFAULT, _SERVER)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
