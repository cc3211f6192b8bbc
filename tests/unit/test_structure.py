# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold for the source of plugins/ as a whole."""

from __future__ import annotations

import ast
import importlib
import typing as t
from pathlib import Path

from ansible_collections.homelab.talos.plugins.module_utils._errors import TalosError

PLUGINS = Path(__file__).parents[2] / "plugins"
PACKAGE = "ansible_collections.homelab.talos.plugins"
# The edge towards Ansible, where options become objects and errors become failures.
EDGE = {
    "_argocd_module",
    "_card_module",
    "_host_module",
    "_module",
    "_tool_module",
}


def trees(*folders: str) -> t.Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for path in sorted((PLUGINS / folder).glob("*.py")):
            yield path, ast.parse(path.read_text())


def imports(tree: ast.Module) -> t.Iterator[str]:
    """The modules that are imported, if only for their types not; of this collection's own, the last name."""
    for node in ast.walk(_Running().visit(tree)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield from ([node.module] if node.module else [each.name for each in node.names])
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


class _Running(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        return node.orelse if ast.unparse(node.test) == "t.TYPE_CHECKING" else node


def test_only_the_edge_of_module_utils_knows_ansible() -> None:
    graph = {path.stem: set(imports(tree)) for path, tree in trees("module_utils")}
    assert graph.keys() >= EDGE
    direct = {name for name, used in graph.items() if any(each.split(".")[0] == "ansible" for each in used)}
    through = {name for name, used in graph.items() if used & EDGE}
    assert direct | through <= EDGE


def test_every_error_has_a_remedy() -> None:
    """By its class, or by everyone who makes one."""
    lacking, without = [], set()
    for path, tree in trees("module_utils", "modules", "plugin_utils"):
        module = importlib.import_module(f"{PACKAGE}.{path.parent.name}.{path.stem}")
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        for call in calls:
            kind = getattr(module, t.cast("ast.Name", call.func).id, None)
            if not (isinstance(kind, type) and issubclass(kind, TalosError) and not kind.remedy):
                continue
            without.add(kind)
            if "remedy" not in {keyword.arg for keyword in call.keywords}:
                lacking.append(f"{path.name}:{call.lineno}: {kind.__name__}")
    assert TalosError in without
    assert lacking == []


def test_foreign_yaml_is_loaded_in_one_way() -> None:
    """PyYAML's own safe loader raises any error at a date that is none, or makes one of a text."""
    for path, tree in trees("module_utils", "modules", "plugin_utils", "action"):
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not names & {"safe_load", "safe_load_all", "full_load", "unsafe_load"}, path.name
