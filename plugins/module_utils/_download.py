# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Files from the web into a cache, with what is in them known beforehand, or proved right at their first use.

A file gets its name in the cache once its content is the expected one, and not before. What an interrupted download
brought stays beside it, as ``NAME.HASH.part``, and the next try asks for the rest only.

Mirror and cache have one layout, that of ``wget --force-directories``: ``github.com/derailed/k9s/releases/...``. So the
cache of one machine, served by any web server, is the mirror of the next.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import http.client
import os
import queue
import re
import socket
import ssl
import threading
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request

from ._errors import TalosError

_CHUNK = 256 * 1024
# A checksum file is some kilobytes.
_TEXT_LIMIT = 1024 * 1024
# A try that brought as much as this is not counted: a slow line that breaks often comes to its end, too.
_PROGRESS = 4 * 1024 * 1024
_PASSING_CODES = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_PAUSE = 30.0
_LOCK_PAUSE = 0.5
# While nothing comes, it is asked so often whether the download is still wanted.
_CHECK_PAUSE = 0.5
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


# Gets the bytes that are there of a download, and those of the whole, 0 where that is not known; may raise to end it.
# Called while nothing comes, too.
Progress = t.Callable[[int, int], object]


class DownloadError(TalosError):
    """A file could not be fetched."""


class WrongContent(DownloadError):
    """What came is not what was expected."""

    remedy = (
        "It was not used. Somebody between the publisher and this host answers with something else (a proxy's error "
        "page, a stale mirror), or the publisher replaced the file: find out which before you trust it"
    )


class Interrupted(DownloadError):
    """A download that broke off, again and again."""

    remedy = "Run again: the download goes on from there"


class NotThere(DownloadError):
    """The server has no such file."""


class NotInCache(DownloadError):
    """There is no network, by setting, and the file is not in the cache."""


class NoSpace(TalosError):
    """A disk is full."""

    remedy = "Make room there and run again; what was there before still is"


@dataclasses.dataclass(frozen=True)
class Network:
    """The way out. Without ``proxy`` the environment's applies; ``pause`` is the first of the growing pauses.

    ``prefix`` is that of the variables that errors name: ``tool_`` makes them speak of ``tool_mirror``.
    """

    prefix: str
    mirror: str = ""
    proxy: str = ""
    ca_file: str = ""
    timeout: float = 30.0
    retries: int = 3
    pause: float = 1.0

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.mirror)
        if self.mirror and (parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc):
            raise DownloadError(
                f"{parts.scheme}://{parts.netloc.rpartition('@')[2]} cannot be a mirror",
                remedy=f"{self.prefix}mirror is the URL of a folder, by http or https and without a password",
            )

    def source(self, url: str) -> str:
        """Where a publisher's file is fetched from."""
        place = place_of(url)
        return f"{self.mirror.rstrip('/')}/{place}" if self.mirror else url

    @property
    def remedy(self) -> str:
        """What to do where there is no way."""
        return (
            f"Can this host reach it? Behind a proxy set {self.prefix}proxy; with a mirror of your own set "
            f"{self.prefix}mirror; without either, put the file into {self.prefix}cache_dir by hand"
        )


class Expected:
    """What a file must be: of this sha256. Without one, at its first use, what ``inspect`` lets pass.

    ``inspect`` gets the path of a new file, and raises WrongContent.
    """

    def __init__(self, sha256: str = "", inspect: t.Callable[[str], object] = lambda _path: None) -> None:
        self.sha256 = sha256
        self._inspect = inspect

    @property
    def label(self) -> str:
        return self.sha256[:12] or "new"

    def require(self, path: str) -> None:
        """Raises WrongContent."""
        seen = sha256_of_file(path)
        if self.sha256 not in ("", seen):
            raise WrongContent(f"expected sha256 {self.sha256}, seen {seen} ({_size(path)} bytes)")
        self._inspect(path)

    def is_at(self, path: str) -> bool:
        """Whether a file is there that needs no download. One of a known sha256 was inspected when it came."""
        if self.sha256:
            return _sha256_if_there(path) == self.sha256
        try:
            self.require(path)
        except (FileNotFoundError, IsADirectoryError, WrongContent):
            return False
        return True


def place_of(url: str) -> str:
    """Where a URL's file lies in a cache or on a mirror: ``host/path``. Raises DownloadError for an unusable URL."""
    parts = urllib.parse.urlsplit(url)
    path = urllib.parse.unquote(parts.path).strip("/")
    steps = path.split("/")
    usable = (
        parts.scheme in ("http", "https") and parts.hostname and path and not parts.query and "@" not in parts.netloc
    )
    if not usable or any(step in ("", ".", "..") for step in steps) or not path.isprintable():
        raise DownloadError(f"{url} is not the URL of a file", remedy="It must be https://host/path, and nothing more")
    return "/".join([parts.netloc, *steps])


def sha256_of(file: t.BinaryIO) -> str:
    """Of what is left to read."""
    digest = hashlib.sha256()
    for chunk in iter(lambda: file.read(_CHUNK), b""):
        digest.update(chunk)
    return digest.hexdigest()


def sha256_of_file(path: str) -> str:
    with open(path, "rb") as file:
        return sha256_of(file)


def _sha256_if_there(path: str) -> str:
    # One who used it may remove it at any moment.
    with contextlib.suppress(FileNotFoundError):
        return sha256_of_file(path) if os.path.isfile(path) else ""
    return ""


def is_full(error: OSError) -> bool:
    return error.errno in _FULL


def make_folder(path: str) -> None:
    """With those above it, readable for everybody whatever the umask is; those that are there stay as they are."""
    if path and not os.path.isdir(path):
        make_folder(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
            os.chmod(path, 0o755)  # noqa: S103 - tools are for everybody


class Fetched(t.NamedTuple):
    """A file in the cache, and whether it is there for this one use only."""

    path: str
    passing: bool


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Cache:
    """The folder in which downloads land, and in which a user may lay files instead. ``keep``: downloads stay there."""

    def __init__(
        self,
        folder: str,
        network: Network,
        *,
        offline: bool = False,
        keep: bool = False,
        progress: Progress = lambda _done, _size: None,
    ) -> None:
        self.folder = folder
        self._network = network
        self._fetcher = Fetcher(network, progress)
        self._progress = progress
        self._offline = offline
        self._keep = keep

    def path(self, url: str) -> str:
        return os.path.join(self.folder, *place_of(url).split("/"))

    def holds(self, url: str) -> bool:
        """A file of this name, whatever is in it."""
        return os.path.isfile(self.path(url))

    def get(self, url: str, expected: Expected) -> Fetched:
        """The file with this content, downloaded where it is not there."""
        return self.find(url, expected) or self.download(url, expected)

    def find(self, url: str, expected: Expected) -> Fetched | None:
        path = self.path(url)
        return Fetched(path, passing=False) if expected.is_at(path) else None

    def download(self, url: str, expected: Expected) -> Fetched:
        """Also over another file of this name. One process after another, and the next finds what the first got."""
        path = self.path(url)
        part = f"{path}.{expected.label}.part"
        if not os.path.isfile(part):
            self._require_network(url, path, expected)
            make_folder(os.path.dirname(path))
        with self._alone_in(os.path.dirname(path)):
            found = self.find(url, expected)
            if found:
                return found
            # Whole, when the disk was full at its installation.
            if not expected.is_at(part):
                self._require_network(url, path, expected)
                self._fetcher.file(url, part, expected)
            if not self._keep:
                return Fetched(part, passing=True)
            os.replace(part, path)
            return Fetched(path, passing=False)

    @contextlib.contextmanager
    def _alone_in(self, folder: str) -> t.Iterator[None]:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            while not _locked(descriptor):
                self._progress(0, 0)
                time.sleep(_LOCK_PAUSE)
            yield
        finally:
            os.close(descriptor)

    def _require_network(self, url: str, path: str, expected: Expected) -> None:
        if not self._offline:
            return
        setting = f"{self._network.prefix}offline"
        if os.path.isfile(path):
            try:
                expected.require(path)
            except WrongContent as error:
                raise WrongContent(
                    f"{path} is not {url}: {error.cause}",
                    remedy=f"Replace it by the right file; {setting} forbids to download it",
                ) from None
        sha256 = f" (sha256 {expected.sha256})" if expected.sha256 else ""
        raise NotInCache(
            f"{path} is missing, and {setting} forbids to download {url}",
            remedy=f"Put it there{sha256}, from a machine with network: wget --force-directories {url}",
        )

    def drop(self, fetched: Fetched) -> None:
        """After its use: remove the file, and the folders that are empty without it, unless it is to stay."""
        path = fetched.path
        with contextlib.suppress(OSError):
            if fetched.passing:
                os.unlink(path)
                path = os.path.dirname(path)
                while not os.path.samefile(path, self.folder):
                    os.rmdir(path)
                    path = os.path.dirname(path)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects (GitHub's downloads are some), but none from TLS to no TLS."""

    def redirect_request(
        self, req: urllib.request.Request, fp: t.Any, code: int, msg: str, headers: t.Any, newurl: str
    ) -> urllib.request.Request | None:
        if not newurl.startswith(("https:", "http:" if req.full_url.startswith("http:") else "https:")):
            host = urllib.parse.urlsplit(newurl).netloc
            raise DownloadError(f"{req.full_url} leads to {host} without TLS", remedy="A proxy or mirror does so")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Broken(Exception):
    """A transfer that ended before its end."""


class Fetcher:
    """Gets files by HTTP, again and again where the cause may pass: a timeout, a broken line, an overloaded server."""

    def __init__(self, network: Network, progress: Progress = lambda _done, _size: None) -> None:
        self._network = network
        self._progress = progress
        self._made: urllib.request.OpenerDirector | None = None
        self._waiting = False

    def text(self, url: str) -> str:
        """A small file as text, through the mirror where there is one."""
        return self._text(self._network.source(url))

    def post(self, url: str, body: bytes, kind: str) -> str:
        """What the publisher itself answers to this body of this content type; it may be sent more than once."""
        place_of(url)
        return self._text(url, body, kind)

    def _text(self, source: str, body: bytes | None = None, kind: str = "") -> str:
        content = self._persistently(source, lambda: self._small(source, body, kind))
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise WrongContent(f"{source} is not text") from error

    def file(self, url: str, part: str, expected: Expected) -> None:
        """Into the file ``part``, going on from what is in it. Whatever ends this early, no wrong content stays."""
        source = self._network.source(url)
        resumed = _size(part) > 0
        try:
            self._persistently(source, lambda: self._receive(source, part), lambda: _size(part))
        except (Interrupted, NoSpace) as error:
            if _size(part) and expected.sha256:
                seen = sha256_of_file(part)
                error.cause += f"; expected sha256 {expected.sha256}, what came so far has {seen}"
            raise
        try:
            expected.require(part)
        except WrongContent as error:
            os.unlink(part)
            if not resumed:
                raise WrongContent(f"{source} has another content: {error.cause}") from None
        else:
            return
        # What was there may have been the wrong half.
        self.file(url, part, expected)

    def _persistently(self, source: str, attempt: t.Callable[[], _T], progress: t.Callable[[], int] = lambda: 0) -> _T:
        pause = self._network.pause
        left = self._network.retries
        best = progress()
        while True:
            wish, missing = 0.0, False
            self._progress(progress(), 0)
            try:
                return attempt()
            except urllib.error.HTTPError as error:
                cause = f"{source} answers {error.code} {error.reason}"
                missing = error.code in (404, 410)
                passing = error.code in _PASSING_CODES
                wish = _wished_pause(error)
                error.close()
            except _Broken as error:
                cause, passing = f"{source} broke off: {error}", True
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, OSError) and is_full(error):
                    raise
                reason = getattr(error, "reason", error)
                cause, passing = f"{source} cannot be fetched: {_told(reason)}", _passes(reason)
            if progress() >= best + _PROGRESS:
                best, left, pause = progress(), self._network.retries, self._network.pause
            if missing:
                raise NotThere(cause, remedy=self._network.remedy)
            if not passing or left <= 0:
                if passing and progress():
                    raise Interrupted(cause)
                raise DownloadError(cause, remedy=self._network.remedy)
            self._sleep(min(max(pause, wish), _LONGEST_PAUSE), progress())
            left, pause = left - 1, pause * 2

    def _sleep(self, seconds: float, done: int) -> None:
        while seconds > 0:
            time.sleep(min(seconds, _CHECK_PAUSE))
            seconds -= _CHECK_PAUSE
            self._progress(done, 0)

    def _answer(self, call: t.Callable[[], _T], done: int = 0, size: int = 0) -> _T:
        """Of a call that waits for the server. Where the progress raises meanwhile, the call is left to itself."""
        answers: queue.SimpleQueue[tuple[_T | None, BaseException | None]] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put((call(), None))
            except BaseException as error:
                answers.put((None, error))

        threading.Thread(target=ask, daemon=True).start()
        self._waiting = True
        while True:
            try:
                answer, error = answers.get(timeout=_CHECK_PAUSE)
            except queue.Empty:
                self._progress(done, size)
                continue
            self._waiting = False
            if error is not None:
                raise error
            return t.cast("_T", answer)

    @contextlib.contextmanager
    def _closing(self, response: http.client.HTTPResponse) -> t.Iterator[None]:
        try:
            yield
        finally:
            # A read that was left to itself would hold this up until the server sends something.
            if not self._waiting:
                response.close()

    def _small(self, source: str, body: bytes | None, kind: str) -> bytes:
        response = self._open(source, 0, body, {"Content-Type": kind} if kind else {})
        with self._closing(response):
            content: bytes = self._answer(lambda: response.read(_TEXT_LIMIT + 1))
            if len(content) > _TEXT_LIMIT:
                raise WrongContent(f"{source} is larger than any checksum file")
            whole = response.headers.get("Content-Length", "")
            if whole.isdigit() and len(content) < int(whole):
                raise _Broken(f"{len(content)} of {whole} bytes came")
            return content

    def _receive(self, source: str, part: str) -> None:
        """Get the rest of the file, or all of it where the server gives no parts."""
        offset = _size(part)
        try:
            response = self._open(source, offset)
        except urllib.error.HTTPError as error:
            if error.code != 416 or not offset:
                raise
            # The part is whole already, or longer than the file is now.
            error.close()
            if error.headers.get("Content-Range", "").rpartition("/")[2] == str(offset):
                return
            os.unlink(part)
            offset, response = 0, self._open(source, 0)
        with self._closing(response):
            if response.status != 206 or not _starts_at(response, offset):
                offset = 0
            rest = response.headers.get("Content-Length", "")
            whole = offset + int(rest) if rest.isdigit() else None
            self._write(response, part, offset, whole)

    def _write(self, response: http.client.HTTPResponse, part: str, offset: int, whole: int | None) -> None:
        if whole is not None:
            _require_space(os.path.dirname(part), whole - offset)
        try:
            # Not through a buffer: what it could not write at first, it would try to write again when closed.
            with open(part, "ab", buffering=0) as file:
                file.truncate(offset)
                while True:
                    chunk, whole_chunk = self._answer(lambda: _read(response), offset, whole or 0)
                    _write_all(file, chunk)
                    offset += len(chunk)
                    self._progress(offset, whole or 0)
                    if not whole_chunk:
                        raise _Broken(f"{offset} bytes came")
                    if not chunk:
                        break
        except OSError as error:
            if is_full(error):
                # A part that fills the disk would hurt everything else on it.
                os.unlink(part)
                raise NoSpace(f"no space is left in {os.path.dirname(part)} after {offset} bytes of {part}") from error
            raise
        if whole is not None and offset < whole:
            raise _Broken(f"{offset} of {whole} bytes came")

    def _open(
        self, source: str, offset: int, body: bytes | None = None, more: t.Mapping[str, str] | None = None
    ) -> http.client.HTTPResponse:
        headers = {"User-Agent": "homelab.talos", "Accept-Encoding": "identity", **(more or {})}
        request = urllib.request.Request(source, body, headers)  # noqa: S310 - place_of lets http and https pass only
        if offset:
            request.add_header("Range", f"bytes={offset}-")
        opener = self._opener()
        response: http.client.HTTPResponse = self._answer(
            lambda: opener.open(request, timeout=self._network.timeout), offset
        )
        return response

    def _opener(self) -> urllib.request.OpenerDirector:
        if self._made is None:
            proxy = self._network.proxy
            proxies = {"http": proxy, "https": proxy} if proxy else None
            self._made = urllib.request.build_opener(
                urllib.request.ProxyHandler(proxies),
                urllib.request.HTTPSHandler(context=self._trust()),
                _Redirects(),
            )
        return self._made

    def _trust(self) -> ssl.SSLContext:
        """The system's authorities, and one more."""
        context = ssl.create_default_context()
        if self._network.ca_file:
            try:
                context.load_verify_locations(self._network.ca_file)
            except (OSError, ssl.SSLError) as error:
                raise DownloadError(
                    f"{self._network.ca_file} cannot be used as certificates of authorities: {_told(error)}",
                    remedy=f"Let {self._network.prefix}ca_file name a PEM file on this host",
                ) from error
        return context


_T = t.TypeVar("_T")


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _read(response: http.client.HTTPResponse) -> tuple[bytes, bool]:
    """What comes next, and whether it came as it was announced."""
    try:
        return response.read(_CHUNK), True
    except http.client.IncompleteRead as error:
        return error.partial, False


def _write_all(file: t.BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _starts_at(response: http.client.HTTPResponse, offset: int) -> bool:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if not found or int(found[1]) != offset:
        raise _Broken(f"asked for the part from byte {offset}, it sent {response.headers.get('Content-Range')}")
    return True


def _require_space(folder: str, size: int) -> None:
    room = os.statvfs(folder)
    free = (room.f_bfree if os.geteuid() == 0 else room.f_bavail) * room.f_frsize
    if room.f_blocks and size > free:
        raise NoSpace(f"{folder} has {free >> 20} MiB free, and the download needs {(size + (1 << 20) - 1) >> 20} MiB")


def _wished_pause(error: urllib.error.HTTPError) -> float:
    wish = (error.headers.get("Retry-After") or "") if error.headers else ""
    return float(wish) if wish.isdigit() else 0.0


def _passes(reason: object) -> bool:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return False
    if isinstance(reason, socket.gaierror):
        return reason.errno == socket.EAI_AGAIN
    return isinstance(
        reason,
        (
            socket.timeout,
            ConnectionResetError,
            ConnectionAbortedError,
            BrokenPipeError,
            http.client.IncompleteRead,
            http.client.BadStatusLine,
            ssl.SSLEOFError,
        ),
    )


def _told(reason: object) -> str:
    if isinstance(reason, socket.timeout):
        return "no answer in time"
    if isinstance(reason, OSError) and not isinstance(reason, ssl.SSLError) and reason.strerror:
        return reason.strerror
    return str(reason) or type(reason).__name__
