# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The events that a plugin can listen to: who fires them, with what, and whether a listener may say no.

Names, priorities and strategies are those of existing NexCage plugins.
"""

from __future__ import annotations

import typing as t

SKIP, RETRY, ABORT = "skip", "retry", "abort"
STRATEGIES = (SKIP, RETRY, ABORT)
PRIORITIES = {"critical": 0, "high": 1, "normal": 2, "low": 3, "background": 4}  # the lowest number is asked first
LATER = "by what comes later; nothing fires it yet"


class Event(t.NamedTuple):
    """One event.

    Args:
        fired: Who fires it, and when.
        payload: The keys of what a listener is told, beyond ``check_mode``.
        veto: Whether a listener may refuse what is about to happen, where the operator lets it.
        reads: Whether a listener may change nothing, whatever it was granted.
        reversed: Whether the last listener is asked first, as in a teardown.
    """

    fired: str
    payload: tuple[str, ...] = ()
    veto: bool = False
    reads: bool = False
    reversed: bool = False


_CONTAINER = ("name", "backend", "action", "spec")
_LATER = Event(LATER)
_LATER_VETO = Event(LATER, veto=True)


def _around(verb: str, when: str, teardown: bool = False) -> dict[str, Event]:
    return {
        f"container.pre_{verb}": Event(f"nexcage_container, before a container is {when}", _CONTAINER, veto=True, reversed=teardown),
        f"container.post_{verb}": Event(f"nexcage_container, after a container was {when}", _CONTAINER, reversed=teardown),
    }


EVENTS: dict[str, Event] = {
    "system.startup": Event(
        "nexcage_container and nexcage_plugin, before the first change of a run that changes a container or an installed plugin", ("user",)
    ),
    "system.shutdown": Event("the same run, at its end", ("user", "failed"), reversed=True),
    "system.config_reload": Event("nexcage_plugin, after it changed priority or config of an installed plugin", ("plugin", "version")),
    "system.health_check": Event("nexcage_plugin_info, after it asked the plugins for their health", ("plugins",), reads=True),
    "system.plugin_loaded": Event("nexcage_plugin, after a plugin was installed, updated, rolled back or enabled", ("plugin", "version")),
    "system.plugin_unloaded": Event("nexcage_plugin, after a plugin was removed or disabled", ("plugin", "version"), reversed=True),
    "system.error_occurred": Event("a run that fired system.startup and then fails", ("code", "option", "plugin")),
    **_around("create", "created, or made again"),
    **_around("start", "started"),
    **_around("stop", "stopped, or made again while it runs", teardown=True),
    **_around("delete", "removed, or made again", teardown=True),
    "container.status_changed": Event(
        "nexcage_container, at its end, where the status changed (cause: task), or is not what the run led to (cause: drift)",
        ("name", "backend", "before", "after", "cause"),
    ),
    "cli.pre_command": _LATER_VETO,
    "cli.post_command": _LATER,
    "cli.command_error": _LATER,
    "cli.help_requested": _LATER,
    "api.pre_request": _LATER_VETO,
    "api.post_request": _LATER,
    "api.request_error": _LATER,
    "api.authentication": _LATER,
    "api.authorization": _LATER,
}

# plan action -> the verbs around it, in the order in which they happen; a replace of what runs also stops it
VERBS: dict[str, tuple[str, ...]] = {
    "create": ("create",),
    "replace": ("stop", "delete", "create"),
    "start": ("start",),
    "stop": ("stop",),
    "delete": ("delete",),
}
# plan action -> the status that it leads to
LEADS_TO = {
    "create": "created",
    "replace": "created",
    "start": "running",
    "stop": "stopped",
    "pause": "paused",
    "resume": "running",
    "delete": "absent",
}


class Hook(t.NamedTuple):
    """One listener: a plugin and an event.

    Args:
        plugin: The plugin's name.
        event: One of ``EVENTS``.
        priority: One of ``PRIORITIES``.
        timeout_ms: Milliseconds that it may take.
        strategy: One of ``STRATEGIES``.
    """

    plugin: str
    event: str
    priority: str = "normal"
    timeout_ms: int = 5000
    strategy: str = SKIP


def order(hooks: t.Iterable[Hook]) -> list[Hook]:
    """The listeners of one event in the one order in which they are asked: by priority and name, the last first in a teardown."""
    found = sorted(hooks, key=lambda hook: (PRIORITIES[hook.priority], hook.plugin))
    return found[::-1] if found and EVENTS[found[0].event].reversed else found


def verbs(action: str, running: bool) -> tuple[str, ...]:
    """What an action of a plan does to a container, step by step.

    Args:
        action: One of the plan's.
        running: Whether the container runs or is paused before it.
    """
    return tuple(verb for verb in VERBS.get(action, ()) if action != "replace" or verb != "stop" or running)


def led_to(actions: t.Iterable[str], status: str) -> str:
    """The status after these actions of a plan; actions that change none are passed over."""
    for action in actions:
        status = LEADS_TO.get(action, status)
    return status


class Statistics:
    """What became of one hook in a run; times in milliseconds."""

    def __init__(self) -> None:
        self.executions = self.failures = self.timeouts = self.vetoes = 0
        self._total, self._least, self._most = 0.0, 0.0, 0.0

    def count(self, milliseconds: float, failed: bool = False, timed_out: bool = False) -> None:
        """Count one execution; one that ran out of time has failed too."""
        self._least = milliseconds if not self.executions else min(self._least, milliseconds)
        self._most = max(self._most, milliseconds)
        self._total += milliseconds
        self.executions += 1
        self.failures += failed or timed_out
        self.timeouts += timed_out

    def as_dict(self) -> dict[str, t.Any]:
        """For a result."""
        average = self._total / self.executions if self.executions else 0.0
        times = {"total_ms": self._total, "avg_ms": average, "min_ms": self._least, "max_ms": self._most}
        counts = {"executions": self.executions, "failures": self.failures, "timeouts": self.timeouts, "vetoes": self.vetoes}
        return {**counts, **{name: round(value, 1) for name, value in times.items()}}
