# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Repository and cluster, from whatever state, to a pinned Argo CD that follows the repository.

What is to be done is decided by what both hold, and read anew after argocd-autopilot ran, whatever its exit code. So
a run that was killed anywhere is simply run again:

============================  ===================================  ==========================================
repository                    cluster                              what is done
============================  ===================================  ==========================================
not bootstrapped              no Argo CD, or one that broke off    bootstrap
bootstrapped                  no Argo CD, or without its first     recover
                              Application
bootstrapped                  complete                             what differs of version, Secret, password
not bootstrapped              complete                             refuse: the repository lost its content
half, or of another place     whatever                             refuse
whatever                      foreign, or of another repository    refuse
============================  ===================================  ==========================================
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import re
import time
import typing as t

from . import _argocd_cluster as cluster
from . import _gitops as gitops
from ._argocd_install import Installation, dump_all, named
from ._argocd_readiness import Readiness
from ._autopilot import AutopilotError
from ._errors import TalosError
from ._git import Account, Address, Clone, Git, GitError, again_when_moved_on, error_of
from ._gitops import Layout
from ._kubectl import NoCluster

if t.TYPE_CHECKING:
    from ._argocd_module import Session

_PAUSE_SECONDS = 1.0
# What argocd-autopilot says of the repository begins so.
_OF_GIT = re.compile(r"authentication required|failed to validate repository|failed pushing|git repository")
_OF_TIME = re.compile(r"deadline exceeded|not done within")
_MASKED = "(not shown)"


class LostRepository(TalosError):
    """The cluster follows a place in the repository that holds nothing any more."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is declared. ``reader`` is what the cluster gets; ``password_hash`` is bcrypt's, empty for no change."""

    address: Address
    writer: Account
    reader: Account
    namespace: str
    installation: Installation
    app: str
    password_hash: str = ""


@dataclasses.dataclass
class Outcome:
    """What was done, or in check mode would be; the commit in the repository; the diff as Ansible takes it."""

    actions: list[str] = dataclasses.field(default_factory=list)
    commit: str = ""
    diff: list[dict[str, str]] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)

    def note(self, action: str, *, header: str = "", **texts: str) -> None:
        """Once: where somebody else was faster, it is all done again."""
        if action in self.actions:
            return
        self.actions.append(action)
        if header:
            self.differ(header, **texts)

    def differ(self, header: str, *, before: str = "", after: str = "", prepared: str = "") -> None:
        """``prepared`` is a diff that is made already."""
        texts = {"prepared": f"{header}\n{prepared}"} if prepared else {"before": before, "after": after}
        self.diff.append({"before_header": header, "after_header": header, **texts})

    def warn(self, warning: str) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)


class Bootstrap:
    """One convergence; ``seconds`` are for Argo CD to become ready. ``tell`` is told what it waits for."""

    def __init__(
        self,
        wanted: Wanted,
        session: Session,
        *,
        seconds: float,
        tell: t.Callable[[str], None],
        check: bool = False,
    ) -> None:
        self._wanted, self._session, self._kubectl = wanted, session, session.kubectl
        self._seconds, self._check = seconds, check
        workloads = wanted.installation.workloads
        self._readiness = Readiness(session.kubectl, wanted.namespace, workloads, seconds, tell)
        self.outcome = Outcome()

    def converge(self) -> Outcome:
        """Raises TalosError; nothing is touched before repository, tokens and cluster are known to be usable."""
        with self._session.git_of(self._wanted.reader) as git:
            git.head(self._wanted.address)
        if self._check and not os.path.isfile(self._kubectl.kubeconfig):
            self.outcome.note("bootstrap or recover, once there is a cluster")
            return self.outcome
        self._kubectl.require_ready()
        with self._session.git_of(self._wanted.writer) as git:
            again_when_moved_on(lambda: self._converge(git))
        return self.outcome

    def _converge(self, git: Git) -> None:
        wanted = self._wanted
        clone = git.clone(wanted.address)
        seen = self._observe()
        layout = self._layout(clone, seen)
        if cluster.REPO_CREDENTIALS in seen.secrets:
            # A run that was killed may have left the token in the clear.
            self._converge_secret(seen)
        if layout is Layout.LEFTOVER:
            self._commit(clone, gitops.leftover_removed(), "Remove the leftover of an uninstall")
        if layout is not Layout.BOOTSTRAPPED:
            clone.require_push()
            self._note_bootstrap()
            if self._check:
                self._foretell(seen)
                return
            clone = self._bootstrapped(git)
        change = gitops.pending(clone, wanted.installation)
        self._commit(clone, change, self._pin)
        self.outcome.commit = clone.commit
        self._converge_cluster(self._observe() if self.outcome.actions else seen, upgraded=bool(change))

    def _layout(self, clone: Clone, seen: cluster.ArgoCD) -> Layout:
        layout = gitops.layout(clone, self._wanted.address, self._wanted.namespace)
        if layout is not Layout.BOOTSTRAPPED and seen.bootstrap_app:
            raise LostRepository(
                f"the cluster follows {self._wanted.address}, and nothing of it is there any more",
                remedy="Restore it from its history (git revert). To begin anew, delete Application "
                f"{cluster.BOOTSTRAP_APP} in {self._wanted.namespace} without its resources (--cascade=orphan)",
            )
        return layout

    # --- the repository

    @property
    def _pin(self) -> str:
        return f"Argo CD {self._wanted.installation.version}, pinned"

    def _note_bootstrap(self) -> None:
        wanted = self._wanted
        self.outcome.note(
            f"bootstrap {wanted.address} with Argo CD {wanted.installation.version}",
            header=str(wanted.address),
            after=f"{wanted.address.below('bootstrap')}, projects and apps, by argocd-autopilot\n",
        )
        self._note_objects()

    def _foretell(self, seen: cluster.ArgoCD) -> None:
        """What follows a bootstrap, in check mode."""
        self._converge_secret(seen)
        objects = self._wanted.installation.oversized
        if objects:
            names = "".join(f"+{named(each)}\n" for each in objects)
            self.outcome.note(f"commit: {self._pin}", header=gitops.OVERSIZED, prepared=names)
        self._converge_password(seen)

    def _bootstrapped(self, git: Git) -> Clone:
        complaint = self._run_autopilot(self._wanted.writer, recover=False)
        clone = git.clone(self._wanted.address)
        if gitops.layout(clone, self._wanted.address, self._wanted.namespace) is not Layout.BOOTSTRAPPED:
            raise self._failure(complaint)
        return clone

    def _commit(self, clone: Clone, change: gitops.Change, message: str) -> None:
        if not change:
            return
        clone.require_push()
        if not self._check:
            # Before one Application hands it over to the other in Git: it must not be pruned in between.
            self._apply_oversized()
            clone.change(change.files)
            clone.push(message)
        self.outcome.note(f"commit: {message}", header=str(self._wanted.address), prepared=change.diff)

    # --- the cluster

    def _converge_cluster(self, seen: cluster.ArgoCD, *, upgraded: bool) -> None:
        """After an upgrade Argo CD itself makes what is new in it."""
        missing = seen.missing(self._wanted.installation.workloads)
        if missing and not (upgraded and seen.bootstrap_app):
            seen = self._recovered(missing)
        self._converge_secret(seen)
        if not self._check:
            seen = self._awaited_ready(seen)
        self._converge_password(seen)

    def _recovered(self, missing: t.Sequence[str]) -> cluster.ArgoCD:
        self.outcome.note(f"recover Argo CD in the cluster: {', '.join(missing)}")
        self._note_objects()
        if self._check:
            return self._observe()
        complaint = self._run_autopilot(self._wanted.reader, recover=True)
        seen = self._observe()
        if seen.missing(self._wanted.installation.workloads):
            raise self._failure(complaint, command="clone", setting=self._wanted.reader.setting)
        return seen

    def _run_autopilot(self, account: Account, *, recover: bool) -> str:
        """What it complained of. Whatever becomes of it, its Secret does not stay."""
        wanted = self._wanted
        self._kubectl.apply(dump_all([cluster.claim(wanted.namespace, wanted.address)]))
        self._apply_oversized()
        try:
            return self._session.autopilot.bootstrap(
                wanted.address,
                account,
                self._kubectl,
                app=wanted.app,
                namespace=wanted.namespace,
                seconds=self._seconds,
                recover=recover,
                meanwhile=self._readiness.look,
            )
        finally:
            # What went wrong before says more than what goes wrong here.
            with contextlib.suppress(TalosError):
                seen = cluster.observe(self._session.kubectl_to_the_end, wanted.namespace)
                if cluster.REPO_CREDENTIALS in seen.secrets:
                    self._converge_secret(seen)

    def _apply_oversized(self) -> None:
        if self._wanted.installation.oversized:
            self._kubectl.apply(self._wanted.installation.oversized_text)

    def _converge_secret(self, seen: cluster.ArgoCD) -> None:
        wanted = self._wanted
        secret = cluster.repository_secret(wanted.namespace, wanted.address, wanted.reader)
        before = seen.secrets.get(cluster.REPO_CREDENTIALS)
        if cluster.is_same_secret(before, secret):
            return
        if not self._check:
            kubectl = self._session.kubectl_to_the_end
            (kubectl.replace if before else kubectl.create)(secret)
        self.outcome.note(
            "replace the repository's Secret",
            header=f"Secret {wanted.namespace}/{cluster.REPO_CREDENTIALS}",
            before=_shown(before),
            after=_shown(secret),
        )
        self._look_at_reader()

    def _look_at_reader(self) -> None:
        """What the cluster gets should not be able to write, unless that is declared."""
        wanted = self._wanted
        if (wanted.reader.user, wanted.reader.token) == (wanted.writer.user, wanted.writer.token):
            return
        with contextlib.suppress(GitError), self._session.git_of(wanted.reader) as git:
            git.clone(wanted.address).require_push()
            self.outcome.warn(
                "argocd_read_token, which the cluster gets, may push to the repository: make one that only reads"
            )

    def _converge_password(self, seen: cluster.ArgoCD) -> None:
        wanted = self._wanted
        if not wanted.password_hash:
            return
        if seen.secret_text(cluster.ADMIN_ACCOUNT, "admin.password") != wanted.password_hash:
            if not self._check:
                moment = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
                change = cluster.password_change(wanted.password_hash, moment)
                self._kubectl.patch_data("secret", cluster.ADMIN_ACCOUNT, wanted.namespace, change)
            self.outcome.note("replace the admin password")
        if cluster.INITIAL_ACCOUNT in seen.secrets or cluster.ADMIN_ACCOUNT not in seen.secrets:
            if not self._check:
                self._kubectl.delete("secret", cluster.INITIAL_ACCOUNT, wanted.namespace)
            self.outcome.note("remove the initial admin password")

    def initial_password(self) -> str:
        """Empty where it was replaced, or removed as Argo CD advises, or where there is no cluster yet."""
        if self._check and not os.path.isfile(self._kubectl.kubeconfig):
            return ""
        return self._observe().secret_text(cluster.INITIAL_ACCOUNT, "password")

    def _awaited_ready(self, seen: cluster.ArgoCD) -> cluster.ArgoCD:
        """Raises NotReady. An API that is too busy to answer, as while a Raspberry Pi pulls images, is waited for."""
        ends = time.monotonic() + self._seconds
        workloads = self._wanted.installation.workloads
        while True:
            waiting = seen.missing(workloads) + seen.unready(workloads)
            if not waiting:
                return seen
            if time.monotonic() > ends:
                raise self._readiness.error(waiting)
            self._readiness.look(waiting)
            time.sleep(_PAUSE_SECONDS)
            with contextlib.suppress(NoCluster):
                seen = self._observe()

    # --- what is told

    def _observe(self) -> cluster.ArgoCD:
        """Raises ForeignArgoCD, BeingDeleted."""
        seen = cluster.observe(self._kubectl, self._wanted.namespace)
        seen.require_ours(self._wanted.address)
        return seen

    def _note_objects(self) -> None:
        """Which of the installation are there, before and after."""
        wanted = self._wanted
        objects = [*wanted.installation.objects, *wanted.installation.oversized]
        there = self._kubectl.exist(dump_all(objects))
        names = {named(each): _resource_name(each) in there for each in objects}
        self.outcome.differ(
            "objects in the cluster",
            before="".join(f"{name}\n" for name in names if names[name]),
            after="".join(f"{name}\n" for name in names),
        )

    def _failure(self, complaint: str, **asked: str) -> TalosError:
        """Why argocd-autopilot did not reach its end: pods that are not ready, git's errors, or its own words.

        ``asked`` says what of the repository, as ``error_of`` takes it.
        """
        known = error_of(complaint, self._wanted.address, **asked) if _OF_GIT.search(complaint) else None
        waiting = self._observe().unready(self._wanted.installation.workloads)
        if waiting and not known and (not complaint or _OF_TIME.search(complaint)):
            return self._readiness.error(waiting)
        return known or AutopilotError(complaint or "argocd-autopilot ended without a result")


def _resource_name(item: t.Mapping[str, t.Any]) -> str:
    """As kubectl prints it: ``deployment.apps/argocd-server``."""
    group = item["apiVersion"].rpartition("/")[0]
    return f"{item['kind'].lower()}{f'.{group}' if group else ''}/{item['metadata']['name']}"


def _shown(secret: t.Mapping[str, t.Any] | None) -> str:
    """Its labels and keys; whether there is an annotation that holds what nobody should read."""
    if secret is None:
        return ""
    metadata = secret["metadata"]
    shown = {
        "labels": metadata.get("labels") or {},
        "annotations": dict.fromkeys(metadata.get("annotations") or {}, _MASKED),
        "data": dict.fromkeys(secret.get("data") or {}, _MASKED),
    }
    return dump_all([shown])
