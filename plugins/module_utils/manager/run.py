# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The frame around every module: a session, an action, and a result or an error that says what to do."""

from __future__ import annotations

import os
import typing as t

from ..model.config import Layout
from ..model.errors import NexcageError
from .dispatch import Session

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ..worker.spawn import Worker

    Action = t.Callable[[Session, t.Mapping[str, t.Any]], dict[str, t.Any]]


def run(module: AnsibleModule, action: Action, worker: Worker | None = None) -> t.NoReturn:
    """Run ``action`` in a session and end the module with its result.

    Args:
        module: The module; only its parameters, ``check_mode``, ``warn`` and the two exits are used.
        action: From session and parameters to the result.
        worker: A worker that was spawned ahead.
    """
    layout = Layout.for_user(os.geteuid(), os.environ)
    timeout = float(module.params.get("timeout") or 120)
    session = Session(layout, module.check_mode, timeout, worker)
    try:
        with session:
            result = action(session, module.params)
    except NexcageError as error:
        for warning in session.warnings:
            module.warn(warning)
        extra = {key: error.details.pop(key) for key in ("changed", "plan", "rc", "stdout", "stderr") if key in error.details}
        module.fail_json(msg=str(error), error=error.as_dict(), **extra)
    for warning in (*session.warnings, *result.pop("warnings", ())):
        module.warn(warning)
    module.exit_json(**result)
