# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disk images out of their containers: every byte, or an error; judged by the commands xz and zstd."""

from __future__ import annotations

import concurrent.futures
import os
import random
import subprocess
import sys
import threading
import typing as t
import zlib
from pathlib import Path

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import _decompression
from ansible_collections.homelab.talos.plugins.module_utils._decompression import (
    CorruptImage,
    ImageError,
    MissingLibrary,
    UnknownFormat,
    open_image,
)

MIB = 1 << 20
PIECE = 128 * 1024
BOUNDARIES = [1, 511, 4096, PIECE, MIB, 2 * MIB]
XZ = ["xz", "--compress", "--stdout", "--quiet"]
ZSTD = ["zstd", "--stdout", "--quiet"]
# The commands that the Image Factory makes its files by.
TALOS_XZ = [*XZ, "-0", "-T0"]
TALOS_ZSTD = [*ZSTD, "-T0", "-18"]
# Prints by how much an image in buffers of 4 MiB raises a process's memory, in KiB.
MEMORY = """
import re, sys
from ansible_collections.homelab.talos.plugins.module_utils._decompression import open_image

def status(name):
    with open("/proc/self/status") as file:
        return int(re.search(name + r":\\s+(\\d+)", file.read())[1])

buffer = memoryview(bytearray(b"1" * (4 << 20)))
idle = status("VmRSS")
with open_image(sys.argv[1]) as image:
    while image.readinto(buffer):
        pass
print(status("VmHWM") - idle)
"""


def compressed(path: Path, content: bytes, command: list[str]) -> bytes:
    raw = path.with_suffix(".raw")
    raw.write_bytes(content)
    return subprocess.run([*command, raw], stdout=subprocess.PIPE, check=True).stdout


def image(path: Path, content: bytes, command: list[str]) -> str:
    path.write_bytes(compressed(path, content, command))
    return str(path)


def read(path: str | Path, buffer_size: int = MIB + 7) -> bytes:
    buffer = memoryview(bytearray(buffer_size))
    content = bytearray()
    with open_image(str(path)) as opened:
        while count := opened.readinto(buffer):
            assert count == buffer_size or len(content) + count == opened.size, "filled, unless at the end"
            content += buffer[:count]
        assert len(content) == opened.size
        assert opened.readinto(buffer) == 0
    return bytes(content)


def like_a_disk(chance: random.Random, size: int) -> bytes:
    """Zeros for the most part, then text and noise."""
    content = bytearray(size)
    for _ in range(chance.randrange(8)):
        start = chance.randrange(size)
        part = min(chance.choice([100, 5000, 200_000]), size - start)
        content[start : start + part] = (
            chance.randbytes(part) if chance.random() < 0.5 else (b"kubelet " * part)[start % 8 :][:part]
        )
    return bytes(content)


def random_size(chance: random.Random) -> int:
    near = chance.choice(BOUNDARIES) + chance.randrange(-2, 3)
    return max(1, chance.choice([near, near, chance.randrange(1, 2 * MIB)]))


def random_command(chance: random.Random) -> list[str]:
    if chance.random() < 0.5:
        return [*ZSTD, f"-{chance.choice([1, 3, 9, 18])}", f"-T{chance.randrange(3)}"]
    blocks = chance.choice([[], [f"--block-size={chance.choice([5000, 64 * 1024, MIB, 5 * MIB])}"]])
    check = chance.choice(["crc32", "crc64", "crc64", "sha256"])
    return [*XZ, f"-{chance.randrange(8)}", f"-T{chance.randrange(3)}", f"--check={check}", *blocks]


def damaged(chance: random.Random, file: bytes) -> tuple[str, bytes]:
    """What is done to the file, and what it is then."""
    at = chance.randrange(len(file))
    some = chance.randrange(1, 5000)
    changes: dict[str, t.Callable[[], bytes]] = {
        "cut": lambda: file[:at],
        "cut near the end": lambda: file[: -min(some % 30 + 1, len(file))],
        "bit": lambda: file[:at] + bytes([file[at] ^ 1 << some % 8]) + file[at + 1 :],
        "zeros": lambda: file[:at] + bytes(len(file[at : at + some])) + file[at + some :],
        "hole": lambda: file[:at] + file[at + some :],
        "inserted": lambda: file[:at] + chance.randbytes(some) + file[at:],
        "twice": lambda: file[: at + some] + file[at:],
        "garbage": lambda: file + chance.randbytes(some),
        "padding": lambda: file + bytes(some),
        "again": lambda: file + file,
    }
    name = chance.choice(list(changes))
    return f"{name} at {at}, {some}", changes[name]()


def refused(path: Path) -> bool:
    try:
        read(path)
    except ImageError:
        return True
    return False


def check_random_image(seed: int, folder: Path, damages: int) -> None:
    chance = random.Random(seed)
    content = like_a_disk(chance, random_size(chance))
    command = random_command(chance)
    path = folder / "image"
    file = compressed(path, content, command)
    path.write_bytes(file)
    buffer_size = max(1, chance.choice([*BOUNDARIES[2:], len(content)]) + chance.randrange(-1, 2))
    assert read(path, buffer_size) == content, command
    for _ in range(damages):
        name, broken = damaged(chance, file)
        if broken == file:
            continue
        path.write_bytes(broken)
        said = f"accepted: {name} of {len(file)} bytes by {command}"
        # In zstd a changed bit may mean the same, such as a copy from two bytes earlier within zeros.
        assert refused(path) or (len(broken) == len(file) and read(path) == content), said


@pytest.mark.parametrize("seed", range(24))
def test_random_images_and_random_damage(seed: int, tmp_path: Path) -> None:
    check_random_image(seed, tmp_path, damages=12)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(100, 500))
def test_many_random_images_and_much_random_damage(seed: int, tmp_path: Path) -> None:
    check_random_image(seed, tmp_path, damages=60)


# --- as the factory makes them


@pytest.mark.parametrize("command", [TALOS_XZ, TALOS_ZSTD, [*XZ, "-6", "-T1"]], ids=["xz", "zstd", "one block"])
def test_size_is_known_before_the_first_byte_is_read(tmp_path: Path, command: list[str]) -> None:
    content = like_a_disk(random.Random(1), 5 * MIB + 512)
    path = image(tmp_path / "image", content, command)
    with open_image(path) as opened:
        assert opened.size == len(content)
    assert read(path) == content


def test_blocks_are_decompressed_in_threads_and_not_far_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = random.Random(2).randbytes(20 * MIB)
    path = image(tmp_path / "image", content, TALOS_XZ)
    begun: list[t.Any] = []

    class Pool(concurrent.futures.ThreadPoolExecutor):
        def submit(self, *arguments: t.Any) -> t.Any:  # type: ignore[override]
            begun.append(arguments)
            return super().submit(*arguments)

    monkeypatch.setattr(_decompression.concurrent.futures, "ThreadPoolExecutor", Pool)
    buffer = memoryview(bytearray(MIB))
    with open_image(path) as opened:
        for index in range(5):
            assert opened.readinto(buffer) == MIB
            assert buffer == content[index * MIB : (index + 1) * MIB]
            assert len(begun) == 8 + index
        assert threading.active_count() > 1
    assert threading.active_count() == 1, "threads end with the image"


@pytest.mark.parametrize("command", [TALOS_XZ, TALOS_ZSTD, [*XZ, "-7", "-T1"]], ids=["xz", "zstd", "one block"])
def test_memory_stays_small(tmp_path: Path, command: list[str]) -> None:
    chance = random.Random(3)
    raw = tmp_path / "image.raw"
    with raw.open("wb") as file:
        file.truncate(100 * MIB)
        for start in range(0, 100, 10):
            file.seek(start * MIB)
            file.write(chance.randbytes(MIB // 2))
    path = tmp_path / "image"
    with path.open("wb") as file:
        subprocess.run([*command, raw], stdout=file, check=True)
    taken = subprocess.run([sys.executable, "-c", MEMORY, path], stdout=subprocess.PIPE, check=True, text=True).stdout
    assert int(taken) <= 32 * 1024, "KiB beyond an idle process with its buffer"


# --- what is refused


def frame(content_size: int, blocks: bytes, descriptor: int = 0xA4) -> bytes:
    return b"\x28\xb5\x2f\xfd" + bytes([descriptor]) + content_size.to_bytes(4, "little") + blocks + bytes(4)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "is neither a disk image nor"),
        (b"<!DOCTYPE html><html>", "it begins with b'<!DOCTYPE ht'"),
        (b"\x1f\x8b\x08" + bytes(2000), "is neither a disk image nor"),
        (bytes(100_000), "is neither a disk image nor"),
        (frame(4096, b"", 0xA0), "has no checksum or does not tell"),
        (frame(4096, b"", 0x04), "has no checksum or does not tell"),
        (frame(4096, b"", 0xA5), "by a dictionary"),
        (frame(9 << 20, b""), "takes too much memory"),
        (frame(4096, b"\x07\x00\x00"), "no block at 9"),
        (frame(4096, b""), "truncated"),
        (b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd", "is neither a disk image nor"),
        (b"\xfd7zXZ\0\0\4", "truncated"),
    ],
)
def test_what_is_no_image(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "image"
    path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        open_image(str(path))
    assert str(caught.value).startswith(str(path))
    assert cause in str(caught.value)
    assert caught.value.remedy


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        open_image(str(tmp_path / "missing"))
    with pytest.raises(ImageError, match="cannot be read: Is a directory"):
        open_image(str(tmp_path))
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UnknownFormat, match="is not a regular file"):
            open_image(str(path))


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        ([*XZ, "--check=none"], "has no checksum"),
        ([*XZ, "-9"], "takes too much memory"),
        ([*ZSTD, "--no-check"], "has no checksum"),
        ([*ZSTD, "--no-content-size"], "does not tell its size"),
        ([*ZSTD, "--ultra", "-22"], "takes too much memory"),
        (["lzma", "--compress", "--stdout"], "is neither a disk image nor"),
    ],
)
def test_what_cannot_be_checked_or_takes_too_much(tmp_path: Path, command: list[str], cause: str) -> None:
    with pytest.raises(UnknownFormat, match=cause):
        read(image(tmp_path / "image", bytes(9 * MIB), command))


@pytest.mark.parametrize(
    ("command", "after", "cause"),
    [
        (TALOS_XZ, "again", "not one xz stream"),
        (TALOS_XZ, "padding", "something follows"),
        (TALOS_ZSTD, "again", "something follows"),
        (TALOS_ZSTD, "padding", "something follows"),
        (TALOS_XZ, "cut", "truncated"),
        (TALOS_ZSTD, "cut", "truncated"),
    ],
)
def test_one_image_ends_where_its_file_ends(tmp_path: Path, command: list[str], after: str, cause: str) -> None:
    path = tmp_path / "image"
    file = compressed(path, bytes(2 * MIB) + b"end", command)
    path.write_bytes({"again": file + file, "padding": file + bytes(4), "cut": file[:-1]}[after])
    with pytest.raises(CorruptImage, match=cause):
        open_image(str(path))


@pytest.mark.parametrize("change", [1, -1])
def test_a_size_that_is_not_that_of_the_content(tmp_path: Path, change: int) -> None:
    path = tmp_path / "image"
    file = bytearray(compressed(path, bytes(MIB), TALOS_ZSTD))
    assert int.from_bytes(file[5:9], "little") == MIB, "single segment, four bytes of size"
    file[5:9] = (MIB + change).to_bytes(4, "little")
    path.write_bytes(file)
    with pytest.raises(CorruptImage):
        read(path)


@pytest.mark.parametrize("command", [TALOS_XZ, TALOS_ZSTD, [*XZ, "-6", "-T1"]], ids=["xz", "zstd", "one block"])
def test_noise_that_changed_is_told_by_the_checksum_alone(tmp_path: Path, command: list[str]) -> None:
    content = random.Random(4).randbytes(300_000)
    path = tmp_path / "image"
    file = bytearray(compressed(path, content, command))
    # It is stored as it is.
    file[file.index(content[200_000:200_100])] ^= 1
    path.write_bytes(file)
    buffer = memoryview(bytearray(len(content)))
    with open_image(str(path)) as opened, pytest.raises(CorruptImage):
        opened.readinto(buffer)


def test_the_last_bytes_come_after_the_whole_container_proved_right(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.touch()

    def pieces() -> t.Generator[bytes, None, None]:
        yield b"ab"
        yield b"cd"
        raise _decompression._Damaged("another checksum")

    with path.open("rb", buffering=0) as file, _decompression.RawImage(file, "zst", 4, pieces()) as opened:
        buffer = memoryview(bytearray(2))
        assert opened.readinto(buffer) == 2
        with pytest.raises(CorruptImage, match="another checksum"):
            opened.readinto(buffer)


def number(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + number(value >> 7)


@pytest.mark.parametrize("change", [0, 1, -1])
def test_an_index_that_tells_other_sizes_than_its_blocks_have(tmp_path: Path, change: int) -> None:
    path = tmp_path / "image"
    file = compressed(path, random.Random(6).randbytes(2 * MIB), TALOS_XZ)
    index_size = (int.from_bytes(file[-8:-4], "little") + 1) * 4
    start = len(file) - 12 - index_size
    first, second = _decompression._xz_blocks(file[start:-12])
    # As many bytes together.
    sizes = [(first.unpadded_size, MIB + change), (second.unpadded_size, MIB - change)]
    index = b"\0\2" + b"".join(number(unpadded) + number(size) for unpadded, size in sizes)
    index += bytes(-len(index) % 4)
    index += zlib.crc32(index).to_bytes(4, "little")
    assert len(index) == index_size
    path.write_bytes(file[:start] + index + file[-12:])
    assert refused(path) == bool(change)


def test_a_raw_image(tmp_path: Path) -> None:
    content = bytes(510) + b"\x55\xaa" + random.Random(5).randbytes(3 * MIB)
    path = tmp_path / "image"
    path.write_bytes(content)
    assert read(path) == content
    with open_image(str(path)) as opened:
        os.truncate(path, MIB)
        buffer = memoryview(bytearray(4 * MIB))
        with pytest.raises(CorruptImage, match=f"announces {len(content)} bytes, and ends after {MIB}"):
            opened.readinto(buffer)


def test_a_missing_library_is_told_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(510) + b"\x55\xaa" + bytes(512)
    zst = image(tmp_path / "zst", content, TALOS_ZSTD)
    xz = image(tmp_path / "xz", content, TALOS_XZ)

    def missing(name: str) -> t.NoReturn:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(_decompression.importlib, "import_module", missing)
    with pytest.raises(MissingLibrary) as caught:
        open_image(zst)
    assert f"{sys.executable} -m pip install backports.zstd" in str(caught.value)
    assert read(xz) == content
