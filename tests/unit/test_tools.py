# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tools on a host: installed, switched, removed; and whatever goes wrong, the version before still works."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import subprocess
import tarfile
import tempfile
import threading
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from ansible_collections.homelab.talos.plugins.module_utils import _tools
from ansible_collections.homelab.talos.plugins.module_utils._archive import ArchiveError
from ansible_collections.homelab.talos.plugins.module_utils._download import (
    Cache,
    DownloadError,
    Interrupted,
    Network,
    NoSpace,
    WrongContent,
)
from ansible_collections.homelab.talos.plugins.module_utils._tool_choice import Pin
from ansible_collections.homelab.talos.plugins.module_utils._tool_table import parse_table
from ansible_collections.homelab.talos.plugins.module_utils._tools import (
    ForeignFile,
    Installation,
    NotAllowed,
    Places,
    Plan,
    ToolError,
)
from tests.tool_mirror import Fault, Mirror, archive, binary, fill, mirror_of, sha256, small_disk

ROOT = Path(__file__).parents[2]
TABLE = parse_table(yaml.safe_load((ROOT / "roles/tool/files/tools.yml").read_text()), "tools.yml")
NAMES = list(TABLE)
SIZE = 300_000


class Host:
    """A made-up host: where tools go, and what the publishers have for it."""

    def __init__(self, folder: Path, mirror: Mirror, arch: str = "amd64") -> None:
        self.folder = folder
        self.mirror = mirror
        self.arch = arch
        self.root = folder / "opt" / "tools"
        self.places = Places(str(self.root), str(folder / "bin"), str(folder / "share"))
        self.cache = folder / "cache"

    def published(self, name: str, version: str, content: bytes | None = None) -> Pin:
        """A made-up binary in the form of its publisher. ``content`` is what lies at the URL instead."""
        tool = TABLE[name]
        url, member = tool.url_for(version, self.arch), tool.member_for(version, self.arch)
        if content is None:
            content = binary(name, version, SIZE)
            content = archive({"LICENSE": b"free", member: content, "README.md": b"read"}) if member else content
        return Pin(name, version, url, self.mirror.put(url, content), member, tool.completion)

    def of(self, pin: Pin, **options: t.Any) -> Installation:
        cache = options.pop("cache", {})
        network = Network("tool_", mirror=self.mirror.url, retries=cache.pop("retries", 0), timeout=5, pause=0.01)
        settings = {"shells": ["bash"], "keep": 2, **options}
        return Installation(pin, self.places, Cache(str(self.cache), network, **cache), **settings)

    def have(self, pin: Pin, **options: t.Any) -> Plan:
        return self.of(pin, **options).converge()

    def says(self, name: str) -> str:
        """What the tool on the PATH says of itself."""
        command = [self.folder / "bin" / name, "version"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def completion(self, name: str) -> str:
        return (self.folder / "share/bash-completion/completions" / name).read_text().strip()

    def tree(self) -> dict[str, tuple[int, int, int]]:
        """All that is there, and whether it was touched; but for the locks."""
        return {
            str(path.relative_to(self.folder)): (seen.st_ino, seen.st_mtime_ns, seen.st_mode)
            for path in sorted(self.folder.rglob("*"))
            for seen in [path.lstat()]
            if path.name != ".lock" and (path.is_symlink() or not path.is_dir())
        }

    def leftovers(self) -> list[str]:
        """What has no business there when nothing is running."""
        return [name for name in self.tree() if ".part" in name or "/." in name]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with mirror_of() as mirror:
        yield Host(tmp_path / "host", mirror)


# --- what is to be


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
@pytest.mark.parametrize("name", NAMES)
def test_each_tool_is_installed_from_where_its_publisher_has_it(tmp_path: Path, name: str, arch: str) -> None:
    with mirror_of() as mirror:
        host = Host(tmp_path / "host", mirror, arch)
        pin = host.published(name, "1.2.3")
        installation = host.of(pin)
        plan = installation.plan()
        assert not host.folder.exists(), "a plan touches nothing"
        assert mirror.log == []
        assert plan.actions[0] == f"download {pin.url}"
        assert dataclasses.asdict(installation.converge()) == dataclasses.asdict(plan)
    path = host.root / name / "1.2.3" / name
    assert path.read_bytes() == binary(name, "1.2.3", SIZE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert os.readlink(host.folder / "bin" / name) == str(path)
    assert host.says(name) == f"{name} 1.2.3"
    assert host.completion(name) == f"# bash completion of {name} 1.2.3"
    assert not host.leftovers()
    assert list(host.cache.iterdir()) == [], "a download is not kept"
    # Again, with nobody to ask.
    before = host.tree()
    assert not host.of(pin).plan()
    assert not host.have(pin)
    assert host.tree() == before


def test_an_umask_does_not_matter(host: Host) -> None:
    old = os.umask(0o077)
    try:
        host.have(host.published("k9s", "1.0.0"))
    finally:
        os.umask(old)
    for path in [host.folder, *host.folder.rglob("*")]:
        if path.name not in (".lock",) and not path.is_symlink() and host.cache not in (path, *path.parents):
            assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444, path


def test_versions_lie_side_by_side_and_old_ones_go(host: Host) -> None:
    pins = [host.published("kubectl", f"1.{minor}.0") for minor in range(4)]
    for pin in pins[:2]:
        host.have(pin)
    assert host.says("kubectl") == "kubectl 1.1.0"
    plan = host.have(pins[2])
    assert plan.before == "1.1.0"
    assert plan.removals == [str(host.root / "kubectl/1.0.0")]
    versions = {path.name for path in (host.root / "kubectl").iterdir() if path.is_dir()}
    assert versions == {"1.1.0", "1.2.0"}
    # Back and forth downloads nothing.
    asked = len(host.mirror.log)
    assert host.have(pins[1]).before == "1.2.0"
    assert (host.says("kubectl"), host.completion("kubectl")) == ("kubectl 1.1.0", "# bash completion of kubectl 1.1.0")
    assert len(host.mirror.log) == asked
    # The one in use before is kept, although another is newer.
    host.have(pins[3])
    versions = {path.name for path in (host.root / "kubectl").iterdir() if path.is_dir()}
    assert versions == {"1.1.0", "1.3.0"}
    # One only, on request: that is a change as well.
    plan = host.of(pins[3], keep=1).plan()
    assert plan.actions == [f"remove {host.root}/kubectl/1.1.0"]
    host.have(pins[3], keep=1)
    assert [path.name for path in (host.root / "kubectl").iterdir() if path.is_dir()] == ["1.3.0"]
    assert host.says("kubectl") == "kubectl 1.3.0"


def test_the_version_in_use_is_kept_whatever_the_dates_say(host: Host) -> None:
    for minor in (1, 0):
        host.have(host.published("kubectl", f"1.{minor}.0"))
    os.utime(host.root / "kubectl/1.0.0/installed.json", (1, 1))
    assert host.have(host.published("kubectl", "1.2.0")).removals == [str(host.root / "kubectl/1.1.0")]


def test_more_versions_on_request(host: Host) -> None:
    for minor in range(4):
        host.have(host.published("kubectl", f"1.{minor}.0"), keep=3)
    versions = {path.name for path in (host.root / "kubectl").iterdir() if path.is_dir()}
    assert versions == {"1.1.0", "1.2.0", "1.3.0"}


def test_completions_for_other_shells_and_for_none(host: Host) -> None:
    pin = host.published("helm", "1.0.0")
    host.have(pin, shells=["fish", "zsh"])
    share = host.folder / "share"
    links = {str(path.relative_to(share)) for path in share.rglob("*") if path.is_symlink()}
    assert links == {"fish/vendor_completions.d/helm.fish", "zsh/site-functions/_helm"}
    assert (share / "zsh/site-functions/_helm").read_text() == "# zsh completion of helm 1.0.0\n"
    plan = host.have(pin, shells=[])
    assert len(plan.unlinks) == 2
    assert not [path for path in share.rglob("*") if path.is_symlink()]
    assert not host.have(pin, shells=[])


def test_completions_are_made_when_the_version_changes_only(host: Host) -> None:
    pin = host.published("helm", "1.0.0")
    host.have(pin)
    path = host.root / "helm/1.0.0/completion.bash"
    before = path.stat()
    (host.folder / "bin/helm").unlink()
    host.have(pin)
    assert path.stat() == before
    path.write_text("spoilt")
    assert host.have(pin).actions == [f"generate {path}"]
    assert host.completion("helm") == "# bash completion of helm 1.0.0"


def test_a_tool_without_completions(host: Host) -> None:
    pin = dataclasses.replace(host.published("helm", "1.0.0"), completion=())
    host.have(pin)
    assert not (host.folder / "share").exists()


def test_a_download_is_kept_on_request_and_then_used(host: Host) -> None:
    pin = host.published("helm", "1.0.0")
    host.have(pin, cache={"keep": True})
    path = host.cache / "get.helm.sh/helm-v1.0.0-linux-amd64.tar.gz"
    assert sha256(path.read_bytes()) == pin.sha256
    subprocess.run(["rm", "-r", host.root], check=True)
    plan = host.have(pin, cache={"offline": True})
    assert plan.actions[0] == f"take {path}"
    assert path.exists(), "what was there before stays"
    assert len(host.mirror.log) == 1


# --- what somebody did meanwhile


def test_what_was_touched_is_mended(host: Host) -> None:
    pin = host.published("k9s", "1.0.0")
    host.have(pin)
    path = host.root / "k9s/1.0.0/k9s"

    path.write_bytes(binary("k9s", "6.6.6", SIZE))
    assert f"install {path}" in host.have(pin).actions
    assert host.says("k9s") == "k9s 1.0.0"

    path.chmod(0o700)
    assert host.have(pin).actions == [f"make {path} executable"]
    assert not host.have(pin)

    path.unlink()
    assert f"install {path}" in host.have(pin).actions
    (path.parent / "installed.json").write_text("{")
    assert f"install {path}" in host.have(pin).actions

    link = host.folder / "bin/k9s"
    link.unlink()
    assert host.have(pin).actions == [f"link {link} to {path}"]
    completion = host.folder / "share/bash-completion/completions/k9s"
    completion.unlink()
    assert host.have(pin).actions == [f"link {completion} to {path.parent}/completion.bash"]
    assert not host.have(pin)


def test_the_same_content_with_another_date_is_the_same(host: Host) -> None:
    pin = host.published("k9s", "1.0.0")
    host.have(pin)
    os.utime(host.root / "k9s/1.0.0/k9s", (1, 1))
    assert not host.of(pin).plan()


def test_content_of_the_same_size_and_date_is_not(host: Host) -> None:
    pin = host.published("kubectl", "1.0.0")
    host.have(pin)
    path = host.root / "kubectl/1.0.0/kubectl"
    seen = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert host.of(pin).plan().fetch


def test_another_checksum_of_the_same_version_is_another_binary(host: Host) -> None:
    host.have(host.published("kubectl", "1.0.0"))
    pin = host.published("kubectl", "1.0.0", binary("kubectl", "1.0.0-mended"))
    host.have(pin)
    assert host.says("kubectl") == "kubectl 1.0.0-mended"


# --- files of others


def _file(path: Path) -> None:
    path.write_text("of somebody")


def _folder(path: Path) -> None:
    path.mkdir()


def _link(path: Path) -> None:
    path.symlink_to("/usr/bin/true")


def _dangling(path: Path) -> None:
    path.symlink_to("/nowhere/kubectl")


@pytest.mark.parametrize("make", [_file, _folder, _link, _dangling])
@pytest.mark.parametrize("where", ["bin/kubectl", "share/bash-completion/completions/kubectl"])
def test_what_is_not_ours_is_not_replaced(host: Host, make: Callable[[Path], None], where: str) -> None:
    path = host.folder / where
    path.parent.mkdir(parents=True)
    make(path)
    before = host.tree()
    pin = host.published("kubectl", "1.0.0")
    for attempt in (host.of(pin).plan, host.of(pin).converge):
        with pytest.raises(ForeignFile, match="tool_link_dir") as caught:
            attempt()
        assert str(path) in str(caught.value)
    assert host.tree() == before
    assert host.mirror.log == [], "it is said before anything is downloaded"


def test_a_completion_of_others_is_not_removed(host: Host) -> None:
    path = host.folder / "share/zsh/site-functions/_kubectl"
    path.parent.mkdir(parents=True)
    path.write_text("of somebody")
    host.have(host.published("kubectl", "1.0.0"))
    assert path.read_text() == "of somebody"


@pytest.mark.parametrize(
    "change",
    [{"name": "../x"}, {"name": "a/b"}, {"version": "../1"}, {"version": "v1"}, {"sha256": ""}, {"sha256": "x" * 64}],
)
def test_pins_that_cannot_be(host: Host, change: dict[str, str]) -> None:
    with pytest.raises(ToolError):
        host.of(dataclasses.replace(host.published("kubectl", "1.0.0"), **change))


# --- downloads that go wrong, for each tool, with a version before that must live


POINTS = {
    "at once": Fault(cut=0),
    "after a byte": Fault(cut=1),
    "in the middle": Fault(cut=150_000),
    "before the last byte": Fault(cut=-1),
    "in the middle, without a length": Fault(cut=150_000, length=False),
    "in the middle of a chunk": Fault(cut=150_000, chunked=True),
    "other content": Fault(body=b"\0" * SIZE),
    "more content": Fault(body=b"#!/bin/sh\necho evil\n"),
    "error page": Fault(body=b"<html>log in</html>"),
    "refused": Fault(status=403),
    "gone": Fault(status=404),
    "broken": Fault(status=500),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_download_leaves_the_version_before(host: Host, name: str) -> None:
    host.have(host.published(name, "1.0.0"))
    pin = host.published(name, "2.0.0")
    before = host.tree()
    for point, fault in POINTS.items():
        host.mirror.fail(pin.url, fault)
        with pytest.raises(DownloadError) as caught:
            host.have(pin)
        said = str(caught.value)
        assert pin.url.removeprefix("https://") in said, point
        # Where nothing came, there is nothing to compare.
        if not fault.status and point != "at once":
            assert re.search(f"expected sha256 {pin.sha256}, (seen|what came so far has) [0-9a-f]{{64}}", said), said
        assert host.says(name) == f"{name} 1.0.0"
        parts = {each for each in host.tree() if each not in before}
        assert all(each.startswith("cache/") and each.endswith(f"{pin.sha256[:12]}.part") for each in parts), point
        assert {each: seen for each, seen in host.tree().items() if each not in parts} == before, point
        for part in parts:
            # The next point is to be reached from the beginning.
            (host.folder / part).unlink()
    host.mirror.fail(pin.url, Fault(cut=150_000))
    with pytest.raises(Interrupted):
        host.have(pin)
    host.have(pin)
    assert host.mirror.asked(pin.url)[-1] == "bytes=150000-"
    assert host.says(name) == f"{name} 2.0.0"
    assert not host.leftovers()


@pytest.mark.parametrize("name", ["kubectl", "helm"])
def test_what_changes_after_it_was_checked_is_not_installed(
    host: Host, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.have(host.published(name, "1.0.0"))
    pin = host.published(name, "2.0.0")
    original = Cache.get
    evil = host.mirror.files["/" + pin.url.split("://")[1]] + b"#"

    def get(self: Cache, url: str, sha256: str) -> t.Any:
        fetched = original(self, url, sha256)
        Path(fetched.path).write_bytes(evil)
        return fetched

    monkeypatch.setattr(Cache, "get", get)
    with pytest.raises(WrongContent, match=f"expected sha256 {pin.sha256}, seen {sha256(evil)}"):
        host.have(pin)
    assert host.says(name) == f"{name} 1.0.0"
    assert not (host.root / name / "2.0.0").exists()


def test_nobody_to_ask(host: Host) -> None:
    host.have(host.published("helm", "1.0.0"))
    pin = host.published("helm", "2.0.0")
    host.mirror.close()
    with pytest.raises(DownloadError, match="Connection refused"):
        host.have(pin)
    assert host.says("helm") == "helm 1.0.0"
    assert not host.leftovers()


# --- archives with the right checksum and the wrong content


def _evil(name: str, kind: bytes = tarfile.SYMTYPE, target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


BINARY = binary("helm", "2.0.0", SIZE)
MEMBER = "linux-amd64/helm"
ARCHIVES = {
    "another member": (
        archive({"linux-arm64/helm": BINARY, "helm": BINARY}),
        "does not hold linux-amd64/helm, but helm",
    ),
    "nothing": (archive({}), "does not hold linux-amd64/helm, but nothing"),
    "a way out": (archive({"../../../../tmp/evil": b"x", MEMBER: BINARY}), "leads out of it"),
    "a way out behind": (archive({MEMBER: BINARY, "a/../../evil": b"x"}), "leads out of it"),
    "an absolute path": (archive({MEMBER: BINARY, "/tmp/evil": b"x"}), "leads out of it"),
    "a link": (archive({MEMBER: _evil(MEMBER)}), "is not a file"),
    "a hard link": (archive({"x": BINARY, MEMBER: _evil(MEMBER, tarfile.LNKTYPE, "x")}), "is not a file"),
    "a folder": (archive({MEMBER: _evil(MEMBER, tarfile.DIRTYPE, "")}), "is not a file"),
    "a device": (archive({MEMBER: _evil(MEMBER, tarfile.CHRTYPE, "")}), "is not a file"),
    "twice": (archive({MEMBER: BINARY, MEMBER + "#": b"#!/bin/sh\n"}), "twice"),
    "no archive": (BINARY, "is not a whole .tar.gz"),
    "empty": (b"", "is not a whole .tar.gz"),
    "cut": (archive({MEMBER: BINARY})[:-200], "is not a whole .tar.gz"),
    "cut early": (archive({MEMBER: BINARY})[:100_000], "is not a whole .tar.gz"),
    "spoilt": (bytearray(archive({MEMBER: BINARY})), "is not a whole .tar.gz"),
}
ARCHIVES["spoilt"][0][-6] ^= 1  # type: ignore[index]


@pytest.mark.parametrize("what", ARCHIVES)
def test_archives_that_are_not_what_they_should_be(host: Host, what: str) -> None:
    host.have(host.published("helm", "1.0.0"))
    before = host.tree()
    content, said = ARCHIVES[what]
    pin = host.published("helm", "2.0.0", bytes(content))
    with pytest.raises(ArchiveError, match=said) as caught:
        host.have(pin)
    assert pin.url in str(caught.value)
    assert host.says("helm") == "helm 1.0.0"
    installed = {each for each in host.tree() if not each.startswith("cache/")}
    assert installed == {each for each in before if not each.startswith("cache/")}
    assert not Path("/tmp/evil").exists()


def test_members_may_begin_with_a_dot(host: Host) -> None:
    pin = host.published("k9s", "1.0.0", archive({"./LICENSE": b"x", "./k9s": binary("k9s", "1.0.0")}))
    host.have(pin)
    assert host.says("k9s") == "k9s 1.0.0"


# --- disks that are full or must not be written


@pytest.mark.parametrize("name", ["kubectl", "helm"])
def test_a_disk_that_is_full_at_the_installation(host: Host, name: str) -> None:
    with small_disk(host.root, "2m") as disk:
        host.have(host.published(name, "1.0.0"))
        pin = host.published(name, "2.0.0")
        filler = fill(disk, SIZE // 2)
        before = {each for each in host.tree() if not each.startswith("cache/")}
        with pytest.raises(NoSpace, match=r"no space is left for .*Make room"):
            host.have(pin)
        assert host.says(name) == f"{name} 1.0.0"
        assert {each for each in host.tree() if not each.startswith("cache/")} == before
        assert not (disk / name / "2.0.0").exists()
        filler.unlink()
        # The download is there still, and is used up now.
        asked = len(host.mirror.log)
        host.have(pin)
        assert len(host.mirror.log) == asked
        assert host.says(name) == f"{name} 2.0.0"
        assert not host.leftovers()
        assert list(host.cache.iterdir()) == []


def test_a_disk_that_is_full_at_the_completion(host: Host) -> None:
    with small_disk(host.root, "2m") as disk:
        host.have(host.published("kubectl", "1.0.0"))
        # A page for the binary's last one, one each for folder and record, and none for the completion.
        pin = host.published("kubectl", "2.0.0")
        original = Installation._output

        def output(self: Installation, *words: str) -> bytes:
            text = original(self, *words)
            fill(disk, 0)
            return text

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Installation, "_output", output)
            with pytest.raises(NoSpace):
                host.have(pin)
        assert host.says("kubectl") == "kubectl 1.0.0"
        assert host.completion("kubectl") == "# bash completion of kubectl 1.0.0"
        assert not host.leftovers()
        (disk / "filler").unlink()
        asked = len(host.mirror.log)
        host.have(pin)
        assert len(host.mirror.log) == asked, "the binary is there already"
        assert host.completion("kubectl") == "# bash completion of kubectl 2.0.0"


def test_a_disk_that_is_full_at_the_download(host: Host) -> None:
    host.have(host.published("kubectl", "1.0.0"))
    pin = host.published("kubectl", "2.0.0")
    with small_disk(host.cache, "128k"):
        for fault in (Fault(), Fault(chunked=True)):
            host.mirror.fail(pin.url, fault)
            with pytest.raises(NoSpace):
                host.have(pin)
            assert not host.leftovers()
        assert host.says("kubectl") == "kubectl 1.0.0"


def test_a_place_that_must_not_be_written(host: Host) -> None:
    with small_disk(host.root, "2m") as disk:
        host.have(host.published("kubectl", "1.0.0"))
        pin = host.published("kubectl", "2.0.0")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(NotAllowed, match="become: true"):
            host.have(pin)
        assert host.says("kubectl") == "kubectl 1.0.0"
        assert host.mirror.asked(pin.url) == []


# --- binaries that do not do


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x7fELF of another kind of machine", "does not start: Exec format error"),
        (b"#!/bin/sh\necho no completions >&2; exit 3\n", "ends with 3 and says no completions"),
        (b"#!/bin/sh\nexit 0\n", "ends with 0 and says nothing"),
        (b"#!/bin/sh\nexec sleep 60\n", "does not end within"),
    ],
)
def test_a_binary_that_cannot_print_its_completion_is_not_linked(
    host: Host, content: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tools, "_COMPLETION_SECONDS", 1)
    host.have(host.published("kubectl", "1.0.0"))
    pin = host.published("kubectl", "2.0.0", content)
    with pytest.raises(ToolError, match=said):
        host.have(pin)
    assert host.says("kubectl") == "kubectl 1.0.0"
    assert not host.leftovers()
    if b"ELF" not in content:
        host.have(pin, shells=[])


def test_a_new_binary_sees_nothing_of_who_runs_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TOKEN", "s3cret")
    monkeypatch.setenv("KUBECONFIG", "/of/the/caller")
    pin = host.published("k9s", "1.0.0", archive({"k9s": b"#!/bin/sh\nmkdir $HOME/.config; env; pwd\n"}))
    host.have(pin)
    text = host.completion("k9s")
    assert "s3cret" not in text
    assert "KUBECONFIG" not in text
    home = next(line for line in text.splitlines() if line.startswith("HOME=")).removeprefix("HOME=")
    assert home.startswith(tempfile.gettempdir())
    assert not Path(home).exists()


# --- interruptions


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("name", ["kubectl", "helm"])
def test_an_interruption_anywhere_leaves_a_working_tool(tmp_path: Path, name: str) -> None:
    """Before each step that changes a name on the disk, the run ends; the next one goes on."""
    calls = ("replace", "symlink", "unlink", "mkdir", "rmdir", "chmod", "fsync", "utime", "write")
    with mirror_of() as mirror:
        for step in range(1, 200):
            host = Host(tmp_path / str(step), mirror)
            host.have(host.published(name, "1.0.0"))
            pin = host.published(name, "2.0.0")
            # The version before is removed in the end.
            ended = _interrupted(host, pin, calls, step)
            says, completion = host.says(name), host.completion(name)
            assert says in (f"{name} 1.0.0", f"{name} 2.0.0")
            # A binary with the completion of its neighbour is as long as a moment.
            assert completion.startswith("# bash completion of")
            host.have(pin, keep=1)
            assert (host.says(name), host.completion(name)) == (f"{name} 2.0.0", f"# bash completion of {name} 2.0.0")
            assert not host.leftovers(), step
            assert not host.of(pin, keep=1).plan()
            if ended:
                break
        else:
            pytest.fail("it never came to its end")
    assert step > 10, "too few steps were interrupted"


def _interrupted(host: Host, pin: Pin, calls: tuple[str, ...], step: int) -> bool:
    """Whether it came to its end before that step."""
    count = 0
    real = {name: getattr(os, name) for name in calls}

    def counting(name: str) -> Callable[..., t.Any]:
        def call(*args: t.Any, **options: t.Any) -> t.Any:
            nonlocal count
            count += 1
            if count >= step:
                # Whatever cleans up fails, too: as if the process were killed.
                raise _Killed
            return real[name](*args, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in calls:
            patch.setattr(os, name, counting(name))
        try:
            host.have(pin, keep=1)
        except _Killed:
            return False
    return True


def test_two_runs_at_once_do_it_once(host: Host) -> None:
    pin = host.published("kubectl", "1.0.0")
    host.mirror.fail(pin.url, Fault(hang=0.3))
    plans: list[Plan] = []
    runs = [threading.Thread(target=lambda: plans.append(host.have(pin))) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert sorted(map(bool, plans)) == [False, False, True]
    assert len(host.mirror.log) == 1
    assert host.says("kubectl") == "kubectl 1.0.0"
