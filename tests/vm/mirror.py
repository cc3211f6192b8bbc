# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the VM of `make test-vm` downloads: ``mirror.py PROJECT FOLDER ADDRESS PORT``.

FOLDER gets made-up tools where their publishers would have them, and the wheels of the modules' Python environment as a
package index. PROJECT, a copy, gets the lock of these tools. Then both are served at ADDRESS, and the time beside them.
"""

from __future__ import annotations

import functools
import io
import socketserver
import struct
import subprocess
import sys
import threading
import time
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

from ansible_collections.homelab.talos.plugins.module_utils._tool_lock import parse_lock, render
from ansible_collections.homelab.talos.plugins.module_utils._tool_table import parse_table
from rehearsal import ROOT
from tests.tool_mirror import archive, binary, sha256

# Of Debian 12, which the box is made of.
PYTHON = "3.11"

# Forwards a port of the address it is told, as kubectl does, to a server that stands for the one in the cluster.
KUBECTL = """\
#!/bin/sh
case " $* " in
*" port-forward "*) for last; do :; done; exec python3 -m http.server --bind "$5" --directory /etc "${last%%:*}" ;;
esac
case $1 in completion) echo "# $2 completion of kubectl {version}";; *) echo "kubectl {version}";; esac
"""

# The stand-in of the rehearsal in one file; Python compiles it once.
TALOSCTL = """\
#!/bin/sh
case $1 in completion) echo "# $2 completion of talosctl {version}"; exit ;; esac
code=/var/tmp/talosctl-{version}-$(id -u) python=/opt/homelab-talos/venv/bin/python
if ! [ -d "$code" ]; then
    new=$(mktemp -d "$code.XXXXXX")
    $python -m zipfile --extract "$0" "$new" && mv -T "$new" "$code" || rm -rf "$new"
fi
STANDIN_TALOSCTL_VERSION={version} PYTHONPATH=$code exec $python -m rehearsal.standin.talosctl "$@"
exit
"""


def stand_in(version: str) -> bytes:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted([ROOT / "rehearsal" / "__init__.py", *(ROOT / "rehearsal" / "standin").glob("[!.]*.*")]):
            file.write(path, path.relative_to(ROOT))
    return TALOSCTL.replace("{version}", version).encode() + code.getvalue()


def made_up(name: str, version: str) -> bytes:
    if name == "talosctl":
        return stand_in(version)
    return KUBECTL.replace("{version}", version).encode() if name == "kubectl" else binary(name, version)


def write_tools(project: Path, folder: Path) -> None:
    """Every version in the project's lock, and the lock for what is here."""
    files = project / "roles" / "tool" / "files"
    table = parse_table(yaml.safe_load((files / "tools.yml").read_text()), "table")
    lock = parse_lock(yaml.safe_load((files / "tools.lock.yml").read_text()), "lock")
    for key in lock:
        tool = table[key.tool]
        content = made_up(key.tool, key.version)
        if tool.member:
            content = archive({tool.member_for(key.version, key.arch): content})
        path = folder / tool.url_for(key.version, key.arch).partition("://")[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        lock[key] = sha256(content)
    (files / "tools.lock.yml").write_text(render(lock))


def write_index(project: Path, folder: Path) -> None:
    """The wheels of the locked requirements, for the VM's Python, as folders that pip reads."""
    wheels = folder / "wheels"
    platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in range(17, 37)]
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--require-hashes"),
            *("--implementation=cp", f"--python-version={PYTHON}", *platforms, "--platform=manylinux2014_x86_64"),
            *("--dest", wheels, "--requirement", project / "requirements" / "runtime.txt"),
        ],
        check=True,
    )
    for wheel in wheels.iterdir():
        name = wheel.name.partition("-")[0].lower().replace("_", "-")
        place = folder / "simple" / name
        place.mkdir(parents=True, exist_ok=True)
        wheel.rename(place / wheel.name)


class Time(socketserver.BaseRequestHandler):
    """SNTP, as RFC 4330 has it: the request's own time, and ours three times."""

    EPOCH = 2_208_988_800

    def handle(self) -> None:
        request, socket = self.request
        now = time.time() + self.EPOCH
        stamp = struct.pack("!II", int(now), int(now % 1 * 2**32))
        # No leap second, version 4, a server; first stratum, polled each 64 s, known to a microsecond.
        head = struct.pack("!BBbb II4s", 0x24, 1, 6, -20, 0, 0, b"LOCL")
        socket.sendto(head + stamp + request[40:48] + stamp + stamp, self.client_address)


class Files(SimpleHTTPRequestHandler):
    """Files and folders, without a line for each request."""

    def log_message(self, *_: object) -> None:
        pass


def main(project: str, folder: str, address: str, port: str) -> None:
    write_tools(Path(project), Path(folder))
    write_index(Path(project), Path(folder))
    clock = socketserver.ThreadingUDPServer((address, 123), Time)
    threading.Thread(target=clock.serve_forever, daemon=True).start()
    web = ThreadingHTTPServer((address, int(port)), functools.partial(Files, directory=folder))
    print("serving", flush=True)
    web.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
