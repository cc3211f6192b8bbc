# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads against a server that goes wrong: what is resumed, tried again, refused, said and left behind."""

from __future__ import annotations

import concurrent.futures
import datetime
import fcntl
import ipaddress
import os
import socket
import ssl
import threading
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.homelab.talos.plugins.module_utils import _download
from ansible_collections.homelab.talos.plugins.module_utils._download import (
    Cache,
    DownloadError,
    Expected,
    Fetcher,
    Interrupted,
    Network,
    NoSpace,
    NotInCache,
    NotThere,
    WrongContent,
    place_of,
)
from tests.tool_mirror import Fault, Mirror, fill, mirror_of, sha256, small_disk

URL = "https://dl.example/release/v1.2.3/thing"
CONTENT = bytes(range(256)) * 4096  # 1 MiB
OTHER = b"x" * len(CONTENT)
HASH = sha256(CONTENT)
WANTED = Expected(HASH)


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with mirror_of() as mirror:
        mirror.put(URL, CONTENT)
        yield mirror


def cache_of(server: Mirror, folder: Path, /, *, offline: bool = False, keep: bool = True, **network: t.Any) -> Cache:
    settings = {"mirror": server.url, "timeout": 5, "retries": 0, "pause": 0.01, **network}
    return Cache(str(folder), Network("tool_", **settings), offline=offline, keep=keep)


def files(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


PLACE = "dl.example/release/v1.2.3/thing"
PART = f"{PLACE}.{HASH[:12]}.part"


def test_a_download_lands_where_wget_would_put_it(mirror: Mirror, tmp_path: Path) -> None:
    fetched = cache_of(mirror, tmp_path).get(URL, WANTED)
    assert Path(fetched.path) == tmp_path / PLACE
    assert Path(fetched.path).read_bytes() == CONTENT
    assert files(tmp_path) == {PLACE: len(CONTENT)}
    # The second time nobody is asked.
    assert cache_of(mirror, tmp_path).get(URL, WANTED) == fetched
    assert mirror.asked(URL) == [""]


def test_what_is_not_to_be_kept_is_dropped_with_its_folders(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("of a user")
    cache = cache_of(mirror, tmp_path, keep=False)
    fetched = cache.get(URL, WANTED)
    assert files(tmp_path) == {PART: len(CONTENT), "mine": 9}
    # A run that ended before it was used finds it whole.
    assert cache.get(URL, WANTED) == fetched
    assert mirror.asked(URL) == [""]
    cache.drop(fetched)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_a_user_laid_there_stays(mirror: Mirror, tmp_path: Path) -> None:
    path = tmp_path / PLACE
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    cache = cache_of(mirror, tmp_path, keep=False, offline=True)
    cache.drop(cache.get(URL, WANTED))
    assert path.read_bytes() == CONTENT
    assert mirror.log == []


@pytest.mark.parametrize("offset", [1, 4096, 262_144, 1_000_000, len(CONTENT) - 1])
@pytest.mark.parametrize("reset", [False, True])
def test_a_broken_download_goes_on_in_the_next_run(mirror: Mirror, tmp_path: Path, offset: int, reset: bool) -> None:
    mirror.fail(URL, Fault(cut=offset, reset=reset))
    with pytest.raises((Interrupted, DownloadError)) as caught:
        cache_of(mirror, tmp_path).get(URL, WANTED)
    got = files(tmp_path).get(PART, 0)
    # After a reset the system may withhold what it had received.
    assert got == offset if not reset else got <= offset
    assert set(files(tmp_path)) <= {PART}
    assert f"{mirror.url}/{PLACE}" in str(caught.value)
    if got:
        seen = sha256(CONTENT[:got])
        assert f"expected sha256 {HASH}, what came so far has {seen}" in str(caught.value)
        assert "Run again: the download goes on from there." in str(caught.value)

    cache_of(mirror, tmp_path).get(URL, WANTED)
    assert files(tmp_path) == {PLACE: len(CONTENT)}
    assert mirror.asked(URL) == ["", f"bytes={got}-" if got else ""]


def test_a_broken_download_goes_on_in_the_same_run(mirror: Mirror, tmp_path: Path) -> None:
    mirror.fail(URL, Fault(cut=1000), Fault(cut=2000), Fault(status=503))
    cache_of(mirror, tmp_path, retries=3).get(URL, WANTED)
    assert mirror.asked(URL) == ["", "bytes=1000-", "bytes=3000-", "bytes=3000-"]
    assert (tmp_path / PLACE).read_bytes() == CONTENT


def test_as_long_as_it_goes_on_tries_are_not_counted(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_download, "_PROGRESS", 100_000)
    mirror.fail(URL, *[Fault(cut=100_000)] * 9)
    cache_of(mirror, tmp_path, retries=1).get(URL, WANTED)
    assert len(mirror.asked(URL)) == 10
    # Without progress they are.
    mirror.fail(URL + "2", *[Fault(cut=10)] * 9)
    mirror.put(URL + "2", CONTENT)
    with pytest.raises(Interrupted):
        cache_of(mirror, tmp_path, retries=1).get(URL + "2", WANTED)
    assert len(mirror.asked(URL + "2")) == 2


def test_a_server_without_ranges_starts_anew(mirror: Mirror, tmp_path: Path) -> None:
    mirror.ranges = False
    mirror.fail(URL, Fault(cut=5000))
    cache_of(mirror, tmp_path, retries=1).get(URL, WANTED)
    assert mirror.asked(URL) == ["", "bytes=5000-"]
    assert files(tmp_path) == {PLACE: len(CONTENT)}


def test_a_part_of_another_file_is_not_believed(mirror: Mirror, tmp_path: Path) -> None:
    part = tmp_path / PART
    part.parent.mkdir(parents=True)
    part.write_bytes(OTHER[:70_000])
    cache_of(mirror, tmp_path).get(URL, WANTED)
    assert mirror.asked(URL) == ["bytes=70000-", ""]
    assert files(tmp_path) == {PLACE: len(CONTENT)}


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 5])
def test_a_part_as_long_as_the_file_or_longer(mirror: Mirror, tmp_path: Path, size: int) -> None:
    part = tmp_path / PART
    part.parent.mkdir(parents=True)
    part.write_bytes((OTHER + b"more!")[:size])
    cache_of(mirror, tmp_path).get(URL, WANTED)
    assert files(tmp_path) == {PLACE: len(CONTENT)}


def test_a_part_from_the_wrong_place_is_not_taken(mirror: Mirror, tmp_path: Path) -> None:
    mirror.fail(URL, Fault(cut=5000), Fault(headers={"Content-Range": "bytes 0-9/10"}))
    with pytest.raises(Interrupted, match="asked for the part from byte 5000"):
        cache_of(mirror, tmp_path, retries=1).get(URL, WANTED)
    assert not (tmp_path / PLACE).exists()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(body=OTHER),
        Fault(body=CONTENT + b"!"),
        Fault(body=b"<html>log in first</html>"),
        Fault(body=b""),
        Fault(length=False, cut=500_000),
        Fault(length=False, cut=0),
    ],
    ids=["other", "longer", "error page", "empty", "truncated without a length", "nothing without a length"],
)
def test_wrong_content_is_thrown_away(mirror: Mirror, tmp_path: Path, fault: Fault) -> None:
    mirror.fail(URL, fault)
    body = CONTENT if fault.body is None else fault.body
    seen = sha256(body if fault.cut is None else body[: fault.cut])
    with pytest.raises(WrongContent) as caught:
        cache_of(mirror, tmp_path, retries=3).get(URL, WANTED)
    assert f"{mirror.url}/{PLACE} has another content: expected sha256 {HASH}, seen {seen}" in str(caught.value)
    assert "It was not used" in str(caught.value)
    assert files(tmp_path) == {}
    assert len(mirror.asked(URL)) == 1, "wrong content does not become right by asking again"


def test_a_wrong_file_in_the_cache(mirror: Mirror, tmp_path: Path) -> None:
    path = tmp_path / PLACE
    path.parent.mkdir(parents=True)
    path.write_bytes(OTHER)
    with pytest.raises(WrongContent) as caught:
        cache_of(mirror, tmp_path, offline=True).get(URL, WANTED)
    assert f"expected sha256 {HASH}, seen {sha256(OTHER)}" in str(caught.value)
    assert mirror.log == []
    cache_of(mirror, tmp_path).get(URL, WANTED)
    assert path.read_bytes() == CONTENT


def test_offline_asks_nobody_and_says_what_to_put_where(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(NotInCache) as caught:
        cache_of(mirror, tmp_path, offline=True).get(URL, WANTED)
    for said in (str(tmp_path / PLACE), HASH, f"wget --force-directories {URL}"):
        assert said in str(caught.value)
    assert mirror.log == []
    assert files(tmp_path) == {}


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(mirror: Mirror, tmp_path: Path, status: int) -> None:
    mirror.fail(URL, Fault(status=status), Fault(status=status))
    cache_of(mirror, tmp_path, retries=2).get(URL, WANTED)
    assert len(mirror.asked(URL)) == 3


@pytest.mark.parametrize(("status", "kind"), [(404, NotThere), (410, NotThere), (403, DownloadError)])
def test_what_does_not_pass_is_not_tried_again(
    mirror: Mirror, tmp_path: Path, status: int, kind: type[Exception]
) -> None:
    mirror.fail(URL, Fault(status=status))
    with pytest.raises(kind, match=f"answers {status}"):
        cache_of(mirror, tmp_path, retries=3).get(URL, WANTED)
    assert len(mirror.asked(URL)) == 1


def test_a_server_that_asks_for_patience_gets_it(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(_download.time, "sleep", pauses.append)
    mirror.fail(
        URL, Fault(status=429, headers={"Retry-After": "7"}), Fault(status=503, headers={"Retry-After": "9999"})
    )
    cache_of(mirror, tmp_path, retries=2).get(URL, WANTED)
    assert sum(pauses) == 37


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(_download.time, "sleep", pauses.append)
    with mirror_of() as gone:
        pass
    with pytest.raises(DownloadError) as caught:
        cache_of(gone, tmp_path, retries=3).get(URL, WANTED)
    assert f"{gone.url}/{PLACE} cannot be fetched: Connection refused" in str(caught.value)
    assert "tool_mirror" in str(caught.value)
    assert pauses == []
    assert files(tmp_path) == {}


def test_a_server_that_hangs(mirror: Mirror, tmp_path: Path) -> None:
    mirror.fail(URL, Fault(hang=2), Fault())
    cache_of(mirror, tmp_path, timeout=0.3, retries=1).get(URL, WANTED)
    assert len(mirror.asked(URL)) == 2
    mirror.fail(URL + "2", Fault(hang=2))
    with pytest.raises(DownloadError, match="no answer in time"):
        cache_of(mirror, tmp_path, timeout=0.3).get(URL + "2", WANTED)


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123", b"HTTP/1.1 503 No\r\nRetry-After: 3600\r\n\r\n"],
    ids=["no answer", "half an answer", "a pause"],
)
def test_a_download_that_nobody_wants_any_more_ends_though_nothing_comes(
    tmp_path: Path, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The pause and the timeout are over long after pytest gives up.
    monkeypatch.setattr(_download, "_LONGEST_PAUSE", 3600.0)

    class Unwanted(Exception):
        pass

    def progress(_done: int, _size: int) -> None:
        if time.monotonic() > said[0] + 1:
            raise Unwanted

    # Until the server has said all that it says, it is wanted.
    said = [float("inf")]
    done = threading.Event()

    def serve(listening: socket.socket) -> None:
        connection, _address = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)
            said[0] = time.monotonic()
            done.wait()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=serve, args=(listening,), daemon=True)
        server.start()
        network = Network("tool_", mirror=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=3600)
        with pytest.raises(Unwanted):
            Cache(str(tmp_path), network, progress=progress).get(URL, WANTED)
        done.set()
        server.join()


# --- space


def test_what_does_not_fit_is_not_begun(mirror: Mirror, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "512k") as disk:
        with pytest.raises(NoSpace, match="MiB free, and the download needs 1 MiB"):
            cache_of(mirror, disk).get(URL, WANTED)
        assert files(disk) == {}


def test_a_disk_that_is_full_on_the_way(mirror: Mirror, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "512k") as disk:
        # Without a length nobody knows that it will not fit.
        mirror.fail(URL, Fault(chunked=True))
        with pytest.raises(NoSpace, match=r"no space is left in .*Make room there and run again"):
            cache_of(mirror, disk, retries=3).get(URL, WANTED)
        assert files(disk) == {}, "a part must not fill the disk"
        assert len(mirror.asked(URL)) == 1


def test_room_for_the_rest_is_enough(mirror: Mirror, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1200k") as disk:
        mirror.fail(URL, Fault(cut=900_000))
        with pytest.raises(Interrupted):
            cache_of(mirror, disk).get(URL, WANTED)
        fill(disk, 200_000)
        cache_of(mirror, disk).get(URL, WANTED)
        assert files(disk)[PLACE] == len(CONTENT)


# --- without a checksum


def not_other(path: str) -> None:
    if Path(path).read_bytes() != CONTENT:
        raise WrongContent("it is another one")


FIRST_USE = Expected(inspect=not_other)


def test_the_first_use_is_what_an_inspection_lets_pass(mirror: Mirror, tmp_path: Path) -> None:
    mirror.fail(URL, Fault(cut=500_000))
    with pytest.raises(Interrupted) as caught:
        cache_of(mirror, tmp_path).get(URL, FIRST_USE)
    assert "expected sha256" not in str(caught.value)
    assert files(tmp_path) == {f"{PLACE}.new.part": 500_000}
    cache_of(mirror, tmp_path).get(URL, FIRST_USE)
    assert mirror.asked(URL) == ["", "bytes=500000-"]
    assert files(tmp_path) == {PLACE: len(CONTENT)}
    # What is there is inspected, and not downloaded again.
    cache_of(mirror, tmp_path).get(URL, FIRST_USE)
    assert len(mirror.asked(URL)) == 2


def test_what_an_inspection_refuses_is_never_put_in_place(mirror: Mirror, tmp_path: Path) -> None:
    mirror.fail(URL, Fault(body=OTHER), Fault(body=OTHER))
    for expected in (FIRST_USE, Expected(sha256(OTHER), not_other)):
        with pytest.raises(WrongContent, match="has another content: it is another one"):
            cache_of(mirror, tmp_path, retries=3).get(URL, expected)
        assert files(tmp_path) == {}


def test_a_cached_file_that_an_inspection_refuses(mirror: Mirror, tmp_path: Path) -> None:
    path = tmp_path / PLACE
    path.parent.mkdir(parents=True)
    path.write_bytes(OTHER)
    with pytest.raises(WrongContent, match="it is another one"):
        cache_of(mirror, tmp_path, offline=True).get(URL, FIRST_USE)
    cache_of(mirror, tmp_path).get(URL, FIRST_USE)
    assert path.read_bytes() == CONTENT


def test_those_who_want_the_same_wait_for_one_download(mirror: Mirror, tmp_path: Path) -> None:
    mirror.fail(URL, Fault(hang=1))
    waited: list[tuple[int, int]] = []

    def get(number: int) -> str:
        def progress(done: int, size: int) -> None:
            waited.append((done, size))

        network = Network("tool_", mirror=mirror.url, timeout=30)
        return Cache(str(tmp_path), network, keep=True, progress=progress).get(URL, FIRST_USE).path

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert set(pool.map(get, range(4))) == {str(tmp_path / PLACE)}
    assert mirror.asked(URL) == [""]
    assert (0, 0) in waited, "who waits can be ended, too"
    assert (len(CONTENT), len(CONTENT)) in waited


def test_another_ones_part_is_looked_at_only_when_it_can_no_longer_vanish(mirror: Mirror, tmp_path: Path) -> None:
    """It gets its name, and so is gone, when the other one is done: seen with several nodes of one image."""
    part = tmp_path / f"{PLACE}.new.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)
    seen = []

    def inspect(path: str) -> None:
        seen.append(path)
        folder = os.open(part.parent, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(folder)

    found = cache_of(mirror, tmp_path).get(URL, Expected(inspect=inspect))
    assert (found.path, seen) == (str(tmp_path / PLACE), [str(part)])
    assert mirror.asked(URL) == []


# --- the way out


def test_through_a_proxy(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    url = "http://nowhere.example/thing"
    mirror.put(url, CONTENT)
    network = {"mirror": "", "proxy": mirror.url}
    cache_of(mirror, tmp_path / "a", **network).get(url, WANTED)
    assert mirror.asked(url) == [""]
    # By default, that of the environment.
    monkeypatch.setenv("http_proxy", mirror.url)
    cache_of(mirror, tmp_path / "b", mirror="").get(url, WANTED)
    assert mirror.asked(url) == ["", ""]


def test_the_password_of_a_proxy_is_not_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    with mirror_of() as gone:
        pass
    proxy = f"http://me:s3cret@{gone.address}"
    with pytest.raises(DownloadError) as caught:
        Fetcher(Network("tool_", proxy=proxy, retries=0)).text("http://nowhere.example/thing")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://a/b", "mirror.lan/x", "http://me:s3cret@mirror.lan", "file:///etc"])
def test_a_mirror_that_is_none(url: str) -> None:
    with pytest.raises(DownloadError) as caught:
        Network("tool_", mirror=url)
    assert "tool_mirror" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_redirects_are_followed_and_not_said(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files["/elsewhere"] = CONTENT
    mirror.fail(URL, Fault(status=302, headers={"Location": f"{mirror.url}/elsewhere?token=s3cret"}))
    mirror.files["/elsewhere?token=s3cret"] = OTHER
    with pytest.raises(WrongContent) as caught:
        cache_of(mirror, tmp_path).get(URL, WANTED)
    assert "s3cret" not in str(caught.value)
    mirror.fail(URL, Fault(status=302, headers={"Location": f"{mirror.url}/elsewhere"}))
    cache_of(mirror, tmp_path).get(URL, WANTED)


class Authority:
    """Signs the certificate of a server at 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "made-up authority")])
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(address, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.file = folder / "ca.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        own = folder / "server.pem"
        own.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + self.file.read_bytes()
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(own)


def test_an_authority_of_ones_own(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with mirror_of(tls=authority.context) as mirror:
        mirror.put(URL, CONTENT)
        with pytest.raises(DownloadError, match=r"(?i)certificate"):
            cache_of(mirror, tmp_path / "cache", retries=3).get(URL, WANTED)
        cache_of(mirror, tmp_path / "cache", ca_file=str(authority.file)).get(URL, WANTED)
        assert mirror.asked(URL) == [""]
        with mirror_of() as plain:
            mirror.fail(URL + "2", Fault(status=302, headers={"Location": f"{plain.url}/thing"}))
            with pytest.raises(DownloadError, match="without TLS"):
                cache_of(mirror, tmp_path / "cache", ca_file=str(authority.file)).get(URL + "2", WANTED)
            assert plain.log == []


def test_a_redirect_to_a_file_of_this_host(mirror: Mirror, tmp_path: Path) -> None:
    mirror.fail(URL, Fault(status=302, headers={"Location": "file:///etc/passwd"}))
    with pytest.raises(DownloadError):
        cache_of(mirror, tmp_path).get(URL, WANTED)
    with pytest.raises(DownloadError):
        Fetcher(Network("tool_")).text("file:///etc/passwd")


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bad_file_of_authorities(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    with pytest.raises(DownloadError, match="tool_ca_file"):
        Fetcher(Network("tool_", ca_file=str(path), retries=0)).text("https://127.0.0.1:1/x")


# --- small files, and places


def test_a_checksum_file_as_text(mirror: Mirror) -> None:
    fetcher = Fetcher(Network("tool_", mirror=mirror.url, retries=1, pause=0.01, timeout=5))
    mirror.put(URL, b"hello\n")
    mirror.fail(URL, Fault(cut=3))
    assert fetcher.text(URL) == "hello\n"
    for content in (b"\xff\xfe", b"x" * 2_000_000):
        mirror.put(URL, content)
        with pytest.raises(WrongContent):
            fetcher.text(URL)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (
            "https://dl.k8s.io/release/v1.37.1/bin/linux/arm64/kubectl",
            "dl.k8s.io/release/v1.37.1/bin/linux/arm64/kubectl",
        ),
        ("http://host:8080/kustomize%2Fv5/a", "host:8080/kustomize/v5/a"),
    ],
)
def test_places(url: str, place: str) -> None:
    assert place_of(url) == place


@pytest.mark.parametrize(
    "url",
    [
        "https://host",
        "https://host/",
        "https://host/../../etc/passwd",
        "https://host/a/%2e%2e/%2e%2e/b",
        "https://host/a//b",
        "https://host/a?b=c",
        "https://me:pw@host/a",
        "file:///etc/passwd",
        "/etc/passwd",
        "https://host/a%00b",
    ],
)
def test_urls_that_lead_nowhere_or_out(url: str) -> None:
    with pytest.raises(DownloadError):
        place_of(url)
