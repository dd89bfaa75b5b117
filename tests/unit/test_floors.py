# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The floors of the house: imports go down, never up and never in a circle, and no further than the standard library."""

from __future__ import annotations

import ast
import pathlib
import sys
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins"
COLLECTION = "ansible_collections.nexcage.backends."
UTILITIES = "plugins.module_utils."
FLOORS = {"model": 1, "sdk": 2, "worker": 3, "backends": 3, "broker": 4, "manager": 5}
FACE = 6
# What only a controller has, where the one file that imports it is used and nowhere else.
CONTROLLER = {"plugins.module_utils.manager.schema_check -> jsonschema"}

Imports = dict[str, set[str]]


def absolute(node: ast.ImportFrom, package: list[str]) -> str:
    """The dotted name that a ``from`` import starts from."""
    if not node.level:
        return node.module or ""
    base = package[: len(package) - node.level + 1]
    return ".".join(base + ([node.module] if node.module else []))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "t.TYPE_CHECKING", "typing.TYPE_CHECKING")


def walk(tree: ast.AST) -> t.Iterator[ast.AST]:
    """All nodes, but for those that only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if is_type_checking(node):
            continue
        yield node
        yield from walk(node)


def imported(source: str, package: list[str], known: t.Container[str]) -> set[str]:
    """Dotted names of all modules that a file imports, at its top or inside functions; ours begin with ``plugins.``."""
    found: set[str] = set()
    for node in walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, package)
            for alias in node.names:
                name = f"{base}.{alias.name}"
                short = name[len(COLLECTION) :] if name.startswith(COLLECTION) else name
                found.add(name if short in known else base)
    return {name[len(COLLECTION) :] if name.startswith(COLLECTION) else name for name in found}


def module_name(path: pathlib.Path) -> str:
    """``plugins.module_utils.model.errors``; a package is named like its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def all_imports() -> Imports:
    paths = {module_name(path): path for path in sorted(PLUGINS.rglob("*.py"))}
    return {
        name: imported(path.read_text(encoding="utf-8"), name.split(".") if path.name == "__init__.py" else name.split(".")[:-1], paths)
        for name, path in paths.items()
    }


def floor(name: str) -> int:
    """The floor of one of our modules; the collection's face is the highest."""
    return FLOORS[name.split(".")[2]] if name.startswith(UTILITIES) else FACE


def folder(name: str) -> str:
    return name.split(".")[2] if name.startswith(UTILITIES) else name.split(".")[1]


def ours(names: t.Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith("plugins.") and name != "plugins.module_utils"]


def upwards(imports: Imports) -> list[str]:
    return [f"{name} -> {target}" for name, targets in imports.items() for target in ours(targets) if floor(target) > floor(name)]


def trespassing(imports: Imports) -> list[str]:
    """Imports that a stricter rule than the floors forbids: backends see sdk alone, sdk sees model alone, model itself."""
    allowed = {"backends": {"backends", "sdk"}, "sdk": {"sdk", "model"}, "model": {"model"}, "worker": {"worker", "sdk", "model"}}
    return [
        f"{name} -> {target}"
        for name, targets in imports.items()
        for target in ours(targets)
        if folder(name) in allowed and folder(target) not in allowed[folder(name)]
    ]


def circles(imports: Imports) -> list[str]:
    """Modules that reach themselves."""
    found = []
    for start in imports:
        reached: set[str] = set()
        waiting = ours(imports[start])
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += ours(imports.get(name, ()))
        if start in reached:
            found.append(start)
    return found


def foreign(imports: Imports) -> list[str]:
    """What a managed host may not have: imports that are neither ours nor of the standard library.

    Only the face may also import what AnsiballZ itself brings along, and one file what a controller has.
    """
    found = []
    for name, targets in imports.items():
        if not name.startswith((UTILITIES, "plugins.modules.")):
            continue
        for target in targets:
            top = target.split(".")[0]
            brought = target.startswith("ansible.module_utils.") and name.startswith("plugins.modules.")
            if top != "plugins" and top not in sys.stdlib_module_names and not brought:
                found.append(f"{name} -> {target}")
    return [line for line in found if line not in CONTROLLER]


RULES = [upwards, trespassing, circles, foreign]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds(rule: t.Callable[[Imports], list[str]]) -> None:
    assert rule(all_imports()) == []


def test_every_folder_has_its_floor() -> None:
    folders = {path.name for path in (PLUGINS / "module_utils").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(FLOORS)


A, B = "plugins.module_utils.model.a", "plugins.module_utils.broker.b"


@pytest.mark.parametrize(
    ("rule", "imports"),
    [
        (upwards, {A: {B}, B: set()}),
        (trespassing, {"plugins.module_utils.backends.a": {A}}),
        (trespassing, {"plugins.module_utils.sdk.a": {"plugins.module_utils.worker.a"}}),
        (circles, {A: {"plugins.module_utils.model.c"}, "plugins.module_utils.model.c": {A}}),
        (foreign, {A: {"requests"}}),
        (foreign, {A: {"ansible.module_utils.basic"}}),
        (foreign, {"plugins.modules.a": {"yaml"}}),
        (foreign, {A: {"jsonschema"}}),
    ],
)
def test_rule_sees_what_it_forbids(rule: t.Callable[[Imports], list[str]], imports: Imports) -> None:
    assert rule(imports) != []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from ..model.errors import NexcageError", {"plugins.module_utils.model.errors"}),
        ("from ..model import errors", {"plugins.module_utils.model.errors"}),
        ("from . import b", {B}),
        ("def f():\n    import json, os.path", {"json", "os.path"}),
        (f"from {COLLECTION}plugins.module_utils.model.errors import NexcageError", {"plugins.module_utils.model.errors"}),
        ("if t.TYPE_CHECKING:\n    from ..manager import x", set()),
    ],
)
def test_imports_are_found(source: str, expected: set[str]) -> None:
    package = ["plugins", "module_utils", "broker"]
    assert imported(source, package, {B, "plugins.module_utils.model.errors"}) == expected
