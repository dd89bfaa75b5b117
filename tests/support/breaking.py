# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations of an installed plugin that end as a test wants, without a worker."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import breaker, records
from ansible_collections.nexcage.backends.plugins.module_utils.manager.breaker import Watch
from ansible_collections.nexcage.backends.plugins.module_utils.manager.installed import Installed
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.worker.spawn import Ended

NAME = "demo-backend"
DIGEST, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
START = 1_800_000_000.0
MINUTE = 60.0


class Time:
    """What the breaker takes for the time of day."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


def loaded(layout: Layout) -> Installed:
    record = records.read(layout, NAME)
    assert record is not None and record.active is not None
    breaker.refuse(layout, record)
    return Installed(record, record.active, t.cast(t.Any, None), frozenset())


class Run(t.NamedTuple):
    """What one operation came to: the code that it raised, and what the operator was told."""

    code: str
    warnings: list[str]


def run(layout: Layout, operation: str = "create", error: BaseException | None = None, calls: t.Sequence[tuple[str, str]] = (), reach: bool = True) -> Run:
    """One operation as a session does it; ``calls`` are refused with their codes and the plugin goes on."""
    warnings: list[str] = []

    def gate(name: str, _params: t.Mapping[str, t.Any]) -> str:
        code = dict(calls).get(name)
        if code:
            raise NexcageError(code, "no")
        return "value"

    try:
        with Watch(layout, loaded(layout), operation, warnings) as watch:
            if reach:
                call = watch.around(gate)
                assert call("oci.list", {}) == "value"
                for name, code in calls:
                    with pytest.raises(NexcageError) as caught:
                        call(name, {})
                    assert caught.value.code == code
            if error is not None:
                raise error
    except NexcageError as raised:
        return Run(raised.code, warnings)
    return Run("", warnings)


def crash(layout: Layout, code: str = "E_CRASH", operation: str = "create") -> Run:
    return run(layout, operation, Ended(code, "gone"))


def quarantine(layout: Layout, time: Time) -> None:
    for _count in range(breaker.FAULTS):
        time.pass_(1)
        crash(layout)


def recorded(layout: Layout) -> str:
    record = records.read(layout, NAME)
    assert record is not None
    return record.quarantined


def file(layout: Layout) -> pathlib.Path:
    return pathlib.Path(layout.state, "plugins", NAME, breaker.FILE)
