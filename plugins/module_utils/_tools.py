# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""Tools on this host: versions side by side, and links that switch between them.

    ROOT/kubectl/1.37.1/kubectl            the binary
    ROOT/kubectl/1.37.1/completion.bash    what it prints as its completion
    ROOT/kubectl/1.37.1/installed.json     which download it came from, and its own sha256
    /usr/local/bin/kubectl                 a link to the binary
    /usr/local/share/bash-completion/completions/kubectl    a link to the completion

Each file appears whole or not at all, and a link is switched when all that it leads to is there. So an installation may
be interrupted anywhere: what worked before still works, and the next run goes on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
import typing as t
from collections.abc import Iterator, Sequence

from . import _archive
from ._download import Cache, Expected, NoSpace, WrongContent, is_full, make_folder, sha256_of, sha256_of_file
from ._errors import TalosError
from ._tool_choice import Pin
from ._tool_table import is_hash, is_name, is_version
from ._whole_file import lock_alone

SHELLS = ("bash", "zsh", "fish")
_COMPLETIONS = {
    "bash": ("bash-completion/completions", "{name}"),
    "zsh": ("zsh/site-functions", "_{name}"),
    "fish": ("fish/vendor_completions.d", "{name}.fish"),
}
_RECORD = "installed.json"
_PART = ".part"
_MODE = 0o755
_COMPLETION_SECONDS = 60
_CHUNK = 1024 * 1024


class ToolError(TalosError):
    """A tool cannot be installed."""

    remedy = "Look at the file system there, then run again"


class ForeignFile(ToolError):
    """Where a link belongs, there is something that is not ours."""

    remedy = (
        "It is not replaced. Move it away, or let tool_link_dir (tool_share_dir for completions) name another folder"
    )


class NotAllowed(ToolError):
    """The user may not write there."""

    remedy = (
        "Run with become: true; without it let tool_root, tool_link_dir, tool_share_dir and tool_cache_dir name "
        "folders of your own"
    )


@dataclasses.dataclass(frozen=True)
class Places:
    """Where tools are installed."""

    root: str
    link_dir: str
    share_dir: str

    def completion_link(self, name: str, shell: str) -> str:
        folder, pattern = _COMPLETIONS[shell]
        return os.path.join(self.share_dir, folder, pattern.format(name=name))


@dataclasses.dataclass
class Plan:
    """What an installation does. ``before`` is the version that the link leads to, empty where it leads to none."""

    before: str = ""
    fetch: bool = False
    mode: bool = False
    completions: list[str] = dataclasses.field(default_factory=list)
    links: dict[str, str] = dataclasses.field(default_factory=dict)
    unlinks: list[str] = dataclasses.field(default_factory=list)
    removals: list[str] = dataclasses.field(default_factory=list)
    actions: list[str] = dataclasses.field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.actions)


class Installation:
    """One tool on this host, as it shall be."""

    def __init__(
        self,
        pin: Pin,
        places: Places,
        cache: Cache,
        *,
        shells: Sequence[str] = (),
        keep: int = 2,
        tell: t.Callable[[str], None] = lambda _line: None,
    ) -> None:
        if not (is_name(pin.name) and is_version(pin.version) and is_hash(pin.sha256)):
            raise ToolError(
                f"{pin.name!r} {pin.version!r} with sha256 {pin.sha256!r} cannot be installed",
                remedy="Give a name that fits a file, a version without a leading v, and 64 hexadecimal digits",
            )
        self._pin = pin
        self._places = places
        self._cache = cache
        self._shells = [shell for shell in SHELLS if shell in shells and pin.completion]
        self._keep = max(keep, 1)
        self._tell = tell
        self._home = os.path.join(places.root, pin.name)
        self._folder = os.path.join(self._home, pin.version)
        self._binary = os.path.join(self._folder, pin.name)
        self._link = os.path.join(places.link_dir, pin.name)

    # --- what is to be done

    def plan(self) -> Plan:
        """Reads, and changes nothing. Raises ForeignFile."""
        with _explained(self._home):
            plan = Plan(before=self._linked_version())
            record = self._record()
            if record is None:
                plan.fetch = True
                held = self._cache.holds(self._pin.url)
                source = f"take {self._cache.path(self._pin.url)}" if held else f"download {self._pin.url}"
                plan.actions += [source, f"install {self._binary}"]
            elif stat.S_IMODE(os.stat(self._binary).st_mode) != _MODE:
                plan.mode = True
                plan.actions.append(f"make {self._binary} executable")
            done = record["completions"] if record else {}
            for shell in self._shells:
                if not _is_file(self._completion(shell), done.get(shell)):
                    plan.completions.append(shell)
                    plan.actions.append(f"generate {self._completion(shell)}")
            self._plan_links(plan)
            plan.removals = self._outdated(plan.before)
            plan.actions += [f"remove {path}" for path in plan.removals]
            return plan

    def _plan_links(self, plan: Plan) -> None:
        wanted = {self._link: self._binary}
        for shell in SHELLS:
            link = self._places.completion_link(self._pin.name, shell)
            if shell in self._shells:
                wanted[link] = self._completion(shell)
            elif self._is_ours(link):
                plan.unlinks.append(link)
                plan.actions.append(f"remove {link}")
        for link, target in wanted.items():
            if self._target(link) != target:
                plan.links[link] = target
                plan.actions.append(f"link {link} to {target}")

    def _completion(self, shell: str) -> str:
        return os.path.join(self._folder, f"completion.{shell}")

    def _record(self) -> dict[str, t.Any] | None:
        """What is noted of the installed version; None unless it is the wanted one and its binary is still the same."""
        record = _read_record(self._folder)
        if record.get("download_sha256") != self._pin.sha256 or not is_hash(record.get("sha256")):
            return None
        try:
            seen = os.lstat(self._binary)
        except FileNotFoundError:
            return None
        # Hashing hundreds of megabytes in every run would cost seconds: only what was touched since is hashed.
        if stat.S_ISREG(seen.st_mode) and (
            record.get("seen") == _fingerprint(seen) or sha256_of_file(self._binary) == record["sha256"]
        ):
            return record
        return None

    def _target(self, link: str) -> str:
        """Where one of our links leads; empty where there is nothing. Raises ForeignFile."""
        if not os.path.lexists(link):
            return ""
        if not self._is_ours(link):
            target = f"a link to {os.readlink(link)}" if os.path.islink(link) else "not a link of ours"
            raise ForeignFile(f"{link} is there already and is {target}")
        return os.readlink(link)

    def _is_ours(self, link: str) -> bool:
        return os.path.islink(link) and os.readlink(link).startswith(self._home + os.sep)

    def _linked_version(self) -> str:
        target = self._target(self._link)
        return os.path.basename(os.path.dirname(target)) if os.path.exists(target) else ""

    def _outdated(self, before: str) -> list[str]:
        """Versions beyond those to keep: the wanted one, the one it replaces, then the last used ones.

        What has no record is what an interrupted installation left.
        """
        try:
            names = [each.name for each in os.scandir(self._home) if each.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        others = [name for name in names if name != self._pin.version]
        broken = [name for name in others if name != before and not _read_record(os.path.join(self._home, name))]
        others = [name for name in others if name not in broken]
        others.sort(key=lambda name: (name == before, _last_used(os.path.join(self._home, name)), name), reverse=True)
        return [os.path.join(self._home, name) for name in sorted(broken) + others[self._keep - 1 :]]

    # --- doing it

    def converge(self) -> Plan:
        """Do what the plan says, in an order in which every moment leaves a working tool."""
        with _explained(self._home):
            make_folder(self._home)
            with self._alone():
                plan = self.plan()
                if not plan:
                    return plan
                self._clear_parts()
                if plan.fetch:
                    self._install()
                if plan.mode:
                    os.chmod(self._binary, _MODE)
                    self._note(_read_record(self._folder))
                if plan.completions:
                    self._complete(plan.completions)
                for link, target in plan.links.items():
                    switch(link, target)
                if plan.links:
                    os.utime(os.path.join(self._folder, _RECORD))
                for path in plan.unlinks:
                    os.unlink(path)
                for path in plan.removals:
                    shutil.rmtree(path)
                return plan

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Two runs at once: the second one waits, and then finds it done."""
        with open(os.path.join(self._home, ".lock"), "w") as lock:
            lock_alone(lock.fileno(), self._home, self._tell)
            yield

    def _install(self) -> None:
        fetched = self._cache.get(self._pin.url, Expected(self._pin.sha256))
        make_folder(self._folder)
        try:
            with open(fetched.path, "rb") as source, _whole(self._binary, _MODE) as target:
                sha256 = self._unpack(source, target)
            # Before it is noted: whoever is interrupted here downloads it again, but leaves nothing behind.
            self._cache.drop(fetched)
            self._note({"sha256": sha256, "completions": {}})
        except BaseException:
            with contextlib.suppress(OSError):
                os.rmdir(self._folder)
            raise

    def _unpack(self, source: t.BinaryIO, target: t.BinaryIO) -> str:
        """What is written is what was hashed, also when somebody writes into the cache meanwhile."""
        if not self._pin.member:
            digest = hashlib.sha256()
            for chunk in iter(lambda: source.read(_CHUNK), b""):
                digest.update(chunk)
                target.write(chunk)
            seen = digest.hexdigest()
            self._require(seen)
            return seen
        self._require(sha256_of(source))
        source.seek(0)
        return _archive.extract(source, self._pin.member, target, self._pin.url)

    def _require(self, seen: str) -> None:
        if seen != self._pin.sha256:
            path = self._cache.path(self._pin.url)
            raise WrongContent(f"{path} changed while it was read: expected sha256 {self._pin.sha256}, seen {seen}")

    def _complete(self, shells: Sequence[str]) -> None:
        """Let the new binary write its completions, before a link leads to it: so it is seen to run, too."""
        record = _read_record(self._folder)
        for shell in shells:
            text = self._output(*self._pin.completion, shell)
            with _whole(self._completion(shell), 0o644) as file:
                file.write(text)
            record.setdefault("completions", {})[shell] = hashlib.sha256(text).hexdigest()
        self._note(record)

    def _output(self, *words: str) -> bytes:
        command = " ".join([self._binary, *words])
        hint = f"Is it a binary for this machine ({os.uname().machine})? tool_completion_shells: [] does without"
        with tempfile.TemporaryDirectory(prefix="homelab-talos-") as home:
            # Some of these tools make folders in the home of whoever runs them.
            environment = {"HOME": home, "PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
            try:
                done = subprocess.run(  # pylint: disable=ansible-bad-function
                    [self._binary, *words],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    cwd=home,
                    env=environment,
                    timeout=_COMPLETION_SECONDS,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise ToolError(f"{command} does not end within {_COMPLETION_SECONDS} s", remedy=hint) from error
            except OSError as error:
                raise ToolError(f"{command} does not start: {error.strerror}", remedy=hint) from error
        if done.returncode or not done.stdout.strip():
            said = done.stderr.decode(errors="replace").strip()[-300:] or "nothing"
            raise ToolError(f"{command} ends with {done.returncode} and says {said}", remedy=hint)
        return done.stdout

    def _note(self, record: dict[str, t.Any]) -> None:
        record = {
            **record,
            "url": self._pin.url,
            "download_sha256": self._pin.sha256,
            "seen": _fingerprint(os.lstat(self._binary)),
        }
        with _whole(os.path.join(self._folder, _RECORD), 0o644) as file:
            file.write(json.dumps(record, indent=2, sort_keys=True).encode() + b"\n")

    def _clear_parts(self) -> None:
        """What a run that was killed left."""
        for name in os.listdir(self._folder) if os.path.isdir(self._folder) else ():
            if name.startswith(".") and name.endswith(_PART):
                os.unlink(os.path.join(self._folder, name))


def switch(link: str, target: str) -> None:
    """Let a link lead elsewhere, in one step."""
    folder = os.path.dirname(link)
    make_folder(folder)
    # One name, so that what a killed run left is replaced by the next one.
    temporary = os.path.join(folder, f".{os.path.basename(link)}.homelab-talos")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    os.symlink(target, temporary)
    try:
        os.replace(temporary, link)
    except BaseException:
        os.unlink(temporary)
        raise


@contextlib.contextmanager
def _whole(path: str, mode: int) -> Iterator[t.BinaryIO]:
    """A file that gets its name when it is written to its end, and leaves nothing otherwise."""
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".", suffix=_PART)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def _explained(place: str) -> Iterator[None]:
    """What the system refuses, as an error with a remedy."""
    try:
        yield
    except OSError as error:
        path = error.filename or place
        if is_full(error):
            raise NoSpace(f"no space is left for {path}") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise NotAllowed(f"{path} cannot be written: {error.strerror}") from error
        raise ToolError(f"{path}: {error.strerror or error}") from error


def _read_record(folder: str) -> dict[str, t.Any]:
    try:
        with open(os.path.join(folder, _RECORD), encoding="utf-8") as file:
            record = json.load(file)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("completions"), dict) else {}


def _last_used(folder: str) -> float:
    try:
        return os.stat(os.path.join(folder, _RECORD)).st_mtime
    except OSError:
        return 0.0


def _fingerprint(seen: os.stat_result) -> list[int]:
    """Changes when somebody writes to the file, or puts another one in its place."""
    return [seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns]


def _is_file(path: str, sha256: object) -> bool:
    return is_hash(sha256) and os.path.isfile(path) and sha256_of_file(path) == sha256
