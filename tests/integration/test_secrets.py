# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret shows: not in what a run prints and returns, not in any process, not in files that others can read.

Whole runs of site.yml are watched: their output and log, the bare answers of the modules, each process' arguments and
environment, what goes to syslog, and all files below the home, temporary and state folders, during the run and after.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import stat
import subprocess
import sys
import threading
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from .conftest import ROOT, MakeRehearsal, Rehearsal, Run, files_below, small_homelab, started

# A leak may be a part of a secret: a line of a key, a text that was cut.
PIECE = 16
# Wherever a piece stands in a text, it covers one of the blocks that the text divides into.
BLOCK = PIECE // 2

INLINE = "inline-vaulted-9vK2mQ"
IN_TEMPLATE = "in-template-4hT8wZ-and-longer"
SHORT = "Qz9xV"
IN_FILE = "in-vault-file-7pL3cX"
NUMBER = 83629174
IN_PATCH_FILE = "in-patch-file-2sD6yB"
PLAIN_AUTH = "cGxhaW46YXV0aC01Ympj"
IDENTITY = "identity-token-8nF1rJ"
WIREGUARD = base64.b64encode(b"wireguard-private-key-of-32-byte").decode()
PRESHARED = base64.b64encode(b"wireguard-preshared-key-32-bytes").decode()
ENVIRONMENT = "extension-environment-6gH4kP"
CONFIG_FILE = "extension-config-file-3wE9tU"
MANIFEST = "inline-manifest-5rY7oA"
VARIABLE = "environment-variable-6tJ0sQ"
ETC_FILE = "etc-file-4dK8wM"
PROXY = "proxy-password-1mN8bV"
JOIN = "join-token-0xC5zL"
UNKNOWN = "beside-unknown-key-2qW6eR"
OTHER_TYPE = "in-a-wrong-type-9uI3oP"


class Searcher:
    """Finds secrets, and pieces of them, in texts."""

    def __init__(self) -> None:
        self._whole: dict[str, str] = {}
        self._pieces: dict[str, str] = {}
        self._blocks: set[str] = set()

    def add(self, label: str, secret: str) -> None:
        """As it stands, encoded, decoded, and line by line."""
        for form in filter(None, (form.strip() for form in _forms(secret))):
            if len(form) < PIECE:
                self._whole[form] = label
            for start in range(len(form) - PIECE + 1):
                self._pieces[form[start : start + PIECE]] = label
            if len(form) >= PIECE:
                self._blocks |= {form[start : start + BLOCK] for start in range(len(form) - BLOCK + 1)}

    def found(self, text: str) -> set[str]:
        found = {label for form, label in self._whole.items() if form in text}
        # As it stands, and without the breaks that a dumper or a terminal puts in.
        for variant in (text, "".join(text.replace("\\n", "").split())):
            for block in range(0, len(variant) - BLOCK + 1, BLOCK):
                if variant[block : block + BLOCK] in self._blocks:
                    around = range(max(0, block - BLOCK + 1), block + 1)
                    pieces = (self._pieces.get(variant[start : start + PIECE]) for start in around)
                    found |= set(filter(None, pieces))
        return found

    def found_in_any(self, contents: t.Iterable[bytes]) -> set[str]:
        return {label for content in contents for label in self.found(content.decode("latin-1"))}

    def found_in(self, path: Path) -> set[str]:
        try:
            return self.found_in_any([path.read_bytes()])
        except OSError:
            return set()


def _forms(secret: str) -> t.Iterator[str]:
    """Texts that would tell it."""
    yield from (secret, secret.encode().hex())
    # What base64 makes of it depends on the bytes before it, and its last character on those behind it.
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret.encode()).decode().rstrip("=")
        yield encoded[(before * 8 + 5) // 6 : -1]
    with contextlib.suppress(ValueError):
        decoded = base64.b64decode(secret, validate=True)
        text = decoded.decode("latin-1")
        lines = [line for line in text.splitlines() if "-----" not in line]
        yield from (text, decoded.hex(), repr(decoded)[2:-1])
        if "-----" in text:
            yield from lines
            yield base64.b64decode("".join(lines)).decode("latin-1")


# Loaded by each Python of a run: notes every process that it starts, and what it sends to syslog.
SITECUSTOMIZE = """\
import json, os, sys, syslog

def note(kind, *what):
    with open(os.environ["WATCH_RECORDS"], "a") as file:
        file.write(json.dumps([kind, *map(repr, what)]) + "\\n")

def hook(event, args):
    if event in ("subprocess.Popen", "os.exec", "os.posix_spawn"):
        note(event, args[1], args[-1] if args[-1] is not None else dict(os.environ))

syslog.syslog = lambda *args: note("syslog", *args)
sys.addaudithook(hook)
"""
# The modules' Python: keeps what they answer before Ansible reads it.
PYTHON = '#!/bin/sh\n"{python}" "$@" 2>>"{folder}/answers" | tee -a "{folder}/answers"\n'

PLAYBOOK = """\
- import_playbook: {site}

- hosts: talos
  gather_facts: false
  tags: [always]
  tasks:
    - ansible.builtin.ping:
      run_once: true
    - homelab.talos.node_info:
    - ansible.builtin.debug: {{var: ansible_facts}}
    - ansible.builtin.debug: {{var: __node_plan}}
    - ansible.builtin.debug: {{var: "hostvars[inventory_hostname]"}}
      when: show_all is defined
"""


@dataclass
class Watch:
    """What was seen of one run."""

    run: Run
    processes: set[bytes] = field(default_factory=set)
    # What stood in files of temporary folders, be it for a while.
    temporary: dict[str, set[bytes]] = field(default_factory=dict)

    def leaks(self, searcher: Searcher) -> dict[str, set[str]]:
        """What is found in temporary files."""
        found = {path: searcher.found_in_any(contents) for path, contents in self.temporary.items()}
        return {path: labels for path, labels in found.items() if labels}


class Site(Rehearsal):
    """A rehearsal whose runs are watched."""

    def __init__(self, rehearsal: Rehearsal, folder: Path) -> None:
        super().__init__(rehearsal.state, rehearsal.inventory, rehearsal.network)
        self.searcher = Searcher()
        self.folder = folder
        self.home, self.temporary, self.facts = folder / "home", folder / "tmp", folder / "facts"
        self.records, self.answers, self.log = folder / "records", folder / "answers", folder / "ansible.log"
        self.settings: dict[str, str] = {}
        for each in (self.home, self.temporary, self.facts, folder / "site"):
            each.mkdir()
        (folder / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE)
        self.python = folder / "python"
        self.python.write_text(PYTHON.format(python=sys.executable, folder=folder))
        self.python.chmod(0o755)
        self.playbook = folder / "playbook.yml"
        self.playbook.write_text(PLAYBOOK.format(site=ROOT / "site.yml"))
        self._shared_memory = set(os.listdir("/dev/shm"))

    @property
    def admin_dir(self) -> Path:
        """Made by the run, as ~/.homelab is."""
        return self.folder / "user" / ".homelab" / "homelab"

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            # The shell finds "~" in the list of users, whatever HOME says.
            "ANSIBLE_REMOTE_TEMP": str(self.home / ".ansible" / "tmp"),
            "PYTHONPATH": str(self.folder / "site"),
            "WATCH_RECORDS": str(self.records),
            "ANSIBLE_LOG_PATH": str(self.log),
            "ANSIBLE_CACHE_PLUGIN": "jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(self.facts),
            "ANSIBLE_DISPLAY_TRACEBACK": "always",
            # The default of ansible-core 2.19.
            "ANSIBLE_INJECT_INVOCATION": "1",
            **self.settings,
        }

    def watch(self, *words: str) -> Watch:
        variables = {"ansible_python_interpreter": str(self.python), "cluster_admin_dir": str(self.admin_dir)}
        words = ("-vvvv", "--diff", "-e", json.dumps(variables), *words)
        output, inventory = self.folder / "output", _contents(self.inventory)
        with started(self.argv(*words, playbook=str(self.playbook)), output, self.environment()) as process:
            watch = Watch(Run(-1, ""))
            ended = threading.Event()
            watcher = threading.Thread(target=self._poll, args=(process.pid, watch, ended))
            watcher.start()
            try:
                rc = process.wait(timeout=150)
            finally:
                ended.set()
                watcher.join()
        watch.run = Run(rc, output.read_text())
        assert _contents(self.inventory) == inventory
        return watch

    def _poll(self, pid: int, watch: Watch, ended: threading.Event) -> None:
        known: dict[str, tuple[int, int]] = {}
        looks = 0
        while not ended.wait(0.02):
            for each in [pid, *_descendants(pid)]:
                for name in ("cmdline", "environ"):
                    with contextlib.suppress(OSError):
                        watch.processes.add(Path(f"/proc/{each}/{name}").read_bytes())
            looks += 1
            if looks % 5 == 0:
                self._look_at_files(known, watch)

    def _look_at_files(self, known: dict[str, tuple[int, int]], watch: Watch) -> None:
        for path in self.temporary_files():
            with contextlib.suppress(OSError):
                status = path.stat()
                state = (status.st_mtime_ns, status.st_size)
                if known.get(str(path)) != state:
                    known[str(path)] = state
                    watch.temporary.setdefault(str(path), set()).add(path.read_bytes())

    def temporary_files(self) -> t.Iterator[Path]:
        yield from _files(self.home)
        yield from _files(self.temporary)
        for name in set(os.listdir("/dev/shm")) - self._shared_memory:
            yield from _files(Path("/dev/shm", name))

    def know_bundle(self) -> dict[str, str]:
        """Take the bundle and the client keys into the searcher; returns the bundle's leaves."""
        password = (self.state / "vault-password").read_bytes().strip()
        text = VaultLib([("default", VaultSecret(password))]).decrypt(self.bundle.read_bytes())
        leaves = dict(_leaves(yaml.safe_load(text), "bundle"))
        clients = {}
        for name in ("talosconfig", "talosconfig.reader", "kubeconfig"):
            for path, value in _leaves(yaml.safe_load((self.admin_dir / name).read_text()), name):
                if path.rsplit(".", 1)[-1] in ("key", "client-key-data"):
                    clients[path] = value
        assert len(leaves) >= 12
        assert len(clients) == 3
        for label, secret in {**leaves, **clients}.items():
            self.searcher.add(label, secret)
        return leaves

    def require_no_leak(self, watch: Watch) -> None:
        find = self.searcher.found
        assert find(watch.run.output) == set(), "in the output"
        assert find(self.answers.read_text()) == set(), "in what a module answers"
        assert find(self.records.read_text()) == set(), "in argv, environment or syslog"
        assert find(self.log.read_text()) == set(), "in the log"
        assert any(b"ansible-playbook" in each for each in watch.processes)
        assert self.searcher.found_in_any(watch.processes) == set(), "in a process"
        assert watch.leaks(self.searcher) == {}, "in a temporary file"
        assert {str(path): found for path in self.temporary_files() if (found := self.searcher.found_in(path))} == {}
        assert {str(path): found for path in _files(self.facts) if (found := self.searcher.found_in(path))} == {}
        self.require_private()
        for path in (self.answers, self.records, self.log):
            path.write_text("")

    def require_private(self) -> None:
        """Secrets stand in the client files and the simulated nodes only, and only their owner reads them."""
        files = [*_files(self.state), *_files(self.admin_dir)]
        holders = [path for path in files if self.searcher.found_in(path)]
        assert {path.parent for path in holders} == {self.admin_dir, self.state / "nodes"}
        for path in holders:
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def _descendants(pid: int) -> t.Iterator[int]:
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
                yield int(child)
                yield from _descendants(int(child))


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in files_below(folder)}


def _files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    return files_below(folder)


def _leaves(value: t.Any, path: str) -> t.Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, f"{path}.{key}")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _leaves(each, f"{path}.{index}")
    elif isinstance(value, str):
        yield path, value


def declare_secrets(site: Site, suffix: str = "") -> None:
    """Secrets of a user, in all the ways to keep them; another suffix makes other ones."""
    password = (site.state / "vault-password").read_bytes().strip()
    vault = VaultLib([("default", VaultSecret(password))])

    def sealed(text: str) -> str:
        return bytes(vault.encrypt(text)).decode()

    def inline(text: str) -> str:
        return "!vault |\n" + "".join(f"  {line}\n" for line in sealed(text).splitlines())

    documents: list[dict[str, t.Any]] = [
        {
            "kind": "EnvironmentConfig",
            "variables": {
                "API_TOKEN": VARIABLE + suffix,
                "FILE": "{{ from_file }}",
                "NUMBER": "{{ from_file_number | string }}",
            },
        },
        {
            "kind": "WireguardConfig",
            "name": "wg0",
            "privateKey": WIREGUARD,
            "peers": [{"publicKey": base64.b64encode(bytes(range(32))).decode(), "presharedKey": PRESHARED}],
        },
        {
            "kind": "ExtensionServiceConfig",
            "name": "tailscale",
            "environment": [f"TS_AUTHKEY={ENVIRONMENT}{suffix}"],
            "configFiles": [{"content": f"password = {CONFIG_FILE}{suffix}\n", "mountPath": "/etc/app.conf"}],
        },
        {
            "kind": "EtcFileConfig",
            "name": "app.ini",
            "mode": 0o600,
            "contents": f"[auth]\npassword={ETC_FILE}{suffix}\n",
        },
        {"kind": "SideroLinkConfig", "apiUrl": f"https://siderolink.example.org:443/?jointoken={JOIN}{suffix}"},
    ]
    secret = {"apiVersion": "v1", "kind": "Secret", "stringData": {"password": MANIFEST + suffix}}
    manifest = {"kind": "KubeInlineManifestConfig", "name": "app", "manifest": yaml.safe_dump(secret)}
    variables = {
        "node_annotations": {
            "example.org/templated": "before {{ app_key }} after",
            "example.org/pin": "pin {{ app_pin }}.",
            "example.org/proxy": f"http://proxy-user:{PROXY}{suffix}@proxy.example.org:3128",
        },
        "node_registry_auth": {
            "one.example.org": {"username": "puller", "password": "{{ registry_password }}"},
            "two.example.org": {"auth": PLAIN_AUTH},
            "three.example.org": {"identityToken": IDENTITY + suffix},
        },
        "cluster_patches": [*({"apiVersion": "v1alpha1", **each} for each in documents), "patches/secret.yaml"],
        "group_patches": {"controlplanes": [{"apiVersion": "v1alpha1", **manifest}]},
    }
    folder = site.inventory / "group_vars" / "talos"
    (folder / "secrets.yml").write_text(
        yaml.safe_dump(variables)
        + f"registry_password: {inline(INLINE + suffix)}"
        + f"app_key: {inline(IN_TEMPLATE + suffix)}"
        + f"app_pin: {inline(SHORT)}"
    )
    main = (folder / "main.yml").read_text().replace("cluster_patches: []\n", "").replace("group_patches: {}\n", "")
    (folder / "main.yml").write_text(main)
    (folder / "vault.yml").write_text(sealed(f"from_file: {IN_FILE}{suffix}\nfrom_file_number: {NUMBER}\n"))
    (site.inventory / "patches").mkdir(exist_ok=True)
    url = f"tcp://logs.example.org:514/{IN_PATCH_FILE}{suffix}"
    patch = f"apiVersion: v1alpha1\nkind: KmsgLogConfig\nname: remote\nurl: {url}\n"
    (site.inventory / "patches" / "secret.yaml").write_text(sealed(patch))
    # Public parts of what holds them must not count as a secret.
    for name, value in {
        "INLINE": INLINE,
        "IN_TEMPLATE": IN_TEMPLATE,
        "SHORT": SHORT,
        "IN_FILE": IN_FILE,
        "NUMBER": str(NUMBER),
        "IN_PATCH_FILE": IN_PATCH_FILE,
        "PLAIN_AUTH": PLAIN_AUTH,
        "IDENTITY": IDENTITY,
        "WIREGUARD": WIREGUARD,
        "PRESHARED": PRESHARED,
        "ENVIRONMENT": ENVIRONMENT,
        "CONFIG_FILE": CONFIG_FILE,
        "MANIFEST": MANIFEST,
        "VARIABLE": VARIABLE,
        "ETC_FILE": ETC_FILE,
        "PROXY": PROXY,
        "JOIN": JOIN,
    }.items():
        site.searcher.add(name, value)


@pytest.fixture(scope="module")
def site(make_rehearsal: MakeRehearsal, tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("leaks")
    return Site(make_rehearsal(small_homelab(folder, "talos-w1")), folder)


def test_the_searcher_finds_what_is_planted() -> None:
    pem = "-----BEGIN X-----\n" + "\n".join(["QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo" + str(line) for line in range(9)])
    leaf = base64.b64encode(pem.encode()).decode()
    searcher = Searcher()
    searcher.add("key", leaf)
    searcher.add("pin", "Qz9xV")
    assert searcher.found("nothing <hidden> to see: VALUE_SPECIFIED_IN_NO_LOG_PARAMETER " * 99) == set()
    for planted in (leaf, pem, pem.splitlines()[3], leaf[40:80], leaf[:30] + "...", pem.replace("\n", "\\n")):
        assert all(searcher.found(f"{'.' * before}{planted} and more") == {"key"} for before in range(PIECE))
    told = f"some text {pem.splitlines()[3]} and more".encode()
    encoded = (base64.b64encode(bytes(before) + told).decode() for before in range(3))
    for planted in (*encoded, told.hex(), told.decode()):
        assert searcher.found(planted) == {"key"}
    random = bytes(range(100, 160))
    searcher.add("random", base64.b64encode(random).decode())
    for planted in (random.decode("latin-1"), random.hex(), str(random)):
        assert searcher.found(planted) == {"random"}
    assert searcher.found(f"a: {leaf[:70]}\n   {leaf[70:]}") == {"key"}
    assert searcher.found('{"pin": "Qz9xV"}') == {"pin"}


def test_the_watch_sees_a_process_and_a_file(site: Site) -> None:
    site.searcher.add("planted", "planted-in-a-process-3kD8")
    watch = Watch(Run(0, ""))
    program = "import os, time; time.sleep(.3); open(os.environ['FILE'], 'w').write(os.environ['WORD']); time.sleep(.3)"
    environment = {**os.environ, "WORD": "planted-in-a-process-3kD8", "FILE": str(site.temporary / "file")}
    parent = f"import subprocess; subprocess.run(['python3', '-c', {program!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], env=environment)
    ended = threading.Event()
    watcher = threading.Thread(target=site._poll, args=(process.pid, watch, ended))
    watcher.start()
    process.wait()
    ended.set()
    watcher.join()
    assert site.searcher.found_in_any(watch.processes) == {"planted"}
    assert watch.leaks(site.searcher) == {str(site.temporary / "file"): {"planted"}}
    (site.temporary / "file").unlink()


def test_from_maintenance_nothing_shows(site: Site) -> None:
    """Also where Ansible would write modules to files, and keep them."""
    site.settings = {"ANSIBLE_PIPELINING": "0", "ANSIBLE_KEEP_REMOTE_FILES": "1"}
    watch = site.watch("-e", "show_all=true")
    watch.run.require_ok()
    site.settings = {}
    leaves = site.know_bundle()
    # What the watch looks at is what was meant to be looked at.
    assert '"module_args"' in site.answers.read_text()
    records = site.records.read_text()
    assert "gen', 'secrets'" in records
    assert "--with-secrets" in records
    assert "WATCH_RECORDS" in records
    assert "Invoked with data=pong" in records
    assert "reachable" in "".join(path.read_text() for path in _files(site.facts))
    assert any(value in (site.admin_dir / "talosconfig").read_text() for value in leaves.values())
    for folder in (site.admin_dir.parent, site.admin_dir, site.admin_dir / "cache"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    site.require_no_leak(watch)


def test_changed_secrets_of_the_user_are_told_and_do_not_show(site: Site) -> None:
    declare_secrets(site)
    watch = site.watch()
    run = watch.run.require_ok()
    assert run.changed == {"talos-cp": 1, "talos-w1": 1}
    for shown in ("EnvironmentConfig", "WireguardConfig", "before <hidden> after", "pin <hidden>.", "username: puller"):
        assert shown in run.output
    assert "http://proxy-user:<hidden>@proxy.example.org" in run.output
    stored = "".join(base64.b64decode(json.loads(each)[1]).decode() for each in site.configs().values())
    for value in (
        INLINE,
        IN_TEMPLATE,
        SHORT,
        IN_FILE,
        str(NUMBER),
        IN_PATCH_FILE,
        ENVIRONMENT,
        MANIFEST,
        VARIABLE,
        ETC_FILE,
        PROXY,
    ):
        assert value in stored
    site.require_no_leak(watch)


def test_a_look_at_other_secrets_shows_neither_the_old_nor_the_new(site: Site) -> None:
    before = site.configs()
    declare_secrets(site, "-changed")
    watch = site.watch("--check")
    run = watch.run.require_ok()
    assert run.changed == {"talos-cp": 1, "talos-w1": 1}
    assert "<hidden, changed>" in run.output
    assert site.configs() == before
    site.require_no_leak(watch)
    declare_secrets(site)


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"machine": {"tokn": UNKNOWN, "files": [{"contnt": f"a text\nwith {UNKNOWN}\n"}]}}, "machine.tokn"),
        pytest.param({"machine": {"features": {"rbac": OTHER_TYPE}}}, "`<hidden>`", marks=pytest.mark.slow),
    ],
)
def test_an_error_that_quotes_a_secret_is_told_without_it(site: Site, patch: dict[str, t.Any], said: str) -> None:
    site.searcher.add("UNKNOWN", UNKNOWN)
    site.searcher.add("OTHER_TYPE", OTHER_TYPE)
    variables = site.inventory / "host_vars" / "talos-w1.yml"
    variables.parent.mkdir(exist_ok=True)
    variables.write_text(yaml.safe_dump({"node_patches": [patch]}))
    try:
        watch = site.watch()
    finally:
        variables.unlink()
    assert watch.run.rc != 0
    assert said in watch.run.output
    site.require_no_leak(watch)
