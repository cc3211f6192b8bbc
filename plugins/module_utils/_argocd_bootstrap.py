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
import re
import time
import typing as t

from . import _argocd_cluster as cluster
from . import _gitops as gitops
from ._argocd_install import Installation, dump_all, named
from ._argocd_module import Session
from ._autopilot import AutopilotError
from ._errors import TalosError
from ._git import Account, Address, Clone, Git, MovedOn, NotAllowedToPush, WrongToken, error_of
from ._gitops import Layout
from ._waiting import WaitedTooLong

# So often somebody else may push while we work.
_ATTEMPTS = 3
_PAUSE_SECONDS = 1.0
# What argocd-autopilot says of the repository begins so.
_OF_GIT = re.compile(r"authentication required|failed to validate repository|failed pushing|git repository")
_MASKED = "(not shown)"


class LostRepository(TalosError):
    """The cluster follows a place in the repository that holds nothing any more."""


class NotReady(WaitedTooLong):
    """Argo CD's pods did not become ready in time."""

    remedy = (
        "Look at them (kubectl -n argocd get pods, describe): images that cannot be pulled and a lack of memory are "
        "usual. Run again: it goes on from there; argocd_ready_timeout gives them more time"
    )


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

    def note(self, action: str, *, header: str = "", before: str = "", after: str = "", prepared: str = "") -> None:
        self.actions.append(action)
        if prepared:
            self.diff.append({"before_header": header, "after_header": header, "prepared": f"{header}\n{prepared}"})
        elif header:
            self.diff.append({"before_header": header, "after_header": header, "before": before, "after": after})


class Bootstrap:
    """One convergence; ``seconds`` are for Argo CD to become ready."""

    def __init__(self, wanted: Wanted, session: Session, *, seconds: float, check: bool = False) -> None:
        self._wanted, self._session, self._kubectl = wanted, session, session.kubectl
        self._seconds, self._check = seconds, check
        self.outcome = Outcome()

    def converge(self) -> Outcome:
        """Raises TalosError; nothing is touched before repository, tokens and cluster are known to be usable."""
        self._kubectl.require_ready()
        with self._session.git_of(self._wanted.reader) as git:
            git.head(self._wanted.address)
        for attempt in range(_ATTEMPTS):
            try:
                with self._session.git_of(self._wanted.writer) as git:
                    self._converge_repository(git)
                break
            except MovedOn:
                if attempt + 1 == _ATTEMPTS:
                    raise
        return self.outcome

    def _converge_repository(self, git: Git) -> None:
        wanted = self._wanted
        clone = git.clone(wanted.address)
        seen = self._observe()
        layout = gitops.layout(clone, wanted.address, wanted.namespace)
        bootstrapped = layout is Layout.BOOTSTRAPPED
        if not bootstrapped and seen.bootstrap_app:
            raise LostRepository(
                f"the cluster follows {wanted.address}, and nothing of it is there any more",
                remedy="Restore it from its history (git revert). To begin anew, delete Application "
                f"{cluster.BOOTSTRAP_APP} in {wanted.namespace} without its resources (--cascade=orphan)",
            )
        if layout is Layout.LEFTOVER:
            self._commit(clone, gitops.leftover_removed(), "Remove the leftover of an uninstall")
        if not bootstrapped:
            clone = self._bootstrap(git, clone)
            seen = self._observe()
        if bootstrapped or not self._check:
            change = gitops.pending(clone, wanted.installation)
            self._commit(clone, change, self._pin)
        self.outcome.commit = clone.commit
        # In check mode the bootstrap would have made what is missing.
        missing = seen.missing(wanted.installation.workloads) if bootstrapped or not self._check else []
        self._converge_cluster(self._recovered(missing) if missing else seen)

    @property
    def _pin(self) -> str:
        return f"Argo CD {self._wanted.installation.version}, pinned"

    # --- the repository

    def _bootstrap(self, git: Git, clone: Clone) -> Clone:
        """The bootstrapped repository; in check mode it stays as it is."""
        wanted = self._wanted
        files = f"{wanted.address.below('bootstrap')}, projects and apps"
        self.outcome.note(
            f"bootstrap {wanted.address} with Argo CD {wanted.installation.version}",
            header=f"{wanted.address}",
            after=f"{files}, by argocd-autopilot\n",
        )
        self._note_objects()
        if self._check:
            self._note_oversized()
            return clone
        clone.require_push()
        complaint = self._run_autopilot(wanted.writer, recover=False)
        clone = git.clone(wanted.address)
        if gitops.layout(clone, wanted.address, wanted.namespace) is not Layout.BOOTSTRAPPED:
            raise self._failure(complaint)
        return clone

    def _note_oversized(self) -> None:
        objects = self._wanted.installation.oversized
        if objects:
            names = "".join(f"+{named(each)}\n" for each in objects)
            self.outcome.note(f"commit: {self._pin}", header=gitops.OVERSIZED, prepared=names)

    def _commit(self, clone: Clone, change: gitops.Change, message: str) -> None:
        if not change:
            return
        if not self._check:
            clone.change(change.files)
            clone.push(message)
        # Only now: where somebody else was faster, it is all done again.
        self.outcome.note(f"commit: {message}", header=str(self._wanted.address), prepared=change.diff)

    # --- the cluster

    def _converge_cluster(self, seen: cluster.ArgoCD) -> None:
        self._converge_secret(seen)
        if not self._check:
            seen = self._awaited_ready(seen)
        self._converge_password(seen)

    def _recovered(self, missing: t.Sequence[str]) -> cluster.ArgoCD:
        wanted = self._wanted
        self.outcome.note(f"recover Argo CD in the cluster: {', '.join(missing)}")
        self._note_objects()
        complaint = "" if self._check else self._run_autopilot(wanted.reader, recover=True)
        seen = self._observe()
        if seen.missing(wanted.installation.workloads) and not self._check:
            raise self._failure(complaint)
        return seen

    def _run_autopilot(self, account: Account, *, recover: bool) -> str:
        wanted = self._wanted
        self._kubectl.apply(dump_all([cluster.claim(wanted.namespace, wanted.address)]))
        self._kubectl.apply(wanted.installation.oversized_text)
        return self._session.autopilot.bootstrap(
            wanted.address,
            account,
            self._kubectl,
            app=wanted.app,
            namespace=wanted.namespace,
            seconds=self._seconds,
            recover=recover,
        )

    def _converge_secret(self, seen: cluster.ArgoCD) -> None:
        wanted = self._wanted
        secret = cluster.repository_secret(wanted.namespace, wanted.address, wanted.reader)
        before = seen.secrets.get(cluster.REPO_SECRET)
        if cluster.is_same_secret(before, secret):
            return
        self.outcome.note(
            "replace the repository's Secret",
            header=f"Secret {wanted.namespace}/{cluster.REPO_SECRET}",
            before=_shown(before),
            after=_shown(secret),
        )
        self._look_at_reader()
        if not self._check:
            (self._kubectl.replace if before else self._kubectl.create)(secret)

    def _look_at_reader(self) -> None:
        """What the cluster gets should not be able to write, unless that is declared."""
        wanted = self._wanted
        if (wanted.reader.user, wanted.reader.token) == (wanted.writer.user, wanted.writer.token):
            return
        with self._session.git_of(wanted.reader) as git, contextlib.suppress(NotAllowedToPush, WrongToken):
            git.clone(wanted.address).require_push()
            self.outcome.warnings.append(
                "argocd_read_token, which the cluster gets, may push to the repository: make one that only reads"
            )

    def _converge_password(self, seen: cluster.ArgoCD) -> None:
        wanted = self._wanted
        if not wanted.password_hash:
            return
        own = seen.secrets.get(cluster.ADMIN_SECRET)
        if seen.secret_text(cluster.ADMIN_SECRET, "admin.password") != wanted.password_hash:
            self.outcome.note("replace the admin password")
            if not self._check:
                now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
                self._kubectl.replace(cluster.with_password(own or {}, wanted.password_hash, now))
        if cluster.INITIAL_SECRET in seen.secrets:
            self.outcome.note("remove the initial admin password")
            if not self._check:
                self._kubectl.delete("secret", cluster.INITIAL_SECRET, wanted.namespace)

    def initial_password(self) -> str:
        """Empty where it was replaced, or removed as Argo CD advises."""
        return self._observe().secret_text(cluster.INITIAL_SECRET, "password")

    def _awaited_ready(self, seen: cluster.ArgoCD) -> cluster.ArgoCD:
        """Raises NotReady."""
        ends = time.monotonic() + self._seconds
        workloads = self._wanted.installation.workloads
        while True:
            waiting = seen.missing(workloads) + seen.unready(workloads)
            if not waiting:
                return seen
            if time.monotonic() > ends:
                raise self._not_ready(waiting)
            self._session.commands.watch.check()
            time.sleep(_PAUSE_SECONDS)
            seen = self._observe()

    # --- what is told

    def _observe(self) -> cluster.ArgoCD:
        """Raises ForeignArgoCD."""
        seen = cluster.observe(self._kubectl, self._wanted.namespace)
        seen.require_ours(self._wanted.address)
        return seen

    def _note_objects(self) -> None:
        """Which of the installation are there, before and after."""
        wanted = self._wanted
        objects = [*wanted.installation.objects, *wanted.installation.oversized]
        there = self._kubectl.exist(dump_all(objects))
        names = {named(each): _resource_name(each) in there for each in objects}
        self.outcome.diff.append(
            {
                "before_header": "objects in the cluster",
                "after_header": "objects in the cluster",
                "before": "".join(f"{name}\n" for name in names if names[name]),
                "after": "".join(f"{name}\n" for name in names),
            }
        )

    def _failure(self, complaint: str) -> TalosError:
        """Why argocd-autopilot did not reach its end: pods that are not ready, git's errors, or its own words."""
        workloads = self._wanted.installation.workloads
        seen = self._observe()
        waiting = seen.unready(workloads)
        if "deadline exceeded" in complaint or (waiting and not complaint):
            return self._not_ready(waiting)
        known = error_of(complaint, self._wanted.address) if _OF_GIT.search(complaint) else None
        return known or AutopilotError(complaint or "argocd-autopilot ended without a result")

    def _not_ready(self, waiting: t.Sequence[str]) -> NotReady:
        reasons = cluster.complaints(self._kubectl, self._wanted.namespace)
        pods = f" ({'; '.join(reasons)})" if reasons else ""
        return NotReady(f"Argo CD is not ready after {self._seconds:.0f} s: {', '.join(waiting)}{pods}")


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
