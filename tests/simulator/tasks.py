# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks: work that goes on after the answer, with a UPID, a log and an exit status."""

from __future__ import annotations

import dataclasses
import itertools
import re
import typing as t

from .access import Who
from .clock import Clock
from .errors import ApiError, TaskError
from .world import Guest

# A task's work: yields how many simulated seconds its next step takes.
Work = t.Generator[float, None, None]
UPID = re.compile(r"UPID:([^:\s]+):([0-9A-Fa-f]{8}):([0-9A-Fa-f]{8,9}):([0-9A-Fa-f]{8}):([^:\s]+):([^:\s]*):([^:\s]+):")
LOCK_WAIT = 10.0  # seconds that a task waits for the file of a guest


@dataclasses.dataclass
class Task:
    """One task.

    Attributes:
        started, ended: Seconds since 1970; not ended while it runs.
        status: Its exit status, once it has ended.
        orphan: Another task started it, and nobody has noticed its end yet: lists still have it as running.
    """

    upid: str
    node: str
    pid: int
    pstart: int
    started: float
    type: str
    id: str
    who: Who
    lines: list[str] = dataclasses.field(default_factory=list)
    warnings: int = 0
    ended: float | None = None
    status: str = ""
    work: Work | None = None
    guests: list[Guest] = dataclasses.field(default_factory=list)
    orphan: bool = False

    @property
    def running(self) -> bool:
        return self.ended is None

    def log(self, line: str) -> None:
        self.lines.append(line)

    def warn(self, line: str) -> None:
        self.warnings += 1
        self.lines.append("WARN: " + line)

    def shown(self) -> dict[str, t.Any]:
        """What GET .../status answers."""
        found: dict[str, t.Any] = {"upid": self.upid, "node": self.node, "pid": self.pid, "pstart": self.pstart, "starttime": int(self.started)}
        found.update(type=self.type, id=self.id, user=self.who.user, status="running" if self.running else "stopped")
        if self.who.token:
            found["tokenid"] = self.who.token
        if not self.running:
            found["exitstatus"] = self.status
        return found

    @property
    def active(self) -> bool:
        """Whether lists have it as running."""
        return self.running or self.orphan

    def listed(self) -> dict[str, t.Any]:
        """How a list of tasks shows it."""
        found = {key: value for key, value in self.shown().items() if key not in ("status", "exitstatus")}
        if self.active:
            found.pop("tokenid", None)
            return {**found, "user": self.who.name, "saved": "0", "status": "RUNNING"}
        return {**found, "endtime": int(self.ended or 0), "status": self.status}


class Tasks:
    """All tasks of a cluster, the newest last."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.all: dict[str, Task] = {}
        self.old = False  # an 8: tells of a log without any line
        self.dying = 0  # so many of the next tasks die in the middle
        self._pids = itertools.count(2000, 7)

    def start(self, who: Who, node: str, kind: str, about: object, work: t.Callable[[Task], Work], orphan: bool = False) -> str:
        """Starts a task; its UPID. ``orphan``: it is started by another task."""
        self.notice()
        pid, now = next(self._pids), self.clock.now()
        pstart = int(now * 100) & 0x7FFFFFF
        upid = f"UPID:{node}:{pid:08X}:{pstart:08X}:{int(now):08X}:{kind}:{about}:{who.name}:"
        task = Task(upid, node, pid, pstart, now, kind, str(about), who, orphan=orphan)
        self.all[upid] = task
        task.work = work(task)
        if self.dying:
            self.dying -= 1
            self.clock.later(0.4, lambda: self.abort(task, killed=True))
        self.clock.later(0.02, lambda: self._step(task))
        return upid

    def notice(self) -> None:
        """Lists learn which tasks have ended: whenever one starts, and every ten seconds."""
        for task in self.all.values():
            task.orphan = task.orphan and task.running

    def _step(self, task: Task) -> None:
        if not task.running or task.work is None:
            return
        try:
            seconds = next(task.work)
        except StopIteration:
            self.end(task, f"WARNINGS: {task.warnings}" if task.warnings else "OK")
        except TaskError as error:
            self.end(task, str(error))
        except ApiError as error:
            self.end(task, error.message)
        else:
            self.clock.later(seconds, lambda: self._step(task))

    def end(self, task: Task, status: str) -> None:
        good = "OK" if status == "OK" else status if task.warnings and status.startswith("WARNINGS") else f"ERROR: {status}"
        if not status.startswith(("unexpected status", "unable to read tail")):
            task.log("TASK " + good)
        task.status, task.ended = status.replace("\n", " "), self.clock.now()
        self._release(task)

    def abort(self, task: Task, killed: bool = False) -> None:
        """Ends the worker: no last line, nothing is cleaned up but its file locks; ``killed`` before it has said anything."""
        if task.running:
            if task.work is not None:
                task.work.close()
            self.end(task, "unable to read tail (got 0 bytes)" if killed and self.old else "unexpected status")

    def _release(self, task: Task) -> None:
        for guest in task.guests:
            if guest.busy is task:
                guest.busy = None
        task.guests.clear()

    def hold(self, task: Task, guest: Guest, wait: float = LOCK_WAIT) -> Work:
        """Waits for the lock on a guest's file and takes it, inside a task."""
        end = self.clock.now() + wait
        while guest.busy is not None and guest.busy is not task:
            if self.clock.now() >= end:
                raise TaskError(lock_message(guest))
            yield 0.5
        guest.busy = task
        task.guests.append(guest)

    def hold_now(self, guest: Guest, wait: float = LOCK_WAIT) -> None:
        """Waits for the lock on a guest's file, inside a call; it is let go at once, since a call is one step."""
        if not self.clock.wait(wait, lambda: guest.busy is None) and guest.busy is not None:
            raise ApiError(500, lock_message(guest))

    def find(self, upid: str) -> Task | None:
        return self.all.get(upid)


def lock_message(guest: Guest) -> str:
    name = f"/run/lock/lxc/pve-config-{guest.vmid}.lock" if guest.kind == "lxc" else f"/var/lock/qemu-server/lock-{guest.vmid}.conf"
    return f"can't lock file '{name}' - got timeout"
