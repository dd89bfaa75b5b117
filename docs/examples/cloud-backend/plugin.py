# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The backend cloud: containers behind an HTTP API, by the templates of requests in the manifest.

What a container shall be comes with each operation as ``spec``; what was wanted of it, nexcage records. The cloud keeps
the ``mark`` for us, which tells a container of ours from one of somebody else's. The token is in no parameter and no
setting that this code could see: the broker puts it into the header of each request.
"""

from __future__ import annotations

from ..sdk.backend import BackendExtension
from ..sdk.errors import HostError, PluginError, Unsupported

INSTANCES, INSTANCE = "/v1/instances", "/v1/instances/{name}"
MARK = "nexcage-mark"  # the tag that keeps the mark
STATUS = {"new": "created", "running": "running", "stopped": "stopped"}
FEW = 4  # containers that are asked for one by one
PAGES = 90  # of a listing; the manifest allows 100 connections
MILLI = 100  # the unit of the option cpus is a hundred-thousandth of a processor; the cloud counts thousandths


class Backend(BackendExtension):
    """Each operation gets the host and its parameters."""

    name = "cloud-backend"

    def check(self, host, params):
        """Refuse what the cloud would refuse, before anything changes."""
        image = params["spec"].get("image")
        if image is not None and not image.startswith("docker://"):
            raise Unsupported("the cloud fetches images from registries only", "write image: docker://REGISTRY/NAME:TAG")
        if (params["spec"].get("memory") or 0) < 0:
            raise Unsupported("the cloud knows no container without a limit of memory", "give memory a size, or leave it out")

    def create(self, host, params):
        """One request that names it, so that the broker can see whose container it is about."""
        body = {**_wanted(params["spec"]), "tags": {MARK: params["mark"]}}
        return {"id": _ask(host, "PUT", INSTANCE, params["name"], body)["id"]}

    def update(self, host, params):
        changed = {name: params["spec"].get(name) for name in params["changes"]}
        _ask(host, "PATCH", INSTANCE, params["name"], _wanted(changed))

    def start(self, host, params):
        _ask(host, "POST", INSTANCE + "/start", params["name"])

    def stop(self, host, params):
        """The cloud sends SIGTERM, waits, and kills; one that does not run, or is gone, is no error."""
        grace = 0 if params.get("force") else params.get("timeout")
        _ask(host, "POST", INSTANCE + "/stop", params["name"], {} if grace is None else {"grace_seconds": grace}, missing=True)

    def delete(self, host, params):
        _ask(host, "DELETE", INSTANCE, params["name"], missing=True)

    def list(self, host, params):
        """A few are asked for by name; otherwise page by page."""
        names = params.get("names")
        if names is not None and len(names) <= FEW:
            found = [_ask(host, "GET", INSTANCE, name, missing=True) for name in names]
            return [_record(entry) for entry in found if entry is not None]
        return [_record(entry) for entry in _pages(host) if names is None or entry["name"] in names]

    def info(self, host, params):
        return _record(_ask(host, "GET", INSTANCE, params["name"]))

    def exec(self, host, params):
        if params.get("secret_env") or params.get("stdin"):
            raise Unsupported("the cloud's exec takes neither secrets nor standard input", "leave secret_env and stdin out")
        body = {"argv": params["argv"], "env": params.get("env") or {}, "user": params.get("user"), "folder": params.get("working_dir")}
        answer = _ask(host, "POST", INSTANCE + "/exec", params["name"], body)
        return {"rc": answer["exit_code"], "stdout": answer["stdout"], "stderr": answer["stderr"]}

    def logs(self, host, params):
        tail = params.get("tail")
        return _ask(host, "GET", INSTANCE + "/log", params["name"], query={} if tail is None else {"tail": tail})["lines"]

    def health(self, host, params):
        try:
            answer = _ask(host, "GET", "/v1/status")
        except (HostError, PluginError) as error:
            return {"status": "unhealthy", "problems": [error.message]}
        problems = [str(problem) for problem in answer.get("incidents") or []]
        return {"status": "degraded" if problems else "healthy", "problems": problems, "version": answer.get("version")}


def _ask(host, method, path, name=None, body=None, query=None, missing=False):
    """One request; the JSON of its answer.

    With ``missing``, ``None`` for what is not there. Every other failure is an error that says what the cloud said.
    """
    parameters = None if name is None else {"name": name}
    answer = host.http.request("api", method, path, parameters, query=query, body=body)
    status, told = answer["status"], answer.get("json")
    if status == 204 or (200 <= status < 300 and isinstance(told, dict)):
        return told or {}
    if status == 404 and missing:
        return None
    raise _failure(method, path.replace("{name}", name or ""), answer)


def _failure(method, path, answer):
    """What a person can do about an answer that is none."""
    status, told = answer["status"], answer.get("json")
    words = told.get("message") if isinstance(told, dict) else (answer.get("text") or "").strip()[:200]
    message = f"the cloud answered {status} to {method} {path}" + (f": {words}" if words else "")
    if status in (401, 403):
        return PluginError(message, "E_RUNTIME", "set a valid token: nexcage_plugin: name=cloud-backend config={token: ...}")
    if status == 404:
        return PluginError(message, "E_NOT_FOUND", "check the name; nexcage_container_info lists what there is")
    if status == 409:
        return PluginError(message, "E_EXISTS", "run the task again; somebody else changed it in this moment")
    if status == 429 or status >= 500:
        wait = answer["headers"].get("retry-after")
        return PluginError(message, "E_RUNTIME", f"run the task again{f' in {wait} s' if wait else ''}; it goes on where this one stopped")
    return PluginError(message, "E_RUNTIME", "see what the cloud says; where this plugin misunderstands it, tell its author")


def _pages(host):
    """All instances; the cloud gives them in pages."""
    token = None
    for _number in range(PAGES):
        page = _ask(host, "GET", INSTANCES, query={} if token is None else {"page": token})
        yield from page["items"]
        token = page.get("next")
        if token is None:
            return
    raise PluginError(f"the cloud lists more than {PAGES} pages", "E_LIMIT", "use a project of its own for this host")


def _wanted(values):
    """Options in the cloud's words; those that are not given are not sent."""
    words = {"image": "image", "command": "command", "env": "env", "memory": "memory_bytes", "labels": "labels", "stop_timeout": "grace_seconds"}
    body = {words[name]: value for name, value in values.items() if name in words and value is not None}
    if values.get("cpus") is not None:
        body["cpu_millis"] = max(values["cpus"], 0) // MILLI
    return body


def _record(entry):
    """An instance as nexcage wants to see it; ``observed`` is what counts as drift where it differs from what was wanted."""
    observed = {"image": entry["image"], "command": entry.get("command"), "env": entry.get("env"), "labels": entry.get("labels")}
    observed["memory"] = entry.get("memory_bytes")
    observed["cpus"] = None if entry.get("cpu_millis") is None else entry["cpu_millis"] * MILLI
    return {
        "name": entry["name"],
        "id": entry["id"],
        "status": STATUS.get(entry["state"], "created"),
        "mark": (entry.get("tags") or {}).get(MARK),
        "created": entry.get("created_at"),
        "exit_code": entry.get("exit_code"),
        "observed": {name: value for name, value in observed.items() if value is not None},
        "details": {"region": entry.get("region"), "address": entry.get("address")},
    }


def backend():
    """What the worker asks for."""
    return Backend()
