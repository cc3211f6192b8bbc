# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``project create`` and ``project list``."""

from __future__ import annotations

import yaml

from rehearsal.standin.autopilot import manifests, messages
from rehearsal.standin.autopilot.options import pairs, source
from rehearsal.standin.autopilot.repository import Clone
from rehearsal.standin.errors import CommandError
from rehearsal.standin.flags import Flags

_SERVER = "argocd-autopilot.argoproj-labs.io/default-dest-server"


def create(flags: Flags) -> None:
    if not flags.arguments:
        raise CommandError("must enter project name")
    name, where = flags.arguments[0], source(flags)
    with Clone(where) as clone:
        _prepare(clone, writes=True)
        argo_cd = yaml.safe_load((clone.root / "bootstrap" / "argo-cd.yaml").read_text())
        namespace = argo_cd["spec"]["destination"]["namespace"]
        path = clone.root / "projects" / f"{name}.yaml"
        if path.exists():
            raise CommandError(f"project '{name}' already exists")
        server = flags.one("dest-server") or manifests.IN_CLUSTER
        labels, annotations = pairs(flags.many("labels")), pairs(flags.many("annotations"))
        text = manifests.joined(
            manifests.project(name, namespace, server),
            manifests.project_applications(name, namespace, where, labels, annotations),
        )
        if flags.is_on("dry-run"):
            messages.info(text)
            return
        path.write_text(text, encoding="utf-8")
        messages.info("pushing new project manifest to repo")
        clone.push(f"Added project '{name}'")
    messages.info(f"project created: '{name}'")


def show(flags: Flags) -> None:
    with Clone(source(flags)) as clone:
        _prepare(clone, writes=False)
        rows = [("NAME", "NAMESPACE", "DEFAULT CLUSTER")]
        for path in sorted((clone.root / "projects").glob("*.yaml")):
            metadata = next(iter(yaml.safe_load_all(path.read_text())))["metadata"]
            rows.append((metadata["name"], metadata["namespace"], metadata["annotations"].get(_SERVER, "")))
    widths = [max(len(row[column]) for row in rows) + 2 for column in range(2)]
    # The real one's table ends its first line with a tab, and no other.
    for number, (name, namespace, server) in enumerate(rows):
        print(f"{name:<{widths[0]}}{namespace:<{widths[1]}}{server}" + ("  " if number == 0 else ""))


def _prepare(clone: Clone, *, writes: bool) -> None:
    where = clone.source
    messages.info(f"cloning git repository: {where.url}")
    try:
        clone.fetch(writes=writes)
    except CommandError as problem:
        raise CommandError(f"failed cloning the repository: {problem}") from None
    messages.info(f'using revision: "{where.revision}", installation path: "/{where.path}"')
    if not (clone.root / "bootstrap").exists():
        raise CommandError("bootstrap directory not found, please execute `repo bootstrap` command")
