# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phase ``image`` on loop devices, with a simulated Image Factory. Needs root."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
import sys
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ansible_collections.homelab.talos.plugins.module_utils import _card_marker as card_marker
from ansible_collections.homelab.talos.plugins.module_utils import _card_state as card_state
from ansible_collections.homelab.talos.plugins.module_utils._card_marker import Marker
from rehearsal.image_factory import ImageFactory, factory_of
from tests import talos_image
from tests.talos_image import Image

from .conftest import HEAD, MIB, ROOT, Loop, Workbench, detach, run
from .terminal import Terminal

VERSION = "1.14.2"
PI4 = "ee21ef4a5ef808a9b7484cc0dda0f25075021691c8c09a276591eedb638ea1f9"
_RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=0\s+failed=(\d+)", re.MULTILINE)


class Outcome:
    """How a playbook ended."""

    def __init__(self, rc: int, output: str) -> None:
        self.rc, self.output = rc, output
        counts = _RECAP.findall(output)
        self.changed = sum(int(changed) for _host, changed, _failed in counts)
        self.failed = {host for host, _changed, failed in counts if int(failed)}

    def require_ok(self) -> Outcome:
        assert self.rc == 0, self.output
        return self

    def require_failed(self, *said: str) -> Outcome:
        assert self.rc != 0, self.output
        words = " ".join(self.output.split())
        for text in said:
            assert text in words, self.output
        assert "Traceback" not in self.output
        return self


class Site:
    """An inventory of four nodes whose readers are links to loop devices, as those in by-id are to cards."""

    def __init__(self, folder: Path, factory: ImageFactory, bench: Workbench, image: Image) -> None:
        self.folder, self.factory, self.bench, self.image = folder, factory, bench, image
        self.nodes: dict[str, dict[str, t.Any]] = {f"n-w{number}": {} for number in range(1, 5)}
        self.readers: list[Path] = []
        self.variables: dict[str, t.Any] = {}
        self.groups: dict[str, t.Any] = {}
        (folder / "home").mkdir()

    def reader(self, card: Loop | None = None) -> Path:
        link = self.folder / f"reader-{len(self.readers)}"
        self.readers.append(link)
        if card:
            self.insert(link, card)
        return link

    @staticmethod
    def insert(reader: Path, card: Loop) -> None:
        reader.unlink(missing_ok=True)
        reader.symlink_to(card.device)

    def declare(self, node: str, card: Loop, **other: t.Any) -> None:
        self.nodes[node] = {"card_identity": card.identity, **other}

    @property
    def records_path(self) -> Path:
        return self.folder / "inventory" / "cards.yml"

    @property
    def records(self) -> dict[str, dict[str, t.Any]]:
        return yaml.safe_load(self.records_path.read_text()) if self.records_path.exists() else {}

    def argv(self, *words: str) -> list[str]:
        inventory = self.folder / "inventory"
        inventory.mkdir(exist_ok=True)
        cluster = {
            "cluster_name": "home",
            "cluster_endpoint": "https://127.0.0.1:6443",
            "cluster_talos_version": VERSION,
            "cluster_admin_dir": str(self.folder / "admin"),
            "node_board": "rpi_4",
            "node_address": "127.0.0.9",
            "card_factory": self.factory.url,
            "card_size": "48MiB",
            # Where a node's own connection would lead, nothing is to be had.
            "ansible_connection": "ssh",
            "ansible_host": "nowhere.invalid",
            "ansible_python_interpreter": "/nowhere/python",
        }
        console = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        writer = {**console, "card_readers": [str(reader) for reader in self.readers]}
        hosts = {
            "admin": {"hosts": {"console": console}},
            "image_writer": {"hosts": {"desk": writer}},
            **self.groups,
            "talos": {
                "vars": {**cluster, **self.variables},
                "children": {"workers": {"hosts": self.nodes}, "controlplanes": {}},
            },
        }
        (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts, sort_keys=False))
        playbook = str(ROOT / "playbooks" / "phases" / "image.yml")
        return [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), playbook, *words]

    @property
    def environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return environment | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_NOCOLOR": "1",
            "HOME": str(self.folder / "home"),
            "LC_ALL": "C.UTF-8",
            "TERM": "dumb",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def run(self, *words: str) -> Outcome:
        """Without a terminal."""
        done = subprocess.run(
            self.argv(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env=self.environment,
            timeout=300,
            check=False,
        )
        return Outcome(done.returncode, done.stdout)

    def in_terminal(self, *words: str) -> Terminal:
        return Terminal(self.argv(*words), ROOT, self.environment)

    def require_card_of(self, node: str, card: Loop) -> None:
        """The card holds the image and is marked for the node, and is recorded so."""
        card.require_image(self.image)
        marker = card.state().marker
        assert marker is not None
        assert (marker.node, marker.cluster, marker.version, marker.schematic) == (node, "home", VERSION, PI4)
        assert self.records[node] == {
            "identity": card.identity,
            "size": len(card.content),
            "schematic": PI4,
            "version": VERSION,
            "image": hashlib.sha256(self.image.zst.read_bytes()).hexdigest(),
        }


@pytest.fixture
def site(tmp_path: Path, bench: Workbench, image: Image) -> Iterator[Site]:
    content = image.zst.read_bytes()
    with factory_of(lambda _schematic, version, form: content if (version, form) == (VERSION, "zst") else None) as it:
        yield Site(tmp_path, it, bench, image)


def two_declared(site: Site) -> tuple[Loop, Loop]:
    first, second = site.bench.card(), site.bench.card(fill=True)
    site.declare("n-w1", first)
    site.declare("n-w2", second)
    site.reader(first)
    site.reader(second)
    return first, second


ONLY_TWO = ("--limit", "n-w1,n-w2")


def test_the_second_run_changes_nothing_and_asks_nothing(site: Site) -> None:
    first, second = two_declared(site)
    photos = site.bench.card(fill=True)
    outcome = site.run(*ONLY_TWO).require_ok()
    assert outcome.changed
    site.require_card_of("n-w1", first)
    site.require_card_of("n-w2", second)
    assert stat.S_IMODE(site.records_path.stat().st_mode) == 0o644
    # One decompression for both, and one download.
    assert outcome.output.count("TASK [homelab.talos.card : Write the cards]") == 1
    assert len(site.factory.asked("GET", "/image")) == 1

    written, before = [card.sectors_written for card in (first, second)], site.records_path.read_bytes()
    assert site.run(*ONLY_TWO).require_ok().changed == 0
    assert [card.sectors_written for card in (first, second)] == written
    assert site.records_path.read_bytes() == before

    # Their cards are in their Pis now, and in the reader is somebody else's.
    for card in (first, second):
        detach(card.device)
        site.bench.cards.remove(card)
    site.insert(site.readers[0], photos)
    site.readers[1].unlink()
    seen = photos.sectors_written
    assert site.run(*ONLY_TWO).require_ok().changed == 0
    assert photos.sectors_written == seen
    assert site.records_path.read_bytes() == before

    site.variables["cluster_talos_version"] = "1.14.3"
    outcome = site.run(*ONLY_TWO).require_ok()
    assert outcome.changed == 0
    assert "n-w1: its card was made with Talos 1.14.2, and 1.14.3 is declared" in outcome.output


def test_check_mode_says_what_it_would_do_and_does_nothing(site: Site) -> None:
    first, second = two_declared(site)
    written = [card.sectors_written for card in (first, second)]
    outcome = site.run(*ONLY_TWO, "--check").require_ok()
    words = " ".join(outcome.output.split())
    for card in (first, second):
        assert f"Talos {VERSION} (schematic {PI4}) gets onto {card.identity} in {card.device}" in words
    assert outcome.changed
    assert [card.sectors_written for card in (first, second)] == written
    assert not site.records_path.exists()
    assert not list(site.folder.glob("admin/**/*.zst"))

    with site.in_terminal("--check", "--limit", "n-w3") as terminal:
        assert terminal.wait() == 0, terminal.output
    assert "gets onto a card, which is asked for in" in " ".join(terminal.output.split())
    assert "press Enter" not in terminal.output


def test_without_a_terminal_cards_must_be_declared(site: Site) -> None:
    first, _second = two_declared(site)
    written = first.sectors_written
    site.run().require_failed("there is no terminal to ask for the cards of n-w3, n-w4", "card_identity")
    assert first.sectors_written == written
    assert site.factory.log == []
    assert not site.records_path.exists()


@pytest.mark.slow
def test_a_declared_card_that_is_in_no_reader_does_not_stop_the_others(site: Site) -> None:
    first, second = two_declared(site)
    site.nodes["n-w2"]["card_identity"] = f"{second.identity}-elsewhere"
    outcome = site.run(*ONLY_TWO, "--tags", "image").require_failed(
        f"its card {second.identity}-elsewhere is in no reader"
    )
    assert outcome.failed == {"n-w2"}
    site.require_card_of("n-w1", first)
    assert set(site.records) == {"n-w1"}


@pytest.mark.slow
def test_a_half_written_card_is_finished_without_a_question(site: Site) -> None:
    card = site.bench.card(content=site.image.content[: 20 * MIB])
    marker = Marker(node="n-w1", cluster="home", image=hashlib.sha256(site.image.zst.read_bytes()).hexdigest())
    card.put(0, bytes(HEAD))
    card.put(card_marker.OFFSET, marker.pack())
    assert card.state().content == card_state.UNFINISHED
    site.reader(card)
    site.run("--tags", "n-w1").require_ok()
    site.require_card_of("n-w1", card)


@pytest.mark.parametrize("declared", ["24MiB", "128GB"])
def test_a_card_of_another_size_than_declared(site: Site, declared: str) -> None:
    first, _second = two_declared(site)
    site.nodes["n-w1"]["card_size"] = declared
    written = first.sectors_written
    size = {"24MiB": "25.2 MB", "128GB": "128.0 GB"}[declared]
    site.run(*ONLY_TWO).require_failed(f"it has 50.3 MB, and card_size of n-w1 is {size}")
    assert first.sectors_written == written


@pytest.mark.slow
def test_a_card_of_another_node_is_refused_unless_forced(site: Site) -> None:
    first, second = two_declared(site)
    site.run(*ONLY_TWO).require_ok()
    talos_image.provision(second.file, site.image.geometry)
    run("blockdev", "--flushbufs", second.device)
    site.declare("n-w3", first)
    site.declare("n-w4", second)
    del site.nodes["n-w1"]["card_identity"], site.nodes["n-w2"]["card_identity"]
    written = [card.sectors_written for card in (first, second)]
    site.run().require_failed(
        "n-w3: the card in",
        "it holds a Talos image (1.14.2) for n-w1 of cluster home",
        "it is the card of the Talos node",
    )
    assert [card.sectors_written for card in (first, second)] == written

    site.run("-e", "card_force=true", "--limit", "n-w3,n-w4").require_ok()
    site.require_card_of("n-w3", first)
    site.require_card_of("n-w4", second)
    assert set(site.records) == {"n-w3", "n-w4"}


@pytest.mark.slow
def test_two_readers_of_which_one_card_fails(site: Site, tmp_path: Path) -> None:
    first, second = two_declared(site)
    site.variables["card_size"] = None
    # Too small for the image, which only its writer knows.
    small = site.bench.card(16 * MIB)
    site.declare("n-w2", small)
    outcome = site.run(*ONLY_TWO).require_failed("n-w2", f"has {16 * MIB} bytes, and the image needs")
    assert outcome.failed == {"n-w2"}
    site.require_card_of("n-w1", first)
    assert set(site.records) == {"n-w1"}
    site.declare("n-w2", second)
    site.run(*ONLY_TWO).require_ok()
    site.require_card_of("n-w2", second)


def test_one_reader_for_one_node_after_another(site: Site) -> None:
    cards = [site.bench.card() for _ in range(3)]
    foreign, wrong = site.bench.card(content=site.image.content), site.bench.card(64 * MIB)
    talos_image.provision(foreign.file, site.image.geometry)
    run("blockdev", "--flushbufs", foreign.device)
    reader = site.reader()
    with site.in_terminal() as terminal:
        terminal.read_until(f"Put the card for n-w1 into {reader}, then press Enter (s: skip this node, Ctrl-C: stop)")
        terminal.read_until("there is no card in", typing=b"\r")
        site.insert(reader, cards[0])
        terminal.read_until("Put the card for n-w2 into")
        terminal.read_until("is still that of n-w1", typing=b"\r")
        site.insert(reader, foreign)
        terminal.read_until("it is the card of the Talos node")
        terminal.read_until("Put the card for n-w2 into")
        site.insert(reader, wrong)
        terminal.read_until("it has 67.1 MB, and card_size of n-w2 is 50.3 MB", typing=b"\r")
        terminal.read_until("Put the card for n-w2 into")
        site.insert(reader, cards[1])
        terminal.read_until("Put the card for n-w3 into", typing=b"\r")
        terminal.read_until("Put the card for n-w4 into", typing=b"s\r")
        # Somebody takes that of n-w1 for a blank one.
        site.insert(reader, cards[0])
        terminal.read_until("is still that of n-w1", typing=b"\r")
        site.insert(reader, cards[2])
        assert terminal.wait() == 0, terminal.output
    for node, card in zip(("n-w1", "n-w2", "n-w4"), cards, strict=True):
        site.require_card_of(node, card)
    assert set(site.records) == {"n-w1", "n-w2", "n-w4"}


def test_the_terminal_is_left_by_ctrl_c(site: Site) -> None:
    card = site.bench.card()
    reader = site.reader(card)
    written = card.sectors_written
    with site.in_terminal("--limit", "n-w1") as terminal:
        terminal.read_until(f"Put the card for n-w1 into {reader}")
        terminal.read_until("stopped at the terminal", typing=b"\x03")
        assert terminal.wait() != 0
    assert card.sectors_written == written
    assert site.records == {}


@pytest.mark.slow
def test_the_admin_host_has_the_readers_and_the_nodes_python(site: Site) -> None:
    console = {"ansible_connection": "local", "card_readers": [str(site.reader())]}
    site.groups = {"admin": {"hosts": {"console": console}}, "image_writer": {}}
    site.run("--check").require_failed("/nowhere/python")
    site.variables["ansible_python_interpreter"] = sys.executable
    site.run("--check").require_failed("there is no terminal")


def test_no_reader_is_an_error_in_the_playbook_alone(site: Site) -> None:
    site.run().require_failed("no reader is declared. Declare card_readers")
