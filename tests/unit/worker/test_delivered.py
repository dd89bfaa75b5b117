# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Code that is delivered to a host: asked for where it lacks, kept, found again, and only where nobody else could have changed it."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import subprocess
import sys
import typing as t
import zipfile

import pytest
from ansible.module_utils import basic
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.worker import bundle, delivered
from ansible_collections.nexcage.backends.plugins.plugin_utils import delivery

PACKAGE = "ansible_collections/nexcage/backends/plugins/module_utils/"
DIGEST, DATA = delivery.code("/nexcage/no/such/folder")
SENT = base64.b64encode(DATA).decode()
SITE = pathlib.Path(basic.__file__).parents[2]
# A module as Ansible runs it: of the collection it has one file. Counts what the interpreter compiles.
PROGRAM = """
import builtins, json, os, sys
sys.path[:0] = sys.argv[1:3]
parameters = json.load(sys.stdin)
compiled, original = [], builtins.compile
def compile(source, filename, *rest, **more):
    compiled.append(filename)
    return original(source, filename, *rest, **more)
builtins.compile = compile
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.nexcage.backends.plugins.module_utils.worker import delivered
with patch_module_args(parameters):
    delivered.begin(AnsibleModule)
    delivered.begin(AnsibleModule)
    errors = delivered.part("model.errors")
    bundle = delivered.part("worker.bundle")
parts = [bundle._part(name) for name in bundle.PROGRAM]
if sys.argv[3:] == ["keep"]:
    delivered.part("broker.kept_code").keep(os.path.dirname(delivered.folder(os.environ)))
import importlib.util, inspect
print(json.dumps({
    "finders": sum(isinstance(entry, delivered.Code) for entry in sys.meta_path),
    "compiled": compiled.count("model/errors.py"),
    "parts": sorted({type(part).__name__ for part in parts}),
    "file": errors.__file__,
    "shown": "class NexcageError" in inspect.getsource(errors.NexcageError),
    "code": errors.NexcageError("E_LIMIT", "x").code,
    "missing": importlib.util.find_spec(delivered.BASE + "model.nothing") is None,
}))
"""
FRESH = {"finders": 1, "compiled": 1, "parts": ["str"], "file": "model/errors.py", "shown": True, "code": "E_LIMIT", "missing": True}


@pytest.fixture
def payload(tmp_path: pathlib.Path) -> pathlib.Path:
    """A zip file as Ansible makes it of a module that imports ``worker.delivered``."""
    path = tmp_path / "payload.zip"
    source = pathlib.Path(delivered.__file__).parent.parent
    with zipfile.ZipFile(path, "w") as archive:
        parts = PACKAGE.rstrip("/").split("/")
        for depth in range(1, len(parts) + 1):
            archive.writestr("/".join(parts[:depth]) + "/__init__.py", "")
        for name in ("worker/__init__.py", "worker/delivered.py"):
            archive.writestr(PACKAGE + name, (source / name).read_text(), zipfile.ZIP_DEFLATED)
    return path


def run(payload: pathlib.Path, *switches: str, **parameters: str) -> dict[str, t.Any]:
    """In a process whose cache folder lies beside the payload; what it says."""
    home = {"XDG_CACHE_HOME": f"{payload}.home"} if os.geteuid() else {"NEXCAGE_ROOT": f"{payload}.root"}
    environment, words = {"PATH": os.environ["PATH"], **home}, json.dumps({"name": "web", **parameters})
    command = [sys.executable, "-S", "-B", "-c", PROGRAM, str(payload), str(SITE), *switches]
    ended = subprocess.run(command, input=words, capture_output=True, text=True, check=False, env=environment)
    assert ended.stdout.startswith(("{", "\n{")), ended.stdout + ended.stderr
    answer: dict[str, t.Any] = json.loads(ended.stdout)
    return answer


def place(payload: pathlib.Path) -> pathlib.Path:
    """The cache folder of :func:`run`."""
    return pathlib.Path(f"{payload}.root/var/cache/nexcage" if os.geteuid() == 0 else f"{payload}.home/nexcage")


def keep(payload: pathlib.Path) -> pathlib.Path:
    """Let a process keep what it was sent; the archive."""
    assert run(payload, "keep", _code=DIGEST, _code_data=SENT) == FRESH
    archive, compiled = sorted((place(payload) / "code").iterdir())
    assert (archive.name, compiled.name) == (DIGEST, delivered.compiled_name(DIGEST))
    return archive


def asked(payload: pathlib.Path) -> bool:
    """Whether a host asks for the code; else it has it."""
    answer = run(payload, _code=DIGEST)
    return bool(answer.get("code_missing"))


def test_code_that_lacks_is_asked_for(payload: pathlib.Path) -> None:
    answer = run(payload, _code=DIGEST, secret="hidden-value")
    assert answer["failed"] and answer["code_missing"] and "hidden-value" not in json.dumps(answer)


def test_code_that_is_sent_is_used(payload: pathlib.Path) -> None:
    assert run(payload, _code=DIGEST, _code_data=SENT) == FRESH
    assert not place(payload).exists()  # and kept by those who keep it only


def test_other_code_than_named_is_refused(payload: pathlib.Path) -> None:
    words = json.dumps({"_code": "0" * 64, "_code_data": SENT})
    command = [sys.executable, "-S", "-B", "-c", PROGRAM, str(payload), str(SITE)]
    ended = subprocess.run(command, input=words, capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and "not what was named" in ended.stderr


def test_a_module_without_its_action_plugin_says_so(payload: pathlib.Path) -> None:
    answer = run(payload)
    assert answer["failed"] and "action plugin" in answer["msg"]


def test_what_was_kept_is_not_compiled_again(payload: pathlib.Path) -> None:
    keep(payload)
    assert run(payload, _code=DIGEST) == {**FRESH, "compiled": 0, "parts": ["bytes"]}


def test_what_was_compiled_for_another_python_is_compiled(payload: pathlib.Path) -> None:
    archive = keep(payload)
    (archive.parent / delivered.compiled_name(DIGEST)).rename(archive.parent / f"{DIGEST}.cpython-20-00000000")
    assert run(payload, "keep", _code=DIGEST) == FRESH
    assert run(payload, _code=DIGEST)["compiled"] == 0


def test_code_that_is_there_is_used_though_it_is_sent_too(payload: pathlib.Path) -> None:
    keep(payload)
    assert run(payload, _code=DIGEST, _code_data=SENT)["compiled"] == 0


def test_only_its_owner_can_read_it(payload: pathlib.Path) -> None:
    archive = keep(payload)
    places = (archive.parent.parent, archive.parent, archive, archive.parent / delivered.compiled_name(DIGEST))
    assert [path.stat().st_mode & 0o777 for path in places] == [0o700, 0o700, 0o600, 0o600]


def cut_short(file: pathlib.Path) -> None:
    os.truncate(file, 1000)


def change_one_byte(file: pathlib.Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def empty(file: pathlib.Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("harm", [cut_short, change_one_byte, empty])
def test_what_is_not_what_it_was_is_made_anew(payload: pathlib.Path, harm: t.Callable[[pathlib.Path], None]) -> None:
    archive = keep(payload)
    compiled = archive.parent / delivered.compiled_name(DIGEST)
    harm(compiled)
    assert run(payload, _code=DIGEST) == FRESH
    harm(archive)
    assert asked(payload)
    compiled.unlink()
    assert asked(payload)


@pytest.mark.parametrize("harm", [cut_short, change_one_byte, empty])
def test_a_damaged_archive_is_sent_anew_though_all_that_is_needed_is_compiled(payload: pathlib.Path, harm: t.Callable[[pathlib.Path], None]) -> None:
    harm(keep(payload))
    assert asked(payload)
    keep(payload)
    assert not asked(payload)


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


HARMS = [let_others_write_the_file, let_others_write_the_folder, link_the_file, link_the_folder, put_a_pipe_there]


@pytest.mark.parametrize("harm", HARMS)
def test_what_cannot_be_trusted_is_not_read(payload: pathlib.Path, harm: t.Callable[[pathlib.Path], None]) -> None:
    harm(keep(payload))
    assert asked(payload)


@pytest.mark.parametrize("harm", [let_others_write_the_file, link_the_file, put_a_pipe_there])
def test_compiled_code_that_cannot_be_trusted_is_not_read(payload: pathlib.Path, harm: t.Callable[[pathlib.Path], None]) -> None:
    harm(keep(payload).parent / delivered.compiled_name(DIGEST))
    assert run(payload, _code=DIGEST) == FRESH


@pytest.mark.requires("root")
@pytest.mark.parametrize("which", ["file", "folder"])
def test_what_belongs_to_somebody_else_is_not_read(payload: pathlib.Path, which: str) -> None:
    archive = keep(payload)
    os.chown(archive if which == "file" else archive.parent, 65534, -1)
    assert asked(payload)


def let_others_exchange_it(folder: pathlib.Path) -> None:
    folder.chmod(0o777)


def give_it_away(folder: pathlib.Path) -> None:
    os.chown(folder, 65534, -1)


def lead_elsewhere(folder: pathlib.Path) -> None:
    """A link that somebody else made, to what is our own."""
    folder.rename(folder.parent / "ours")
    folder.symlink_to("ours")
    os.chown(folder, 65534, -1, follow_symlinks=False)


def lead_elsewhere_by_way_of_others(folder: pathlib.Path) -> None:
    """Our link to a link that somebody else can lead to anything of ours, also to a container's files."""
    lead_elsewhere(folder)
    folder.rename(folder.parent / "theirs")
    folder.symlink_to("theirs")


@pytest.mark.requires("root")
@pytest.mark.parametrize("harm", [let_others_exchange_it, give_it_away, lead_elsewhere, lead_elsewhere_by_way_of_others])
@pytest.mark.parametrize("depth", [0, 2])
def test_what_others_can_exchange_is_not_read(payload: pathlib.Path, harm: t.Callable[[pathlib.Path], None], depth: int) -> None:
    keep(payload)
    harm([place(payload), *place(payload).parents][depth])
    assert asked(payload)


def test_links_and_shared_folders_of_the_system_are_no_obstacle(payload: pathlib.Path) -> None:
    keep(payload)
    above = place(payload).parent
    above.rename(above.parent / "elsewhere")
    (above.parent / "elsewhere").chmod(0o1777)  # as /tmp
    above.symlink_to("elsewhere")
    assert not asked(payload)


@pytest.mark.parametrize("slashes", ["//", "///"])
def test_a_path_may_begin_with_more_than_one_slash(payload: pathlib.Path, slashes: str) -> None:
    keep(payload)
    assert delivered.kept(DIGEST, slashes + str(place(payload) / "code").lstrip("/"))


def test_a_link_that_leads_in_circles_is_not_followed(tmp_path: pathlib.Path) -> None:
    for name, target in (("code", "code"), ("one", "other"), ("other", "one")):
        (tmp_path / name).symlink_to(target)
    assert delivered.kept(DIGEST, str(tmp_path / "code")) is None and delivered.kept(DIGEST, str(tmp_path / "one/code")) is None


def test_a_cache_relative_to_the_working_folder_is_not_read(payload: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(payload)
    assert delivered.kept(DIGEST, str(place(payload) / "code"))
    monkeypatch.chdir(place(payload))
    assert delivered.kept(DIGEST, "code") is None


@pytest.mark.parametrize("environment", [{}, {"NEXCAGE_ROOT": "/elsewhere/"}, {"HOME": "/home/me"}, {"HOME": "/", "XDG_CACHE_HOME": "/cache"}])
@pytest.mark.parametrize("uid", [0, 1000])
def test_it_lies_in_the_cache_of_the_layout(environment: dict[str, str], uid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert delivered.folder(environment) == Layout.for_user(uid, environment).cache + "/code"


# ---- in this process


def test_an_installed_collection_is_left_to_python(finders: list[t.Any]) -> None:
    before = list(finders)
    with patch_module_args({"name": "web"}):
        delivered.begin(AnsibleModule)
    assert sys.meta_path == before and delivered.code() is None


def test_other_code_takes_the_place_of_what_was_there(finders: list[t.Any], monkeypatch: pytest.MonkeyPatch) -> None:
    finders.insert(0, delivered.Code("0" * 64, b""))
    for _turn in range(2):
        with patch_module_args({"_code": DIGEST, "_code_data": SENT}):
            delivered.begin(AnsibleModule)
    assert [entry.digest for entry in sys.meta_path if isinstance(entry, delivered.Code)] == [DIGEST]


def test_the_module_sees_its_own_options_alone(finders: list[t.Any]) -> None:
    before = basic._load_params
    for name in ("web", "other"):
        with patch_module_args({"name": name, "_code": DIGEST, "_code_data": SENT}):
            delivered.begin(AnsibleModule)
            assert AnsibleModule(argument_spec={"name": {"type": "str"}}).params == {"name": name}
    assert basic._load_params is before


def test_a_tool_that_only_looks_is_let_be(finders: list[t.Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basic, "_load_params", lambda: pytest.fail("asked for parameters"))
    delivered.begin(AnsibleModule)
    monkeypatch.delitem(sys.modules, "ansible.module_utils.basic")
    delivered.begin(AnsibleModule)


@pytest.mark.parametrize(("parameters", "said"), [({"_code": "0" * 64}, "not on this host yet"), ({}, "action plugin")])
def test_without_code_the_module_ends(
    parameters: dict[str, str], said: str, finders: list[t.Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(delivered, "BASE", "ansible_collections.nexcage.backends.plugins.")  # where there is no "manager"
    with patch_module_args({"name": "hidden-value", **parameters}), pytest.raises(SystemExit):
        delivered.begin(AnsibleModule)
    printed = capsys.readouterr().out
    assert said in printed and "hidden-value" not in printed and ("code_missing" in printed) is bool(parameters)


def test_it_knows_its_own(code: delivered.Code) -> None:
    package = code.find_spec(delivered.BASE + "model")
    assert package is not None and package.submodule_search_locations == [] and code.is_package(package.name)
    module = code.find_spec(delivered.BASE + "model.errors")
    assert module is not None and module.origin == "model/errors.py" and module.submodule_search_locations is None
    assert code.find_spec(delivered.BASE + "model.nothing") is None and code.find_spec("os") is None
    assert code.get_source("os") is None
    with pytest.raises(ImportError, match=r"model\.nothing"):
        code.get_code(delivered.BASE + "model.nothing")


def test_a_module_runs_as_it_would_from_its_file(code: delivered.Code) -> None:
    import importlib.util

    spec = code.find_spec(delivered.BASE + "model.errors")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(module)
    assert module.NexcageError("E_LIMIT", "x").code == "E_LIMIT"


@pytest.mark.parametrize(("executable", "found"), [(sys.executable, True), ("/bin/sh", False), ("/nexcage/no/such/python", False)])
def test_code_for_a_worker_is_for_this_python(code: delivered.Code, executable: str, found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    name = delivered.BASE + "model.errors"
    assert code.kept_code(name) is None
    code.kept = code.compiled
    monkeypatch.setattr(sys, "executable", executable)
    assert (code.kept_code(name) is not None) is found
    assert isinstance(bundle._part("model.errors"), bytes) is found
