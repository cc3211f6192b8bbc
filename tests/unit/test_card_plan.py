# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which node is due, which card becomes whose, and what is refused."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import _card_state as card_state
from ansible_collections.homelab.talos.plugins.module_utils._block_devices import Disk
from ansible_collections.homelab.talos.plugins.module_utils._card_marker import Marker
from ansible_collections.homelab.talos.plugins.module_utils._card_plan import (
    CardProblem,
    Chosen,
    Cluster,
    NodeCard,
    Plan,
    Seen,
    judge,
    objection,
    plan,
)
from ansible_collections.homelab.talos.plugins.module_utils._card_records import Record, Records
from ansible_collections.homelab.talos.plugins.module_utils._card_state import CardState

GB = 10**9
PI4, PI5 = "4" * 64, "5" * 64
READERS = ["/dev/sdb", "/dev/sdc"]
BLANK = CardState(card_state.EMPTY)


def node(name: str = "w1", **other: t.Any) -> NodeCard:
    return NodeCard(**{"node": name, "schematic": PI4, "version": "1.14.2", "source": "zst", "size": 32 * GB, **other})


def card(
    device: str = "/dev/sdb", identity: str = "mmc:1", state: CardState = BLANK, reader: str = "", **other: t.Any
) -> Seen:
    disk = Disk(
        **{
            "name": device.rpartition("/")[2],
            "path": device,
            "number": "8:16",
            "bus": identity.partition(":")[0],
            "identity": identity,
            "model": "",
            "size": 31_914_983_424,
            "sector": 512,
            "removable": True,
            "read_only": False,
            "diskseq": 7,
            **other,
        }
    )
    return Seen(disk, state, (), reader or device)


def marked(name: str = "w1", *, content: str = card_state.IMAGE, intact: bool = True, **other: t.Any) -> CardState:
    marker = Marker(**{"node": name, "cluster": "lab", "version": "1.14.2", "schematic": PI4, **other})
    return CardState(content, marker, intact=intact)


def record(identity: str = "mmc:1", **other: t.Any) -> Record:
    return Record(
        **{"identity": identity, "size": 1, "schematic": PI4, "version": "1.14.2", "image": "a" * 64, **other}
    )


def lab(records: Records | None = None, **other: t.Any) -> Cluster:
    return Cluster("lab", records or {}, **other)


def planned(nodes: list[NodeCard], *seen: Seen, cluster: Cluster | None = None, terminal: bool = True) -> Plan:
    return plan(nodes, READERS, seen, cluster or lab(), terminal=terminal)


def rounds(found: Plan) -> list[list[tuple[str, str]]]:
    """Node and where its card is, or is asked for with a question mark."""
    return [
        [(place.wanted.node, place.card.device if place.card else f"{place.reader}?") for place in places]
        for places in found.rounds
    ]


# --- who is due


@pytest.mark.parametrize(
    ("seen", "due"),
    [
        ([], []),
        ([card(state=marked())], []),
        ([card(state=marked(content=card_state.NODE))], []),
        ([card(state=CardState(card_state.NODE))], []),
        ([card(state=marked(version="1.14.1"))], ["w1"]),
        ([card(state=marked(schematic=PI5))], ["w1"]),
        ([card(state=marked(cluster="lab", intact=False))], ["w1"]),
        ([card(state=marked(content=card_state.UNFINISHED, intact=False))], ["w1"]),
        ([card(state=BLANK)], ["w1"]),
        ([card(identity="mmc:2")], []),
    ],
)
def test_a_recorded_node_is_due_where_its_card_is_here_and_wrong(seen: list[Seen], due: list[str]) -> None:
    found = planned([node()], *seen, cluster=lab({"w1": record()}), terminal=False)
    assert [wanted.node for wanted in found.due] == due
    assert found.missing == {}


def test_a_blank_card_in_the_usb_reader_of_a_recorded_one_is_not_that_one() -> None:
    usb = "usb:0001:0:31914983424"
    records = {"w1": record(usb), "w2": record(usb)}
    assert planned([node("w1"), node("w2")], card(identity=usb), cluster=lab(records)).rounds == []
    other_version = card(identity=usb, state=marked("w2", version="1.14.1"))
    assert rounds(planned([node("w1"), node("w2")], other_version, cluster=lab(records))) == [[("w2", "/dev/sdb")]]


def test_another_identity_than_the_recorded_one_is_another_card() -> None:
    found = planned([node(identity="mmc:2")], card(identity="mmc:2"), cluster=lab({"w1": record()}), terminal=False)
    assert rounds(found) == [[("w1", "/dev/sdb")]]


def test_another_version_in_the_pi_is_only_told() -> None:
    found = planned([node()], cluster=lab({"w1": record(version="1.13.9")}))
    assert (found.rounds, found.notes) == ([], ["w1: its card was made with Talos 1.13.9, and 1.14.2 is declared"])
    assert planned([node()], cluster=lab({"w1": record(schematic=PI5)})).notes


# --- rounds


def test_rounds_are_by_image_and_readers_and_what_is_known_comes_first() -> None:
    nodes = [node("w1"), node("w5", schematic=PI5), node("w2"), node("w3"), node("w4", identity="mmc:4")]
    found = planned(nodes, card("/dev/mmcblk0", "mmc:4"), card("/dev/sdb"))
    assert rounds(found) == [
        [("w4", "/dev/mmcblk0")],
        [("w1", "/dev/sdb?"), ("w2", "/dev/sdc?")],
        [("w3", "/dev/sdb?")],
        [("w5", "/dev/sdb?")],
    ]


def test_known_cards_of_one_image_are_written_at_once() -> None:
    nodes = [node("w1", identity="mmc:1"), node("w2", identity="mmc:2"), node("w3", schematic=PI5, identity="mmc:3")]
    seen = [card("/dev/sdb", "mmc:1"), card("/dev/sdc", "mmc:2"), card("/dev/sdd", "mmc:3")]
    found = planned(nodes, *seen, terminal=False)
    assert rounds(found) == [[("w1", "/dev/sdb"), ("w2", "/dev/sdc")], [("w3", "/dev/sdd")]]


def test_a_card_that_we_marked_is_known_in_a_declared_reader_only() -> None:
    half = marked(content=card_state.UNFINISHED, intact=False)
    assert rounds(planned([node()], card(state=half), terminal=False)) == [[("w1", "/dev/sdb")]]
    elsewhere = dataclasses.replace(card("/dev/sdd", state=half), reader="")
    assert rounds(planned([node()], elsewhere)) == [[("w1", "/dev/sdb?")]]
    foreign = card(state=marked(cluster="other"))
    assert rounds(planned([node()], foreign)) == [[("w1", "/dev/sdb?")]]


def test_without_a_terminal() -> None:
    with pytest.raises(CardProblem, match=r"the cards of w1, w2 in: .*card_identity"):
        planned([node("w1"), node("w2"), node("w3", identity="mmc:3")], card(identity="mmc:3"), terminal=False)
    found = planned(
        [node("w1", identity="mmc:9"), node("w3", identity="mmc:3")], card(identity="mmc:3"), terminal=False
    )
    assert rounds(found) == [[("w3", "/dev/sdb")]]
    assert found.missing == {"w1": "its card mmc:9 is in no reader"}


def test_all_refusals_come_at_once() -> None:
    nodes = [node("w1", identity="mmc:1", size=128 * GB), node("w2", identity="mmc:2")]
    with pytest.raises(
        CardProblem, match=r"w1: .* 31\.9 GB, and card_size of w1 is 128\.0 GB; w2: .*read-only"
    ) as error:
        planned(nodes, card(), card("/dev/sdc", "mmc:2", read_only=True))
    assert str(error.value).endswith("Nothing was written.")


def test_no_reader() -> None:
    with pytest.raises(CardProblem, match="Declare card_readers"):
        plan([node()], [], [], lab(), terminal=True)


# --- what is refused


@pytest.mark.parametrize(
    ("seen", "wanted", "words"),
    [
        (card(), node(), ""),
        (card(size=30 * GB), node(), ""),
        (card(size=124 * GB), node(), "124.0 GB"),
        (card(size=16 * GB), node(), "16.0 GB"),
        (card(size=16 * GB), node(size=0), ""),
        (card(), node(identity="mmc:2"), "its identity is mmc:1, and for w1 mmc:2 is declared"),
        (card(read_only=True), node(), "read-only"),
        (card(identity="disk:1", removable=False), node(), "no card or stick"),
        (card(identity="disk:1", removable=False), node(identity="disk:1"), ""),
        (card(identity="mmc:1", removable=False), node(), "no card or stick"),
        (card(identity="loop:/f", removable=False), node(), ""),
        (card(state=CardState(card_state.UNREADABLE, words="no right to read")), node(), "no right to read"),
        (dataclasses.replace(card(), in_use=("/media/x",)), node(), "in use (/media/x)"),
    ],
)
def test_what_is_unfit_even_by_force(seen: Seen, wanted: NodeCard, words: str) -> None:
    for force in (False, True):
        said = objection(seen, wanted, lab(force=force))
        assert (words in said) if words else (said == "")


def test_a_mounted_card_where_it_may_be_unmounted() -> None:
    assert objection(dataclasses.replace(card(), in_use=("/media/x",)), node(), lab(unmount=True)) == ""


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (card(state=marked("w2")), "a Talos image (1.14.2) for w2 of cluster lab"),
        (card(state=marked("w1", cluster="other")), "for w1 of cluster other"),
        (card(state=marked("w2", content=card_state.UNFINISHED)), "for w2 of cluster lab, not finished"),
        (card(state=marked("w1", content=card_state.NODE)), "the Talos node w1 of cluster lab"),
        (card(state=CardState(card_state.NODE)), "(name unknown)"),
        (card(identity="mmc:2"), "cards.yml has it as the card of w2"),
    ],
)
def test_what_is_refused_unless_forced(seen: Seen, words: str) -> None:
    records = {"w2": record("mmc:2"), "w3": record("usb:1:0:31914983424")}
    assert words in objection(seen, node(), lab(records))
    assert objection(seen, node(), lab(records, force=True)) == ""
    assert objection(card(identity="usb:1:0:31914983424"), node(), lab(records)) == ""


# --- after a card was asked for


def test_the_same_card_is_waited_for_to_go() -> None:
    used = [Chosen("w2", "/dev/sdb", "mmc:1", 7)]
    for seen, words in ((None, "no card in /dev/sdb yet"), (card(), "still that of w2")):
        verdict = judge(seen, "/dev/sdb", node(), used, lab())
        assert (verdict.card, verdict.waiting) == (None, True)
        assert words in verdict.words
    # The same identity, as of all cards in a USB reader, and another card.
    verdict = judge(card(diskseq=8), "/dev/sdb", node(), used, lab())
    assert verdict.card == Chosen("w1", "/dev/sdb", "mmc:1", 8)
    assert judge(card("/dev/sdc"), "/dev/sdc", node(), used, lab()).card


def test_without_diskseq_the_mark_tells_the_same_card() -> None:
    used = [Chosen("w2", "/dev/sdb", "mmc:1", 0)]
    assert judge(card(diskseq=0, state=marked("w2")), "/dev/sdb", node(), used, lab()).waiting
    assert judge(card(diskseq=0), "/dev/sdb", node(), used, lab()).card


def test_a_wrong_card_is_refused_at_once() -> None:
    verdict = judge(card(state=marked("w2")), "/dev/sdb", node(), [], lab())
    assert (verdict.card, verdict.waiting) == (None, False)
    assert verdict.words.startswith("the card in /dev/sdb is refused: it holds")
