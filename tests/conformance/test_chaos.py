# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin's process dies at each frame of each operation: the next run finds a true state, and goes on from there."""

from __future__ import annotations

import os
import signal
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.conformance.conftest import IMAGE, Bench
from ansible_collections.nexcage.backends.tests.conformance.test_contract import LIFE, life, status

ABOUT = "provides_backend"
BEFORE, AFTER = "before", "after"  # what was asked for is done


def killed(bench: Bench, operation: str, number: int, when: str) -> None:
    """Do an operation in which the worker dies around one of its calls; a number beyond the last: before the first."""
    handle, count = bench._handle, 0

    def die(call: str, params: dict[str, t.Any]) -> t.Any:
        nonlocal count
        count += call != "log"
        if count == number and when == BEFORE:
            os.kill(bench.worker.pid, signal.SIGKILL)
            return None
        answer = handle(call, params)
        if count == number:
            os.kill(bench.worker.pid, signal.SIGKILL)
        return answer

    bench._handle = die  # type: ignore[method-assign]
    named = {} if operation in ("list", "health") else {"name": "web"}
    with pytest.raises(NexcageError) as caught:
        bench.do(operation, **named, **dict(LIFE)[operation])
    assert caught.value.code == "E_CRASH", caught.value


def ends_well(bench: Bench) -> None:
    """What a manager does that finds a container in whatever state: have it run, then have it gone."""
    state = status(bench, "web")
    if state is None:
        bench.do("create", name="web", image=IMAGE, pull="missing")
        state = status(bench, "web")
    if state == "paused":
        bench.do("resume", name="web")
    elif state != "running":
        bench.do("start", name="web")
    assert status(bench, "web") == "running"
    bench.do("stop", name="web", signal=None, timeout=None, force=False)
    bench.do("delete", name="web")
    assert status(bench, "web") is None


def test_a_death_at_each_frame(make: t.Callable[[], Bench]) -> None:
    first = make()
    counts = [(operation, len(first.calls)) for operation, _answer in life(first)]
    first.worker.close()
    for operation, count in counts:
        for number in range(1, count + 1):
            for when in (BEFORE, AFTER):
                bench = make()
                for _done in life(bench, until=operation):
                    pass
                killed(bench, operation, number, when)
                bench.worker.close()
                again = make()
                again.host = bench.host
                ends_well(again)
                again.worker.close()
