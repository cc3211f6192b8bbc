# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated Image Factory answers as the real one does."""

from __future__ import annotations

import hashlib
import http.client
import json
import typing as t
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from rehearsal.image_factory import Fault, ImageFactory, factory_of

VANILLA = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"
CONTENT = bytes(range(256)) * 1000


def published(schematic: str, version: str, form: str) -> bytes | None:
    return f"{schematic} {form}".encode() + CONTENT if version == "1.14.2" else None


@pytest.fixture
def factory() -> Iterator[ImageFactory]:
    with factory_of(published) as factory:
        yield factory


def get(url: str, data: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as response:  # noqa: S310
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def post(factory: ImageFactory, text: str) -> tuple[int, t.Any]:
    status, body = get(f"{factory.url}/schematics", text.encode())
    return status, json.loads(body) if status == 201 else body.decode()


def image(factory: ImageFactory, schematic: str, version: str = "1.14.2", end: str = "zst") -> str:
    return f"{factory.url}/image/{schematic}/v{version}/metal-arm64.raw.{end}"


# Published by the real factory's tests and documentation.
@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("", VANILLA),
        ("customization: {}", VANILLA),
        (
            "customization: {extraKernelArgs: [noapic, nolapic]}",
            "9cba8e32753f91a16c1837ab8abf356af021706ef284aef07380780177d9a06c",
        ),
        (
            '{"customization": {"meta": [{"value": "foo", "key": 0xa}]}}',
            "d308a2a5ee2277bed5fbaa104fcbc8d59122abfa737df987a95b4ca763459a7f",
        ),
        (
            "customization: {secureboot: {includeWellKnownCertificates: true}}",
            "fa8e05f142a851d3ee568eb0a8e5841eaf6b0ebc8df9a63df16ac5ed2c04f3e6",
        ),
        (
            "overlay: {name: rpi_generic, image: siderolabs/sbc-raspberrypi}",
            "ee21ef4a5ef808a9b7484cc0dda0f25075021691c8c09a276591eedb638ea1f9",
        ),
    ],
)
def test_the_id_is_that_of_the_content(factory: ImageFactory, text: str, identity: str) -> None:
    status, answer = post(factory, text)
    assert (status, answer["id"]) == (201, identity)
    assert hashlib.sha256(answer["schematic"].encode()).hexdigest() == identity
    assert get(f"{factory.url}/schematics/{identity}") == (200, answer["schematic"].encode())


@pytest.mark.parametrize("text", ["customisation: {}", "customization: {meta: 1}", "[]", "a: b: c", "overlay: {x: 1}"])
def test_what_is_no_schematic(factory: ImageFactory, text: str) -> None:
    assert post(factory, text)[0] == 400
    assert not factory.schematics


def test_images_and_what_is_not_there(factory: ImageFactory) -> None:
    assert get(image(factory, VANILLA))[0] == 404
    post(factory, "")
    assert get(image(factory, VANILLA)) == (200, published(VANILLA, "1.14.2", "zst"))
    assert [each.path.split("/")[1] for each in factory.log[-2:]] == ["image", "storage"]
    assert get(image(factory, VANILLA, "1.2.3"))[0] == 404
    for end in ("zst.sha256", "xz.sha512", "zst.sigstore.json"):
        assert get(image(factory, VANILLA, end=end))[0] == 402
    whole = published(VANILLA, "1.14.2", "xz") or b""
    assert get(image(factory, VANILLA, end="xz"), Range="bytes=100-") == (206, whole[100:])
    assert get(image(factory, VANILLA, end="xz"), Range="bytes=9999999-")[0] == 416


def test_faults_happen_once_each(factory: ImageFactory) -> None:
    post(factory, "")
    whole = published(VANILLA, "1.14.2", "zst") or b""
    factory.fail(Fault(status=503), Fault(corrupt=7), Fault(body=b"other"), Fault(cut=1000))
    assert get(image(factory, VANILLA))[0] == 503
    assert get(image(factory, VANILLA))[1] == whole[:7] + bytes([whole[7] ^ 1]) + whole[8:]
    assert get(image(factory, VANILLA))[1] == b"other"
    with pytest.raises(http.client.IncompleteRead):
        get(image(factory, VANILLA))
    assert get(image(factory, VANILLA))[1] == whole
