# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which installed plugins listen to events, in one small file, so that a run need not open hundreds of packages.

The file exists only where a plugin listens, and one look for it is all that a run without listeners pays. It may name
too much, never too little: a plugin is written into it before it becomes the active one, and taken out afterwards. What
it says is only where to look; the manifest, the grant and the settings decide when an event is fired.
"""

from __future__ import annotations

import typing as t

from ..broker import store
from ..model.config import Layout
from ..model.errors import NexcageError
from ..model.hook import EVENTS, PRIORITIES, STRATEGIES, Hook
from . import records

SCHEMA_VERSION = 1
FILE = "hooks.json"  # in the state folder; Session.hears() looks for it


def path(layout: Layout) -> str:
    """The file."""
    return f"{layout.state}/{FILE}"


def read(layout: Layout) -> dict[str, list[Hook]]:
    """Plugin to what it listens to; empty where no plugin does.

    Raises:
        NexcageError: ``E_STATE`` naming the file where it is damaged: a hook that may refuse is not left out in silence.
    """
    content = store.read_json(path(layout))
    if content is None:
        return {}
    try:
        if content["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"the schema version is {content['schema_version']!r}")
        return {str(name): [_hook(name, row) for row in rows] for name, rows in content["plugins"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NexcageError(
            "E_STATE", f"{path(layout)} is damaged: {error}", value=path(layout), remedy="remove it, and install the plugins that have hooks again"
        ) from error


def _hook(name: str, row: t.Mapping[str, t.Any]) -> Hook:
    made = Hook(name, str(row["event"]), str(row["priority"]), int(row["timeout_ms"]), str(row["strategy"]))
    if made.event not in EVENTS or made.priority not in PRIORITIES or made.strategy not in STRATEGIES:
        raise ValueError(f"{name} has {row!r}")
    return made


def declared(manifest: t.Mapping[str, t.Any]) -> list[Hook]:
    """What a manifest listens to."""
    return [Hook(manifest["name"], row["event"], row["priority"], row["timeout_ms"], row["strategy"]) for row in manifest.get("hooks") or ()]


def announce(layout: Layout, name: str, hooks: t.Sequence[Hook]) -> None:
    """Before a package becomes the active one: what it listens to, beside what the one before it does.

    Raises:
        NexcageError: ``E_STATE``, ``E_SPACE``.
    """
    if hooks:
        known = read(layout)
        _write(layout, {**known, name: [*hooks, *(hook for hook in known.get(name, ()) if hook not in hooks)]})


def settle(layout: Layout, name: str, hooks: t.Sequence[Hook]) -> None:
    """After that: nothing but what the active package listens to; what removed plugins left goes too.

    Raises:
        NexcageError: As :func:`announce`.
    """
    known = read(layout)
    if known:
        wanted = {other: rows for other, rows in known.items() if other != name and _active(layout, other)}
        _write(layout, {**wanted, name: list(hooks)} if hooks else wanted)


def _active(layout: Layout, name: str) -> bool:
    record = records.read(layout, name)
    return record is not None and record.active is not None


def _write(layout: Layout, hooks: t.Mapping[str, t.Sequence[Hook]]) -> None:
    """Write the file; where nobody listens there is none."""
    if not hooks:
        store.remove(path(layout))
        return
    store.ensure_folder(layout.state)
    plugins = {name: [{key: value for key, value in hook._asdict().items() if key != "plugin"} for hook in rows] for name, rows in sorted(hooks.items())}
    store.write_json(path(layout), {"schema_version": SCHEMA_VERSION, "plugins": plugins})
    store.sync_folder(layout.state)
