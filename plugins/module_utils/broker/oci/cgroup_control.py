# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups, changing part: where a container goes, how conmon leaves the caller's group, what is removed.

Where systemd is PID 1, conmon starts in a transient scope of its own, so that it outlives the session
that made it. On v2 the scope is delegated and the container lies inside it; systemd then knows it.
"""

from __future__ import annotations

import contextlib
import os
import time

from ...model.errors import NexcageError
from .. import store
from . import cgroup, process, runtime

SLICE = "nexcage.slice"
SYSTEMD_SIGN = "/run/systemd/system"  # sd_booted(3)
PROC = "/proc"
_SCOPE_TIMEOUT = 10.0
_REMOVAL_TIMEOUT = 2.0


def systemd() -> bool:
    """Whether systemd is PID 1."""
    return os.path.isdir(SYSTEMD_SIGN)


def path_for(identifier: str) -> str:
    """The control group of a container, explicit, as runtimes differ in their defaults."""
    if systemd() and cgroup.mode() == "v2":
        return f"/{SLICE}/{_scope(identifier)}/container"
    return f"/nexcage/{identifier}"


def _scope(identifier: str) -> str:
    return f"nexcage-{identifier}.scope"


def blocked(program: str) -> bool:
    """Whether a runtime refuses to create containers here: crun does where the v2 tree beside v1 has controllers.

    Args:
        program: Its name or path.
    """
    return cgroup.mode() == "hybrid" and bool(store.read_bytes(cgroup.ROOT + "/unified/cgroup.controllers")) and _is_crun(program)


def _is_crun(program: str) -> bool:
    """By its name; one of another name is asked, for an operator may call his crun as he likes."""
    name = os.path.basename(program)
    if name.startswith(("crun", "runc", "runsc")):
        return name.startswith("crun")
    try:
        return runtime.call([runtime.program(program), "--version"], timeout=10).output.startswith(b"crun ")
    except (NexcageError, OSError):
        return False


def creator(argv: list[str]) -> list[str]:
    """The command that creates containers, from the plain runtime call.

    Where crun would refuse it gets a mount namespace without the v2 tree; no other of its commands looks there.
    """
    if not blocked(argv[0]):
        return argv
    script = 'umount "$0" && exec "$@"'
    view = [runtime.program("unshare"), "-m", "--propagation", "private", runtime.program("sh"), "-c", script]
    return [*view, cgroup.ROOT + "/unified", *argv]


def supervised(argv: list[str], path: str, record: dict[str, object] | None = None) -> list[str]:
    """conmon's command line inside a scope of its own where systemd runs.

    Args:
        argv: conmon's own command line.
        path: The container's control group.
        record: Its ``name``, ``stop_signal`` and ``stop_timeout`` (s): so a shutdown ends it as a stop does. Left to
            itself, systemd waits 90 s for whatever ignores SIGTERM (``TimeoutStopSec`` in systemd.scope(5)).
    """
    if not systemd():
        return argv
    unit = _scope(_identifier(path))
    options = ["--scope", "--quiet", "--collect", f"--slice={SLICE}", f"--unit={unit}", "--property=Delegate=yes"]
    if record is not None:
        options.append(f"--description=NexCage container {record['name']}")  # else conmon's whole command line
        options.append(f"--property=TimeoutStopSec={record['stop_timeout'] or '1ms'}")  # 0 would mean for ever
        options.append(f"--property=KillSignal={record['stop_signal']}")
    return [runtime.program("systemd-run"), *options, "--", *argv]


def settle(path: str) -> None:
    """Let systemd notice that the scope of an earlier start is empty: two of one name cannot be."""
    deadline = time.monotonic() + _SCOPE_TIMEOUT
    scope = f"/{SLICE}/{_scope(_identifier(path))}"
    while systemd() and any(os.path.isdir(cgroup.ROOT + tree + scope) for tree in ("", "/systemd")):
        if time.monotonic() > deadline:
            return  # systemd-run then says what is wrong
        time.sleep(0.002)


def _identifier(path: str) -> str:
    part = path.split("/")[-2] if path.endswith("/container") else path.rpartition("/")[2]
    return part[len("nexcage-") : -len(".scope")] if part.endswith(".scope") else part


def leave(pid: int, path: str) -> None:
    """Take conmon, which waits on its start pipe, out of the caller's control groups.

    Raises:
        NexcageError: ``E_TIMEOUT`` where systemd made no scope.
    """
    if systemd():
        _await_scope(pid, _scope(_identifier(path)))
        if cgroup.mode() == "v2":  # a group with limits for its children must not hold processes itself
            _join(f"{cgroup.ROOT}/{SLICE}/{_scope(_identifier(path))}/supervisor", pid)
        return
    if cgroup.mode() == "v2":
        _join(cgroup.ROOT + "/nexcage/conmon", pid)
        return
    for controller, own in memberships(pid):
        if own != "/" and controller:
            _join(f"{cgroup.ROOT}/{controller}", pid)


def memberships(pid: int) -> list[tuple[str, str]]:
    """The groups of a process: (v1 controllers or hierarchy name, path); the v2 tree has no name."""
    lines = (store.read_bytes(f"{PROC}/{pid}/cgroup") or b"").decode("utf-8", "replace").splitlines()
    parts = [line.split(":", 2) for line in lines]
    return [(part[1].replace("name=", ""), part[2]) for part in parts if len(part) == 3]


def _join(folder: str, pid: int) -> None:
    """Best effort: a container works with its conmon in any group."""
    try:
        os.makedirs(folder, exist_ok=True)
        with open(folder + "/cgroup.procs", "w", encoding="ascii") as handle:
            handle.write(str(pid))
    except OSError:
        pass


def _await_scope(pid: int, unit: str) -> None:
    """systemd-run exposes no event for this; it takes some milliseconds once per start."""
    deadline = time.monotonic() + _SCOPE_TIMEOUT
    while not any(path.endswith("/" + unit) for _name, path in memberships(pid)):
        if time.monotonic() > deadline or process.start_time(pid) is None:
            raise NexcageError("E_TIMEOUT", f"systemd made no scope {unit}", remedy="look at: journalctl -u " + unit)
        time.sleep(0.001)


def write(path: str, controller: str, file: str, text: str) -> None:
    """Set one value of a group; a group or file that is not there is fine, the caller reads back what matters."""
    try:
        with open(f"{cgroup.folder(path, controller, cgroup.mode())}/{file}", "w", encoding="ascii") as handle:
            handle.write(text)
    except OSError:
        pass


def thaw(path: str) -> None:
    """Let a paused group run, without the runtime; a frozen process of v1 does not even die."""
    if cgroup.mode() == "v2":
        write(path, "", "cgroup.freeze", "0")
    else:
        write(path, "freezer", "freezer.state", "THAWED")


def _folders(path: str) -> list[str]:
    """The group in all hierarchies, with the groups below it, deepest first."""
    hierarchies = [name or "unified" for name, _own in memberships(os.getpid())]
    places = [cgroup.ROOT] if cgroup.mode() == "v2" else [f"{cgroup.ROOT}/{name}" for name in hierarchies]
    return [folder for place in places for folder, _folders, _files in os.walk(place + path, topdown=False)]


def members(path: str) -> list[int]:
    """The processes in the group in any hierarchy: a runtime that was killed half-way has entered only some."""
    lines = [(store.read_bytes(folder + "/cgroup.procs") or b"").split() for folder in _folders(path)]
    return sorted({int(pid) for pids in lines for pid in pids})


def remove(path: str) -> None:
    """Remove a container's groups in all hierarchies; the kernel may call one busy until a dead process is quite gone."""
    deadline = time.monotonic() + _REMOVAL_TIMEOUT
    while True:
        folders = _folders(path)
        for folder in folders:
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        if not folders or time.monotonic() > deadline:
            return
        time.sleep(0.001)
