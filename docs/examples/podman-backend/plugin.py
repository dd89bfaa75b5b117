"""The backend podman: containers through podman's command line.

Each effect is a template of the manifest. What the container shall be, the broker puts into it from the operator's task;
this file says which template, and reads what podman answers.
"""

from __future__ import annotations

import json
import re
import time

from ..sdk.backend import BackendExtension
from ..sdk.errors import HostError, PluginError, Unsupported

MARK = "org.nexcage.mark"  # the label that says that a container is ours
STATUS = {
    "created": "created",
    "configured": "created",
    "initialized": "created",
    "running": "running",
    "stopping": "running",
    "paused": "paused",
    "removing": "incomplete",
}
NEVER = "0001-01-01T00:00:00Z"
STEP = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"  # one part of an image's name
PATIENCE = 290  # seconds for a stop; what is left of a command's 300 is for podman itself
FAILED = 125  # podman itself failed, and not what it ran


class Backend(BackendExtension):
    """Each operation gets the host and its parameters."""

    name = "podman-backend"

    def check(self, host, params):
        """What podman would refuse only once it was too late."""
        image = params["spec"].get("image")
        if (params["spec"].get("stop_timeout") or 0) > PATIENCE:
            raise Unsupported(f"a command may take 300 seconds, and stop_timeout more than {PATIENCE} of them is too long", "give less")
        for option in ("command", "entrypoint"):
            if params["spec"].get(option) == []:
                raise Unsupported(f"podman takes an empty {option} for the image's own", f"name one, or leave {option} out")
        if image is None:
            return
        form, _colon, rest = image.partition(":")
        path = rest.partition("@")[0].partition(":")[0]
        if form in ("oci", "oci-archive") and not re.fullmatch(rf"(?:/{STEP})+", path):
            raise Unsupported(
                f"podman makes a name of the path {path}, and a name has no upper case, and single '.' and '_' between letters and digits alone",
                "put the image below another folder",
            )
        host.image.resolve(image, "always")

    def create(self, host, params):
        values = {"name": params["name"], "mark": params["mark"], "runtime": self.config["runtime"]}
        answer = _run(host, "create", {**values, "network": params["spec"].get("network_mode") or "none"})
        return {"id": answer["stdout"].split()[-1]}

    def start(self, host, params):
        answer = host.command.run("start", {"name": params["name"]})
        if answer["rc"] != 0 and "already exists" in answer["stderr"]:
            _run(host, "start", {"name": params["name"]})  # the first one has cleared away what a killed one left with the OCI runtime
        elif answer["rc"] != 0:
            raise _failure("start", answer)

    def stop(self, host, params):
        name, seconds = params["name"], 0 if params.get("force") else params.get("timeout")
        command, values = ("stop", {"name": name}) if seconds is None else ("stop_within", {"name": name, "seconds": seconds})
        found = _inspect(host, name)
        if found is None or found["status"] == "incomplete":
            return
        if found["status"] == "paused":  # podman would wait in vain for one that hears no signal
            _run(host, "resume", {"name": name})
        _run(host, command, values)

    def delete(self, host, params):
        _run(host, "delete", {"name": params["name"]})

    def pause(self, host, params):
        _run(host, "pause", {"name": params["name"]})

    def resume(self, host, params):
        _run(host, "resume", {"name": params["name"]})

    def list(self, host, params):
        """All at once, or few of them with what only an inspection tells."""
        names = params.get("names")
        if names is None:
            return [_listed(entry) for entry in json.loads(_run(host, "list")["stdout"]) if entry["Names"] and not entry["IsInfra"]]
        found = [_inspect(host, name) for name in names]
        return [record for record in found if record is not None]

    def info(self, host, params):
        found = _inspect(host, params["name"])
        if found is None:
            raise PluginError(f"podman has no container {params['name']}", "E_NOT_FOUND")
        return found

    def exec(self, host, params):
        """The broker keeps what the process printed; here only podman's own failures count."""
        if params.get("secret_env") and params.get("stdin"):
            raise Unsupported("podman takes secrets for a command from its standard input, which is taken", "give secret_env or stdin, not both")
        template = "exec_secret" if params.get("secret_env") else "exec_input" if params.get("stdin") else "exec"
        answer = host.command.run(template, {"name": params["name"]})
        if answer["rc"] == FAILED and answer["stderr"].startswith("Error: "):
            raise _failure("exec", answer)
        return {"rc": answer["rc"]}

    def logs(self, host, params):
        lines = _run(host, "logs", {"name": params["name"], "tail": params.get("tail") or 0})
        return [
            {"time": moment, "stream": stream, "text": text}
            for stream in ("stdout", "stderr")
            for moment, _blank, text in (line.partition(" ") for line in lines[stream].splitlines())
        ]

    def health(self, host, params):
        try:
            answer = _run(host, "version")
        except (HostError, PluginError) as error:
            return {"status": "unhealthy", "problems": [error.message]}
        return {"status": "healthy", "problems": [], "version": json.loads(answer["stdout"])["Client"]["Version"]}


def _run(host, command, values=None):
    """A command that must succeed."""
    answer = host.command.run(command, values or {})
    if answer["rc"] != 0:
        raise _failure(command, answer)
    if answer["truncated"] and command == "list":
        raise PluginError("podman lists more containers than the broker hands on, 2 MiB", "E_RUNTIME", "remove those that nobody needs")
    return answer


def _failure(command, answer):
    lines = [line for line in answer["stderr"].splitlines() if line.strip()] or [f"it ended with {answer['rc']}"]
    return PluginError(f"podman {command}: {lines[-1]}", "E_RUNTIME")


def _inspect(host, name):
    """The record of one container, ``None`` where there is none."""
    answer = host.command.run("inspect", {"name": name})
    if answer["rc"] != 0:
        if host.command.run("exists", {"name": name})["rc"] == 1:
            return None
        raise _failure("inspect", answer)
    (found,) = json.loads(answer["stdout"])
    state = found["State"]
    return {
        "name": found["Name"],
        "id": found["Id"],
        "status": _status(state["Status"]),
        "mark": (found["Config"].get("Labels") or {}).get(MARK),
        "pid": state["Pid"] or None,
        "image_digest": found.get("ImageDigest") or None,
        "created": found["Created"],
        "started": _moment(state["StartedAt"]),
        "finished": _moment(state["FinishedAt"]),
        "exit_code": state["ExitCode"],
        "details": {"log": found["HostConfig"]["LogConfig"].get("Path") or None, "runtime": found["OCIRuntime"]},
    }


def _listed(entry):
    return {
        "name": entry["Names"][0],
        "id": entry["Id"],
        "status": _status(entry["State"]),
        "mark": (entry["Labels"] or {}).get(MARK),
        "pid": entry["Pid"] or None,
        "created": _time(entry["Created"]),
        "started": _time(entry["StartedAt"]),
        "finished": _time(entry["ExitedAt"]),
        "exit_code": entry["ExitCode"],
    }


def _time(seconds):
    """Seconds as the listing has them, in the words of an inspection; podman's "never" is before all of them."""
    return None if seconds <= 0 else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _status(text):
    """In words of ours: "exited" and "stopped" are one."""
    return STATUS.get(text, "stopped")


def _moment(text):
    return None if text == NEVER else text


def backend():
    """What the worker asks for."""
    return Backend()
