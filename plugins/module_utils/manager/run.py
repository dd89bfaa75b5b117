# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The frame around every module: a session, an action, and a result or an error that says what to do."""

from __future__ import annotations

import contextlib
import os
import signal
import typing as t

from ..broker import store
from ..model.config import Layout
from ..model.errors import NexcageError
from ..worker.delivered import code
from ..worker.spawn import Worker
from .dispatch import Session

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ..worker.launch import Process

    Action = t.Callable[[Session, t.Mapping[str, t.Any]], dict[str, t.Any]]


def run(module: AnsibleModule, action: Action, process: Process | None = None, reading: bool = False) -> t.NoReturn:
    """Run ``action`` in a session and end the module with its result.

    Args:
        module: The module; only its parameters, ``check_mode``, ``warn`` and the two exits are used.
        action: From session and parameters to the result.
        process: Of a worker, started ahead.
        reading: It never changes anything, so it does not keep code either.
    """
    _settle()
    timeout = float(module.params.get("timeout") or 120)
    warnings: list[str] = []
    secrets: set[str] = set()
    told: list[dict[str, t.Any]] = []
    logged: list[dict[str, t.Any]] = []
    try:
        layout = _layout(process)
        with Session(layout, module.check_mode, timeout, Worker(process=process) if process else None) as session:
            warnings, secrets, told, logged = session.warnings, session.secrets, session.told, session.logged
            result = action(session, module.params)
        if not (reading or module.check_mode) and _to_keep(result["changed"]):
            from ..broker import kept_code

            kept_code.keep(layout.cache)
    except (NexcageError, OSError) as problem:
        error = problem if isinstance(problem, NexcageError) else store.failure(problem, "the system refused what this task needs")
        for warning in warnings:
            module.warn(warning)
        _hide(module, secrets)
        extra = {key: error.details.pop(key) for key in ("changed", "plan", "container", "rc", "stdout", "stderr") if key in error.details}
        module.fail_json(msg=str(error), error=error.as_dict(), **extra, **_told(told, logged))
    for warning in (*warnings, *result.pop("warnings", ())):
        module.warn(warning)
    _hide(module, secrets)
    module.exit_json(**result, **_told(told, logged))


def _to_keep(changed: bool) -> bool:
    """Whether code is to be kept: what had to be sent or compiled as a whole always, what lacked only by a run that wrote something anyway."""
    found = code()
    return found is not None and (changed or found.sent is not None or not found.kept)


def _told(hooks: list[dict[str, t.Any]], logged: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    """What became of the hooks, for a run that fired an event at any; and what plugins said, where one did."""
    return {**({"hooks": hooks} if hooks else {}), **({"plugin_log": logged} if logged else {})}


def _hide(module: AnsibleModule, secrets: set[str]) -> None:
    """Let Ansible mask what a task's ``config`` says of a plugin's secrets: the invocation is part of every result."""
    if secrets:
        module.no_log_values.update(secrets)


def _layout(process: Process | None) -> Layout:
    try:
        return Layout.for_user(os.geteuid(), os.environ)
    except NexcageError:
        if process is not None:
            process.end()
            process.close()
        raise


def _settle() -> None:
    """Take back what a caller may have handed down and every program that we start would inherit.

    With SIGCHLD ignored nobody learns how a child ended; blocked signals never reach a container; a mask of 0 makes
    folders that everybody may change.
    """
    os.umask(0o022)
    with contextlib.suppress(ValueError):  # only the first thread may
        if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
