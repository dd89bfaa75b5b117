# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers of a backend of its own kind: what is recorded, asked and done, killed at every step of it, and what is refused.

The plugin is a real one in the manager's hands; what it drives is a dictionary, so that a run can be ended anywhere.
"""

from __future__ import annotations

import copy
import json
import os
import pathlib
import types
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import store
from ansible_collections.nexcage.backends.plugins.module_utils.manager import converge, execute, foreign, information, registry
from ansible_collections.nexcage.backends.plugins.module_utils.model import options
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.sdk.backend import BackendExtension
from ansible_collections.nexcage.backends.tests.support import world as worlds

DEFAULTS = {name: entry.get("default") for name, entry in options.argument_spec().items()}
EXEC = {"command": None, "env": None, "secret_env": None, "user": None, "working_dir": None, "stdin": None, "creates": None, "removes": None, "timeout": 60}
MANIFEST: dict[str, t.Any] = {
    "name": "boxes-backend",
    "version": "1.0.0",
    "api_version": 1,
    "capabilities": [f"container_{name}" for name in ("create", "start", "stop", "delete", "list", "info", "exec")],
    "operations": ["create", "start", "stop", "delete", "replace", "update", "check", "list", "info", "exec", "pause", "resume"],
    "options": ["image", "env", "secret_env", "memory", "pids_limit", "force_kill"],
    "live": ["memory", "pids_limit"],
    "oci": {},
    "provides_backend": True,
    "resource_requirements": {"max_memory_mb": 64, "max_cpu_percent": 5, "timeout_seconds": 30},
    "binary_dependencies": [],
    "system_requirements": {"os": [], "architecture": [], "kernel_version": ">=0", "virtualization": []},
    "configuration": {},
}


class Killed(BaseException):
    """The end of a run, at the step that was asked for."""


class Boxes(BackendExtension):
    """A backend over a dictionary; ``calls`` are the operations, ``fault`` an error to raise, ``kill_at`` the step to end at."""

    name = "boxes-backend"

    def __init__(self) -> None:
        self.there: dict[str, dict[str, t.Any]] = {}
        self.calls: list[str] = []
        self.params: dict[str, dict[str, t.Any]] = {}
        self.faults: dict[str, NexcageError] = {}
        self.kill_at = -1
        self.answer: t.Any = {"rc": 0, "stdout": "hello", "stderr": ""}

    def step(self, _name: str = "") -> None:
        if self.kill_at == 0:
            raise Killed
        self.kill_at -= 1

    def _call(self, name: str, params: dict[str, t.Any]) -> None:
        self.calls.append(name)
        self.params[name] = copy.deepcopy(params)
        if name in self.faults:
            raise self.faults[name]
        if name not in ("list", "check"):
            self.step()

    def _done(self) -> None:
        self.step()

    def check(self, host: t.Any, params: t.Any) -> None:
        self._call("check", params)

    def create(self, host: t.Any, params: t.Any) -> dict[str, t.Any]:
        self._call("create", params)
        assert params["name"] not in self.there
        self.there[params["name"]] = {"mark": params["mark"], "status": "created", "spec": params["spec"]}
        self._done()
        return {"id": params["name"]}

    def start(self, host: t.Any, params: t.Any) -> None:
        self._call("start", params)
        self.there[params["name"]]["status"] = "running"
        self._done()

    def stop(self, host: t.Any, params: t.Any) -> None:
        self._call("stop", params)
        if params["name"] in self.there:
            self.there[params["name"]]["status"] = "stopped"
        self._done()

    def delete(self, host: t.Any, params: t.Any) -> None:
        self._call("delete", params)
        assert self.there.get(params["name"], {}).get("status") not in ("running", "paused")
        self.there.pop(params["name"], None)
        self._done()

    def pause(self, host: t.Any, params: t.Any) -> None:
        self._call("pause", params)
        self.there[params["name"]]["status"] = "paused"

    def resume(self, host: t.Any, params: t.Any) -> None:
        self.start(host, params)

    def update(self, host: t.Any, params: t.Any) -> None:
        self._call("update", params)
        self.there[params["name"]]["spec"].update(params["changes"])
        self._done()

    def list(self, host: t.Any, params: t.Any) -> t.Any:
        self._call("list", params)
        names = self.there if params["names"] is None else params["names"]
        return [{"name": name, **self._shown(self.there[name])} for name in names if name in self.there]

    def _shown(self, box: dict[str, t.Any]) -> dict[str, t.Any]:
        return {key: box[key] for key in ("mark", "status", "observed", "exit_code") if key in box}

    def info(self, host: t.Any, params: t.Any) -> t.Any:
        return self.list(host, {"names": [params["name"]]})[0]

    def exec(self, host: t.Any, params: t.Any) -> t.Any:
        self._call("exec", params)
        return self.answer


class World(worlds.World):
    """The world of the manager's tests with one backend more."""

    boxes: Boxes


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> World:
    made = t.cast("World", worlds.make(monkeypatch, str(tmp_path)))
    made.boxes = Boxes()
    module = types.SimpleNamespace(MANIFEST=MANIFEST, backend=lambda: made.boxes)
    known = registry._module
    monkeypatch.setitem(registry.BUILT_IN, "boxes-backend", 30)
    monkeypatch.setitem(worlds.PLUGINS, "boxes-backend", module)
    monkeypatch.setattr(registry, "_module", lambda name: module if name == "boxes-backend" else known(name))
    monkeypatch.setattr(registry, "sources", lambda plugin: {"plugin.py": ""})
    monkeypatch.setattr(store, "CHECKPOINT", lambda name: made.boxes.step() if name.startswith("foreign:") else None)
    return made


def task(world: World, check: bool = False, **parameters: t.Any) -> dict[str, t.Any]:
    with world.session(check) as session:
        return converge.converge(session, {**DEFAULTS, "name": "web", "backend": "boxes", **parameters})


def web(world: World, check: bool = False, **parameters: t.Any) -> dict[str, t.Any]:
    return task(world, check, **{"image": "oci:/image", **parameters})


def kinds(result: dict[str, t.Any]) -> list[str]:
    return [action["action"] for action in result["plan"]]


def refused(code: str, call: t.Callable[[], object]) -> NexcageError:
    with pytest.raises(NexcageError) as caught:
        call()
    assert caught.value.code == code, caught.value
    return caught.value


def info(world: World, **parameters: t.Any) -> tuple[list[dict[str, t.Any]], list[str]]:
    with world.session() as session:
        return information.containers(session, parameters)["containers"], session.warnings


def run(world: World, check: bool = False, **parameters: t.Any) -> dict[str, t.Any]:
    with world.session(check) as session:
        return execute.execute(session, {**EXEC, "name": "web", "argv": ["a"], **parameters})


def record(world: World) -> pathlib.Path:
    return pathlib.Path(world.layout.state, "foreign/boxes-backend/web.json")


def test_a_life(world: World, tmp_path: pathlib.Path) -> None:
    predicted = web(world, check=True, memory="32m", env={"A": "b"})
    assert world.boxes.calls == ["list", "list", "check"] and list(tmp_path.iterdir()) == [], "check mode changes nothing"
    made = web(world, memory="32m", env={"A": "b"})
    assert (predicted["plan"], predicted["diff"]) == (made["plan"], made["diff"]) and kinds(made) == ["create", "start"]
    assert world.boxes.params["create"]["spec"] == {"image": "oci:/image", "memory": 32 << 20, "env": {"A": "b"}}
    assert (made["container"]["backend"], made["container"]["status"]) == ("boxes", "running")
    assert record(world).stat().st_mode & 0o777 == 0o600 and record(world).parent.parent.stat().st_mode & 0o777 == 0o700
    assert json.loads(record(world).read_text())["mark"] == world.boxes.there["web"]["mark"]
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert not web(world, memory="32m", env={"A": "b"})["changed"] and not web(world, check=True)["changed"] and not task(world, backend="auto")["changed"]
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    assert kinds(task(world, memory="64m")) == ["update"] and world.boxes.params["update"]["changes"] == {"memory": 64 << 20}
    assert world.boxes.params["update"]["spec"]["env"] == {"A": "b"}
    assert kinds(task(world, env={"A": "c"})) == ["replace", "start"] and world.boxes.there["web"]["spec"]["memory"] == 64 << 20
    assert [entry["name"] for entry in info(world, name=None)[0]] == ["web"] and info(world, backend="crun")[0] == []
    assert kinds(task(world, state="paused")) == ["pause"] and kinds(task(world)) == ["resume"]
    assert kinds(task(world, state="stopped", force_kill=True)) == ["stop"] and world.boxes.params["stop"]["force"] is True
    assert kinds(task(world, state="absent", backend="auto")) == ["delete"]
    assert not record(world).parent.exists() and not task(world, state="absent")["changed"]


def test_drift_is_put_right(world: World) -> None:
    web(world, memory="32m", pids_limit=7)
    world.boxes.there["web"]["observed"] = {"memory": 5 << 20}
    assert kinds(task(world, check=True)) == ["update"]
    world.boxes.there["web"]["observed"] = {"memory": 32 << 20}
    assert not task(world)["changed"]


def test_secrets(world: World, tmp_path: pathlib.Path) -> None:
    result = web(world, secret_env={"TOKEN": "swordfish-swordfish"})
    kept = "".join(path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file())
    assert "swordfish" not in json.dumps(result) + json.dumps(world.boxes.params) + kept
    assert world.boxes.params["create"]["spec"]["secret_env"] == {"TOKEN": "(secret)"}
    assert not web(world, secret_env={"TOKEN": "swordfish-swordfish"})["changed"]
    for check in (True, False):
        assert refused("E_INVALID", lambda check=check: task(world, check, env={"A": "b"})).option == "secret_env"  # type: ignore[misc]
    assert kinds(task(world, env={"A": "b"}, secret_env={})) == ["replace", "start"]


def test_what_the_backend_does_not_have(world: World) -> None:
    for name, value in (("hostname", "x"), ("pull", "always"), ("kill_signal", "INT"), ("tmpfs", ["/t"]), ("volumes", ["/a:/b"]), ("validate_certs", False)):
        error = refused("E_UNSUPPORTED", lambda name=name, value=value: web(world, **{name: value}))  # type: ignore[misc]
        assert error.option == name and "image, env" in error.remedy
    assert world.boxes.calls == []
    world.boxes.faults["check"] = NexcageError("E_UNSUPPORTED", "no such size")
    for check in (True, False):
        refused("E_UNSUPPORTED", lambda check=check: web(world, check))  # type: ignore[misc]
    assert world.boxes.there == {} and not record(world).exists()


def test_a_container_of_somebody_else(world: World) -> None:
    world.boxes.there["web"] = {"mark": "", "status": "running"}
    for check in (True, False):
        for state in ("started", "absent", "stopped"):
            refused("E_OWNER", lambda check=check, state=state: web(world, check, state=state))  # type: ignore[misc]
    assert set(world.boxes.calls) == {"list"} and info(world)[0] == []
    del world.boxes.there["web"]
    web(world)
    world.boxes.there["web"] = {"mark": "0" * 32, "status": "running"}  # made in place of ours
    refused("E_OWNER", lambda: web(world))
    found, warnings = info(world)
    assert found == [] and "web" in warnings[0]
    del world.boxes.there["web"]
    assert not task(world, state="absent")["changed"] and not record(world).exists()  # ours is gone, and so is its record


def test_one_that_was_removed_by_hand_is_made_again(world: World) -> None:
    web(world)
    world.boxes.there.clear()
    assert info(world)[0] == [] and kinds(web(world, check=True)) == ["create", "start"]
    assert kinds(web(world)) == ["create", "start"] and not web(world)["changed"]


def test_a_record_that_was_changed(world: World) -> None:
    web(world, env={"A": "b"})
    value = json.loads(record(world).read_text())
    record(world).write_text(json.dumps({**value, "spec": {**value["spec"], "env": {"A": "c"}}}))
    anew = web(world, env={"A": "c"})
    assert kinds(anew) == ["replace", "start"] and "behind our back" in anew["plan"][0]["reason"]
    assert not web(world, env={"A": "c"})["changed"]
    record(world).write_text("{")
    for state in ("started", "absent"):
        assert str(record(world)) in str(refused("E_STATE", lambda state=state: web(world, state=state)))  # type: ignore[misc]
    assert "not listed" in info(world)[1][0]
    refused("E_DISABLED", lambda: (_disable(world), web(world)))
    assert "web" in world.boxes.there


def _disable(world: World) -> None:
    os.makedirs(world.layout.configuration, exist_ok=True)
    pathlib.Path(world.layout.configuration, "config.json").write_text('{"plugins": {"boxes-backend": {"enabled": false}}}')


def test_between_backends(world: World) -> None:
    task(world, backend="crun", image="oci:/image")
    refused("E_OWNER", lambda: web(world))
    world.boxes.there["web"] = {"mark": "", "status": "running"}
    before = list(world.calls)
    refused("E_OWNER", lambda: web(world, replace_backend=True))  # there it is somebody else's: the old one stays
    assert "delete" not in world.calls[len(before) :] and world.containers["web"]["status"] == "running"
    del world.boxes.there["web"]
    moved = web(world, replace_backend=True)
    assert kinds(moved) == ["replace", "start"] and moved["container"]["backend"] == "boxes" and world.containers == {}
    back = task(world, backend="crun", image="oci:/image", replace_backend=True)
    assert back["container"]["backend"] == "crun" and world.boxes.there == {} and not record(world).exists()


def test_one_name_one_container(world: World) -> None:
    web(world)
    assert refused("E_OWNER", lambda: task(world, backend="crun", image="oci:/image")).option == "backend"
    world.boxes.there.clear()  # gone by hand: then anybody may have the name
    assert task(world, backend="crun", image="oci:/image")["container"]["backend"] == "crun" and not record(world).exists()


def test_a_failure_leaves_no_record_of_nothing(world: World) -> None:
    world.boxes.faults["create"] = NexcageError("E_RUNTIME", "no")
    refused("E_RUNTIME", lambda: web(world))
    assert not record(world).exists()
    del world.boxes.faults["create"]
    web(world)
    world.boxes.faults["create"] = NexcageError("E_RUNTIME", "no")
    refused("E_RUNTIME", lambda: web(world, env={"A": "b"}))  # the old one is gone by then
    assert info(world)[0][0]["status"] == "incomplete"
    del world.boxes.faults["create"]
    healed = task(world, image="oci:/image")
    assert kinds(healed) == ["create", "start"] and world.boxes.there["web"]["spec"]["env"] == {"A": "b"}


# ---- killed at every step


WANTED: dict[str, dict[str, t.Any]] = {
    "create": {"image": "oci:/image", "memory": "64m", "env": {"A": "new"}},
    "update": {"memory": "64m"},
    "replace": {"image": "oci:/image", "env": {"A": "new"}},
    "absent": {"state": "absent"},
}


@pytest.mark.parametrize("then", ["again", "old", "absent"])
@pytest.mark.parametrize("what", WANTED)
def test_killed_anywhere_the_next_run_heals(world: World, monkeypatch: pytest.MonkeyPatch, what: str, then: str) -> None:
    old = {"image": "oci:/image", "memory": "32m", "env": {"A": "old"}}
    for step in range(40):
        world.boxes.kill_at = -1
        task(world, state="absent")
        if what != "create":
            task(world, **old)
        world.boxes.kill_at = step
        try:
            task(world, **WANTED[what])
        except Killed:
            pass
        else:
            break
        world.boxes.kill_at = -1
        assert all(entry["status"] in ("incomplete", "created", "running", "stopped") for entry in info(world)[0])
        wanted = {"again": WANTED[what], "old": old, "absent": {"state": "absent"}}[then]
        predicted = task(world, check=True, **wanted)
        healed = task(world, **wanted)
        assert kinds(predicted) == kinds(healed), (step, kinds(predicted), kinds(healed))
        assert not task(world, **wanted)["changed"], step
        if wanted.get("state") == "absent":
            assert world.boxes.there == {} and not record(world).exists(), step
        else:
            box = world.boxes.there["web"]
            assert box["status"] == "running", step
            env = "old" if then == "old" or what == "update" else "new"
            memory = 32 << 20 if then == "old" or what == "replace" else 64 << 20
            assert (box["spec"]["env"], box["spec"]["memory"]) == ({"A": env}, memory), step
    assert step >= 4, step


def test_a_half_made_one_that_runs_is_stopped_first(world: World) -> None:
    world.boxes.kill_at = 3
    with pytest.raises(Killed):
        web(world)
    world.boxes.kill_at = -1
    world.boxes.there["web"]["status"] = "running"
    assert kinds(task(world, state="absent")) == ["delete"] and world.boxes.there == {}
    assert world.boxes.calls[-3:] == ["stop", "delete", "list"]


# ---- a command


def test_exec(world: World) -> None:
    web(world)
    result = run(world, env={"A": "b"}, secret_env={"TOKEN": "hush-hush"}, stdin="x")
    assert (result["rc"], result["stdout"]) == (0, "hello")
    told = world.boxes.params["exec"]
    assert (told["argv"], told["env"], told["secret_env"], told["stdin"]) == (["a"], {"A": "b"}, ["TOKEN"], True) and "hush" not in json.dumps(told)
    world.boxes.answer = {"rc": 3, "stdout": "é", "stderr": "no"}
    assert refused("E_RUNTIME", lambda: run(world)).details["stdout"] == "é"
    world.boxes.answer = {"rc": 0, "timed_out": True}
    refused("E_TIMEOUT", lambda: run(world))
    for answer in (None, [], {}, {"rc": "0"}, {"rc": True}, {"rc": 0, "stdout": 1}, {"rc": 0, "stderr": None}):
        world.boxes.answer = answer
        assert refused("E_PROTOCOL", lambda: run(world)).details["changed"] is True
    assert run(world, check=True)["skipped"]
    assert refused("E_UNSUPPORTED", lambda: run(world, creates="/x")).option == "creates"


def test_records_of_a_plugin_that_is_gone(world: World, tmp_path: pathlib.Path) -> None:
    web(world)
    os.rename(record(world).parent, record(world).parent.parent / "gone-backend")
    (tmp_path / "var/lib/nexcage/foreign/junk").write_text("")
    (tmp_path / "var/lib/nexcage/foreign/gone-backend/-no.json").write_text("")
    found, warnings = info(world)
    assert found == [] and "gone-backend" in warnings[0]
    refused("E_OWNER", lambda: web(world))
    assert foreign.held(world.layout) == {"gone-backend": ["web"]}


def test_a_plugin_that_answers_with_nonsense(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    web(world)
    monkeypatch.setattr(Boxes, "list", lambda boxes, host, params: [{"name": "web", "status": "fine"}])
    assert refused("E_PROTOCOL", lambda: web(world)).option == "status"
    assert "not listed" in info(world)[1][0]
    refused("E_PROTOCOL", lambda: info(world, backend="boxes"))


# ---- moves


@pytest.fixture
def crates(world: World, monkeypatch: pytest.MonkeyPatch) -> Boxes:
    """One more backend of its own kind."""
    other = Boxes()
    other.name, other.step = "crates-backend", world.boxes.step  # type: ignore[method-assign]
    module = types.SimpleNamespace(MANIFEST={**MANIFEST, "name": "crates-backend"}, backend=lambda: other)
    known = registry._module
    monkeypatch.setitem(registry.BUILT_IN, "crates-backend", 40)
    monkeypatch.setitem(worlds.PLUGINS, "crates-backend", module)
    monkeypatch.setattr(registry, "_module", lambda name: module if name == "crates-backend" else known(name))
    return other


@pytest.mark.parametrize("then", ["again", "stay", "absent"])
@pytest.mark.parametrize("start", ["crun", "boxes"])
def test_a_move_that_is_killed_anywhere_loses_nothing(world: World, crates: Boxes, start: str, then: str) -> None:
    """Also not what only the record knows: the task that moves it says nothing of image and environment."""
    for step in range(40):
        world.boxes.kill_at = -1
        task(world, backend="auto", state="absent")
        task(world, backend=start, image="oci:/image", env={"A": "kept"})
        world.boxes.kill_at = step
        move = {"backend": "crates", "replace_backend": True}
        try:
            task(world, **move)
        except Killed:
            pass
        else:
            break
        world.boxes.kill_at = -1
        (found,) = info(world)[0]
        if then == "stay" and found["backend"] == start:
            assert not task(world, backend=start)["changed"] or found["status"] == "stopped", step
            assert [entry["backend"] for entry in info(world)[0]] == [start]
        wanted = {"backend": "auto", "state": "absent"} if then == "absent" else move
        healed = task(world, **wanted)
        assert not task(world, **wanted)["changed"], step
        if then == "absent":
            assert (world.boxes.there, crates.there, world.containers, info(world)[0]) == ({}, {}, {}, []), step
            assert not list(pathlib.Path(world.layout.state).glob("foreign/*/*")), step
        else:
            assert healed["container"]["backend"] == "crates" and crates.there["web"]["spec"]["env"] == {"A": "kept"}, step
            assert (world.boxes.there, world.containers) == ({}, {}), step
    assert step >= 4, step
