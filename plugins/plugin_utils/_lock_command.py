# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refresh the lock of tools from the publishers' checksum files: `make lock`.

    make lock                                   ask again for all that is locked, and for what the table names
    make lock ARGS='talosctl=1.14.3 helm=4.3.1'                 these versions only
    make lock LOCK=inventory/mine/tools.lock.yml ARGS='...'     into the lock of an inventory

Without the Makefile: python -m ansible_collections.homelab.talos.plugins.plugin_utils._lock_command.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..module_utils._download import Fetcher, Network, NotThere
from ..module_utils._errors import TalosError
from ..module_utils._tool_lock import FILE_NAME, Key, Lock, Refreshed, joined, parse_lock, refresh, render
from ..module_utils._tool_table import ARCHITECTURES, NotPublished, Tool, is_version, parse_table
from ..module_utils._yaml import load, yaml

_FILES = Path(__file__).resolve().parents[2] / "roles" / "tool" / "files"
_TABLE = _FILES / "tools.yml"
_SHIPPED = _FILES / FILE_NAME


class BadRequest(TalosError):
    """The command line cannot be followed."""


def main(argv: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(argv)
    try:
        return _run(given)
    except TalosError as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
    except yaml.YAMLError as error:
        print(error, file=sys.stderr)
    return 1


def _run(given: argparse.Namespace) -> int:
    table = parse_table(_load(_TABLE), str(_TABLE))
    if given.table:
        table |= parse_table((_load(given.table) or {}).get("tool_table") or {}, str(given.table))
    locks = {str(_SHIPPED): parse_lock(_load(_SHIPPED), str(_SHIPPED))}
    own = parse_lock(_load(given.lock), str(given.lock)) if given.lock.exists() else {}
    if not (given.lock.exists() and given.lock.samefile(_SHIPPED)):
        locks[str(given.lock)] = own
    wanted = _asked(given.tools, table) if given.tools else _all(own, table)

    network = Network("tool_", mirror=given.mirror, proxy=given.proxy, ca_file=given.ca_file, timeout=given.timeout)
    if given.mirror:
        print(f"asking {given.mirror} instead of the publishers")
    found = refresh(joined(locks), table, wanted, _fetch_with(Fetcher(network)))
    new = {**own, **{key: found.lock[key] for key in found.added}}
    if new != own:
        _write(given.lock, render(new))
    return _report(given.lock, found, required=bool(given.tools))


def _asked(words: Iterable[str], table: Mapping[str, Tool]) -> list[Key]:
    keys = []
    for word in words:
        name, version = (*word.split("=", 1), "")[:2]
        if name not in table or not is_version(version):
            raise BadRequest(
                f"{word} is not understood",
                remedy=f"Say TOOL=VERSION, as helm=4.3.0, with a tool of {', '.join(table)}",
            )
        keys += [Key(name, version, arch) for arch in ARCHITECTURES]
    return keys


def _all(lock: Lock, table: Mapping[str, Tool]) -> list[Key]:
    """What is locked, and what the table names, for both architectures; what is in no table cannot be asked for."""
    versions = {(key.tool, key.version): None for key in lock if key.tool in table}
    versions.update({(tool.name, tool.version): None for tool in table.values() if tool.version})
    return [Key(tool, version, arch) for tool, version in versions for arch in ARCHITECTURES]


def _fetch_with(fetcher: Fetcher) -> t.Callable[[str], str]:
    def fetch(url: str) -> str:
        try:
            return fetcher.text(url)
        except NotThere as error:
            raise NotPublished(error.cause) from error

    return fetch


def _report(path: Path, found: Refreshed, *, required: bool) -> int:
    for key in found.added:
        print(f"added: {key} {found.lock[key]}")
    for key, cause in found.missing.items():
        print(f"{'locked, and no longer' if key in found.lock else 'not'} published: {key}: {cause}")
    counts = f"{len(found.added)} added, {len(found.confirmed)} confirmed, {len(found.missing)} not published"
    print(f"{path}: {counts}")
    if required and found.missing and not (found.added or found.confirmed):
        print("Nothing of what was asked for is published.", file=sys.stderr)
        return 1
    return 0


def _load(path: Path) -> t.Any:
    return load(path.read_text(encoding="utf-8"))


def _write(path: Path, text: str) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(descriptor, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make lock", description="Refresh the lock of tools from the publishers' checksum files."
    )
    parser.add_argument("tools", nargs="*", metavar="TOOL=VERSION", help="these only; default: all that is locked")
    parser.add_argument("--lock", type=Path, default=_SHIPPED, help="the lock to write; default: the collection's")
    parser.add_argument("--table", type=Path, help="a YAML file with more tools as its tool_table")
    parser.add_argument("--mirror", default="", help="URL to ask instead of the publishers, laid out as tool_mirror")
    parser.add_argument("--proxy", default="", help="URL of a proxy; default: the environment's")
    parser.add_argument("--ca-file", default="", help="PEM file with authorities to trust beside the system's")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds without an answer")
    return parser


if __name__ == "__main__":
    sys.exit(main())
