# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The host as a plugin sees it. Every method is one call to the broker, which decides and does it.

All of them raise :class:`~.errors.HostError` or one of its subclasses. Values are what JSON knows.
"""

from __future__ import annotations

LEVELS = ("debug", "info", "warning", "error")  # of host.log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Protocol, TypeVar

    from .host_extra import Command, Files, Http

    T = TypeVar("T")
    Records = list[dict[str, Any]]  # Oci has a method called list
    Names = list[str]
    Log = Callable[[str, str], None]

    class Call(Protocol):
        """Makes one broker call; what comes back has the type that the method promises."""

        def __call__(self, name: str, params: dict[str, Any], /) -> T: ...  # type: ignore[type-var]


class Oci:
    """Containers of this backend on its OCI runtime. The broker renders their spec from the task.

    A record holds "name", "id", "backend", "status" ("created", "running", "paused", "stopped", "incomplete"), "pid", "image",
    "image_digest", "created", "started", "finished", "exit_code", "labels", "networks", "ports", "spec", "observed", "config_sha256",
    "resources", "problems" and "backend_details"; of an incomplete one most are empty.

    Errors: ``E_NOT_FOUND``, ``E_OWNER`` (another backend's), ``E_RUNTIME``, ``E_TIMEOUT``, ``E_BINARY``, ``E_VERSION``, ``E_PRIVILEGE``,
    ``E_STATE``, ``E_SPACE``, ``E_LOCKED``.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    def list(self, names: Names | None = None) -> Records:
        """Records of the named containers that exist, or of all."""
        return self._call("oci.list", {"names": names})

    def info(self, name: str) -> dict[str, Any]:
        """The record of one container; ``NotFound`` where there is none."""
        return self._call("oci.info", {"name": name})

    def logs(self, name: str, tail: int | None = None) -> Records:
        """The last ``tail`` lines, without it 100, each with "time", "stream" ("stdout", "stderr") and "text"."""
        return self._call("oci.logs", {"name": name, "tail": tail})

    def features(self) -> dict[str, Any]:
        """What the runtime is: "runtime", "path", "version", "conmon", "cgroup_mode", "systemd", "overlay", "seccomp", "problems" (texts)."""
        return self._call("oci.features", {})

    def check(self, name: str, image: str | None = None) -> None:
        """Refuse what ``create`` would refuse, and change nothing. Errors: as ``create``."""
        self._call("oci.check", {"name": name, "image": image})

    def exists(self, name: str, path: str) -> bool:
        """Whether an absolute path exists inside a running container. Errors: ``E_NOT_FOUND`` (it does not run), ``E_UNSUPPORTED``."""
        return self._call("oci.exists", {"name": name, "path": path})

    def create(self, name: str, image: str | None = None) -> dict[str, Any]:
        """Create from the task's spec, and do not start: {"id": text}. ``image``: a digest from ``host.image``; none for the task's own bundle.

        Errors: ``E_EXISTS``, ``E_INVALID``, ``E_IMAGE``, ``E_UNSUPPORTED``, ``E_SYSTEM``.
        """
        return self._call("oci.create", {"name": name, "image": image})

    def replace(self, name: str, image: str | None = None) -> dict[str, Any]:
        """Exchange it for one with the task's spec, not started: {"id": text}. The new one is ready before the old one is touched.

        Errors: ``E_INVALID``, ``E_IMAGE``, ``E_UNSUPPORTED``, ``E_SYSTEM``.
        """
        return self._call("oci.replace", {"name": name, "image": image})

    def start(self, name: str) -> None:
        """Start its process. Errors: ``E_INVALID`` (it is paused)."""
        self._call("oci.start", {"name": name})

    def stop(self, name: str, signal: int | None = None, timeout: int | None = None, force: bool = False) -> None:
        """Send ``signal``, wait ``timeout`` seconds, then kill; ``None`` takes what the container's spec says."""
        self._call("oci.stop", {"name": name, "signal": signal, "timeout": timeout, "force": force})

    def kill(self, name: str, signal: int) -> None:
        """Send one signal, by its number. Errors: ``E_INVALID`` (it does not run)."""
        self._call("oci.kill", {"name": name, "signal": signal})

    def delete(self, name: str) -> None:
        """Remove a container with all it wrote. Stop it first; one that runs is killed."""
        self._call("oci.delete", {"name": name})

    def pause(self, name: str) -> None:
        """Freeze its processes. Errors: ``E_INVALID`` (it does not run)."""
        self._call("oci.pause", {"name": name})

    def resume(self, name: str) -> None:
        """Let them go on. Errors: ``E_INVALID`` (it is not paused)."""
        self._call("oci.resume", {"name": name})

    def update(self, name: str) -> None:
        """Apply the limits that the task changes, without a restart. Errors: ``E_INVALID``, ``E_UNSUPPORTED``."""
        self._call("oci.update", {"name": name})

    def heal(self, name: str) -> None:
        """Clear away what a killed run left of it beside what counts; its state stays as it is."""
        self._call("oci.heal", {"name": name})

    def exec(self, name: str) -> dict[str, Any]:
        """Run the task's process in it: "rc" (128 + n after signal n), "stdout" and "stderr" (base64), "timed_out".

        Of more than 256 KiB in all the plugin is shown nothing, and "truncated". Errors: ``E_INVALID`` (it does not run), ``E_LIMIT``.
        """
        return self._call("oci.exec", {"name": name})


class Image:
    """Images of this host; only those that the task names.

    Errors: ``E_CAPABILITY`` (not the task's), ``E_INVALID``, ``E_IMAGE``, ``E_REGISTRY``, ``E_TIMEOUT``, ``E_SPACE``, ``E_POLICY``,
    ``E_BINARY``, ``E_PRIVILEGE``, ``E_STATE``, ``E_LOCKED``.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    def resolve(self, reference: str, pull: str = "missing") -> dict[str, Any]:
        """What ``reference`` means now, changing nothing: "digest" (or None: only a registry could tell), "present", "reference"."""
        return self._call("image.resolve", {"reference": reference, "pull": pull})

    def configuration(self, digest: str) -> dict[str, Any]:
        """The configuration of an image that was resolved or brought in this operation, and is present.

        It holds "Entrypoint", "Cmd", "Env", "WorkingDir", "User", "StopSignal", "Labels", "Volumes", "ExposedPorts". Errors: ``E_NOT_FOUND``.
        """
        return self._call("image.configuration", {"digest": digest})

    def ensure(self, reference: str, pull: str = "missing") -> dict[str, Any]:
        """Have it unpacked on this host ("missing", "always", "never"): "digest" and "changed"."""
        return self._call("image.ensure", {"reference": reference, "pull": pull})


class State:
    """A small store of this plugin's own, at most 64 KiB in all.

    Errors: ``E_INVALID``, ``E_LIMIT``, ``E_STATE``, ``E_SPACE``, ``E_LOCKED``.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    def get(self, key: str) -> Any:
        """The value kept under ``key``, ``None`` where there is none."""
        return self._call("state.get", {"key": key})

    def put(self, key: str, value: Any) -> None:
        """Keep ``value`` under ``key``; ``None`` removes it."""
        self._call("state.put", {"key": key, "value": value})


class Host:
    """Everything a plugin can reach.

    Args:
        call: Makes one broker call: name and parameters to value.
        log: Takes a level ("debug", "info", "warning", "error") and a message; no answer.

    ``fs``, ``command`` and ``http`` are there where the manifest has ``filesystem``, ``commands`` or ``network``.
    """

    fs: Files
    command: Command
    http: Http

    def __init__(self, call: Call, log: Log) -> None:
        self._log = log
        self._call = call
        self.oci = Oci(call)
        self.image = Image(call)
        self.state = State(call)

    def log(self, level: str, message: str) -> None:
        """One line for the operator: in ``plugin_log`` of the task's result, and with "warning" or "error" also a warning.

        Levels are "debug", "info", "warning" and "error". Without the capability ``logging`` the line is dropped, and the plugin does
        not learn of it. Errors: ``E_INVALID`` (another level, or no text).
        """
        if level not in LEVELS or not isinstance(message, str):
            from .errors import HostError

            option, wrong = ("level", level) if level not in LEVELS else ("message", message)
            rule = f"not one of {', '.join(LEVELS)}" if option == "level" else "not a text"
            raise HostError("E_INVALID", f"host.log: {option}={wrong!r}: {rule}", "correct the plugin")
        self._log(level, message)

    def __getattr__(self, name: str) -> Any:
        """One of the parts that not every worker is sent."""
        try:
            from .host_extra import PARTS
        except ImportError:
            PARTS = {}  # noqa: N806
        if name not in PARTS:
            raise AttributeError(f"the host has no {name}; fs, command and http need filesystem, commands or network in the manifest")
        part = self.__dict__[name] = PARTS[name](self._call)
        return part
