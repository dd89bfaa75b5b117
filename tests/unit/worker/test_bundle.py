# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent to a worker, from a folder and from a zip, on every Python there is."""

from __future__ import annotations

import ast
import json
import marshal
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.backends import crun
from ansible_collections.nexcage.backends.plugins.module_utils.worker import bundle
from ansible_collections.nexcage.backends.plugins.plugin_utils import delivery

LARGEST = 32 << 10  # bytes of source
UTILS = pathlib.Path(bundle.__file__).resolve().parent.parent
PARTS = pathlib.PurePath("ansible_collections/nexcage/backends/plugins/module_utils")


def undocumented(source: str) -> str:
    """The syntax tree with its docstrings emptied."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for statement in ast.iter_child_nodes(node):
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str):
                statement.value.value = ""  # also the description of an attribute
    return ast.dump(tree)


@pytest.mark.parametrize("path", sorted(UTILS.rglob("*.py")), ids=lambda path: str(path.relative_to(UTILS)))
def test_only_documentation_and_comments_are_left_out(path: pathlib.Path) -> None:
    source = path.read_text()
    short = bundle.slim(source)
    assert undocumented(short) == undocumented(source)
    assert short.count("\n") == source.count("\n")
    assert "Copyright" not in short


def test_it_is_small_enough() -> None:
    frame = bundle.program()
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    sources = marshal.loads(frame[4:])
    assert set(sources) == {"importer", *(bundle.BASE + name for name in bundle.PROGRAM)}
    confined = bundle.program(confined=True)
    assert set(marshal.loads(confined[4:])) == {*sources, bundle.BASE + bundle.CONFINED}
    assert len(confined) - len(frame) <= 5 << 10
    assert sum(map(len, sources.values())) <= LARGEST
    assert len(frame) <= LARGEST


def test_it_is_small_enough_with_what_goes_beyond_containers() -> None:
    assert list(bundle.extra()) == [bundle.BASE + bundle.EXTRA]
    assert len(bundle.program()) + sum(map(len, bundle.extra().values())) <= LARGEST


def test_the_worker_imports_nothing_heavy() -> None:
    """Each of these costs more than a millisecond of every worker's start."""
    for name in ("worker.importer", *bundle.PROGRAM):
        for node in ast.parse(bundle.source(name)).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert set(names) <= {"os", "sys", "errno", "struct", "ctypes", "resource", "_json", "marshal"}, name


def test_a_plugins_files() -> None:
    files = bundle.plugin_sources(crun)
    assert list(files) == ["plugin.py", "oci.py"]
    assert "MANIFEST" in files["plugin.py"]


def test_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError):
        bundle.source("worker.absent")
    monkeypatch.setattr(bundle.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError):
        bundle.source("worker.channel")


RUN = """
import json, sys
from ansible_collections.nexcage.backends.plugins.module_utils.worker import delivered
digest, data = sys.stdin.buffer.read(64).decode(), sys.stdin.buffer.read()
if data:
    sys.meta_path.insert(0, delivered.Code(digest, data))
from ansible_collections.nexcage.backends.plugins.module_utils.backends import crun
from ansible_collections.nexcage.backends.plugins.module_utils.worker import bundle
from ansible_collections.nexcage.backends.plugins.module_utils.worker.sandbox import PRELOADABLE, limits_of
from ansible_collections.nexcage.backends.plugins.module_utils.worker.spawn import Worker
with Worker() as worker:
    worker.start(limits_of(crun.MANIFEST["resource_requirements"]), PRELOADABLE)
    worker.load("crun-backend", bundle.plugin_sources(crun))
    value = worker.request("list", {"names": ["wäb"]}, lambda call, params: [call, params])
print(json.dumps([worker.sandbox.as_dict(), value, bundle.__file__]))
"""


def run(interpreter: str, path: pathlib.Path, user: int | None = None) -> tuple[dict[str, object], str]:
    """Load crun-backend in a worker with nothing but ``path`` to import from, and where that is a zip file what is delivered."""
    digest, data = delivery.code("/nexcage/no/such/folder") if path.suffix == ".zip" else ("", b"")
    command = [interpreter, "-B", "-c", RUN]
    done = subprocess.run(command, env={"PYTHONPATH": str(path)}, cwd="/", input=digest.encode() + data, capture_output=True, check=False, user=user)
    assert done.returncode == 0, done.stderr.decode()
    sandbox, value, place = json.loads(done.stdout)
    assert value == ["oci.list", {"names": ["wäb"]}]
    return sandbox, place


def pythons() -> list[str]:
    """Every Python from 3.9 on that is installed where Python usually is."""
    folders = [pathlib.Path("/usr/bin"), pathlib.Path("/usr/local/bin"), *pathlib.Path.home().glob(".pyenv/versions/*/bin")]
    found = {str(path.resolve()): path for folder in folders for path in sorted(folder.glob("python3.*"))}
    named = [path for path in found.values() if re.fullmatch(r"python3\.(9|\d\d)", path.name) and os.access(path, os.X_OK)]
    return sorted({path.name: str(path) for path in named}.values())


@pytest.fixture(scope="module")
def payload(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """What a module brings with it."""
    target = tmp_path_factory.mktemp("payload") / "payload.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in [PARTS / "worker", PARTS, *PARTS.parents][:-1]:
            archive.writestr(f"{folder}/__init__.py", "")
        archive.write(UTILS / "worker/delivered.py", str(PARTS / "worker/delivered.py"))
    target.parent.chmod(0o755)
    return target


@pytest.mark.requires("linux")
@pytest.mark.parametrize("interpreter", sorted({sys.executable, *pythons()}))
def test_it_runs_from_what_is_delivered(interpreter: str, payload: pathlib.Path) -> None:
    sandbox, place = run(interpreter, payload)
    assert sandbox["tier"] == "standard"
    assert place == "worker/bundle.py"


@pytest.mark.requires("linux")
def test_it_runs_from_an_installed_collection(tmp_path: pathlib.Path) -> None:
    shutil.copytree(UTILS, tmp_path / PARTS, ignore=shutil.ignore_patterns("__pycache__"))
    sandbox, place = run(sys.executable, tmp_path)
    assert sandbox["tier"] == "standard"
    assert place.startswith(str(tmp_path))


@pytest.mark.requires("root", "linux", "/usr/bin/python3")
def test_it_runs_for_an_ordinary_user(payload: pathlib.Path) -> None:
    target = pathlib.Path("/tmp") / f"nexcage-payload-{os.getpid()}.zip"
    target.write_bytes(payload.read_bytes())
    target.chmod(0o644)
    try:
        sandbox, _place = run("/usr/bin/python3", target, user=1234)
    finally:
        target.unlink()
    assert sandbox == {
        "tier": "standard",
        "layers": ["rlimits", "pdeathsig", "no_new_privs", "seccomp"],
        "missing": {"uid": "the module may not change its user"},
    }
