# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The host's parts beyond containers: files, commands, requests. Sent to a worker whose manifest has templates for them.

All methods raise :class:`~.errors.HostError` or one of its subclasses.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .host import Call, Records


class Files:
    """Files below the roots that the manifest names under ``filesystem``; paths are relative to a root, "" is the root itself.

    Errors: ``E_CAPABILITY`` (no such root), ``E_GRANT`` (no folder for it), ``E_INVALID``, ``E_NOT_FOUND``, ``E_FS``, ``E_LIMIT``,
    ``E_SPACE``, ``E_STATE``.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    def read(self, root: str, path: str, encoding: str = "utf-8") -> str:
        """The content of a regular file of at most 1 MiB, as text or as "base64"."""
        return self._call("fs.read", {"root": root, "path": path, "encoding": encoding})

    def list(self, root: str, path: str = "") -> Records:
        """What lies in a folder, sorted: "name", "type" (file, folder, link, other) and "size"."""
        return self._call("fs.list", {"root": root, "path": path})

    def stat(self, root: str, path: str = "") -> dict[str, Any]:
        """One of them: "type", "size", "mode", "modified" (seconds); ``NotFound`` where there is none."""
        return self._call("fs.stat", {"root": root, "path": path})

    def write(self, root: str, path: str, content: str, encoding: str = "utf-8", mode: int | None = None) -> dict[str, Any]:
        """Have a file with this content: {"changed": bool}. Without ``mode`` that of the old file, else 0600."""
        return self._call("fs.write", {"root": root, "path": path, "content": content, "encoding": encoding, "mode": mode})

    def mkdir(self, root: str, path: str, mode: int | None = None) -> dict[str, Any]:
        """Have a folder, and those above it: {"changed": bool}. Those that are new get ``mode``, else 0700."""
        return self._call("fs.mkdir", {"root": root, "path": path, "mode": mode})

    def remove(self, root: str, path: str) -> dict[str, Any]:
        """Have no such file, link or empty folder: {"changed": bool}."""
        return self._call("fs.remove", {"root": root, "path": path})


class Command:
    """Programs of this host, by the templates that the manifest names under ``commands``.

    Errors: ``E_CAPABILITY`` (no such command, or not of this container), ``E_INVALID``, ``E_BINARY``, ``E_TIMEOUT``.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    def run(self, command: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run one to its end: "rc" (negative for a signal), "stdout", "stderr", "truncated". Another code than 0 is no error."""
        return self._call("command.run", {"command": command, "parameters": parameters})


class Http:
    """Requests by the templates that the manifest names under ``network``.

    Errors: ``E_CAPABILITY`` (no such request or host, or not of this container), ``E_INVALID``, ``E_HTTP``, ``E_TIMEOUT``, ``E_LIMIT``.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    def request(
        self,
        network: str,
        method: str,
        path: str,
        parameters: dict[str, Any] | None = None,
        query: dict[str, Any] | None = None,
        body: Any = None,
        host: str | None = None,
    ) -> dict[str, Any]:
        """Make one: "status", "headers", and "json" or "text". Any status is an answer; redirects are not followed.

        ``path`` is the template as in the manifest, ``body`` is sent as JSON, ``host`` one of the manifest's, else its first.
        """
        given = {"network": network, "method": method, "path": path, "parameters": parameters}
        return self._call("http.request", {**given, "query": query, "body": body, "host": host})


PARTS = {"fs": Files, "command": Command, "http": Http}
