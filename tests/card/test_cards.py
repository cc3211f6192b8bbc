# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cards that are loop devices: what is written to them, what is left alone, and what is refused. Needs root."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import _card_state as card_state
from ansible_collections.homelab.talos.plugins.module_utils import _gpt as gpt
from ansible_collections.homelab.talos.plugins.module_utils._block_devices import Disk, Machine
from ansible_collections.homelab.talos.plugins.module_utils._card_marker import Marker
from ansible_collections.homelab.talos.plugins.module_utils._card_writer import NotAsWritten
from ansible_collections.homelab.talos.plugins.module_utils._cards import Asked, Card, Cards, Rules
from ansible_collections.homelab.talos.plugins.module_utils._decompression import ImageError
from ansible_collections.homelab.talos.plugins.module_utils._direct_io import Buffer, Device, Gone
from ansible_collections.homelab.talos.plugins.module_utils._progress import Watch
from tests import talos_image
from tests.talos_image import Geometry, Image

from .conftest import HEAD, MIB, NODE, ROOT, Loop, Play, Workbench, detach, mounted, require_good, run, wait_for

SECTOR = 512


def require_refused(card: Card, loop: Loop, *said: str, before: tuple[bytes, int]) -> None:
    """With these words, and nothing was written."""
    assert card.error is not None
    for text in said:
        assert text in str(card.error)
    assert not card.changed
    assert (loop.content, loop.sectors_written) == before


def seen(loop: Loop) -> tuple[bytes, int]:
    return loop.content, loop.sectors_written


# --- an image gets onto a card


@pytest.mark.parametrize("form", ["zst", "xz", "raw"])
def test_every_byte_of_the_image_is_on_the_card_and_the_next_run_does_nothing(
    bench: Workbench, image: Image, form: str
) -> None:
    loop = bench.card()
    path = getattr(image, form)
    [card] = bench.present(path, loop)
    require_good(card)
    assert card.changed
    assert card.as_result()["before"] == "nothing"
    loop.require_image(image)
    state = loop.state(hashlib.sha256(path.read_bytes()).hexdigest())
    assert (state.content, state.marker and state.marker.node) == (card_state.THIS_IMAGE, NODE)

    before = seen(loop)
    for rules in ({}, {"full_check": True}):
        [card] = bench.present(path, loop, **rules)
        require_good(card)
        assert not card.changed
        assert seen(loop) == before


def test_what_an_old_card_has_where_the_image_has_zeros_is_gone(bench: Workbench, image: Image) -> None:
    loop = bench.card(fill=True)
    assert loop.state().content == card_state.OTHER
    [card] = bench.present(image.zst, loop)
    require_good(card)
    loop.require_image(image)


def test_without_reading_zeros_the_data_and_meta_are_right(bench: Workbench, image: Image) -> None:
    loop = bench.card(fill=True)
    old = loop.content
    [card] = bench.present(image.zst, loop, read_zeros=False)
    require_good(card)
    raw, now = image.content, loop.content
    meta = image.geometry.partitions[-1]
    assert now[meta.first : meta.first + meta.size] == bytes(meta.size)
    for begin in range(HEAD, len(raw), HEAD):
        block = raw[begin : begin + HEAD]
        assert now[begin : begin + len(block)] in (block, old[begin : begin + len(block)] if not any(block) else block)
    assert now[512:HEAD][: 33 * SECTOR] == raw[512:HEAD][: 33 * SECTOR]
    assert gpt.primary(now[:HEAD])
    assert not bench.present(image.zst, loop, read_zeros=False)[0].changed


def test_an_image_of_the_cards_size(bench: Workbench, image: Image) -> None:
    loop = bench.card(image.geometry.size)
    require_good(*bench.present(image.xz, loop))
    loop.require_image(image)


def test_the_old_backup_of_the_partition_table_is_erased(bench: Workbench, image: Image) -> None:
    loop = bench.card()
    talos_image.provision(loop.file, image.geometry)
    with loop.file.open("r+b") as file:
        file.write(bytes(HEAD))
    run("blockdev", "--flushbufs", loop.device)
    # Its copy alone makes it a node's card still.
    assert loop.state().content == card_state.NODE
    require_good(*bench.present(image.zst, loop, force=True))
    loop.require_image(image)
    assert not any(loop.content[-33 * SECTOR :])


def test_sectors_of_4096_bytes(bench: Workbench, image: Image, tmp_path: Path) -> None:
    loop = bench.card(48 * MIB, "--sector-size", "4096")
    before = seen(loop)
    [card] = bench.present(image.zst, loop)
    require_refused(card, loop, "4096", "512", "sectorSize", before=before)

    made = Image.make(tmp_path, Geometry(efi=4, boot=6, slack=1, sector=4096))
    require_good(*bench.present(made.zst, loop))
    loop.require_image(made)


def test_an_image_that_ends_within_a_block(
    bench: Workbench, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "odd.raw"
    size = image.geometry.size + 7 * SECTOR
    raw.write_bytes(image.content)
    with raw.open("r+b") as file:
        file.truncate(size)
        talos_image.write_gpt(file, image.geometry.partitions, size)
    loop = bench.card(fill=True)
    require_good(*bench.present(raw, loop))
    loop.require_image(Image(image.geometry, raw, raw, raw))

    # The last write before the head, of which the last sectors do not arrive.
    write = Device.write

    def forgetful(device: Device, view: memoryview, offset: int) -> None:
        write(device, view[: -7 * SECTOR] if offset + len(view) == size else view, offset)

    monkeypatch.setattr(Device, "write", forgetful)
    loop = bench.card(fill=True)
    [card] = bench.present(raw, loop)
    assert isinstance(card.error, NotAsWritten)
    assert not loop.could_boot


def test_several_cards_at_once_of_which_one_is_refused(bench: Workbench, image: Image) -> None:
    loops = [bench.card(), bench.card(16 * MIB), bench.card(fill=True), bench.card()]
    asked = [loop.asked(node=f"talos-w{number}") for number, loop in enumerate(loops)]
    small = seen(loops[1])
    cards = bench.present(image.xz, *asked)
    require_refused(cards[1], loops[1], str(16 * MIB), str(image.geometry.size), before=small)
    for number in (0, 2, 3):
        require_good(cards[number])
        loops[number].require_image(image)
        marker = loops[number].state().marker
        assert marker
        assert marker.node == f"talos-w{number}"


def test_a_card_named_twice(bench: Workbench, image: Image) -> None:
    loop = bench.card()
    before = seen(loop)
    for card in bench.present(image.zst, loop, loop.asked(device="")):
        require_refused(card, loop, "named twice", before=before)


# --- what is on a card decides


def test_another_image_is_written_where_it_differs(bench: Workbench, image: Image, other_image: Image) -> None:
    loop = bench.card()
    bench.present(image.zst, loop)
    assert loop.state("f" * 64).content == card_state.ANOTHER_IMAGE
    [card] = bench.present(other_image.zst, loop)
    require_good(card)
    assert card.changed
    loop.require_image(other_image)


def test_a_damaged_block_is_found_by_the_full_check_and_alone_is_written(bench: Workbench, image: Image) -> None:
    loop = bench.card()
    bench.present(image.zst, loop)
    begin = image.geometry.partitions[2].first
    # In the middle of data, where no sample is, and in zeros.
    samples = [block for block, _digest in loop.state().marker.samples]  # type: ignore[union-attr]
    place = next(at for at in range(begin, begin + MIB, HEAD) if at // HEAD not in samples) + 100
    zeros = image.geometry.partitions[-1].first - MIB + 5
    for at in (place, zeros):
        loop.put(at, b"damaged")
        assert not bench.present(image.zst, loop)[0].changed
        assert bench.present(image.zst, loop, full_check=True, check_mode=True)[0].changed
        before = loop.sectors_written
        [card] = bench.present(image.zst, loop, full_check=True)
        require_good(card)
        assert card.changed
        loop.require_image(image)
        # The block, and what is written at the two ends.
        assert (loop.sectors_written - before) * SECTOR < 10 * HEAD


def test_a_damaged_sample_is_found_by_every_run(bench: Workbench, image: Image) -> None:
    loop = bench.card()
    bench.present(image.zst, loop)
    marker = loop.state().marker
    assert marker
    loop.put(marker.samples[3][0] * HEAD + 9, b"damaged")
    assert not loop.state().intact
    assert bench.present(image.zst, loop)[0].changed
    loop.require_image(image)


def test_the_card_of_a_node_is_left_alone(bench: Workbench, image: Image) -> None:
    loop = bench.card()
    bench.present(image.zst, loop)
    talos_image.provision(loop.file, image.geometry)
    run("blockdev", "--flushbufs", loop.device)
    state = loop.state()
    assert state.content == card_state.NODE
    assert state.describe() == f"the Talos node {NODE} of cluster homelab"
    before = seen(loop)
    for check_mode in (True, False):
        [card] = bench.present(image.zst, loop, check_mode=check_mode)
        require_refused(card, loop, f"the Talos node {NODE}", "force", before=before)
    require_refused(bench.absent(loop), loop, "force", before=before)
    [card] = bench.present(image.zst, loop, force=True)
    require_good(card)
    loop.require_image(image)


def test_a_card_for_another_node_is_left_alone(bench: Workbench, image: Image, other_image: Image) -> None:
    loop = bench.card()
    bench.present(image.zst, loop)
    before = seen(loop)
    [card] = bench.present(image.zst, loop.asked(node="talos-w2"))
    require_refused(card, loop, NODE, "talos-w2", "force", before=before)
    [card] = bench.present(image.zst, loop.asked(node="talos-w2"), force=True)
    require_good(card)
    assert loop.state().describe() == "a Talos image for talos-w2 of cluster homelab"
    before = seen(loop)
    nobodys, others = loop.asked(node=""), Marker(cluster="lab")
    for check_mode in (True, False):
        [card] = bench.present(other_image.zst, nobodys, check_mode=check_mode)
        require_refused(card, loop, "talos-w2 of cluster homelab", "no node is named", "force", before=before)
        [card] = bench.present(other_image.zst, loop.asked(node="talos-w2"), marker=others, check_mode=check_mode)
        require_refused(card, loop, "of cluster homelab", "talos-w2 of cluster lab", "force", before=before)
    require_refused(bench.absent(loop), loop, "talos-w2", NODE, "force", before=before)
    require_good(*bench.present(other_image.zst, nobodys, force=True))
    # And now it is nobody's.
    require_good(*bench.present(image.zst, loop))


def test_check_mode_writes_nothing_and_tells_the_same(bench: Workbench, image: Image) -> None:
    loop = bench.card(fill=True)
    before = seen(loop)
    [told] = bench.present(image.zst, loop, check_mode=True)
    absent = bench.absent(loop, check_mode=True)
    assert told.changed
    assert absent.changed
    assert seen(loop) == before
    [done] = bench.present(image.zst, loop)
    shown = [{**card.as_result(), "bytes_written": 0} for card in (told, done)]
    assert shown[0] == shown[1]
    # Without secrets or the run's own folders, and as data.
    assert json.loads(json.dumps(done.as_result())) == done.as_result()


@pytest.mark.parametrize("everything", [False, True])
def test_absent(bench: Workbench, image: Image, everything: bool) -> None:
    loop = bench.card(fill=True)
    bench.present(image.zst, loop)
    assert bench.absent(loop, everything=everything, check_mode=True).changed
    loop.require_image(image)
    card = bench.absent(loop, everything=everything)
    require_good(card)
    assert card.changed
    assert not loop.could_boot
    assert loop.state().content == card_state.EMPTY
    assert any(loop.content) != everything
    assert not bench.absent(loop, everything=everything).changed


@pytest.mark.parametrize("check_mode", [True, False])
def test_several_cards_are_emptied_at_the_same_time(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    loops = [bench.card(8 * MIB, fill=True), bench.card(8 * MIB), bench.card(8 * MIB, fill=True)]
    at_once: list[int] = []
    with Watch() as watch:
        cards = Cards([*(loop.asked() for loop in loops), Asked(device="/dev/null")], Rules(), watch)
        carry_out = cards._carry_out

        def counted(works: t.Sequence[Card], feed: t.Any) -> None:
            at_once.append(len(works))
            carry_out(works, feed)

        monkeypatch.setattr(cards, "_carry_out", counted)
        cards.absent(True, check_mode)
    assert at_once == ([3] if check_mode else [3, 2])
    assert [card.changed for card in cards.all] == [True, False, True, False]
    assert [bool(card.error) for card in cards.all] == [False, False, False, True]
    assert [any(loop.content) for loop in loops] == [check_mode, False, check_mode]


def test_a_card_whose_table_was_made_for_smaller_sectors_is_emptied(bench: Workbench, image: Image) -> None:
    odd = Geometry(efi=1, boot=2, slack=1)
    parts = [dataclasses.replace(part, first=part.first + SECTOR) for part in odd.partitions]
    loop = bench.card(48 * MIB, "--sector-size", "4096")
    with loop.file.open("r+b") as file:
        talos_image.write_gpt(file, parts, 48 * MIB)
    run("blockdev", "--flushbufs", loop.device)
    card = bench.absent(loop)
    require_good(card)
    assert card.changed
    assert loop.state().content == card_state.EMPTY


# --- what is refused


def test_what_is_no_disk(bench: Workbench, image: Image, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"mine")
    for path, said in (
        (file, "is not a block device"),
        (tmp_path / "none", "No such file"),
        (Path("/dev/null"), "not"),
    ):
        [card] = bench.present(image.zst, Asked(device=str(path)))
        assert said in str(card.error)
    assert file.read_bytes() == b"mine"
    assert not (tmp_path / "none").exists()


def test_what_is_no_card_unless_its_identity_is_declared(bench: Workbench, image: Image) -> None:
    loop = bench.card()
    before = seen(loop)
    [card] = bench.present(image.zst, Asked(device=loop.device))
    require_refused(card, loop, "no card or stick", loop.identity, before=before)
    [card] = bench.present(image.zst, loop.asked(identity="loop:/another"))
    require_refused(card, loop, loop.identity, "loop:/another", before=before)
    [card] = bench.present(image.zst, Asked(identity="loop:/another"))
    assert "no card here has the identity loop:/another" in str(card.error)
    require_good(*bench.present(image.zst, Asked(identity=loop.identity)))


def test_words_that_do_not_fit_into_the_marker(bench: Workbench, image: Image) -> None:
    loop = bench.card()
    before = seen(loop)
    [card] = bench.present(image.zst, loop.asked(node="n" * 2000))
    require_refused(card, loop, "do not fit into a card's marker", "Shorten", before=before)


def test_the_disk_that_this_machine_runs_from(bench: Workbench, image: Image) -> None:
    machine = Machine()
    system = [disk for disk in machine.disks() if machine.use(disk).system]
    for disk in system:
        for asked in (Asked(device=disk.path), Asked(device=disk.path, identity=disk.identity)):
            [card] = bench.present(image.zst, asked, check_mode=True)
            assert card.error is not None
            assert disk.path in str(card.error)


def test_a_mounted_card(bench: Workbench, image: Image, tmp_path: Path) -> None:
    loop = bench.card()
    run("mke2fs", "-q", loop.device)
    with mounted(loop.device, tmp_path / "mnt") as folder:
        before = loop.sectors_written
        [card] = bench.present(image.zst, loop)
        assert f"mounted at {folder}" in str(card.error)
        assert "unmount: true" in str(card.error)
        with (folder / "open").open("w"):
            [card] = bench.present(image.zst, loop, unmount=True)
            assert "cannot be unmounted" in str(card.error)
        assert os.path.ismount(folder)
        # In check mode it stays mounted, too.
        assert bench.present(image.zst, loop, unmount=True, check_mode=True)[0].changed
        assert os.path.ismount(folder)
        assert loop.sectors_written - before < 100
        require_good(*bench.present(image.zst, loop, unmount=True))
        assert not os.path.ismount(folder)
    loop.require_image(image)


def test_a_partition_and_a_mounted_one(bench: Workbench, image: Image, tmp_path: Path) -> None:
    content = image.content
    loop = bench.card(48 * MIB, "--partscan", content=content)
    part = f"{loop.device}p3"
    run("partx", "--update", loop.device)
    wait_for(lambda: os.path.exists(part), part, 20)
    [card] = bench.present(image.zst, Asked(device=part, identity=loop.identity))
    assert f"{part} is a partition" in str(card.error)
    assert f"Name the whole disk: {loop.device}" in str(card.error)
    run("mke2fs", "-q", part)
    with mounted(part, tmp_path / "mnt") as folder:
        [card] = bench.present(image.zst, loop)
        assert f"mounted at {folder}" in str(card.error)
    require_good(*bench.present(image.zst, loop))


def test_a_read_only_card(bench: Workbench, image: Image) -> None:
    loop = bench.card(48 * MIB, "--read-only")
    before = seen(loop)
    require_refused(*bench.present(image.zst, loop), loop, "read-only", before=before)


def test_a_card_that_somebody_else_writes(bench: Workbench, image: Image) -> None:
    loop = bench.card()
    before = seen(loop)
    descriptor = os.open(loop.device, os.O_RDWR | os.O_EXCL)
    try:
        [card] = bench.present(image.zst, loop)
        require_refused(card, loop, "in use", before=before)
    finally:
        os.close(descriptor)
    with open(loop.device, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        [card] = bench.present(image.zst, loop)
        require_refused(card, loop, "locked", before=before)
    require_good(*bench.present(image.zst, loop))


def test_a_card_without_bytes_has_been_pulled_out(bench: Workbench) -> None:
    """So does the kernel show an SD card that was in its slot a moment ago."""
    loop = bench.card()
    with Device.open(Machine().find(loop.device, loop.identity), write=True) as device:
        os.truncate(loop.file, 0)
        run("losetup", "--set-capacity", loop.device)
        for call in (device.read, device.write):
            with pytest.raises(Gone, match="the card vanished"):
                call(Buffer().view, 0)


def test_a_card_that_is_swapped(bench: Workbench, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = bench.card()
    disk = Machine().find(loop.device, loop.identity)
    assert disk.diskseq
    [card] = bench.present(image.zst, loop.asked(diskseq=disk.diskseq + 1))
    assert "swapped" in str(card.error)

    # Between the check and the work, with the same file behind another card of the same name.
    with Watch() as watch:
        cards = Cards([loop.asked()], Rules(), watch)
        admit = cards.admit

        def swap(*arguments: t.Any) -> None:
            admit(*arguments)
            detach(loop.device)
            wait_for(lambda: not Path(f"/sys/block/{disk.name}/loop").exists(), "detached")
            run("losetup", loop.device, loop.file)

        monkeypatch.setattr(cards, "admit", swap)
        cards.present(str(image.zst), Marker(), False)
    assert "swapped since it was checked" in str(cards.all[0].error)
    assert not any(loop.content)


@pytest.mark.parametrize("force", [False, True])
def test_a_card_that_is_swapped_under_a_kernel_that_does_not_count(
    bench: Workbench, image: Image, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    disk = Machine.disk

    def uncounted(machine: Machine, name: str) -> Disk:
        return dataclasses.replace(disk(machine, name), diskseq=0)

    monkeypatch.setattr(Machine, "disk", uncounted)
    for present in (True, False):
        loop = bench.card(content=b"" if present else b"mine")
        with Watch() as watch:
            cards = Cards([loop.asked()], Rules(force=force), watch)
            admit = cards.admit

            def swap(
                *arguments: t.Any, admit: t.Callable[..., None] = admit, loop: Loop = loop, **named: t.Any
            ) -> None:
                admit(*arguments, **named)
                # The reader, its number and the size stay the same.
                loop.put(0, image.content)
                talos_image.provision(loop.file, image.geometry)
                run("blockdev", "--flushbufs", loop.device)

            monkeypatch.setattr(cards, "admit", swap)
            if present:
                cards.present(str(image.zst), Marker(), False)
            else:
                cards.absent(False, False)
        assert "swapped since it was checked" in str(cards.all[0].error)
        assert not cards.all[0].changed
        assert loop.state().content == card_state.NODE


# --- images that are not right


def test_another_sha256_than_the_declared_one(bench: Workbench, image: Image) -> None:
    loop = bench.card()
    before = seen(loop)
    with pytest.raises(ImageError, match=f"expected sha256 {'a' * 64}"):
        bench.present(image.zst, loop, marker=Marker(image="a" * 64))
    assert seen(loop) == before


def test_what_is_no_talos_image(bench: Workbench, tmp_path: Path) -> None:
    loop = bench.card()
    before = seen(loop)
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(510) + b"\x55\xaa" + bytes(8 * MIB))
    for path in (raw, talos_image.compress_xz(raw)):
        with pytest.raises(ImageError, match="no Talos disk image"):
            bench.present(path, loop)
    cut = tmp_path / "cut.raw"
    talos_image.write_image(cut, talos_image.SMALL)
    os.truncate(cut, 20 * MIB)
    with pytest.raises(ImageError, match="partition table is that of"):
        bench.present(cut, loop)
    assert seen(loop) == before


@pytest.mark.parametrize("form", ["zst", "xz"])
def test_a_corrupt_image_leaves_a_card_that_does_not_boot(bench: Workbench, image: Image, form: str) -> None:
    content = bytearray(getattr(image, form).read_bytes())
    noise = random.Random(form)
    failed = 0
    for place in [*(noise.randrange(len(content) // 3, len(content)) for _ in range(6)), len(content) - 30]:
        damaged = bench.folder / f"damaged.{form}"
        damaged.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        loop = bench.card(fill=True)
        try:
            [card] = bench.present(damaged, loop)
        except ImageError:
            # Seen before the card was touched.
            continue
        assert isinstance(card.error, ImageError), (place, card.error)
        assert card.as_result()["after"] == f"a Talos image for {NODE} of cluster homelab, not finished"
        assert not loop.could_boot
        assert loop.state().content == card_state.UNFINISHED
        failed += 1
    assert failed
    require_good(*bench.present(getattr(image, form), loop))
    loop.require_image(image)


def test_a_user_of_the_devices_group_needs_no_root(bench: Workbench, image: Image) -> None:
    loop = bench.card()
    nobody = 65534
    os.chown(loop.device, 0, nobody)
    os.chmod(loop.device, 0o660)
    # pytest's own folders are root's alone.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # noqa: S103 - for that user
        # Raw: that user cannot read the libraries of this Python.
        path = Path(shutil.copy(image.raw, folder))
        child = os.fork()
        if child == 0:
            said = "it did not come to an end"
            try:
                os.setgroups([])
                os.setgid(nobody)
                os.setuid(nobody)
                said = str(bench.present(path, loop)[0].error or "")
            finally:
                os.write(2, said.encode())
                os._exit(bool(said))
        _pid, status = os.waitpid(child, 0)
    assert status == 0
    loop.require_image(image)


# --- the modules


def test_the_modules_in_a_playbook(bench: Workbench, image: Image) -> None:
    loop = bench.card()
    plain = {"image": str(image.xz), "cards": [{"device": loop.device, "identity": loop.identity, "node": NODE}]}
    info = {"devices": [loop.device], "image": str(image.xz)}
    play = Play(bench.folder)
    before = seen(loop)
    assert play.run(("sd_card", plain), "--check", "--diff").rc == 0
    assert "-nothing" in play.output
    assert f"+a Talos image (1.14.2) for {NODE} of cluster home" in play.output
    assert seen(loop) == before
    for changed in (True, False):
        assert play.run(("sd_card", plain), ("card_info", info)).rc == 0, play.output
        assert f"changed={int(changed)}" in play.output
        # Not to a terminal.
        assert "on the card" not in play.output
        [card] = play.results[0]["cards"]
        assert card["changed"] == changed
        assert play.results[1]["cards"][0]["content"] == "this_image"
        loop.require_image(image)
    assert list(Path(play.environment["HOME"], ".ansible_async").iterdir()) == []
    wrong = {**plain, "sha256": "0" * 64}
    assert play.run(("sd_card", wrong)).rc == 2
    assert "expected sha256 0000" in play.output
    for module, options in (("sd_card", plain), ("card_info", {})):
        assert play.run((module, {**options, "sha256": "0000"})).rc == 2
        assert "sha256 is 0000. It must be 64 digits" in play.output
    assert "Traceback" not in play.output


def test_card_info_tells_of_the_others_where_one_is_no_disk(bench: Workbench, tmp_path: Path) -> None:
    loop = bench.card(content=b"mine")
    play = Play(bench.folder)
    none = str(tmp_path / "none")
    assert play.run(("card_info", {"devices": [none, loop.device, "/dev/null"]})).rc == 0, play.output
    rows = play.results[0]["cards"]
    assert [(row["device"], row["content"]) for row in rows] == [
        (none, "unreadable"),
        (loop.device, "other"),
        ("/dev/null", "unreadable"),
    ]
    assert "No such file" in rows[0]["description"]
    assert {tuple(row) for row in rows} == {tuple(rows[0])}


@pytest.mark.parametrize("form", ["zst", "xz"])
def test_the_memory_that_four_cards_take(bench: Workbench, image: Image, form: str) -> None:
    cards = [{"device": loop.device, "identity": loop.identity} for loop in (bench.card(fill=True) for _ in range(4))]
    idle = peak_of_module("card_info", bench.folder, devices=[cards[0]["device"]])
    assert peak_of_module("sd_card", bench.folder, cards=cards, image=str(getattr(image, form))) - idle <= 64


def peak_of_module(name: str, folder: Path, **arguments: t.Any) -> float:
    """In MiB."""
    path = folder / "arguments.json"
    path.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
    module = f"ansible_collections.homelab.talos.plugins.modules.{name}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "collections")}
    process = subprocess.Popen([sys.executable, "-m", module, path], env=environment, stdout=subprocess.DEVNULL)
    _pid, status, used = os.wait4(process.pid, 0)
    assert status == 0
    return used.ru_maxrss / 1024
