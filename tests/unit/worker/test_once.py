# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules out of a zip file are compiled once on a host, found where they are, and only ours are found."""

from __future__ import annotations

import json
import marshal
import os
import pathlib
import subprocess
import sys
import typing as t
import zipfile

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import compiled
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.worker import bundle, once

PACKAGE = "ansible_collections/nexcage/backends/plugins/module_utils/"
# Counts what the interpreter compiles; builtins.compile is what zipimport calls.
PROGRAM = """
import builtins, json, os, sys
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
if sys.argv[3:] == ["keep"]:
    from ansible_collections.nexcage.backends.plugins.module_utils.broker import compiled as keeper
    from ansible_collections.nexcage.backends.plugins.module_utils.worker import bundle, once
    parts = [bundle._part(name) for name in bundle.PROGRAM]
    keeper.keep(os.path.dirname(once.folder(os.environ)))
else:
    parts = []
print(json.dumps({
    "finders": sum(isinstance(finder, Finder) for finder in sys.meta_path),
    "compiled": compiled.count("model/errors.py"),
    "parts": sorted({type(part).__name__ for part in parts}),
    "file": errors.__file__,
    "path": list(model.__path__),
    "code": errors.NexcageError("E_LIMIT", "x").code,
    "missing": __import__("importlib.util").util.find_spec(model.__name__ + ".nothing") is None,
}))
"""


@pytest.fixture
def archive(tmp_path: pathlib.Path) -> pathlib.Path:
    """A zip file as Ansible makes it, with our modules."""
    path = tmp_path / "payload.zip"
    source = pathlib.Path(once.__file__).parent.parent
    with zipfile.ZipFile(path, "w") as archive:
        parts = PACKAGE.rstrip("/").split("/")
        for depth in range(1, len(parts) + 1):
            archive.writestr("/".join(parts[:depth]) + "/__init__.py", "")
        for file in sorted(source.rglob("*.py")):
            archive.writestr(PACKAGE + str(file.relative_to(source)), file.read_text(), zipfile.ZIP_DEFLATED)
        archive.writestr("other/__init__.py", "")
        archive.writestr("other/thing.py", "")
    return path


def run(archive: pathlib.Path, *switches: str) -> dict[str, t.Any]:
    """In a process whose cache folder lies beside the archive."""
    home = {"XDG_CACHE_HOME": f"{archive}.home"} if os.geteuid() else {"NEXCAGE_ROOT": f"{archive}.root"}
    command = [sys.executable, "-S", "-B", "-c", PROGRAM, str(archive), *switches]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=home)
    answer: dict[str, t.Any] = json.loads(ended.stdout)
    return answer


def place(archive: pathlib.Path) -> pathlib.Path:
    """The cache folder of :func:`run`."""
    return pathlib.Path(f"{archive}.root/var/cache/nexcage" if os.geteuid() == 0 else f"{archive}.home/nexcage")


def test_each_module_is_compiled_once(archive: pathlib.Path) -> None:
    found = run(archive, "yes")
    folder = f"{archive}/{PACKAGE}model"
    expected = {"finders": 1, "compiled": 1, "file": folder + "/errors.py", "path": [folder], "code": "E_LIMIT", "missing": True, "parts": []}
    assert found == expected


def test_without_it_the_modules_are_the_same(archive: pathlib.Path) -> None:
    plain, ours = run(archive, "no"), run(archive, "yes")
    assert (plain["file"], plain["path"], plain["code"], plain["finders"]) == (ours["file"], ours["path"], ours["code"], 0)


def test_an_installed_collection_is_left_to_python() -> None:
    before = list(sys.meta_path)
    once.compile_once()
    assert sys.meta_path == before


def test_the_finder_knows_its_own(archive: pathlib.Path) -> None:
    finder = once.Finder({})
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


def keep(archive: pathlib.Path) -> pathlib.Path:
    """Let a process keep what it compiled; the file."""
    assert run(archive, "yes", "keep")["compiled"] == 1
    (file,) = (place(archive) / "code").iterdir()
    return file


def test_what_was_kept_is_not_compiled_again(archive: pathlib.Path) -> None:
    first = run(archive, "yes", "keep")
    second = run(archive, "yes", "keep")
    assert (first["compiled"], first["parts"]) == (1, ["str"])
    assert (second["compiled"], second["parts"]) == (0, ["bytes"])
    assert {**second, "compiled": 1, "parts": ["str"]} == first


def test_only_its_owner_can_read_it(archive: pathlib.Path) -> None:
    file = keep(archive)
    assert [path.stat().st_mode & 0o777 for path in (file.parent.parent, file.parent, file)] == [0o700, 0o700, 0o600]


def test_a_process_that_does_not_keep_writes_nothing(archive: pathlib.Path) -> None:
    run(archive, "yes")
    assert not place(archive).exists()


def test_another_source_is_compiled(archive: pathlib.Path) -> None:
    keep(archive)
    with zipfile.ZipFile(archive) as old:
        files = {name: old.read(name) for name in old.namelist()}
    errors = PACKAGE + "model/errors.py"
    files[errors] += b"# changed"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in files.items():
            new.writestr(name, data)
    assert run(archive, "yes")["compiled"] == 1


def cut_short(file: pathlib.Path) -> None:
    os.truncate(file, 1000)


def change_one_byte(file: pathlib.Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def empty(file: pathlib.Path) -> None:
    file.write_bytes(b"")


def let_others_write_the_file(file: pathlib.Path) -> None:
    file.chmod(0o620)


def let_others_write_the_folder(file: pathlib.Path) -> None:
    file.parent.chmod(0o702)


def link_the_file(file: pathlib.Path) -> None:
    file.rename(file.parent / "elsewhere")
    file.symlink_to("elsewhere")


def link_the_folder(file: pathlib.Path) -> None:
    file.parent.rename(file.parent.parent / "elsewhere")
    file.parent.symlink_to("elsewhere")


def put_a_pipe_there(file: pathlib.Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


@pytest.mark.parametrize(
    "harm",
    [cut_short, change_one_byte, empty, let_others_write_the_file, let_others_write_the_folder, link_the_file, link_the_folder, put_a_pipe_there],
)
def test_what_cannot_be_trusted_is_not_read(archive: pathlib.Path, harm: t.Callable[[pathlib.Path], None]) -> None:
    harm(keep(archive))
    assert run(archive, "yes")["compiled"] == 1


@pytest.mark.requires("root")
@pytest.mark.parametrize("which", ["file", "folder"])
def test_what_belongs_to_somebody_else_is_not_read(archive: pathlib.Path, which: str) -> None:
    file = keep(archive)
    os.chown(file if which == "file" else file.parent, 65534, -1)
    assert run(archive, "yes")["compiled"] == 1


def let_others_exchange_it(folder: pathlib.Path) -> None:
    folder.chmod(0o777)


def give_it_away(folder: pathlib.Path) -> None:
    os.chown(folder, 65534, -1)


def lead_elsewhere(folder: pathlib.Path) -> None:
    """A link that somebody else made, to what is our own."""
    folder.rename(folder.parent / "ours")
    folder.symlink_to("ours")
    os.chown(folder, 65534, -1, follow_symlinks=False)


@pytest.mark.requires("root")
@pytest.mark.parametrize("harm", [let_others_exchange_it, give_it_away, lead_elsewhere])
@pytest.mark.parametrize("depth", [0, 2])
def test_what_others_can_exchange_is_not_read(archive: pathlib.Path, harm: t.Callable[[pathlib.Path], None], depth: int) -> None:
    keep(archive)
    harm([place(archive), *place(archive).parents][depth])
    assert run(archive, "yes")["compiled"] == 1


def test_links_and_shared_folders_of_the_system_are_no_obstacle(archive: pathlib.Path) -> None:
    keep(archive)
    above = place(archive).parent
    above.rename(above.parent / "elsewhere")
    (above.parent / "elsewhere").chmod(0o1777)  # as /tmp
    above.symlink_to("elsewhere")
    assert run(archive, "yes")["compiled"] == 0


def test_a_cache_relative_to_the_working_folder_is_not_read(archive: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(archive)
    assert once.read(str(place(archive) / "code"))
    monkeypatch.chdir(place(archive))
    assert once.read("code") == {}


@pytest.mark.parametrize("environment", [{}, {"NEXCAGE_ROOT": "/elsewhere/"}, {"HOME": "/home/me"}, {"HOME": "/", "XDG_CACHE_HOME": "/cache"}])
@pytest.mark.parametrize("uid", [0, 1000])
def test_it_lies_in_the_cache_of_the_layout(environment: dict[str, str], uid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert once.folder(environment) == Layout.for_user(uid, environment).cache + "/code"


@pytest.fixture
def finder(archive: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> once.Finder:
    """The finder of this process, as if it had compiled something."""
    found = once.Finder({b"old": b"x" * 100})
    found.compiled[b"new"] = marshal.dumps(compile("1", "new", "eval"))
    monkeypatch.setattr(once, "finder", lambda: found)
    return found


def test_what_this_run_did_not_use_is_forgotten_first(finder: once.Finder, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finder.kept[b"used"] = b"y" * 100
    finder.used.add(b"used")
    folder = tmp_path / "cache"
    compiled.keep(str(folder))
    assert set(once.read(str(folder / "code"))) == {b"old", b"used", b"new"}
    monkeypatch.setattr(compiled, "LIMIT", 150)
    compiled.keep(str(folder))
    assert set(once.read(str(folder / "code"))) == {b"used", b"new"}


def test_what_a_killed_run_left_goes(finder: once.Finder, tmp_path: pathlib.Path) -> None:
    compiled.keep(str(tmp_path / "cache"))
    folder = tmp_path / "cache/code"
    for name, age in (("a.tmp", 7200), ("b.tmp", 60)):
        (folder / name).write_bytes(b"")
        os.utime(folder / name, (0, (folder / name).stat().st_mtime - age))
    compiled.keep(str(tmp_path / "cache"))
    assert {path.name for path in folder.iterdir()} == {"b.tmp", once.file_name()}


def test_a_run_without_it_keeps_nothing(tmp_path: pathlib.Path) -> None:
    compiled.keep(str(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_what_cannot_be_written_is_let_be(finder: once.Finder, tmp_path: pathlib.Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file")
    compiled.keep(str(tmp_path / "cache"))
    assert (tmp_path / "cache").read_bytes() == b"a file"


@pytest.mark.parametrize("error", [MemoryError(), FileNotFoundError("payload.zip"), ImportError("payload.zip")])
def test_what_cannot_be_compiled_is_let_be(finder: once.Finder, tmp_path: pathlib.Path, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise error

    monkeypatch.setattr(bundle, "compile_all", refuse)
    compiled.keep(str(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_another_python_gets_source() -> None:
    sources = marshal.loads(bundle.program(portable=True)[4:])
    assert {type(source) for source in sources.values()} == {str}


@pytest.mark.parametrize(("executable", "found"), [(sys.executable, True), ("/bin/sh", False), ("/nexcage/no/such/python", False)])
def test_code_for_a_worker_is_for_this_python(archive: pathlib.Path, executable: str, found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    finder = once.Finder({})
    package = once.COLLECTION + "plugins.module_utils.model"
    spec = finder.find_spec(package + ".errors", [f"{archive}/{PACKAGE}model"])
    assert spec is not None and isinstance(spec.loader, once.Loader)
    spec.loader.get_code(spec.name)
    finder.kept = finder.compiled
    monkeypatch.setattr(sys, "executable", executable)
    assert (spec.loader.kept_code(spec.name) is not None) is found
