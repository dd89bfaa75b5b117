# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a plugin is, asked now: nothing runs in between that could know.

As in NexCage, a plugin whose health operation fails is unhealthy, and of one that has none it is unknown. Of an
installed one also counts what it needs of the host, and how its last operations ended.
"""

from __future__ import annotations

import typing as t

from ..model.config import Layout
from ..model.errors import NexcageError
from ..worker.sandbox import clean
from . import breaker, requirements
from .dispatch import Session
from .registry import Plugin

HEALTHY, DEGRADED, UNHEALTHY, UNKNOWN = "healthy", "degraded", "unhealthy", "unknown"
STATES = (HEALTHY, UNKNOWN, DEGRADED, UNHEALTHY)  # each worse than the one before
RECENT = 3600.0  # seconds for which an operation that failed degrades its plugin
MOST = 20  # problems and further facts that a plugin may tell


def check(session: Session, plugin: Plugin, ask: bool = True) -> dict[str, t.Any]:
    """``status`` and ``problems``, and what else the plugin tells of itself.

    Args:
        session: The module run.
        plugin: Of use or not.
        ask: Whether the plugin is asked, and the programs that it needs; without that nothing is started.
    """
    if plugin.problem is not None:
        return {"status": UNHEALTHY, "problems": [str(plugin.problem)]}
    if not plugin.enabled:
        return {"status": UNKNOWN, "problems": ["the plugin is disabled"]}
    if not ask:
        return _unasked(session, plugin)
    if plugin.installed is None:  # it looks at its program itself, and is trusted to say what it likes
        return _asked(session, plugin)
    lacking = [str(error) for error in requirements.check(_without_chosen(plugin))]
    found = _checked(_asked(session, plugin)) if "health" in plugin.manifest["operations"] else _silent()
    failed = recent(session.layout, plugin.name, plugin.installed.release.digest)
    worst = max((found["status"], UNHEALTHY if lacking else HEALTHY, DEGRADED if failed else HEALTHY), key=STATES.index)
    return {**found, "status": worst, "problems": [*lacking, *found["problems"], *failed]}


def _unasked(session: Session, plugin: Plugin) -> dict[str, t.Any]:
    failed = [] if plugin.installed is None else recent(session.layout, plugin.name, plugin.installed.release.digest)
    return {"status": DEGRADED if failed else UNKNOWN, "problems": ["it was not asked", *failed]}


def _asked(session: Session, plugin: Plugin) -> dict[str, t.Any]:
    try:
        return t.cast("dict[str, t.Any]", session.operate(plugin, "health", {}))
    except NexcageError as error:
        if error.code == "E_POLICY" and "rule" in error.details:  # nobody could ask, which says nothing of the plugin
            return {"status": UNKNOWN, "problems": [str(error)]}
        return {"status": UNHEALTHY, "problems": [str(error)]}


def _silent() -> dict[str, t.Any]:
    return {"status": UNKNOWN, "problems": ["the plugin has no health operation"]}


def _without_chosen(plugin: Plugin) -> dict[str, t.Any]:
    """The manifest without the program in whose place the operator put another one."""
    manifest = dict(plugin.manifest)
    if plugin.config.get("binary_path"):
        manifest["binary_dependencies"] = [entry for entry in manifest["binary_dependencies"] if entry["name"] != plugin.runtime]
    return manifest


def _checked(answer: t.Any) -> dict[str, t.Any]:
    """What an installed plugin answered, as far as it is one; a stranger wrote it."""
    status, problems = (answer.get("status"), answer.get("problems") or []) if isinstance(answer, dict) else (None, [])
    if status not in STATES or not isinstance(problems, list):
        return {"status": UNHEALTHY, "problems": [f"its health operation must answer with a status, one of {', '.join(STATES)}, and a list of problems"]}
    facts = [(clean(key), value) for key, value in answer.items() if key not in ("status", "problems") and isinstance(value, (str, int, float))]
    more = {key: clean(value) if isinstance(value, str) else value for key, value in facts[:MOST]}
    return {**more, "status": status, "problems": [clean(problem) for problem in problems[:MOST]]}


def recent(layout: Layout, name: str, digest: str) -> list[str]:
    """One line where operations of this package failed lately, and the plugin was to blame; empty otherwise."""
    book, now = breaker.read(layout, name), breaker.clock()
    tried = [outcome for outcome in book.outcomes if outcome.digest == digest]
    failed = [outcome for outcome in tried if outcome.kind in (breaker.DEFECT, breaker.FAULT) and 0 <= now - outcome.at < RECENT]
    if not failed:
        return []
    last = failed[-1]
    return [f"{len(failed)} of its last {len(tried)} operations failed, the last one with {last.code} in {last.operation} at {breaker.moment(last.at)}"]


def _of_hook(row: t.Mapping[str, int]) -> dict[str, t.Any]:
    """The figures of one event."""
    executions = sum(row.get(kind, 0) for kind in breaker.KINDS)
    counts = {"executions": executions, "failures": executions - row.get(breaker.OK, 0), "faults": row.get(breaker.FAULT, 0)}
    more = {key: row.get(key, 0) for key in ("timeouts", "vetoes")}
    return {**counts, **more, "avg_ms": round(row.get("milliseconds", 0) / executions, 1) if executions else 0.0}


def statistics(layout: Layout, name: str) -> dict[str, t.Any]:
    """The figures of an installed plugin, as far as they are kept; reads that succeeded are not. Those of hooks stand apart."""
    book = breaker.read(layout, name)
    last = book.outcomes[-1] if book.outcomes else None
    kinds = {kind: sum(row.get(kind, 0) for row in book.totals.values()) for kind in breaker.KINDS}
    return {
        "executions": sum(kinds.values()),
        "failures": sum(kinds.values()) - kinds[breaker.OK],
        "faults": kinds[breaker.FAULT],
        "denied_calls": sum(sum(codes.values()) for codes in book.denied.values()),
        "hooks": {event: _of_hook(row) for event, row in sorted(book.hooks.items())},
        "last_success": breaker.moment(book.success),
        "last": last
        and {
            "time": breaker.moment(last.at),
            "operation": last.operation,
            "outcome": last.kind,
            "code": last.code or None,
            "milliseconds": last.milliseconds,
        },
    }
