# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m rehearsal.standin.talosctl``: the offline commands of talosctl that this project calls."""

from __future__ import annotations

import sys
import typing as t
from collections.abc import Sequence

from rehearsal.standin.errors import CommandError
from rehearsal.standin.flags import Flags, parse
from rehearsal.standin.release import Release, played_release

Command = t.Callable[[Flags, Release], None]
_GEN = {"force": "f:bool"}
_REMEDY = "take a real talosctl, which REHEARSAL_TALOSCTL names to 'rehearsal up'"


def _gen_secrets(flags: Flags, release: Release) -> None:
    from rehearsal.standin import generation

    generation.gen_secrets(flags, release)


def _gen_config(flags: Flags, release: Release) -> None:
    from rehearsal.standin import generation

    generation.gen_config(flags, release)


def _patch(flags: Flags, release: Release) -> None:
    from rehearsal.standin import patches
    from rehearsal.standin.decode import Decoder
    from rehearsal.standin.encode import encode
    from rehearsal.standin.files import read_text, write_text

    text, decoder = read_text(flags.arguments[0]), Decoder(release)
    loaded = patches.load(flags.many("patch"), decoder)
    if loaded:
        text = encode(patches.apply_to_text(text, loaded, decoder), decoder.known)
    if flags.one("output"):
        write_text(flags.one("output"), text, 0o644)
    else:
        print(text)


def _validate(flags: Flags, release: Release) -> None:
    from rehearsal.standin.decode import Decoder
    from rehearsal.standin.files import read_text
    from rehearsal.standin.validation import MODES, validate

    path, mode = flags.one("config"), flags.one("mode")
    if not flags.is_given("mode"):
        raise CommandError('required flag(s) "mode" not set')
    decoder = Decoder(release)
    documents = decoder.configuration(read_text(path))
    if mode not in MODES:
        raise CommandError(f'unknown runtime mode: "{mode}"')
    warnings, error = validate(documents, release, mode, flags.is_on("strict"))
    for warning in warnings:
        print(f"WARNING: {warning}", file=sys.stderr)
    if error:
        raise CommandError(error)
    print(f"{path} is valid for {mode} mode")


def _version(flags: Flags, release: Release) -> None:
    if not flags.is_on("client"):
        raise CommandError(f"this stand-in knows no nodes: ask for version --client, or {_REMEDY}")
    if flags.is_on("short"):
        print(f"Client:\nTalos {release.tag}")
        return
    print(f"Client:\n\tTag:         {release.tag}\n\tSHA:         stand-in\n\tBuilt:       ")
    print("\tGo version:  stand-in\n\tOS/Arch:     linux/amd64")


# Per command: the function, the flags ("short name:kind"), the number of arguments.
_COMMANDS: dict[tuple[str, ...], tuple[Command, dict[str, str], int]] = {
    ("gen", "secrets"): (
        _gen_secrets,
        {**_GEN, "output-file": "o:text", "talos-version": ":text", "from-controlplane-config": ":text"},
        0,
    ),
    ("gen", "config"): (
        _gen_config,
        {
            **_GEN,
            "with-secrets": ":text",
            "with-docs": ":bool",
            "with-examples": ":bool",
            "with-cluster-discovery": ":bool",
            "with-kubespan": ":bool",
            "talos-version": ":text",
            "kubernetes-version": ":text",
            "output-types": "t:list",
            "output": "o:text",
            "config-patch": ":text",
            "config-patch-control-plane": ":text",
            "config-patch-worker": ":text",
            "install-disk": ":text",
            "install-image": ":text",
            "additional-sans": ":list",
            "registry-mirror": ":list",
            "dns-domain": ":text",
            "version": ":text",
        },
        2,
    ),
    ("machineconfig", "patch"): (_patch, {"patch": "p:text", "output": "o:text"}, 1),
    ("validate",): (_validate, {"config": "c:text", "mode": "m:text", "strict": ":bool"}, 0),
    ("version",): (_version, {"client": ":bool", "short": ":bool"}, 0),
}
_ALIASES = {"mc": "machineconfig"}


def main(arguments: Sequence[str]) -> int:
    try:
        _run(list(arguments))
    except CommandError as error:
        print(error, file=sys.stderr)
        return error.code
    return 0


def _run(arguments: list[str]) -> None:
    arguments[:1] = [_ALIASES.get(first, first) for first in arguments[:1]]
    if arguments[:2] == ["machineconfig", "gen"]:
        arguments[:2] = ["gen", "config"]
    for length in (2, 1):
        words = tuple(arguments[:length])
        if words in _COMMANDS:
            command, known, count = _COMMANDS[words]
            flags = parse(arguments[length:], known)
            if flags.arguments and not count:
                raise CommandError(f'unknown command "{flags.arguments[0]}" for "talosctl {" ".join(words)}"')
            if len(flags.arguments) != count:
                raise CommandError(f"accepts {count} arg(s), received {len(flags.arguments)}")
            command(flags, played_release())
            return
    commands = ", ".join(" ".join(words) for words in _COMMANDS)
    raise CommandError(f"this stand-in for talosctl does only {commands}: for the rest {_REMEDY}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
