# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the files of a container lie, and the reading of its record."""

from __future__ import annotations

import hashlib
import os
import re
import typing as t

from ...model.config import Layout
from ...model.container import NAME_PATTERN, SCHEMA_VERSION, check_name
from ...model.errors import NexcageError
from .. import store
from . import process

# What the engine relies on in every record, with its type
_FIELDS: dict[str, t.Any] = {
    "schema_version": int,
    "name": str,
    "backend": str,
    "runtime": str,
    "cgroup": str,
    "rootfs": dict,
    "stop_signal": int,
    "stop_timeout": (int, float),
    "spec": dict,
}
IDENTIFIER = re.compile(r"[0-9a-f]{16}")
MARKER = "starting"


class Places:
    """The folders of one backend; absolute paths.

    ``containers`` and ``locks`` are common to all backends, as a name is unique over all of them.
    """

    __slots__ = ("backend", "conmon", "containers", "exits", "layout", "locks", "root")

    def __init__(self, layout: Layout, backend: str) -> None:
        self.layout = layout
        self.backend = backend
        self.containers = layout.state + "/containers"
        self.root = f"{layout.runtime}/oci/{backend}"  # the runtime's private --root
        self.exits = layout.runtime + "/exits"
        self.conmon = layout.runtime + "/conmon"
        self.locks = layout.runtime + "/locks"

    def of(self, backend: str) -> Places:
        """The folders of another backend of the same user."""
        return Places(self.layout, backend)


class Container(t.NamedTuple):
    """One generation of one container on disk."""

    name: str
    id: str
    folder: str
    record: dict[str, t.Any]


def names(places: Places) -> list[str]:
    """The names that have a folder, sorted; half-made ones too. What else lies there is none of ours."""
    try:
        entries = os.listdir(places.containers)
    except FileNotFoundError:
        return []
    return sorted(name for name in entries if NAME_PATTERN.fullmatch(name) and os.path.isdir(f"{places.containers}/{name}"))


def current_id(places: Places, name: str) -> str | None:
    """The id of the generation that counts, ``None`` where there is none."""
    try:
        text = store.read_bytes(f"{places.containers}/{name}/current")
    except IsADirectoryError:
        return None
    identifier = (text or b"").decode("ascii", "replace").strip()
    return identifier if IDENTIFIER.fullmatch(identifier) else None


def generations(places: Places, name: str) -> list[str]:
    """The ids of all generations on disk, sorted."""
    try:
        return sorted(entry for entry in os.listdir(f"{places.containers}/{name}") if IDENTIFIER.fullmatch(entry))
    except (FileNotFoundError, NotADirectoryError):
        return []


def read(places: Places, name: str, identifier: str) -> Container | None:
    """One generation with its record, ``None`` where it has none or the record is no record.

    Raises:
        NexcageError: ``E_STATE`` where a later version of the collection wrote it.
    """
    folder = f"{places.containers}/{name}/{identifier}"
    try:
        record = store.read_json(folder + "/record.json")
        store.encode_json(record)
    except (NexcageError, ValueError):  # the second for half of a surrogate pair, which no answer can hold
        record = None
    if not isinstance(record, dict) or record.get("id") != identifier:
        return None
    version = record.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise NexcageError(
            "E_STATE",
            f"{folder}/record.json has schema version {version}, this collection knows {SCHEMA_VERSION}",
            remedy="use the newer collection that wrote it",
        )
    return Container(name, identifier, folder, record) if _whole(record, name, identifier) else None


def _whole(record: t.Mapping[str, t.Any], name: str, identifier: str) -> bool:
    """Whether a record can be relied on: processes are killed, and folders removed, by what it says."""
    typed = all(isinstance(record.get(field), kind) for field, kind in _FIELDS.items())
    return typed and record["name"] == name and identifier in record["cgroup"] and ".." not in record["cgroup"]


def digest(config: t.Mapping[str, t.Any]) -> str:
    """SHA-256 of the ``config.json`` that the engine writes; the record's ``config_sha256``."""
    return hashlib.sha256(store.encode_json(config)).hexdigest()


def find(places: Places, name: str) -> Container | None:
    """The current generation of a container over all backends, ``None`` where there is none."""
    check_name(name)
    identifier = current_id(places, name)
    return read(places, name, identifier) if identifier else None


def unfinished(places: Places, identifier: str) -> bool:
    """Whether a run ended, or is still on its way, between ``conmon.begin`` and the record of the processes."""
    return os.path.exists(f"{places.conmon}/{identifier}/{MARKER}")


def process_file(places: Places, identifier: str) -> str:
    """The file with boot id, pids and start times of the last run."""
    return f"{places.conmon}/{identifier}/process.json"


def last_process(places: Places, identifier: str) -> dict[str, t.Any]:
    """What is known of the container's last process in this boot; empty where nothing is.

    Keys: ``boot_id``, ``pid``, ``start_time``, ``conmon_pid``, ``conmon_start_time``, ``started``
    (ISO 8601, ``None`` before the first start).
    """
    try:
        facts = store.read_json(process_file(places, identifier))
    except NexcageError:
        return {}
    if not isinstance(facts, dict) or facts.get("boot_id") != process.boot_id():
        return {}
    return facts
