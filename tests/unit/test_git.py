# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""git against a server that goes wrong: each error by its type, and where the token is to be seen."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import subprocess
import sys
import threading
import typing as t
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ansible_collections.homelab.talos.plugins.module_utils import _git
from ansible_collections.homelab.talos.plugins.module_utils._commands import NoCommand
from ansible_collections.homelab.talos.plugins.module_utils._errors import TalosError
from ansible_collections.homelab.talos.plugins.module_utils._git import (
    Address,
    BadAddress,
    BadIdentity,
    EmptyRepository,
    Git,
    GitCertificate,
    GitError,
    GitUnreachable,
    MovedOn,
    NoSuchBranch,
    NoSuchRepository,
    NotAllowedToPush,
    NotAllowedToRead,
    ProxyRefused,
    RepositoryMoved,
    TooManyRequests,
    WrongToken,
    again_when_moved_on,
    error_of,
)
from rehearsal import pki
from tests.git_server import LocalGit, client_of, local_git

FILE = "gitops/notes.yaml"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalGit]:
    with local_git(tmp_path / "server") as made:
        yield made


@pytest.fixture
def client(server: LocalGit, tmp_path: Path) -> Iterator[Git]:
    with client_of(server, tmp_path / "client") as made:
        yield made


def address(server: LocalGit, **more: str) -> Address:
    return Address.parse(server.url, "gitops", ca_file=server.ca_file, **more)


# --- what works


def test_what_is_pushed_and_read(server: LocalGit, client: Git) -> None:
    first = server.put({FILE: "a: 1\n", "elsewhere.txt": "mine\n"})
    clone = client.clone(address(server))
    assert clone.commit == first == client.head(address(server))
    assert clone.read("notes.yaml") == "a: 1\n"
    assert clone.read("nothing.yaml") is None
    assert clone.files() == ["notes.yaml"]
    clone.change({"notes.yaml": None, "new/deep.yaml": "b: ä\n"})
    clone.push("Notes go deep")
    pushed = clone.commit
    assert pushed == server.head()
    assert server.files() == {"elsewhere.txt": "mine\n", "gitops/new/deep.yaml": "b: ä\n"}
    assert server.commits()[0] == "Notes go deep"
    clone.push("Nothing")
    assert clone.commit == pushed == server.head()


def test_a_branch(server: LocalGit, client: Git) -> None:
    server.put({FILE: "live: true\n"}, branch="live")
    clone = client.clone(address(server, branch="live"))
    assert clone.read("notes.yaml") == "live: true\n"
    clone.change({"notes.yaml": "live: false\n"})
    clone.push("Off")
    assert server.files(branch="live") == {FILE: "live: false\n"}
    assert server.commits() == ["First commit"]


def test_ignored_files_are_committed(server: LocalGit, client: Git) -> None:
    server.put({".gitignore": "*.yaml\n"})
    clone = client.clone(address(server))
    clone.change({"notes.yaml": "a: 1\n"})
    clone.push("Notes")
    assert FILE in server.files()


def test_nothing_but_what_was_changed_is_committed(server: LocalGit, client: Git) -> None:
    """Not what git would write otherwise by now, nor what a name is a pattern of."""
    server.put({"gitops/old.txt": "a\r\n", "gitops/b.yaml": "b: 1\n", "gitops/gone.yaml": "c: 1\n"})
    server.put({".gitattributes": "*.txt text\n"})
    clone = client.clone(address(server))
    (Path(clone._folder) / "gitops" / "b.yaml").write_text("b: 2\n")
    clone.change({"*.yaml": "d: 1\n", "gone.yaml": None})
    clone.push("Notes")
    changed = server._git("homelab/gitops", "show", "--format=", "--name-status", "main").split()
    assert changed == ["A", "gitops/*.yaml", "D", "gitops/gone.yaml"]


def test_the_commit_is_that_of_the_clone(server: LocalGit, client: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where somebody pushes between the look at the branch and the clone."""
    head = client.head

    def slow_head(where: Address) -> str:
        seen = head(where)
        server.put({FILE: "late: true\n"})
        return seen

    monkeypatch.setattr(client, "head", slow_head)
    clone = client.clone(address(server))
    assert clone.read("notes.yaml") == "late: true\n"
    assert clone.commit == server.head()


def test_paths_from_the_root(server: LocalGit, client: Git) -> None:
    server.put({"web/page.yaml": "a: 1\n"})
    clone = client.clone(address(server))
    assert clone.holds("web")
    assert clone.holds("web/page.yaml")
    for other in ("page.yaml", "../client", "web/../../client", "web/other.yaml"):
        assert not clone.holds(other), other


# --- what goes wrong


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("token-revoked", WrongToken),
        ("refused", GitUnreachable),
    ],
)
def test_what_no_clone_survives(server: LocalGit, client: Git, fault: str, kind: type[GitError]) -> None:
    server.fault(fault)
    for work in (client.head, client.clone):
        with pytest.raises(kind) as caught:
            work(address(server))
        assert server.url in caught.value.cause
        assert caught.value.remedy
    server.clear()
    client.clone(address(server))


def test_a_wrong_token(server: LocalGit, tmp_path: Path) -> None:
    with client_of(server, tmp_path / "client", token="guessed") as client, pytest.raises(WrongToken) as caught:
        client.clone(address(server))
    assert "guessed" not in str(caught.value)


def test_repositories_that_cannot_be_used(server: LocalGit, client: Git) -> None:
    with pytest.raises(NoSuchRepository, match="nowhere"):
        client.clone(Address.parse(server.url.replace("gitops", "nowhere")))
    empty = server.create("homelab/empty", empty=True)
    with pytest.raises(EmptyRepository, match="no commit"):
        client.clone(Address.parse(empty))
    with pytest.raises(NoSuchBranch, match="no branch elsewhere"):
        client.clone(address(server, branch="elsewhere"))


@pytest.mark.parametrize(
    ("fault", "kind", "before"),
    [
        ("read-only", NotAllowedToPush, True),
        ("protected-branch", NotAllowedToPush, False),
        ("moves-on", MovedOn, False),
        ("token-revoked", WrongToken, True),
        ("refused", GitUnreachable, True),
    ],
)
def test_pushes_that_fail(server: LocalGit, client: Git, fault: str, kind: type[GitError], before: bool) -> None:
    """``before``: a look at what the push would be told says it already."""
    clone = client.clone(address(server))
    clone.change({"notes.yaml": "a: 1\n"})
    server.fault(fault)
    if before:
        with pytest.raises(kind):
            clone.require_push()
    else:
        clone.require_push()
    with pytest.raises(kind) as caught:
        clone.push("Notes")
    assert caught.value.remedy
    assert server.token not in str(caught.value)
    assert FILE not in server.files()


def test_somebody_else_was_faster(server: LocalGit, client: Git) -> None:
    clone = client.clone(address(server))
    server.put({"gitops/other.yaml": "b: 1\n"}, "Faster")
    clone.change({"notes.yaml": "a: 1\n"})
    with pytest.raises(MovedOn):
        clone.push("Notes")
    again = client.clone(address(server))
    again.change({"notes.yaml": "a: 1\n"})
    again.push("Notes")
    assert server.commits()[:2] == ["Notes", "Faster"]


def test_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with local_git(tmp_path / "server", tls=True) as server, client_of(server, tmp_path / "client") as client:
        client.clone(address(server))
        with pytest.raises(GitCertificate, match="certificate"):
            client.clone(Address.parse(server.url))
        server.fault("refused")
        monkeypatch.setattr(pki, "SERVER_LIFETIME", datetime.timedelta(seconds=-1))
        server.clear()
        with pytest.raises(GitCertificate, match="certificate has expired") as caught:
            client.clone(address(server))
        assert "Renew the server's certificate" in caught.value.remedy


@contextlib.contextmanager
def forge(answer: t.Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """The address of a server that answers every request so."""

    class Forge(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)
            self.end_headers()

        def log_message(self, *_words: t.Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Forge) as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_gets_no_token(server: LocalGit, client: Git, status: int) -> None:
    seen = []

    def take(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.headers.get("Authorization"))
        request.send_response(401)
        request.send_header("WWW-Authenticate", 'Basic realm="elsewhere"')

    def send_away(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Location", elsewhere + request.path)

    with (
        forge(take) as elsewhere,
        forge(send_away) as base,
        pytest.raises(RepositoryMoved, match="in a browser") as caught,
    ):
        client.head(Address.parse(f"{base}/me/old.git"))
    assert seen == []
    assert f"{base}/me/old.git" in caught.value.cause


@pytest.mark.parametrize(
    ("status", "kind", "named"),
    [
        (403, NotAllowedToRead, "argocd_read_token"),
        (404, NoSuchRepository, "argocd_read_token"),
        (429, TooManyRequests, "Wait"),
        (500, GitUnreachable, "server up"),
    ],
)
def test_what_a_forge_answers_a_reader(
    server: LocalGit, client: Git, status: int, kind: type[GitError], named: str
) -> None:
    account = _git.Account("me", "sesame", "argocd_read_token")
    with (
        forge(lambda request: request.send_response(status)) as base,
        Git(client._commands, account) as reader,
        pytest.raises(GitError) as caught,
    ):
        reader.head(Address.parse(f"{base}/me/homelab.git"))
    assert type(caught.value) is kind
    assert named in caught.value.remedy


def test_a_proxy_that_refuses(server: LocalGit, tmp_path: Path) -> None:
    with (
        forge(lambda _request: None) as base,
        client_of(server, tmp_path / "client", https_proxy=base) as client,
        pytest.raises(ProxyRefused, match="proxy"),
    ):
        client.head(Address.parse("https://git.invalid/me/homelab.git"))


@pytest.mark.parametrize("name", ["", ";"])
def test_a_name_that_git_does_not_take(server: LocalGit, tmp_path: Path, name: str) -> None:
    with client_of(server, tmp_path / "client", GIT_AUTHOR_NAME=name) as client:
        clone = client.clone(address(server))
        clone.change({"notes.yaml": "a: 1\n"})
        with pytest.raises(BadIdentity, match="argocd_commit_name"):
            clone.push("Notes")


@pytest.mark.parametrize(("failures", "done"), [(0, True), (2, True), (3, False)])
def test_again_when_moved_on(failures: int, done: bool) -> None:
    calls = []

    def work() -> int:
        calls.append(None)
        if len(calls) <= failures:
            raise MovedOn("faster")
        return len(calls)

    if done:
        assert again_when_moved_on(work) == failures + 1
    else:
        with pytest.raises(MovedOn):
            again_when_moved_on(work)
        assert len(calls) == failures


def test_a_server_that_never_answers(server: LocalGit, client: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_git, "SECONDS", 0.0)
    with pytest.raises(GitUnreachable, match="git ls-remote was not done within 0 s"):
        client.head(address(server))


def test_no_git(server: LocalGit, tmp_path: Path) -> None:
    with client_of(server, tmp_path / "client") as client:
        other = Git(client._commands, _git.Account("x", "y", "argocd_git_token"), path=str(tmp_path / "none"))
        with pytest.raises(NoCommand, match="there is no"), other:
            pass


# What servers and git say, in words that no server of ours says.
@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("fatal: unable to access 'URL/': Could not resolve host: git.lan", GitUnreachable),
        ("fatal: unable to access 'URL/': The requested URL returned error: 502", GitUnreachable),
        ("error: RPC failed; curl 18 transfer closed\nfatal: early EOF", GitUnreachable),
        (
            "remote: Write access to repository not granted.\nfatal: unable to access 'URL/': error: 403",
            NotAllowedToPush,
        ),
        (
            "remote: error: GH013: Repository rule violations found for refs/heads/main.\n"
            "! [remote rejected] HEAD -> main (push declined due to repository rule violations)",
            NotAllowedToPush,
        ),
        ("fatal: unable to access 'URL/': GnuTLS recv error (-110): The TLS connection was cut.", GitUnreachable),
        ("fatal: unable to access 'URL/': OpenSSL SSL_connect: Connection reset by peer", GitUnreachable),
        ("fatal: unable to access 'URL/': OpenSSL SSL_read: error: unexpected eof while reading", GitUnreachable),
        ("fatal: unable to access 'URL/': SSL certificate problem: self-signed certificate", GitCertificate),
        ("fatal: unable to access 'URL/': Received HTTP code 403 from proxy after CONNECT", ProxyRefused),
        ("remote: GitLab: You are not allowed to push code to protected branches on this project.", NotAllowedToPush),
        ("remote: HTTP Basic: Access denied\nfatal: Authentication failed for 'URL/'", WrongToken),
        ("fatal: could not read Username for 'https://git.lan': terminal prompts disabled", WrongToken),
        ("remote: Repository not found.\nfatal: repository 'URL/' not found", NoSuchRepository),
        ("! [rejected] HEAD -> main (non-fast-forward)\nerror: failed to push some refs to 'URL'", MovedOn),
        ("fatal: unable to access 'URL/': server certificate verification failed. CAfile: none", GitCertificate),
    ],
)
@pytest.mark.parametrize("name", ["homelab", "tls-certificate-403", "404-not-found"])
def test_words(said: str, kind: type[GitError], name: str) -> None:
    """The repository's own name means nothing."""
    where = Address.parse(f"https://git.lan/me/{name}.git")
    assert type(error_of(said.replace("URL", where.url), where)) is kind


@pytest.mark.parametrize(("command", "kind"), [("clone", NotAllowedToRead), ("push", NotAllowedToPush)])
@pytest.mark.parametrize(
    "said",
    [
        "remote: You are not allowed to download code from this project.\nfatal: unable to access: error: 403",
        "remote: The organization has enabled SAML SSO.\nfatal: unable to access: The URL returned error: 403",
    ],
)
def test_words_for_a_reader(said: str, command: str, kind: type[GitError]) -> None:
    found = error_of(said, Address.parse("https://git.lan/me/homelab"), command=command, setting="argocd_read_token")
    assert type(found) is kind
    assert "argocd_read_token" in found.remedy


def test_unknown_words() -> None:
    assert error_of("fatal: bad object", Address.parse("https://git.lan/me/homelab")) is None


# --- the token


# Notes the arguments and the environment of every process there is while the real git runs.
_WRAPPER = """#!{python}
import json, os, subprocess, sys
seen = set()
process = subprocess.Popen([{git!r}, *sys.argv[1:]], close_fds=False)
while process.poll() is None:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("cmdline", "environ"):
            try:
                with open(f"/proc/{{pid}}/{{name}}", "rb") as file:
                    seen.add(file.read().decode(errors="replace"))
            except OSError:
                pass
with open({log!r}, "a") as file:
    file.write(json.dumps(sorted(seen)))
sys.exit(process.returncode)
"""


def test_where_the_token_is(server: LocalGit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process that runs while git does has it in its arguments or environment, and no file holds it."""
    folder, log = tmp_path / "bin", tmp_path / "seen"
    folder.mkdir()
    wrapper = folder / "git"
    wrapper.write_text(_WRAPPER.format(python=sys.executable, git=shutil.which("git"), log=str(log)))
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    server.put({FILE: "a: 1\n"})
    with client_of(server, tmp_path / "client") as client:
        clone = client.clone(address(server))
        clone.change({"notes.yaml": "a: 2\n"})
        clone.push("Notes")
        files = [path for path in (tmp_path / "client").rglob("*") if path.is_file()]
        texts = [path.read_bytes() for path in files]
    seen = log.read_text()
    assert "GIT_ASKPASS" in seen
    assert "git-remote-http" in seen
    assert server.token not in seen
    assert len(files) > 10
    assert not any(server.token.encode() in text for text in texts)
    assert server.files()[FILE] == "a: 2\n"


# --- what a repository must not do


def test_links_are_not_followed(server: LocalGit, client: Git, tmp_path: Path) -> None:
    """Neither where they lead out of the clone, nor to be written through."""
    secret = tmp_path / "secret"
    secret.write_text("mine\n")
    work = tmp_path / "work"
    subprocess.run(["git", "clone", "--quiet", str(server.state.git / "homelab/gitops.git"), str(work)], check=True)
    (work / "gitops").mkdir()
    (work / FILE).symlink_to(secret)
    (work / "gitops" / "folder").symlink_to(tmp_path)
    own = ["-c", "user.name=Tester", "-c", "user.email=tester@example.invalid"]
    for words in (["add", "--all"], [*own, "commit", "--quiet", "-m", "Links"], ["push", "--quiet"]):
        subprocess.run(["git", *words], cwd=work, check=True)
    clone = client.clone(address(server))
    assert clone.read("notes.yaml") == str(secret)
    assert clone.files() == ["folder", "notes.yaml"]
    assert not clone.holds("gitops/folder/secret")
    clone.change({"notes.yaml": "a: 1\n"})
    assert secret.read_text() == "mine\n"


def test_hooks_and_settings_of_the_user_do_not_count(server: LocalGit, tmp_path: Path) -> None:
    home = tmp_path / "client"
    home.mkdir()
    hook = tmp_path / "hooks" / "pre-push"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
    hook.chmod(0o755)
    (home / ".gitconfig").write_text(
        f"[core]\n hooksPath = {hook.parent}\n[commit]\n gpgSign = true\n[gpg]\n program = /bin/false\n"
    )
    with client_of(server, home) as client:
        clone = client.clone(address(server))
        clone.change({"notes.yaml": "a: 1\n"})
        clone.push("Notes")
    assert not (tmp_path / "ran").exists()
    assert server.commits()[0] == "Notes"


# --- addresses


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://github.com/me/homelab", "https://github.com/me/homelab.git"),
        (" https://github.com/me/homelab.git/ ", "https://github.com/me/homelab.git"),
        ("https://code.gitlab.lan/home/labs_git", "https://code.gitlab.lan/home/labs_git.git"),
        ("http://git.lan:3000/group/deeper/homelab.git", "http://git.lan:3000/group/deeper/homelab.git"),
    ],
)
def test_addresses(given: str, url: str) -> None:
    made = Address.parse(given, "/gitops/./live/", "main")
    assert (made.url, made.path, made.branch) == (url, "gitops/live", "main")
    assert made.below("projects", "web.yaml") == "gitops/live/projects/web.yaml"
    assert Address.parse(given, "").below("projects") == "projects"
    assert str(made) == f"{url} at gitops/live on main"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"url": "https://me:s3cret@github.com/me/homelab"}, "argocd_git_token"),
        ({"url": "https://s3cret@github.com/me/homelab"}, "argocd_git_token"),
        ({"url": "git@github.com:me/homelab.git"}, "HTTP only"),
        ({"url": "ssh://git@github.com/me/homelab.git"}, "argocd_git_token"),
        ({"url": "ssh://github.com/me/homelab.git"}, "HTTP only"),
        ({"url": "file:///srv/homelab.git"}, "HTTP only"),
        ({"url": "https://github.com"}, "HTTP only"),
        ({"url": "https://[::1/homelab.git"}, "argocd_repo_url"),
        ({"url": ""}, "argocd_repo_url"),
        ({"url": "https://github.com/me/homelab.git?ref=live"}, "argocd_repo_branch"),
        ({"url": "https://github.com/me/homelab.git/gitops"}, "argocd_repo_path"),
        ({"url": "https://github.com/me/me.github.io"}, "cuts it"),
        ({"url": "https://github.com/me.github/homelab.git"}, "cuts it"),
        ({"url": "https://dev.azure.com/me/home/_git/homelab"}, "Azure DevOps"),
        ({"path": "my_git/live"}, "cuts it"),
        ({"path": "../other"}, "argocd_repo_path"),
        ({"path": "git ops"}, "argocd_repo_path"),
        ({"branch": "-x"}, "argocd_repo_branch"),
        ({"branch": "a..b"}, "argocd_repo_branch"),
        ({"branch": "a b"}, "argocd_repo_branch"),
        ({"ca_file": "/nowhere/ca.pem"}, "argocd_repo_ca_file"),
    ],
)
def test_bad_addresses(options: dict[str, str], named: str) -> None:
    with pytest.raises(BadAddress) as caught:
        Address.parse(**{"url": "https://github.com/me/homelab.git", **options})
    assert named in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert isinstance(caught.value, TalosError)
    assert caught.value.remedy
