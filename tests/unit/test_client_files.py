# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import datetime
import functools
import traceback
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.homelab.talos.plugins.module_utils import _client_files as files
from ansible_collections.homelab.talos.plugins.module_utils._cluster_work import kubeconfig_due_for
from ansible_collections.homelab.talos.plugins.module_utils._credentials import Credentials, certificate_times
from ansible_collections.homelab.talos.plugins.module_utils._errors import TalosError
from ansible_collections.homelab.talos.plugins.module_utils._secrets_bundle import ADMIN, READER, SecretsBundle
from rehearsal.standin import certificates

DAY = datetime.timedelta(days=1)
MINUTE = datetime.timedelta(minutes=1)
WANTED: dict[str, t.Any] = {
    "context": "lab",
    "endpoints": ["192.0.2.1", "192.0.2.2"],
    "nodes": ["192.0.2.1"],
    "role": ADMIN,
}


@functools.cache
def pki(name: str) -> SecretsBundle:
    pair = certificates.talos_ca()
    return SecretsBundle(
        {"certs": {"os": {part: base64.b64encode(getattr(pair, part).encode()).decode() for part in ("crt", "key")}}}
    )


def credentials(role: str = ADMIN, lifetime: datetime.timedelta = 365 * DAY, of: str = "ours") -> Credentials:
    return pki(of).issue(role, lifetime)


def due(path: Path, **others: t.Any) -> str:
    wanted = {**WANTED, "ca": pki("ours").talos_ca, "renew_before": 30 * DAY, **others}
    return files.talosconfig_due(str(path), **wanted)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "talosconfig"
    files.put(str(path), files.talosconfig("lab", WANTED["endpoints"], WANTED["nodes"], credentials()))
    return path


def test_a_talosconfig_has_the_form_of_talos(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    assert content["context"] == "lab"
    assert list(content["contexts"]["lab"]) == ["endpoints", "nodes", "ca", "crt", "key"]
    assert base64.b64decode(content["contexts"]["lab"]["key"]).startswith(b"-----BEGIN ED25519 PRIVATE KEY-----")


def test_a_talosconfig_that_fits_is_not_due(path: Path) -> None:
    assert due(path) == ""


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ({"context": "other"}, "its context, endpoints or nodes are others"),
        ({"endpoints": ["192.0.2.1"]}, "its context, endpoints or nodes are others"),
        ({"endpoints": ["192.0.2.2", "192.0.2.1"]}, "its context, endpoints or nodes are others"),
        ({"nodes": []}, "its context, endpoints or nodes are others"),
        ({"role": READER}, "its role is os:admin"),
    ],
)
def test_why_a_talosconfig_is_due(path: Path, others: dict[str, t.Any], reason: str) -> None:
    assert due(path, **others).startswith(reason)


def test_a_talosconfig_of_another_pki_or_one_that_ends_is_due(path: Path) -> None:
    assert due(path, ca=pki("other").talos_ca) == "it is of another PKI"
    # Credentials begin an hour ago.
    soon = credentials(lifetime=20 * MINUTE)
    path.write_bytes(files.talosconfig("lab", WANTED["endpoints"], WANTED["nodes"], soon))
    assert due(path) == f"its certificate ends on {certificate_times(soon.crt)[1]:%Y-%m-%d}"
    assert due(path, renew_before=19 * MINUTE) == ""


def test_a_certificate_is_never_due_before_the_last_third_of_its_time(path: Path) -> None:
    """Or one that lives shorter than it is to be renewed before its end would be made again in every run."""
    assert due(path, renew_before=400 * DAY) == ""
    path.write_bytes(files.talosconfig("lab", WANTED["endpoints"], WANTED["nodes"], credentials(lifetime=40 * MINUTE)))
    assert due(path) == ""


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_talosconfig_that_others_can_read_is_due(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert due(path) == "others can read it"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: "a: [",
        lambda text: "- a\n",
        lambda text: text.replace("context: lab", "context: none"),
        lambda text: text.replace("crt:", "cert:"),
        lambda text: text.replace("crt: LS0t", "crt: %%%%"),
        lambda text: text.replace("crt: LS0t", "crt: AAAA"),
        lambda text: text.replace("contexts:", "contexts: 5\nothers:"),
        lambda text: "\x00",
    ],
)
def test_a_talosconfig_that_cannot_be_read_is_due(path: Path, change: t.Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))
    assert due(path) == "it is not readable"


def test_no_talosconfig_is_due(tmp_path: Path) -> None:
    assert due(tmp_path / "none") == "there is none yet"


# --- kubeconfig


def kubeconfig(
    lifetime: datetime.timedelta = 365 * DAY, of: str = "ours", server: str = "https://192.0.2.1:6443"
) -> str:
    client = credentials("system:masters", lifetime, of)

    def encoded(pem: bytes) -> str:
        return base64.b64encode(pem).decode()

    cluster = {"server": server, "certificate-authority-data": encoded(client.ca)}
    user = {"client-certificate-data": encoded(client.crt), "client-key-data": encoded(client.key)}
    content = {"clusters": [{"name": "lab", "cluster": cluster}], "users": [{"name": "admin@lab", "user": user}]}
    return yaml.safe_dump(content)


def kubeconfig_due(path: Path, **others: t.Any) -> str:
    wanted: dict[str, t.Any] = {
        "leads_home": lambda server: server == "https://192.0.2.1:6443",
        "ca": pki("ours").talos_ca,
        "renew_before": 30 * DAY,
        **others,
    }
    return files.kubeconfig_due(str(path), **wanted)


@pytest.mark.parametrize(
    ("content", "others", "reason"),
    [
        (kubeconfig(), {}, ""),
        (kubeconfig(), {"ca": None}, ""),
        (kubeconfig(), {"renew_before": 400 * DAY}, ""),
        (kubeconfig(29 * DAY), {}, ""),
        (kubeconfig(20 * MINUTE), {}, "its certificate ends on "),
        (kubeconfig(datetime.timedelta(minutes=-30)), {}, "its certificate ends on "),
        (kubeconfig(of="other"), {}, "it is of another PKI"),
        (kubeconfig(), {"leads_home": lambda _server: False}, "its server is https://192.0.2.1:6443"),
        ("", {}, "it is not readable"),
        ("clusters: [", {}, "it is not readable"),
        (
            kubeconfig().replace("client-certificate-data: LS0t", "client-certificate-data: AAAA"),
            {},
            "it is not readable",
        ),
        (kubeconfig().replace("users:", "persons:"), {}, "it is not readable"),
        ("clusters: []\n", {}, "it is not readable"),
    ],
)
def test_why_a_kubeconfig_is_due(tmp_path: Path, content: str, others: dict[str, t.Any], reason: str) -> None:
    path = tmp_path / "kubeconfig"
    files.put(str(path), content.encode())
    found = kubeconfig_due(path, **others)
    assert found.startswith(reason) if reason else found == ""


def test_a_kubeconfig_that_is_missing_or_open_is_due(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    assert kubeconfig_due(path) == "there is none yet"
    files.put(str(path), kubeconfig().encode())
    path.chmod(0o644)
    assert kubeconfig_due(path) == "others can read it"


@pytest.mark.parametrize("name", ["talosconfig", "kubeconfig"])
def test_one_of_another_pki_is_kept_and_is_as_private(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("of another cluster")
    path.chmod(0o644)
    files.put(str(path), b"ours", files.OTHER_PKI)
    (kept,) = set(tmp_path.iterdir()) - {path}
    assert kept.name.startswith(f"{name}.2")
    assert (kept.read_text(), path.read_text()) == ("of another cluster", "ours")
    assert {each.stat().st_mode & 0o777 for each in (kept, path)} == {0o600}


# --- as modules ask


class Module:
    """What the functions need of a TalosModule."""

    def __init__(self, folder: Path) -> None:
        names = ("name", "endpoint", "talos_version", "kubernetes_version", "contract")
        cluster = {**dict.fromkeys(names, ""), "endpoint": "https://lab:6443"}
        self.params = {"cluster": cluster, "renew_before": 30}
        self.folder = folder

    def folder_path(self, *names: str) -> str:
        return str(self.folder.joinpath(*names))


@pytest.mark.parametrize(
    ("given", "config", "reason"),
    [
        ("https://lab:6443", b"", "its server is https://192.0.2.1:6443"),
        ("https://192.0.2.1:6443", b"", ""),
        ("", b"  controlPlane:\n    endpoint: https://192.0.2.1:6443\n", ""),
        ("", b'  controlPlane: {endpoint: "https://192.0.2.1:6443" }\n', ""),
        ("", b"  controlPlane:\n    endpoint: https://192.0.2.1:64430\n", "its server is https://192.0.2.1:6443"),
    ],
)
def test_a_kubeconfig_may_lead_where_the_nodes_say(tmp_path: Path, given: str, config: bytes, reason: str) -> None:
    """A patch may have given them another endpoint than the declared one."""
    files.put(str(tmp_path / "kubeconfig"), kubeconfig().encode())
    module = t.cast(t.Any, Module(tmp_path))
    assert kubeconfig_due_for(module, None, given, [config]) == reason


@pytest.mark.parametrize("text", [b"a: [", b"s3cret", b"clusters: []", b"clusters: [s3cret]", b"", b"a: !!int s3cret"])
def test_what_is_no_kubeconfig_is_not_quoted(text: bytes) -> None:
    with pytest.raises(TalosError, match="what the node gave is no kubeconfig") as caught:
        files.kubeconfig_server(text)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
