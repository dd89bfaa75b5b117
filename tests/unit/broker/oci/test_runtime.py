# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runtimes that are not crun and runc, or not called so: what is kept of them, what they are asked, what the operator may add."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import (
    cgroup,
    cgroup_control,
    execution,
    inspection,
    lifecycle,
    records,
    removal,
    runtime,
)
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci.runtime import Answer, Runtime
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError

ID = "0123456789abcdef"


def script(folder: pathlib.Path, name: str, text: str) -> str:
    """A program of root's own."""
    path = folder / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def test_what_a_runtime_keeps(tmp_path: pathlib.Path) -> None:
    root = str(tmp_path)
    assert runtime.traces(root + "/none", ID) == [] and runtime.traces(root, ID) == []
    files = [tmp_path / f"{ID}_sandbox:{ID}.{kind}" for kind in ("lock", "state")]
    for file in files:
        file.write_text("")
    (tmp_path / ("f" * 16)).mkdir()
    assert sorted(runtime.traces(root, ID)) == [str(file) for file in files]
    assert Runtime("runsc", root).knows(ID) and not Runtime("runsc", root).knows("e" * 16)
    (tmp_path / ID).mkdir()
    assert runtime.traces(root, ID) == [f"{root}/{ID}"]


@pytest.mark.requires("root")
def test_options_stand_before_the_command_and_in_the_record(tmp_path: pathlib.Path) -> None:
    tool = Runtime(script(tmp_path, "my", 'echo "$*"\n'), "/r", ["--network=none", "--debug"])
    assert tool.call("state", "--", ID).output.decode() == f"--root /r --network=none --debug state -- {ID}\n"
    again = Runtime.recorded(tool.names(), "/r")
    assert (again.wanted, again.options, again.name) == (tool.wanted, tool.options, "my")
    assert Runtime("crun", "/r").names() == {"runtime": "crun"}
    assert Runtime.recorded({"runtime": "crun"}, "/r").wanted == "crun"


@pytest.mark.parametrize(
    "option", ["network=none", "-network=none", "--", "--Network", "--a b", "--a=b c", "--a=\n", "", 5, "--root", "--root=/x", "--systemd-cgroup"]
)
def test_what_is_no_option(option: t.Any) -> None:
    with pytest.raises(NexcageError) as caught:
        Runtime("crun", "/r", ["--network=none", option])
    assert (caught.value.code, caught.value.option) == ("E_INVALID", "runtime_options") and caught.value.remedy


@pytest.mark.requires("root")
def test_a_crun_of_another_name_is_known_by_what_it_says(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unified").mkdir()
    (tmp_path / "unified/cgroup.controllers").write_text("hugetlb")
    monkeypatch.setattr(cgroup, "ROOT", str(tmp_path))
    mine = script(tmp_path, "mycrun", "echo crun version 1.8.1\n")
    other = script(tmp_path, "youki", "echo youki version 0.1.0\n")
    assert cgroup_control.blocked(mine) and not cgroup_control.blocked(other) and not cgroup_control.blocked("/usr/bin/runsc")
    assert cgroup_control.creator([mine, "create"])[-2:] == [mine, "create"] and len(cgroup_control.creator([mine, "create"])) > 2
    assert cgroup_control.creator([other, "create"]) == [other, "create"]
    assert not cgroup_control.blocked(str(tmp_path / "missing"))
    (tmp_path / "unified/cgroup.controllers").write_text("")
    assert not cgroup_control.blocked(mine)


class Paused(Runtime):
    """A runtime that pauses by itself: the kernel's freezer says nothing."""

    def status(self, identifier: str) -> str:
        return "paused"


def test_a_runtime_that_pauses_by_itself_is_asked(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = records.Places(Layout.for_user(0, {"NEXCAGE_ROOT": str(tmp_path)}), "x-backend")
    container = records.Container("web", ID, str(tmp_path), {"cgroup": "/nexcage/" + ID, "backend": "x-backend", "runtime": "runsc"})
    monkeypatch.setattr(records, "last_process", lambda *_: {"started": "2026-01-01T00:00:00.000Z"})
    monkeypatch.setattr(lifecycle.observe, "survivors", lambda *_: [1])
    assert lifecycle.situation(places, Paused("runsc", places.root), container) == "paused"
    assert lifecycle.situation(places, Paused("crun", places.root), container) == "running"


def test_a_signal_to_a_paused_sandbox_comes_after_it_goes_on(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    places = records.Places(Layout.for_user(0, {"NEXCAGE_ROOT": str(tmp_path)}), "x-backend")
    container = records.Container("web", ID, str(tmp_path), {"cgroup": "/nexcage/" + ID, "backend": "x-backend", "runtime": "runsc"})

    def call(self: Runtime, *arguments: str, timeout: float = 0) -> Answer:
        calls.append(arguments[0])
        return Answer(0, b"", "")

    monkeypatch.setattr(Runtime, "call", call)
    monkeypatch.setattr(Runtime, "knows", lambda *_: True)
    for status, wanted in (("paused", ["resume", "kill"]), ("running", ["kill"])):
        calls.clear()
        monkeypatch.setattr(Runtime, "status", lambda *_, status=status: status)
        lifecycle.signal_to(places, container, 1 << 30, 1, 15)
        assert calls == wanted


def test_whether_the_first_process_waits_is_no_reason_to_fail(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = records.Places(Layout.for_user(0, {"NEXCAGE_ROOT": str(tmp_path)}), "x-backend")
    container = records.Container("web", ID, str(tmp_path), {"backend": "x-backend", "runtime": "gone", "runtime_path": "/nowhere/gone"})
    monkeypatch.setattr(Runtime, "knows", lambda *_: True)
    assert lifecycle._waits(places, container, {}) is False
    monkeypatch.setattr(Runtime, "status", lambda *_: "created")
    assert lifecycle._waits(places, container, {}) is True


def test_a_command_inside_is_killed_by_its_number_there(tmp_path: pathlib.Path) -> None:
    asked: list[tuple[str, ...]] = []

    class Tool(Runtime):
        def call(self, *arguments: str, timeout: float = 0) -> Answer:
            asked.append(arguments)
            raise NexcageError("E_TIMEOUT", "it hangs")

    tool = Tool("runsc", "/r")
    assert tool.sandboxed and not Runtime("crun", "/r").sandboxed
    file = tmp_path / "inner"
    execution._kill_inside(tool, ID, str(file))
    file.write_text("seven")
    execution._kill_inside(tool, ID, str(file))
    assert asked == []
    file.write_text("7\n")
    execution._kill_inside(tool, ID, str(file))
    assert asked == [("kill", "--pid", "7", "--", ID, "KILL")]


def test_the_same_folder(tmp_path: pathlib.Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert inspection._same(str(tmp_path), str(tmp_path / "link")) and not inspection._same(str(tmp_path), "/") and not inspection._same("/", "/nowhere")


def test_what_the_runtime_leaves_of_a_container_goes(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = records.Places(Layout.for_user(0, {"NEXCAGE_ROOT": str(tmp_path)}), "x-backend")
    container = records.Container("web", ID, str(tmp_path), {"cgroup": "/nexcage/" + ID, "backend": "x-backend", "runtime": "gone"})
    root = pathlib.Path(places.root)
    root.mkdir(parents=True)
    other = root / ("f" * 16)
    other.mkdir()
    for left in (root / f"{ID}_sandbox:{ID}.state", root / ID):
        left.mkdir() if left.name == ID else left.write_text("")
        with monkeypatch.context() as patch:
            patch.setattr(cgroup, "processes", lambda *_: [1])
            with pytest.raises(NexcageError) as caught:
                removal.forget(places, container)
        assert caught.value.code == "E_RUNTIME" and left.exists()
        removal.forget(places, container)
        assert list(root.iterdir()) == [other]
