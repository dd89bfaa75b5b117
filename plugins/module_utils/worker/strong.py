# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tier strong: the same worker in namespaces of its own, made by bubblewrap.

Only for root, who needs no user namespace for it. The command line depends on the host alone, never on a plugin: a
read-only view of /usr and of the interpreter, where nobody but root can change them, and nothing else.

The filter of system calls is the wall and this the moat before it, so a host where bubblewrap is missing or fails gets
the tier standard, with the reason in the result; or nothing, where strong is required.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import sys
import typing as t

from ..model.errors import NexcageError
from .launch import Process
from .sandbox import TIERS, Limits, clean, identity
from .spawn import START, Worker

FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin")
SYSTEM = "/usr"
HOST_NAME = "nexcage-worker"  # as inside.HOST_NAME, which is not imported here: it would bring ctypes along
PATIENCE = 15.0  # seconds for bubblewrap and the worker to be ready; they take 0.02
FAREWELL = 1.0  # seconds in which bubblewrap notices that nobody is left inside
# Root keeps every capability in bubblewrap unless it is told otherwise (containers/bubblewrap#287). All these are known to 0.4.
NAMESPACES = (
    # bubblewrap does not wait for a first process of its own: its end and its processor time would be lost.
    *("--unshare-pid", "--as-pid-1", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--die-with-parent", "--new-session", "--hostname", HOST_NAME),
)
POWERS = ("--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")  # the worker gives these two up itself


class Confined(Process):
    """A worker's process behind bubblewrap. ``pid`` is bubblewrap's, which ends with what it runs."""

    confined = True

    def __init__(self) -> None:
        super().__init__(wrapper=command())
        self.parent = 1  # inside, see inside.divide()

    def _kill(self) -> None:
        """End the first process inside; the kernel ends the worker with it, and bubblewrap follows.

        The other way round they would be orphans for a moment, and zombies where nobody reaps them.
        """
        with contextlib.suppress(OSError, AttributeError):  # no such kernel: they die with their parent
            watch = os.pidfd_open(self.pid)
            with os.fdopen(watch, "rb"):
                if _signal_children(self.pid):
                    select.select([watch], [], [], FAREWELL)
        super()._kill()

    def _reap(self, options: int) -> tuple[int | None, float]:
        """bubblewrap says by 128 and more that a signal ended what it ran, as a shell does."""
        code, processor = super()._reap(options)
        if code is not None and code - 128 in signal.valid_signals():
            code = 128 - code
        return code, processor


def _signal_children(pid: int) -> bool:
    """Kill the children of a process of ours; whether there were any."""
    found = False
    for word in _children(pid):
        with contextlib.suppress(OSError):
            child = os.pidfd_open(int(word))
            with os.fdopen(child, "rb"):
                if word in _children(pid):  # still, so the number was not given to another process meanwhile
                    signal.pidfd_send_signal(child, signal.SIGKILL)
                    found = True
    return found


def _children(pid: int) -> list[str]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as stream:
        return stream.read().split()


def command() -> list[str]:
    """The command line up to the interpreter, from facts about this host.

    Raises:
        NexcageError: ``E_SANDBOX`` with the reason why there is none.
    """
    if identity()[0] < 0:
        raise _unreachable("only root with CAP_SETUID, CAP_SETGID and CAP_KILL makes namespaces")
    program = _program()
    interpreter, sources = _interpreter()
    return [program, *NAMESPACES, *_system(), *sources, "--remount-ro", "/", "--chdir", "/", *POWERS, "--", interpreter]


def _unreachable(reason: str) -> NexcageError:
    return NexcageError("E_SANDBOX", reason, details={"reason": reason})


def _foreign(path: str) -> str:
    """The part of a path that somebody other than root could change, empty where there is none."""
    part = path
    while True:
        facts = os.lstat(part)
        if facts.st_uid != 0 or (facts.st_mode & 0o022 and not stat.S_ISLNK(facts.st_mode)):
            return part
        if part == "/":
            return ""
        part = os.path.dirname(part)


def _owned(path: str) -> str:
    """The path, its links resolved.

    Raises:
        NexcageError: ``E_SANDBOX`` where somebody other than root could change it.
    """
    resolved = os.path.realpath(path)
    part = _foreign(resolved)
    if part:
        raise _unreachable(f"{part} can be changed by others than root")
    return resolved


def _program() -> str:
    """The absolute path of bubblewrap; nothing of the caller's PATH decides what runs."""
    for folder in FOLDERS:
        path = f"{folder}/bwrap"
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return _owned(path)
    raise _unreachable(f"bubblewrap is not installed (no bwrap in {', '.join(FOLDERS)})")


def _interpreter() -> tuple[str, list[str]]:
    """The interpreter behind this one, and what to bind for it; of a virtual environment, the one it was made from."""
    path = getattr(sys, "_base_executable", None) or sys.executable
    if not path:
        raise _unreachable("the path of the Python interpreter is unknown")
    path, base = _owned(path), _owned(sys.base_prefix)
    outside = [one for one in (path, base) if not _below(one, SYSTEM)]
    if not outside:
        return path, []
    if not _below(path, base) or base.count("/") < 2:
        raise _unreachable(f"the interpreter {path} does not lie in {SYSTEM}, nor in a folder of its own")
    return path, ["--ro-bind", base, base]


def _below(path: str, folder: str) -> bool:
    return (path + "/").startswith(folder + "/")


def _system() -> list[str]:
    """/usr, and the folders of libraries beside it: links into it as most distributions have them, or folders."""
    options = ["--ro-bind", _owned(SYSTEM), SYSTEM]
    for path in ("/lib", "/lib64"):
        if os.path.islink(path) and _below(os.path.realpath(path), SYSTEM):
            options += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            options += ["--ro-bind", _owned(path), path]
    return options


def start(limits: Limits, required: str, preload: t.Iterable[str] = (), spare: Worker | None = None) -> Worker:
    """A worker of the strongest tier that this host offers, locked and ready for a plugin.

    Args:
        limits: What it may use.
        required: The tier below which there is none.
        preload: Names out of ``PRELOADABLE``.
        spare: One started ahead, without namespaces; ended where it is not needed.

    Raises:
        NexcageError: ``E_SANDBOX`` where the required tier is not reached.
    """
    names = tuple(preload)
    try:
        worker = _started(Worker(process=Confined()), limits, required, names, PATIENCE)
    except NexcageError as error:
        reason = str(error.details.get("reason") or _reason(error))
        if required == TIERS[-1]:
            _discard(spare)
            raise NexcageError(
                "E_SANDBOX", f"the sandbox tier {required} is required and not reached: {reason}", value=required, details=error.details
            ) from error
    else:
        _discard(spare)
        return worker
    worker = _started(spare or Worker(), limits, required, names, START)
    worker.sandbox.missing["namespaces"] = reason
    return worker


def _started(worker: Worker, limits: Limits, required: str, preload: tuple[str, ...], patience: float) -> Worker:
    worker.required = required
    try:
        worker.start(limits, preload, patience)
    except BaseException:
        worker.close()
        raise
    return worker


def _discard(worker: Worker | None) -> None:
    if worker is not None:
        worker.close()


def _reason(error: NexcageError) -> str:
    """What bubblewrap said, or else what became of it."""
    said = [line for line in str(error.details.get("stderr", "")).splitlines() if line.startswith("bwrap:")]
    return clean(said[-1] if said else error.message)
