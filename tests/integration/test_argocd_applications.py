# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules ``argocd_project`` and ``argocd_application``, as Ansible runs them, with a Git server."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from ansible_collections.homelab.talos.plugins.module_utils._git import Address
from tests.git_server import LocalGit, local_git

from .conftest import ROOT
from .test_modules import CALLBACK

Result = dict[str, t.Any]
PASSWORD, HIDDEN = "sesame", "vaulted-swördfish"
ENFORCE = "pod-security.kubernetes.io/enforce"
CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "motd"}, "data": {"text": "Welcome."}}
PROJECT = {"argocd_project": {"name": "web", "namespaces": ["web"]}}
MOTD = {"name": "motd", "project": "web", "dest_namespace": "web", "manifests": [CONFIG_MAP]}
APPLICATION = {"argocd_application": {**MOTD, "namespace_labels": {ENFORCE: "restricted", "mine": True}}}
NO_APPLICATION = {"argocd_application": {"name": "motd", "project": "web", "state": "absent"}}
NO_PROJECT = {"argocd_project": {"name": "web", "state": "absent"}}


class Site:
    """An inventory that names a repository, and playbooks of these modules alone."""

    def __init__(self, folder: Path, git: LocalGit) -> None:
        self.folder, self.git = folder, git
        self.variables: dict[str, t.Any] = {"argocd_repo_url": git.url, "argocd_git_token": git.token}
        self.output = ""
        (folder / "callback").mkdir()
        (folder / "callback" / "notes.py").write_text(CALLBACK)
        (folder / "inventory").mkdir()
        (folder / "vault-password").write_text(PASSWORD)
        (folder / "home").mkdir()

    def run(self, *tasks: dict[str, t.Any], words: t.Sequence[str] = ()) -> list[Result]:
        """The tasks' results; a failed one ends nothing."""
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        hosts = {"talos": {"vars": {**local, **self.variables}, "hosts": {"n-cp": {}}}}
        inventory = self.folder / "inventory"
        (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))
        named = [
            {"name": str(index), "ignore_errors": True, f"homelab.talos.{module}": options}
            for index, task in enumerate(tasks)
            for module, options in task.items()
        ]
        playbook = self.folder / "play.yml"
        playbook.write_text(json.dumps([{"hosts": "n-cp", "gather_facts": False, "tasks": named}]))
        notes = self.folder / "notes"
        notes.write_text("")
        password = ["--vault-password-file", str(self.folder / "vault-password")]
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), *password]
        done = subprocess.run(
            [*command, str(playbook), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=self._environment(notes),
            timeout=280,
            check=False,
        )
        self.output = done.stdout
        results = [json.loads(line)[2] for line in notes.read_text().splitlines()]
        assert len(results) == len(tasks), done.stdout
        assert "Traceback" not in done.stdout
        return results

    def _environment(self, notes: Path) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return kept | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_CALLBACK_PLUGINS": str(self.folder / "callback"),
            "ANSIBLE_FORCE_COLOR": "0",
            # A module's options, too, in what -vvv shows.
            "ANSIBLE_INJECT_INVOCATION": "1",
            "HOME": str(self.folder / "home"),
            "LC_ALL": "C.UTF-8",
            "NOTES": str(notes),
        }

    def encrypted(self, text: str) -> str:
        return VaultLib([("default", VaultSecret(PASSWORD.encode()))]).encrypt(text.encode()).decode()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with local_git(tmp_path / "server") as git:
        git.bootstrap()
        yield Site(tmp_path, git)


def changed(results: list[Result]) -> list[bool]:
    return [bool(each["changed"]) for each in results]


def test_from_nothing_and_back(site: Site) -> None:
    """Twice each, with a look in check mode before, whose diff is what then happens."""
    before = site.git.files()
    (said,) = site.run(PROJECT, words=["--check", "--diff"])
    assert site.git.files() == before
    assert "+kind: AppProject" in site.output
    results = site.run(PROJECT, APPLICATION, PROJECT, APPLICATION)
    assert changed(results) == [True, True, False, False]
    assert (said["actions"], said["files"], said["diff"]) == tuple(
        results[0][key] for key in ("actions", "files", "diff")
    )
    assert results[0]["files"] == ["gitops/projects/web.yaml"]
    assert results[1]["commit"] == results[3]["commit"] == site.git.head()
    assert site.git.commits()[:2] == ["Application motd in project web", "Project web"]
    files = site.git.files()
    assert yaml.safe_load(files["gitops/apps/motd/base/manifests.yaml"]) == CONFIG_MAP
    namespace = yaml.safe_load(files["gitops/bootstrap/cluster-resources/in-cluster/web-ns.yaml"])
    assert namespace["metadata"]["labels"] == {ENFORCE: "restricted", "mine": "true"}

    (kept, *said) = site.run(NO_PROJECT, NO_APPLICATION, words=["--check", "--diff"])
    assert kept["failure"]["kind"] == "BadProject"
    assert "still has motd" in kept["msg"]
    assert "-  text: Welcome." in site.output.replace("    ", "  ")
    results = site.run(NO_APPLICATION, NO_PROJECT, NO_APPLICATION, NO_PROJECT)
    assert changed(results) == [True, True, False, False]
    assert said[0]["diff"] == results[0]["diff"]
    left = site.git.files().keys() - before.keys()
    assert left == {"gitops/bootstrap/cluster-resources/in-cluster/web-ns.yaml"}


def test_options_of_the_inventory_and_the_task(site: Site) -> None:
    site.git.bootstrap("live", branch="other", revision="other")
    site.variables |= {
        "argocd_repo_path": "live",
        "argocd_repo_branch": "other",
        "argocd_git_user": "somebody",
        "argocd_commit_name": "Robot",
        "argocd_commit_email": "robot@example.invalid",
    }
    results = site.run(
        PROJECT, {"argocd_project": {**PROJECT["argocd_project"], "repo_path": "gitops", "repo_branch": ""}}
    )
    assert changed(results) == [True, True]
    assert "live/projects/web.yaml" in site.git.files(branch="other")
    assert "gitops/projects/web.yaml" in site.git.files()
    author = site.git._git("homelab/gitops", "log", "-1", "--format=%an <%ae>", "other").strip()
    assert author == "Robot <robot@example.invalid>"


@pytest.mark.slow
def test_an_authority_of_ones_own(tmp_path: Path) -> None:
    with local_git(tmp_path / "server", tls=True) as git:
        git.bootstrap()
        site = Site(tmp_path, git)
        site.variables["argocd_repo_ca_file"] = git.ca_file
        done, failed = site.run(PROJECT, {"argocd_project": {**NO_PROJECT["argocd_project"], "repo_ca_file": ""}})
        assert done["changed"]
        assert failed["failure"]["kind"] == "GitCertificate"
        assert "argocd_repo_ca_file" in failed["failure"]["remedy"]


@pytest.mark.slow
def test_what_goes_wrong_with_the_server(site: Site) -> None:
    head = site.git.head()
    for fault, kind in (
        ("protected-branch", "NotAllowedToPush"),
        ("read-only", "NotAllowedToPush"),
        ("token-revoked", "WrongToken"),
        ("refused", "GitUnreachable"),
    ):
        site.git.fault(fault)
        (failed,) = site.run(PROJECT)
        assert failed["failed"], fault
        assert failed["failure"]["kind"] == kind
        assert failed["failure"]["remedy"]
        assert site.git.head() == head
        site.git.clear()
    site.git.fault("moves-on")
    (done,) = site.run(PROJECT)
    assert done["changed"]
    assert site.git.commits()[:2] == ["Project web", "Somebody was faster"]


def test_bad_input_is_told_before_the_server_is_asked(site: Site) -> None:
    site.git.fault("refused")
    secret = {**CONFIG_MAP, "kind": "Secret", "data": {"text": "s3cret-word"}}
    results = site.run(
        {"argocd_project": {"name": "Web", "namespaces": ["web"]}},
        {"argocd_project": {"name": "web"}},
        {"argocd_application": {**MOTD, "manifests": [secret]}},
        {"argocd_application": {**MOTD, "type": "directory"}},
        {"argocd_project": {**PROJECT["argocd_project"], "repo_url": "https://me:s3cret@git.lan/x"}},
        {"argocd_project": {**PROJECT["argocd_project"], "source_repos": ["https://s3cret@git.lan/x"]}},
        words=["-vvv"],
    )
    kinds = [each["failure"]["kind"] for each in results]
    assert kinds == ["BadProject", "BadProject", "BadApplication", "BadApplication", "BadAddress", "BadProject"]
    # The module, which logs its options, was not started.
    assert "s3cret-word" not in site.output
    assert "s3cret" not in results[5]["msg"]


def test_variables_that_are_missing(site: Site) -> None:
    site.variables = {"argocd_git_token": ""}
    no_url, no_token = site.run(PROJECT, {"argocd_project": {"name": "web", "repo_url": site.git.url}})
    assert "set argocd_repo_url" in no_url["msg"]
    assert "set argocd_git_token" in no_token["msg"]


@pytest.mark.parametrize("place", [pytest.param("inline", marks=pytest.mark.slow), "file"])
def test_what_the_inventory_keeps_encrypted_is_not_committed(site: Site, place: str) -> None:
    vars_folder = site.folder / "inventory" / "group_vars"
    vars_folder.mkdir()
    if place == "file":
        # A text of one line, and its end.
        (vars_folder / "talos.yml").write_text(site.encrypted(f"my_password: |\n  {HIDDEN}\n"))
    else:
        lines = "".join(f"  {line}\n" for line in site.encrypted(HIDDEN).splitlines())
        (vars_folder / "talos.yml").write_text(f"my_password: !vault |\n{lines}")
    site.run(PROJECT)
    forms = [
        "password={{ my_password | trim }}",
        "{{ my_password | trim | b64encode }}",
        "{{ my_password | b64encode }}",
        "{{ ('me:' ~ my_password) | b64encode }}",
        "{{ ('root:' ~ my_password ~ ':') | b64encode }}",
    ]
    manifests = [{**CONFIG_MAP, "data": {"text": form}} for form in forms]
    manifests.append({**CONFIG_MAP, "data": "{{ {my_password: ''} }}"})
    patch = {"target": {"kind": "ConfigMap"}, "patch": "data:\n  word: {{ my_password | b64encode }}\n"}
    results = site.run(
        *({"argocd_application": {**MOTD, "manifests": [each]}} for each in manifests),
        {"argocd_application": {**MOTD, "namespace_labels": {"word": "{{ my_password }}"}}},
        {"argocd_project": {**PROJECT["argocd_project"], "description": "Of {{ my_password }}."}},
        {"argocd_bootstrap": {"read_token": "invented", "patches": [patch]}},
    )
    begins = [each["msg"].partition(" ")[0] for each in results]
    assert begins == [*["manifests"] * 6, "namespace_labels", "description", "patches"]
    assert all("keeps encrypted" in each["msg"] for each in results)
    assert site.git.commits()[0] == "Project web"
    (done,) = site.run(APPLICATION)
    assert done["changed"]


def test_the_token_is_told_nowhere(site: Site) -> None:
    site.run(PROJECT, words=["-vvvv", "--diff"])
    output = site.output
    site.run(APPLICATION, NO_APPLICATION, words=["-vvvv", "--diff"])
    output += site.output
    site.git.fault("protected-branch")
    site.run(NO_PROJECT, words=["-vvvv", "--diff"])
    output += site.output
    site.variables["argocd_git_token"] = "guessed-and-wrong"
    (failed,) = site.run(NO_PROJECT, words=["-vvvv", "--diff"])
    output += site.output
    assert failed["failure"]["kind"] == "WrongToken"
    assert "+kind: AppProject" in output
    assert "git_token: VALUE_SPECIFIED_IN_NO_LOG_PARAMETER" in output
    assert site.git.token not in output
    assert "guessed-and-wrong" not in output
    assert site.git.token not in "".join(site.git.files().values())


def test_nothing_is_left_on_the_admin_host(site: Site) -> None:
    site.run(PROJECT, APPLICATION)
    key = f"repository {Address.parse(site.git.url, 'gitops')}"
    workspace = f"homelab-talos-{os.getuid()}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    assert not Path("/dev/shm", workspace).exists()
    assert not list((site.folder / "home").rglob("homelab*"))
