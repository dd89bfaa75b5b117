# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking a generation away completely, whatever state a crash has left it in."""

from __future__ import annotations

import contextlib
import os
import shutil

from ...model.errors import NexcageError
from .. import store, tree
from . import cgroup, cgroup_control, conmon, process, records, rootfs, waiting
from .runtime import Runtime, message, traces

_PATIENCE = 10.0  # seconds for killed processes to be gone
_OWN_PROGRAMS = ("conmon", "unshare", "sh", "systemd-run")


def processes_of(identifier: str, runtime_name: str) -> list[int]:
    """Our own helper processes for one id: conmon and the runtime, found by their argument.

    For generations whose making was interrupted before anybody noted a pid. An id is 64 random bits; still only
    programs that this engine starts, under this user, count.
    """
    found: list[int] = []
    needle, own = identifier.encode(), os.geteuid()
    for entry in os.listdir(process.PROC):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        place = f"{process.PROC}/{entry}"
        try:
            arguments = (store.read_bytes(place + "/cmdline") or b"").split(b"\0")
            if needle not in arguments and not any(part.endswith(b"/" + needle) for part in arguments):
                continue
            program = os.path.basename(os.fsdecode(arguments[0]))
            if os.stat(place).st_uid == own and (program in _OWN_PROGRAMS or program.startswith(runtime_name)):
                found.append(int(entry))
        except OSError:
            continue
    return found


def sweep(container: records.Container) -> None:
    """End every process that belongs to a generation, known or not.

    Raises:
        NexcageError: ``E_STATE`` where one cannot be ended.
    """
    kind = cgroup.mode()
    path = container.record["cgroup"]

    def belonging() -> list[int]:
        return processes_of(container.id, container.record["runtime"]) + cgroup_control.members(path)

    if cgroup.frozen(path, kind):
        cgroup_control.thaw(path)
    left = waiting.end_all(belonging, _PATIENCE)
    if left:
        raise NexcageError("E_STATE", f"processes of {container.name} cannot be ended", value=str(left), remedy="see what they wait for")


def forget(places: records.Places, container: records.Container) -> None:
    """Have the runtime drop a container whose processes have ended; one it does not know is fine.

    Raises:
        NexcageError: ``E_RUNTIME`` where it neither drops it nor may its state be removed for it.
    """
    places = places.of(container.record["backend"])
    kept = traces(places.root, container.id)
    if kept:
        tool = Runtime.recorded(container.record, places.root)
        try:
            words = ""
            answer = tool.call("delete", "--", container.id)
            if answer.code != 0:
                words = message(answer.error)
        except NexcageError as error:  # the program is gone; the state must go all the same
            words = error.message
        left = [path for path in kept if os.path.lexists(path)]
        if left:
            if cgroup.processes(container.record["cgroup"], cgroup.mode()):
                raise NexcageError("E_RUNTIME", f"{tool.name} delete: {words}")
            for path in left:
                if os.path.isdir(path):
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    store.remove(path)
    cgroup_control.remove(container.record["cgroup"])


def discard(places: records.Places, container: records.Container, known_dead: bool = False) -> None:
    """Remove one generation with all its traces. Its name must not point to it any more, or its removal be wanted.

    Args:
        places: The folders of any backend of this user.
        container: The generation.
        known_dead: Whether its processes and its conmon are known to have ended.

    Raises:
        NexcageError: ``E_STATE`` or ``E_RUNTIME``; calling it again goes on.
    """
    if not known_dead:
        sweep(container)
        store.checkpoint("discard:swept")
    forget(places, container)
    store.checkpoint("discard:forgotten")
    rootfs.release(container.folder)
    store.checkpoint("discard:released")
    shutil.rmtree(f"{places.conmon}/{container.id}", ignore_errors=True)
    store.remove(f"{places.exits}/{container.id}")
    if rootfs.mounted(container.folder + "/rootfs"):
        raise NexcageError("E_STATE", "the root file system is still mounted", value=container.folder)


def erase(folder: str) -> None:
    """Remove a generation's folder, which nothing uses any more.

    conmon unlinks files of its own there at its very end, so a file that is gone already is fine.

    Raises:
        NexcageError: ``E_STATE`` where something stays.
    """
    try:
        tree.remove(folder)
    except OSError as error:
        raise store.failure(error, f"{folder} cannot be removed") from error


def heal(places: records.Places, name: str) -> records.Container | None:
    """Finish or undo what a killed run left of a name; the caller holds the name's lock.

    Returns:
        The current generation, ``None`` where there is none.

    Raises:
        NexcageError: ``E_STATE`` or ``E_RUNTIME``.
    """
    base = f"{places.containers}/{name}"
    identifier = records.current_id(places, name)
    current = records.read(places, name, identifier) if identifier else None
    try:
        entries = os.listdir(base)
    except (FileNotFoundError, NotADirectoryError):
        return None
    for entry in entries:
        if current is not None and entry in ("current", current.id):
            continue
        path = f"{base}/{entry}"
        if not os.path.isdir(path):
            store.remove(path)
            continue
        if records.IDENTIFIER.fullmatch(entry):
            discard(places, records.read(places, name, entry) or _unrecorded(places, name, entry))
        erase(path)
    if current is None:
        _drop_folder(base)
        return None
    for entry in os.listdir(current.folder):
        if entry.endswith(store.TEMPORARY_SUFFIX):
            store.remove(f"{current.folder}/{entry}")
    if conmon.unfinished(places, current.id):
        sweep(current)
        forget(places, current)
        store.remove(records.process_file(places, current.id))
        store.remove(f"{places.conmon}/{current.id}/{conmon.MARKER}")
    return current


def refuse_taking(places: records.Places, name: str) -> None:
    """Refuse to make anew what another backend's runtime still knows, where nobody can read the record.

    Raises:
        NexcageError: ``E_OWNER``.
    """
    identifier = records.current_id(places, name)
    if identifier is None or records.read(places, name, identifier) is not None:
        return
    owner = _unrecorded(places, name, identifier).record["backend"]
    if owner != places.backend:
        raise NexcageError(
            "E_OWNER",
            f"the record of {name} is damaged, and it is a container of {owner}",
            option="name",
            value=name,
            remedy=f"set backend: {owner.removesuffix('-backend')} to make it anew there, or replace_backend: true to move it",
        )


def _unrecorded(places: records.Places, name: str, identifier: str) -> records.Container:
    """A generation without a readable record: what it would have been with the usual values."""
    backend = places.backend
    for other in _backends(places):
        if traces(places.of(other).root, identifier):
            backend = other
    record = {"backend": backend, "runtime": backend.partition("-")[0], "cgroup": cgroup_control.path_for(identifier)}
    return records.Container(name, identifier, f"{places.containers}/{name}/{identifier}", record)


def _backends(places: records.Places) -> list[str]:
    try:
        return os.listdir(os.path.dirname(places.root))
    except FileNotFoundError:
        return []


def _drop_folder(base: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(base)
