# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for argocd-autopilot against recordings of the real one, in a running rehearsal.

The recordings lie in ``argocd-autopilot/<version>``; without them only this test fails. Where the environment names a
real argocd-autopilot it is run as well, which shows that the rehearsal is real enough:
``REHEARSAL_ARGOCD_AUTOPILOT=/usr/local/bin/argocd-autopilot``.
"""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
import yaml

from tests.conformance.autopilot import APPLICATIONS, REAL, SECRET, Attempt, server
from tests.conformance.kubernetes import Kubectl, Rehearsed, rehearsed

_RECORDINGS = Path(__file__).with_name("argocd-autopilot") / "0.4.20"
_RECORDED_URL, _RECORDED_MISSING = "http://127.0.0.1:8931/org/gitops.git", "http://127.0.0.1:8931/org/nothere.git"
# git's progress, and warnings of the API server and of kubectl.
_NOISE = re.compile(r"(Total \d|Enumerating |Counting |Compressing |I\d{4} |Warning: )")


# What a real one has no switch for, or no argocd-server to log in to.
_STAND_IN = pytest.mark.parametrize("attempt", [""], indirect=True, ids=["stand-in"])


class Replay(Attempt):
    """Runs of the stand-in beside those that were recorded."""

    def replay(self, name: str) -> None:
        """Run what was recorded; exit code and words must be the same, but for what differs between the machines."""
        recording = _recording(name)
        words = [self._own(word) for word in recording["argv"][1:]]
        if "bootstrap" in words:
            words += ["-n", self.namespace]
        done = self.run(*words)
        assert done.returncode == recording["rc"], done.stderr
        assert self._lines(done.stderr) == self._lines(self._own(recording["stderr"]))
        assert self._results(done.stdout) == self._results(self._own(recording["stdout"]))

    def _own(self, text: str) -> str:
        """The recording's words with this attempt's names."""
        text = text.replace(_RECORDED_URL, self.url).replace(_RECORDED_MISSING, self.missing)
        text = text.replace('context: \\"c\\"', 'context: \\"admin@attic\\"').replace("/home/user", str(self.folder))
        text = text.replace('namespace: \\"argocd\\"', f'namespace: \\"{self.namespace}\\"')
        text = text.replace("from url: 127.0.0.1", f"from url: {self.url.split('/')[2].partition(':')[0]}")
        text = re.sub(r"^(namespace/|apps  )argocd\b", rf"\g<1>{self.namespace}", text, flags=re.MULTILINE)
        return {"20s": "2s", "30s": "60s"}.get(text, text)

    def _lines(self, text: str) -> list[str]:
        lines = [line for line in text.splitlines() if line and not _NOISE.match(line)]
        lines = [re.sub(r"auto-pilot\w+", "auto-pilot", line) for line in lines]
        return [re.sub(r"(argocd-server\]).*", r"\1", line) if line.startswith("{") else line for line in lines]

    def _results(self, text: str) -> list[str]:
        """What kubectl and the command say on standard output, without the objects of the installation."""
        lines = [re.sub(r" +", " ", line.strip()) for line in text.splitlines()]
        own = ("namespace/", "secret/argocd-repo-creds", "application.argoproj.io/", "NAME", "apps ")
        return [re.sub(r"(created|configured|unchanged)$", "applied", line) for line in lines if line.startswith(own)]


def _recording(name: str) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads((_RECORDINGS / f"{name}.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Rehearsed]:
    with rehearsed(tmp_path_factory.mktemp("autopilot")) as made:
        yield made


@pytest.fixture(params=["", *filter(None, [REAL])], ids=lambda path: "real" if path else "stand-in")
def attempt(rehearsal: Rehearsed, tmp_path: Path, request: pytest.FixtureRequest) -> t.Iterator[Replay]:
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    made = Replay(rehearsal, tmp_path, name, real=request.param)
    yield made
    kubectl = rehearsal.kubectl
    if "applications.argoproj.io" in kubectl("get", "crd", "-o", "name"):
        for application in kubectl("-n", name, "get", "applications.argoproj.io", "-o", "name").split():
            kubectl("-n", name, "patch", application, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    kubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=30s")
    rehearsal.command("fault", "--clear")


# --- as recorded


@pytest.mark.parametrize(
    "name", ["bootstrap-no-repo", "bootstrap-missing-app", "bootstrap-bad-token", "bootstrap-missing-repo"]
)
def test_refused_at_once(attempt: Replay, name: str) -> None:
    attempt.replay(name)
    assert attempt.commits() == ["First commit"]


def test_a_definition_that_is_too_long(attempt: Replay) -> None:
    attempt.replay("bootstrap-full-manifests")
    assert attempt.commits() == ["Validating repository write permission", "First commit"]
    assert attempt.kubectl("-n", attempt.namespace, "get", "deployment", "-o", "name")


def test_pods_that_never_become_ready(attempt: Replay) -> None:
    for node in ("berta", "cesar"):
        attempt.rehearsal.command("fault", node, "pods-never-ready")
    attempt.replay("bootstrap-not-ready")
    assert attempt.commits()[0] == "Validating repository write permission"


def _without_pods(attempt: Replay) -> None:
    """Ready as a Deployment is that wants no pods, so that the login finds none; the first password is there."""
    attempt.write_app("app-fixed", APPLICATIONS, server(0), SECRET)
    attempt.kubectl("create", "namespace", attempt.namespace)
    own = ("-n", attempt.namespace, "create", "secret", "generic", "argocd-initial-admin-secret")
    attempt.kubectl(*own, "--from-literal=password=sesame")


def test_login_without_a_pod(attempt: Replay) -> None:
    _without_pods(attempt)
    attempt.replay("bootstrap-ok-until-login")
    assert attempt.commits()[:2] == ["Autopilot Bootstrap", "Validating repository write permission"]


def test_bootstrap_again(attempt: Replay) -> None:
    attempt.bootstrapped()
    attempt.replay("bootstrap-again")


def test_recover(attempt: Replay) -> None:
    attempt.bootstrapped()
    before = attempt.commits()
    attempt.kubectl("delete", "-n", attempt.namespace, "deployment", "argocd-server")
    attempt.write_app("app-fixed", APPLICATIONS, server(0), SECRET)
    attempt.replay("recover-until-login")
    assert attempt.commits() == before


@pytest.mark.parametrize("name", ["recover-install-dir", "recover-install-file"])
def test_recover_from_the_repositorys_own_folder(attempt: Replay, name: str) -> None:
    folder = attempt.folder / "co" / "bootstrap" / "argo-cd"
    folder.mkdir(parents=True)
    (folder / "install.yaml").write_text(yaml.safe_dump(SECRET))
    attempt.replay(name)


def test_projects_and_the_repositorys_content(attempt: Replay) -> None:
    attempt.bootstrapped()
    for name in ("project-create", "project-create-again", "project-list"):
        attempt.replay(name)
    assert attempt.commits()[1] == "Added project 'apps'"
    recorded = _recording("repository-after-bootstrap-and-project")
    assert set(attempt.files()) == {name.replace("argocd-ns", f"{attempt.namespace}-ns") for name in recorded}
    for name, text in recorded.items():
        if not name.endswith(("README.md", "install.yaml")):
            own = attempt.files()[name.replace("argocd-ns", f"{attempt.namespace}-ns")]
            expected = list(yaml.safe_load_all(text.replace(_RECORDED_URL, attempt.url)))
            found = yaml.safe_load_all(own.replace(f" {attempt.namespace}\n", " argocd\n"))
            last = own.endswith(f" {attempt.namespace}")
            assert not last
            assert list(found) == expected, name


# --- what was not recorded, but is known


def test_the_token_lies_in_the_annotation(attempt: Replay) -> None:
    attempt.bootstrapped()
    own = ("-n", attempt.namespace, "get", "secret", "argocd-repo-creds", "-o", "json")
    secret = json.loads(attempt.kubectl(*own))
    assert attempt.token in secret["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    assert secret["metadata"]["labels"]["argocd.argoproj.io/secret-type"] == "repo-creds"


@_STAND_IN
def test_the_whole_of_it(attempt: Replay) -> None:
    done = attempt.bootstrap()
    assert done.returncode == 0, done.stderr
    password = re.search(r"argocd initialized\. password: (\S+)\"", done.stderr)
    kubectl: Kubectl = attempt.kubectl
    own = ("-n", attempt.namespace, "get", "secret", "argocd-initial-admin-secret", "-o")
    kept = kubectl(*own, "go-template={{.data.password | base64decode}}")
    assert password is not None
    assert password[1] == kept
    hidden = attempt.bootstrap("--recover", "--hide-password")
    assert hidden.returncode == 0
    assert kept not in hidden.stderr + hidden.stdout


def test_dry_run_touches_nothing(attempt: Replay) -> None:
    done = attempt.bootstrap("--dry-run")
    assert done.returncode == 0
    kinds = {document["kind"] for document in yaml.safe_load_all(done.stdout)}
    assert {"Namespace", "Secret", "Deployment", "Application"} <= kinds
    assert attempt.commits() == ["First commit"]
    assert attempt.kubectl("get", "namespace", attempt.namespace, "--ignore-not-found") == ""


def test_a_branch_and_a_folder(attempt: Replay) -> None:
    attempt.bootstrapped("--repo", f"{attempt.url}/gitops?ref=live", "-b")
    names = attempt.repository._git("ls-tree", "-r", "--name-only", "live").splitlines()
    assert "gitops/bootstrap/argo-cd/install.yaml" in names
    text = attempt.repository._git("show", "live:gitops/bootstrap/root.yaml")
    wanted = {"path": "gitops/projects", "repoURL": attempt.url, "targetRevision": "live"}
    assert yaml.safe_load(text)["spec"]["source"] == wanted
    missing = attempt.bootstrap("--repo", f"{attempt.url}?ref=nowhere")
    assert missing.stderr.endswith('level=fatal msg="reference not found"\n')


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("protected-branch", "command error on refs/heads/main: pre-receive hook declined"),
        ("read-only", r"authorization failed: This token may not write.\n"),
        ("token-revoked", "authentication required: "),
    ],
)
def test_pushes_that_are_refused(attempt: Replay, fault: str, said: str) -> None:
    attempt.rehearsal.command("fault", "git", fault)
    done = attempt.bootstrap()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(f'{said}"')
    assert attempt.kubectl("get", "namespace", attempt.namespace, "--ignore-not-found") == ""


# Each with the newest commit, and what is in the cluster.
@pytest.mark.slow
@_STAND_IN
@pytest.mark.parametrize(
    ("step", "commit", "is_installed", "has_application"),
    [
        (2, "First commit", False, False),
        (4, "Validating repository write permission", False, False),
        (5, "Validating repository write permission", True, False),
        (7, "Autopilot Bootstrap", True, False),
        (8, "Autopilot Bootstrap", True, True),
        (10, "Autopilot Bootstrap", True, True),
    ],
)
def test_dies_after_a_step(attempt: Replay, step: int, commit: str, is_installed: bool, has_application: bool) -> None:
    done = attempt.bootstrap(STANDIN_AUTOPILOT_DIES_AFTER=str(step))
    assert done.returncode == -9, done.stderr
    assert attempt.commits()[0] == commit
    own = ("-n", attempt.namespace, "get", "--ignore-not-found", "-o", "name")
    assert bool(attempt.kubectl(*own, "deployment", "argocd-server")) == is_installed
    if is_installed:
        found = attempt.kubectl(*own, "applications.argoproj.io", "autopilot-bootstrap")
        assert bool(found) == has_application


def test_version(attempt: Replay) -> None:
    assert attempt.run("version").stdout == "v0.4.20\n"


def test_recordings_are_there() -> None:
    assert len(list(_RECORDINGS.glob("*.json"))) == 15
