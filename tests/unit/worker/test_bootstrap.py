# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's main program in this process, over real pipes and a note-taking operating system."""

from __future__ import annotations

import errno
import os
import sys
import types
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.worker import bootstrap, channel, importer, inside
from ansible_collections.nexcage.backends.tests.support.worker import LAYERS, READY, FakeSystem

LIMITS = {"memory": 1 << 27, "cpu": 6, "descriptors": 200, "frame": 5000}
INIT = {"t": "init", "v": 1, "parent": 42, "uid": 990, "gid": 990, "limits": LIMITS, "preload": ["math", "nexcage_has_no_such_module"], "confined": False}
PLUGIN = """
from ..sdk.backend import BackendExtension
from ..sdk.errors import HostError, NotFound, PluginError
from .other import VALUE


class Backend(BackendExtension):
    name = "test"

    def list(self, host, params):
        host.log("info", "listing")
        return [VALUE, self.config, host.oci.list(params.get("names"))]

    def info(self, host, params):
        return getattr(self, params["what"])(host)

    def caught(self, host):
        try:
            host.oci.start("web")
        except NotFound as error:
            return error.code

    def passed(self, host):
        host.oci.start("web")

    def own(self, host):
        raise PluginError("no", "E_INVALID", "say yes")

    def bug(self, host):
        return 1 // 0

    def memory(self, host):
        raise MemoryError

    def leave(self, host):
        raise SystemExit(3)

    def large(self, host):
        return "x" * 6000

    def strange(self, host):
        raise PluginError("\\ud800" + "x" * 10000)

    def odd(self, host):
        return {1, 2}


def backend():
    return Backend()
"""
LOAD = {"t": "load", "entry": "test_plugin.py", "files": {"test_plugin.py": PLUGIN, "other.py": "VALUE = 7"}, "config": {"a": 1}}


class Session:
    """A run of the bootstrap: all of the module's frames are written before, all answers read after."""

    def __init__(self, system: FakeSystem) -> None:
        self.system = system
        self._in, self._out = os.pipe(), os.pipe()
        system._answers.update(dup=lambda number: self._in[0] if number == 0 else self._out[1])
        self.code = -1

    def play(self, *frames: t.Any) -> list[dict[str, t.Any]]:
        for frame in frames:
            os.write(self._in[1], frame if isinstance(frame, bytes) else channel.encode(frame, channel.TO_WORKER))
        os.close(self._in[1])
        memory = importer.MemoryImporter({})
        sys.meta_path.insert(0, memory)
        try:
            self.code = bootstrap.run(self.system, memory)
        finally:
            sys.meta_path.remove(memory)
            for name in memory.sources:
                sys.modules.pop(name, None)
        os.close(self._out[1])
        with open(self._out[0], "rb") as stream:
            data = stream.read()
        os.close(self._in[0])
        answers = []
        while data:
            end = 4 + channel.length(data[:4], channel.TO_WORKER)
            answers.append(channel.decode(data[4:end]))
            data = data[end:]
        return answers


class PathFinder:
    """Stands for the import system's finder of that name."""


@pytest.fixture
def view(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """What the bootstrap sees as sys: it forgets the disk there, not here."""
    seen = types.SimpleNamespace(path=["/usr/lib"], path_importer_cache={"/usr/lib": 1}, meta_path=[PathFinder, "memory"], modules=sys.modules)
    monkeypatch.setattr(bootstrap, "sys", seen)
    monkeypatch.setattr(bootstrap.lockdown, "sys", types.SimpleNamespace(stdout=None, stderr=None))
    return seen


@pytest.fixture
def session(view: types.SimpleNamespace) -> Session:
    return Session(FakeSystem())


def test_the_order_of_the_lockdown(session: Session, view: types.SimpleNamespace) -> None:
    assert session.play(INIT) == [READY]
    assert session.code == bootstrap.WAITING
    steps = [name for name in session.system.names() if name not in ("dup", "getrlimit", "listdir")]
    assert steps == [
        *("pipe", "dup2", "dup2"),
        *["setrlimit"] * 6,
        *("setgroups", "setresgid", "setresuid", "setuid"),
        *("prctl", "getppid"),
        *("prctl", "prctl", "prctl"),
        *("open", "socket", "fork", "execv"),
    ]
    assert [entry[1] for entry in session.system.log if entry[0] == "prctl"] == [1, 38, 4, 22]
    assert (view.path, view.path_importer_cache, view.meta_path) == ([], {}, ["memory"])


def test_what_is_missing_is_reported(view: types.SimpleNamespace) -> None:
    session = Session(FakeSystem({"setuid": errno.EPERM, "prctl 22": errno.EINVAL, "setgroups": errno.EPERM}))
    (ready,) = session.play(INIT)
    assert ready["layers"] == ["rlimits", "pdeathsig", "no_new_privs"]
    assert set(ready["missing"]) == {"uid", "seccomp"}
    assert ready["selftest"] == {}


@pytest.mark.usefixtures("view")
@pytest.mark.parametrize(("processes", "capabilities"), [("", ""), ("process 7, child of 6", "capabilities 21 are kept")])
def test_in_namespaces_it_looks_around_while_it_is_root(processes: str, capabilities: str, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def prove(_system: inside.System) -> dict[str, str]:
        session.system.log.append(("prove",))
        return {"pid_namespace": processes, "network_namespace": "eth0 can be seen", "capabilities": capabilities}

    def divide(_system: inside.System) -> None:
        session.system.log.append(("divide",))

    def forget(_system: inside.System) -> str:
        session.system.log.append(("forget",))
        return ""

    monkeypatch.setattr(inside, "prove", prove)
    monkeypatch.setattr(inside, "divide", divide)
    monkeypatch.setattr(inside, "forget", forget)
    (ready,) = session.play({**INIT, "confined": True})
    names = session.system.names()
    if capabilities:
        assert ready["layers"] == ["rlimits", "uid", *LAYERS[2:]]
        assert ready["missing"] == {"pid_namespace": processes, "network_namespace": "eth0 can be seen", "capabilities": capabilities}
        assert not {"divide", "forget"} & set(names)  # the host would not end two processes together
    else:
        assert ready["layers"] == ["rlimits", "uid", "pid_namespace", "capabilities", *LAYERS[2:]]
        assert names.index("prove") < names.index("divide") < names.index("setrlimit")  # which allows no further process
        assert names.index("setuid") < names.index("forget") < names.index("prctl")


def test_a_module_that_goes_away_ends_it(session: Session) -> None:
    assert session.play() == []
    assert session.code == bootstrap.WAITING


def test_a_broken_protocol_ends_it(session: Session) -> None:
    assert session.play(b"\xff\xff\xff\xff") == []
    assert session.code == bootstrap.ENDED


@pytest.mark.usefixtures("view")
def test_requests_are_answered(session: Session) -> None:
    answers = session.play(
        INIT,
        LOAD,
        {"t": "req", "id": 1, "op": "list", "params": {"names": ["web"]}},
        {"t": "ret", "n": 1, "ok": True, "value": ["record"]},
        {"t": "req", "id": 2, "op": "create", "params": {}},
        {"t": "req", "id": 3, "op": "__class__", "params": {}},
    )
    assert answers[0]["layers"] == LAYERS
    assert answers[1:5] == [
        {"t": "loaded", "operations": ["list", "info"]},
        {"t": "log", "level": "info", "message": "listing"},
        {"t": "call", "id": 1, "n": 1, "cap": "oci.list", "params": {"names": ["web"]}},
        {"t": "res", "id": 1, "ok": True, "value": [7, {"a": 1}, ["record"]]},
    ]
    assert [(answer["id"], answer["error"]["code"]) for answer in answers[5:]] == [(2, "E_UNSUPPORTED"), (3, "E_UNSUPPORTED")]


REFUSAL = {"t": "ret", "n": 1, "ok": False, "error": {"code": "E_NOT_FOUND", "message": "no web", "remedy": "create it"}}


@pytest.mark.parametrize(
    ("what", "wanted"),
    [
        ("passed", {"code": "E_NOT_FOUND", "message": "no web", "remedy": "create it", "call": 1}),
        ("own", {"code": "E_INVALID", "message": "no", "remedy": "say yes", "call": 0}),
        ("bug", {"code": "E_PLUGIN", "message": "ZeroDivisionError: integer division or modulo by zero (test_plugin.py line 30, in bug)"}),
        ("memory", {"code": "E_LIMIT"}),
        ("leave", {"code": "E_PLUGIN", "message": "SystemExit: 3 (test_plugin.py line 36, in leave)"}),
        ("large", {"code": "E_LIMIT"}),
        ("odd", {"code": "E_PLUGIN", "message": "FrameError: not JSON: set"}),
        ("strange", {"code": "E_PLUGIN", "message": "\\ud800" + "x" * 4095}),
        ("absent", {"code": "E_PLUGIN"}),
    ],
)
def test_failures_become_errors(what: str, wanted: dict[str, t.Any], session: Session) -> None:
    request = {"t": "req", "id": 1, "op": "info", "params": {"what": what}}
    error = session.play(INIT, LOAD, request, *([REFUSAL] if what == "passed" else []))[-1]["error"]
    assert {**error, **wanted} == error


def test_a_caught_refusal_is_no_failure(session: Session) -> None:
    answers = session.play(INIT, LOAD, {"t": "req", "id": 1, "op": "info", "params": {"what": "caught"}}, REFUSAL)
    assert answers[-1] == {"t": "res", "id": 1, "ok": True, "value": "E_NOT_FOUND"}


@pytest.mark.parametrize("source", ["1 +", "raise SystemExit", "import nexcage_has_no_such_module", "x = 1", "def backend(): return 1 // 0"])
def test_a_plugin_that_cannot_be_imported(source: str, session: Session) -> None:
    answers = session.play(INIT, {**LOAD, "files": {"test_plugin.py": source}})
    assert answers[-1]["t"] == "failed"
    assert answers[-1]["error"]["code"] == "E_PLUGIN"
    assert session.code == bootstrap.ENDED


def test_the_module_goes_away_during_a_call(session: Session) -> None:
    answers = session.play(INIT, LOAD, {"t": "req", "id": 1, "op": "list", "params": {}})
    assert answers[-1]["t"] == "call"
    assert session.code == bootstrap.WAITING


def test_main_leaves_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(bootstrap, "run", lambda system, memory: 5)
    monkeypatch.setattr(bootstrap.os, "_exit", codes.append)
    bootstrap.main(importer.MemoryImporter({}))
    assert codes == [5]
