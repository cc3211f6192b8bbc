# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Projects and applications in a repository: what is committed, what stays as it is, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ansible_collections.homelab.talos.plugins.module_utils import _argocd_applications as applications
from ansible_collections.homelab.talos.plugins.module_utils import _argocd_projects as projects
from ansible_collections.homelab.talos.plugins.module_utils._argocd_applications import Application, BadApplication
from ansible_collections.homelab.talos.plugins.module_utils._argocd_projects import (
    BadProject,
    Project,
    UnknownProject,
)
from ansible_collections.homelab.talos.plugins.module_utils._git import Address, Git, MovedOn, NotAllowedToPush
from ansible_collections.homelab.talos.plugins.module_utils._gitops import UnusableRepository
from ansible_collections.homelab.talos.plugins.module_utils._gitops_commit import (
    Committed,
    Content,
    Files,
    NotBootstrapped,
    UnknownCluster,
    converge,
    texts,
)
from rehearsal.standin.autopilot import manifests
from rehearsal.standin.autopilot.options import Source
from tests.git_server import LocalGit, bootstrapped, client_of, local_git

SERVER = "https://kubernetes.default.svc"
WEB = Project("web", ("web", "web-*"))
HELLO = Application("hello", "web", dest_namespace="web")
PAGE = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "page"}, "data": {"version": "1e3", "on": "off"}}
KUSTOMIZATION = "# mine\nresources: [deployment.yaml]\n"


class Bench:
    """A bootstrapped repository, and the product's client for it."""

    def __init__(self, git: LocalGit, client: Git) -> None:
        self.git, self.client = git, client
        self.address = Address.parse(git.url, "gitops")

    def converge(self, pending: t.Callable[[Content], Files], **more: t.Any) -> Committed:
        return converge(self.client, self.address, "By the test", pending, **more)

    def project(self, project: Project = WEB, **more: t.Any) -> Committed:
        project.require_valid()
        return self.converge(lambda content: projects.present(content, project), **more)

    def no_project(self, name: str = "web", **more: t.Any) -> Committed:
        return self.converge(lambda content: projects.absent(content, name), **more)

    def application(self, application: Application = HELLO, **more: t.Any) -> Committed:
        application.require_valid()
        return self.converge(lambda content: applications.present(content, application), **more)

    def no_application(self, application: Application = HELLO, **more: t.Any) -> Committed:
        return self.converge(lambda content: applications.absent(content, application), **more)

    def base(self, name: str = "hello") -> None:
        """One that somebody committed."""
        self.git.put(
            {
                f"gitops/apps/{name}/base/kustomization.yaml": KUSTOMIZATION,
                f"gitops/apps/{name}/base/deployment.yaml": "kind:   Deployment # mine\n",
            }
        )

    def text(self, name: str) -> str:
        return self.git.files()[f"gitops/{name}"]

    def documents(self, name: str) -> list[dict[str, t.Any]]:
        return list(yaml.safe_load_all(self.text(name)))

    def added(self, before: dict[str, str]) -> list[str]:
        return sorted(name.removeprefix("gitops/") for name in self.git.files().keys() - before.keys())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with local_git(tmp_path / "server") as git, client_of(git, tmp_path / "client") as client:
        git.bootstrap()
        yield Bench(git, client)


@pytest.fixture
def web(bench: Bench) -> Bench:
    """With a project, and the base of an application."""
    bench.project()
    bench.base()
    return bench


def replaced(application: Application = HELLO, **more: t.Any) -> Application:
    return Application(**{**vars(application), **more})


# --- projects


def test_a_project_as_autopilot_writes_it_but_narrow(bench: Bench) -> None:
    done = bench.project()
    assert done.files == ["gitops/projects/web.yaml"]
    assert done.commit == bench.git.head()
    own, application_set = bench.documents("projects/web.yaml")
    source = Source(bench.git.url, "", "gitops", "", "", "", "", False)
    theirs = yaml.safe_load(manifests.project("web", "argocd", SERVER))
    expected = yaml.safe_load(manifests.project_applications("web", "argocd", source, {}, {}))
    for each in (theirs, expected):
        del each["metadata"]["creationTimestamp"], each["status"]
    assert application_set == expected
    assert own["metadata"] == theirs["metadata"]
    assert own["spec"] == {
        "description": "web project",
        "sourceRepos": [bench.git.url],
        "destinations": [{"namespace": name, "server": SERVER} for name in ("web", "web-*")],
    }


def test_a_second_time_changes_nothing(bench: Bench) -> None:
    first = bench.project()
    again = bench.project()
    assert (again.actions, again.files, again.diff) == ([], [], [])
    assert again.commit == first.commit == bench.git.head()
    assert bench.git.commits()[:2] == ["By the test", "Autopilot Bootstrap"]


def test_all_that_a_project_may_have(bench: Bench) -> None:
    role = {"group": "rbac.authorization.k8s.io", "kind": "ClusterRole"}
    rich = Project(
        "web",
        ("web",),
        source_repos=("https://git.lan/other.git", bench.git.url),
        cluster_kinds=(role,),
        namespaced_kinds=({"group": "apps", "kind": "Deployment"},),
        description="Shown: to the house",
        labels=texts({"team": True}),
        annotations=texts({"note": "yes", "wave": 3}),
    )
    bench.project(rich)
    own, application_set = bench.documents("projects/web.yaml")
    assert own["spec"]["sourceRepos"] == [bench.git.url, "https://git.lan/other.git"]
    assert own["spec"]["clusterResourceWhitelist"] == [role]
    assert own["spec"]["namespaceResourceWhitelist"] == [{"group": "apps", "kind": "Deployment"}]
    assert own["spec"]["description"] == "Shown: to the house"
    metadata = application_set["spec"]["template"]["metadata"]
    assert metadata["labels"]["team"] == "true"
    assert metadata["annotations"] == {"note": "yes", "wave": "3"}
    assert not bench.project(rich).actions
    bench.project(Project("web", ("web",), labels={}))
    own, application_set = bench.documents("projects/web.yaml")
    # Argo CD would take an empty list of namespaced kinds for none at all.
    assert not {"clusterResourceWhitelist", "namespaceResourceWhitelist"} & own["spec"].keys()
    assert "team" not in application_set["spec"]["template"]["metadata"]["labels"]
    assert application_set["spec"]["template"]["metadata"]["annotations"] == {"note": "yes", "wave": "3"}


def test_a_project_of_autopilot_is_narrowed_and_the_users_fields_stay(bench: Bench) -> None:
    source = Source(bench.git.url, "", "gitops", "", "", "", "", False)
    theirs = yaml.safe_load(manifests.project("web", "argocd", SERVER))
    theirs["spec"]["syncWindows"] = [{"kind": "deny", "schedule": "10 1 * * *", "duration": "1h"}]
    more = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}, "data": {"since": "2026-01-01"}}
    text = manifests.joined(
        yaml.safe_dump(theirs),
        manifests.project_applications("web", "argocd", source, {}, {}),
        "kind: ConfigMap\napiVersion: v1\nmetadata: {name: mine}\ndata: {since: 2026-01-01}\n",
    )
    bench.git.put({"gitops/projects/web.yaml": text})
    done = bench.project()
    assert done.files == ["gitops/projects/web.yaml"]
    own, application_set, mine = bench.documents("projects/web.yaml")
    assert own["spec"]["syncWindows"] == theirs["spec"]["syncWindows"]
    assert own["spec"]["sourceRepos"] == [bench.git.url]
    assert "clusterResourceWhitelist" not in own["spec"]
    assert application_set["status"] == {}
    assert mine == more
    assert "-    - '*'" not in done.diff[0]["after"]
    assert not bench.project().actions


def test_what_argocd_autopilot_lists(bench: Bench) -> None:
    bench.project()
    repository = f"{bench.git.url}/gitops"
    listed = subprocess.run(
        [sys.executable, "-m", "rehearsal.standin.autopilot", "project", "list", "--repo", repository],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "GIT_TOKEN": bench.git.token},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert [line.split() for line in listed.stdout.splitlines()[1:]] == [["web", "argocd", SERVER]]
    # The real one reads two documents by their place, and parts them by this alone.
    parts = bench.text("projects/web.yaml").split("\n---\n")
    assert [yaml.safe_load(part)["kind"] for part in parts] == ["AppProject", "ApplicationSet"]


def test_a_project_is_removed(bench: Bench) -> None:
    before = bench.git.files()
    bench.project()
    done = bench.no_project()
    assert done.files == ["gitops/projects/web.yaml"]
    assert done.diff[0]["after"] == ""
    assert bench.git.files() == before
    assert not bench.no_project().actions


def test_a_project_with_applications_stays(web: Bench) -> None:
    web.application()
    web.application(
        Application("docs", "web", kind="directory", dest_namespace="web", source_path="gitops/apps/hello/base")
    )
    head = web.git.head()
    with pytest.raises(BadProject, match=r"still has docs, hello\. .*argocd_application"):
        web.no_project()
    assert web.git.head() == head


@pytest.mark.parametrize(
    ("project", "named"),
    [
        (Project("Web", ("web",)), "'Web'"),
        (Project("-web", ("web",)), "'-web'"),
        (Project("w" * 64, ("web",)), "63"),
        (Project("web\n", ("web",)), r"'web\\n'"),
        (Project("../web", ("web",)), r"'\.\./web'"),
        (Project("default", ("web",)), "default"),
        (Project("cluster-resources", ("web",)), "cluster-resources"),
        (Project("overlays", ("web",)), "overlays"),
        (Project("web", ()), "namespaces"),
        (Project("web", ("Web Space",)), "'Web Space'"),
        (Project("web", ("web",), source_repos=("https://git.lan/*", "https://me:s3cret@git.lan/a")), "source_repos"),
    ],
)
def test_bad_projects(project: Project, named: str) -> None:
    with pytest.raises(BadProject, match=named) as caught:
        project.require_valid()
    assert caught.value.remedy
    assert "s3cret" not in str(caught.value)


def test_projects_that_cannot_be_kept(bench: Bench) -> None:
    with pytest.raises(UnknownCluster, match=r"https://other:6443.*https://kubernetes\.default\.svc"):
        bench.project(Project("web", ("web",), dest_server="https://other:6443"))
    for text, why in (("a: [", "cannot be read"), ("kind: AppProject\n", "0 ApplicationSets")):
        bench.git.put({"gitops/projects/web.yaml": text})
        with pytest.raises(UnusableRepository, match=why) as caught:
            bench.project()
        assert "gitops/projects/web.yaml" in str(caught.value)


# --- the repository


def test_repositories_that_are_not_ready(tmp_path: Path) -> None:
    with local_git(tmp_path / "server") as git, client_of(git, tmp_path / "client") as client:
        bench = Bench(git, client)
        with pytest.raises(NotBootstrapped, match="argocd_bootstrap"):
            bench.project()
        with pytest.raises(NotBootstrapped):
            bench.no_application()
        git.bootstrap("live")
        with pytest.raises(NotBootstrapped):
            bench.project()
        files = bootstrapped(git.url)
        del files["gitops/bootstrap/root.yaml"]
        git.put(files)
        with pytest.raises(UnusableRepository, match=r"root\.yaml"):
            bench.project()
        git.put(bootstrapped("https://git.lan/other.git"))
        with pytest.raises(UnusableRepository, match=r"git\.lan"):
            bench.project()
        assert not [name for name in git.files() if "projects/web" in name]


@pytest.mark.parametrize(("path", "branch", "namespace"), [("", "", "argocd"), ("a/b", "live", "gitops")])
def test_other_places(tmp_path: Path, path: str, branch: str, namespace: str) -> None:
    with local_git(tmp_path / "server") as git, client_of(git, tmp_path / "client") as client:
        git.bootstrap(path, branch=branch or "main", namespace=namespace, revision=branch)
        bench = Bench(git, client)
        bench.address = Address.parse(git.url, path, branch)
        bench.project()
        bench.application(replaced(manifests=(PAGE,)))
        assert not bench.project().actions
        assert not bench.application(replaced(manifests=(PAGE,))).actions
        files = git.files(branch=branch or "main")
        own, application_set = yaml.safe_load_all(files[bench.address.below("projects/web.yaml")])
        assert own["metadata"]["namespace"] == application_set["metadata"]["namespace"] == namespace
        generator = application_set["spec"]["generators"][0]["git"]
        assert generator["files"] == [{"path": bench.address.below("apps/**/web/config.json")}]
        assert generator["revision"] == branch
        config = json.loads(files[bench.address.below("apps/hello/overlays/web/config.json")])
        assert config["srcPath"] == bench.address.below("apps/hello/overlays/web")
        assert config["srcTargetRevision"] == branch


def test_somebody_else_pushes_now_and_then(bench: Bench) -> None:
    bench.git.fault("moves-on", times="2")
    done = bench.project()
    assert bench.git.commits()[:4] == [
        "By the test",
        "Somebody was faster",
        "Somebody was faster",
        "Autopilot Bootstrap",
    ]
    assert done.commit == bench.git.head()
    assert len(done.actions) == len(done.diff) == 1


def test_somebody_else_pushes_all_the_time(bench: Bench) -> None:
    bench.git.fault("moves-on", times="3")
    with pytest.raises(MovedOn, match="Run again"):
        bench.project()
    bench.project()


def test_check_mode_says_what_would_happen(web: Bench) -> None:
    head = web.git.head()
    said = web.application(check=True)
    assert web.git.head() == said.commit == head
    done = web.application()
    assert (done.actions, done.files, done.diff) == (said.actions, said.files, said.diff)
    web.git.fault("read-only")
    with pytest.raises(NotAllowedToPush):
        web.no_application(check=True)
    assert not web.application(check=True).actions


# --- applications of kustomize


def test_an_application_with_a_base_of_the_users(web: Bench) -> None:
    before = web.git.files()
    done = web.application()
    overlay = "apps/hello/overlays/web"
    assert web.added(before) == [
        f"{overlay}/config.json",
        f"{overlay}/kustomization.yaml",
        "bootstrap/cluster-resources/in-cluster/web-ns.yaml",
    ]
    assert done.files == [f"gitops/{name}" for name in web.added(before)]
    assert before.items() <= web.git.files().items()
    assert json.loads(web.text(f"{overlay}/config.json")) == {
        "appName": "hello",
        "userGivenName": "hello",
        "destNamespace": "web",
        "destServer": SERVER,
        "srcPath": f"gitops/{overlay}",
        "srcRepoURL": web.git.url,
        "srcTargetRevision": "",
        "labels": None,
        "annotations": None,
    }
    (kustomization,) = web.documents(f"{overlay}/kustomization.yaml")
    assert (kustomization["namespace"], kustomization["resources"]) == ("web", ["../../base"])
    (namespace,) = web.documents("bootstrap/cluster-resources/in-cluster/web-ns.yaml")
    theirs = yaml.safe_load(manifests.namespace("web", {}))
    del theirs["metadata"]["creationTimestamp"], theirs["spec"], theirs["status"]
    assert namespace == theirs
    assert not web.application().actions


def test_manifests_are_kept_equal(bench: Bench) -> None:
    bench.project()
    inline = replaced(manifests=(PAGE,))
    bench.application(inline)
    (kustomization,) = bench.documents("apps/hello/base/kustomization.yaml")
    assert kustomization["resources"] == ["manifests.yaml"]
    assert bench.documents("apps/hello/base/manifests.yaml") == [PAGE]
    # YAML 1.2, which Argo CD reads, would make a number of it.
    assert '"1e3"' in bench.text("apps/hello/base/manifests.yaml")
    assert not bench.application(inline).actions
    changed = replaced(manifests=({**PAGE, "data": {"version": "2"}},))
    done = bench.application(changed)
    assert done.files == ["gitops/apps/hello/base/manifests.yaml"]
    assert done.diff[0]["before"] != done.diff[0]["after"] == bench.text("apps/hello/base/manifests.yaml")
    # Without them, what is in the base is the user's.
    assert not bench.application(HELLO).actions


def test_a_base_is_begun_of_resources(bench: Bench) -> None:
    bench.project()
    url = "https://github.com/me/other//deploy?ref=v1.2.3"
    bench.git.put({"gitops/apps/hello/base/deployment.yaml": "kind: Deployment\n"})
    bench.application(replaced(resources=("deployment.yaml", url), manifests=(PAGE,)))
    (kustomization,) = bench.documents("apps/hello/base/kustomization.yaml")
    assert kustomization["resources"] == ["manifests.yaml", "deployment.yaml", url]
    assert not bench.application(replaced(resources=("other.yaml",))).actions


def test_what_the_user_has_in_an_overlay_stays(web: Bench) -> None:
    web.application()
    name = "apps/hello/overlays/web/kustomization.yaml"
    own = "# mine\nnamespace: elsewhere # by hand\nresources: [../../base]\nimages: [{name: a, newTag: 1.2.3}]\n"
    web.git.put({f"gitops/{name}": own})
    done = web.application()
    assert done.files == [f"gitops/{name}"]
    assert web.text(name) == own.replace("namespace: elsewhere # by hand", "namespace: web")
    web.git.put({f"gitops/{name}": "resources: [../../base]"})
    web.application()
    assert web.text(name) == "resources: [../../base]\nnamespace: web\n"
    config = "apps/hello/overlays/web/config.json"
    labels = {**json.loads(web.text(config)), "labels": {"a": "b"}}
    web.git.put({f"gitops/{config}": json.dumps(labels)})
    assert not web.application().actions


@pytest.mark.parametrize("name", ["kustomization.yml", "Kustomization"])
def test_other_names_of_a_kustomization(bench: Bench, name: str) -> None:
    bench.project()
    bench.git.put(
        {
            f"gitops/apps/hello/base/{name}": KUSTOMIZATION,
            f"gitops/apps/hello/overlays/web/{name}": "namespace: web\nresources: [../../base]\n",
        }
    )
    before = bench.git.files()
    bench.application()
    assert "apps/hello/overlays/web/config.json" in bench.added(before)
    assert not [added for added in bench.added(before) if "kustomization" in added.lower()]


def test_the_namespace_keeps_its_labels(web: Bench) -> None:
    name = "bootstrap/cluster-resources/in-cluster/web-ns.yaml"
    enforce = "pod-security.kubernetes.io/enforce"
    web.application(replaced(namespace_labels={enforce: "restricted"}))
    web.git.put({f"gitops/{name}": f"{web.text(name)}# mine\n"})
    assert not web.application().actions
    (namespace,) = web.documents(name)
    namespace["metadata"]["labels"]["mine"] = "too"
    namespace["metadata"]["annotations"] = {"mine": "as well"}
    web.git.put({f"gitops/{name}": yaml.safe_dump(namespace)})
    done = web.application(replaced(namespace_labels={enforce: "privileged"}))
    assert done.files == [f"gitops/{name}"]
    namespace["metadata"]["labels"][enforce] = "privileged"
    assert web.documents(name) == [namespace]


def test_the_default_namespace_is_nobodys(web: Bench) -> None:
    web.project(Project("web", ("default",)))
    before = web.git.files()
    web.application(replaced(dest_namespace="default"))
    assert [name for name in web.added(before) if name.startswith("bootstrap")] == []
    assert "namespace" not in web.documents("apps/hello/overlays/web/kustomization.yaml")[0]


def test_another_cluster(web: Bench) -> None:
    other = {"name": "other", "server": "https://other:6443"}
    web.git.put({"gitops/bootstrap/cluster-resources/other.json": json.dumps(other)})
    web.project(Project("web", ("web",), dest_server="https://other:6443"))
    before = web.git.files()
    web.application()
    assert "bootstrap/cluster-resources/other/web-ns.yaml" in web.added(before)
    config = json.loads(web.text("apps/hello/overlays/web/config.json"))
    assert config["destServer"] == "https://other:6443"


# --- applications of folders


def test_a_folder_of_this_repository(web: Bench) -> None:
    web.git.put({"deploy/web/page.yaml": "kind: ConfigMap\n"})
    folder = Application("page", "web", kind="directory", dest_namespace="web", source_path="/deploy/./web/")
    before = web.git.files()
    web.application(folder)
    assert web.added(before)[0] == "apps/page/web/config_dir.json"
    config = json.loads(web.text("apps/page/web/config_dir.json"))
    assert (config["srcPath"], config["srcRepoURL"]) == ("deploy/web", web.git.url)
    # The ApplicationSet's template names both.
    assert (config["include"], config["exclude"]) == ("", "")
    assert not web.application(folder).actions


def test_a_folder_of_another_repository(web: Bench) -> None:
    url = "https://git.lan/other.git"
    folder = Application(
        "page",
        "web",
        kind="directory",
        dest_namespace="web",
        source_url=url,
        source_path="deploy",
        source_revision="v1.2.3",
        include="*.yaml",
    )
    with pytest.raises(BadApplication, match="source_repos"):
        web.application(folder)
    web.project(Project("web", ("web",), source_repos=("https://git.lan/*",)))
    web.application(folder)
    config = json.loads(web.text("apps/page/web/config_dir.json"))
    assert (config["srcRepoURL"], config["srcTargetRevision"], config["include"]) == (url, "v1.2.3", "*.yaml")


# --- absent


def test_an_application_is_removed_with_its_base(web: Bench) -> None:
    web.application()
    done = web.no_application()
    assert not [name for name in web.git.files() if "apps/hello" in name]
    assert "gitops/bootstrap/cluster-resources/in-cluster/web-ns.yaml" in web.git.files()
    assert {each["after"] for each in done.diff} == {""}
    assert not web.no_application().actions


def test_an_application_of_two_projects_leaves_one(web: Bench) -> None:
    web.project(Project("lab", ("web",)))
    other = replaced(project="lab")
    web.application()
    web.application(other)
    web.no_application()
    left = {name.removeprefix("gitops/apps/hello/") for name in web.git.files() if "apps/hello" in name}
    assert left == {
        "base/deployment.yaml",
        "base/kustomization.yaml",
        "overlays/lab/config.json",
        "overlays/lab/kustomization.yaml",
    }
    assert not web.application(other).actions


def test_a_folder_in_the_project_base_leaves_the_base(web: Bench) -> None:
    web.project(Project("base", ("web",)))
    folder = replaced(project="base", kind="directory", source_path="gitops/bootstrap")
    web.application()
    before = web.git.files()
    web.application(folder)
    web.no_application(folder)
    assert web.git.files() == before


def test_a_base_without_this_project_stays(web: Bench) -> None:
    """Nothing of it was ever in this project."""
    assert not web.no_application().actions
    assert not web.no_application(replaced(project="nobody")).actions


# --- what is refused


@pytest.mark.parametrize(
    ("application", "named"),
    [
        (replaced(name="Hello"), "'Hello'"),
        (replaced(name="a.b"), r"'a\.b'"),
        (replaced(project="default"), "default"),
        (replaced(dest_namespace="Web"), "dest_namespace"),
        (replaced(source_path="deploy"), "source_path"),
        (replaced(include="*"), "include"),
        (replaced(kind="directory"), "source_path"),
        (replaced(kind="directory", source_path="./"), "source_path"),
        (replaced(kind="directory", source_path="a/../../b"), "source_path"),
        (replaced(kind="directory", source_path="a", resources=("b",)), "resources"),
        (replaced(manifests=({"kind": "ConfigMap"},)), "apiVersion"),
        (replaced(manifests=({**PAGE, "metadata": None},)), "apiVersion"),
        (replaced(manifests=({**PAGE, "kind": "Secret"},)), "Sealed Secrets"),
        (replaced(manifests=({"kind": "List", "items": [{**PAGE, "kind": "Secret"}]},)), "Sealed Secrets"),
        # Without a name, it is not shown as one that lacks it.
        (replaced(manifests=({"kind": "Secret", "data": {"word": "s3cret"}},)), "Sealed Secrets"),
        (replaced(manifests=({"kind": "SecretList", "items": [{"data": {"word": "s3cret"}}]},)), "Sealed Secrets"),
        (replaced(kind="directory", source_path="a", source_url="https://s3cret@git.lan/a"), "source_url"),
        (replaced(resources=("page.yaml", "git::https://me:s3cret@git.lan/a//base")), "resources"),
        (replaced(resources=("me:s3cret@git.lan/a",)), "resources"),
    ],
)
def test_bad_applications(application: Application, named: str) -> None:
    with pytest.raises((BadApplication, BadProject), match=named) as caught:
        application.require_valid()
    assert caught.value.remedy
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "git@github.com:me/a.git",
        "ssh://git@git.lan:22/me/a.git",
        "https://git.lan:8443/me/a@b.git?ref=v1@2",
        "github.com/me/a//base?ref=v1",
    ],
)
def test_addresses_without_a_token(url: str) -> None:
    replaced(resources=(url,)).require_valid()


@pytest.mark.parametrize(
    ("application", "named"),
    [
        (replaced(dest_namespace="other"), r"does not allow other .*web-\*.*namespaces"),
        (replaced(dest_server="https://other:6443"), "does not allow web at https://other:6443"),
        (replaced(name="nothing"), "has no base"),
        (replaced(name="nothing", resources=("deployment.yaml",)), r"deployment\.yaml"),
        (replaced(name="nothing", resources=("../../../../../etc",)), r"\.\./etc"),
        (replaced(manifests=(PAGE,)), "does not name"),
        (replaced(kind="directory", source_path="nowhere"), "no folder nowhere"),
        (replaced(kind="directory", source_path="gitops/apps/hello"), "config_dir"),
    ],
)
def test_applications_that_do_not_fit_the_repository(web: Bench, application: Application, named: str) -> None:
    head = web.git.head()
    with pytest.raises(BadApplication, match=named) as caught:
        web.application(application)
    assert caught.value.remedy
    assert web.git.head() == head


def test_an_unknown_project(web: Bench) -> None:
    with pytest.raises(UnknownProject, match="no project lab, but web"):
        web.application(replaced(project="lab"))


def test_one_application_of_two_forms(web: Bench) -> None:
    web.application()
    folder = replaced(kind="directory", source_path="gitops/bootstrap")
    with pytest.raises(BadApplication, match="is there as kustomize"):
        web.application(folder)
    web.no_application()
    web.application(folder)
    web.base()
    with pytest.raises(BadApplication, match="is there as directory"):
        web.application()


def test_two_applications_of_one_name(web: Bench) -> None:
    """Argo CD joins project and application by a hyphen."""
    web.project(Project("web-shop", ("web",)))
    web.application(replaced(name="shop-cart", manifests=(PAGE,)))
    with pytest.raises(BadApplication, match="web-shop-cart in Argo CD, as is shop-cart of project web"):
        web.application(replaced(project="web-shop", name="cart", manifests=(PAGE,)))


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_config_that_cannot_be_read(web: Bench, text: str) -> None:
    web.git.put({"gitops/apps/hello/overlays/web/config.json": text})
    with pytest.raises(UnusableRepository, match=r"gitops/apps/hello/overlays/web/config\.json"):
        web.application()
