# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Which nodes need a card, which card in which reader becomes whose, and what is refused before anything is written."""

from __future__ import annotations

import dataclasses
import typing as t

from . import _card_state as card_state
from ._block_devices import Disk, Machine, NoSuchDevice
from ._card_marker import Marker
from ._card_records import Record, Records, names_card
from ._card_state import CardState
from ._errors import TalosError

# A card of 32 GB has some percent less, rarely a little more.
_LEAST, _MOST = 0.85, 1.1


class CardProblem(TalosError):
    """Something about cards that is to be put right before one is written."""

    remedy = "Nothing was written"


@dataclasses.dataclass(frozen=True)
class NodeCard:
    """What the card of a node should hold, and what is declared of the card: ``identity`` or nothing, bytes or 0.

    ``source`` tells images of the same schematic and version apart: the format, or a file.
    """

    node: str
    schematic: str
    version: str
    source: str = ""
    identity: str = ""
    size: int = 0

    @property
    def image(self) -> tuple[str, str, str]:
        return self.schematic, self.version, self.source


@dataclasses.dataclass(frozen=True)
class Seen:
    """A card that is in the machine, and what is on it; ``reader`` is one of the declared ones, or empty."""

    disk: Disk
    state: CardState
    in_use: tuple[str, ...] = ()
    reader: str = ""

    @property
    def marked_for(self) -> str:
        return self.state.marker.node if self.state.marker else ""

    def as_chosen(self, node: str) -> Chosen:
        return Chosen(node, self.disk.path, self.disk.identity, self.disk.diskseq)


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A card that is to become a node's; as a card of ``sd_card``."""

    node: str
    device: str
    identity: str
    diskseq: int

    def is_still_in(self, seen: Seen) -> bool:
        """Whether nobody took it out. A kernel without diskseq leaves that to the mark which we put on it."""
        if self.device != seen.disk.path:
            return False
        return self.diskseq == seen.disk.diskseq if seen.disk.diskseq else self.node == seen.marked_for


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Whose cards they are, and which other nodes have cards already."""

    name: str
    records: Records
    force: bool = False
    unmount: bool = False

    def is_marked_for(self, seen: Seen, node: str) -> bool:
        return bool(seen.state.marker and seen.state.marker.is_for(node, self.name))


# --- what is in the machine


def look(machine: Machine, disk: Disk, reader: str = "") -> Seen:
    """What cannot be read is a state, too."""
    try:
        state = card_state.look(disk)
    except TalosError as error:
        state = CardState(card_state.UNREADABLE, words=str(error))
    return Seen(disk, state, tuple(machine.use(disk).described()), reader)


def in_reader(machine: Machine, reader: str) -> Seen | None:
    """The card in a reader, by the reader's path; None where there is none, as where the path is not there yet."""
    try:
        return look(machine, machine.find(reader, ""), reader)
    except NoSuchDevice:
        return None


def in_machine(machine: Machine, readers: t.Sequence[str], identities: t.Collection[str]) -> list[Seen]:
    """All cards: in the readers first, then in others, then what has one of these identities."""
    found = {seen.disk.path: seen for seen in (in_reader(machine, reader) for reader in readers) if seen}
    for disk in machine.disks():
        if disk.size and disk.path not in found and (disk.removable or disk.identity in identities):
            found[disk.path] = look(machine, disk)
    return list(found.values())


# --- may this card become the node's?


def objection(seen: Seen, wanted: NodeCard, cluster: Cluster) -> str:
    """Why the card is refused for the node; empty where it is not."""
    return _unfit(seen, wanted, cluster) or ("" if cluster.force else _of_another(seen, wanted, cluster))


def _unfit(seen: Seen, wanted: NodeCard, cluster: Cluster) -> str:
    disk = seen.disk
    if wanted.identity and wanted.identity != disk.identity:
        return f"its identity is {disk.identity or 'not known'}, and for {wanted.node} {wanted.identity} is declared"
    if not (disk.removable or disk.bus == "loop" or wanted.identity):
        return f"it is no card or stick ({disk.bus} {disk.model}): correct card_readers, or declare its card_identity"
    if wanted.size and not wanted.size * _LEAST <= disk.size <= wanted.size * _MOST:
        return f"it has {_gigabytes(disk.size)}, and card_size of {wanted.node} is {_gigabytes(wanted.size)}"
    if disk.read_only:
        return "it is read-only: move the slider at its side"
    if seen.in_use and not cluster.unmount:
        return f"it is in use ({', '.join(seen.in_use)}): unmount it, or set card_unmount"
    if seen.state.content == card_state.UNREADABLE:
        return seen.state.describe().rstrip(".")
    return ""


def _of_another(seen: Seen, wanted: NodeCard, cluster: Cluster) -> str:
    if seen.state.content == card_state.NODE:
        return f"it is the card of {seen.state.describe()}, with its machine config and data"
    if seen.marked_for and not cluster.is_marked_for(seen, wanted.node):
        return f"it holds {seen.state.describe()}"
    for node, record in cluster.records.items():
        if node != wanted.node and names_card(record.identity) and record.identity == seen.disk.identity:
            return f"cards.yml has it as the card of {node}"
    return ""


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """About what is in a reader after it was asked for. ``waiting``: it is not the right time to ask again yet."""

    card: Chosen | None = None
    words: str = ""
    waiting: bool = False


def judge(seen: Seen | None, reader: str, wanted: NodeCard, used: t.Sequence[Chosen], cluster: Cluster) -> Verdict:
    """``used`` are the cards of this run, which were to be taken out."""
    if seen is None:
        return Verdict(words=f"there is no card in {reader} yet", waiting=True)
    last = next((card for card in reversed(used) if card.is_still_in(seen)), None)
    if last:
        return Verdict(words=f"the card in {reader} is still that of {last.node}", waiting=True)
    words = objection(seen, wanted, cluster)
    if words:
        return Verdict(words=f"the card in {reader} is refused: {words}")
    return Verdict(seen.as_chosen(wanted.node))


# --- the plan


@dataclasses.dataclass(frozen=True)
class Place:
    """A node in a round: with the card that is there already, or the reader that one is asked for in."""

    wanted: NodeCard
    card: Chosen | None = None
    reader: str = ""


@dataclasses.dataclass(frozen=True)
class Plan:
    """``rounds`` hold nodes of one image each. ``missing`` tells by node why it gets no card in this run.

    ``notes`` are worth knowing, and nothing is done about them.
    """

    rounds: list[list[Place]]
    missing: dict[str, str]
    notes: list[str]

    @property
    def due(self) -> list[NodeCard]:
        return [place.wanted for places in self.rounds for place in places]


def plan(
    nodes: t.Sequence[NodeCard], readers: t.Sequence[str], seen: t.Sequence[Seen], cluster: Cluster, *, terminal: bool
) -> Plan:
    """Raises CardProblem with all that is wrong. ``terminal``: whether somebody can be asked for a card."""
    if not readers:
        remedy = "Declare card_readers, as [/dev/sdb], at the host that they are at"
        raise CardProblem("no reader is declared", remedy=remedy)
    due = _due(nodes, seen, cluster)
    here = {wanted: card for wanted, card in due.items() if card}
    absent = [wanted for wanted in due if wanted not in here]
    problems = [*_refused(here, cluster), *([] if terminal else _undeclared(absent))]
    if problems:
        raise CardProblem("; ".join(problems))
    rounds = _at_once([Place(wanted, card.as_chosen(wanted.node)) for wanted, card in here.items()])
    if terminal:
        rounds += _one_after_another(absent, readers)
        absent = []
    missing = {wanted.node: f"its card {wanted.identity} is in no reader" for wanted in absent}
    return Plan(rounds, missing, _notes([wanted for wanted in nodes if wanted not in due], cluster))


def _due(nodes: t.Sequence[NodeCard], seen: t.Sequence[Seen], cluster: Cluster) -> dict[NodeCard, Seen | None]:
    """Those that need a card, each with the one that is known to be its, where that is in the machine."""
    due: dict[NodeCard, Seen | None] = {}
    free = list(seen)
    for wanted in nodes:
        card = _card_of(wanted, free, cluster)
        if _record_of(wanted, cluster) and (card is None or _holds(card, wanted, cluster)):
            continue
        due[wanted] = card
        if card:
            free.remove(card)
    return due


def _refused(here: t.Mapping[NodeCard, Seen], cluster: Cluster) -> t.Iterator[str]:
    for wanted, card in here.items():
        words = objection(card, wanted, cluster)
        if words:
            yield f"{wanted.node}: the card in {card.disk.path} is refused: {words}"


def _undeclared(absent: t.Sequence[NodeCard]) -> list[str]:
    names = [wanted.node for wanted in absent if not wanted.identity]
    if not names:
        return []
    return [
        f"there is no terminal to ask for the cards of {', '.join(names)} in: run it in one, or declare card_identity "
        "of each, as homelab.talos.card_info tells it"
    ]


def _card_of(wanted: NodeCard, seen: t.Sequence[Seen], cluster: Cluster) -> Seen | None:
    """The card that is known to be the node's, where it is in the machine."""
    record = _record_of(wanted, cluster)
    identity = record.identity if record else wanted.identity
    for each in seen:
        same = bool(identity) and each.disk.identity == identity
        ours = cluster.is_marked_for(each, wanted.node)
        # By our marker alone none is taken that lies somewhere else than it was declared.
        if ours and (same or (each.reader and not identity)):
            return each
        if same and (names_card(identity) or not record):
            return each
    return None


def _record_of(wanted: NodeCard, cluster: Cluster) -> Record | None:
    """Not that of a card which another one was declared instead of."""
    record = cluster.records.get(wanted.node)
    return None if record and wanted.identity and wanted.identity != record.identity else record


def _holds(card: Seen, wanted: NodeCard, cluster: Cluster) -> bool:
    marker = card.state.marker or Marker()
    if card.state.content == card_state.NODE and not cluster.force:
        # It was in its Pi, and goes back there.
        return not marker.node or cluster.is_marked_for(card, wanted.node)
    return (
        card.state.content == card_state.IMAGE
        and card.state.intact
        and cluster.is_marked_for(card, wanted.node)
        and (marker.schematic, marker.version) == (wanted.schematic, wanted.version)
    )


def _at_once(places: t.Sequence[Place]) -> list[list[Place]]:
    """Those with their cards, by image."""
    rounds: dict[tuple[str, str, str], list[Place]] = {}
    for place in places:
        rounds.setdefault(place.wanted.image, []).append(place)
    return list(rounds.values())


def _one_after_another(nodes: t.Sequence[NodeCard], readers: t.Sequence[str]) -> list[list[Place]]:
    """Those that a card is asked for, by image, as many at once as there are readers."""
    rounds = []
    for image in dict.fromkeys(wanted.image for wanted in nodes):
        same = [wanted for wanted in nodes if wanted.image == image]
        for first in range(0, len(same), len(readers)):
            chunk = same[first : first + len(readers)]
            rounds.append([Place(wanted, None, reader) for wanted, reader in zip(chunk, readers)])
    return rounds


def _notes(done: t.Sequence[NodeCard], cluster: Cluster) -> list[str]:
    notes = []
    for wanted in done:
        record = cluster.records[wanted.node]
        if record.version != wanted.version:
            notes.append(
                f"{wanted.node}: its card was made with Talos {record.version}, and {wanted.version} is declared"
            )
        elif record.schematic != wanted.schematic:
            notes.append(f"{wanted.node}: its card was made with another schematic than the declared one")
    return notes
