# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The writes: create, replace, start, stop, kill, delete, pause, resume.

Every function takes the name's lock, then heals what a killed run may have left, then does its work in
steps after each of which the state on disk is either the old or the new one.
"""

from __future__ import annotations

import os
import signal
import time
import typing as t

from ...model.container import check_name
from ...model.errors import NexcageError
from .. import store
from . import accounts, cgroup, cgroup_control, conmon, observe, powers, process, records, removal, rootfs, staging, waiting
from .runtime import Runtime, message, traces

LOCK_TIMEOUT = 60.0  # seconds
_CONMON_PATIENCE = 5.0  # seconds for conmon to write the exit code after its container has ended
_KILL_PATIENCE = 30.0  # seconds for a killed container to be gone; longer only with processes stuck in the kernel


def locked(places: records.Places, name: str, what: str) -> store.Lock:
    """The lock of one container's name.

    Raises:
        NexcageError: ``E_INVALID`` for a name that is none, ``E_PRIVILEGE`` where the caller lacks root or what root can elsewhere.
    """
    check_name(name)
    powers.require(f"{what} {name}")
    since = observe.timestamp(time.time())
    return store.Lock(f"{places.locks}/{name}", LOCK_TIMEOUT, f"process {os.getpid()} ({what} {name}, since {since})", f"{places.containers}/{name}")


def existing(places: records.Places, name: str) -> records.Container:
    """The healed current generation of a container of this backend; the caller holds the lock.

    Raises:
        NexcageError: ``E_NOT_FOUND``, or ``E_OWNER`` where another backend made it.
    """
    container = removal.heal(places, name)
    if container is None:
        raise NexcageError("E_NOT_FOUND", "there is no such container", option="name", value=name)
    _refuse_foreign(places, container)
    return container


def _refuse_foreign(places: records.Places, container: records.Container) -> None:
    owner = container.record["backend"]
    if owner != places.backend:
        raise NexcageError("E_OWNER", f"this container belongs to {owner}", option="name", value=container.name)


def create(places: records.Places, tool: Runtime, request: staging.Request, take_over: bool = False) -> dict[str, str]:
    """Make a new container, created and not started.

    Args:
        places: The backend's folders.
        tool: The backend's runtime.
        request: What to make.
        take_over: Whether a damaged one of another backend may make room for it.

    Returns:
        ``{"id": …}``

    Raises:
        NexcageError: ``E_EXISTS``, ``E_OWNER``, and all that making it can refuse; nothing is left then.
    """
    with locked(places, request.name, "create"):
        store.checkpoint("create:locked")
        if not take_over:
            removal.refuse_taking(places, request.name)
        current = removal.heal(places, request.name)
        if current is not None:
            owner = current.record["backend"]
            raise NexcageError("E_EXISTS", f"a container of this name exists already ({owner})", option="name", value=request.name)
        store.checkpoint("create:healed")
        container = staging.stage(places, tool, request, "create")
        store.checkpoint("create:staged")
        staging.commit(places, container)
        store.checkpoint("create:committed")
        return {"id": container.id}


class Ending(t.NamedTuple):
    """How to stop a container; what is not given is as its record says."""

    signal: int | None = None
    timeout: float | None = None
    force: bool = False

    def halt(self, places: records.Places, container: records.Container) -> None:
        """:func:`halt` that way."""
        record = container.record
        first = signal.SIGKILL if self.force else record["stop_signal"] if self.signal is None else self.signal
        patience = float(record["stop_timeout"] if self.timeout is None else self.timeout)
        halt(places, container, _signal(first), patience)


def replace(places: records.Places, tool: Runtime, request: staging.Request, ending: Ending | None = None, take_over: bool = False) -> dict[str, str]:
    """Make the container anew from another spec; the old one is touched only when the new one stands.

    Args:
        places: The backend's folders.
        tool: The backend's runtime.
        request: What to make.
        ending: How the old one is stopped.
        take_over: Whether it may be moved to this backend from the one that holds it.

    Returns:
        ``{"id": …}`` of the new generation, created and not started.

    Raises:
        NexcageError: ``E_NOT_FOUND``; ``E_OWNER`` where another backend holds it and it may not be moved; and all that
            making it can refuse; the old one then still runs.
    """
    with locked(places, request.name, "replace"):
        old = removal.heal(places, request.name)
        if old is None:
            raise NexcageError("E_NOT_FOUND", "there is no such container", option="name", value=request.name)
        if not take_over:
            _refuse_foreign(places, old)
        store.checkpoint("replace:healed")
        new = staging.stage(places, tool, request._replace(secrets=_carried(old, request)), "replace")
        store.checkpoint("replace:staged")
        try:
            (ending or Ending()).halt(places, old)
            store.checkpoint("replace:stopped")
            staging.commit(places, new)
        except BaseException:
            removal.discard(places, new)
            removal.erase(new.folder)
            raise
        store.checkpoint("replace:committed")
        removal.discard(places, old, known_dead=True)
        removal.erase(old.folder)
        return {"id": new.id}


def _carried(old: records.Container, request: staging.Request) -> dict[str, str]:
    """The given secrets, and the old values of those that the spec names without a value."""
    missing = [name for name in request.spec.get("secret_env") or {} if name not in request.secrets]
    if not missing:
        return dict(request.secrets)
    known = clear_secrets(old)
    return {**{name: known[name] for name in missing if name in known}, **request.secrets}


def clear_secrets(container: records.Container) -> dict[str, str]:
    """The clear values of a container's ``secret_env``, from its bundle (0600 in a 0700 folder)."""
    try:
        config = store.read_json(container.folder + "/config.json") or {}
    except NexcageError:
        return {}
    lines = (line.partition("=") for line in (config.get("process") or {}).get("env") or [])
    names = container.record["spec"].get("secret_env") or {}
    return {name: value for name, _equals, value in lines if name in names}


def start(places: records.Places, tool: Runtime, name: str) -> None:
    """Start a container that is created or stopped; one that runs is left alone.

    A stopped one keeps its changed files: the runtime makes it anew from the same bundle over the same layer.

    Raises:
        NexcageError: ``E_NOT_FOUND``, ``E_INVALID`` where it is paused, ``E_RUNTIME``, ``E_IMAGE``.
    """
    with locked(places, name, "start"):
        container = existing(places, name)
        facts = records.last_process(places, container.id)
        if not _fresh(places, container, facts):
            status = situation(places, tool, container)
            if status == "running":
                return
            if status == "paused":
                raise NexcageError("E_INVALID", "the container is paused", option="name", value=name, remedy="resume it")
            facts = _recreate(places, tool, container)
        store.checkpoint("start:created")
        started = observe.timestamp(time.time())  # a short-lived one has ended when the call returns
        answer = tool.call("start", "--", container.id)
        if answer.code != 0 and tool.status(container.id) != "running":  # a killed run may have started it
            raise NexcageError("E_RUNTIME", f"{tool.name} start: {message(answer.error)}")
        store.checkpoint("start:started")
        conmon.remember(places, container.id, {**facts, "started": started})


def _fresh(places: records.Places, container: records.Container, facts: t.Mapping[str, t.Any]) -> bool:
    """Whether the container waits for its first start, made by the runtime in this boot."""
    alive = process.alive(facts.get("pid"), facts.get("start_time"))
    return alive and facts.get("started") is None and bool(traces(places.root, container.id))


def _recreate(places: records.Places, tool: Runtime, container: records.Container) -> dict[str, t.Any]:
    if not os.path.exists(container.folder + "/config.json"):
        raise NexcageError("E_STATE", "the bundle's config.json is gone", value=container.folder, remedy="create the container anew")
    conmon.begin(places, container)
    store.checkpoint("start:begun")
    removal.forget(places, container)
    store.checkpoint("start:forgotten")
    rootfs.remount(container.folder, container.record)
    store.checkpoint("start:mounted")
    try:
        accounts.refuse_pipes(container.folder + "/rootfs")
        return conmon.create(places, container, tool)
    except BaseException:
        removal.sweep(container)
        removal.forget(places, container)
        store.remove(f"{places.conmon}/{container.id}/{conmon.MARKER}")
        raise


def situation(places: records.Places, tool: Runtime, container: records.Container) -> str:
    """``created``, ``running``, ``paused`` or ``stopped``; asks the runtime only where the kernel and our notes do not tell."""
    facts = records.last_process(places, container.id)
    kind = cgroup.mode()
    if not observe.survivors(container, facts, kind):
        return "stopped"
    if cgroup.frozen(container.record["cgroup"], kind):
        return "paused"
    if facts.get("started") is not None and tool.freezes:
        return "running"
    status = tool.status(container.id)
    return status if status in observe.LIVE else "running"


def stop(places: records.Places, name: str, number: int | None, timeout: float | None, force: bool) -> None:
    """End a container's processes and wait until they have ended; a stopped one is left alone.

    Args:
        places: The backend's folders.
        name: The container.
        number: The signal, by default the container's own.
        timeout: Seconds until it is killed, by default the container's own.
        force: Kill at once.

    Raises:
        NexcageError: ``E_NOT_FOUND``; ``E_TIMEOUT`` where not even killing helps.
    """
    with locked(places, name, "stop"):
        Ending(number, timeout, force).halt(places, existing(places, name))


def _signal(number: int) -> int:
    if not 1 <= number <= 64:
        raise NexcageError("E_INVALID", "not the number of a signal", option="stop_signal", value=number, remedy="use 1 to 64")
    return int(number)


def halt(places: records.Places, container: records.Container, number: int, patience: float) -> None:
    """Signal, wait, kill, wait: ends as soon as the container has ended, without polling."""
    kind = cgroup.mode()
    facts = records.last_process(places, container.id)
    living = observe.survivors(container, facts, kind)
    if not living:
        _await_conmon(facts)
        return None
    first = living[0]
    started = process.start_time(first)
    if number != signal.SIGKILL and not _waits(places, container, facts):
        signal_to(places, container, first, started, number)
        store.checkpoint("stop:signalled")
        if waiting.wait_end(first, started, patience):
            return _ended(container, facts, kind)
    signal_to(places, container, first, started, signal.SIGKILL)
    store.checkpoint("stop:killed")
    if not waiting.wait_end(first, started, _KILL_PATIENCE):
        raise NexcageError("E_TIMEOUT", "the container's processes do not end", value=container.name, remedy="see what they wait for")
    return _ended(container, facts, kind)


def _waits(places: records.Places, container: records.Container, facts: t.Mapping[str, t.Any]) -> bool:
    """Whether the first process still waits for its start: it would not hear anything but KILL."""
    if facts.get("started") is not None:
        return False
    tool = Runtime.recorded(container.record, places.of(container.record["backend"]).root)
    try:
        return tool.status(container.id) == "created"
    except NexcageError:  # the program is gone; what does not hear is killed after its time
        return False


def _ended(container: records.Container, facts: t.Mapping[str, t.Any], kind: str) -> None:
    _await_conmon(facts)
    path = container.record["cgroup"]
    left = cgroup.processes(path, kind) and waiting.end_all(lambda: cgroup.processes(path, kind), _KILL_PATIENCE)
    store.checkpoint("stop:ended")
    if left:
        raise NexcageError("E_TIMEOUT", "processes of the container do not end", value=str(left), remedy="see what they wait for")


def _await_conmon(facts: t.Mapping[str, t.Any]) -> None:
    """conmon ends after it has written the exit code; one that hangs is ended, its container is gone."""
    pid, started = facts.get("conmon_pid"), facts.get("conmon_start_time")
    if pid and not waiting.wait_end(pid, started, _CONMON_PATIENCE):
        waiting.send(pid, started, signal.SIGKILL)
        waiting.wait_end(pid, started, _CONMON_PATIENCE)


def signal_to(places: records.Places, container: records.Container, pid: int, started: int | None, number: int) -> None:
    """Signal the container's first process through the runtime, or directly where the runtime has lost it."""
    tool = Runtime.recorded(container.record, places.of(container.record["backend"]).root)
    kind = cgroup.mode()
    delivered = False
    # KILL needs no runtime: it means the same to every process, and the kernel's own descriptor makes sure it is the one meant.
    if number != signal.SIGKILL and tool.knows(container.id):
        try:
            if not tool.freezes and tool.status(container.id) == "paused":  # runsc takes no signal for it then
                tool.call("resume", "--", container.id)
            delivered = tool.call("kill", "--", container.id, str(number)).code == 0
        except NexcageError:  # the program is gone, the container is not
            delivered = False
    if not delivered:
        waiting.send(pid, started, number)
    if cgroup.frozen(container.record["cgroup"], kind):  # a paused process hears nothing
        cgroup_control.thaw(container.record["cgroup"])


def kill(places: records.Places, tool: Runtime, name: str, number: int) -> None:
    """Send one signal and do not wait.

    Raises:
        NexcageError: ``E_NOT_FOUND``; ``E_INVALID`` where the container does not run, or for a number that is no signal.
    """
    number = _signal(number)
    with locked(places, name, "kill"):
        container = existing(places, name)
        living = observe.survivors(container, records.last_process(places, container.id), cgroup.mode())
        if not living:
            raise NexcageError("E_INVALID", "the container does not run", option="name", value=name, remedy="start it first")
        if tool.status(container.id):
            tool.check("kill", "--", container.id, str(number))
        else:
            waiting.send(living[0], process.start_time(living[0]), number)


def delete(places: records.Places, name: str) -> None:
    """Remove a container, killing it where it runs; also one that is only half there.

    Raises:
        NexcageError: ``E_NOT_FOUND``, ``E_OWNER``, ``E_TIMEOUT``, ``E_STATE``.
    """
    with locked(places, name, "delete"):
        half_made = records.current_id(places, name) is None and bool(records.generations(places, name))
        damaged = not half_made and records.find(places, name) is None and bool(records.generations(places, name))
        if half_made or damaged:
            removal.heal(places, name)
            return
        container = existing(places, name)
        halt(places, container, signal.SIGKILL, 0.0)
        conmon.begin(places, container)  # whoever finds this killed ends a runtime call still on its way
        store.checkpoint("delete:stopped")
        removal.discard(places, container, known_dead=True)
        store.checkpoint("delete:discarded")
        store.remove(f"{places.containers}/{name}/current")
        store.checkpoint("delete:uncommitted")
        removal.erase(f"{places.containers}/{name}")


def clear(places: records.Places, name: str) -> None:
    """Remove what a killed run left of a container; what counts stays as it is.

    Raises:
        NexcageError: ``E_NOT_FOUND``, ``E_OWNER``, ``E_STATE``.
    """
    with locked(places, name, "heal"):
        existing(places, name)


def pause(places: records.Places, tool: Runtime, name: str) -> None:
    """Freeze all processes of a running container; a paused one is left alone.

    Raises:
        NexcageError: ``E_NOT_FOUND``; ``E_INVALID`` where it does not run; ``E_RUNTIME``.
    """
    _switch(places, tool, name, "pause", "running", "paused")


def resume(places: records.Places, tool: Runtime, name: str) -> None:
    """Let a paused container go on; a running one is left alone.

    Raises:
        NexcageError: ``E_NOT_FOUND``; ``E_INVALID`` where it is not paused; ``E_RUNTIME``.
    """
    _switch(places, tool, name, "resume", "paused", "running")


def _switch(places: records.Places, tool: Runtime, name: str, command: str, before: str, after: str) -> None:
    with locked(places, name, command):
        container = existing(places, name)
        status = situation(places, tool, container)
        if status == after:
            return
        if status != before:
            raise NexcageError("E_INVALID", f"the container is {status}, not {before}", option="name", value=name)
        tool.check(command, "--", container.id)
