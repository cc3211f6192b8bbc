# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of tools, its lock, the choice of versions, and the command that refreshes the lock."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ansible_collections.homelab.talos.plugins.module_utils._tool_choice import Needs, Pin, Unsuitable, choose
from ansible_collections.homelab.talos.plugins.module_utils._tool_lock import (
    Key,
    Lock,
    LockError,
    joined,
    parse_lock,
    render,
    versions_of,
)
from ansible_collections.homelab.talos.plugins.module_utils._tool_table import (
    ARCHITECTURES,
    NotPublished,
    TableError,
    Tool,
    checksum_in,
    parse_table,
)
from ansible_collections.homelab.talos.plugins.module_utils._versions import DEFAULT_TALOS
from ansible_collections.homelab.talos.plugins.plugin_utils import _lock_command
from tests.tool_mirror import Fault, Mirror, mirror_of

ROOT = Path(__file__).parents[2]
FILES = ROOT / "roles" / "tool" / "files"
TABLE = parse_table(yaml.safe_load((FILES / "tools.yml").read_text()), "tools.yml")
LOCK = parse_lock(yaml.safe_load((FILES / "tools.lock.yml").read_text()), "tools.lock.yml")
NAMES = ["talosctl", "kubectl", "argocd-autopilot", "argocd", "helm", "k9s"]

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


# --- what publishers have where: as recorded of each

PUBLISHED = [
    (
        Key("talosctl", "1.14.2", "arm64"),
        "https://github.com/siderolabs/talos/releases/download/v1.14.2/talosctl-linux-arm64",
        "https://github.com/siderolabs/talos/releases/download/v1.14.2/sha256sum.txt",
        "",
        f"{B}  talosctl-linux-amd64\n{A}  talosctl-linux-arm64\n{B}  talosctl-linux-armv7\n{B}  metal-arm64.iso\n",
    ),
    (
        Key("kubectl", "1.37.1", "amd64"),
        "https://dl.k8s.io/release/v1.37.1/bin/linux/amd64/kubectl",
        "https://dl.k8s.io/release/v1.37.1/bin/linux/amd64/kubectl.sha256",
        "",
        A,
    ),
    (
        Key("argocd-autopilot", "0.4.20", "arm64"),
        "https://github.com/argoproj-labs/argocd-autopilot/releases/download/v0.4.20/argocd-autopilot-linux-arm64.tar.gz",
        "https://github.com/argoproj-labs/argocd-autopilot/releases/download/v0.4.20/argocd-autopilot-linux-arm64.sha256",
        "argocd-autopilot-linux-arm64",
        f"{A}\n",
    ),
    (
        Key("argocd", "3.5.2", "amd64"),
        "https://github.com/argoproj/argo-cd/releases/download/v3.5.2/argocd-linux-amd64",
        "https://github.com/argoproj/argo-cd/releases/download/v3.5.2/cli_checksums.txt",
        "",
        f"{B}  argocd-darwin-amd64\n{B}  argocd-darwin-arm64\n{A}  argocd-linux-amd64\n{B}  argocd-windows-amd64.exe\n",
    ),
    (
        Key("helm", "4.3.0", "arm64"),
        "https://get.helm.sh/helm-v4.3.0-linux-arm64.tar.gz",
        "https://get.helm.sh/helm-v4.3.0-linux-arm64.tar.gz.sha256sum",
        "linux-arm64/helm",
        f"{A}  helm-v4.3.0-linux-arm64.tar.gz\n",
    ),
    (
        Key("k9s", "0.51.0", "amd64"),
        "https://github.com/derailed/k9s/releases/download/v0.51.0/k9s_Linux_amd64.tar.gz",
        "https://github.com/derailed/k9s/releases/download/v0.51.0/checksums.sha256",
        "k9s",
        f"{B}  k9s_Linux_arm64.tar.gz\n{A}  k9s_Linux_amd64.tar.gz\n{B}  k9s_Linux_amd64.tar.gz.sbom.json\n{B}  k9s_linux_amd64.deb\n",  # noqa: E501
    ),
]


@pytest.mark.parametrize(
    ("key", "url", "checksums", "member", "text"), PUBLISHED, ids=lambda each: getattr(each, "tool", "")
)
def test_what_each_publisher_has_where(key: Key, url: str, checksums: str, member: str, text: str) -> None:
    tool = TABLE[key.tool]
    assert tool.url_for(key.version, key.arch) == url
    assert tool.checksums_for(key.version, key.arch) == checksums
    assert tool.member_for(key.version, key.arch) == member
    assert tool.completion == ("completion",)
    assert checksum_in(text, tool.form, url.rpartition("/")[2], checksums) == A


def test_the_table_holds_the_six_and_each_publisher_is_recorded_here() -> None:
    assert list(TABLE) == NAMES == [key.tool for key, *_ in PUBLISHED]
    defaults = yaml.safe_load((ROOT / "roles/tool/defaults/main.yml").read_text())
    assert defaults["tool_names"] == NAMES


def test_the_first_lock() -> None:
    # One place of the lock by hand, from the page of checksums; the rest by its shape.
    assert (
        LOCK[Key("talosctl", "1.13.9", "arm64")] == "51caed158eda73d2888cbf2df2d67551f9c9f8229aa42d3725e481d073e76f0b"
    )
    complete = {(tool, version) for tool, version, _ in LOCK if tool != "argocd-autopilot"}
    assert complete == {
        ("talosctl", "1.14.2"),
        ("talosctl", "1.13.9"),
        ("kubectl", "1.37.1"),
        ("kubectl", "1.36.4"),
        ("argocd", "3.5.2"),
        ("helm", "4.3.0"),
        ("k9s", "0.51.0"),
    }
    assert {(*each, arch) for each in complete for arch in ARCHITECTURES} | {
        ("argocd-autopilot", "0.4.20", "amd64")
    } == set(LOCK)
    assert len(set(LOCK.values())) == len(LOCK)


def test_the_file_is_as_the_command_writes_it() -> None:
    assert render(LOCK) == (FILES / "tools.lock.yml").read_text()


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("bare", "<html>503 later</html>"),
        ("bare", ""),
        ("bare", A[:-1]),
        ("bare", A * 2),
        ("bare", f"{A}  kubectl"),
        ("sums", "<html>503 later</html>"),
        ("sums", ""),
        ("sums", f"{A}\n"),
        ("sums", f"{A}{A}  thing\n"),
        ("sums", f"{A}  thing\n{B}  thing\n"),
        ("sums", f"{A}  athing\n{A}  thing.sbom\n{A}  dir/thing\n"),
    ],
)
def test_checksum_files_that_do_not_hold_just_one(form: str, text: str) -> None:
    with pytest.raises(TableError):
        checksum_in(text, form, "thing", "https://host/sums")


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("bare", f"\ufeff{A.upper()}\r\n"),
        ("bare", f"  {A}"),
        ("sums", f"# header\n\n{A.upper()}  thing\r\n{B}  other\r\n"),
        ("sums", f"{A} *thing\n"),
        ("sums", f"{A}  ./thing"),
        ("sums", f"{A}  thing\n{A}  thing\n"),
    ],
)
def test_checksum_files_in_other_shapes(form: str, text: str) -> None:
    assert checksum_in(text, form, "thing", "https://host/sums") == A


def test_a_checksum_file_that_lacks_an_architecture() -> None:
    with pytest.raises(NotPublished, match="argocd-linux-arm64, but argocd-linux-amd64"):
        checksum_in(f"{A}  argocd-linux-amd64\n", "sums", "argocd-linux-arm64", "https://host/sums")


ROW = {"url": "https://host/{version}/{arch}", "checksums": "{url}.sha256", "form": "bare", "version": "1.0"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**ROW, "urls": "x"}, "urls is not known; did you mean url?"),
        ({**ROW, "url": ""}, "url is missing"),
        ({**ROW, "url": "ftp://x/{version}"}, "is not the URL of a file"),
        ({**ROW, "url": "https://x/../{version}"}, "is not the URL of a file"),
        ({**ROW, "form": "md5"}, "form is md5: choose one of sums, bare"),
        ({**ROW, "version": ""}, "give either version or follows"),
        ({**ROW, "follows": "talos"}, "give either version or follows"),
        ({**ROW, "version": "", "follows": "etcd"}, "choose one of talos, kubernetes"),
        ({**ROW, "version": "v1.0"}, "without a leading v"),
        ({**ROW, "version": "../.."}, "without a leading v"),
        ({**ROW, "member": "x"}, "member is the path"),
        ({**ROW, "url": "https://host/{version}.tar.gz"}, "member is the path"),
        ({**ROW, "completion": "completion"}, "completion is not a list"),
        ("https://host", "is not a mapping"),
    ],
)
def test_rows_that_cannot_be_used(row: object, said: str) -> None:
    with pytest.raises(TableError, match=re.escape(said)) as caught:
        parse_table({"thing": row, "other": {**ROW, "form": "crc"}}, "tool_table")
    assert "other: form is crc" in str(caught.value), "all at once"


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".x"])
def test_names_that_are_no_files(name: str) -> None:
    with pytest.raises(TableError):
        parse_table({name: ROW}, "tool_table")


# --- the lock


def test_a_lock_survives_being_written() -> None:
    lock = {Key("b", "1.9.0", "amd64"): A, Key("b", "1.10.0", "arm64"): B, Key("a", "0.1.0-rc.1", "amd64"): C}
    text = render(lock)
    assert parse_lock(yaml.safe_load(text), "lock") == lock
    assert text.index("1.10.0") < text.index("1.9.0")
    assert parse_lock(None, "empty") == {}


def test_the_order_of_versions() -> None:
    ordered = ["1.10.0", "1.10.0-rc.2", "1.10.0-beta.1", "1.9.12", "1.9.2"]
    assert versions_of({Key("x", each, "amd64") for each in ordered}, "x", "amd64") in (
        ordered,
        ["1.10.0", "1.10.0-rc.2", "1.10.0-beta.1", "1.9.12", "1.9.2"],
    )


@pytest.mark.parametrize(
    "data",
    [
        [],
        {"x": []},
        {"x": {"1.0": A}},
        {"x": {"1.0": {"amd64": A[:-1]}}},
        {"x": {"1.0": {"amd64": A.upper()}}},
        {"x": {"1.0": {"amd64": None}}},
        {"x": {"1.0": {"x86_64": A}}},
        {"x": {"v1.0": {"amd64": A}}},
        {"../x": {"1.0": {"amd64": A}}},
        {"x": {"../1.0": {"amd64": A}}},
    ],
)
def test_locks_that_cannot_be_trusted(data: object) -> None:
    with pytest.raises(LockError, match="lock"):
        parse_lock(data, "lock")


def test_locks_may_repeat_each_other_but_not_differ() -> None:
    key, more = Key("x", "1.0", "amd64"), Key("x", "1.1", "amd64")
    assert joined({"one": {key: A}, "two": {key: A, more: B}}) == {key: A, more: B}
    with pytest.raises(LockError, match=f"x 1.0 amd64 is {A} in one and {B} in two"):
        joined({"one": {key: A}, "two": {key: B}})


# --- the choice


def needs(talos: str = "1.14.2", kubernetes: str = "1.37.1", arch: str = "amd64") -> Needs:
    return Needs(talos, kubernetes, arch, "make lock LOCK=x ARGS='")


def chosen(names: list[str] = NAMES, versions: dict[str, str] | None = None, **of: t.Any) -> dict[str, str]:
    lock = of.pop("lock", LOCK)
    return {pin.name: pin.version for pin in choose(names, TABLE, lock, versions or {}, needs(**of))}


def test_versions_of_the_table_and_the_cluster() -> None:
    assert chosen() == {
        "talosctl": "1.14.2",
        "kubectl": "1.37.1",
        "argocd-autopilot": "0.4.20",
        "argocd": "3.5.2",
        "helm": "4.3.0",
        "k9s": "0.51.0",
    }
    assert chosen(["talosctl", "kubectl"], talos="1.13.9", kubernetes="1.36.4") == {
        "talosctl": "1.13.9",
        "kubectl": "1.36.4",
    }


def test_the_default_cluster_has_what_it_needs() -> None:
    assert Key("talosctl", DEFAULT_TALOS, "arm64") in LOCK


def test_a_pin_is_all_that_is_needed() -> None:
    assert choose(["helm"], TABLE, LOCK, {}, needs(arch="arm64")) == [
        Pin(
            "helm",
            "4.3.0",
            "https://get.helm.sh/helm-v4.3.0-linux-arm64.tar.gz",
            "31c5794dd55c66a51e6b7d2e2ac7a114ae8b1de41ff1d9ba51748ac973b06a08",
            "linux-arm64/helm",
            ("completion",),
        )
    ]


@pytest.mark.parametrize(
    ("kubernetes", "locked", "kubectl"),
    [
        ("1.36.3", ["1.37.1", "1.36.4", "1.36.2"], "1.36.4"),
        ("1.36.4", ["1.37.1", "1.36.4", "1.36.5"], "1.36.4"),
        ("1.35.1", ["1.37.1", "1.36.4", "1.34.9"], "1.36.4"),
        ("1.35.1", ["1.34.9", "1.34.10"], "1.34.10"),
        ("1.36.0", ["1.36.1-rc.1", "1.35.0"], "1.35.0"),
    ],
)
def test_kubectl_is_the_clusters_or_the_nearest_locked(kubernetes: str, locked: list[str], kubectl: str) -> None:
    lock: Lock = {Key("kubectl", version, "amd64"): A for version in locked}
    assert chosen(["kubectl"], lock=lock, kubernetes=kubernetes) == {"kubectl": kubectl}


@pytest.mark.parametrize(
    ("name", "version", "of", "said"),
    [
        ("talosctl", "1.13.9", {}, "talosctl 1.13.9 does not fit the nodes' Talos 1.14.2"),
        ("talosctl", "2.14.2", {}, "talosctl 2.14.2 does not fit the nodes' Talos 1.14.2"),
        ("talosctl", "latest", {}, "talosctl latest does not fit"),
        ("kubectl", "1.36.4", {"kubernetes": "1.34.0"}, "kubectl 1.36.4 does not fit the cluster's Kubernetes 1.34.0"),
        ("kubectl", "1.37.1", {"kubernetes": "1.35.8"}, "kubectl 1.37.1 does not fit the cluster's Kubernetes 1.35.8"),
        ("kubectl", "2.37.1", {}, "kubectl 2.37.1 does not fit"),
        ("helm", "../../etc", {}, "helm: ../../etc is not a version"),
        ("helm", "v4.3.0", {}, "helm: v4.3.0 is not a version. Write it without a leading v"),
        ("helm", "4.9.9", {}, "helm 4.9.9 for amd64 has no checksum in the lock (locked for amd64: 4.3.0)"),
        ("talosctl", "", {"talos": "1.14.0"}, "talosctl 1.14.0 for amd64 has no checksum in the lock"),
        ("kubectl", "", {"kubernetes": "1.34.0"}, "kubectl 1.34.0 for amd64 has no checksum"),
    ],
)
def test_what_does_not_fit(name: str, version: str, of: dict[str, str], said: str) -> None:
    with pytest.raises(Unsuitable, match=re.escape(said)) as caught:
        chosen([name], {name: version} if version else {}, **of)
    if "no checksum" in said:
        asked = version or {**{"talos": "", "kubernetes": ""}, **of}["talos" if name == "talosctl" else "kubernetes"]
        assert f"make lock LOCK=x ARGS='{name}={asked}'" in str(caught.value)


@pytest.mark.parametrize(("kubernetes", "version"), [("1.36.4", "1.37.1"), ("1.37.1", "1.36.4"), ("1.38.0", "1.37.1")])
def test_one_minor_apart_is_fine(kubernetes: str, version: str) -> None:
    assert chosen(["kubectl"], {"kubectl": version}, kubernetes=kubernetes) == {"kubectl": version}


def test_argocd_autopilot_on_arm64_is_refused_with_the_way_out() -> None:
    with pytest.raises(Unsuitable) as caught:
        chosen(arch="arm64")
    for said in ("argocd-autopilot 0.4.20 for arm64 has no checksum", "make lock", "leave it out of tool_names"):
        assert said in str(caught.value)
    rest = [name for name in NAMES if name != "argocd-autopilot"]
    assert list(chosen(rest, arch="arm64")) == rest


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(Unsuitable) as caught:
        chosen(["kubctl", "talosctl", "helm"], {"talosctl": "1.13.9", "hlem": "1", "helm": "9"})
    for said in (
        "kubctl in tool_names is not known; did you mean kubectl?",
        "hlem in tool_versions",
        "talosctl 1.13.9",
        "helm 9",
    ):
        assert said in str(caught.value)


# --- the command


@pytest.fixture
def publishers() -> Iterator[Mirror]:
    with mirror_of() as mirror:
        for key, *_ in PUBLISHED:
            publish(mirror, key.tool, key.version)
        yield mirror


def publish(mirror: Mirror, name: str, version: str, hashes: dict[str, str] | None = None) -> None:
    """Checksum files in the form of the publisher. By default with the locked values."""
    tool: Tool = TABLE[name]
    sums: dict[str, str] = {}
    for arch in ARCHITECTURES:
        sha256 = (hashes or {}).get(arch) or LOCK.get(Key(name, version, arch), C)
        asset = tool.url_for(version, arch).rpartition("/")[2]
        line = f"{sha256}\n" if tool.form == "bare" else f"{sha256}  {asset}\n"
        url = tool.checksums_for(version, arch)
        sums[url] = sums.get(url, "") + line
    for url, text in sums.items():
        mirror.put(url, text.encode())


@pytest.fixture
def lock_file(tmp_path: Path) -> Path:
    """A lock of a user's own."""
    return tmp_path / "tools.lock.yml"


def lock_command(mirror: Mirror, path: Path, *words: str) -> int:
    return _lock_command.main(["--mirror", mirror.url, "--lock", str(path), "--timeout", "5", *words])


def content(path: Path) -> Lock:
    return parse_lock(yaml.safe_load(path.read_text()), str(path))


def test_a_version_of_each_tool_is_locked(
    publishers: Mirror, lock_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    versions = dict.fromkeys(NAMES, "9.9.9")
    for name, version in versions.items():
        publish(publishers, name, version, {"amd64": A, "arm64": B})
    assert lock_command(publishers, lock_file, *[f"{name}={version}" for name, version in versions.items()]) == 0
    expected = {Key(name, "9.9.9", arch): {"amd64": A, "arm64": B}[arch] for name in NAMES for arch in ARCHITECTURES}
    assert content(lock_file) == expected
    shown = capsys.readouterr().out
    assert f"added: k9s 9.9.9 arm64 {B}" in shown
    assert "12 added, 0 confirmed, 0 not published" in shown
    assert f"asking {publishers.url} instead of the publishers" in shown
    # Again, without naming any: what the collection's lock lacks is added, and then nothing is new.
    assert lock_command(publishers, lock_file) == 0
    assert content(lock_file) == {**expected, Key("argocd-autopilot", "0.4.20", "arm64"): C}
    before = lock_file.stat()
    capsys.readouterr()
    assert lock_command(publishers, lock_file) == 0
    assert lock_file.stat().st_ino == before.st_ino, "it is not written without need"
    assert "added:" not in capsys.readouterr().out


def test_all_that_is_locked_is_asked_again(
    publishers: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, version in (("talosctl", "1.13.9"), ("kubectl", "1.36.4")):
        publish(publishers, name, version)
    path = tmp_path / "tools.lock.yml"
    path.write_text(render(LOCK))
    assert lock_command(publishers, path) == 0
    # argocd-autopilot for arm64 is what the first lock lacks.
    assert content(path) == {**LOCK, Key("argocd-autopilot", "0.4.20", "arm64"): C}
    assert "1 added, 15 confirmed, 0 not published" in capsys.readouterr().out


def test_a_changed_checksum_is_an_error_and_nothing_is_written(
    publishers: Mirror, lock_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock_file.write_text(render({Key("helm", "4.2.4", "amd64"): A}))
    before = lock_file.read_bytes()
    publish(publishers, "helm", "4.2.4", {"amd64": B, "arm64": C})
    publish(publishers, "k9s", "1.0.0", {"amd64": B, "arm64": C})
    assert lock_command(publishers, lock_file, "helm=4.2.4", "k9s=1.0.0") == 1
    said = capsys.readouterr().err
    assert (
        f"helm 4.2.4 amd64: locked {A}, now {B} at https://get.helm.sh/helm-v4.2.4-linux-amd64.tar.gz.sha256sum" in said
    )
    assert "remove the line" in said
    assert lock_file.read_bytes() == before


def test_the_collections_lock_holds_for_a_users_too(
    publishers: Mirror, lock_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(publishers, "helm", "4.3.0", {"amd64": A})
    assert lock_command(publishers, lock_file, "helm=4.3.0") == 1
    assert f"now {A}" in capsys.readouterr().err
    assert not lock_file.exists()


def test_a_publisher_that_cannot_be_asked(lock_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with mirror_of() as mirror:
        publish(mirror, "helm", "5.0.0")
        mirror.fail(TABLE["k9s"].checksums_for("1.0.0", "amd64"), Fault(status=403))
        assert lock_command(mirror, lock_file, "helm=5.0.0", "k9s=1.0.0") == 1
    assert "answers 403" in capsys.readouterr().err
    assert not lock_file.exists(), "all or nothing"


def test_what_is_not_published(publishers: Mirror, lock_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lock_command(publishers, lock_file, "helm=7.7.7") == 1
    assert "not published: helm 7.7.7 amd64" in capsys.readouterr().out
    assert not lock_file.exists()
    # One architecture only is what a publisher may do.
    url = TABLE["argocd"].checksums_for("9.0.0", "amd64")
    publishers.put(url, f"{A}  argocd-linux-amd64\n".encode())
    assert lock_command(publishers, lock_file, "argocd=9.0.0") == 0
    assert content(lock_file) == {Key("argocd", "9.0.0", "amd64"): A}
    # What was locked stays when it is gone there, and that is said.
    del publishers.files["/" + url.split("://")[1]]
    capsys.readouterr()
    assert lock_command(publishers, lock_file) == 0
    assert "locked, and no longer published: argocd 9.0.0 amd64" in capsys.readouterr().out
    assert content(lock_file) == {Key("argocd", "9.0.0", "amd64"): A, Key("argocd-autopilot", "0.4.20", "arm64"): C}


@pytest.mark.parametrize("text", ["<html>log in</html>", "", f"{A}  something-else\n{A}\n"])
def test_an_error_page_is_no_checksum(publishers: Mirror, lock_file: Path, text: str) -> None:
    for arch in ARCHITECTURES:
        publishers.put(TABLE["kubectl"].checksums_for("1.99.0", arch), text.encode())
    assert lock_command(publishers, lock_file, "kubectl=1.99.0") == 1
    assert not lock_file.exists()


@pytest.mark.parametrize("word", ["helm", "helm=", "hlem=1.0", "helm=v1.0", "helm=../x"])
def test_words_that_are_not_understood(publishers: Mirror, lock_file: Path, word: str) -> None:
    assert lock_command(publishers, lock_file, word) == 1
    assert publishers.log == []


def test_a_tool_of_ones_own(publishers: Mirror, lock_file: Path, tmp_path: Path) -> None:
    table = tmp_path / "all.yml"
    row = {"url": "https://host/{version}/{arch}", "checksums": "{url}.sha256", "form": "bare", "version": "1.0"}
    table.write_text(yaml.safe_dump({"tool_table": {"mine": row}}))
    for arch in ARCHITECTURES:
        publishers.put(f"https://host/1.0/{arch}.sha256", A.encode())
    assert lock_command(publishers, lock_file, "--table", str(table), "mine=1.0") == 0
    assert content(lock_file) == {Key("mine", "1.0", arch): A for arch in ARCHITECTURES}
    # Without its row it stays as it is.
    assert lock_command(publishers, lock_file) == 0
    assert Key("mine", "1.0", "amd64") in content(lock_file)
