# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Cards as a task wants them: which are refused, which are right already, and the work for the rest, side by side."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import threading
import time
import typing as t

from . import _card_state as card_state
from ._block_devices import DeviceError, Disk, Machine
from ._card_image import Content, Outline, Range, Reader, outline, require_sha256
from ._card_marker import Marker
from ._card_state import CardState
from ._card_writer import CardWork, Comparison, Differs, Wipe, Writing
from ._direct_io import CardError, Device, Swapped, read_only
from ._errors import TalosError
from ._progress import Stopped, Watch

_TURN = 0.2
# How long a stopped run waits for a card that hangs in the kernel. Before the stop there is no limit: the others wait
# with it, because all share the buffers of the image.
_LAST_WAIT = 60.0

Feed = t.Callable[[t.Sequence[Reader]], None]


class InUse(DeviceError):
    """Something stands on the disk."""


class SystemDisk(InUse):
    """The machine runs from it, or has its data there."""

    remedy = "Name the card instead, which card_info lists. If it is the right disk, unmount it first"


class TooSmall(DeviceError):
    """The image does not fit."""

    remedy = "Use a larger card"


class BelongsToNode(DeviceError):
    """The card is of use to a node as it is."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """A card of a task: ``device`` or ``identity`` or both; ``diskseq`` as card_info told it, 0 for any."""

    device: str = ""
    identity: str = ""
    node: str = ""
    diskseq: int = 0

    @property
    def name(self) -> str:
        return self.device or self.identity


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a task allows, and how thorough it is."""

    force: bool = False
    unmount: bool = False
    read_zeros: bool = True
    full_check: bool = False


class Card:
    """One card of a task on its way: refused or failed (``error``), changed or right already."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.disk: Disk | None = None
        self.mounts: tuple[str, ...] = ()
        self.before: CardState | None = None
        self.after = ""
        self.changed = False
        self.error: TalosError | None = None
        self.work: CardWork | None = None

    @property
    def path(self) -> str:
        return self.disk.path if self.disk else self.asked.name

    @property
    def bytes_written(self) -> int:
        return self.work.figures.written if self.work else 0

    def guarded(self, step: t.Callable[..., None], *arguments: t.Any) -> None:
        """Its errors are its own: the other cards go on."""
        try:
            step(*arguments)
        except TalosError as error:
            self.error = error

    def as_result(self) -> dict[str, t.Any]:
        result = {
            "device": self.path,
            "identity": self.disk.identity if self.disk else self.asked.identity,
            "size": self.disk.size if self.disk else 0,
            "node": self.asked.node,
            "before": self.before.describe() if self.before else "",
            "after": self.after,
            "changed": self.changed,
            "failed": self.error is not None,
            "bytes_written": self.bytes_written,
        }
        if self.error:
            result.update(msg=str(self.error), failure=self.error.as_failure())
        return result


class Cards:
    """All cards of a task. Each method leaves out those that failed before."""

    def __init__(self, asked: t.Sequence[Asked], rules: Rules, watch: Watch, machine: Machine | None = None) -> None:
        self.all = [Card(each) for each in asked]
        self._rules = rules
        self._watch = watch
        self._machine = machine or Machine()
        self._started = time.monotonic()

    @property
    def good(self) -> list[Card]:
        return [card for card in self.all if card.error is None]

    # --- what is refused

    def admit(self, image: Outline | None = None, sha256: str = "", cluster: str = "") -> None:
        """Look at each card, and refuse what must not be written. Opens nothing for writing."""
        for card in self.good:
            card.guarded(self._admit, card, image, sha256, cluster)
        paths = [card.path for card in self.good]
        for card in self.good:
            if paths.count(card.path) > 1:
                card.error = DeviceError(f"{card.path} is named twice", remedy="Name each card once")

    def _admit(self, card: Card, image: Outline | None, sha256: str, cluster: str) -> None:
        asked = card.asked
        if not asked.name:
            raise DeviceError("a card has neither device nor identity", remedy="Give one of them, or both")
        disk = self._machine.find(asked.device, asked.identity)
        card.disk = disk
        if not disk.removable and not asked.identity:
            raise DeviceError(
                f"{disk.path} is no card or stick ({disk.bus} {disk.model}".rstrip() + ")",
                remedy="Name the right device. If it is the right one, declare its identity too: "
                + (disk.identity or "it has none, so that it is never written"),
            )
        card.mounts = self._require_unused(disk)
        if disk.read_only:
            raise read_only(disk)
        if image:
            _require_fits(image, disk)
        if asked.diskseq and asked.diskseq != disk.diskseq:
            raise Swapped(f"{disk.path}: the card was swapped since it was checked")
        card.before = card_state.look(disk, sha256)
        if not self._rules.force:
            _require_nobodys(card.before, disk, asked.node, cluster)

    def _require_unswapped(self, card: Card, sha256: str = "") -> t.Callable[[Device], None]:
        """The same look once more, when nobody else can open the card: not every kernel counts the swaps."""
        before = t.cast("CardState", card.before)

        def require(device: Device) -> None:
            disk, now = self._machine.disk(device.disk.name), card_state.look_at(device, sha256)
            # Without the samples: an unmount may have changed one.
            if (disk.number, disk.identity, disk.size, now.content, now.marker, now.partitions) != (
                *(device.disk.number, device.disk.identity, device.disk.size),
                *(before.content, before.marker, before.partitions),
            ):
                raise Swapped(f"{disk.path}: the card was swapped since it was checked")

        return require

    def _require_unused(self, disk: Disk) -> tuple[str, ...]:
        """The mount points that are to go, where that is allowed."""
        use = self._machine.use(disk)
        if use.system:
            raise SystemDisk(f"{disk.path} holds {use.system} of this machine")
        if use.swap:
            raise InUse(f"{disk.path} holds swap that is in use", remedy="If it is the right disk: swapoff first")
        if use.holders:
            raise InUse(
                f"{disk.path} is a part of {', '.join(use.holders)} (LVM, RAID, encryption)",
                remedy="If it is the right disk, take that apart first",
            )
        if use.mounts and not self._rules.unmount:
            raise InUse(
                f"{disk.path} is mounted at {', '.join(use.mounts)}",
                remedy="If it is the right disk: unmount it, or set unmount: true",
            )
        return use.mounts

    # --- an image

    def present(self, path: str, marker: Marker, check_mode: bool) -> None:
        """Let the cards hold the image; ``marker`` says what else is to be known of it, with its sha256 or without."""
        image = outline(path)
        expected = marker.image.lower()
        known = expected or require_sha256(path, "")
        marker = dataclasses.replace(marker, image=known, size=image.size)
        for card in self.all:
            card.guarded(self._marker_of(card, marker).require_fits)
        self.admit(image, known, marker.cluster)
        due = [card for card in self.good if not self._holds(card, marker)]
        compared = [card for card in self.good if card not in due] if self._rules.full_check else []
        if expected and (due or compared):
            # Not in a run that changes nothing: it takes a good part of that run.
            require_sha256(path, expected)
        due += self._differing(image, compared)
        if check_mode:
            for card in due:
                card.changed = True
        else:
            self._write(image, marker, due)
        for card in self.all:
            card.after = self._content_after(card, marker)

    def _content_after(self, card: Card, marker: Marker) -> str:
        """In words, as ``before``."""
        if card.error and not card.changed:
            return card.before.describe() if card.before else ""
        content = card_state.UNFINISHED if card.error else card_state.THIS_IMAGE
        return CardState(content, self._marker_of(card, marker)).describe()

    def _marker_of(self, card: Card, marker: Marker) -> Marker:
        return dataclasses.replace(marker, node=card.asked.node)

    def _holds(self, card: Card, marker: Marker) -> bool:
        return bool(card.before and card.before.holds(self._marker_of(card, marker)))

    def _differing(self, image: Outline, cards: list[Card]) -> list[Card]:
        """Those among the cards of which not every byte is as it should be."""
        content = Content(image)
        for card in cards:
            card.work = Comparison(_disk(card), self._watch, image.size, content)
        self._carry_out(cards, content.read)
        return [card for card in cards if self._is_different(card)]

    @staticmethod
    def _is_different(card: Card) -> bool:
        if not isinstance(card.error, Differs):
            return False
        card.error = None
        return True

    def _write(self, image: Outline, marker: Marker, cards: list[Card]) -> None:
        content, full = Content(image), self._rules.read_zeros
        for card in cards:
            card.guarded(_unmount, card.mounts)
        cards = [card for card in cards if not card.error]
        for card in cards:
            card.work = Writing(_disk(card), self._watch, content, self._marker_of(card, marker), full=full)
            card.work.admit = self._require_unswapped(card, marker.image)
        self._carry_out(cards, content.read)
        for card in cards:
            card.changed = card.bytes_written > 0

    # --- nothing

    def absent(self, everything: bool, check_mode: bool, cluster: str = "") -> None:
        """Let the cards be empty: without signs of tables and file systems, or without any byte."""
        self.admit(cluster=cluster)
        ranges = {card: self._ranges_of(card, everything) for card in self.good}
        due = self._not_empty(ranges)
        for card in due:
            card.changed = True
        if not check_mode:
            self._erase(due, ranges)
        for card in self.good:
            card.after = CardState(card_state.EMPTY).describe()

    @staticmethod
    def _ranges_of(card: Card, everything: bool) -> list[Range]:
        """What is to be zeros; nothing where the card cannot be read, which is its error."""
        disk = _disk(card)
        if everything:
            return [(0, disk.size)]
        try:
            with Device.open(disk, write=False) as device:
                return list(card_state.signature_ranges(disk, device))
        except TalosError as error:
            card.error = error
            return []

    def _not_empty(self, ranges: t.Mapping[Card, list[Range]]) -> list[Card]:
        cards = [card for card in ranges if not card.error]
        for card in cards:
            card.work = Comparison(_disk(card), self._watch, _length(ranges[card]))
        self._carry_out(cards, _zeros_of(cards, ranges))
        return [card for card in cards if self._is_different(card)]

    def _erase(self, due: list[Card], ranges: t.Mapping[Card, list[Range]]) -> None:
        for card in due:
            card.changed = False
            card.guarded(_unmount, card.mounts)
        due = [card for card in due if not card.error]
        for card in due:
            card.work = Wipe(_disk(card), self._watch, _length(ranges[card]))
            card.work.admit = self._require_unswapped(card)
        self._carry_out(due, _zeros_of(due, ranges))
        for card in due:
            card.changed = card.bytes_written > 0

    # --- the work

    def _carry_out(self, cards: t.Sequence[Card], feed: Feed) -> None:
        """Do the work of these cards, all at once, with what one feed gives."""
        works = [card.work for card in cards if card.work]
        if not works:
            return
        threads = [threading.Thread(target=work.run, daemon=True) for work in works]
        threads.append(threading.Thread(target=feed, args=(works,), daemon=True))
        for thread in threads:
            thread.start()
        self._wait_for(threads, cards)
        for card, thread in zip(cards, threads):
            if thread.is_alive():
                card.error = CardError(f"{card.path} does not answer any more", remedy="Pull it out and try another")
            elif card.work and card.work.error:
                card.error = _told(card.work.error, card)

    def _wait_for(self, threads: t.Sequence[threading.Thread], cards: t.Sequence[Card]) -> None:
        stopped = 0.0
        while any(thread.is_alive() for thread in threads):
            next(thread for thread in threads if thread.is_alive()).join(_TURN)
            self._watch.tell(lambda: self._progress(cards))
            if self._watch.stopped:
                stopped = stopped or time.monotonic()
                if time.monotonic() - stopped > _LAST_WAIT:
                    return

    def _progress(self, cards: t.Sequence[Card]) -> dict[str, t.Any]:
        told = [
            {"name": card.asked.node or card.path, "device": card.path, **dataclasses.asdict(card.work.figures)}
            for card in cards
            if card.work
        ]
        return {"seconds": time.monotonic() - self._started, "cards": told}


def _length(ranges: t.Sequence[Range]) -> int:
    return sum(length for _offset, length in ranges)


def _zeros_of(cards: t.Sequence[Card], ranges: t.Mapping[Card, list[Range]]) -> Feed:
    """To the work of each card its own."""

    def feed(_readers: t.Sequence[Reader]) -> None:
        for card in cards:
            work = t.cast("CardWork", card.work)
            for offset, length in ranges[card]:
                work.zeros(offset, length)
            work.end(None)

    return feed


def _disk(card: Card) -> Disk:
    return t.cast("Disk", card.disk)


def _require_fits(image: Outline, disk: Disk) -> None:
    if disk.size < image.size:
        raise TooSmall(f"{disk.path} has {disk.size} bytes, and the image needs {image.size}")
    if disk.sector != image.sector:
        raise DeviceError(
            f"{disk.path} has sectors of {disk.sector} bytes, and the image is made for {image.sector}",
            remedy=f"Use another reader, or a schematic with customization.diskImage.sectorSize: {disk.sector}",
        )


def _require_nobodys(state: CardState, disk: Disk, node: str, cluster: str) -> None:
    if state.content == card_state.NODE:
        raise BelongsToNode(
            f"{disk.path} is the card of {state.describe()}, with its machine config and data",
            remedy="Put another card in. If that node is to be lost: force: true",
        )
    marker = state.marker
    if marker and marker.node and not marker.is_for(node, cluster):
        asked = f"it is asked for {node}{f' of cluster {cluster}' if cluster else ''}" if node else "no node is named"
        raise BelongsToNode(
            f"{disk.path} holds {state.describe()}, and {asked}",
            remedy="Put the right card in, or name its node and cluster. If what is on it is to be lost: force: true",
        )


def _unmount(mounts: t.Sequence[str]) -> None:
    for point in sorted(mounts, key=len, reverse=True):
        command = ["umount", "--", point]
        try:
            done = subprocess.run(  # pylint: disable=ansible-bad-function
                command, capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise InUse(f"{point} cannot be unmounted: {error}", remedy="Install umount (util-linux)") from error
        if done.returncode and os.path.ismount(point):
            raise InUse(
                f"{point} cannot be unmounted: {done.stderr.strip()}", remedy="End what uses it, then run again"
            )


def _told(error: Exception, card: Card) -> TalosError:
    if isinstance(error, Stopped):
        left = "the card has no boot block and does not start" if isinstance(card.work, Writing) else "nothing is lost"
        return Stopped(f"{card.path}: {error.cause}; {left}")
    if isinstance(error, TalosError):
        return error
    return CardError(
        f"{card.path}: unexpected {type(error).__name__}: {error}",
        remedy="This is a fault of the collection: please report it with the output of -vvv",
    )
