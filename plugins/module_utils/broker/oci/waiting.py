# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals to processes that are surely the ones meant, and waiting for their end without polling.

A pidfd (pidfd_open(2), Linux 5.3) becomes readable at the moment its process ends, even while nobody
has waited for it. Kernels without it are asked every few milliseconds.
"""

from __future__ import annotations

import os
import select
import signal
import time
import typing as t

from .. import store
from . import process

_STEP = 0.005  # seconds, only without pidfd


def open_process(pid: t.Any, started: t.Any) -> int:
    """A pidfd of the process that began at ``started``; -1 where it has ended or the kernel has none."""
    if not process.alive(pid, started):
        return -1
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1
    if process.alive(pid, started):  # still the same one, after the descriptor fixed it
        return descriptor
    os.close(descriptor)
    return -1


def wait_end(pid: t.Any, started: t.Any, timeout: float) -> bool:
    """Wait until a process has ended; ``False`` where it still lives after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    descriptor = open_process(pid, started)
    if descriptor >= 0:
        try:
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            return bool(poller.poll(max(0.0, timeout) * 1000))
        finally:
            os.close(descriptor)
    while process.alive(pid, started):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_STEP)
    return True


def send(pid: int, started: t.Any, number: int) -> None:
    """Send a signal to exactly the process that began at ``started``; one that has ended is fine."""
    descriptor = open_process(pid, started)
    try:
        if descriptor >= 0:
            signal.pidfd_send_signal(descriptor, number)
        elif process.alive(pid, started):
            os.kill(pid, number)
    except ProcessLookupError:
        pass
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def kill_tree(pid: int) -> None:
    """Kill a process and all its descendants, parents first, so that none has time to make more."""
    todo = [pid]
    while todo:
        one = todo.pop(0)
        started = process.start_time(one)
        if started is not None:
            send(one, started, signal.SIGSTOP)
        todo += children(one)
        if started is not None:
            send(one, started, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """The direct children of a process."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"{process.PROC}/{pid}/task"):
            text = store.read_bytes(f"{process.PROC}/{pid}/task/{thread}/children") or b""
            found += [int(child) for child in text.split()]
    except OSError:
        pass
    return found


def end_all(find: t.Callable[[], t.Sequence[int]], timeout: float) -> list[int]:
    """Kill what ``find`` returns, with all descendants, until it twice in a row returns nothing that lives.

    Twice, as a process that is just becoming another program shows no command line for a moment.

    Returns:
        What still lives after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    empty = 0
    while True:
        found = [(pid, process.start_time(pid)) for pid in find()]
        living = [(pid, started) for pid, started in found if started is not None]
        empty = 0 if living else empty + 1
        if empty == 2 or time.monotonic() >= deadline:
            return [pid for pid, _started in living]
        for pid, _started in living:
            kill_tree(pid)
        for pid, started in living:
            wait_end(pid, started, deadline - time.monotonic())
