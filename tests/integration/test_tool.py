# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role ``tool`` and its modules, as Ansible runs them: with a mirror on loopback, and a Python that has nothing."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from ansible_collections.homelab.talos.plugins.module_utils._tool_lock import Key, Lock, render
from ansible_collections.homelab.talos.plugins.module_utils._tool_table import MACHINES, parse_table
from tests.tool_mirror import Fault, Mirror, binary, mirror_of, publish, sha256

from .conftest import ROOT, Run, pythons

TABLE = parse_table(yaml.safe_load((ROOT / "roles/tool/files/tools.yml").read_text()), "tools.yml")
ARCH = MACHINES[platform.machine()]
# Versions that no publisher has: the lock of the collection knows the real ones.
OLD = {"talosctl": "1.14.97", "kubectl": "1.37.97", "argocd-autopilot": "0.97.0", "argocd": "3.97.0", "helm": "4.97.0"}
OLD["k9s"] = "0.97.0"
NEW = {name: version.replace("97", "98") for name, version in OLD.items()}
SIZE = 200_000


@dataclass
class Site:
    """A user's inventory, with a lock of made-up tools, and the host that gets them."""

    folder: Path
    mirror: Mirror
    python: str
    cluster: dict[str, str] = field(default_factory=lambda: {"talos": "1.14.98", "kubernetes": "1.37.98"})

    @property
    def inventory(self) -> Path:
        return self.folder / "inventory"

    @property
    def lock(self) -> Path:
        return self.inventory / "tools.lock.yml"

    @property
    def host(self) -> Path:
        return self.folder / "host"

    def write(self) -> None:
        self.inventory.mkdir(parents=True, exist_ok=True)
        hosts = {
            "admin": {"hosts": {"console": {"ansible_connection": "local", "ansible_python_interpreter": self.python}}},
            "talos": {
                "vars": {
                    "cluster_talos_version": self.cluster["talos"],
                    "cluster_kubernetes_version": self.cluster["kubernetes"],
                },
                "children": {"controlplanes": {"hosts": {"n-cp": None}}, "workers": {"hosts": {"n-w1": None}}},
            },
        }
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))
        self.lock.write_text(render(self.published()))
        self.play = self.folder / "play.yml"
        self.play.write_text(
            yaml.safe_dump(
                [{"hosts": "admin", "gather_facts": False, "tasks": [{"import_role": {"name": "homelab.talos.tool"}}]}]
            )
        )

    def published(self) -> Lock:
        """Old and new versions of all tools, at the mirror; their lock."""
        lock: Lock = {}
        for name, version in [*OLD.items(), *NEW.items()]:
            lock |= publish(self.mirror, TABLE[name], version, ARCH, binary(name, version, SIZE))
        return lock

    def url(self, name: str, version: str) -> str:
        return TABLE[name].url_for(version, ARCH)

    def variables(self, versions: dict[str, str] | None = None, **more: t.Any) -> dict[str, t.Any]:
        return {
            "tool_versions": versions or {},
            "tool_root": str(self.host / "tools"),
            "tool_link_dir": str(self.host / "bin"),
            "tool_share_dir": str(self.host / "share"),
            "tool_cache_dir": str(self.host / "cache"),
            "tool_mirror": self.mirror.url,
            "tool_retries": 0,
            **more,
        }

    def run(self, *words: str, versions: dict[str, str] | None = None, **more: t.Any) -> Run:
        return self.run_play(self.play, *words, **self.variables(versions, **more))

    def run_play(self, play: Path, *words: str, **variables: t.Any) -> Run:
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(self.inventory), str(play), *words]
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        environment |= {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            [*argv, "-e", json.dumps(variables)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=environment,
            timeout=120,
            check=False,
        )
        return Run(done.returncode, done.stdout)

    def says(self) -> dict[str, str]:
        """Each tool on the PATH, with the version that it says."""
        return {
            path.name: subprocess.run([path, "version"], capture_output=True, text=True, check=True).stdout.strip()
            for path in sorted((self.host / "bin").iterdir())
        }


def expected(versions: dict[str, str]) -> dict[str, str]:
    return {name: f"{name} {version}" for name, version in sorted(versions.items())}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with mirror_of() as mirror:
        site = Site(tmp_path, mirror, pythons()[0])
        site.write()
        yield site


@pytest.mark.slow
def test_from_nothing_to_all_tools_and_on(site: Site) -> None:
    # Check mode tells what would be done, asks nobody, and leaves nothing.
    run = site.run("--check", "--diff", versions=NEW).require_ok()
    assert run.changed == {"console": 1}
    for name, version in NEW.items():
        assert f"(item={name} {version})" in run.output
        assert f"+{name} {version}" in run.output
    assert site.mirror.log == []
    assert not site.host.exists()

    run = site.run(versions=OLD).require_ok()
    assert run.changed == {"console": 1}
    assert site.says() == expected(OLD)
    asked = len(site.mirror.log)
    assert asked == len(OLD)

    # Nothing to do: no download, no task for a tool, in check mode neither.
    for words in ((), ("--check",)):
        run = site.run(*words, versions=OLD).require_ok()
        assert run.changed == {}
        # The check of the role's arguments, and one look at all tools.
        assert run.recap["console"]["ok"] == 2
    assert len(site.mirror.log) == asked

    # talosctl and kubectl follow the cluster, whose variables are those of the nodes.
    others = {name: version for name, version in NEW.items() if name not in ("talosctl", "kubectl")}
    site.run(versions=others).require_ok()
    assert site.says() == expected(NEW)

    # Back, without asking anybody.
    asked = len(site.mirror.log)
    run = site.run(versions={**NEW, "helm": OLD["helm"]}).require_ok()
    assert site.says() == expected({**NEW, "helm": OLD["helm"]})
    assert len(site.mirror.log) == asked


def test_another_python_and_the_lock_is_no_inventory(site: Site) -> None:
    site.python = pythons()[-1]
    site.write()
    run = site.run(tool_names=["k9s"], versions=NEW).require_ok()
    assert site.says() == {"k9s": f"k9s {NEW['k9s']}"}
    assert "WARNING" not in run.output
    assert set(run.recap) == {"console"}


@pytest.mark.parametrize(
    ("cluster", "more", "said"),
    [
        (
            {},
            {"versions": {**NEW, "talosctl": "1.13.9"}},
            ["talosctl 1.13.9 does not fit the nodes' Talos 1.14.98", "tool_versions.talosctl"],
        ),
        ({"kubernetes": "1.34.0"}, {"versions": NEW}, ["kubectl 1.37.98 does not fit the cluster's Kubernetes 1.34.0"]),
        ({"talos": "1.13.1"}, {}, ["talosctl 1.13.1", "no checksum in the lock", "locked for", "make lock LOCK="]),
        (
            {"talos": "1.14.2", "kubernetes": "1.37.1"},
            {"tool_architecture": "arm64"},
            ["argocd-autopilot 0.4.20 for arm64 has no checksum", "make lock", "tool_names"],
        ),
        ({}, {"versions": {**NEW, "k9s": "9"}, "tool_names": ["k9s", "hlem"]}, ["k9s 9 for", "did you mean helm"]),
        ({}, {"tool_names": ["helm"], "tool_keep": "many"}, ["tool_keep"]),
    ],
    ids=["talosctl", "kubectl", "no checksum", "arm64", "all at once", "a wrong type"],
)
def test_what_does_not_fit_is_said_before_anything_is_installed(
    site: Site, cluster: dict[str, str], more: dict[str, t.Any], said: list[str]
) -> None:
    site.cluster.update(cluster)
    site.write()
    run = site.run(**more)
    assert run.rc != 0
    for text in said:
        assert text in " ".join(run.output.split())
    assert site.mirror.log == []
    assert not site.host.exists()


def test_a_lock_that_contradicts_the_collections(site: Site) -> None:
    site.lock.write_text(render({Key("helm", "4.3.0", ARCH): "f" * 64}))
    run = site.run(tool_names=["helm"])
    assert run.rc != 0
    assert f"helm 4.3.0 {ARCH} is" in " ".join(run.output.split())
    assert site.mirror.log == []


def test_a_broken_download_of_one_tool_leaves_it_and_not_the_others(site: Site) -> None:
    names = ["argocd", "kubectl", "helm", "k9s"]
    old, new = ({name: versions[name] for name in names} for versions in (OLD, NEW))
    site.run(tool_names=names, versions=old).require_ok()
    evil = binary("argocd", "6.6.6", SIZE)
    site.mirror.fail(site.url("argocd", NEW["argocd"]), Fault(body=evil))
    site.mirror.fail(site.url("helm", NEW["helm"]), Fault(cut=50_000))
    site.mirror.fail(site.url("k9s", NEW["k9s"]), Fault(status=503))
    run = site.run(tool_names=names, versions=new)
    assert run.rc != 0
    assert run.failed == {"console"}
    said = " ".join(run.output.split())
    locked = yaml.safe_load(site.lock.read_text())["argocd"][NEW["argocd"]][ARCH]
    assert f"has another content: expected sha256 {locked}, seen {sha256(evil)}" in said
    assert "50000 of" in said
    assert "answers 503" in said
    assert site.says() == expected({**old, "kubectl": new["kubectl"]})
    # The next run goes on from there.
    site.run(tool_names=names, versions=new).require_ok()
    assert site.says() == expected(new)
    assert site.mirror.asked(site.url("helm", NEW["helm"])) == ["", "bytes=50000-"]


@pytest.mark.slow
def test_a_mirror_that_is_gone(site: Site) -> None:
    site.run(tool_names=["helm"], versions=OLD).require_ok()
    with mirror_of() as gone:
        pass
    run = site.run(tool_names=["helm"], versions=NEW, tool_mirror=gone.url)
    assert run.rc != 0
    said = " ".join(run.output.split())
    assert f"{gone.url}/get.helm.sh/" in said
    assert "Connection refused" in said
    assert "tool_mirror" in said
    assert site.says() == expected({"helm": OLD["helm"]})


def test_a_file_of_others_is_said_before_anything_is_installed(site: Site) -> None:
    (site.host / "bin").mkdir(parents=True)
    path = site.host / "bin" / "helm"
    path.write_text("#!/bin/sh\necho mine\n")
    for words in ((), ("--check",)):
        run = site.run(*words, versions=NEW)
        assert run.rc != 0
        assert f"{path} is there already and is not a link of ours" in " ".join(run.output.split())
    assert path.read_text() == "#!/bin/sh\necho mine\n"
    assert site.mirror.log == []
    assert not (site.host / "tools").exists()


@pytest.mark.slow
def test_through_a_proxy_whose_password_is_not_shown(site: Site) -> None:
    proxy = f"http://me:Pa55-of-proxy@{site.mirror.address}"
    site.mirror.put("http://publisher.example/mine-2.0", binary("mine", "2.0"))
    row = {"url": "http://publisher.example/mine-{version}", "checksums": "{url}.sha256", "form": "bare"}
    lock = {Key("mine", "2.0", ARCH): sha256(binary("mine", "2.0"))}
    site.lock.write_text(render(lock))
    (site.inventory / "group_vars").mkdir()
    (site.inventory / "group_vars" / "admin.yml").write_text(yaml.safe_dump({"tool_proxy": proxy}))
    table = {"mine": {**row, "version": "2.0"}}
    run = site.run("-vvvv", tool_names=["mine"], tool_table=table, tool_mirror="").require_ok()
    assert site.says() == {"mine": "mine 2.0"}
    assert site.mirror.asked("http://publisher.example/mine-2.0") == [""]
    assert "Pa55-of-proxy" not in run.output


@pytest.mark.slow
def test_a_task_that_is_only_a_name(site: Site) -> None:
    """The module takes version, address and checksum from the table, the lock and the cluster."""
    place = {name: str(site.host / name) for name in ("root", "link_dir", "share_dir", "cache_dir")}
    task = {"name": "talosctl", **place, "mirror": site.mirror.url}
    play = site.folder / "one.yml"
    play.write_text(
        yaml.safe_dump([{"hosts": "admin", "gather_facts": False, "tasks": [{"homelab.talos.tool": task}]}])
    )
    site.run_play(play, "--check").require_ok()
    assert site.mirror.log == []
    run = site.run_play(play).require_ok()
    assert run.changed == {"console": 1}
    done = subprocess.run([site.host / "link_dir/talosctl"], capture_output=True, text=True, check=True)
    assert done.stdout == "talosctl 1.14.98\n"
    assert site.run_play(play).require_ok().changed == {}


def test_make_lock_writes_the_lock_of_an_inventory(site: Site) -> None:
    site.lock.unlink()
    for arch in ("amd64", "arm64"):
        site.mirror.put(TABLE["kubectl"].checksums_for("1.37.98", arch), b"a" * 64)
    words = f"--mirror {site.mirror.url} kubectl=1.37.98"
    # The environment is the one that runs this test.
    done = subprocess.run(
        ["make", "-o", "venv", "lock", f"VENV={Path(sys.executable).parents[1]}", f"LOCK={site.lock}", f"ARGS={words}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "added: kubectl 1.37.98 arm64" in done.stdout
    assert yaml.safe_load(site.lock.read_text()) == {"kubectl": {"1.37.98": {"amd64": "a" * 64, "arm64": "a" * 64}}}
