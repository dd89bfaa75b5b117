# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 of the caller at every step of every write: old or new, and the next call heals."""

from __future__ import annotations

import os
import signal
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import store
from ansible_collections.nexcage.backends.plugins.module_utils.model.container import ContainerSpec
from ansible_collections.nexcage.backends.tests.support.containers import Yard

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "busybox")
DEAF = ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"]  # so that every write takes the same steps every time
SHORT = {"image": "x", "stop_timeout": 0, "pids_limit": 50, "command": DEAF}


def steps_of(work: t.Callable[[], object]) -> list[str]:
    """The names of the steps of one write, in order."""
    found: list[str] = []
    store.CHECKPOINT = found.append
    try:
        work()
    finally:
        store.CHECKPOINT = None
    return found


def killed_at(step: int, work: t.Callable[[], object]) -> None:
    """Do the write in a process of its own that kills itself at the given step."""
    child = os.fork()
    if child == 0:
        left = [step]

        def count(_name: str) -> None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        store.CHECKPOINT = count
        try:
            work()
        finally:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def create(yard: Yard) -> None:
    yard.engine.create("web", ContainerSpec(SHORT), {}, yard.image)


def replace(yard: Yard) -> None:
    yard.engine.replace("web", ContainerSpec({**SHORT, "pids_limit": 60}), {}, yard.image)


def running(yard: Yard) -> None:
    create(yard)
    yard.engine.start("web")


def stopped(yard: Yard) -> None:
    running(yard)
    yard.engine.stop("web")


CASES: dict[str, tuple[t.Callable[[Yard], None], t.Callable[[Yard], None], set[str], str]] = {
    # name: how it is before, the write, the states a killed one may leave, the state after the same call again
    "create": (lambda _yard: None, create, {"", "incomplete", "created"}, "created"),
    "replace": (running, replace, {"running", "stopped", "created"}, "created"),
    "start": (stopped, lambda yard: yard.engine.start("web"), {"stopped", "created", "running"}, "running"),
    "stop": (running, lambda yard: yard.engine.stop("web", timeout=0), {"running", "stopped"}, "stopped"),
    "delete": (running, lambda yard: yard.engine.delete("web"), {"running", "stopped", "incomplete", ""}, ""),
    "update": (running, lambda yard: yard.engine.update("web", {"pids_limit": 70}), {"running"}, "running"),
}


def again(yard: Yard, case: str) -> None:
    """The next run: it looks first, as the planner does."""
    status = yard.status()
    if case == "create" and status == "created":
        return
    if case == "delete" and status == "":
        return
    CASES[case][1](yard)


@pytest.mark.parametrize("case", CASES)
def test_old_or_new_and_then_healed(yard: Yard, case: str) -> None:
    before, write, possible, after = CASES[case]
    before(yard)
    steps = steps_of(lambda: write(yard))
    assert len(steps) >= 3, steps
    yard.note()
    if yard.status():
        yard.engine.delete("web")
    for number, name in enumerate(steps):
        before(yard)
        yard.note()
        killed_at(number, lambda: write(yard))
        yard.note()
        assert yard.status() in possible, name
        again(yard, case)
        yard.note()
        assert yard.status() == after, name
        if after:
            entry = yard.one()
            assert entry["problems"] == [] and entry["backend_details"]["generation_leftovers"] == [], name
            if case == "update":
                assert entry["observed"]["pids_limit"] == entry["spec"]["pids_limit"] == 70, name
            if case != "stop":
                yard.engine.start("web")
                assert yard.shell("echo works")[1] == "works\n", name
            yard.engine.delete("web")
        assert yard.leftovers() == [], name
