# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exec, information and settings through the frame that every module runs in."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import signal
import types
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import kept_code, key
from ansible_collections.nexcage.backends.plugins.module_utils.manager import converge, execute, information, run
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.worker import delivered
from ansible_collections.nexcage.backends.tests.support import world as worlds
from ansible_collections.nexcage.backends.tests.unit.manager.test_converge import task

EXEC = {"name": "web", "argv": ["true"], "timeout": 5, "stdin_add_newline": True, "strip_empty_ends": True}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> worlds.World:
    monkeypatch.setenv("NEXCAGE_ROOT", str(tmp_path))
    return worlds.make(monkeypatch, str(tmp_path))


def through(action: t.Any, check: bool = False, **parameters: t.Any) -> dict[str, t.Any]:
    module = worlds.module(parameters, check)
    with pytest.raises(SystemExit):
        run.run(module, action)
    return {**module.ended, "warned": module.warnings}


def said(text: bytes) -> str:
    return base64.b64encode(text).decode()


def test_exec(world: worlds.World) -> None:
    task(world, image="oci:/image")
    world.outcome.update(stdout=said(b"out\n\n"), stderr=said(b"\xff"))
    result = through(execute.execute, **EXEC, stdin="in", env={"A": 1}, user="0", working_dir="/tmp")
    assert (result["changed"], result["rc"], result["stdout"], result["stderr"]) == (True, 0, "out", "\udcff")
    process = world.outcome["process"]
    assert base64.b64decode(process["stdin"]) == b"in\n" and process["env"] == {"A": "1"} and process["argv"] == ["true"]
    kept = through(execute.execute, **{**EXEC, "strip_empty_ends": False, "argv": None, "command": "sh -c 'x y'"})
    assert kept["stdout"] == "out\n\n" and world.outcome["process"]["argv"] == ["sh", "-c", "x y"]


def test_more_output_than_a_plugin_is_shown(world: worlds.World) -> None:
    task(world, image="oci:/image")
    world.outcome.update(stdout=said(b"x" * 1000000))
    assert len(through(execute.execute, **EXEC)["stdout"]) == 1000000
    assert world.shown["truncated"] and world.shown["stdout"] == ""


def test_exec_fails_with_the_code(world: worlds.World) -> None:
    task(world, image="oci:/image")
    world.outcome.update(rc=3, stderr=said(b"no"))
    result = through(execute.execute, **EXEC)
    assert (result["failed"], result["rc"], result["stderr"], result["error"]["code"]) == (True, 3, "no", "E_RUNTIME")
    assert result["changed"] is True and "changed" not in result["error"].get("details", {})  # it ran, as with ansible.builtin.command
    world.outcome.update(rc=137, timed_out=True)
    result = through(execute.execute, **EXEC)
    assert (result["error"]["code"], result["changed"], result["stderr"]) == ("E_TIMEOUT", True, "no")
    world.faults["exec"] = NexcageError("E_NOT_FOUND", "no such program", option="argv")
    assert "changed" not in through(execute.execute, **EXEC)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"argv": ["ls", "-l", "/no"]}, "argv=['ls', '-l', '/no']: "),
        ({"argv": None, "command": "ls -l /no"}, "command='ls -l /no': "),
        ({"argv": None, "command": "ls swordfish", "secret_env": {"TOKEN": "swordfish"}}, "command='ls': "),
        ({"argv": None, "command": "ls swordfish", "secret_env": {"TOKEN": "shark"}}, "command='ls swordfish': "),
    ],
)
def test_exec_shows_the_command_as_it_was_written(world: worlds.World, given: dict[str, t.Any], shown: str) -> None:
    task(world, image="oci:/image")
    world.outcome.update(rc=1)
    assert through(execute.execute, **{**EXEC, **given})["msg"].startswith(shown + "the command ended with exit code 1. ")
    world.faults["exec"] = NexcageError("E_INVALID", "the command cannot be started", option="argv")
    assert through(execute.execute, **{**EXEC, **given})["msg"].startswith(shown + "the command cannot be started. ")
    world.faults["exec"] = NexcageError("E_INVALID", "not a command", option="argv", value="[3]")
    assert "='[3]': not a command" in through(execute.execute, **{**EXEC, **given})["msg"]


def test_exec_creates_and_removes(world: worlds.World) -> None:
    task(world, image="oci:/image")
    world.paths = {"/there"}
    for parameters in ({"creates": "/there"}, {"removes": "/gone"}):
        result = through(execute.execute, **EXEC, **parameters)
        assert result["skipped"] and not result["changed"] and "exist" in result["msg"]
    assert through(execute.execute, check=True, **EXEC, creates="/gone")["skipped"]
    assert "exec" not in world.calls
    assert through(execute.execute, **EXEC, creates="/gone", removes="/there")["changed"]


@pytest.mark.parametrize(
    ("parameters", "option"),
    [
        ({"argv": []}, "argv"),
        ({"argv": None, "command": ""}, "command"),
        ({"env": {"A": True}}, "env.A"),
        ({"env": {"export A": "1"}}, "env"),
        ({"user": ""}, "user"),
        ({"working_dir": "x"}, "working_dir"),
        ({"name": "-x"}, "name"),
    ],
)
def test_exec_refuses(world: worlds.World, parameters: dict[str, t.Any], option: str) -> None:
    assert through(execute.execute, **{**EXEC, **parameters})["error"]["option"] == option


def test_exec_needs_a_running_container(world: worlds.World) -> None:
    assert through(execute.execute, **EXEC)["error"]["code"] == "E_NOT_FOUND"
    task(world, image="oci:/image", state="present")
    assert "start it" in through(execute.execute, **EXEC)["error"]["remedy"]


def test_info(world: worlds.World) -> None:
    assert through(information.containers)["containers"] == []
    task(world, image="oci:/image", labels={"tier": "front"})
    task(world, image="oci:/image", name="app", backend="runc", state="present")

    def names(**filters: t.Any) -> list[str]:
        return [item["name"] for item in through(information.containers, **filters)["containers"]]

    assert names() == ["app", "web"]
    assert names(name=["web", "gone"]) == names(labels={"tier": "front"}) == names(status=["running"]) == names(backend="crun") == ["web"]
    assert names(labels={"tier": "back"}) == []


def test_plugins(world: worlds.World) -> None:
    found = through(information.plugins)["plugins"]
    assert [(item["backend"], item["health"]["status"]) for item in found] == [("crun", "healthy"), ("runc", "healthy")]
    assert through(information.plugins, name=["gone"])["error"]["code"] == "E_NOT_FOUND"
    world.faults["features"] = NexcageError("E_BINARY", "not installed")
    assert through(information.plugins, name=["crun"])["plugins"][0]["health"]["status"] == "unhealthy"


def test_configure(world: worlds.World) -> None:
    predicted = through(information.configure, check=True, name="crun", state="disabled", priority=5)
    assert predicted["changed"] and not os.path.exists(world.layout.configuration)
    done = through(information.configure, name="crun-backend", state="disabled", priority=5)
    assert {k: done[k] for k in ("plan", "diff")} == {k: predicted[k] for k in ("plan", "diff")}
    assert not through(information.configure, name="crun", state="disabled", priority=5)["changed"]
    health = through(information.plugins, name=["crun"])["plugins"][0]["health"]
    assert health == {"status": "unknown", "problems": ["the plugin is disabled"]}


def test_settings_that_existing_configurations_have(world: worlds.World) -> None:
    done = through(information.configure, name="crun", config={"bundle_path": "/var/lib/nexcage/bundles", "binary_path": "/opt/crun"})
    assert done["changed"] and done["warned"] == ["config.bundle_path of crun-backend has no effect: bundles lie in the state folder, one for each container"]
    assert done["plugin"]["config"]["binary_path"] == "/opt/crun"


def test_configure_keeps_the_rest_of_the_file(world: worlds.World) -> None:
    os.makedirs(world.layout.configuration)
    path = world.layout.configuration + "/config.json"
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"runtime": {"routing": []}, "plugins": {"cli": {"stats": 1}, "crun-backend": {"config": {}}}}, file)
    assert through(information.configure, name="crun", priority=1)["changed"]
    with open(path, encoding="utf-8") as file:
        assert json.load(file) == {"runtime": {"routing": []}, "plugins": {"cli": {"stats": 1}, "crun-backend": {"config": {}, "priority": 1}}}


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{",
        '{"plugins": 1}',
        '{"plugins": {"crun-backend": 1}}',
        '{"plugins": {"crun-backend": {"priority": true}}}',
        '{"plugins": {"crun-backend": {"enabled": 1}}}',
    ],
)
def test_a_damaged_configuration_is_left_alone(world: worlds.World, content: str) -> None:
    os.makedirs(world.layout.configuration)
    path = pathlib.Path(world.layout.configuration, "config.json")
    path.write_text(content)
    assert through(information.configure, name="crun", priority=1)["error"]["code"] == "E_STATE"
    assert path.read_text() == content


def test_configure_refuses(world: worlds.World, monkeypatch: pytest.MonkeyPatch) -> None:
    for parameters, option in (({"priority": -1}, "priority"), ({"config": {"nope": 1}}, "config.nope")):
        assert through(information.configure, name="crun", **parameters)["error"]["option"] == option
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert through(information.configure, name="crun", priority=1)["error"]["code"] in ("E_PRIVILEGE", "E_STATE")


def test_settings_of_a_plugin(world: worlds.World) -> None:
    from ansible_collections.nexcage.backends.plugins.module_utils.manager import settings

    declared = {"path": {"type": "path"}, "on": {"type": "boolean"}, "count": {"type": "integer"}}
    assert settings.checked_config(declared, {"path": "/x", "on": True, "count": 2}, "p") == {"path": "/x", "on": True, "count": 2}
    for wrong in ({"path": "x"}, {"on": 1}, {"count": True}, {"count": "2"}):
        with pytest.raises(NexcageError):
            settings.checked_config(declared, wrong, "p")


def test_the_frame_warns_and_fails(world: worlds.World) -> None:
    task(world, image="oci:/image")
    world.containers["web"]["problems"] = ["conmon has ended"]
    from ansible_collections.nexcage.backends.tests.unit.manager.test_converge import DEFAULTS

    assert through(converge.converge, **{**DEFAULTS, "name": "web"})["warned"] == ["conmon has ended"]
    failed = through(converge.converge, **{**DEFAULTS, "name": "../x"})
    assert failed["failed"] and "name='../x'" in failed["msg"] and "Remedy" in failed["msg"]
    world.faults["start"] = NexcageError("E_RUNTIME", "no")
    assert [a["action"] for a in through(converge.converge, **{**DEFAULTS, "name": "web", "state": "restarted"})["plan"]] == ["stop", "start"]


def test_audit_trouble_becomes_a_warning(world: worlds.World) -> None:
    task(world, image="oci:/image")
    os.unlink(world.layout.audit)
    os.mkdir(world.layout.audit)
    from ansible_collections.nexcage.backends.tests.unit.manager.test_converge import DEFAULTS

    assert through(converge.converge, **{**DEFAULTS, "name": "web", "state": "absent"})["warned"]
    assert through(converge.converge, **{**DEFAULTS, "name": "web", "image": "oci:/image"})["error"]["code"] == "E_AUDIT"


def test_a_worker_that_does_not_start_is_ended(world: worlds.World, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.nexcage.backends.plugins.module_utils.manager import registry

    def refuse(self: worlds.InProcessWorker, limits: object = None) -> None:
        raise NexcageError("E_SANDBOX", "too weak")

    monkeypatch.setattr(worlds.InProcessWorker, "start", refuse)
    with world.session() as session:
        for _attempt in range(2):
            with pytest.raises(NexcageError, match="too weak"):
                session.operate(registry.get("crun", world.layout), "list", {"names": None})
        assert session.sandbox == {}


def test_logs_and_state_handlers(world: worlds.World) -> None:
    from ansible_collections.nexcage.backends.plugins.module_utils.manager import registry

    task(world, image="oci:/image")
    with world.session() as session:
        plugin = registry.get("crun", world.layout)
        assert session.operate(plugin, "logs", {"name": "web", "tail": 1})[0]["text"] == "x"
        assert session.operate(plugin, "info", {"name": "web"})["name"] == "web"
        assert session.ask(plugin, "state.get", {"key": "k"}) is None


def test_host_key(world: worlds.World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(key.host_key(world.layout, make=False)) == 32
    made = key.host_key(world.layout, make=True)
    assert key.host_key(world.layout, make=True) == made == key.host_key(world.layout, make=False)
    path = pathlib.Path(world.layout.state, "host.key")
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"short")
    with pytest.raises(NexcageError, match="not a key"):
        key.host_key(world.layout, make=False)


def test_host_key_of_another_run_wins(world: worlds.World, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(_source: str, path: str) -> None:
        pathlib.Path(path).write_bytes(b"o" * 32)
        raise FileExistsError

    monkeypatch.setattr(os, "link", lost)
    assert key.host_key(world.layout, make=True) == b"o" * 32
    assert os.listdir(world.layout.state) == ["host.key"]


def test_the_frame_answers_for_the_system_too(world: worlds.World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_session: object, _parameters: object) -> t.NoReturn:
        raise OSError(30, "Read-only file system", "/var/lib/nexcage/x")

    error = through(refuse)["error"]
    assert (error["code"], error["value"]) == ("E_STATE", "/var/lib/nexcage/x") and "Read-only" in error["message"]
    monkeypatch.setenv("NEXCAGE_ROOT", "relative")
    calls: list[str] = []
    process = types.SimpleNamespace(end=lambda: calls.append("end"), close=lambda: calls.append("close"))
    module = worlds.module({}, False)
    with pytest.raises(SystemExit):
        run.run(module, refuse, t.cast("t.Any", process))
    assert module.ended["error"]["option"] == "NEXCAGE_ROOT" and calls == ["end", "close"]


def test_a_child_that_nobody_would_hear_of(world: worlds.World) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        through(information.containers)
        assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGCHLD, before)


SENT, FOR_ANOTHER_PYTHON, KEPT = delivered.Code("0", b""), delivered.Code("0", b"", {}), delivered.Code("0", b"", {"model/plan.py": b""})


@pytest.mark.parametrize(("code", "unchanged"), [(None, False), (SENT, True), (FOR_ANOTHER_PYTHON, True), (KEPT, False)])
@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize(("check", "reading"), [(False, False), (True, False), (False, True)])
def test_what_keeps_code(
    world: worlds.World, code: delivered.Code | None, unchanged: bool, changed: bool, check: bool, reading: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[str] = []
    monkeypatch.setattr(run, "code", lambda: code)
    monkeypatch.setattr(kept_code, "keep", kept.append)
    with pytest.raises(SystemExit):
        run.run(worlds.module({}, check), lambda _session, _parameters: {"changed": changed}, reading=reading)
    assert bool(kept) is (not check and not reading and code is not None and (changed or unchanged))
