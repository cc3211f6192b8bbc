# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules ``schematic`` and ``image``, as Ansible runs them, with a simulated Image Factory."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from rehearsal.image_factory import Fault, ImageFactory, factory_of
from tests.talos_image import SMALL, compress_xz, compress_zst, write_image
from tests.tool_mirror import fill, mirror_of, sha256, small_disk

from .conftest import ROOT, pythons

VERSION = "1.14.2"
PI = "ee21ef4a5ef808a9b7484cc0dda0f25075021691c8c09a276591eedb638ea1f9"
EXTENDED = {"customization": {"systemExtensions": {"officialExtensions": ["siderolabs/iscsi-tools"]}}}
OTHER = "a" * 64


@dataclass(frozen=True)
class Talos:
    """One image in both formats."""

    zst: bytes
    xz: bytes

    def of(self, _schematic: str, version: str, form: str) -> bytes | None:
        return {"zst": self.zst, "xz": self.xz}[form] if version == VERSION else None


@pytest.fixture(scope="module")
def talos(tmp_path_factory: pytest.TempPathFactory) -> Talos:
    raw = write_image(tmp_path_factory.mktemp("image") / "metal-arm64.raw", SMALL)
    return Talos(compress_zst(raw).read_bytes(), compress_xz(raw).read_bytes())


@pytest.fixture
def factory(talos: Talos) -> Iterator[ImageFactory]:
    with factory_of(talos.of) as factory:
        yield factory


@dataclass
class Outcome:
    """How one task ended on each host; ``output`` is what a user sees."""

    rc: int
    output: str
    results: dict[str, dict[str, t.Any]]

    @property
    def only(self) -> dict[str, t.Any]:
        (result,) = self.results.values()
        return result

    @property
    def ok(self) -> dict[str, t.Any]:
        assert self.rc == 0, self.output
        return self.only

    @property
    def failed(self) -> dict[str, t.Any]:
        assert self.rc == 2, self.output
        assert self.only["failed"]
        assert "Traceback" not in self.output
        return self.only


@dataclass
class Site:
    """An inventory with two nodes, and a host of its own for the images."""

    folder: Path
    factory: ImageFactory
    python: str = sys.executable
    nodes: dict[str, dict[str, t.Any]] = field(default_factory=dict)

    @property
    def lock(self) -> Path:
        return self.folder / "inventory" / "images.lock.yml"

    @property
    def cache(self) -> Path:
        return self.folder / "admin" / "cache"

    def path(self, schematic: str = PI, form: str = "zst") -> Path:
        place = self.factory.url.split("://", 1)[1]
        return self.cache / place / "image" / schematic / f"v{VERSION}" / f"metal-arm64.raw.{form}"

    def locked(self) -> t.Any:
        return yaml.safe_load(self.lock.read_text()) if self.lock.exists() else None

    def lock_as(self, content: str, schematic: str = PI, form: str = "zst") -> None:
        self.lock.parent.mkdir(exist_ok=True)
        self.lock.write_text(yaml.safe_dump({schematic: {VERSION: {form: content}}}))

    def argv(self, module: str, arguments: dict[str, t.Any], *words: str, hosts: str = "n-w1") -> list[str]:
        inventory = self.folder / "inventory"
        inventory.mkdir(exist_ok=True)
        local = {"ansible_connection": "local", "ansible_python_interpreter": self.python}
        nodes = {"n-w1": {}, "n-w2": {"node_schematic": EXTENDED}, **self.nodes}
        cluster = {
            "cluster_name": "test",
            "cluster_talos_version": VERSION,
            "cluster_admin_dir": str(self.folder / "admin"),
            "node_board": "rpi_4",
        }
        hosts_file = {"talos": {"vars": {**local, **cluster}, "children": {"workers": {"hosts": nodes}}}}
        (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts_file))
        loop = arguments.pop("loop", None)
        task = {f"homelab.talos.{module}": {"factory": self.factory.url, "retries": 1, **arguments}, "register": "it"}
        if loop:
            task |= {"loop": loop, "ignore_errors": True}
        keep = {
            "ansible.builtin.copy": {
                "content": "{{ it | to_json }}",
                "dest": f"{self.folder}/{{{{ inventory_hostname }}}}.json",
            },
            "check_mode": False,
        }
        play = self.folder / "play.yml"
        play.write_text(
            yaml.safe_dump([{"hosts": hosts, "gather_facts": False, "tasks": [{"block": [task], "always": [keep]}]}])
        )
        return [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), str(play), *words]

    def environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return environment | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_FORCE_COLOR": "0",
            "HOME": str(self.folder / "home"),
            "LC_ALL": "C.UTF-8",
        }

    def run(self, module: str, *words: str, hosts: str = "n-w1", **arguments: t.Any) -> Outcome:
        for old in self.folder.glob("*.json"):
            old.unlink()
        done = subprocess.run(
            self.argv(module, arguments, *words, hosts=hosts),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=self.environment(),
            timeout=200,
            check=False,
        )
        results = {path.stem: json.loads(path.read_text()) for path in sorted(self.folder.glob("*.json"))}
        return Outcome(done.returncode, done.stdout, results)


@pytest.fixture
def site(tmp_path: Path, factory: ImageFactory) -> Site:
    (tmp_path / "home").mkdir()
    return Site(tmp_path, factory)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


# --- schematic


def test_schematics_of_the_inventory_are_registered(site: Site) -> None:
    outcome = site.run("schematic", hosts="talos")
    assert outcome.rc == 0, outcome.output
    first, second = outcome.results["n-w1"], outcome.results["n-w2"]
    assert first["id"] == PI
    assert set(site.factory.schematics) == {PI, second["id"]}
    assert not first["changed"]
    assert first["registered"]
    assert first["image_url"] == f"{site.factory.url}/image/{PI}/v{VERSION}/metal-arm64.raw.zst"
    assert first["installer_image"] == f"factory.talos.dev/metal-installer/{PI}:v{VERSION}"
    assert "differences" not in first
    assert second["schematic"]["overlay"] == {"image": "siderolabs/sbc-raspberrypi", "name": "rpi_generic"}
    assert "iscsi-tools" in site.factory.schematics[second["id"]]


@pytest.mark.slow
def test_check_mode_and_no_network_register_nothing(site: Site) -> None:
    assert site.run("schematic", "--check").ok["id"] == PI
    assert not site.run("schematic", offline=True).ok["registered"]
    assert not site.run("schematic", mirror=site.factory.url).ok["registered"]
    assert not site.run("schematic", schematic=OTHER).ok["registered"]
    assert site.factory.log == []


def test_a_schematic_by_its_options(site: Site) -> None:
    added = {
        "overlay": {"options": {"configTxtAppend": "gpu_mem=16\n"}},
        "customization": {
            "extraKernelArgs": ["net.ifnames=0"],
            "meta": [{"key": 12, "value": "rack-1"}],
            "systemExtensions": {"officialExtensions": ["siderolabs/iscsi-tools"]},
        },
    }
    options = {"board": "rpi_5", "schematic": added, "talos_version": "v1.13.9", "format": "xz"}
    found = site.run("schematic", installer_registry="registry.lan:5000", **options).ok
    text = site.factory.schematics[found["id"]]
    for part in ("name: rpi_5", "gpu_mem=16", "net.ifnames=0", "value: rack-1", "siderolabs/iscsi-tools"):
        assert part in text
    assert found["image_url"].endswith(f"/image/{found['id']}/v1.13.9/metal-arm64.raw.xz")
    assert found["installer_image"] == f"registry.lan:5000/metal-installer/{found['id']}:v1.13.9"


@pytest.mark.slow
def test_what_a_node_runs_otherwise(site: Site) -> None:
    running = {"schematic_id": PI, "extensions": {"vc4": "v1.0", "modules.dep": "6.18"}}
    assert site.run("schematic", running=running).ok["differences"] == []
    found = site.run("schematic", hosts="n-w2", running=running).ok
    assert found["differences"] == [
        f"schematic {found['id']} is declared, {PI} (rpi_4 without additions) runs",
        "extension iscsi-tools is missing on the node",
        "extension vc4 runs and is not declared",
    ]


@pytest.mark.slow
def test_another_id_of_the_factory(site: Site) -> None:
    site.factory.other_id = OTHER
    for module in ("schematic", "image"):
        failure = site.run(module).failed["failure"]
        assert failure["kind"] == "OtherSchematic"
        assert f"makes {OTHER} of a schematic whose ID is {PI}" in failure["cause"]
    assert not site.factory.asked("GET", "/image")
    assert site.locked() is None


SECRETS: dict[str, dict[str, t.Any]] = {
    "embeddedMachineConfiguration": {"embeddedMachineConfiguration": "token: hunter2"},
    "meta[0].key": {"meta": [{"key": 9, "value": "hunter2"}]},
    "meta[0].value": {"meta": [{"key": 10, "value": "privateKey=hunter2"}]},
    "extraKernelArgs[0]": {"extraKernelArgs": ["talos.config=https://me:hunter2@host/"]},
}


@pytest.mark.parametrize("module", ["schematic", "image"])
def test_no_secret_reaches_the_factory(site: Site, module: str) -> None:
    site.nodes = {
        f"n-{number}": {"node_schematic": {"customization": part}} for number, part in enumerate(SECRETS.values())
    }
    outcome = site.run(module, hosts=",".join(site.nodes))
    for key, result in zip(SECRETS, outcome.results.values(), strict=True):
        assert result["failed"]
        assert f"schematic.customization.{key} is" in result["msg"]
        assert "serves a schematic to anyone" in result["msg"]
    assert "hunter2" not in outcome.output
    assert site.factory.log == []


# --- image


def test_an_image_is_downloaded_once_and_recorded(site: Site, talos: Talos) -> None:
    found = site.run("image", "--check").ok
    assert (found["changed"], found["recorded"], found["sha256"]) == (True, True, "")
    assert (site.factory.log, site.locked(), site.cache.exists()) == ([], None, False)

    found = site.run("image").ok
    assert found["changed"]
    assert found["recorded"]
    assert found["path"] == str(site.path())
    assert site.path().read_bytes() == talos.zst
    assert (found["sha256"], found["size"]) == (sha256(talos.zst), len(talos.zst))
    assert (found["raw_size"], found["format"], found["schematic_id"]) == (SMALL.size, "zst", PI)
    assert site.locked() == {PI: {VERSION: {"zst": sha256(talos.zst)}}}
    assert stat.S_IMODE(site.lock.stat().st_mode) == 0o644
    assert stat.S_IMODE(site.cache.parent.stat().st_mode) == 0o700
    assert files(site.cache) == {"metal-arm64.raw.zst"}
    asked = [each.path.split("/")[1] for each in site.factory.log]
    assert asked == ["schematics", "image", "storage"], "registered before the first download"

    site.factory.log.clear()
    for words in ([], ["--check"]):
        again = site.run("image", *words).ok
        assert (again["changed"], again["recorded"], again["sha256"]) == (False, False, sha256(talos.zst))
    assert site.factory.log == []


def test_several_nodes_at_once_share_one_download_and_one_lock(site: Site, talos: Talos) -> None:
    site.nodes["n-w3"] = site.nodes["n-w4"] = {}
    outcome = site.run("image", "--forks", "4", hosts="talos")
    assert outcome.rc == 0, outcome.output
    ids = {result["schematic_id"] for result in outcome.results.values()}
    assert len(ids) == 2
    assert site.locked() == {identity: {VERSION: {"zst": sha256(talos.zst)}} for identity in ids}
    assert len(site.factory.asked("GET", "/storage")) == 2


@pytest.mark.slow
def test_xz_needs_another_line_of_the_lock(site: Site, talos: Talos) -> None:
    site.run("image").ok  # noqa: B018
    found = site.run("image", format="xz").ok
    assert found["raw_size"] == SMALL.size
    assert site.locked() == {PI: {VERSION: {"zst": sha256(talos.zst), "xz": sha256(talos.xz)}}}


def test_another_image_than_the_recorded_one_is_never_put_in_place(site: Site, talos: Talos) -> None:
    site.lock_as(OTHER)
    failed = site.run("image").failed
    assert failed["failure"]["kind"] == "WrongContent"
    assert f"expected sha256 {OTHER}, seen {sha256(talos.zst)}" in failed["msg"]
    assert files(site.cache) == set()
    assert site.locked() == {PI: {VERSION: {"zst": OTHER}}}
    # The same with what somebody laid into the cache.
    site.path().parent.mkdir(parents=True, exist_ok=True)
    site.path().write_bytes(talos.zst)
    failed = site.run("image", offline=True).failed
    assert f"expected sha256 {OTHER}, seen {sha256(talos.zst)}" in failed["msg"]


@pytest.mark.slow
def test_a_given_sha256(site: Site, talos: Talos) -> None:
    assert "64 digits" in site.run("image", sha256="abc").failed["msg"]
    assert f"expected sha256 {OTHER}" in site.run("image", sha256=OTHER).failed["msg"]
    found = site.run("image", sha256=sha256(talos.zst)).ok
    assert (found["changed"], found["recorded"], site.locked()) == (True, False, None)
    site.lock_as(OTHER)
    assert f"{site.lock} has {OTHER} for this image" in site.run("image", sha256=sha256(talos.zst)).failed["msg"]


def broken(good: bytes, other_format: bytes) -> dict[str, bytes]:
    middle, near_end = len(good) // 2, len(good) - 20
    return {
        "truncated": good[:middle],
        "truncated by a byte": good[:-1],
        "corrupt in the middle": good[:middle] + bytes([good[middle] ^ 4]) + good[middle + 1 :],
        "corrupt near the end": good[:near_end] + bytes([good[near_end] ^ 4]) + good[near_end + 1 :],
        "garbage behind it": good + b"garbage",
        "padding behind it": good + bytes(8),
        "two of them": good + good,
        "error page": b"<html>down for maintenance</html>",
        "empty": b"",
        "the other format": other_format,
    }


@pytest.mark.slow
@pytest.mark.parametrize("form", ["zst", pytest.param("xz", marks=pytest.mark.slow)])
@pytest.mark.parametrize("known", [False, True], ids=["first use", "given"])
def test_a_broken_image_is_never_put_in_place(site: Site, talos: Talos, form: str, known: bool) -> None:
    good, other = (talos.zst, talos.xz) if form == "zst" else (talos.xz, talos.zst)
    cases = broken(good, other)
    site.factory.fail(*(Fault(body=body) for body in cases.values()))
    sums = [sha256(body) if known else "" for body in cases.values()]
    outcome = site.run("image", loop=sums, format=form, sha256="{{ item }}", retries=0)
    for name, result in zip(cases, outcome.only["results"], strict=True):
        assert result["failed"], name
        assert result["failure"]["kind"] in ("WrongContent", "DownloadError"), (name, result)
    assert site.factory.faults == []
    assert files(site.cache) == set()
    assert site.locked() is None
    # The factory has recovered, and nothing of the broken ones is in the way.
    assert site.run("image", format=form).ok["sha256"] == sha256(good)


def test_a_broken_transfer_goes_on(site: Site, talos: Talos) -> None:
    middle = len(talos.zst) // 3
    site.factory.fail(Fault(cut=middle), Fault(status=503))
    failed = site.run("image").failed
    assert failed["failure"]["kind"] == "Interrupted"
    assert files(site.cache) == {"metal-arm64.raw.zst.new.part"}
    assert site.locked() is None
    site.factory.fail(Fault(cut=middle))
    assert site.run("image").ok["sha256"] == sha256(talos.zst)
    ranges = [each.range for each in site.factory.asked("GET", "/storage")]
    assert ranges[0] == ""
    assert all(each.startswith("bytes=") for each in ranges[1:])


@pytest.mark.slow
def test_a_stalled_transfer_is_tried_again(site: Site, talos: Talos) -> None:
    site.factory.fail(Fault(stall=60))
    assert site.run("image", timeout=1).ok["sha256"] == sha256(talos.zst)
    assert [each.range != "" for each in site.factory.asked("GET", "/storage")] == [False, True]


@pytest.mark.slow
def test_a_part_of_another_image_is_noticed(site: Site, talos: Talos) -> None:
    site.path().parent.mkdir(parents=True)
    site.path().with_name("metal-arm64.raw.zst.new.part").write_bytes(b"other" * 1000)
    assert site.run("image").ok["sha256"] == sha256(talos.zst)
    assert files(site.cache) == {"metal-arm64.raw.zst"}


@pytest.mark.slow
def test_what_the_factory_does_not_know(site: Site) -> None:
    for options in ({"schematic": OTHER}, {"talos_version": "1.14.9"}):
        failed = site.run("image", **options).failed
        assert failed["failure"]["kind"] == "NotThere"
        assert "does not know schematic" in failed["msg"]
    assert "three numbers" in site.run("image", talos_version="1.14").failed["msg"]


@pytest.mark.slow
def test_no_room(site: Site) -> None:
    with small_disk(site.folder / "admin", "4m") as disk:
        fill(disk, 1 << 20)
        assert site.run("image").failed["failure"]["kind"] == "NoSpace"
        assert files(site.cache) == set()


@pytest.mark.slow
def test_without_network(site: Site, talos: Talos) -> None:
    failed = site.run("image", offline=True).failed
    assert failed["failure"]["kind"] == "NotInCache"
    for said in (str(site.path()), "card_offline", f"wget --force-directories {site.factory.url}/image/{PI}"):
        assert said in failed["msg"]
    site.path().parent.mkdir(parents=True, exist_ok=True)
    site.path().write_bytes(talos.zst)
    assert site.run("image", offline=True).ok["recorded"]
    assert site.factory.log == []


@pytest.mark.slow
def test_a_mirror_is_asked_instead_of_the_factory(site: Site, talos: Talos) -> None:
    with mirror_of() as mirror:
        assert f"{mirror.url}/127.0.0.1" in site.run("image", mirror=mirror.url).failed["msg"]
        mirror.put(f"{site.factory.url}/image/{PI}/v{VERSION}/metal-arm64.raw.zst", talos.zst)
        assert site.run("image", mirror=mirror.url).ok["sha256"] == sha256(talos.zst)
    assert site.factory.log == []


@pytest.mark.slow
def test_through_a_proxy(site: Site, talos: Talos) -> None:
    found = site.run("image", factory="http://nowhere.example/", proxy=site.factory.url).ok
    assert found["url"].startswith("http://nowhere.example/image/")
    assert found["sha256"] == sha256(talos.zst)
    with factory_of(talos.of) as gone:
        pass
    outcome = site.run(
        "image", format="xz", factory="http://nowhere.example", proxy=gone.url.replace("//", "//me:pw3@")
    )
    assert "card_proxy" in outcome.failed["msg"]
    assert "pw3" not in outcome.output


@pytest.mark.slow
def test_a_file_that_was_brought_along(site: Site, talos: Talos, tmp_path: Path) -> None:
    file = tmp_path / "stick.raw.xz"
    assert "there is no file" in site.run("image", file=str(file)).failed["msg"]
    file.write_bytes(talos.xz[:-1])
    assert "is another image" in site.run("image", file=str(file)).failed["msg"]
    file.write_bytes(talos.xz)
    found = site.run("image", file=str(file)).ok
    assert (found["path"], found["url"], found["recorded"]) == (str(file), "", True)
    assert site.locked() == {PI: {VERSION: {"xz": sha256(talos.xz)}}}
    file.write_bytes(talos.xz[:-1])
    assert f"expected sha256 {sha256(talos.xz)}" in site.run("image", file=str(file)).failed["msg"]
    assert site.factory.log == []
    assert not site.cache.exists()


@pytest.mark.slow
def test_a_python_that_has_nothing_but_itself(site: Site, talos: Talos) -> None:
    site.python = pythons()[0]
    failed = site.run("image").failed
    assert failed["failure"]["kind"] == "MissingLibrary"
    assert f"{site.python} -m pip install backports.zstd" in failed["msg"]
    assert site.factory.log == [], "told before a hundred megabytes came"
    assert site.run("image", format="xz").ok["sha256"] == sha256(talos.xz)
    assert site.run("schematic").ok["registered"]


@pytest.mark.parametrize("text", [f"{PI}: {{{VERSION}: {{zst: abc}}}}", "a: b: c"])
def test_a_lock_that_is_none(site: Site, text: str) -> None:
    site.lock.parent.mkdir()
    site.lock.write_text(text)
    assert str(site.lock) in site.run("image").failed["msg"]
    assert site.factory.log == []
    assert site.lock.read_text() == text


def test_an_interrupted_run_leaves_a_part_and_no_process(site: Site, talos: Talos) -> None:
    site.factory.fail(Fault(stall=120))
    argv = site.argv("image", {"timeout": 2, "retries": 100})
    with subprocess.Popen(
        argv, cwd=site.folder, env=site.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        part = site.path().with_name("metal-arm64.raw.zst.new.part")
        until(lambda: part.exists() and part.stat().st_size > 0)
        running.send_signal(signal.SIGINT)
        running.wait(60)
    until(lambda: not processes_with(str(site.cache)))
    assert site.locked() is None
    assert site.run("image").ok["sha256"] == sha256(talos.zst)


def until(condition: t.Callable[[], bool]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("it never came to be")


def processes_with(text: str) -> list[str]:
    """Processes that have a file open below this folder."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith(text):
            found.append(str(link))
    return found
