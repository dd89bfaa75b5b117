# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin's own small memory: JSON values by key, private to the plugin, limited in size."""

from __future__ import annotations

import json
import typing as t

from ..model.container import check_name
from ..model.effects import STATE_QUOTA
from ..model.errors import NexcageError
from .store import Lock, ensure_folder, read_json, write_json

if t.TYPE_CHECKING:
    from ..model.config import Layout

    Arguments = t.Mapping[str, t.Any]

SCHEMA_VERSION = 1
LOCK_SECONDS = 10.0


class State:
    """The values that one plugin keeps on this host; no other plugin reaches them.

    Args:
        layout: The folders of this host and user.
        plugin: The plugin's name.
    """

    def __init__(self, layout: Layout, plugin: str) -> None:
        self.plugin = check_name(plugin, "plugin")
        self._folder = f"{layout.state}/plugins/{plugin}"
        self._path = self._folder + "/private.json"
        self._lock = f"{layout.runtime}/plugins/{plugin}.lock"

    def get(self, arguments: Arguments) -> t.Any:
        """The value under ``key``, ``None`` where there is none; the call ``state.get``.

        Raises:
            NexcageError: ``E_STATE`` where the file is damaged or of a later version.
        """
        return self._values().get(arguments["key"])

    def put(self, arguments: Arguments) -> None:
        """Keep ``value``, a JSON text, under ``key``; ``null`` removes it; the call ``state.put``.

        Raises:
            NexcageError: ``E_LIMIT`` where the plugin would keep more than 64 KiB (what it kept stays),
                ``E_STATE``, ``E_SPACE``, ``E_LOCKED``.
        """
        value = json.loads(arguments["value"])
        with Lock(self._lock, LOCK_SECONDS, f"state of {self.plugin}"):
            values = self._values()
            values.pop(arguments["key"], None)
            if value is not None:
                values[arguments["key"]] = value
            size = len(json.dumps(values, separators=(",", ":")))
            if size > STATE_QUOTA:
                raise NexcageError(
                    "E_LIMIT",
                    f"{self.plugin} would keep {size} bytes of state, and {STATE_QUOTA} are allowed",
                    remedy="keep less; None as value removes a key",
                )
            ensure_folder(self._folder)
            write_json(self._path, {"schema_version": SCHEMA_VERSION, "values": values})

    def _values(self) -> dict[str, t.Any]:
        kept = read_json(self._path)
        if kept is None:
            return {}
        version = kept.get("schema_version") if isinstance(kept, dict) else None
        values = kept.get("values") if version == SCHEMA_VERSION else None
        if not isinstance(values, dict):
            raise NexcageError(
                "E_STATE",
                f"{self._path} is not a state file of schema version {SCHEMA_VERSION} (found {version!r})",
                remedy="use the collection that wrote it, or remove the file: the plugin then starts afresh",
            )
        return values
