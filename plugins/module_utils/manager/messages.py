# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What installed plugins say by ``host.log``: bounded and without secrets, for the result, as warnings, and in the audit log.

Imported only where a third-party plugin is used; a built-in one does not log.
"""

from __future__ import annotations

import typing as t

from ..broker.secret import Secrets

if t.TYPE_CHECKING:
    from .dispatch import Session
    from .registry import Plugin

MOST = 50  # different messages of one plugin in a result
LONGEST = 512  # characters of one of them
WARNINGS = 10  # of one plugin in a run; the audit log has as many lines
LOUD = ("warning", "error")
LEFT_OUT = "further messages of this plugin were left out"


def keeper(session: Session, plugin: Plugin, context: t.Mapping[str, t.Any]) -> t.Callable[[t.Mapping[str, t.Any]], None]:
    """The function behind the broker call ``log`` of one plugin.

    Args:
        session: Its ``logged``, ``warnings`` and ``audit`` get what is said.
        plugin: Who speaks.
        context: What the audit log is told of it; ``op`` is what it is doing.
    """
    name, operation = str(plugin.manifest["name"]), str(context["op"])

    def keep(arguments: t.Mapping[str, t.Any]) -> None:
        level, message = arguments["level"], _masked(session, plugin, arguments["message"])[:LONGEST]
        _note(session.logged, {"plugin": name, "operation": operation, "level": level, "message": message})
        said = f"{name} says: {message}" if level == "warning" else f"{name} says that something went wrong: {message}"
        if level in LOUD and said not in session.warnings and sum(entry.startswith(f"{name} says") for entry in session.warnings) < WARNINGS:
            session.warnings.append(said)
            session.audit.remark(level, message, {**context, "plugin": name})

    return keep


def _note(logged: list[dict[str, t.Any]], entry: dict[str, t.Any]) -> None:
    """Keep one message; what was said before is counted, as a plugin that is asked again says it again."""
    own = [known for known in logged if known["plugin"] == entry["plugin"]]
    if len(own) >= MOST:
        entry = {**entry, "operation": "", "level": "warning", "message": LEFT_OUT}
    for known in own:
        if all(known[key] == value for key, value in entry.items()):
            known["times"] += 1
            return
    logged.append({**entry, "times": 1})


def _masked(session: Session, plugin: Plugin, message: str) -> str:
    """The message without the secrets of plugin and task."""
    values = [*session.secrets]
    for order in session.orders.values():
        values += [*order.secrets.values(), *(order.process.get("secret_env") or {}).values()]
    settings = {str(number): value for number, value in enumerate(values)}
    of_task = Secrets({"configuration": {number: {"sensitive": True} for number in settings}}, settings)
    return str(of_task.scrub(Secrets(plugin.manifest, plugin.config).scrub(message)))
