# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The broker calls beyond containers: files below named roots, commands and requests by template.

Apart from ``effects``, as no task on a built-in backend needs them: the gate looks here for a name that is not there.
"""

from __future__ import annotations

import re
import typing as t

from . import template
from .effects import READ, WRITE, Effect, Use, choice, json_text, number, refuse
from .errors import NexcageError

FILE_LIMIT = 1 << 20  # bytes of a file that is read or written
BODY_LIMIT = 1 << 20  # bytes of a request's JSON body
PATH_LENGTH = 4096  # bytes of a path below a root
STEP_LENGTH = 255  # bytes of one name in it
VALUE_LENGTH = 4096  # characters of one value
PAIRS = 32  # parameters of one call
_LABEL = re.compile(r"[a-z][a-z0-9_]{0,31}")
_KEY = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")
_HOST = re.compile(r"[A-Za-z0-9.{}_-]{1,253}")

Pairs = tuple[tuple[str, t.Any], ...]
Values = t.Mapping[str, t.Any]


def _label(option: str, value: t.Any) -> str:
    if not isinstance(value, str) or not _LABEL.fullmatch(value):
        raise refuse(option, value, "not a name from the manifest")
    return value


def _below(option: str, value: t.Any) -> str:
    """A path below a root: no part of it empty, ``.`` or ``..``; any other printable text is a name in Linux."""
    if not isinstance(value, str) or not value.isprintable():
        raise refuse(option, value, "not a path below the root: a text without control characters is needed")
    for step in value.split("/"):
        if step in ("", ".", "..") or len(step.encode("utf-8", "replace")) > STEP_LENGTH:
            raise refuse(option, value, "not a path below the root: it is relative, and no part of it is empty, '.', '..' or too long")
    if len(value.encode("utf-8")) > PATH_LENGTH:
        raise refuse(option, value[:64], f"longer than {PATH_LENGTH} bytes")
    return value


def _anywhere(option: str, value: t.Any) -> str:
    """A path below a root, or the root itself."""
    return "" if value in (None, "") else _below(option, value)


def _content(option: str, value: t.Any) -> str:
    if not isinstance(value, str):
        raise refuse(option, None, "not a text")
    # four characters of base64 for three bytes; what is exact is counted where it is decoded
    if len(value) > FILE_LIMIT * 4 // 3 + 4:
        raise NexcageError("E_LIMIT", f"larger than {FILE_LIMIT} bytes", option=option)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise refuse(option, None, "not a text that has bytes in UTF-8") from None
    return value


def _pairs(name: re.Pattern[str]) -> t.Callable[[str, t.Any], Pairs]:
    """A validator for names with texts, whole numbers and flags; sorted, and as pairs, which cannot change."""

    def check(option: str, value: t.Any) -> Pairs:
        if value is None:
            return ()
        pairs = value.items() if isinstance(value, dict) else value
        if not isinstance(value, (dict, tuple)) or len(value) > PAIRS:
            raise refuse(option, None, f"not an object of at most {PAIRS} entries")
        return tuple(sorted((_key(option, key), _scalar(f"{option}.{key}", entry)) for key, entry in pairs))

    def _key(option: str, key: t.Any) -> str:
        if not isinstance(key, str) or not name.fullmatch(key):
            raise refuse(option, None, f"the name {ascii(key)[:64]} is not one")
        return key

    return check


def _scalar(option: str, value: t.Any) -> t.Any:
    if isinstance(value, int) and abs(value) <= template.LARGEST:
        return value
    if not isinstance(value, str) or len(value) > VALUE_LENGTH or not value.isprintable():
        raise refuse(option, None, f"not a whole number, true, false or a printable text of at most {VALUE_LENGTH} characters")
    return value


def _body(option: str, value: t.Any) -> str | None:
    return None if value is None else json_text(option, value, BODY_LIMIT)


def _path(option: str, value: t.Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= template.PATH_LENGTH or value[0] != "/":
        raise refuse(option, value, "not the path of a request in the manifest")
    return value


def _host(option: str, value: t.Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not _HOST.fullmatch(value)):
        raise refuse(option, value, "not a host of the manifest")
    return value


def _change(manifest: Values, arguments: Values) -> Use:
    """A write below a root; where, an operator wants to find in the audit log."""
    return Use(WRITE, (), f"{arguments['root']}:{arguments['path']}")


def _command(manifest: Values, arguments: Values) -> Use:
    entry = template.command(manifest, arguments["command"])
    filled = template.texts(entry["parameters"], arguments["parameters"], arguments["command"])
    kind = template.command_kind(entry)
    return Use(kind, template.containers(entry["parameters"], filled), arguments["command"])


def _request(manifest: Values, arguments: Values) -> Use:
    network, entry = template.request(manifest, arguments["network"], arguments["method"], arguments["path"])
    if arguments["host"] not in (None, *network["hosts"]):
        raise NexcageError("E_CAPABILITY", f"not a host of the manifest's network {network['id']}", option="host", value=arguments["host"])
    filled = template.texts(entry["parameters"], arguments["parameters"], entry["path"])
    kind = template.request_kind(entry["method"])
    if kind == READ and arguments["body"] is not None:
        raise NexcageError("E_INVALID", f"a {entry['method']} has no body", option="body")
    return Use(kind, template.containers(entry["parameters"], filled), f"{network['id']} {entry['method']} {entry['path']}")


_PLACE = {"root": _label, "path": _below}
_ENCODING = choice("utf-8", "utf-8", "base64")
_READS = (("filesystem_read",),)
_WRITES = (("filesystem_write",),)

EXTRA: dict[str, Effect] = {
    "fs.read": Effect(READ, _READS, {**_PLACE, "encoding": _ENCODING}),
    "fs.list": Effect(READ, _READS, {"root": _label, "path": _anywhere}),
    "fs.stat": Effect(READ, _READS, {"root": _label, "path": _anywhere}),
    "fs.write": Effect(WRITE, _WRITES, {**_PLACE, "content": _content, "encoding": _ENCODING, "mode": number(0, 0o777)}, _change),
    "fs.mkdir": Effect(WRITE, _WRITES, {**_PLACE, "mode": number(0, 0o777)}, _change),
    "fs.remove": Effect(WRITE, _WRITES, _PLACE, _change),
    "command.run": Effect(WRITE, (("host_command",),), {"command": _label, "parameters": _pairs(_LABEL)}, _command),
    "http.request": Effect(
        WRITE,
        (("network_client",),),
        {
            "network": _label,
            "method": choice(None, "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
            "path": _path,
            "parameters": _pairs(_LABEL),
            "query": _pairs(_KEY),
            "body": _body,
            "host": _host,
        },
        _request,
    ),
}
