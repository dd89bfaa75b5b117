# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing which package of a plugin is active: killed at any moment, the old one or the new one is.

The record names the active package by its digest, and its rename is the moment of change. A package lies in
``plugin_dir``, or for a while in the plugin's own state folder: before the record changes, the new one and the
one that is replaced are both kept there, so whichever the record names can be read. What a killed run left is
cleared by the next change, or by :func:`settle`.
"""

from __future__ import annotations

import contextlib
import os

from ..broker import guarded, store
from ..model.config import Layout
from ..model.errors import NexcageError
from ..model.version import parse_version
from . import grants, installed, listeners, package, records
from .grants import Grant
from .records import Record, Release


def lock(layout: Layout, timeout: float) -> store.Lock:
    """Whoever changes plugins holds it; who uses them does not."""
    return records.lock(layout, timeout)


def activate(layout: Layout, name: str, release: Release, data: bytes) -> Record:
    """Make a package the active one; the one before it is kept for a rollback.

    Args:
        layout: The host's folders.
        name: The plugin.
        release: What shall be active.
        data: Its package, checked by the caller.

    Raises:
        NexcageError: ``E_SPACE`` or ``E_STATE``; what was active still is, unless the record had changed already.
    """
    record = records.read(layout, name) or Record(name, None)
    old = record.active
    keep(layout, name, release.digest, data)
    if old is not None and old.digest != release.digest:
        _keep_active(layout, name, old)
    else:
        old = record.previous
    store.checkpoint("plugin:kept")
    hooks = listeners.declared(package.from_bytes(data, release.file).manifest)
    listeners.announce(layout, name, hooks)
    record = Record(name, release, old, _floor(record.floor, release.version))
    records.write(layout, record)
    store.checkpoint("plugin:recorded")
    listeners.settle(layout, name, hooks)
    settle(layout, record)
    return record


def deactivate(layout: Layout, name: str) -> None:
    """Remove a plugin's package; the version floor stays.

    Raises:
        NexcageError: ``E_STATE``.
    """
    record = records.read(layout, name) or Record(name, None)
    records.write(layout, Record(name, None, record.active or record.previous, record.floor))
    store.checkpoint("plugin:recorded")
    listeners.settle(layout, name, ())
    settle(layout, Record(name, None, record.active or record.previous, record.floor))


def keep(layout: Layout, name: str, digest: str, data: bytes) -> None:
    """Put a package into the plugin's own state folder."""
    path = records.kept(layout, name, digest)
    store.ensure_folder(os.path.dirname(path))
    store.atomic_write(path, data)
    store.sync_folder(os.path.dirname(path))


def _keep_active(layout: Layout, name: str, release: Release) -> None:
    """Keep a copy of what is replaced; where somebody has removed or changed it there is nothing to roll back to."""
    with contextlib.suppress(NexcageError):
        _package, data = installed.fetch(layout, name, release)
        keep(layout, name, release.digest, data)


def settle(layout: Layout, record: Record) -> bool:
    """Bring the folders to what the record says; whether anything was to do.

    The active package goes to ``plugin_dir``, the previous one stays in the state folder, and what else this
    collection put there goes.
    """
    active, previous = record.active, record.previous
    place, changed = installed.plugin_dir(layout), False
    if active is None and previous is not None:  # removed
        store.remove(f"{place}/{previous.file}")
        store.checkpoint("plugin:removed")
        grants.remove(layout, record.name)  # while the record still says that something is left to do
        store.checkpoint("plugin:ungranted")
        record, previous, changed = record._replace(previous=None), None, True
        records.write(layout, record)
    if active is not None:
        inside, other = records.kept(layout, record.name, active.digest), replaced(layout, record)
        data = store.read_bytes(inside)
        if data is not None:
            _publish(place, active.file, data)
            store.checkpoint("plugin:published")
            if other:
                store.remove(f"{place}/{other}")
            changed = True
    for path in _leftovers(layout, record):
        store.remove(path)
        changed = True
    return changed


def clear(layout: Layout, record: Record, grant: Grant | None) -> None:
    """Bring the folders to what the record says, and let this grant be the one that counts."""
    settle(layout, record)
    if record.active is not None:
        grants.stage(layout, record.name, grant, record.active.digest)
        grants.settle(layout, record.name, record.active.digest)


def lying(layout: Layout, record: Record, limit: int) -> tuple[str, bytes]:
    """The one package in ``plugin_dir``, its path and its bytes, as if the update before had not been killed.

    Raises:
        NexcageError: As :func:`installed.lying` and :func:`guarded.read`.
    """
    other = replaced(layout, record)
    try:
        path = place = installed.lying(layout, record.name, other)
    except NexcageError as error:
        if record.active is None or not other or error.code != "E_NOT_FOUND":
            raise
        place, path = records.kept(layout, record.name, record.active.digest), f"{installed.plugin_dir(layout)}/{record.active.file}"
    return path, guarded.read(place, limit)


def replaced(layout: Layout, record: Record) -> str:
    """The file in ``plugin_dir`` that a killed update has left beside the active one; empty where there is none."""
    active, previous = record.active, record.previous
    if active is None or previous is None or not os.path.exists(records.kept(layout, record.name, active.digest)):
        return ""
    return previous.file if previous.file != active.file else ""


def unsettled(layout: Layout, record: Record) -> bool:
    """Whether a killed run left something that :func:`settle` clears."""
    return (record.active is None and record.previous is not None) or bool(grants.staged(layout, record.name)) or bool(_leftovers(layout, record))


def _leftovers(layout: Layout, record: Record) -> list[str]:
    """The files that have no use: packages that are neither active nor previous, and what was written only in part."""
    folder = records.folder(layout, record.name)
    wanted = "" if record.previous is None else os.path.basename(records.kept(layout, record.name, record.previous.digest))
    found = [f"{folder}/{records.KEPT}/{name}" for name in _entries(f"{folder}/{records.KEPT}") if name != wanted]
    ours = (records.FILE, f"{record.name}-", f"{record.name}.json", listeners.FILE)
    for place in (folder, installed.plugin_dir(layout), os.path.dirname(grants.path(layout, record.name)), layout.state):
        found += [f"{place}/{name}" for name in _entries(place) if name.startswith(ours) and name.endswith(store.TEMPORARY_SUFFIX)]
    return found


def _entries(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def _publish(place: str, file: str, data: bytes) -> None:
    os.makedirs(place, mode=0o755, exist_ok=True)
    store.refuse_others(place)
    store.atomic_write(f"{place}/{file}", data, mode=0o644)
    store.sync_folder(place)


def _floor(old: str, version: str) -> str:
    return version if not old or parse_version(old) < parse_version(version) else old
