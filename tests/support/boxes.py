# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backend of its own kind over a dictionary, for the manager's tests: it tells what it was asked for, and a run can be ended anywhere."""

from __future__ import annotations

import copy
import pathlib
import types
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import store
from ansible_collections.nexcage.backends.plugins.module_utils.manager import converge, execute, information, registry
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


def add(monkeypatch: pytest.MonkeyPatch, name: str, boxes: Boxes, priority: int = 30) -> None:
    """Let the manager know a backend, as if it were built in."""
    module = types.SimpleNamespace(MANIFEST={**MANIFEST, "name": name}, backend=lambda: boxes)
    known = registry._module
    monkeypatch.setitem(registry.BUILT_IN, name, priority)
    monkeypatch.setitem(worlds.PLUGINS, name, module)
    monkeypatch.setattr(registry, "_module", lambda wanted: module if wanted == name else known(wanted))


def make(monkeypatch: pytest.MonkeyPatch, folder: str) -> World:
    """A world with the backend ``boxes`` in it."""
    made = t.cast("World", worlds.make(monkeypatch, folder))
    made.boxes = Boxes()
    add(monkeypatch, "boxes-backend", made.boxes)
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
