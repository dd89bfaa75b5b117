# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs by template, with real ones: what they are given, what comes back, and how they end."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import command
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import runtime
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError

SHELL: dict[str, t.Any] = {"binary": "sh", "parameters": {}}
PARAMETERS = {
    "number": {"type": "uint"},
    "name": {"type": "container_name"},
    "node": {"type": "node"},
    "path": {"type": "relative_path"},
    "mode": {"type": "choice", "choices": ("fast", "slow")},
}


def template(script: str, **more: t.Any) -> dict[str, t.Any]:
    return {**SHELL, "argv": ["-c", script], **more}


COMMANDS: dict[str, t.Any] = {
    "show": {"binary": "printf", "argv": ["<%s>", "--name={name}", "{number}", "{node}", "/srv/{path}", "{mode}"], "parameters": PARAMETERS},
    "look": template("echo looked", kind="read"),
    "fail": template("echo out; echo err >&2; exit 3"),
    "kill": template("kill -9 $$"),
    "env": {"binary": "env", "argv": [], "parameters": {}},
    "where": template('pwd; cat; echo "$(ps -o sid= -p $$ | tr -d " ") $$"; ulimit -c'),
    "flood": template("head -c 5000000 /dev/zero | tr '\\0' x; head -c 100000 /dev/zero >&2"),
    "colour": template(r"printf 'a\033[31mb\n\tc\000\377'"),
    "sleep": template("echo begun; sleep 60", timeout_seconds=1),
    "daemon": template("sleep 62 & echo $!"),
    "noisy": template("yes & echo $!"),
    "silent": template("exec >&- 2>&-; sleep 60", timeout_seconds=1),
    "closed": template("exec >&- 2>&-; sleep 0.1; exit 4"),
    "missing": {"binary": "no-such-program", "argv": [], "parameters": {}},
}


def run(name: str, parameters: t.Mapping[str, t.Any] | None = None, kind: str = "write", seconds: float = 30.0) -> dict[str, t.Any]:
    commands = command.Commands({"commands": COMMANDS}, kind, time.monotonic() + seconds)
    return commands.run({"command": name, "parameters": tuple((parameters or {}).items())})


def refused(name: str, parameters: t.Mapping[str, t.Any] | None = None, **options: t.Any) -> NexcageError:
    with pytest.raises(NexcageError) as error:
        run(name, parameters, **options)
    json.dumps(error.value.as_dict())
    return error.value


def alive(pid: int) -> bool:
    try:
        return "Z" not in pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_holes_are_filled_and_arguments_stay_apart() -> None:
    values = {"number": 7, "name": "web", "node": "pve1", "path": "a/b", "mode": "fast"}
    assert run("show", values) == {"rc": 0, "stdout": "<--name=web><7><pve1></srv/a/b><fast>", "stderr": "", "truncated": False}


def test_any_end_is_an_answer() -> None:
    assert run("fail") == {"rc": 3, "stdout": "out\n", "stderr": "err\n", "truncated": False}
    assert run("kill")["rc"] == -signal.SIGKILL
    assert run("closed")["rc"] == 4


def test_each_kind_has_its_own_table() -> None:
    assert run("look", kind="read")["stdout"] == "looked\n"
    for name, kind in (("look", "write"), ("fail", "read"), ("none", "write")):
        assert refused(name, kind=kind).code == "E_CAPABILITY"
    with pytest.raises(NexcageError):
        command.Commands({}, "write", time.monotonic() + 5).run({"command": "fail", "parameters": ()})


def test_nothing_of_the_caller_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/evil.so")
    monkeypatch.setenv("SECRET", "x")
    seen = dict(line.split("=", 1) for line in run("env")["stdout"].splitlines())
    assert seen == {**runtime.ENVIRONMENT, "HOME": seen["HOME"]}
    folder, session, _core = run("where")["stdout"].splitlines()
    assert folder == "/"
    first, second = session.split()
    assert first == second, "the first of a session of its own"


def test_a_user_without_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.os, "geteuid", lambda: 3_999_999_999)
    assert command.environment()["HOME"] == "/"


def test_output_is_capped() -> None:
    answer = run("flood")
    assert (len(answer["stdout"]), len(answer["stderr"]), answer["truncated"]) == (command.OUTPUT_LIMIT, command.ERROR_LIMIT, True)


def test_control_characters_stay_out() -> None:
    assert run("colour")["stdout"] == "a\ufffd[31mb\n\tc\ufffd\ufffd"


def test_the_deadline_ends_it() -> None:
    begin = time.monotonic()
    error = refused("sleep")
    assert (error.code, error.value) == ("E_TIMEOUT", "sleep")
    assert "1 s" in error.message
    assert time.monotonic() - begin < 10
    assert refused("silent").code == "E_TIMEOUT", "closed pipes are no end"


def test_the_operations_deadline_counts_too() -> None:
    assert "0.2 s" in refused("sleep", seconds=0.2).message
    assert "was not started" in refused("sleep", seconds=0).message


def test_it_is_killed_with_its_children(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "pids"
    entry = template(f"sleep 61 & echo $! > {file}; echo $$ >> {file}; wait", timeout_seconds=1)
    with pytest.raises(NexcageError, match="did not end"):
        command.Commands({"commands": {"family": entry}}, "write", time.monotonic() + 30).run({"command": "family", "parameters": ()})
    members = [int(line) for line in file.read_text().split()]
    assert len(members) == 2
    deadline = time.monotonic() + 5
    while any(alive(pid) for pid in members) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(alive(pid) for pid in members)


@pytest.mark.parametrize(("name", "seconds"), [("daemon", 30.0), ("noisy", 1.0)])
def test_what_it_leaves_running_holds_nobody_up(name: str, seconds: float) -> None:
    begin = time.monotonic()
    answer = run(name, seconds=seconds)
    pid = int(answer["stdout"].split("\n")[0])
    try:
        assert answer["rc"] == 0
        assert time.monotonic() - begin < 10
        assert name == "noisy" or alive(pid), "a daemon is what it was asked for"
    finally:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def test_it_dies_with_us(tmp_path: pathlib.Path) -> None:
    """A module that is killed leaves no program behind that goes on changing the host."""
    file = tmp_path / "pid"
    script = (
        f"import time\nfrom {command.__name__} import Commands\n"
        f"entry = dict(binary='sh', argv=['-c', 'echo $$ > {file}; exec sleep 63'], parameters={{}})\n"
        "Commands({'commands': {'x': entry}}, 'write', time.monotonic() + 60).run({'command': 'x', 'parameters': ()})"
    )
    child = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 20
    while not (file.exists() and file.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.01)
    pid = int(file.read_text())
    assert alive(pid)
    child.kill()
    child.wait()
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(pid)


def test_a_program_that_is_not_there_or_not_roots_own(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused("missing").code == "E_BINARY"
    planted = tmp_path / "sh"
    planted.write_text("#!/bin/sh\necho planted\n")
    planted.chmod(0o777)
    monkeypatch.setattr(runtime, "FOLDERS", (str(tmp_path),))
    assert refused("fail").code == "E_BINARY"
    monkeypatch.setattr(command, "program", lambda name: str(tmp_path / "gone"))
    assert "cannot be started" in refused("fail").message


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("name", "-rf"),
        ("name", "a b"),
        ("name", "$(id)"),
        ("path", "-x"),
        ("path", "../x"),
        ("path", "/etc"),
        ("mode", "-fast"),
        ("number", "-1"),
        ("node", "-n"),
    ],
)
def test_a_value_that_is_not_of_its_type_runs_nothing(parameter: str, value: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "program", lambda name: pytest.fail("it was looked for"))
    values = {"number": 7, "name": "web", "node": "pve1", "path": "a/b", "mode": "fast", parameter: value}
    assert refused("show", values).code == "E_INVALID"
