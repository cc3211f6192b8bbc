# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``validate`` of the stand-in."""

from __future__ import annotations

import pytest

from .conftest import Standin


def _first(error: str) -> str:
    return f"1 error occurred:\n\t* v1alpha1.Config: 1 error occurred:\n\t* {error}\n\n\n\n\n"


def _other(error: str) -> str:
    return f"1 error occurred:\n\t* {error}\n\n\n"


@pytest.fixture
def old(standin: Standin) -> str:
    return standin.generate("worker", "--talos-version", "v1.13").stdout


@pytest.fixture
def new(standin: Standin) -> str:
    return standin.generate("worker").stdout


@pytest.mark.parametrize("mode", ["metal", "cloud", "container"])
@pytest.mark.parametrize("machine_type", ["controlplane", "worker"])
@pytest.mark.parametrize("contract", ["v1.13", "v1.14"])
def test_what_is_generated_is_valid(contract: str, machine_type: str, mode: str, standin: Standin) -> None:
    text = standin.generate(machine_type, "--talos-version", contract).stdout
    assert standin.validate(text, mode=mode) == (0, f"given.yaml is valid for {mode} mode\n", "")


@pytest.mark.parametrize(
    ("text", "instead", "error"),
    [
        ("type: worker", "type: almond", _first('unknown machine type "almond"')),
        (
            "certSANs: []",
            "certSANs: []\n    network: {hostname: almond}",
            _other("static hostname is already set in v1alpha1 config"),
        ),
        (
            "auto: stable",
            "auto: stable\nhostname: almond",
            _other("HostnameConfig: 'auto' and 'hostname' cannot be set at the same time"),
        ),
        ("persist: true", "persist: false", _first(".persist should be enabled")),
        (
            "https://10.61.0.10:6443",
            "10.61.0.10",
            _first("invalid controlplane endpoint: hostname must not be blank"),
        ),
        ("endpoint: https://10.61.0.10:6443", "{}", _first("cluster controlplane endpoint is required")),
        ("disk: /dev/sda", "", _first("either install disk or diskSelector should be defined")),
    ],
)
def test_mistakes_in_both_releases(text: str, instead: str, error: str, standin: Standin, old: str) -> None:
    assert text in old
    for version in ("v1.13.9", "v1.14.2"):
        assert standin.validate(old.replace(text, instead), version=version) == (1, "", error)


def test_install_instructions(standin: Standin, old: str) -> None:
    text = old.replace("    install:\n", "    install: null\n    udev:\n")
    text = "\n".join(line for line in text.splitlines() if "grubUse" not in line and "wipe:" not in line)
    text = text.replace("    udev:\n        disk: /dev/sda\n", "").replace(
        "        image: ghcr.io/sid", "        image: "
    )
    lines = [line for line in text.splitlines() if "installer" not in line]
    bare = "\n".join(lines)
    refused = standin.validate(bare, version="v1.13.9")
    assert refused.stderr == _first('install instructions are required in "metal" mode')
    assert standin.validate(bare, version="v1.13.9", mode="cloud").code == 0
    assert standin.validate(bare).code == 0


def test_unknown_keys(standin: Standin, old: str) -> None:
    refused = standin.validate("machine: {almond: [1]}\ncluster: {walnut: {a: b}}\n")
    assert refused.stderr == (
        "error decoding document /v1alpha1/ (line 1): unknown keys found during decoding:\n"
        "cluster:\n    walnut: {a: b}\nmachine:\n    almond: [1]\n\n"
    )


@pytest.mark.parametrize(
    ("text", "instead", "error"),
    [
        ("  endpoint: https://10.61.0.10:6443", "", "KubeClusterConfig: endpoint must be specified"),
        (
            "  match: disk.dev_path",
            "  # ",
            "UnattendedInstallConfig: provisioning.volumeSelector.match is required",
        ),
        (
            "machine:\n",
            "machine:\n    kubelet: {}\n",
            "kubelet config is already set in v1alpha1 config (.machine.kubelet)",
        ),
        (
            "kind: KubePrismConfig\nport: 7445",
            "kind: KubeProxyConfig",
            "the following document kinds are only allowed on control plane machines: [KubeProxyConfig]",
        ),
        (
            "nodeIP: {}",
            "nodeIP: {}\nlabels: {'a b': c}",
            'KubeNodeConfig: invalid node labels: 1 error occurred:\n\t* name "a b" is invalid\n\n',
        ),
    ],
)
def test_mistakes_in_documents(text: str, instead: str, error: str, standin: Standin, new: str) -> None:
    text = text.removeprefix("  ")
    assert text in new
    assert standin.validate(new.replace(text, instead)).stderr == _other(error)


def test_yaml_that_is_none(standin: Standin) -> None:
    older = standin.validate("machine: {\n", version="v1.13.9").stderr
    newer = standin.validate("machine: {\n").stderr
    assert older.startswith("decode error: yaml: while parsing a flow node")
    assert newer.startswith("decode error: go-yaml load error in parser (while parsing a flow node) at L")


def test_a_key_twice(standin: Standin, old: str) -> None:
    refused = standin.validate("debug: true\ndebug: false\n", version="v1.13.9")
    assert refused.stderr.endswith('construct errors:\n  line 2: mapping key "debug" already defined at line 1\n')


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "config not found"),
        ("almond", "expected a YAML document at line 1"),
        ("kind: HostnameConfig", "missing apiVersion"),
        ("apiVersion: v1alpha1\nkind: Almond", '"Almond" "v1alpha1": not registered'),
        ("apiVersion: v2\nkind: HostnameConfig", '"HostnameConfig" "v2": not registered'),
        ("machine: {token: {a: b}}", "line 1: cannot construct !!map into string"),
        ("persist: almond", "line 1: cannot construct !!str `almond` into bool"),
        ("machine: {certSANs: almond}", "line 1: cannot construct !!str `almond` into []string"),
    ],
)
def test_what_is_no_configuration(text: str, error: str, standin: Standin) -> None:
    refused = standin.validate(text)
    assert refused.code == 1
    assert refused.stderr.endswith(error + "\n")


def test_warnings_and_strictness(standin: Standin, old: str) -> None:
    text = old.replace("type: worker", "type: join")
    warning = 'use "worker" instead of "join" for machine type'
    assert standin.validate(text) == (0, "given.yaml is valid for metal mode\n", f"WARNING: {warning}\n")
    assert standin.validate(text, "--strict") == (1, "", _first(f"warning: {warning}"))
    both = standin.validate(text.replace("persist: true", "persist: false"), "--strict").stderr
    assert f"2 errors occurred:\n\t* .persist should be enabled\n\t* warning: {warning}\n" in both


def test_container_mode(standin: Standin, new: str) -> None:
    refused = standin.validate(new.replace("forwardKubeDNSToHost: true", ""), mode="container")
    assert refused.stderr == _other("forwardKubeDNSToHost must be enabled in container mode")


def test_modes(standin: Standin, new: str) -> None:
    assert standin.validate(new, mode="almond").stderr == 'unknown runtime mode: "almond"\n'
    assert standin("validate", "-c", "given.yaml").stderr == 'required flag(s) "mode" not set\n'
