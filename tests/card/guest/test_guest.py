# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sticks and SD cards as a kernel shows them, which come, go and lose what is written to them, in a guest of QEMU."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import talos_image
from tests.left_out import left_out
from tests.talos_image import Geometry, Image

from ..conftest import HEAD, MIB, could_boot, require_image, run, wait_for
from .guest import PATIENCE, SYSTEM_SERIAL, Guest, Json, Stick, booted, missing_for_guests

# A card full of other bytes, which is to be cut off in the middle, would take half a minute.
SLOW_RATE = MIB
MIDDLE = 4 * MIB
MOUNT_POINT = "/run/stick"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="session", autouse=True)
def _possible() -> None:
    reason = missing_for_guests()
    if reason:
        left_out(f"no card is written in a guest: {reason}")


@pytest.fixture(scope="session")
def shared_guest(_possible: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with booted(tmp_path_factory.mktemp("guest") / "guest") as guest:
        yield guest


@pytest.fixture
def guest(shared_guest: Guest) -> Iterator[Guest]:
    yield shared_guest
    shared_guest.unplug_all()


class Maker:
    """Makes the files behind cards."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def __call__(self, size: int = 48 * MIB, *, fill: bool = False) -> Path:
        """Empty, or with random bytes all over."""
        self._count += 1
        file = self._folder / f"card-{self._count}"
        with file.open("wb") as out:
            if fill:
                out.write(os.urandom(size))
            out.truncate(size)
        return file


@pytest.fixture
def blank(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def task(image: Image, *sticks: Stick, **other: t.Any) -> Json:
    cards = [{"identity": stick.identity, "node": f"talos-w{number}"} for number, stick in enumerate(sticks)]
    return {"image": str(image.zst), "cluster": "homelab", "cards": cards, **other}


def require_refused(result: Json, stick: Stick, *said: str) -> None:
    [card] = result["cards"]
    assert card["failed"], card
    for text in said:
        assert text in card["msg"]
    assert not card["changed"]
    assert stick.written == 0


def test_a_stick_and_an_sd_card_are_written_at_once_and_then_left_alone(
    guest: Guest, image: Image, blank: Maker
) -> None:
    stick, card = guest.plug(blank(), "4C530001"), guest.insert(blank(64 * MIB))
    seen = {told["identity"]: (told["bus"], told["removable"]) for told in guest.cards()}
    assert seen == {stick.identity: ("usb", True), card.identity: ("mmc", True)}
    # The manufacturer, the name and the serial number that QEMU gives its cards.
    assert bytes.fromhex(card.identity.removeprefix("mmc:"))[:13] == b"\xaaXYQEMU!\x01\xde\xad\xbe\xef"

    done = guest.module("sd_card", **task(image, stick, card))
    assert [each.get("msg", "") for each in done["cards"]] == ["", ""]
    assert [each["changed"] for each in done["cards"]] == [True, True]
    for number, each in enumerate((stick, card)):
        require_image(each.file.read_bytes(), image)
        told = each.told
        assert (told["content"], told["node"]) == ("image", f"talos-w{number}")

    before = [each.written for each in (stick, card)]
    assert min(before) >= done["cards"][0]["bytes_written"]
    again = guest.module("sd_card", **task(image, stick, card))
    assert not again.get("failed"), again
    assert not again["changed"]
    assert [each.written for each in (stick, card)] == before


def test_the_stick_that_the_guest_runs_from(guest: Guest, image: Image) -> None:
    [identity] = [card["identity"] for card in guest.module("card_info")["cards"] if SYSTEM_SERIAL in card["identity"]]
    for rules in ({}, {"unmount": True, "force": True}):
        result = guest.module("sd_card", image=str(image.zst), cards=[{"identity": identity}], **rules)
        [card] = result["cards"]
        assert "holds / of this machine" in card["msg"]
        assert not result.get("changed")
    assert guest.run("cat", "/sys/block/sda/sda1/ro") == "0"


def test_a_stick_with_a_mounted_partition(guest: Guest, image: Image, blank: Maker) -> None:
    file = blank()
    partition = Geometry(efi=8).partitions[0]
    run("mke2fs", "-q", "-E", f"offset={partition.first}", file, f"{partition.size // 1024}k")
    with file.open("r+b") as out:
        talos_image.write_gpt(out, [partition], 48 * MIB)
    stick = guest.plug(file, "MOUNTED")
    device = stick.device
    guest.run("mkdir", MOUNT_POINT)
    guest.run("mount", "-o", "ro", f"{device}1", MOUNT_POINT)
    try:
        assert stick.told["in_use"] == [MOUNT_POINT]
        require_refused(
            guest.module("sd_card", **task(image, stick)), stick, f"mounted at {MOUNT_POINT}", "unmount: true"
        )
        named = guest.module("sd_card", image=str(image.zst), cards=[{"device": f"{device}1"}])
        require_refused(named, stick, f"{device}1 is a partition", f"Name the whole disk: {device}")
        done = guest.module("sd_card", **task(image, stick, unmount=True))
        assert not done.get("failed"), done
    finally:
        guest.run("sh", "-c", f"! mountpoint -q {MOUNT_POINT} || umount {MOUNT_POINT}")
    require_image(file.read_bytes(), image)


def test_a_stick_that_is_pulled_out_while_it_is_written(guest: Guest, image: Image, blank: Maker) -> None:
    pulled, stays = guest.plug(blank(fill=True), "PULLED", rate=SLOW_RATE), guest.plug(blank(fill=True), "STAYS")
    work = guest.begin_module("sd_card", **task(image, pulled, stays))
    wait_for(lambda: pulled.written > MIDDLE, "in the middle", PATIENCE)
    assert not work.done()
    pulled.unplug()
    gone, good = guest.result(work)["cards"]
    assert gone["failed"]
    assert f"{pulled.device}: the card vanished" in gone["msg"]
    assert "run again" in gone["msg"]
    assert not good["failed"], good
    require_image(stays.file.read_bytes(), image)
    assert not could_boot(pulled.file.read_bytes())

    # It goes on from there.
    again = guest.plug(pulled.file, "PULLED")
    assert again.told["content"] == "unfinished"
    done = guest.module("sd_card", **task(image, again))
    assert not done.get("failed"), done
    require_image(again.file.read_bytes(), image)
    assert again.written < len(image.content) - MIDDLE // 2


def test_an_sd_card_that_is_pulled_out_while_it_is_written(guest: Guest, image: Image, blank: Maker) -> None:
    card, stays = guest.insert(blank(64 * MIB, fill=True), rate=SLOW_RATE), guest.plug(blank(), "STAYS")
    work = guest.begin_module("sd_card", **task(image, card, stays))
    wait_for(lambda: card.written > MIDDLE, "in the middle", PATIENCE)
    assert not work.done()
    card.unplug()
    gone, good = guest.result(work)["cards"]
    assert gone["failed"]
    assert f"{card.device}: the card vanished" in gone["msg"]
    assert not good["failed"], good
    require_image(stays.file.read_bytes(), image)
    assert not could_boot(card.file.read_bytes())


def test_a_card_that_is_swapped_for_one_of_the_same_identity(guest: Guest, image: Image, blank: Maker) -> None:
    """A reader has one serial number for all cards of a size; QEMU has one CID for all of its cards."""
    first = guest.plug(blank(), "READER")
    looked_at = first.told
    first.unplug()
    second = guest.plug(blank(), "READER")
    assert (second.identity, second.device) == (first.identity, first.device)
    asked = {"device": first.device, "identity": first.identity, "diskseq": looked_at["diskseq"]}
    result = guest.module("sd_card", image=str(image.zst), cards=[asked])
    require_refused(result, second, "the card was swapped")

    first = guest.insert(blank(64 * MIB))
    looked_at = first.told
    second = guest.insert(blank(64 * MIB))
    assert second.identity == first.identity
    asked = {"device": first.device, "identity": first.identity, "diskseq": looked_at["diskseq"]}
    result = guest.module("sd_card", image=str(image.zst), cards=[asked])
    require_refused(result, second, "the card was swapped")


def test_two_sticks_of_one_serial_number(guest: Guest, image: Image, blank: Maker) -> None:
    first, second = guest.plug(blank(), "SAME"), guest.plug(blank(), "SAME")
    result = guest.module("sd_card", **task(image, first))
    require_refused(result, first, "is the identity of", "Name the device too")
    assert second.written == 0


def test_writes_that_are_silently_dropped(guest: Guest, image: Image, blank: Maker) -> None:
    """By the kernel's dm-flakey, over a stick; the writer sees it as a disk by a loop device."""
    stick = guest.plug(blank(fill=True), "FLAKY")
    old = stick.file.read_bytes()
    device, sectors = stick.device, stick.file.stat().st_size // 512
    guest.run("dmsetup", "create", "flaky", "--noudevsync", "--table", f"0 {sectors} linear {device} 0")
    try:
        number = guest.run("dmsetup", "info", "--columns", "--noheadings", "-o", "minor", "flaky")
        result = guest.module("sd_card", **task(image, stick))
        require_refused(result, stick, f"is a part of dm-{number}")
        named = guest.module("sd_card", image=str(image.zst), cards=[{"device": f"/dev/dm-{number}"}])
        require_refused(named, stick, "is not a disk")

        loop = guest.run("losetup", "--find", "--show", "--direct-io=on", f"/dev/dm-{number}")
        try:
            asked = {"device": loop, "identity": f"loop:/dev/dm-{number}"}
            table = f"0 {sectors} flakey {device} 0 0 3600 1 drop_writes"
            for command in (["suspend"], ["load", "--table", table], ["resume"]):
                guest.run("dmsetup", command[0], "--noudevsync", "flaky", *command[1:])
            [card] = guest.module("sd_card", image=str(image.zst), cards=[asked])["cards"]
        finally:
            guest.run("losetup", "--detach", loop)
    finally:
        guest.run("dmsetup", "remove", "--noudevsync", "flaky")
    assert card["failed"]
    # The random bytes of before are still there; the first block would be written last.
    first = next(at for at in range(HEAD, len(old)) if old[at] != image.content[at])
    assert f"at first in the byte at {first} " in card["msg"]
    assert stick.written == 0


def test_a_stick_with_sectors_of_4096_bytes(guest: Guest, image: Image, blank: Maker, tmp_path: Path) -> None:
    stick = guest.plug(blank(), "4K", sector=4096)
    assert stick.told["sector_size"] == 4096
    result = guest.module("sd_card", **task(image, stick))
    require_refused(result, stick, "sectors of 4096 bytes", "made for 512", "sectorSize")

    (tmp_path / "image").mkdir()
    made = Image.make(tmp_path / "image", Geometry(efi=4, boot=6, slack=1, sector=4096))
    done = guest.module("sd_card", **task(made, stick))
    assert not done.get("failed"), done
    require_image(stick.file.read_bytes(), made)
    # The kernel read the new table.
    name = os.path.basename(stick.device)
    assert guest.run("sh", "-c", f"ls -d /sys/block/{name}/{name}? | wc -l") == "4"


def test_a_power_cut_in_the_middle(image: Image, blank: Maker, tmp_path: Path) -> None:
    stick_file, card_file = blank(fill=True), blank(64 * MIB, fill=True)
    with booted(tmp_path / "first") as guest:
        stick, card = guest.plug(stick_file, "CUT", rate=SLOW_RATE), guest.insert(card_file, rate=SLOW_RATE)
        work = guest.begin_module("sd_card", **task(image, stick, card))
        wait_for(lambda: min(stick.written, card.written) > MIDDLE, "in the middle", PATIENCE)
        assert not work.done()
        guest.cut_power()
    for file in (stick_file, card_file):
        assert not could_boot(file.read_bytes())
    with booted(tmp_path / "second") as guest:
        stick, card = guest.plug(stick_file, "CUT"), guest.insert(card_file)
        assert [stick.told["content"], card.told["content"]] == ["unfinished"] * 2
        done = guest.module("sd_card", **task(image, stick, card))
        assert not done.get("failed"), done
        assert done["changed"]
    for file in (stick_file, card_file):
        require_image(file.read_bytes(), image)
