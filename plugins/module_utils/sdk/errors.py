# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What a plugin catches and what it raises."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class HostError(Exception):
    """A broker call was refused, or failed. Let it pass, and the operator sees the host's own message.

    Args:
        code: A stable code such as ``E_RUNTIME``.
        message: One sentence that says what is wrong.
        remedy: What the operator can do.
        call: Number of the call within the operation; 0 outside a worker.
    """

    def __init__(self, code: str, message: str, remedy: str = "", call: int = 0) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.remedy = remedy
        self.call = call


class PermissionDenied(HostError):
    """The call is not declared, not granted, denied by policy, or a write within a read operation."""


class NotFound(HostError):
    """What the call names does not exist."""


class PluginError(Exception):
    """Raise this to fail an operation with a message of your own.

    Args:
        message: One sentence that says what is wrong.
        code: ``E_PLUGIN``, ``E_INVALID``, ``E_NOT_FOUND``, ``E_EXISTS``, ``E_UNSUPPORTED`` or ``E_RUNTIME``.
        remedy: What the operator can do.
    """

    def __init__(self, message: str, code: str = "E_PLUGIN", remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy


class Unsupported(PluginError):
    """This backend does not have that operation."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, "E_UNSUPPORTED", remedy)


_CLASSES = {
    "E_CAPABILITY": PermissionDenied,
    "E_GRANT": PermissionDenied,
    "E_POLICY": PermissionDenied,
    "E_READ_ONLY": PermissionDenied,
    "E_PRIVILEGE": PermissionDenied,
    "E_NOT_FOUND": NotFound,
}


def host_error(error: dict[str, Any], call: int = 0) -> HostError:
    """The exception for the error object of a refused call (keys "code", "message", "remedy")."""
    code = str(error.get("code", "E_INTERNAL"))
    kind = _CLASSES.get(code, HostError)
    return kind(code, str(error.get("message", "")), str(error.get("remedy") or ""), call)
