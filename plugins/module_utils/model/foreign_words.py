# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A command's arguments from the operator's task: holes that the broker fills, and that no plugin can.

An argument with such a hole is left out where the task, or the record, says nothing of the option; one for a list or a
mapping stands once for each entry.
"""

from __future__ import annotations

import base64
import json
import typing as t

from . import template, values
from .errors import NexcageError

Values = t.Mapping[str, t.Any]
PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
# What an exec is told, apart from its secrets and what it reads.
PROCESS = ("argv", "env", "user", "working_dir")


def arguments(entry: Values, filled: t.Mapping[str, str], spec: Values, process: Values) -> list[str]:
    """The arguments of a command.

    Args:
        entry: Its template.
        filled: The texts of the holes that the plugin fills.
        spec: What the container shall be, canonical values by option.
        process: What an exec shall run.

    Raises:
        NexcageError: ``E_INVALID`` for a value that would be read as an option of the program.
    """
    words: list[str] = []
    for argument in entry["argv"]:
        hole = next((name for name in template.holes(argument) if entry["parameters"][name]["type"] in template.TASK), None)
        if hole is None:
            words.append(template.fill(argument, filled))
            continue
        rule = entry["parameters"][hole]
        source = spec if rule["type"] == "option" else process
        option = rule.get("option", hole)
        value = source.get(option)
        for text in () if value is None else texts(option, value, rule.get("form", "plain")):
            word = template.fill(argument, {**filled, hole: text})
            if word[:1] == "-" and argument[:1] == "{" and not isinstance(value, (list, tuple)):
                raise NexcageError("E_INVALID", "begins with '-', which the backend's program would take for an option", option=option, value=text)
            words.append(word)
    return words


def texts(option: str, value: t.Any, form: str = "plain") -> list[str]:
    """The texts of a canonical value, one for each argument.

    Args:
        option: Its name.
        value: Not ``None``.
        form: ``plain``; ``json`` for one text with all of it; ``cpus`` for a number of CPUs; ``limit`` with 0 for no limit.
    """
    if form == "json":
        return [json.dumps(value, ensure_ascii=False, separators=(",", ":"))]
    if form == "cpus":
        return ["0" if value == values.UNLIMITED else values.show_cpus(value)]
    if form == "limit":
        return ["0" if value == values.UNLIMITED else str(value)]
    if option == "mounts":
        return [_mount(mount) for mount in value]
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, t.Mapping):
        return [f"{name}={_limit(entry) if isinstance(entry, (list, tuple)) else entry}" for name, entry in value.items()]
    return [str(entry) for entry in value] if isinstance(value, (list, tuple)) else [str(value)]


def _limit(pair: t.Sequence[int]) -> str:
    return ":".join(map(str, pair))


def _mount(mount: Values) -> str:
    """The form ``type=bind,source=…,target=…`` of docker and podman.

    Raises:
        NexcageError: ``E_UNSUPPORTED`` for a path that this form cannot say.
    """
    for name in ("source", "target"):
        if any(character in (mount[name] or "") for character in ',"\n'):
            message = "a path with a comma, a quote or a line feed cannot be handed to this backend's program"
            raise NexcageError("E_UNSUPPORTED", message, option="mounts", value=mount[name], remedy="use another path")
    pairs = [("type", mount["type"]), ("source", mount["source"]), ("target", mount["target"])]
    words = [f"{name}={text}" for name, text in pairs if text is not None]
    return ",".join([*words, *(["readonly=true"] if mount["read_only"] else []), *filter(None, map(_mount_option, mount["options"]))])


def _mount_option(item: str) -> str:
    """An option of mount(8) in that form; empty where it says what is so anyway.

    Raises:
        NexcageError: ``E_UNSUPPORTED`` for one that this form does not have.
    """
    name, _equals, value = item.partition("=")
    if name in ("size", "mode"):
        return f"tmpfs-{name}={value}"
    if name in PROPAGATIONS:
        return f"bind-propagation={name}"
    if name in ("nosuid", "nodev", "noexec", "suid", "dev", "exec"):
        return name
    if name not in ("bind", "rbind"):
        message = f"the mount option {item} cannot be handed to this backend's program"
        raise NexcageError("E_UNSUPPORTED", message, option="mounts", value=item, remedy="leave it out, or use another backend")
    return "bind-nonrecursive=true" if name == "bind" else ""


def standard_input(entry: Values, secrets: t.Mapping[str, str], process: Values) -> bytes | None:
    """What the program reads: the task's ``secret_env`` as lines ``NAME=VALUE``, or what an exec shall read.

    Raises:
        NexcageError: ``E_UNSUPPORTED`` for a secret of more than one line.
    """
    kind = entry.get("stdin")
    if kind == "secret_env":
        variables = (process.get("secret_env") if process else secrets) or {}
        for name, value in variables.items():
            if "\n" in value or "\r" in value:
                raise NexcageError("E_UNSUPPORTED", f"{name} has more than one line, which this backend's program cannot be given", option="secret_env")
        return "".join(f"{name}={value}\n" for name, value in variables.items()).encode("utf-8", "surrogateescape")
    text = process.get("stdin") if kind == "input" else None
    return None if text is None else base64.b64decode(text)
