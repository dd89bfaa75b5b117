# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a task says that a package comes from: a file, an address, or an index; held to a lock file where it names one."""

from __future__ import annotations

import time
import typing as t

from ..broker import guarded
from ..model.config import Layout
from ..model.errors import NexcageError
from . import fetch, index, lockfile, package
from .lockfile import Locked
from .package import Package

OPTIONS = ("src", "index")


def given(parameters: t.Mapping[str, t.Any]) -> bool:
    """Whether a task names a source at all.

    Raises:
        NexcageError: ``E_INVALID`` for two of them, or an option that is for a source without one.
    """
    named = [option for option in OPTIONS if parameters.get(option) is not None]
    if len(named) > 1:
        raise NexcageError("E_INVALID", "a package comes from src or from index, not from both", option="index", value=parameters["index"])
    for option, needs in (("lock_file", OPTIONS), ("allow_expired_index", ("index",))):
        if parameters.get(option) and not set(needs) & set(named):
            raise NexcageError("E_INVALID", f"needs {' or '.join(needs)}", option=option, value=parameters[option], remedy="leave it out, or say where from")
    return bool(named)


def find(layout: Layout, name: str, active: str | None, parameters: t.Mapping[str, t.Any], remember: bool, limit: int, floor: str = "") -> Package | None:
    """The package that a task names, read once. Whether to trust it is still to be judged.

    Args:
        layout: The folders of this host and user.
        name: The plugin.
        active: The digest of the package that is active, ``None`` where there is none.
        parameters: The task's ``src`` or ``index``, ``version``, ``lock_file``, ``ca_file``, ``allow_expired_index``.
        remember: Whether to keep in mind which index was seen; not in check mode.
        limit: Bytes that a package may have.
        floor: The highest version that was here, which a yanked one is named for; empty where any may be taken.

    Returns:
        ``None`` where the index says that the active one is the right one, which is not fetched again then.

    Raises:
        NexcageError: As the parts say; ``E_TRUST`` where it is not what the lock file holds it to.
    """
    locked = _locked(parameters.get("lock_file"))
    if parameters.get("index") is not None:
        found = _from_index(layout, name, active, parameters, locked, remember, floor)
        if found is not None and len(found.data) > limit:
            raise NexcageError("E_LIMIT", f"{found.path} has {len(found.data)} bytes, and {limit} are allowed", option="index", value=parameters["index"])
    else:
        found = _from_source(parameters["src"], parameters.get("ca_file"), limit)
    if found is not None and locked is not None:
        lockfile.enforce(locked, found.name, found.version, found.digest)
    return found


def is_address(source: str) -> bool:
    """Whether a ``src`` is fetched, by the host itself."""
    return source.startswith(("https://", "http://", "file://"))


def _from_source(source: str, ca_file: str | None, limit: int) -> Package:
    try:
        data = fetch.fetch(source, limit, ca_file) if is_address(source) else guarded.read_any(source, limit)
    except NexcageError as error:
        error.option = error.option or "src"
        raise
    return package.from_bytes(data, source)


def _from_index(
    layout: Layout, name: str, active: str | None, parameters: t.Mapping[str, t.Any], locked: t.Mapping[str, Locked] | None, remember: bool, floor: str
) -> Package | None:
    ca_file = parameters.get("ca_file")
    try:
        found = index.read(parameters["index"], layout, time.time(), bool(parameters.get("allow_expired_index")), ca_file)
    except NexcageError as error:
        error.option, error.value = error.option or "index", error.value or parameters["index"]
        raise
    release = index.resolve(found, name, parameters.get("version"), _entry(locked, name))
    if remember:
        index.remember(layout, found)
    if release["digest"] != active and not parameters.get("allow_downgrade"):
        index.refuse_older(found, name, release, floor)
    return None if release["digest"] == active else index.obtain(found, name, release, ca_file)


def _locked(path: str | None) -> dict[str, Locked] | None:
    if path is None:
        return None
    try:
        return lockfile.read(guarded.read_any(path, lockfile.SIZE_LIMIT), path)
    except NexcageError as error:
        error.option, error.value = "lock_file", path
        raise


def _entry(locked: t.Mapping[str, Locked] | None, name: str) -> Locked | None:
    if locked is None:
        return None
    if name not in locked:
        raise NexcageError(
            "E_TRUST", "the lock file does not name it", option="name", value=name, remedy="write the lock file anew, and look at the difference"
        )
    return locked[name]
