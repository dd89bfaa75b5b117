# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The templates of a manifest: commands and requests with holes, and what may be put into a hole.

No value that passes begins with ``-`` or holds a space, a quote, ``$``, ``%`` or any other character that a shell, an
option parser or a URL reads in a way of its own.
"""

from __future__ import annotations

import re
import typing as t

from .container import check_name
from .errors import NexcageError

Values = t.Mapping[str, t.Any]

_HOLE = re.compile(r"\{([a-z][a-z0-9_]{0,31})\}")
_NODE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_STEP = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.@=:,+][A-Za-z0-9_.@=:,+-]{0,254}")
PATH_LENGTH = 1024  # characters of a relative path
LARGEST = 2**63 - 1
TASK = ("option", "process")  # types of holes that the broker fills from the operator's task
READ_METHODS = ("GET", "HEAD")  # safe ones: RFC 9110, section 9.2.1


def fill(template: str, texts: t.Mapping[str, str]) -> str:
    """The template with its holes filled; every hole has its text."""
    return _HOLE.sub(lambda hole: texts[hole.group(1)], template)


def holes(template: str) -> list[str]:
    """The names of the holes, in order."""
    return _HOLE.findall(template)


def texts(declared: t.Mapping[str, Values], given: t.Iterable[tuple[str, t.Any]], where: str) -> dict[str, str]:
    """What is put into the holes of one template.

    Args:
        declared: The template's ``parameters``: name to ``type`` and, for a choice, ``choices``.
        given: Names and values from the plugin.
        where: The template's name, for messages.

    Raises:
        NexcageError: ``E_INVALID`` for a name that is missing or too many, and for a value that is not of its type.
    """
    values = dict(given)
    own = {name: rule for name, rule in declared.items() if rule["type"] not in TASK}
    for name in sorted(set(own).symmetric_difference(values)):
        problem = "missing" if name in own else "the task says it, not the plugin" if name in declared else f"{where} has no such parameter"
        raise NexcageError("E_INVALID", problem, option=f"parameters.{name}")
    return {name: _text(f"parameters.{name}", rule, values[name]) for name, rule in own.items()}


def _text(option: str, rule: Values, value: t.Any) -> str:
    kind = rule["type"]
    if kind == "uint":
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST:
            raise NexcageError("E_INVALID", "not a whole number from 0 on", option=option, value=value)
        return str(value)
    if not isinstance(value, str):
        raise NexcageError("E_INVALID", "not a text", option=option, value=value)
    if kind == "container_name":
        return check_name(value, option)
    if kind == "choice":
        if value not in rule["choices"]:
            raise NexcageError("E_INVALID", "not one of " + ", ".join(rule["choices"]), option=option, value=value)
    elif kind == "node":
        if not _NODE.fullmatch(value):
            raise NexcageError("E_INVALID", "not the name of a node: letters, digits, and '-' between them", option=option, value=value)
    elif len(value) > PATH_LENGTH or not all(_STEP.fullmatch(step) for step in value.split("/")):
        message = "not a relative path of letters, digits and '_.@=:,+-', no part of which begins with '-' or is '..'"
        raise NexcageError("E_INVALID", message, option=option, value=value)
    return value


def command(manifest: Values, name: str) -> Values:
    """One entry of the manifest's ``commands``.

    Raises:
        NexcageError: ``E_CAPABILITY``.
    """
    found: Values | None = (manifest.get("commands") or {}).get(name)
    if found is None:
        raise NexcageError("E_CAPABILITY", f"the manifest has no command {name}", option="command", value=name)
    return found


def command_kind(entry: Values) -> str:
    """Whether a command reads or writes; what is not said to read writes."""
    return "read" if entry.get("kind") == "read" else "write"


def request(manifest: Values, network: str, method: str, path: str) -> tuple[Values, Values]:
    """One entry of ``network`` and, of its ``requests``, the one with that method and path template.

    Raises:
        NexcageError: ``E_CAPABILITY``.
    """
    for entry in manifest.get("network") or ():
        if entry["id"] == network:
            for candidate in entry["requests"]:
                if candidate["method"] == method and candidate["path"] == path:
                    return entry, candidate
            raise NexcageError("E_CAPABILITY", f"the manifest's network {network} has no request {method} with that path", option="path", value=path)
    raise NexcageError("E_CAPABILITY", f"the manifest has no network {network}", option="network", value=network)


def request_kind(method: str) -> str:
    """Whether a request reads or writes."""
    return "read" if method in READ_METHODS else "write"


def containers(declared: t.Mapping[str, Values], filled: t.Mapping[str, str]) -> tuple[str, ...]:
    """The names of containers among the texts of :func:`texts`."""
    return tuple(text for name, text in filled.items() if declared[name]["type"] == "container_name")
