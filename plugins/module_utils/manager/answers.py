# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an installed plugin says of containers, held against what can be seen.

With an OCI runtime it says the broker's own records, or nothing. The broker knows these containers, so a plugin has
nothing to add to what ``host.oci.list`` and ``host.oci.info`` told it in the same operation. It may leave some out; a
record that it made up, changed or filled with more is refused. Imported only where a third-party plugin is used.
"""

from __future__ import annotations

import json
import typing as t

from ..model.errors import NexcageError
from ..worker.sandbox import clean

if t.TYPE_CHECKING:
    Call = t.Callable[[str, t.Mapping[str, t.Any]], t.Any]

RECORDS = ("list", "info")  # operations that answer with records
# action -> statuses that a container has not, once it was carried out
UNDONE = {
    "create": ("absent", "incomplete"),
    "replace": ("absent", "incomplete"),
    "update": ("absent", "incomplete"),
    "start": ("absent", "incomplete", "created"),
    "resume": ("absent", "incomplete", "created", "paused"),
    "pause": ("absent", "incomplete", "created", "running"),
    "stop": ("absent", "incomplete", "running", "paused"),
    "delete": ("incomplete", "created", "running", "paused", "stopped"),
}
REMEDY = "this is a defect of the plugin; tell its author, or go back to another version of it"


class Answers:
    """The records that one operation may answer with.

    Args:
        plugin: Full name, for an error.
        operation: One of ``RECORDS``.
        asked: The names that the manager asks for, ``None`` where it asks for all.
    """

    def __init__(self, plugin: str, operation: str, asked: t.Collection[str] | None) -> None:
        self.plugin, self.operation, self.asked = plugin, operation, asked
        self._told: set[str] = set()

    def around(self, call: Call) -> Call:
        """The same function for the calls of the plugin, which also remembers the records that it gets."""

        def remembering(name: str, params: t.Mapping[str, t.Any]) -> t.Any:
            value = call(name, params)
            if name == "oci.list":
                self._told.update(_text(record) for record in value)
            elif name == "oci.info":
                self._told.add(_text(value))
            return value

        return remembering

    def checked(self, value: t.Any) -> t.Any:
        """What the operation returned, where it is what it may be.

        Raises:
            NexcageError: ``E_PROTOCOL`` naming the entry at fault.
        """
        if self.operation == "info":
            self._record("info", value)
            return value
        if not isinstance(value, list):
            raise self._broken("list", "not a list of records", value)
        seen = set()
        for number, record in enumerate(value):
            place = f"list[{number}]"
            self._record(place, record)
            name = record["name"]
            if name in seen or (self.asked is not None and name not in self.asked):
                raise self._broken(f"{place}.name", "in the list twice" if name in seen else "not a container that was asked for", name)
            seen.add(name)
        return value

    def _record(self, place: str, record: t.Any) -> None:
        if not isinstance(record, dict) or _text(record) not in self._told:
            name = record.get("name") if isinstance(record, dict) else record
            raise self._broken(place, "not a record that the broker gave it in this operation", name)

    def _broken(self, place: str, rule: str, value: t.Any) -> NexcageError:
        return NexcageError("E_PROTOCOL", f"{self.plugin}: {rule}", option=place, value=clean(value)[:64], remedy=REMEDY)


def refuse_lie(plugin: str, action: str, name: str, status: str) -> None:
    """Refuse a success that did not happen.

    Args:
        plugin: Full name of the plugin.
        action: The last one of the plan, which it says that it has carried out.
        name: The container.
        status: What the container is now; ``absent`` where there is none.

    Raises:
        NexcageError: ``E_PROTOCOL``.
    """
    if status in UNDONE.get(action, ()):
        raise lie(plugin, action, name, f"the container is {status}")


def lie(plugin: str, action: str, name: str, seen: str) -> NexcageError:
    """The error that says what a plugin says, and what is seen instead."""
    message = f"{plugin} says that it has done {action}, and {seen}"
    return NexcageError("E_PROTOCOL", message, option="name", value=name, remedy=REMEDY, details={"plugin": plugin})


def _text(record: t.Any) -> str:
    return json.dumps(record, sort_keys=True)
