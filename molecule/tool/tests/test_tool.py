# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tools in the folders of a user who may write nowhere else."""

from __future__ import annotations

import typing as t

import pytest
from testinfra.host import Host

from tests.integration.conftest import Run

testinfra_hosts = ["ansible://admin"]

HOME = "/home/vagrant"


def test_check_mode_has_nothing_to_tell(converge: t.Callable[..., Run], consoles: dict[str, Host]) -> None:
    run = converge("--check").require_ok()
    assert set(run.recap) == set(consoles)
    assert run.changed == {}


def test_one_version_of_each_tool(host: Host) -> None:
    versions: dict[str, str] = host.ansible.get_variables()["first_versions"]
    links = host.check_output(f"find {HOME}/.local/bin -mindepth 1 -printf '%f %l\\n'").splitlines()
    assert set(links) == {f"{name} {HOME}/tools/{name}/{version}/{name}" for name, version in versions.items()}
    folders = host.check_output(f"cd {HOME}/tools && find . -mindepth 2 -type d -printf '%P\\n'").splitlines()
    assert set(folders) == {f"{name}/{version}" for name, version in versions.items()}


@pytest.mark.parametrize(
    ("shell", "place"),
    [
        ("bash", "bash-completion/completions/helm"),
        ("zsh", "zsh/site-functions/_helm"),
        ("fish", "fish/vendor_completions.d/helm.fish"),
    ],
)
def test_completions(host: Host, shell: str, place: str) -> None:
    version = host.ansible.get_variables()["first_versions"]["helm"]
    assert host.file(f"{HOME}/.local/share/{place}").content_string == f"# {shell} completion of helm {version}\n"


def test_downloads_stay_as_a_mirror_has_them(host: Host) -> None:
    with host.sudo("vagrant"):
        found = host.check_output(f"cd {HOME}/.cache/tools && find . -type f").splitlines()
    assert len(found) == 12
    assert "./dl.k8s.io/release/v1.37.1/bin/linux/amd64/kubectl" in found


def test_nothing_elsewhere(host: Host) -> None:
    assert host.file("/usr/local/bin").listdir() == []
    assert not host.file("/opt/homelab-talos").exists
