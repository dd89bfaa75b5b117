# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code that action plugins send: the same bytes from the same files, made once in a run of Ansible, and sent where it lacks."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pathlib
import typing as t
import zlib

import pytest
from ansible.plugins.action import ActionBase
from ansible_collections.nexcage.backends.plugins.action import nexcage_plugin
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.plugin_utils import delivery

MODULES = delivery.SOURCES.parent / "modules"


def test_all_that_a_module_may_import_is_in_it(tmp_path: pathlib.Path) -> None:
    digest, data = delivery.code(str(tmp_path))
    files = json.loads(zlib.decompress(data))
    assert digest == hashlib.sha256(data).hexdigest()
    assert set(files) == {path.relative_to(delivery.SOURCES).as_posix() for path in delivery.SOURCES.rglob("*.py")}
    assert "def converge(" in files["manager/converge.py"] and "Copyright" not in files["manager/converge.py"]


def test_it_is_made_once(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = delivery.code(str(tmp_path))
    monkeypatch.setattr(delivery, "pack", lambda folder: pytest.fail("made again"))
    assert delivery.code(str(tmp_path)) == first
    assert [path.name for path in tmp_path.iterdir()] == [delivery.CACHE]


def test_it_is_made_again_where_it_is_not_what_it_was(tmp_path: pathlib.Path) -> None:
    first = delivery.code(str(tmp_path))
    os.truncate(tmp_path / delivery.CACHE, 1000)
    assert delivery.code(str(tmp_path)) == first
    assert len((tmp_path / delivery.CACHE).read_bytes()) > 1000


def test_without_a_place_it_is_made_all_the_same(tmp_path: pathlib.Path) -> None:
    assert delivery.code(str(tmp_path / "no/such/folder")) == delivery.code(str(tmp_path))


def test_what_cannot_be_kept_takes_no_room(tmp_path: pathlib.Path) -> None:
    (tmp_path / delivery.CACHE).mkdir()
    assert delivery.code(str(tmp_path)) == delivery.code(str(tmp_path / "no/such/folder"))
    assert [path.name for path in tmp_path.iterdir()] == [delivery.CACHE]


def test_the_same_files_give_the_same_bytes(tmp_path: pathlib.Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name / "deep").mkdir(parents=True)
    for path in ("one/b.py", "one/deep/a.py", "other/deep/a.py", "other/b.py"):
        (tmp_path / path).write_text(f"# {path}\n'{path.rpartition('/')[2]}'\n")
    assert delivery.pack(tmp_path / "one") == delivery.pack(tmp_path / "other")
    (tmp_path / "other/b.py").write_text("1\n")
    assert delivery.pack(tmp_path / "one") != delivery.pack(tmp_path / "other")


def test_each_module_has_its_action_plugin() -> None:
    assert {path.name for path in MODULES.glob("nexcage_*.py")} == {path.name for path in (delivery.SOURCES.parent / "action").glob("nexcage_*.py")}


class Shell:
    tmpdir = None


class Connection:
    has_native_async = False
    _shell = Shell()


class Task:
    args: t.ClassVar[dict[str, t.Any]] = {"name": "web"}
    async_val = 0


class Delivery(delivery.Delivery):
    """An action plugin that notes what it would run, on a host that may have the code."""

    def __init__(self, has: bool) -> None:
        self._task, self._connection = t.cast("t.Any", Task()), t.cast("t.Any", Connection())
        self.has = has
        self.calls: list[dict[str, t.Any]] = []

    def _execute_module(self, **details: t.Any) -> dict[str, t.Any]:  # type: ignore[override]
        self.calls.append(details)
        return {"changed": True} if self.has or "_code_data" in details["module_args"] else {"failed": True, "code_missing": True}


@pytest.mark.parametrize("has", [True, False])
def test_it_is_sent_where_it_lacks(has: bool) -> None:
    action = Delivery(has)
    assert action.deliver({"name": "web"}, {}) == {"changed": True}
    assert ["_code_data" in call["module_args"] for call in action.calls] == ([False] if has else [False, True])
    last = action.calls[-1]["module_args"]
    assert last["name"] == "web" and last["_code"]
    assert has or hashlib.sha256(base64.b64decode(last["_code_data"])).hexdigest() == last["_code"]


def test_an_asynchronous_task_takes_it_along() -> None:
    action = Delivery(False)
    assert action.deliver({"name": "web"}, {}, asynchronous=True) == {"changed": True}
    assert ["_code_data" in call["module_args"] and call["wrap_async"] for call in action.calls] == [True]


# ---- what action plugins ask themselves before the module can


@pytest.mark.parametrize("value", [True, 1, "y", "Y", "t", "yes", "True", " on ", "1"])
def test_yes_in_each_word_that_a_module_understands(value: t.Any) -> None:
    assert delivery.asked({"option": value}, "option")


@pytest.mark.parametrize("arguments", [{}, *({"option": value} for value in (None, False, 0, "n", "f", "no", "off", "0"))])
def test_no_in_each_word_that_a_module_understands(arguments: dict[str, t.Any]) -> None:
    assert not delivery.asked(arguments, "option")


@pytest.mark.parametrize("value", ["maybe", "", 2, [True]])
def test_what_is_neither_is_refused(value: t.Any) -> None:
    with pytest.raises(NexcageError, match=r"option=.*neither yes nor no"):
        delivery.asked({"option": value}, "option")


@pytest.mark.parametrize(("word", "there"), [("y", True), ("n", False), ("maybe", None)])
def test_where_a_package_is_looked_for(word: str, there: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    action = object.__new__(nexcage_plugin.ActionModule)
    action._task, action._connection = t.cast("t.Any", Task()), t.cast("t.Any", Connection())
    monkeypatch.setattr(action._task, "args", {"src": "/nexcage/no/such/package", "remote_src": word}, raising=False)
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    monkeypatch.setattr(action, "_remove_tmp_path", lambda _path: None)
    monkeypatch.setattr(action, "_find_needle", lambda _folder, path: path)
    monkeypatch.setattr(action, "deliver", lambda *_arguments: {"changed": True})
    result = action.run()
    assert result.get("changed", False) is bool(there)
    assert there or result["error"]["option"] == ("remote_src" if there is None else "src")
