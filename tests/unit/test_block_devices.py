# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks by a made-up sysfs: who each is, and what stands on it."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import _block_devices
from ansible_collections.homelab.talos.plugins.module_utils._block_devices import (
    DeviceError,
    Machine,
    NoSuchDevice,
    NotADisk,
    Use,
    WrongIdentity,
)

CID = "035344534c31364780e8a1b2c30141a7"
GIB = 2**30
# Numbers of devices, which tests cannot make: the path of a disk stands for its number.
NUMBERS = {"sda": "8:0", "sda1": "8:1", "sda2": "8:2", "sdb": "8:16", "sdb1": "8:17", "sdc": "8:32", "sdc1": "8:33"}
NUMBERS |= {"mmcblk0": "179:0", "mmcblk0p1": "179:1", "mmcblk1": "179:8", "nvme0n1": "259:0", "loop0": "7:0"}
NUMBERS |= {"dm-0": "253:0", "dm-1": "253:1", "md0": "9:0", "zram0": "252:0", "sr0": "11:0", "mmcblk1boot0": "179:16"}


class Tree:
    """A machine's /sys, /proc and /dev."""

    def __init__(self, folder: Path) -> None:
        self.sys, self.proc, self.dev = folder / "sys", folder / "proc", folder / "dev"
        for path in (self.sys / "block", self.sys / "dev" / "block", self.proc / "self", self.proc / "1", self.dev):
            path.mkdir(parents=True)
        self.mounts("")
        self.swaps()

    @property
    def machine(self) -> Machine:
        return Machine(str(self.sys), str(self.proc), str(self.dev))

    def write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")

    def disk(self, name: str, *parts: str, where: str = "pci/x", gib: int = 8, **attributes: str) -> Path:
        """A disk below a device of the bus, with partitions, as the kernel shows it."""
        folder = self.sys / "devices" / where / "block" / name
        self.entry(folder, name)
        for key, text in {"size": str(gib * GIB // 512), "ro": "0", "diskseq": "7", **attributes}.items():
            self.write(folder / key.replace("__", "/"), text)
        if not name.startswith(("dm", "md", "loop", "zram")) and not (folder / "device").exists():
            (folder / "device").symlink_to(self.sys / "devices" / where)
        for part in parts:
            self.entry(folder / part, part)
            self.write(folder / part / "partition", part[-1])
        (self.sys / "block" / name).symlink_to(folder)
        return folder

    def entry(self, folder: Path, name: str) -> None:
        for sub in ("holders", "slaves"):
            (folder / sub).mkdir(parents=True)
        self.write(folder / "dev", NUMBERS[name])
        (self.sys / "dev" / "block" / NUMBERS[name]).symlink_to(folder)
        (self.dev / name).write_text(name)

    def stands_on(self, upper: str, lower: str) -> None:
        above, below = (Path(os.path.realpath(self.sys / "dev" / "block" / NUMBERS[name])) for name in (upper, lower))
        (above / "slaves" / lower).symlink_to(below)
        (below / "holders" / upper).symlink_to(above)

    def mounts(self, text: str, process: str = "self") -> None:
        (self.proc / process / "mountinfo").write_text(text)

    def swaps(self, *paths: str) -> None:
        lines = ["Filename Type Size Used Priority", *(f"{path} partition 1 0 -2" for path in paths)]
        (self.proc / "swaps").write_text("\n".join(lines) + "\n")


def mount(number: str, point: str, source: str = "none", kind: str = "ext4") -> str:
    return f"25 1 {number} / {point} rw shared:1 - {kind} {source} rw\n"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    tree = Tree(tmp_path)

    def number(path: str) -> str:
        return NUMBERS.get(os.path.basename(os.path.realpath(path)), "") if os.path.exists(path) else ""

    monkeypatch.setattr(_block_devices, "_number_of_device", number)
    return tree


def usb(tree: Tree, serial: str = "A1", lun: int = 0, name: str = "sdb", **more: t.Any) -> None:
    where = f"usb1/1-1/1-1:1.0/host6/target6:0:0/6:0:0:{lun}"
    tree.write(tree.sys / "devices" / "usb1" / "1-1" / "idVendor", "05e3")
    tree.write(tree.sys / "devices" / "usb1" / "1-1" / "serial", serial)
    tree.disk(name, where=where, **{"removable": "1", **more})


def test_an_sd_card_in_a_reader_of_the_board(tree: Tree) -> None:
    folder = tree.sys / "devices" / "mmc" / "mmc0:0001"
    for key, text in {"cid": CID, "type": "SD", "name": "SL16G"}.items():
        tree.write(folder / key, text)
    tree.disk("mmcblk0", "mmcblk0p1", where="mmc/mmc0:0001", gib=15, removable="0")
    [disk] = tree.machine.readers()
    assert (disk.bus, disk.identity, disk.removable) == ("mmc", f"mmc:{CID}", True)
    assert (disk.size, disk.sector, disk.diskseq, disk.model) == (15 * GIB, 512, 7, "SL16G")


def test_an_emmc_and_its_boot_parts_are_no_cards(tree: Tree) -> None:
    folder = tree.sys / "devices" / "mmc" / "mmc1:0001"
    for key, text in {"cid": CID, "type": "MMC"}.items():
        tree.write(folder / key, text)
    tree.disk("mmcblk1", where="mmc/mmc1:0001")
    tree.disk("mmcblk1boot0", where="mmc/mmc1:0001")
    machine = tree.machine
    assert [(disk.name, disk.removable) for disk in machine.disks()] == [("mmcblk1", False)]
    assert machine.readers() == []


def test_two_slots_of_one_reader_and_an_empty_one(tree: Tree) -> None:
    usb(tree)
    usb(tree, lun=1, name="sdc", gib=0)
    first, second = tree.machine.readers()
    assert first.identity == f"usb:A1:0:{8 * GIB}"
    assert second.identity == "usb:A1:1:0"
    with pytest.raises(NoSuchDevice, match="no card in the reader"):
        tree.machine.find("", second.identity)


def test_a_reader_without_a_serial_number_has_no_identity(tree: Tree) -> None:
    usb(tree, serial="")
    [disk] = tree.machine.readers()
    assert disk.identity == ""
    assert disk.removable


def test_a_hard_disk_at_usb_is_no_card(tree: Tree) -> None:
    usb(tree, removable="0", gib=4000)
    [disk] = tree.machine.disks()
    assert (disk.bus, disk.identity, disk.removable) == ("usb", f"usb:A1:0:{4000 * GIB}", False)
    assert tree.machine.readers() == []


def test_other_disks_by_their_wwid_or_serial_number(tree: Tree) -> None:
    tree.write(tree.sys / "devices" / "pci" / "x" / "wwid", "naa.5002  538e")
    tree.disk("sda")
    tree.write(tree.sys / "devices" / "nvme" / "serial", "S4EV  ")
    tree.disk("nvme0n1", where="nvme")
    tree.disk("zram0", where="virtual")
    tree.disk("loop0", where="virtual2")
    found = {disk.name: (disk.bus, disk.identity, disk.removable) for disk in tree.machine.disks()}
    assert found == {"sda": ("disk", "disk:naa.5002_538e", False), "nvme0n1": ("disk", "disk:S4EV", False)}


def test_a_disk_by_its_identity(tree: Tree) -> None:
    usb(tree)
    identity = f"usb:A1:0:{8 * GIB}"
    assert tree.machine.find("", identity).path == str(tree.dev / "sdb")
    with pytest.raises(NoSuchDevice, match="no card here has the identity usb:other"):
        tree.machine.find("", "usb:other")
    usb(tree, name="sdc")
    with pytest.raises(DeviceError, match=r"the identity of .*sdb and .*sdc"):
        tree.machine.find("", identity)


def test_a_path_must_be_a_whole_disk(tree: Tree) -> None:
    with pytest.raises(NoSuchDevice, match="No such file"):
        tree.machine.find(str(tree.dev / "sdz"), "")
    (tree.dev / "file").write_text("")
    for path in (tree.dev / "file", tree.dev):
        with pytest.raises(NotADisk, match="not a block device"):
            tree.machine.find(str(path), "")


def test_another_identity_than_the_declared_one(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    usb(tree)
    machine = tree.machine
    monkeypatch.setattr(machine, "at", lambda path: machine.disk(os.path.basename(path)))
    with pytest.raises(WrongIdentity, match=r"usb:A1:0:.* and usb:B2:0:8 is declared"):
        machine.find("/dev/sdb", "usb:B2:0:8")


USES = {
    "nothing": ("", (), Use()),
    "root on a partition": (mount("8:17", "/"), (), Use(("/",), "/")),
    "on the whole disk": (mount("8:16", "/mnt/a\\040b"), (), Use(("/mnt/a b",))),
    "another disk": (mount("8:1", "/"), (), Use()),
    "firmware of a Pi": (
        mount("8:17", "/boot/firmware") + mount("8:16", "/x"),
        (),
        Use(("/boot/firmware", "/x"), "/boot/firmware"),
    ),
    **{
        f"data at {point}": (mount("8:17", point), (), Use((point,), point))
        for point in ("/var/lib/docker", "/srv", "/opt/data", "/home/me/films")
    },
    "where users mount": (
        mount("8:17", "/media/me/CARD") + mount("8:17", "/mnt") + mount("8:17", "/variable"),
        (),
        Use(("/media/me/CARD", "/mnt", "/variable")),
    ),
    "swap": ("", ("sdb1",), Use(swap=True)),
    "swap of another": ("", ("sda1",), Use()),
}


@pytest.mark.parametrize("case", USES)
def test_what_stands_on_a_disk(tree: Tree, case: str) -> None:
    tree.disk("sda", "sda1")
    tree.disk("sdb", "sdb1", where="pci/y")
    mounts, swaps, expected = USES[case]
    tree.mounts(mounts)
    tree.swaps(*(str(tree.dev / name) for name in swaps))
    machine = tree.machine
    assert machine.use(machine.disk("sdb")) == expected


def test_what_stands_on_it_through_lvm_raid_and_encryption(tree: Tree) -> None:
    tree.disk("sdb", "sdb1")
    tree.disk("md0", where="virtual/a")
    tree.disk("dm-0", where="virtual/b")
    tree.disk("dm-1", where="virtual/c")
    for upper, lower in (("md0", "sdb1"), ("dm-0", "md0"), ("dm-1", "dm-0")):
        tree.stands_on(upper, lower)
    tree.mounts(mount("253:1", "/var"))
    machine = tree.machine
    assert machine.use(machine.disk("sdb")) == Use(("/var",), "/var", holders=("md0",))
    # And what is not mounted yet.
    tree.mounts("")
    assert machine.use(machine.disk("sdb")).holders == ("md0",)
    assert [disk.name for disk in machine.disks()] == ["sdb"]


def test_btrfs_has_a_number_of_its_own(tree: Tree) -> None:
    tree.disk("sdb", "sdb1")
    tree.mounts(mount("0:31", "/", str(tree.dev / "sdb1"), "btrfs"))
    machine = tree.machine
    assert machine.use(machine.disk("sdb")).system == "/"


def test_what_only_init_has_mounted_counts(tree: Tree) -> None:
    tree.disk("sdb", "sdb1")
    tree.mounts(mount("8:17", "/home"), "1")
    machine = tree.machine
    assert machine.use(machine.disk("sdb")).system == "/home"
