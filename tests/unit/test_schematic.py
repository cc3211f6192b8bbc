# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Schematic IDs: known vectors, go-yaml's rendering, and what is refused."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import _schematic

PI = {"image": "siderolabs/sbc-raspberrypi", "name": "rpi_generic"}


def read(value: object, board: str = "rpi_4") -> tuple[str, list[tuple[str, object, str]]]:
    found: list[tuple[str, object, str]] = []
    identity, _ = _schematic.read_schematic(
        value, board, "node_schematic", lambda key, value, remedy: found.append((key, value, remedy))
    )
    return identity, found


# Published by the factory's tests and documentation; the one of rpi_5 was computed by its own Go code.
@pytest.mark.parametrize(
    ("schematic", "identity"),
    [
        ({}, "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"),
        (
            {"customization": {"extraKernelArgs": ["noapic", "nolapic"]}},
            "9cba8e32753f91a16c1837ab8abf356af021706ef284aef07380780177d9a06c",
        ),
        (
            {"customization": {"meta": [{"key": 10, "value": "foo"}]}},
            "d308a2a5ee2277bed5fbaa104fcbc8d59122abfa737df987a95b4ca763459a7f",
        ),
        (
            {"customization": {"secureboot": {"includeWellKnownCertificates": True}}},
            "fa8e05f142a851d3ee568eb0a8e5841eaf6b0ebc8df9a63df16ac5ed2c04f3e6",
        ),
        (
            {"customization": {"diskImage": {"sectorSize": 4096}}},
            "92833e9ddd9bb9e11b2464fa5525429f01866306d52ebd882ee08d7918f6d1ea",
        ),
        ({"overlay": PI}, "ee21ef4a5ef808a9b7484cc0dda0f25075021691c8c09a276591eedb638ea1f9"),
    ],
)
def test_known_vectors(schematic: dict[str, t.Any], identity: str) -> None:
    assert _schematic.schematic_id(schematic) == identity


def test_boards() -> None:
    assert read(None, "rpi_4") == ("ee21ef4a5ef808a9b7484cc0dda0f25075021691c8c09a276591eedb638ea1f9", [])
    assert read(None, "rpi_5") == ("a636242df247ad4aad2e36d1026d8d4727b716a3061749bd7b19651e548f65e4", [])
    assert read({}, "generic") == ("376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba", [])


# The bytes that go.yaml.in/yaml v4.0.0-rc.4 and rc.6 write for the factory's struct.
FULL = """\
overlay:
    image: siderolabs/sbc-raspberrypi
    name: rpi_generic
    options:
        configTxt: |
            # the board
            kernel=u-boot.bin
            arm_64bit=1

            [pi4]
              dtoverlay=vc4-kms-v3d,noaudio
        configTxtAppend: |-
            gpu_mem=16
            max_usb_current=1
customization:
    extraKernelArgs:
        - -console
        - console=ttyAMA0,115200
        - usb-storage.quirks=152d:0578:u
        - net.ifnames=0
    systemExtensions:
        officialExtensions:
            - siderolabs/iscsi-tools
            - siderolabs/vc4
    bootloader: grub
"""


def test_canonical_text_is_ordered_and_laid_out_as_go_yaml_does() -> None:
    schematic = {
        "customization": {
            "bootloader": "grub",
            "systemExtensions": {"officialExtensions": ["siderolabs/iscsi-tools", "siderolabs/vc4"]},
            "extraKernelArgs": [
                "-console",
                "console=ttyAMA0,115200",
                "usb-storage.quirks=152d:0578:u",
                "net.ifnames=0",
            ],
            "meta": [],
            "secureboot": {"includeWellKnownCertificates": False},
        },
        "overlay": {
            "options": {
                "configTxtAppend": "gpu_mem=16\nmax_usb_current=1",
                "configTxt": "# the board\nkernel=u-boot.bin\narm_64bit=1\n\n[pi4]\n  dtoverlay=vc4-kms-v3d,noaudio\n",
            },
            **PI,
        },
    }
    assert _schematic.canonical(schematic) == FULL


# go-yaml quotes, escapes or folds these, or its versions differ.
@pytest.mark.parametrize(
    "argument",
    [
        *("", "y", "on", "Null", "123", "1e3", "0x10", "~", "<<", "a: b", "a:", "x #y", "é", "tab\there", " a", "a "),
        *("*a", "&a", "!a", "%a", "@a", "- a", "-", "---", ".inf", "'a'", '"a"', "[a]", "{a}", "?a", "|a", ">a"),
        "word " * 30,
    ],
)
def test_text_of_uncertain_rendering_is_refused(argument: str) -> None:
    with pytest.raises(_schematic.SchematicError, match="not known for certain"):
        _schematic.schematic_id({"customization": {"extraKernelArgs": [argument]}})


@pytest.mark.parametrize("text", ["a \nb\n", "\na\n", " a\nb\n", "a\tb\nc\n", "a\r\nb\n", "é\nb\n", "a\n\n"])
def test_block_of_uncertain_rendering_is_refused(text: str) -> None:
    with pytest.raises(_schematic.SchematicError):
        _schematic.schematic_id({"overlay": {**PI, "options": {"configTxtAppend": text}}})


def test_lines_in_a_list_are_refused() -> None:
    with pytest.raises(_schematic.SchematicError, match="use one line"):
        _schematic.schematic_id({"customization": {"meta": [{"key": 10, "value": "a\nb\n"}]}})


def test_additions_are_merged_over_the_board() -> None:
    added = {"customization": {"systemExtensions": {"officialExtensions": ["siderolabs/iscsi-tools"]}}}
    identity, problems = read(added)
    assert not problems
    assert identity == _schematic.schematic_id({"overlay": PI, **added})
    assert _schematic.BOARDS["rpi_4"]["customization"] == {}


@pytest.mark.parametrize(
    "nothing",
    [
        {"overlay": None},
        {"customization": None},
        {"overlay": {"image": None, "name": None, "options": None}},
        {
            "overlay": {},
            "customization": {"extraKernelArgs": None, "secureboot": {"includeWellKnownCertificates": None}},
        },
    ],
)
@pytest.mark.parametrize("board", ["rpi_4", "rpi_5"])
def test_a_key_with_nothing_behind_it_leaves_the_boards_firmware(board: str, nothing: object) -> None:
    assert read(nothing, board) == read(None, board)


def test_the_empty_schematic_boots_no_pi() -> None:
    empty = _schematic.schematic_id({})
    assert "has no firmware" in read(empty, "rpi_4")[1][0][2]
    assert read(empty, "generic") == (empty, [])


def test_an_id_is_taken_as_it_is() -> None:
    assert read("ab" * 32) == ("ab" * 32, [])
    for bad in ("AB" * 32, "ab", ["x"]):
        assert "64 hexadecimal digits" in read(bad)[1][0][2]


@pytest.mark.parametrize(
    ("value", "key", "remedy"),
    [
        ({"overlays": {}}, ".overlays", "did you mean overlay?"),
        ({"customization": {"extraKernelArg": []}}, ".customization.extraKernelArg", "did you mean extraKernelArgs?"),
        ({"customization": []}, ".customization", "must be a mapping"),
        ({"customization": {"extraKernelArgs": "quiet"}}, ".customization.extraKernelArgs", "must be a list"),
        ({"customization": {"extraKernelArgs": [1]}}, ".customization.extraKernelArgs[0]", "must be a text"),
        (
            {"customization": {"meta": [{"key": 16, "value": "x"}]}},
            ".customization.meta[0].key",
            "use 10 (network), 12 (user), 13 (user), 14 (user), 15 (UUID)",
        ),
        (
            {"customization": {"meta": [{"key": 12, "value": "rack-1"}, {"key": 10, "value": "privateKey: hunter2"}]}},
            ".customization.meta[1].value",
            "serves a schematic to anyone",
        ),
        ({"customization": {"meta": [{"key": 12}]}}, ".customization.meta[0]", "a key and a value"),
        (
            {"customization": {"embeddedMachineConfiguration": "machine: {}\n"}},
            ".customization.embeddedMachineConfiguration",
            "serves a schematic to anyone",
        ),
        (
            {"customization": {"extraKernelArgs": ["talos.config=https://host/config"]}},
            ".customization.extraKernelArgs[0]",
            "serves a schematic to anyone",
        ),
        (
            {"customization": {"extraKernelArgs": ["siderolink.api=grpc://h?jointoken=abc"]}},
            ".customization.extraKernelArgs[0]",
            "serves a schematic to anyone",
        ),
        (
            {"customization": {"systemExtensions": {"officialExtensions": ["iscsi-tools"]}}},
            ".customization.systemExtensions.officialExtensions[0]",
            "siderolabs/iscsi-tools",
        ),
        ({"overlay": {"options": {"configTxt": "gpu_mem=16\n"}}}, ".overlay.options.configTxt", "does not boot"),
        (
            {"overlay": {"options": {"configTxt": "kernel=u-boot.bin\n#arm_64bit=1\n"}}},
            ".overlay.options.configTxt",
            "without arm_64bit=1",
        ),
        ({"overlay": {"options": {"config-txt": "a"}}}, ".overlay.options.config-txt", "an overlay option"),
    ],
)
def test_what_a_node_may_not_ask_for(value: object, key: str, remedy: str) -> None:
    _, problems = read(value)
    assert [problem[0] for problem in problems] == [f"node_schematic{key}"]
    assert remedy in problems[0][2]


def test_what_could_be_secret_is_not_shown() -> None:
    for part in (
        {"extraKernelArgs": ["talos.config=https://u:hunter2@host/"]},
        {"meta": [{"key": 13, "value": "password=hunter2"}]},
        {"meta": [{"value": "hunter2"}]},
    ):
        _, problems = read({"customization": part})
        assert problems
        assert "hunter2" not in str(problems)


@pytest.mark.parametrize(
    "options",
    [
        {"configTxtAppend": "gpu_mem=16\nwifi_password=hunter2\n"},
        {"configTxtAppend": "wifi_psk=hunter2"},
        {"wifiPassword": "hunter2"},
        {"passwordOfWifi": "hunter2"},
        {"configTxt": "token=hunter2\n"},
        {"server": "https://me:hunter2@host/"},
    ],
)
def test_a_secret_in_an_overlays_options_is_refused_and_not_shown(options: dict[str, str]) -> None:
    identity, problems = read({"overlay": {"options": options}})
    assert identity == ""
    assert any("serves a schematic to anyone" in remedy for _key, _value, remedy in problems)
    assert "hunter2" not in str(problems)


@pytest.mark.parametrize(
    "value",
    [
        {"customization": {"extraKernelArgs": "hunter2"}},
        {"customization": {"extraKernelArgs": [{"a": "hunter2"}]}},
        {"customization": {"extraKernelArg": ["hunter2"]}},
        {"customization": {"meta": {"hunter2": 1}}},
        {"customization": {"meta": ["hunter2"]}},
        {"customization": {"meta": [{"key": "hunter2", "value": ["hunter2"]}]}},
        {"customization": "password=hunter2"},
        {"overlay": {"options": "hunter2"}},
        {"overlay": {"options": {"wifi": ["hunter2"]}}},
        {"overlay": {"name": "", "options": {"wifi": "hunter2"}}},
    ],
)
def test_what_is_of_a_wrong_type_is_not_shown_where_a_secret_could_stand(value: object) -> None:
    _, problems = read(value)
    assert problems
    assert "hunter2" not in str(problems)


def test_meta_that_holds_no_secret_goes_into_the_image() -> None:
    identity, problems = read({"customization": {"meta": [{"key": 12, "value": "foo"}]}}, "generic")
    assert not problems
    assert identity == _schematic.schematic_id({"customization": {"meta": [{"key": 12, "value": "foo"}]}})


def test_a_whole_config_txt_with_what_the_pi_needs_is_fine() -> None:
    assert not read({"overlay": {"options": {"configTxt": "kernel=u-boot.bin\narm_64bit=1\n"}}})[1]
    assert not read({"overlay": {"options": {"configTxtAppend": "gpu_mem=16", "includeSecret": True}}})[1]


def test_an_overlay_of_another_vendor_needs_image_and_name() -> None:
    assert read({"overlay": {"name": "turingrk1"}}, "generic")[1][0][0] == "node_schematic.overlay"
    assert not read({"overlay": {"name": "turingrk1", "image": "siderolabs/sbc-rockchip"}}, "generic")[1]
