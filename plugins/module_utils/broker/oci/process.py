# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process a recorded number still means.

A number alone lies: it may be reused, and a dead process that nobody has waited for still answers
``kill(pid, 0)``. State and start time in ``/proc/<pid>/stat`` (proc(5), fields 3 and 22) do not.
State alone lies too: a program that ends its first thread and goes on in another one looks like a zombie, and
lives. The number of threads (field 20) tells.
"""

from __future__ import annotations

import typing as t

PROC = "/proc"
_boot: list[str] = []


def boot_id() -> str:
    """The random name of this boot; what was recorded under another one says nothing of today's processes."""
    if not _boot:
        with open(PROC + "/sys/kernel/random/boot_id", encoding="ascii") as handle:
            _boot.append(handle.read().strip())
    return _boot[0]


def start_time(pid: int) -> int | None:
    """Clock ticks since boot at which a living process started; ``None`` where it is dead or was never there."""
    try:
        with open(f"{PROC}/{pid}/stat", "rb") as handle:
            fields = handle.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if not fields or fields[0] in (b"X", b"x"):
        return None
    if fields[0] == b"Z" and int(fields[17]) < 2:  # only its first thread has ended where there are others
        return None
    return int(fields[19])


def alive(pid: t.Any, started: t.Any) -> bool:
    """Whether the process that had ``pid`` and began at ``started`` still lives."""
    return isinstance(pid, int) and pid > 0 and started is not None and start_time(pid) == started
