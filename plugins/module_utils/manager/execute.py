# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command in a running container."""

from __future__ import annotations

import base64
import typing as t

from ..broker.handlers import Order
from ..model import values
from ..model.container import check_name
from ..model.errors import NexcageError
from . import backends, observe, registry
from .dispatch import Session, require_root


def execute(session: Session, parameters: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Run the command, unless ``creates`` or ``removes`` says that it need not run.

    Returns:
        ``changed``, ``rc``, ``stdout``, ``stderr``; ``skipped`` where it did not run.

    Raises:
        NexcageError: ``E_NOT_FOUND`` without the container, ``E_INVALID`` where it does not run,
            ``E_RUNTIME`` where the command ended with another code than 0, ``E_TIMEOUT``; these two with
            ``changed``, as the command ran.
    """
    require_root("an OCI backend")
    name = check_name(parameters["name"])
    process = _process(parameters)
    owner = observe.owner(session.layout, name)
    found = None
    if owner is not None:
        plugin = backends.held(session, owner, name)
        found = observe.one(session, plugin, name)
    if session.check_mode and (found is None or found["status"] != "running"):
        return _skipped(f"the command is not run in check mode, and {name} does not run yet")  # an earlier task would have started it
    if found is None:
        raise NexcageError("E_NOT_FOUND", "there is no such container", option="name", value=name)
    if found["status"] != "running":
        raise NexcageError("E_INVALID", f"the container is {found['status']}", option="name", value=name, remedy="start it with nexcage_container first")
    observe.refuse_misshapen(found)
    reason = _needless(session, plugin, name, parameters)
    if not reason:
        session.permit(plugin, "exec", {"name": name})
    if reason or session.check_mode:
        return _skipped(reason or "the command is not run in check mode")
    session.orders[name] = Order(process=process)
    try:
        value = session.operate(plugin, "exec", {"name": name, **(_shown(process) if plugin.foreign else {})})
    except NexcageError as error:
        if error.option == "argv":
            error.option, error.value = _given(parameters), error.value or _written(parameters, process)
        raise
    return _result(_outcome(session, plugin, name, value), parameters, process)


def _shown(process: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What a backend without an OCI runtime is told of the command; of its secrets only the names."""
    shown = {key: process[key] for key in ("argv", "env", "user", "working_dir", "timeout")}
    return {**shown, "secret_env": sorted(process["secret_env"]), "stdin": process["stdin"] is not None}


def _outcome(session: Session, plugin: registry.Plugin, name: str, value: t.Any) -> dict[str, t.Any]:
    """How the command ended, as the broker saw it; what the plugin says of it where no command of the broker did it."""
    found = session.outcome(plugin, name)
    if found is None and not plugin.foreign:
        from . import answers

        raise answers.lie(plugin.name, "exec", name, "no command was run in the container")
    if found is None:
        from . import foreign

        return foreign.outcome(value, plugin)
    return found


def _skipped(why: str) -> dict[str, t.Any]:
    return {"changed": False, "skipped": True, "msg": why, "rc": 0, "stdout": "", "stderr": ""}


def _given(parameters: t.Mapping[str, t.Any]) -> str:
    """The option that names the command in this task."""
    return "command" if parameters.get("argv") is None else "argv"


def _written(parameters: t.Mapping[str, t.Any], process: t.Mapping[str, t.Any]) -> t.Any:
    """The command as the task has it; its program alone where a secret stands in it, which may be written otherwise in an error."""
    secrets = [secret for secret in process["secret_env"].values() if secret]
    hidden = any(secret in part for secret in secrets for part in process["argv"])
    return process["argv"][0] if hidden else parameters[_given(parameters)]


def _process(parameters: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What the engine runs; every value checked before anything happens."""
    option = _given(parameters)
    given = parameters[option]
    argv = values.argument_vector(option, given)
    if not argv or not argv[0]:
        raise NexcageError("E_INVALID", "names no program", option=option, value=given, remedy="give a program and its arguments")
    stdin = parameters.get("stdin")
    if stdin is not None and parameters.get("stdin_add_newline"):
        stdin += "\n"
    user, folder = parameters.get("user"), parameters.get("working_dir")
    return {
        "argv": argv,
        "env": values.environment("env", parameters.get("env") or {}),
        "secret_env": values.secret_mapping("secret_env", parameters.get("secret_env") or {}),
        "user": None if user is None else values.user("user", user),
        "working_dir": None if folder is None else values.absolute_path("working_dir", folder),
        "stdin": None if stdin is None else base64.b64encode(_bytes(stdin)).decode("ascii"),
        "timeout": values.whole(1, 86400)("timeout", parameters["timeout"]),
    }


def _bytes(text: str) -> bytes:
    """What a process shall read; bytes that are not UTF-8 are surrogates.

    Raises:
        NexcageError: ``E_INVALID`` for other surrogates, without the text, which may be a secret.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise NexcageError("E_INVALID", "holds half a surrogate pair, which is no character", option="stdin", remedy="correct the text") from None


def _needless(session: Session, plugin: registry.Plugin, name: str, parameters: t.Mapping[str, t.Any]) -> str:
    """Why the command need not run; empty where it shall."""
    for option, there in (("creates", True), ("removes", False)):
        path = parameters.get(option)
        if path is not None and plugin.foreign:
            raise NexcageError("E_UNSUPPORTED", f"the backend {plugin.backend} does not support it", option=option, value=path, remedy="leave it out")
        if path is not None:
            path = values.absolute_path(option, path)
            if session.ask(plugin, "oci.exists", {"name": name, "path": path}) is there:
                return f"{path} {'exists' if there else 'does not exist'} in {name}"
    return ""


def _result(outcome: t.Mapping[str, t.Any], parameters: t.Mapping[str, t.Any], process: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The module's result; bytes that are not UTF-8 survive as surrogates, as in ansible.builtin.command."""
    texts = {}
    for stream in ("stdout", "stderr"):
        text = base64.b64decode(outcome[stream]).decode("utf-8", "surrogateescape")
        texts[stream] = text.rstrip("\r\n") if parameters.get("strip_empty_ends", True) else text
    if outcome.get("timed_out"):
        raise NexcageError(
            "E_TIMEOUT",
            f"the command did not end within {process['timeout']} s and was killed",
            option="timeout",
            value=process["timeout"],
            details={"changed": True, **texts},
        )
    if outcome["rc"] != 0:
        raise NexcageError(
            "E_RUNTIME",
            f"the command ended with exit code {outcome['rc']}",
            option=_given(parameters),
            value=_written(parameters, process),
            remedy="read stderr; set failed_when where this code is expected",
            details={"changed": True, "rc": outcome["rc"], **texts},
        )
    return {"changed": True, "rc": 0, **texts}
