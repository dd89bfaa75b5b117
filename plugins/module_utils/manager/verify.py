# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that lies on disk of an installed plugin, looked at once more and with today's trust files."""

from __future__ import annotations

import os
import typing as t

from ..broker import guarded
from ..model.config import Layout
from ..model.errors import NexcageError
from . import grants, installed, records, registry, trust

RECORD_LIMIT = 1 << 20  # bytes
Value = t.TypeVar("Value")


class Findings:
    """What was looked at, and what was wrong."""

    def __init__(self) -> None:
        self.checks: list[str] = []
        self.problems: list[dict[str, t.Any]] = []

    def look(self, check: str, at: t.Callable[[], Value]) -> Value | None:
        """What ``at`` returns; ``None`` where it refuses, which is noted."""
        self.checks.append(check)
        try:
            return at()
        except (NexcageError, OSError) as problem:
            error = problem if isinstance(problem, NexcageError) else NexcageError("E_STATE", str(problem))
            self.problems.append({"check": check, "code": error.code, "message": error.message, "remedy": error.remedy})
            return None


def plugin(layout: Layout, name: str) -> dict[str, t.Any]:
    """Whether a plugin is on disk what was installed, and may still be used.

    Args:
        layout: The host's folders.
        name: Full name of a plugin that exists; a built-in one comes with the collection, and there is nothing to look at.

    Returns:
        ``ok``, ``checks`` with what was looked at, and ``problems``, each with ``check``, ``code``, ``message`` and ``remedy``.
    """
    found = Findings()
    for _look in range(installed.LOOKS if name not in registry.BUILT_IN else 0):
        found = Findings()
        _installed(found, layout, name)
        if not found.problems:  # a replacement may have fallen into the look; what is wrong stays wrong
            break
    return {"ok": not found.problems, "checks": found.checks, "problems": found.problems}


def _installed(found: Findings, layout: Layout, name: str) -> None:
    found.look("permissions", lambda: _permissions(layout, name))
    record = found.look("record", lambda: records.read(layout, name))
    if record is None or record.active is None:
        return
    active, previous = record.active, record.previous
    loaded = found.look("package", lambda: installed.fetch(layout, name, active)[0])
    if loaded is not None:
        found.look("trust", lambda: installed.judge(layout, loaded, active))
        found.look("grant", lambda: grants.granted(layout, loaded.manifest, active.digest))
    if previous is not None:
        found.look("previous", lambda: installed.fetch(layout, name, previous))


def _permissions(layout: Layout, name: str) -> None:
    """Nobody but root and this user can change the folders and files that decide over the plugin.

    Raises:
        NexcageError: ``E_INTEGRITY`` naming the first one that others can change.
    """
    places = (layout.configuration, trust.folder(layout), os.path.dirname(grants.path(layout, name)), installed.plugin_dir(layout))
    for folder in (*places, records.folder(layout, name)):
        if os.path.lexists(folder):
            os.close(guarded.open_folder(folder))
    guarded.read(f"{records.folder(layout, name)}/{records.FILE}", RECORD_LIMIT)
