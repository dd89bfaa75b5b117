# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A world without runtimes for the manager's unit tests: real manager, gate, handlers and backends; engine,
image store and worker in memory, to inject faults. The real ones are tested in tests/runtime."""

from __future__ import annotations

import json
import os
import types
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.backends import crun, runc
from ansible_collections.nexcage.backends.plugins.module_utils.broker import handlers
from ansible_collections.nexcage.backends.plugins.module_utils.manager import dispatch
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.container import ContainerSpec
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.sdk import backend as sdk_backend
from ansible_collections.nexcage.backends.plugins.module_utils.sdk import errors as sdk_errors
from ansible_collections.nexcage.backends.plugins.module_utils.sdk.host import Host
from ansible_collections.nexcage.backends.plugins.module_utils.worker.sandbox import Sandbox

IDENTIFIER = "0123456789abcdef"
PLUGINS = {"crun-backend": crun, "runc-backend": runc}


def record(name: str, backend: str) -> dict[str, t.Any]:
    """The least that a record on disk holds."""
    places = {"cgroup": "/nexcage/" + IDENTIFIER, "rootfs": {}, "runtime": backend.partition("-")[0]}
    return {"schema_version": 1, "id": IDENTIFIER, "name": name, "backend": backend, **places, "stop_signal": 15, "stop_timeout": 10, "spec": {}}


class World:
    """What exists, and what shall go wrong."""

    def __init__(self, folder: str) -> None:
        self.layout = Layout.for_user(0, {"NEXCAGE_ROOT": folder})
        self.containers: dict[str, dict[str, t.Any]] = {}
        self.images = {"oci:/image": "sha256:" + "1" * 64}
        self.fetched: set[str] = set()
        self.faults: dict[str, NexcageError] = {}
        self.versions = {"crun": "1.8.1", "runc": "1.1.5"}
        self.outcome: dict[str, t.Any] = {"rc": 0, "stdout": "", "stderr": "", "timed_out": False}
        self.shown: dict[str, t.Any] = {}
        self.paths: set[str] = set()
        self.calls: list[str] = []
        self.exits_after = -1
        self.code = 3

    def session(self, check_mode: bool = False) -> dispatch.Session:
        return dispatch.Session(self.layout, check_mode, 5.0)

    def remember(self, name: str) -> None:
        """What the engine keeps on disk, as far as the manager reads it."""
        folder = f"{self.layout.state}/containers/{name}"
        if name not in self.containers:
            if os.path.exists(folder + "/current"):
                os.unlink(folder + "/current")
            return
        os.makedirs(f"{folder}/{IDENTIFIER}", exist_ok=True)
        with open(f"{folder}/{IDENTIFIER}/record.json", "w", encoding="utf-8") as file:
            json.dump({**record(name, self.containers[name]["backend"]), "spec": self.containers[name]["spec"]}, file)
        with open(folder + "/current", "w", encoding="utf-8") as file:
            file.write(IDENTIFIER)

    def writes(self) -> list[str]:
        """Changing calls of the engine and the image store so far."""
        reading = ("listing", "features", "check", "exists", "resolve", "configuration", "logs")
        return [call for call in self.calls if call not in reading]


class Engine:
    """The engine's interface over a :class:`World`."""

    def __init__(self, world: World, plugin: str, runtime: str) -> None:
        self.world, self.plugin, self.runtime = world, plugin, runtime

    def _call(self, name: str) -> None:
        self.world.calls.append(name)
        if name in self.world.faults:
            raise self.world.faults[name]

    def listing(self, names: list[str] | None = None) -> list[dict[str, t.Any]]:
        self._call("listing")
        world = self.world
        if world.exits_after >= 0 and world.calls.count("listing") > world.exits_after:
            for record in world.containers.values():
                record.update(status="stopped", exit_code=world.code)
        return [r for n, r in sorted(world.containers.items()) if r["backend"] == self.plugin and (names is None or n in names)]

    def features(self) -> dict[str, t.Any]:
        self._call("features")
        return {"path": "/usr/bin/" + self.runtime, "version": self.world.versions[self.runtime], "problems": []}

    def refuse_taking(self, name: str) -> None:
        """No container of this world is damaged."""

    def check(self, spec: ContainerSpec, image: t.Any) -> None:
        self._call("check")

    def exists(self, name: str, path: str) -> bool:
        self._call("exists")
        return path in self.world.paths

    def logs(self, name: str, tail: int | None) -> list[dict[str, str]]:
        self._call("logs")
        return [{"time": "", "stream": "stdout", "text": "x"}]

    def create(self, name: str, spec: ContainerSpec, secrets: t.Any, image: t.Any, take_over: bool = False) -> dict[str, str]:
        self._call("create")
        self.world.containers[name] = {
            "id": IDENTIFIER,
            "name": name,
            "backend": self.plugin,
            "status": "created",
            "pid": 1,
            "image": spec.get("image"),
            "image_digest": image["digest"] if image else None,
            "spec": dict(spec.values),
            "observed": {},
            "labels": spec.get("labels") or {},
            "backend_details": {"log": "/log"},
            "problems": [],
        }
        self.world.remember(name)
        return {"id": IDENTIFIER}

    def replace(self, name: str, spec: ContainerSpec, secrets: t.Any, image: t.Any, **_ending: t.Any) -> dict[str, str]:
        self._call("replace")
        made = self.create(name, spec, secrets, image)
        self.world.calls.pop()
        return made

    def update(self, name: str, changes: t.Mapping[str, t.Any]) -> None:
        self._call("update")
        record = self.world.containers[name]
        record["spec"].update(changes)
        record["observed"] = {}
        self.world.remember(name)

    def heal(self, name: str) -> None:
        self._call("heal")
        self.world.containers[name]["backend_details"].pop("generation_leftovers", None)

    def delete(self, name: str) -> None:
        self._call("delete")
        del self.world.containers[name]
        self.world.remember(name)

    def exec(self, name: str, process: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        self._call("exec")
        self.world.outcome["process"] = dict(process)
        return self.world.outcome

    def __getattr__(self, name: str) -> t.Callable[..., None]:
        status = {"start": "running", "stop": "stopped", "kill": "stopped", "pause": "paused", "resume": "running"}[name]

        def act(container: str, *_rest: object) -> None:
            self._call(name)
            self.world.containers[container]["status"] = status

        return act


class Images:
    """The image store's interface over a :class:`World`."""

    def __init__(self, world: World) -> None:
        self.world = world

    def resolve(self, reference: str, pull: str = "missing", **_rest: object) -> dict[str, t.Any]:
        self.world.calls.append("resolve")
        digest = self.world.images.get(reference)
        if digest is None and pull == "always":
            raise NexcageError("E_IMAGE", "no such image", option="image", value=reference)
        known = digest if pull == "always" or digest in self.world.fetched else None
        return {"reference": reference, "digest": known, "present": digest in self.world.fetched}

    def ensure(self, reference: str, pull: str, **_rest: object) -> dict[str, t.Any]:
        self.world.calls.append("ensure")
        digest = self.world.images[reference]
        changed = digest not in self.world.fetched
        self.world.fetched.add(digest)
        return {"digest": digest, "path": "/x", "config": {}, "changed": changed}

    def path(self, digest: str) -> str:
        return "/images/" + digest

    def configuration(self, digest: str) -> dict[str, t.Any]:
        return {}


class InProcessWorker:
    """A worker's interface without a process: the same plugin, host and errors."""

    shown: dict[str, t.Any] = {}  # what the plugin of the last exec was given and returned

    def __init__(self) -> None:
        self.required = "standard"
        self.sandbox = Sandbox("process", (), {})
        self.closed = False

    def start(self, limits: object = None) -> Sandbox:
        return self.sandbox

    def load(self, name: str, sources: dict[str, str], config: t.Mapping[str, t.Any], meanwhile: t.Callable[[], object], program: object = None) -> None:
        assert "plugin.py" in sources
        meanwhile()
        self.extension = PLUGINS[name].backend()

    def request(self, operation: str, params: dict[str, t.Any], handler: t.Any, deadline_s: float) -> t.Any:
        refusals: list[NexcageError] = []

        def call(name: str, parameters: dict[str, t.Any]) -> t.Any:
            try:
                return handler(name, parameters)
            except NexcageError as error:
                refusals.append(error)
                raise sdk_errors.host_error(error.as_dict()) from error

        host = Host(call, lambda level, message: handler("log", {"level": level, "message": message}))
        try:
            value = json.loads(json.dumps(sdk_backend.perform(self.extension, host, operation, params)))
            self.shown.clear()
            self.shown.update(value if operation == "exec" and isinstance(value, dict) else {})
            return value
        except sdk_errors.HostError:
            raise refusals[-1] from None

    def close(self) -> None:
        self.closed = True


def make(monkeypatch: pytest.MonkeyPatch, folder: str) -> World:
    """A world below ``folder``, with the caller as root."""
    world = World(folder)
    monkeypatch.setattr(dispatch, "Worker", InProcessWorker)
    monkeypatch.setattr(InProcessWorker, "shown", world.shown)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(handlers.Workbench, "engine", property(lambda bench: Engine(world, bench.plugin, bench.runtime.rpartition("/")[2])))
    monkeypatch.setattr(handlers.Workbench, "images", property(lambda bench: Images(world)))
    return world


def module(parameters: dict[str, t.Any], check_mode: bool = False) -> t.Any:
    """What stands for an AnsibleModule: it collects how it ended."""
    ended: dict[str, t.Any] = {}

    def leave(**result: t.Any) -> None:
        ended.update(result)
        raise SystemExit

    def fail(**result: t.Any) -> None:
        leave(failed=True, **result)

    warnings: list[str] = []
    return types.SimpleNamespace(
        params=parameters, check_mode=check_mode, exit_json=leave, fail_json=fail, warn=warnings.append, warnings=warnings, ended=ended
    )
