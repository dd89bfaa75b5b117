# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The broker calls and the plugins' operations: what each needs and takes.

Two tables, no decisions; the gate decides with them.
"""

from __future__ import annotations

import json
import typing as t

from .container import check_name
from .errors import NexcageError

READ, WRITE = "read", "write"
STATE_QUOTA = 65536  # bytes of JSON that one plugin may keep
MESSAGE_LENGTH = 4096  # characters of one log message
TEXT_LENGTH = 4096


class Use(t.NamedTuple):
    """What one call amounts to: its kind, the containers that it is about, and what the audit log calls its object."""

    kind: str
    containers: tuple[str, ...]
    subject: str


class Effect(t.NamedTuple):
    """One broker call: its kind, the capabilities it needs and its parameters.

    ``needs`` lists alternatives, each a set of names that are needed together; ``((),)`` needs none.
    A validator gets the parameter's name and its value (``None`` where it is not given) and returns
    the normalised, immutable value; it raises ``NexcageError`` ``E_INVALID``.
    ``use``, where there is one, tells from the manifest and the validated arguments what a call amounts to; ``kind`` is
    then the most that it can be.
    """

    kind: str
    needs: tuple[tuple[str, ...], ...]
    parameters: t.Mapping[str, t.Callable[[str, t.Any], t.Any]]
    use: t.Callable[[t.Mapping[str, t.Any], t.Mapping[str, t.Any]], Use] | None = None


def refuse(option: str, value: object, message: str) -> NexcageError:
    """The refusal of one parameter's value."""
    return NexcageError("E_INVALID", message, option=option, value=value)


def _container(option: str, value: t.Any) -> str:
    if not isinstance(value, str):
        raise refuse(option, value, "not a container name: a text is needed")
    return check_name(value, option)


def _containers(option: str, value: t.Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)):
        raise refuse(option, value, "not a list of container names")
    return tuple(_container(option, name) for name in value)


def _reference(option: str, value: t.Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_LENGTH or value[0] == "-" or not value.isprintable():
        raise refuse(option, value, "not an image reference")
    return value


def _path(option: str, value: t.Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_LENGTH or value[0] != "/" or "\0" in value:
        raise refuse(option, value, "not an absolute path")
    return value


def _digest(option: str, value: t.Any) -> str:
    if not isinstance(value, str) or len(value) != 71 or value[:7] != "sha256:" or value[7:].strip("0123456789abcdef"):
        raise refuse(option, value, "not a digest of the form sha256:<64 hexadecimal digits>")
    return value


def _optional_digest(option: str, value: t.Any) -> str | None:
    return None if value is None else _digest(option, value)


def _flag(option: str, value: t.Any) -> bool:
    if value is not None and not isinstance(value, bool):
        raise refuse(option, value, "neither true nor false")
    return bool(value)


def choice(default: str | None, *choices: str) -> t.Callable[[str, t.Any], str]:
    """A validator for one of some texts; without a default the parameter is needed."""

    def check(option: str, value: t.Any) -> str:
        value = default if value is None else value
        if value not in choices:
            raise refuse(option, value, "not one of " + ", ".join(choices))
        return str(value)

    return check


def number(low: int, high: int, default: int | None = None, required: bool = False) -> t.Callable[[str, t.Any], t.Any]:
    """A validator for a whole number within bounds, both included."""

    def check(option: str, value: t.Any) -> int | None:
        if value is None and not required:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise refuse(option, value, f"not a whole number from {low} to {high}")
        return value

    return check


def _message(option: str, value: t.Any) -> str:
    """A log message on one line; what is too long is cut, control characters are written out."""
    if not isinstance(value, str):
        raise refuse(option, value, "not a text")
    value = value[:MESSAGE_LENGTH]
    return value if value.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value)


def json_text(option: str, value: t.Any, limit: int = STATE_QUOTA) -> str:
    """Any JSON value, as its text of at most ``limit`` bytes: that cannot change between the decision and the effect."""
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise refuse(option, None, "not a JSON value") from None
    if len(text) > limit:
        raise NexcageError("E_LIMIT", f"larger than {limit} bytes of JSON", option=option)
    return text


_PULL = choice("missing", "missing", "always", "never")
_NAME = {"name": _container}
_PLACED = {"name": _container, "image": _optional_digest}
_IMAGE_NEEDS = (("container_create",),)
_START = (("container_start",),)
_FREE: tuple[tuple[str, ...], ...] = ((),)

# A call names a container; its spec, its secrets and the process of an exec come from the task, never from a plugin.
EFFECTS: dict[str, Effect] = {
    "oci.list": Effect(READ, (("container_list",),), {"names": _containers}),
    "oci.info": Effect(READ, (("container_info",),), _NAME),
    "oci.logs": Effect(READ, (("container_info",),), {"name": _container, "tail": number(0, 100_000, 100)}),
    "oci.features": Effect(READ, (("container_info",), ("container_list",)), {}),
    "oci.check": Effect(READ, _IMAGE_NEEDS, _PLACED),
    "oci.exists": Effect(READ, (("container_exec",),), {"name": _container, "path": _path}),
    "image.resolve": Effect(READ, _IMAGE_NEEDS, {"reference": _reference, "pull": _PULL}),
    "image.configuration": Effect(READ, _IMAGE_NEEDS, {"digest": _digest}),
    "image.ensure": Effect(WRITE, _IMAGE_NEEDS, {"reference": _reference, "pull": _PULL}),
    "oci.create": Effect(WRITE, (("container_create",),), _PLACED),
    "oci.replace": Effect(WRITE, (("container_create", "container_delete"),), _PLACED),
    "oci.start": Effect(WRITE, _START, _NAME),
    "oci.stop": Effect(
        WRITE,
        (("container_stop",),),
        {"name": _container, "signal": number(1, 64), "timeout": number(0, 86_400), "force": _flag},
    ),
    "oci.kill": Effect(WRITE, (("container_stop",),), {"name": _container, "signal": number(1, 64, required=True)}),
    "oci.delete": Effect(WRITE, (("container_delete",),), _NAME),
    "oci.pause": Effect(WRITE, _START, _NAME),
    "oci.resume": Effect(WRITE, _START, _NAME),
    "oci.update": Effect(WRITE, _START, _NAME),
    "oci.heal": Effect(WRITE, _START, _NAME),
    "oci.exec": Effect(WRITE, (("container_exec",),), _NAME),
    "state.get": Effect(READ, _FREE, {"key": _container}),
    "state.put": Effect(WRITE, _FREE, {"key": _container, "value": json_text}),
    "log": Effect(READ, (("logging",),), {"level": choice(None, "debug", "info", "warning", "error"), "message": _message}),
}

# What a plugin may be asked to do; "container_<operation>" lets the manager route it there.
OPERATIONS: dict[str, Effect] = {
    "create": Effect(WRITE, (("container_create",),), {}),
    "start": Effect(WRITE, _START, {}),
    "stop": Effect(WRITE, (("container_stop",),), {}),
    "delete": Effect(WRITE, (("container_delete",),), {}),
    "check": Effect(READ, (("container_create",),), {}),
    "list": Effect(READ, (("container_list",),), {}),
    "info": Effect(READ, (("container_info",),), {}),
    "exec": Effect(WRITE, (("container_exec",),), {}),
    "pause": Effect(WRITE, _START, {}),
    "resume": Effect(WRITE, _START, {}),
    "update": Effect(WRITE, _START, {}),
    "replace": Effect(WRITE, (("container_create", "container_delete"),), {}),
    "kill": Effect(WRITE, (("container_stop",),), {}),
    "logs": Effect(READ, (("container_info",),), {}),
    "health": Effect(READ, _FREE, {}),
}
