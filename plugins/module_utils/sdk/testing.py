# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""An in-process host for an author's unit tests: it records every call and keeps a small world of containers.

    host = FakeHost(images=["localhost/app:1"])
    run(backend(), host, "create", {"name": "web", "image": "localhost/app:1"})
    host.calls[-1] == ("oci.create", {"name": "web", "image": host.images["localhost/app:1"]})

Unlike the real host it knows no grants; say ``host.refuse("oci.start", "E_GRANT")`` to see one missing. With the manifest
it refuses commands and requests that no template says.
"""

from __future__ import annotations

import base64
import hashlib
import json
import typing as t

from ..model.effects_extra import EXTRA
from ..model.errors import NexcageError
from ..model.hook import EVENTS
from .backend import BackendExtension, perform
from .errors import HostError, host_error
from .host import Host

# What events tell of, as an example. The spec has canonical values, as container.spec in results.
_TOLD: dict[str, t.Any] = {
    "name": "web",
    "backend": "crun-backend",
    "spec": {"image": "localhost/app:1", "labels": {"owner": "ops"}, "env": {"MODE": "test"}, "memory": 67108864},
    "before": "stopped",
    "after": "running",
    "cause": "task",
    "user": 0,
    "failed": False,
    "plugin": "sample-backend",
    "version": "1.0.0",
    "plugins": [{"name": "sample-backend", "status": "healthy"}],
    "code": "E_RUNTIME",
    "option": "image",
}
Params = dict[str, t.Any]
Answer = t.Union[Params, t.Callable[[Params], Params]]


class FakeHost(Host):
    """A host without a host.

    Args:
        images: References that exist, in the registry and on this host alike.
        runtime: Name that ``host.oci.features()`` tells.
        manifest: The plugin's, for its templates.

    Attributes:
        calls: Every brokered call in order, with its parameters.
        messages: Every log line: level and message.
        containers: Records by name, as ``host.oci.list()`` tells them.
        images: Reference to digest.
        store: What ``host.state`` keeps.
        paths: Name and path of what ``host.oci.exists()`` finds.
        problems: What ``host.oci.features()`` tells under that name.
        outcome: What ``host.oci.exec()`` answers.
        files: Root and path to the content that ``host.fs`` keeps; ``None`` for a folder.
        outcomes: Command to what ``host.command.run()`` answers, or to a function from its parameters to that.
        responses: Method and path template to what ``host.http.request()`` answers, or to a function from all that
            was given to that.
    """

    def __init__(self, images: t.Iterable[str] = (), runtime: str = "fake", manifest: t.Mapping[str, t.Any] | None = None) -> None:
        super().__init__(self._answer, self._note)
        self.calls: list[tuple[str, Params]] = []
        self.messages: list[tuple[str, str]] = []
        self.containers: dict[str, dict[str, t.Any]] = {}
        self.images = {name: "sha256:" + hashlib.sha256(name.encode()).hexdigest() for name in images}
        self.store: dict[str, t.Any] = {}
        self.paths: set[tuple[str, str]] = set()
        self.problems: list[str] = []
        self.outcome: dict[str, t.Any] = {"rc": 0, "stdout": "", "stderr": "", "timed_out": False}
        self.files: dict[tuple[str, str], bytes | None] = {}
        self.outcomes: dict[str, Answer] = {}
        self.responses: dict[tuple[str, str], Answer] = {}
        self._manifest = manifest
        self._runtime = runtime
        self._refusals: dict[str, HostError] = {}

    def refuse(self, call: str, code: str, message: str = "refused by the test") -> None:
        """Let every later ``call`` fail with that code."""
        self._refusals[call] = host_error({"code": code, "message": message})

    def _note(self, level: str, message: str) -> None:
        self.messages.append((level, message))

    def _answer(self, name: str, params: Params) -> t.Any:
        params = _through_pipe(params)
        self.calls.append((name, params))
        if name in self._refusals:
            raise self._refusals[name]
        handler = getattr(self, "_" + name.replace(".", "_"), None)
        if handler is None:
            raise host_error({"code": "E_CAPABILITY", "message": f"there is no broker call {name!r}"})
        self._check(name, params)
        return _through_pipe(handler(**params))

    def _check(self, name: str, params: Params) -> None:
        """What the broker refuses by itself, of calls beyond containers."""
        effect = EXTRA.get(name)
        if effect is None:
            return
        try:
            arguments = {key: check(key, params.get(key)) for key, check in effect.parameters.items()}
            if effect.use is not None and self._manifest is not None:
                effect.use(self._manifest, arguments)
        except NexcageError as error:
            raise host_error(error.as_dict()) from None

    def _container(self, name: str, *states: str) -> dict[str, t.Any]:
        if name not in self.containers:
            raise host_error({"code": "E_NOT_FOUND", "message": f"there is no container {name}"})
        record = self.containers[name]
        if states and record["status"] not in states:
            raise host_error({"code": "E_RUNTIME", "message": f"{name} is {record['status']}"})
        return record

    def _oci_list(self, names: list[str] | None) -> t.Any:
        return [record for name, record in sorted(self.containers.items()) if names is None or name in names]

    def _oci_info(self, name: str) -> t.Any:
        return self._container(name)

    def _oci_logs(self, name: str, tail: int | None) -> t.Any:
        lines = self._container(name).get("lines", [])
        return lines if tail is None else lines[len(lines) - min(tail, len(lines)) :]

    def _oci_features(self) -> t.Any:
        facts = {"runtime": self._runtime, "path": "/usr/bin/" + self._runtime, "version": "1.0.0"}
        return {**facts, "cgroup_mode": "v2", "overlay": True, "problems": self.problems}

    def _oci_exists(self, name: str, path: str) -> bool:
        self._container(name, "running")
        return (name, path) in self.paths

    def _oci_check(self, name: str, image: str | None) -> None:
        self._known(image)

    def _known(self, image: str | None) -> None:
        if image is not None and image not in self.images.values():
            raise host_error({"code": "E_IMAGE", "message": f"no image {image} on this host"})

    def _oci_create(self, name: str, image: str | None) -> t.Any:
        if name in self.containers:
            raise host_error({"code": "E_EXISTS", "message": f"there is a container {name} already"})
        return self._place(name, image)

    def _place(self, name: str, image: str | None) -> t.Any:
        self._known(image)
        identifier = hashlib.sha256(f"{name}{len(self.calls)}".encode()).hexdigest()[:16]
        self.containers[name] = {"id": identifier, "name": name, "status": "created", "pid": None, "image_digest": image}
        return {"id": identifier}

    def _oci_replace(self, name: str, image: str | None) -> t.Any:
        self._container(name)
        return self._place(name, image)

    def _oci_start(self, name: str) -> None:
        self._container(name, "created", "stopped").update(status="running", pid=4711)

    def _oci_stop(self, name: str, signal: int | None, timeout: int | None, force: bool) -> None:
        self._container(name).update(status="stopped", pid=None)

    def _oci_kill(self, name: str, signal: int) -> None:
        record = self._container(name, "running", "paused")
        if signal in (9, 15):
            record.update(status="stopped", pid=None)

    def _oci_delete(self, name: str) -> None:
        self._container(name, "created", "stopped")
        del self.containers[name]

    def _oci_pause(self, name: str) -> None:
        self._container(name, "running").update(status="paused")

    def _oci_resume(self, name: str) -> None:
        self._container(name, "paused").update(status="running")

    def _oci_update(self, name: str) -> None:
        self._container(name)

    def _oci_heal(self, name: str) -> None:
        self._container(name)

    def _oci_exec(self, name: str) -> t.Any:
        self._container(name, "running")
        return self.outcome

    def _image_resolve(self, reference: str, pull: str) -> t.Any:
        return {"digest": self._digest(reference), "present": True, "reference": reference}

    def _image_configuration(self, digest: str) -> t.Any:
        if digest not in self.images.values():
            raise host_error({"code": "E_NOT_FOUND", "message": f"there is no image {digest}"})
        return {}

    def _image_ensure(self, reference: str, pull: str) -> t.Any:
        return {"digest": self._digest(reference), "changed": False}

    def _digest(self, reference: str) -> str:
        if reference not in self.images:
            raise host_error({"code": "E_IMAGE", "message": f"there is no image {reference}"})
        return self.images[reference]

    def _state_get(self, key: str) -> t.Any:
        return self.store.get(key)

    def _state_put(self, key: str, value: t.Any) -> None:
        self.store[key] = value
        if value is None:
            del self.store[key]

    def _fs_read(self, root: str, path: str, encoding: str) -> str:
        content = self.files.get((root, path))
        if content is None:
            raise host_error({"code": "E_NOT_FOUND", "message": f"there is no file {root}:{path}"})
        return base64.b64encode(content).decode() if encoding == "base64" else content.decode()

    def _fs_list(self, root: str, path: str) -> t.Any:
        prefix = path + "/" if path else ""
        below = [name for where, name in self.files if where == root and name.startswith(prefix)]
        names = sorted({name[len(prefix) :].partition("/")[0] for name in below})
        return [{"name": name, **{key: self._fs_stat(root, prefix + name)[key] for key in ("type", "size")}} for name in names]

    def _fs_stat(self, root: str, path: str) -> Params:
        content = self.files.get((root, path))
        if content is None and path and not any(where == root and f"{name}/".startswith(path + "/") for where, name in self.files):
            raise host_error({"code": "E_NOT_FOUND", "message": f"there is nothing at {root}:{path}"})
        kind, mode = ("folder", 0o700) if content is None else ("file", 0o600)
        return {"type": kind, "size": len(content or b""), "mode": mode, "modified": 0.0}

    def _fs_write(self, root: str, path: str, content: str, encoding: str, mode: int | None) -> t.Any:
        data = base64.b64decode(content) if encoding == "base64" else content.encode()
        changed = self.files.get((root, path)) != data
        self.files[root, path] = data
        return {"changed": changed}

    def _fs_mkdir(self, root: str, path: str, mode: int | None) -> t.Any:
        changed = (root, path) not in self.files
        self.files.setdefault((root, path), None)
        return {"changed": changed}

    def _fs_remove(self, root: str, path: str) -> t.Any:
        if any(where == root and name.startswith(path + "/") for where, name in self.files):
            raise host_error({"code": "E_FS", "message": f"{root}:{path} is not empty"})
        changed = (root, path) in self.files
        self.files.pop((root, path), None)
        return {"changed": changed}

    def _command_run(self, command: str, parameters: Params | None) -> t.Any:
        outcome = self.outcomes.get(command, {})
        found = outcome(parameters or {}) if callable(outcome) else outcome
        return {"rc": 0, "stdout": "", "stderr": "", "truncated": False, **found}

    def _http_request(self, method: str, path: str, **given: t.Any) -> t.Any:
        response = self.responses.get((method, path))
        if response is None:
            raise host_error({"code": "E_HTTP", "message": f"the test has no response to {method} {path}"})
        found = response({"method": method, "path": path, **given}) if callable(response) else response
        return {"status": 200, "headers": {}, "json": None, "text": "", **found}


def _through_pipe(value: t.Any) -> t.Any:
    """What is left of a value after the worker's pipe; ``TypeError`` or ``ValueError`` for what JSON does not know."""
    return json.loads(json.dumps(value, allow_nan=False))


def run(extension: BackendExtension, host: Host, operation: str, params: Params | None = None) -> t.Any:
    """Run one operation as the worker would, result and parameters through JSON.

    Raises:
        HostError, PluginError: What the operation raises.
        TypeError, ValueError: A result that could not leave the worker.
    """
    return _through_pipe(perform(extension, host, operation, _through_pipe(params or {})))


def payload(event: str, check_mode: bool = False) -> Params:
    """What a host could tell of an event, to change as a test needs it.

    Args:
        event: One of docs/hooks.md.
        check_mode: Whether it is told in check mode.
    """
    told = {**_TOLD, "action": event.rpartition("_")[2]}
    return t.cast(Params, _through_pipe({**{key: told[key] for key in EVENTS[event].payload}, "check_mode": check_mode}))
