# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules out of a zip file are compiled once, found where they are, and only ours are found."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import zipfile

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.worker import once

PACKAGE = "ansible_collections/nexcage/backends/plugins/module_utils/"
# Counts what the interpreter compiles; builtins.compile is what zipimport calls.
PROGRAM = """
import builtins, json, sys
sys.path.insert(0, sys.argv[1])
compiled, original = [], builtins.compile
def compile(source, filename, *rest, **more):
    compiled.append(filename.rpartition("module_utils/")[2])
    return original(source, filename, *rest, **more)
builtins.compile = compile
import zipimport
zipimport.compile = compile
from ansible_collections.nexcage.backends.plugins.module_utils.worker.once import compile_once, Finder
if sys.argv[2] == "yes":
    compile_once()
    compile_once()
from ansible_collections.nexcage.backends.plugins.module_utils.model import errors
import ansible_collections.nexcage.backends.plugins.module_utils.model as model
import other.thing
print(json.dumps({
    "finders": sum(isinstance(finder, Finder) for finder in sys.meta_path),
    "compiled": compiled.count("model/errors.py"),
    "file": errors.__file__,
    "path": list(model.__path__),
    "code": errors.NexcageError("E_LIMIT", "x").code,
    "missing": __import__("importlib.util").util.find_spec(model.__name__ + ".nothing") is None,
}))
"""


@pytest.fixture
def archive(tmp_path: pathlib.Path) -> pathlib.Path:
    """A zip file as Ansible makes it, with some of our modules."""
    path = tmp_path / "payload.zip"
    source = pathlib.Path(once.__file__).parent.parent
    with zipfile.ZipFile(path, "w") as archive:
        parts = PACKAGE.rstrip("/").split("/")
        for depth in range(1, len(parts) + 1):
            archive.writestr("/".join(parts[:depth]) + "/__init__.py", "")
        for name in ("worker/__init__.py", "worker/once.py", "model/__init__.py", "model/errors.py"):
            archive.writestr(PACKAGE + name, (source / name).read_text())
        archive.writestr("other/__init__.py", "")
        archive.writestr("other/thing.py", "")
    return path


def run(archive: pathlib.Path, switch: str) -> dict[str, object]:
    ended = subprocess.run([sys.executable, "-I", "-S", "-B", "-c", PROGRAM, str(archive), switch], capture_output=True, text=True, check=True)
    answer: dict[str, object] = json.loads(ended.stdout)
    return answer


def test_each_module_is_compiled_once(archive: pathlib.Path) -> None:
    found = run(archive, "yes")
    folder = f"{archive}/{PACKAGE}model"
    expected = {"finders": 1, "compiled": 1, "file": folder + "/errors.py", "path": [folder], "code": "E_LIMIT", "missing": True}
    assert found == expected


def test_without_it_the_modules_are_the_same(archive: pathlib.Path) -> None:
    plain, ours = run(archive, "no"), run(archive, "yes")
    assert (plain["file"], plain["path"], plain["code"], plain["finders"]) == (ours["file"], ours["path"], ours["code"], 0)


def test_an_installed_collection_is_left_to_python() -> None:
    before = list(sys.meta_path)
    once.compile_once()
    assert sys.meta_path == before


def test_the_finder_knows_its_own(archive: pathlib.Path) -> None:
    finder = once.Finder()
    package = once.COLLECTION + "plugins.module_utils.model"
    folder = f"{archive}/{PACKAGE.rstrip('/')}"
    spec = finder.find_spec(package, [str(archive.parent), folder])
    assert spec is not None and spec.submodule_search_locations == [folder + "/model"]
    module = finder.find_spec(package + ".errors", [folder + "/model"])
    assert module is not None and module.origin == folder + "/model/errors.py" and module.submodule_search_locations is None
    assert finder.find_spec(package + ".nothing", [folder + "/model"]) is None
    assert finder.find_spec("other.thing", [str(archive) + "/other"]) is None
    assert finder.find_spec(package) is None


def test_only_a_module_out_of_a_zip_file_begins(archive: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zipimport

    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(once, "__loader__", zipimport.zipimporter(str(archive)), raising=False)
    once.compile_once()
    once.compile_once()
    assert [isinstance(finder, once.Finder) for finder in sys.meta_path].count(True) == 1
