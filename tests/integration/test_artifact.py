# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The artifact of ``ansible-galaxy collection build``: what it holds; it works without the checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
COLLECTION = Path("ansible_collections/homelab/talos")
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("[!_]*.py"))

# What may lie at the top of the artifact: a new folder is added here or to build_ignore in galaxy.yml.
SHIPPED = {
    "CHANGELOG.md",
    "COPYING",
    "FILES.json",
    "MANIFEST.json",
    "README.md",
    "changelogs",
    "docs",
    "meta",
    "playbooks",
    "plugins",
    "requirements",
    "roles",
}


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command of the environment, without the settings that lead back to the checkout.

    The environment has the checkout on Python's path, where Ansible would find the collection as well.
    """
    env = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "PYTHONPATH"))}
    env |= {
        "HOME": str(cwd),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false",
        **environment,
    }
    done = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact, built from the checkout, with what a user may have left in it."""
    folder = tmp_path_factory.mktemp("artifact")
    run("ansible-galaxy", "collection", "build", "--output-path", folder, ROOT, cwd=folder)
    (path,) = folder.glob("homelab-talos-*.tar.gz")
    return path


@pytest.fixture(scope="module")
def members(artifact: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(artifact) as archive:
        return {os.path.normpath(member.name): member for member in archive}


@pytest.fixture(scope="module")
def installed(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of collections outside of the checkout with the artifact installed in it, offline."""
    folder = tmp_path_factory.mktemp("installed")
    assert not folder.is_relative_to(ROOT)
    run(
        "ansible-galaxy", "collection", "install", "--offline", "-p", folder, artifact,
        cwd=folder, ANSIBLE_COLLECTIONS_PATH=str(folder),
    )  # fmt: skip
    return folder


def test_holds_nothing_but_the_collection(members: dict[str, tarfile.TarInfo]) -> None:
    assert {name.split("/")[0] for name in members} - {"."} <= SHIPPED
    assert not [name for name in members if "/." in name or name.endswith((".pyc", ".tar.gz", ".vault.yml"))]
    assert not [name for name in members if name.startswith(("requirements/ansible", "requirements/dev"))]


def test_holds_no_links(members: dict[str, tarfile.TarInfo]) -> None:
    assert not [name for name, member in members.items() if member.issym() or member.islnk()]


def test_holds_what_it_needs(members: dict[str, tarfile.TarInfo]) -> None:
    needed = {"COPYING", "README.md", "meta/runtime.yml", "requirements/runtime.txt"}
    # All that is under version control in the folders of a collection.
    listed = subprocess.run(
        ["git", "ls-files", "-z", "plugins", "roles", "playbooks"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    needed |= {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}
    assert needed <= members.keys()


def test_metadata(installed: Path) -> None:
    manifest = json.loads((installed / COLLECTION / "MANIFEST.json").read_text())["collection_info"]
    assert (manifest["namespace"], manifest["name"]) == ("homelab", "talos")
    assert manifest["license"] == ["GPL-3.0-or-later"]
    assert manifest["readme"] == "README.md"
    assert not manifest["dependencies"]


@pytest.fixture(scope="module")
def documents(installed: Path) -> dict[str, dict[str, t.Any]]:
    """What ansible-doc knows of each module, by its full name."""
    names = [f"homelab.talos.{name}" for name in MODULES]
    shown = run(
        "ansible-doc", "--json", "--type", "module", *names,
        cwd=installed, ANSIBLE_COLLECTIONS_PATH=str(installed),
    )  # fmt: skip
    found: dict[str, dict[str, t.Any]] = json.loads(shown)
    assert sorted(found) == names
    return found


def test_modules_are_documented(installed: Path, documents: dict[str, dict[str, t.Any]]) -> None:
    for name, document in documents.items():
        assert Path(document["doc"]["filename"]).is_relative_to(installed), name
        assert document["doc"]["short_description"], name


def test_examples_use_the_module_with_options_that_it_has(documents: dict[str, dict[str, t.Any]]) -> None:
    for name, document in documents.items():
        used = list(_calls(yaml.safe_load(document["examples"])))
        assert name in {module for module, _given in used}, name
        for module, given in used:
            _require_known(given, documents[module]["doc"].get("options") or {}, f"{name}: {module}")


def _calls(example: t.Any) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    """Each of our modules in plays, tasks, blocks and defaults, with the options given."""
    if isinstance(example, list):
        for each in example:
            yield from _calls(each)
    elif isinstance(example, dict):
        for key, value in example.items():
            if key.startswith("homelab.talos."):
                yield key, value or {}
            elif key in ("tasks", "pre_tasks", "post_tasks", "block", "rescue", "always", "module_defaults"):
                yield from _calls(value)


def _require_known(given: t.Any, options: dict[str, t.Any], where: str) -> None:
    for each in given if isinstance(given, list) else [given]:
        if not isinstance(each, dict) or not options:
            assert options or not given, f"{where} takes no options"
            return
        assert set(each) <= set(options), where
        for option, value in each.items():
            inner = options[option].get("suboptions")
            if inner:
                _require_known(value, inner, f"{where}: {option}")


def test_defaults_of_the_action_group_fit_each_of_its_modules(
    installed: Path, documents: dict[str, dict[str, t.Any]]
) -> None:
    """Else Ansible refuses every task of a module that lacks an option, wherever the defaults name it."""
    runtime = yaml.safe_load((installed / COLLECTION / "meta/runtime.yml").read_text())
    members = {f"homelab.talos.{name}" for name in runtime["action_groups"]["talos"]}
    told = {name: document["doc"]["attributes"].get("action_group") for name, document in documents.items()}
    assert members == {name for name, attribute in told.items() if attribute}
    for name in members:
        named = re.findall(r"O\((\w+)\)", told[name]["description"])
        assert named
        assert set(named) <= set(documents[name]["doc"]["options"]), name


def test_a_playbook_runs_from_the_installed_collection(installed: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "inventory/homelab/group_vars", tmp_path / "group_vars")
    shutil.copy(ROOT / "inventory/homelab/hosts.yml", tmp_path)
    shown = run(
        "ansible-playbook", "homelab.talos.site", "-i", tmp_path / "hosts.yml",
        "--tags", "validate", "-e", "secrets_unneeded=true",
        cwd=tmp_path, ANSIBLE_COLLECTIONS_PATH=str(installed),
    )  # fmt: skip
    assert "TASK [Check the whole inventory]" in shown
    assert re.search(r"^talos-cp +: ok=1 ", shown, re.MULTILINE)
