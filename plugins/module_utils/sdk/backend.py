# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What a plugin's author writes: a subclass, and ``def backend()`` that returns one of it."""

from __future__ import annotations

from .errors import PluginError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .host import Host

    Params = dict[str, Any]
    Names = list[str]  # the class has a method called list

REQUIRED = ("create", "start", "stop", "delete", "list", "info", "exec")
OPTIONAL = ("pause", "resume", "update", "replace", "check", "kill", "logs", "health")


class BackendExtension:
    """One backend. Each operation gets the host and its parameters, and returns a JSON-able value.

    ``name`` is the plugin's name; ``config`` the operator's settings for it. Parameters always hold
    "name", except those of list ("names": list or None) and health (none):

    - create, replace: "image" (reference, or None for the task's own bundle), "pull"; a replace also
      holds what stop does
    - stop: "signal" (number or None), "timeout" (seconds or None), "force"
    - kill: "signal"; logs: "tail"

    A backend without an OCI runtime is also given, in create, replace, check and update, "spec": what the container
    shall be, canonical values by option, secrets masked. create and replace hold "mark", which has to be kept on the container
    and stand in its records; update holds "changes", the options that change; exec holds "argv", "env", "user",
    "working_dir", "timeout", "secret_env" (names) and "stdin" (whether there is any).
    """

    name = ""
    config: dict[str, Any] = {}

    def operations(self) -> Names:
        """Names of the operations that this class really has."""
        own = [name for name in REQUIRED + OPTIONAL if getattr(type(self), name) is not getattr(BackendExtension, name)]
        if "replace" not in own and {"stop", "delete", "create"}.issubset(own):
            own.append("replace")
        return own

    def _missing(self, operation: str) -> Unsupported:
        return Unsupported(f"{self.name or type(self).__name__} cannot {operation}")

    def create(self, host: Host, params: Params) -> Any:
        """Make the container, not running. Returns {"id": ...}."""
        raise self._missing("create")

    def start(self, host: Host, params: Params) -> Any:
        """Start it."""
        raise self._missing("start")

    def stop(self, host: Host, params: Params) -> Any:
        """Stop it; one that does not run is no error."""
        raise self._missing("stop")

    def delete(self, host: Host, params: Params) -> Any:
        """Remove it; one that does not exist is no error."""
        raise self._missing("delete")

    def list(self, host: Host, params: Params) -> Any:
        """Records of the containers that exist."""
        raise self._missing("list")

    def info(self, host: Host, params: Params) -> Any:
        """The record of one; ``NotFound`` where there is none."""
        raise self._missing("info")

    def exec(self, host: Host, params: Params) -> Any:
        """Run the task's process in it."""
        raise self._missing("exec")

    def pause(self, host: Host, params: Params) -> Any:
        """Freeze it."""
        raise self._missing("pause")

    def resume(self, host: Host, params: Params) -> Any:
        """Let it go on."""
        raise self._missing("resume")

    def update(self, host: Host, params: Params) -> Any:
        """Change its limits while it runs."""
        raise self._missing("update")

    def replace(self, host: Host, params: Params) -> Any:
        """Exchange it for one with the new spec. Without a better way: stop, delete, create."""
        self.stop(host, params)
        self.delete(host, params)
        return self.create(host, params)

    def check(self, host: Host, params: Params) -> Any:
        """Refuse what create, replace or update would refuse, and change nothing."""
        raise self._missing("check")

    def kill(self, host: Host, params: Params) -> Any:
        """Send it one signal."""
        raise self._missing("kill")

    def logs(self, host: Host, params: Params) -> Any:
        """Its last lines of output."""
        raise self._missing("logs")

    def health(self, host: Host, params: Params) -> Any:
        """{"status": "healthy" | "degraded" | "unhealthy", "problems": [text]} and facts."""
        raise self._missing("health")

    def hook(self, host: Host, event: str, payload: Params) -> str | None:
        """Hear of an event of the manifest's ``hooks``; a text says why what ``container.pre_*`` tells of shall not happen."""
        raise self._missing("hook")


def perform(extension: BackendExtension, host: Host, operation: str, params: Params) -> Any:
    """Run one operation by its name, or ``hook``; ``PluginError`` for one that does not exist."""
    if operation == "hook":
        return extension.hook(host, params["event"], params["payload"])
    if operation not in REQUIRED + OPTIONAL:
        raise PluginError(f"there is no operation {operation!r}", "E_UNSUPPORTED")
    return getattr(extension, operation)(host, params)
