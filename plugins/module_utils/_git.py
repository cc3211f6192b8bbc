# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""git over HTTP: shallow clones, and commits that are pushed. Its errors as types.

A token reaches git by ``GIT_ASKPASS`` alone: the script prints it from a file in memory without a name, which git
inherits. It is in no argument, environment, URL or configuration.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import socket
import ssl
import typing as t
import urllib.parse

from . import _argocd_settings as settings
from ._commands import Commands, CommandTimeout, found
from ._errors import TalosError

T = t.TypeVar("T")

SECONDS = 120.0
_LOOK_SECONDS = 5.0
# So often somebody else may push while we work.
_ATTEMPTS = 3
_REMEDY = "Install git there (role admin does)"

_ANSWERS = """#!/bin/sh
case $1 in
[Uu]sername*) exec cat /proc/self/fd/{user} ;;
*) exec cat /proc/self/fd/{token} ;;
esac
"""
# Neither a repository's content nor the user's settings decide what git runs or where it writes.
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.symlinks=false",
    "core.autocrlf=false",
    "credential.helper=",
    "commit.gpgSign=false",
    "gc.auto=0",
    "protocol.allow=never",
    "protocol.http.allow=always",
    "protocol.https.allow=always",
    # The token is for this server, not for where it may send us.
    "http.followRedirects=false",
    # A server that stops sending is given up.
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=30",
)


# In a URL of HTTP whatever comes before the host; elsewhere with a password, for git@ is a user that everybody knows.
_ACCOUNT = re.compile(r"https?://[^/?#]*@|(?:^|::|://)[^/?#@:]*:[^/?#]*@", re.IGNORECASE)


class GitError(TalosError):
    """git failed, with its words."""

    remedy = "git's words say more"


class BadAddress(GitError):
    """A repository's address that cannot be used."""

    remedy = "Correct it in the inventory"


class GitUnreachable(GitError):
    """The server does not answer, or fails itself."""

    remedy = "Is argocd_repo_url right, the server up, and open to the admin host? Behind a proxy set https_proxy there"


class ProxyRefused(GitUnreachable):
    """The proxy does not let us through to the server."""

    remedy = (
        "Allow the server in the proxy that https_proxy of the admin host names, or add the server to no_proxy there"
    )


class TooManyRequests(GitError):
    """The server limits how often it is asked."""

    remedy = "Wait some minutes, and run again"


class GitCertificate(GitError):
    """The server's certificate is not trusted, or has expired."""

    remedy = (
        "Renew the server's certificate, or correct the clock of the admin host; for an authority of your own set "
        "argocd_repo_ca_file"
    )


class RepositoryMoved(GitError):
    """The server sends us to another address, where the token might not belong."""

    remedy = (
        "It was renamed, or moved to https: open argocd_repo_url in a browser, which leads to the new address, and set "
        "argocd_repo_url to that"
    )


class BadIdentity(GitError):
    """git does not make commits in this name."""

    remedy = "Correct argocd_commit_name and argocd_commit_email"


# In remedies, {setting} is the variable that the token comes from.
class WrongToken(GitError):
    """The server does not take the token."""

    remedy = "Is {setting} right and not expired? Its user must fit it, too"


class NoSuchRepository(GitError):
    """There is none at the address, or the token does not show it."""

    remedy = (
        "Create the repository with a first commit, or correct argocd_repo_url. Servers say the same of a repository "
        "that {setting} is not for"
    )


class EmptyRepository(GitError):
    """It has no commit yet."""

    remedy = (
        "Make its first commit, as with a README on the server's web page, or by git commit --allow-empty -m Begin and "
        "git push"
    )


class NoSuchBranch(GitError):
    """The repository has no such branch."""

    remedy = "Create it, or correct argocd_repo_branch"


class NotAllowedToRead(GitError):
    """The server takes the token, and does not let it read the repository."""

    remedy = (
        "Give the token in {setting} the right to read this repository's contents; an organisation may "
        "have to authorise it first (SSO)"
    )


class NotAllowedToPush(GitError):
    """The server refuses the push: the token may only read, or the branch is protected."""

    remedy = (
        "Give the token in {setting} the right to write contents and to push to this branch, or name another "
        "argocd_repo_branch"
    )


class MovedOn(GitError):
    """Somebody pushed between our clone and our push."""

    remedy = "Run again: the repository is read anew"


# The first that fits; what servers and git say, in English by LC_ALL.
_ERRORS: tuple[tuple[str, type[GitError]], ...] = (
    (r"certificate|self.signed|issuer|CAfile", GitCertificate),
    (r"CONNECT tunnel failed|from proxy after CONNECT|\berror: 407", ProxyRefused),
    (
        r"Could not resolve|Failed to connect|[Cc]onnection (refused|timed out|reset)|too slow|Empty reply",
        GitUnreachable,
    ),
    (r"\berror: 30\d", RepositoryMoved),
    (r"empty ident name|disallowed characters", BadIdentity),
    (r"\b429\b|[Tt]oo [Mm]any [Rr]equests", TooManyRequests),
    (r"Could not find remote branch|Remote branch .* not found", NoSuchBranch),
    (
        r"fetch first|non-fast-forward|incorrect old value|cannot lock ref|failed to update ref|reference has changed",
        MovedOn,
    ),
    (r"protected branch|hook declined|GH0\d\d|rule violations|push declined", NotAllowedToPush),
    (r"\b403\b|not allowed|[Pp]ermission .*denied|denied to", NotAllowedToPush),
    (r"[Aa]uthentication (failed|required)|could not read (Username|Password)|Access denied|\b401\b", WrongToken),
    (r"not found|does not exist|\b404\b", NoSuchRepository),
    (r"\b50[0-4]\b|timed out|early EOF|hung up|SSL|TLS|gnutls", GitUnreachable),
)
# What a reader and a writer are told in the same words.
_READING = frozenset({"ls-remote", "clone"})


@dataclasses.dataclass(frozen=True)
class Account:
    """Who we are to the server; the token is its password, and ``setting`` the variable that it comes from."""

    user: str
    token: str
    setting: str


@dataclasses.dataclass(frozen=True)
class Address:
    """A place in a repository; ``url`` ends with ``.git``, ``path`` is relative, without ``branch`` it is the default.

    ``ca_file`` is a PEM file of the authority that signed the server's certificate.
    """

    url: str
    path: str = ""
    branch: str = ""
    ca_file: str = ""

    @classmethod
    def parse(cls, url: str, path: str = "", branch: str = "", ca_file: str = "") -> Address:
        """Raises BadAddress."""
        said = settings.complaints(lambda report: settings.check_address(url, path, branch, report))
        if said:
            raise BadAddress(said)
        if ca_file and not os.path.isfile(ca_file):
            raise BadAddress(f"there is no argocd_repo_ca_file {ca_file}", remedy="It is a PEM file on the admin host")
        parts = urllib.parse.urlsplit(url.strip())
        named = parts.path.rstrip("/").removesuffix(".git")
        return cls(f"{parts.scheme}://{parts.netloc}{named}.git", "/".join(settings.folders(path)), branch, ca_file)

    @property
    def host(self) -> str:
        """Name or address of the server, without its port."""
        return urllib.parse.urlsplit(self.url).hostname or ""

    def below(self, *names: str) -> str:
        """A path from the repository's root."""
        return "/".join(filter(None, (self.path, *names)))

    def __str__(self) -> str:
        return self.url + (f" at {self.path}" if self.path else "") + (f" on {self.branch}" if self.branch else "")


def has_account(*urls: str) -> bool:
    """Does one of them hold a user's name or a token that opens it?"""
    return any(_ACCOUNT.search(url.strip()) for url in urls)


class Git:
    """Clones for one account. Use as a context: it holds the token in memory."""

    def __init__(self, commands: Commands, account: Account, *, path: str = "git") -> None:
        self._commands, self._account, self._path = commands, account, path
        self._files = contextlib.ExitStack()

    def __enter__(self) -> Git:
        binary = found(self._path, _REMEDY)
        user, token = (self._in_memory(text) for text in (self._account.user, self._account.token))
        script = os.path.join(self._commands.folder, f"askpass-{token}")
        with open(script, "w", encoding="ascii", opener=_private) as file:
            file.write(_ANSWERS.format(user=user, token=token))
        self._commands = dataclasses.replace(
            self._commands, descriptors=(*self._commands.descriptors, user, token)
        ).with_environment(GIT_ASKPASS=script)
        self._argv = [binary, *(word for setting in _SETTINGS for word in ("-c", setting))]
        return self

    def __exit__(self, *_exception: object) -> None:
        self._files.close()

    def _in_memory(self, text: str) -> int:
        descriptor = os.memfd_create("git-account")
        self._files.callback(os.close, descriptor)
        os.write(descriptor, text.encode())
        return descriptor

    def head(self, address: Address) -> str:
        """The commit of the branch. Raises GitError."""
        ref = f"refs/heads/{address.branch}" if address.branch else "HEAD"
        lines = self.run(["ls-remote", address.url], address).splitlines()
        commits = {name: commit for commit, _tab, name in (line.partition("\t") for line in lines)}
        if not commits:
            raise EmptyRepository(f"{address.url} has no commit yet")
        if ref not in commits:
            raise NoSuchBranch(f"{address.url} has no branch {address.branch or 'by default'}")
        return commits[ref]

    def clone(self, address: Address) -> Clone:
        """Without history. Raises GitError."""
        self.head(address)
        folder = os.path.join(self._commands.folder, "clone")
        shutil.rmtree(folder, ignore_errors=True)
        branch = ["--branch", address.branch] if address.branch else []
        self.run(["clone", "--quiet", "--depth=1", "--no-tags", *branch, "--", address.url, folder], address)
        return Clone(self, address, folder, self.run(["rev-parse", "HEAD"], address, folder).strip())

    def run(self, arguments: t.Sequence[str], address: Address, folder: str = "") -> str:
        """Standard output. Raises GitError."""
        commands = self._commands
        if address.ca_file:
            commands = commands.with_environment(GIT_SSL_CAINFO=address.ca_file)
        inside = ["-C", folder] if folder else []
        try:
            done = commands.run([*self._argv, *inside, *arguments], seconds=SECONDS)
        except CommandTimeout as error:
            raise GitUnreachable(f"{address.url}: git {arguments[0]} was {error.cause}") from error
        if done.code:
            # Which refs a push could not update is said on standard output.
            raise self._error(f"{done.err}\n{done.out}", address, arguments[0])
        return done.out

    def _error(self, said: str, address: Address, command: str) -> GitError:
        error = error_of(said, address, command=command, setting=self._account.setting)
        if isinstance(error, GitCertificate):
            # Where git was built with GnuTLS, it says the same of all certificates.
            error.cause += _distrust(address)
        return error or GitError(f"{address}: {_words(said)}")


class Clone:
    """A work tree below the address's path; ``commit`` is what it was cloned at or pushed last."""

    def __init__(self, git: Git, address: Address, folder: str, commit: str) -> None:
        self._git, self._address, self._folder = git, address, folder
        self._changed: set[str] = set()
        self.commit = commit

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, self._address.below(name))

    def read(self, name: str) -> str | None:
        """A file's text; None where there is none."""
        path = self._path(name)
        if not os.path.isfile(path):
            return None
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def files(self, name: str = "") -> list[str]:
        """The files in a folder and those in it, as names from the address's path, sorted."""
        root = self._path(name)
        names: list[str] = []
        for folder, folders, files in os.walk(root):
            folders[:] = [each for each in folders if each != ".git"]
            names += (os.path.relpath(os.path.join(folder, file), self._path("")) for file in files)
        return sorted(names)

    def holds(self, path: str) -> bool:
        """Is there such a file or folder, from the repository's root?"""
        inside = os.path.normpath(path)
        return not inside.startswith("..") and os.path.exists(os.path.join(self._folder, inside))

    def change(self, files: t.Mapping[str, str | None]) -> None:
        """Write files; those whose text is None are removed."""
        for name, text in files.items():
            path = self._path(name)
            self._changed.add(self._address.below(name))
            if text is None:
                os.unlink(path)
                continue
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)

    def push(self, message: str) -> None:
        """Commit what was changed here and nothing else, and push it. Raises GitError, MovedOn."""
        # Not add, which minds .gitignore and takes names for patterns.
        self._run("update-index", "--add", "--remove", "--", *sorted(self._changed))
        if not self._run("diff", "--cached", "--name-only"):
            return
        self._run("commit", "--quiet", f"--message={message}")
        self._run("push", "--quiet", "--porcelain", "origin", "HEAD")
        self.commit = self._run("rev-parse", "HEAD").strip()

    def require_push(self) -> None:
        """Raises NotAllowedToPush where the server refuses this account beforehand; hooks are not asked."""
        self._run("push", "--quiet", "--dry-run", "origin", "HEAD")

    def _run(self, *arguments: str) -> str:
        return self._git.run(arguments, self._address, self._folder)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o700)


def error_of(
    said: str, address: Address, *, command: str = "push", setting: str = "argocd_git_token"
) -> GitError | None:
    """The error that these words of git, a server or argocd-autopilot mean, None where they are unknown.

    ``command`` is git's own, ``setting`` the variable that the token comes from.
    """
    words = _words(said)
    # A repository's name may be any of the words that are looked for.
    own = words.replace(address.url, "").replace(address.url.removesuffix(".git"), "")
    for pattern, kind in _ERRORS:
        if re.search(pattern, own):
            found_kind = NotAllowedToRead if kind is NotAllowedToPush and command in _READING else kind
            return found_kind(f"{address}: {words}", remedy=found_kind.remedy.format(setting=setting))
    return None


def _distrust(address: Address) -> str:
    """What is wrong with the server's certificate, in OpenSSL's words; empty where that cannot be seen from here."""
    parts = urllib.parse.urlsplit(address.url)
    place = (address.host, parts.port or 443)
    try:
        context = ssl.create_default_context(cafile=address.ca_file or None)
        with socket.create_connection(place, _LOOK_SECONDS) as connection:
            context.wrap_socket(connection, server_hostname=address.host).close()
    except ssl.SSLCertVerificationError as error:
        return f" ({error.verify_message})"
    except OSError:
        pass
    return ""


def _words(said: str) -> str:
    lines = [" ".join(line.split()) for line in said.splitlines() if line.strip()]
    return "; ".join(line for line in lines if not line.startswith("hint:"))


def again_when_moved_on(work: t.Callable[[], T]) -> T:
    """Work that reads the repository and pushes to it, done anew where somebody else was faster. Raises MovedOn."""
    for _attempt in range(_ATTEMPTS - 1):
        with contextlib.suppress(MovedOn):
            return work()
    return work()
