# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for talosctl against recordings of the real one, and against a real one where there is one.

The recordings lie in ``talosctl/<version>``; without them only this test fails. A real talosctl is compared where
REHEARSAL_TALOSCTL names one or several (separated by colons), or one is on the PATH.
"""

from __future__ import annotations

import base64
import itertools
import json
import pathlib
import re
import subprocess
import typing as t

import pytest
import yaml

from rehearsal.standin.talosctl import main
from tests.real_talosctl import each_real_talosctl

_RECORDINGS = pathlib.Path(__file__).with_name("talosctl")
_NAMES = sorted(str(path.relative_to(_RECORDINGS)) for path in _RECORDINGS.glob("*/*.json"))
Play = t.Callable[[str, list[str]], tuple[int, str, str]]


def _recording(name: str) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads((_RECORDINGS / name).read_text(encoding="utf-8")))


def _documents(text: str) -> list[t.Any]:
    return list(yaml.load_all(text, yaml.CSafeLoader))


@pytest.fixture
def play(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Play:
    """Run the stand-in in an empty directory as one version."""

    def run(version: str, arguments: list[str]) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("STANDIN_TALOSCTL_VERSION", version)
        capsys.readouterr()
        code = main(arguments)
        return code, *capsys.readouterr()

    return run


def _bundle_of(worker: str) -> str:
    """A bundle with what a recorded worker shows; what it does not show is invented."""
    first, *others = _documents(worker)
    identity: dict[str, str] = next((each for each in others if each["kind"] == "DiscoveryIdentityConfig"), {})
    cas = [pem for each in others for pem in each.get("acceptedCAs", [])]
    kubernetes = first["cluster"]["ca"]["crt"] if not cas else base64.b64encode(cas[0].encode()).decode()
    invented = base64.b64encode(b"-----BEGIN INVENTED KEY-----\n").decode()
    pair = {"crt": invented, "key": invented}
    bundle = {
        "cluster": {
            "id": identity.get("clusterID") or first["cluster"]["id"],
            "secret": identity.get("clusterSecret") or first["cluster"]["secret"],
        },
        "secrets": {"bootstraptoken": first["cluster"]["token"], "secretboxencryptionsecret": invented},
        "trustdinfo": {"token": first["machine"]["token"]},
        "certs": {
            "etcd": pair,
            "k8s": {"crt": kubernetes, "key": invented},
            "k8saggregator": pair,
            "k8sserviceaccount": {"key": invented},
            "os": {"crt": first["machine"]["ca"]["crt"], "key": _TALOS_CA_KEY},
        },
    }
    return yaml.safe_dump(bundle)


# Of nobody: the recordings show no key, and a talosconfig needs one to be signed.
_TALOS_CA_KEY = base64.b64encode(
    b"-----BEGIN ED25519 PRIVATE KEY-----\n"
    + base64.b64encode(bytes.fromhex("302e020100300506032b657004220420") + bytes(range(32)))
    + b"\n-----END ED25519 PRIVATE KEY-----\n"
).decode()


def _lay_out(directory: pathlib.Path, version: str, name: str) -> None:
    """The files that a recorded command found."""
    worker = _recording(f"{version}/gen-config-worker-stdout.json")["stdout"]
    files = {
        "secrets.yaml": _bundle_of(worker),
        "w1.yaml": worker,
        "bad.yaml": worker.replace("type: worker", "type: workr"),
        "bad2.yaml": worker.replace("    token:", "    tokn:"),
        "host.yaml": 'apiVersion: v1alpha1\nkind: HostnameConfig\nauto: "off"\nhostname: cp\n',
        "mirror.yaml": "apiVersion: v1alpha1\nkind: RegistryMirrorConfig\nname: ghcr.io\nendpoints: []\n",
    }
    if name == "gen-config-worker-exists":
        files["worker.yaml"] = ""
    if name == "validate-ok" and version != "1.13.9":
        files["controlplane.yaml"] = worker
    for path, text in files.items():
        (directory / path).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("path", _NAMES)
def test_as_recorded(path: str, play: Play, tmp_path: pathlib.Path) -> None:
    version, _, name = path.removesuffix(".json").partition("/")
    recording = _recording(path)
    _lay_out(tmp_path, version, name)
    code, stdout, stderr = play(version, recording["argv"][1:])
    assert (code, stderr) == (recording["rc"], recording["stderr"])
    assert _documents(stdout) == _documents(recording["stdout"])


def test_recordings_are_there() -> None:
    assert {name.partition("/")[0] for name in _NAMES} == {"1.13.9", "1.14.0-rc.1"}


# --- against a real talosctl

_HOSTNAME = "apiVersion: v1alpha1\nkind: HostnameConfig\n"
_PATCHES = {
    "hostname": _HOSTNAME + 'auto: "off"\nhostname: plum-7\n',
    "hostname-anew": _HOSTNAME + "$patch: delete\n---\n" + _HOSTNAME + "hostname: 123\n",
    "mirrors": """\
apiVersion: v1alpha1
kind: RegistryMirrorConfig
name: docker.io
endpoints: [{url: "https://mirror.plum.example:5000", overridePath: true}]
---
apiVersion: v1alpha1
kind: RegistryMirrorConfig
name: ghcr.io
endpoints: []
""",
    "links": """\
apiVersion: v1alpha1
kind: LinkConfig
name: end0
addresses: [{address: 10.44.0.9/24}]
routes: [{gateway: 10.44.0.1}]
---
apiVersion: v1alpha1
kind: VLANConfig
name: end0.7
vlanID: 7
parent: end0
---
apiVersion: v1alpha1
kind: ResolverConfig
nameservers: [{address: 10.44.0.1}]
---
apiVersion: v1alpha1
kind: TimeSyncConfig
bootTimeout: 90m
ntp: {servers: [time.plum.example]}
""",
    "machine": """\
machine:
  certSANs: [plum.example, 10.44.0.2]
  sysctls: {a: 1, b: "0", c: true, d: 1.50}
  nodeLabels: {zone: a, rack: 5}
  files: [{content: x, permissions: 0600, path: /var/x, op: create}]
""",
    "interfaces": """\
machine:
  network:
    interfaces:
      - interface: eth0
        dhcp: yes
        addresses: [10.44.0.5/24]
        vlans: [{vlanId: 7, dhcp: false}]
""",
    "interfaces-again": """\
machine:
  network:
    interfaces:
      - interface: eth0
        mtu: 1400
        addresses: [10.44.0.6/24]
        vlans: [{vlanId: 7, mtu: 1300}, {vlanId: 8}]
""",
    "interfaces-gone": "machine: {network: {interfaces: [{interface: eth0, $patch: delete}]}}\n",
    "subnets": """\
cluster:
  network: {podSubnets: [10.50.0.0/16], serviceSubnets: [10.51.0.0/16], cni: {name: none}}
  apiServer:
    auditPolicy: {apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None}]}
    admissionControl: [{name: PodSecurity, configuration: {exemptions: {namespaces: [plum]}}}]
""",
    "features-gone": "machine:\n  features:\n    $patch: delete\n",
    "absent-gone": "apiVersion: v1alpha1\nkind: TimeSyncConfig\n$patch: delete\n",
    "absent-key-gone": "machine:\n  plum:\n    $patch: delete\n",
    "kubernetes-documents": """\
apiVersion: v1alpha1
kind: KubeNetworkConfig
podSubnets: [10.50.0.0/16]
serviceSubnets: [10.51.0.0/16]
---
apiVersion: v1alpha1
kind: KubePrismConfig
$patch: delete
---
apiVersion: v1alpha1
kind: KubeAdmissionControlConfig
name: PodSecurity
configuration: {exemptions: {namespaces: [plum]}}
---
apiVersion: v1alpha1
kind: UnattendedInstallConfig
provisioning: {diskSelector: {match: 'disk.transport == "nvme"'}}
""",
    "extension": """\
apiVersion: v1alpha1
kind: ExtensionServiceConfig
name: plum
configFiles: [{content: a, mountPath: /etc/a}]
environment: [A=b]
""",
    "extension-again": """\
apiVersion: v1alpha1
kind: ExtensionServiceConfig
name: plum
configFiles: [{content: b, mountPath: /etc/a}, {content: c, mountPath: /etc/c}]
""",
    "unknown-key": "machine: {kubelet: {nodeIP: {validSubnet: [10.44.0.0/24]}}}\n",
    "unknown-kind": "apiVersion: v1alpha1\nkind: LinkConfg\nname: end0\n",
    "unknown-document-key": "apiVersion: v1alpha1\nkind: LinkConfig\nname: end0\naddress: 10.44.0.9\n",
    "json-patch": "- {op: add, path: /machine/token, value: x}\n",
    "no-yaml": "machine:\n - a\n  b: c\n",
    "comment": "# nothing\n",
}
_SERIES = [
    [],
    *[[name] for name in _PATCHES],
    ["interfaces", "interfaces-again"],
    ["interfaces", "interfaces-again", "interfaces-gone"],
    ["extension", "extension-again"],
    ["hostname", "mirrors", "links", "machine"],
    ["machine", "machine"],
]
_TYPES = ("controlplane", "worker")
_CONTRACTS = ("v1.12", "v1.13", "v1.14")
# What is wrong: a pattern in a generated configuration and what stands there instead.
_MISTAKES = {
    "nothing": ("^", ""),
    "unknown keys": ("(?m)^    (token|certSANs):", r"    x\1:"),
    "unknown machine type": ("type: (worker|controlplane)", "type: plum"),
    "old machine type": ("type: worker", "type: join"),
    "two hostnames": ("    certSANs: \\[\\]", "    certSANs: []\n    network: {hostname: plum}"),
    "auto and hostname": ("auto: stable", "auto: stable\nhostname: plum"),
    "neither auto nor hostname": ("auto: stable", ""),
    "unknown auto": ("auto: stable", "auto: plum"),
    "no CA": (r"    ca:\n        crt: .*\n        key: .*\n", ""),
    "endpoint without scheme": ("https://10.44.0.10:6443", "10.44.0.10:6443"),
    "endpoint without host": ("https://10.44.0.10:6443", "plum"),
    "endpoint with wrong port": ("10.44.0.10:6443", "10.44.0.10:99999"),
    "no endpoint": (r"(    controlPlane:\n)?( *)endpoint: https://10.44.0.10:6443\n", ""),
    "no install": (r"    install:\n(        .*\n)+", ""),
    "no disk": (r"        disk: .*\n|    diskSelector:\n        match: .*\n", ""),
    "open bracket": ("machine:", "machine: {"),
    "wrong indent": ("(?m)^    token:", "   token:"),
    "tab": ("(?m)^    token:", "\ttoken:"),
    "twice the key": ("debug: false", "debug: false\ndebug: true"),
    "twice the document": (r"\Z", "---\napiVersion: v1alpha1\nkind: HostnameConfig\nauto: stable\n"),
    "no apiVersion": (r"\Z", "---\nkind: KubeSpanConfig\n"),
    "map for a text": (r"(?m)^    token: .*", "    token: {a: b}"),
    "text for a boolean": ("persist: true", "persist: plum"),
    "not persistent": ("persist: true", "persist: off"),
    "no machine": (r"(?s)machine:\n.*?\ncluster:", "cluster:"),
    "no cluster": (r"(?s)cluster:\n.*?\n---", "---"),
    "install twice": ("machine:\n", "machine:\n    install: {}\n    kubelet: {image: plum}\n"),
    "bad labels": ("machine:\n", 'machine:\n    nodeTaints: {"a b": c, d: plum}\n'),
    "files": ("machine:\n", "machine:\n    files: [{content: a, path: /var/x, permissions: 0o600}]\n"),
    "key of a CA on a worker": ('key: ""', "key: cGx1bQo="),
    "no DNS name": ("cluster.local", "a..b"),
    "no forwarding": ("forwardKubeDNSToHost: true", "forwardKubeDNSToHost: false"),
}


class _Both:
    """One command by the real talosctl and by the stand-in in the same directory."""

    def __init__(self, binary: str, directory: pathlib.Path, play: Play) -> None:
        self._binary, self._directory = binary, directory
        self._play = play
        self.version = self.real(["version", "--client", "--short"])[1].split()[-1]
        for name, text in _PATCHES.items():
            (directory / f"{name}.yaml").write_text(text, encoding="utf-8")

    def real(self, arguments: list[str]) -> tuple[int, str, str]:
        command = [self._binary, *arguments]
        ran = subprocess.run(command, cwd=self._directory, capture_output=True, text=True, check=False)
        return ran.returncode, ran.stdout, ran.stderr.partition("\n\nUsage:")[0]

    def differ(self, arguments: list[str]) -> bool:
        real, ours = self.real(arguments), self._play(self.version, arguments)
        if real[0] == 2:
            # The real one panics.
            return ours[0] != 2
        same_errors = real[2].strip() == ours[2].strip()
        same_output = real[1] == ours[1] or _documents(real[1]) == _documents(ours[1])
        return real[0] != ours[0] or not same_errors or not same_output

    def differing(self, commands: t.Iterable[list[str]]) -> list[str]:
        return [" ".join(arguments) for arguments in commands if self.differ(arguments)]

    def generate(self, contract: str, machine_type: str, *more: str) -> list[str]:
        common = ["--with-secrets", "secrets.yaml", "--with-docs=false", "--with-examples=false", "-o", "-"]
        where = ["gen", "config", "plum", "https://10.44.0.10:6443", *common]
        return [*where, "--talos-version", contract, "-t", machine_type, *more]


@pytest.fixture(params=each_real_talosctl())
def both(request: pytest.FixtureRequest, tmp_path: pathlib.Path, play: Play) -> _Both:
    made = _Both(request.param, tmp_path, play)
    assert made.real(["gen", "secrets"])[0] == 0
    return made


@pytest.mark.parametrize("contract", _CONTRACTS)
def test_generates_as_the_real_one(contract: str, both: _Both) -> None:
    flags: list[list[str]] = [
        ["--additional-sans", "plum.example,10.44.0.3"],
        ["--install-disk", "/dev/nvme0n1", "--install-image", "plum.example/installer:1"],
        ["--kubernetes-version", "v1.35.2", "--dns-domain", "plum.local"],
        ["--with-cluster-discovery=false"],
        ["--with-docs", "--with-examples"],
        ["--config-patch-control-plane", "@machine.yaml", "--config-patch-worker", "@mirrors.yaml"],
        ["--config-patch", "machine: {certSANs: [plum]}"],
        ["--config-patch", "@missing.yaml"],
    ]
    patches = [list(itertools.chain(*(("--config-patch", f"@{name}.yaml") for name in names))) for names in _SERIES]
    commands = [both.generate(contract, machine_type, *more) for machine_type in _TYPES for more in (*flags, *patches)]
    assert both.differing(commands) == []


@pytest.mark.parametrize("contract", _CONTRACTS)
def test_patches_as_the_real_one(contract: str, both: _Both, tmp_path: pathlib.Path) -> None:
    for machine_type in _TYPES:
        generated = both.real(both.generate(contract, machine_type))[1]
        (tmp_path / f"{machine_type}.yaml").write_text(generated, encoding="utf-8")
    commands = [
        [
            "machineconfig",
            "patch",
            f"{machine_type}.yaml",
            *itertools.chain(*(("-p", f"@{name}.yaml") for name in names)),
        ]
        for machine_type in _TYPES
        for names in _SERIES
    ]
    assert both.differing(commands) == []


@pytest.mark.parametrize("contract", _CONTRACTS)
@pytest.mark.parametrize("machine_type", _TYPES)
def test_validates_as_the_real_one(contract: str, machine_type: str, both: _Both, tmp_path: pathlib.Path) -> None:
    generated = both.real(both.generate(contract, machine_type))[1]
    commands = []
    for name, (pattern, replacement) in _MISTAKES.items():
        (tmp_path / f"{name}.yaml").write_text(re.sub(pattern, replacement, generated), encoding="utf-8")
        commands += [["validate", "-c", f"{name}.yaml", "-m", mode] for mode in ("metal", "container")]
    commands.append(["validate", "-c", "old machine type.yaml", "-m", "metal", "--strict"])
    assert both.differing(commands) == []


def test_refuses_as_the_real_one(both: _Both) -> None:
    endpoints = ("plum", "plum:6443", "http://plum:1", "https://plum:99999", "https://", "10.44.0.1:6443")
    commands = [
        *(["gen", "config", "plum", endpoint, "--with-secrets", "secrets.yaml"] for endpoint in endpoints),
        ["gen", "config", "plum"],
        ["gen", "config", "plum", "https://plum:1", "-t", "plum", "-o", "-"],
        ["gen", "config", "plum", "https://plum:1", "-o", "-"],
        ["gen", "config", "plum", "https://plum:1", "--with-secrets", "missing.yaml"],
        ["gen", "config", "plum", "https://plum:1", "--with-secrets", "hostname.yaml"],
        ["gen", "secrets"],
        ["gen", "secrets", "--talos-version", "plum"],
        ["gen", "secrets", "plum"],
        ["machineconfig", "patch"],
        ["validate", "-c", "hostname.yaml"],
        ["validate", "-c", "hostname.yaml", "-m", "plum"],
        ["validate", "-c", "missing.yaml", "-m", "metal"],
        ["version", "--client", "--short"],
    ]
    assert both.differing(commands) == []


@pytest.mark.parametrize("contract", _CONTRACTS)
def test_recovers_secrets_as_the_real_one(contract: str, both: _Both, tmp_path: pathlib.Path) -> None:
    generated = both.real(both.generate(contract, "controlplane"))[1]
    (tmp_path / "controlplane.yaml").write_text(generated, encoding="utf-8")
    assert not both.differ(["gen", "secrets", "-o", "-", "--from-controlplane-config", "controlplane.yaml"])


def test_the_real_one_takes_our_secrets(both: _Both, play: Play) -> None:
    assert play(both.version, ["gen", "secrets", "--force"])[0] == 0
    assert both.real(both.generate("v1.13", "talosconfig"))[0] == 0
