# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is there: records, one listing of the runtime, and the kernel, put together.

Nothing here changes anything, and nothing here believes a file that the kernel contradicts.
"""

from __future__ import annotations

import os
import time
import typing as t

from ...model.container import check_name
from ...model.errors import NexcageError
from .. import store
from . import cgroup, process, records
from .runtime import Runtime

LIVE = ("created", "running", "paused")
UPDATABLE = ("memory", "memory_swap", "cpus", "cpu_shares", "cpuset_cpus", "cpuset_mems", "pids_limit")
_EXIT_PATIENCE = 0.5  # seconds


def timestamp(seconds: float | None) -> str | None:
    """ISO 8601 in UTC with milliseconds and ``Z``."""
    if seconds is None:
        return None
    whole = int(seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int((seconds - whole) * 1000):03d}Z"


class State(t.NamedTuple):
    """What holds for one container right now."""

    status: str
    pid: int
    problems: list[str]
    process: dict[str, t.Any]


def listing(places: records.Places, runtime: Runtime, names: list[str] | None = None) -> list[dict[str, t.Any]]:
    """The containers of one backend, sorted by name; see the keys in :func:`describe`.

    Args:
        places: The backend's folders.
        runtime: The backend's runtime; asked once, and not at all where it has no container.
        names: Only these; an unknown name is simply not in the result.

    Raises:
        NexcageError: ``E_INVALID`` for a name that is none, ``E_STATE`` for a record of a later version.
    """
    wanted = records.names(places) if names is None else [check_name(name) for name in names]
    current: list[records.Container] = []
    result: list[dict[str, t.Any]] = []
    for name in wanted:
        identifier = records.current_id(places, name)
        container = records.read(places, name, identifier) if identifier else None
        if container is None:
            half_made = _incomplete(places, name, identifier)
            if half_made:
                result.append(half_made)
        elif container.record.get("backend") == places.backend:
            current.append(container)
    if current:
        entries, problems = _entries(runtime, [container.id for container in current])
        kind = cgroup.mode()
        for container in current:
            state = judge(places, container, entries.get(container.id), kind, told=not problems)
            state.problems.extend(problems)
            result.append(describe(places, container, state, kind))
    return sorted(result, key=lambda entry: str(entry["name"]))


def _entries(runtime: Runtime, wanted: list[str]) -> tuple[dict[str, dict[str, t.Any]], list[str]]:
    try:
        return runtime.entries(wanted), []
    except NexcageError as error:
        return {}, [f"the runtime gave no listing: {error.message}"]


def judge(places: records.Places, container: records.Container, entry: t.Mapping[str, t.Any] | None, kind: str, told: bool = True) -> State:
    """The true state of one container.

    Args:
        places: The backend's folders.
        container: Its current generation.
        entry: What the runtime says (``status``, ``pid``), ``None`` where it knows nothing.
        kind: The host's cgroup mode.
        told: Whether the runtime could be asked at all; else nobody knows what it still knows.
    """
    facts = records.last_process(places, container.id)
    problems: list[str] = []
    status, pid = "stopped", 0
    if records.unfinished(places, container.id):
        # What the runtime has made so far was never started, and the next write does it over.
        return State(status, pid, problems, facts)
    if entry and entry.get("status") in LIVE and entry.get("pid"):
        status, pid = str(entry["status"]), int(entry["pid"])
        if status == "running" and cgroup.frozen(container.record["cgroup"], kind):
            status = "paused"  # crun still says running while the processes are being frozen
    else:
        survivor = survivors(container, facts, kind)
        if survivor:
            status, pid = "paused" if cgroup.frozen(container.record["cgroup"], kind) else "running", survivor[0]
            if told:
                problems.append("the runtime has lost its state of this container, which still runs; stop or delete it")
    if status != "stopped" and facts and not process.alive(facts.get("conmon_pid"), facts.get("conmon_start_time")):
        problems.append("conmon has ended: there is no more log, and no exit code will be known; restart the container")
    if not os.path.exists(container.folder + "/config.json"):
        problems.append("the bundle's config.json is gone; create the container anew")
    return State(status, pid, problems, facts)


def survivors(container: records.Container, facts: t.Mapping[str, t.Any], kind: str) -> list[int]:
    """The living processes of a container whatever the runtime says, its first process in front."""
    first = facts.get("pid")
    if process.alive(first, facts.get("start_time")):
        return [t.cast(int, first)]
    return [pid for pid in cgroup.processes(container.record["cgroup"], kind) if process.start_time(pid) is not None]


def last_exit(places: records.Places, container: records.Container, facts: t.Mapping[str, t.Any]) -> tuple[int | None, str | None]:
    """Exit code and time of the last end; ``None`` where nobody could record it.

    conmon writes the code about a millisecond after the end; while it lives that moment is waited for.
    """
    deadline = time.monotonic() + _EXIT_PATIENCE
    while True:
        ending = process.alive(facts.get("conmon_pid"), facts.get("conmon_start_time"))
        for path in (f"{places.exits}/{container.id}", container.folder + "/exit"):
            text = store.read_bytes(path)
            if text and text.strip().isdigit():
                return int(text), timestamp(os.stat(path).st_mtime)
        if not ending or time.monotonic() > deadline:
            return None, None
        time.sleep(0.001)


def describe(places: records.Places, container: records.Container, state: State, kind: str) -> dict[str, t.Any]:
    """One container for a result: JSON-able, secrets as HMAC only."""
    record = container.record
    spec = record["spec"]
    observed: dict[str, t.Any] = {}
    exit_code = finished = None
    if state.status == "stopped":
        exit_code, finished = last_exit(places, container, state.process)
    else:
        observed = cgroup.limits(record["cgroup"], kind, spec)
    leftovers = [other for other in records.generations(places, container.name) if other != container.id]
    return {
        "id": container.id,
        "name": container.name,
        "backend": record["backend"],
        "status": state.status,
        "pid": state.pid,
        "image": record.get("image"),
        "image_digest": record.get("image_digest"),
        "created": record.get("created"),
        "started": state.process.get("started"),
        "finished": finished,
        "exit_code": exit_code,
        "labels": spec.get("labels") or {},
        "networks": [],
        "ports": [],
        "spec": spec,
        "observed": observed,
        "config_sha256": record.get("config_sha256"),
        "resources": dict(observed) or {name: spec[name] for name in UPDATABLE if name in spec},
        "problems": state.problems,
        "backend_details": {
            "bundle": container.folder,
            "log": container.folder + "/container.log",
            "conmon_pid": state.process.get("conmon_pid") if state.status != "stopped" else None,
            "cgroup": record["cgroup"],
            "generation_leftovers": leftovers,
        },
    }


def _incomplete(places: records.Places, name: str, identifier: str | None) -> dict[str, t.Any] | None:
    """A half-made, half-removed or damaged container; ``None`` where another backend made it, or where nothing is."""
    leftovers = records.generations(places, name)
    found = [records.read(places, name, other) for other in leftovers]
    readable = [container for container in found if container is not None]
    mine = [container for container in readable if container.record.get("backend") == places.backend]
    if not leftovers or (readable and not mine):
        return None
    record = mine[0].record if mine else {}
    problem = f"the record of generation {identifier} is damaged" if identifier else "a create or delete was interrupted"
    return {
        "id": identifier or leftovers[0],
        "name": name,
        "backend": places.backend,
        "status": "incomplete",
        "pid": 0,
        "image": record.get("image"),
        "image_digest": record.get("image_digest"),
        "created": record.get("created"),
        "started": None,
        "finished": None,
        "exit_code": None,
        "labels": {},
        "networks": [],
        "ports": [],
        "spec": {},
        "observed": {},
        "resources": {},
        "problems": [f"{problem}; create or delete it again"],
        "backend_details": {
            "bundle": f"{places.containers}/{name}/{identifier or leftovers[0]}",
            "log": None,
            "conmon_pid": None,
            "cgroup": record.get("cgroup"),
            "generation_leftovers": leftovers,
        },
    }
