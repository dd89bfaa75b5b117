# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of how operations ended, and that nothing of it is lost when many end at once."""

from __future__ import annotations

import json
import multiprocessing
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import store
from ansible_collections.nexcage.backends.plugins.module_utils.manager import breaker, records
from ansible_collections.nexcage.backends.plugins.module_utils.manager.breaker import Outcome
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.worker.spawn import Ended
from ansible_collections.nexcage.backends.tests.support.breaking import DIGEST, NAME, START, Time, crash, file, quarantine, recorded, run

# ---- what is written


def test_a_read_that_succeeds_writes_nothing(layout: Layout, time: Time) -> None:
    for operation in ("list", "info", "logs", "health"):
        assert run(layout, operation) == ("", [])
        assert run(layout, operation, NexcageError("E_NOT_FOUND", "no")).code == "E_NOT_FOUND"
    assert not file(layout).exists()
    assert run(layout, "start").code == "" and file(layout).exists()


def test_what_a_killed_run_left_is_cleared(layout: Layout, time: Time) -> None:
    left = file(layout).with_name(f"{breaker.FILE}.4711-1{store.TEMPORARY_SUFFIX}")
    other = left.with_name(f"record.json.4711-1{store.TEMPORARY_SUFFIX}")  # that of somebody who holds another lock
    left.touch()
    other.touch()
    run(layout, "start")
    assert not left.exists() and other.exists() and len(breaker.read(layout, NAME).outcomes) == 1


def test_what_never_reached_the_plugin_is_no_outcome(layout: Layout, time: Time) -> None:
    assert run(layout, error=NexcageError("E_POLICY", "no"), reach=False).code == "E_POLICY"
    assert not file(layout).exists()
    assert run(layout, error=NexcageError("E_PLUGIN", "cannot be loaded"), reach=False).code == "E_PLUGIN"
    assert [outcome.kind for outcome in breaker.read(layout, NAME).outcomes] == [breaker.DEFECT]


def test_the_ring_keeps_the_last_twenty(layout: Layout, time: Time) -> None:
    for number in range(25):
        time.pass_(1)
        run(layout, "start" if number % 2 else "stop", NexcageError("E_PLUGIN", "x") if number == 24 else None)
    book = breaker.read(layout, NAME)
    assert len(book.outcomes) == breaker.RING and book.outcomes[0].at == START + 6
    assert book.outcomes[-1][1:5] == ("stop", breaker.DEFECT, "E_PLUGIN", DIGEST)
    assert {operation: {kind: row[kind] for kind in row if kind in breaker.KINDS} for operation, row in book.totals.items()} == {
        "stop": {"ok": 12, "defect": 1},
        "start": {"ok": 12},
    }
    assert book.success == START + 24


def test_refused_calls_are_counted_and_what_does_not_exist_is_one(layout: Layout, time: Time) -> None:
    run(layout, "list", calls=[("oci.delete", "E_READ_ONLY"), ("x" * 5000, "E_CAPABILITY"), ("y", "E_CAPABILITY"), ("fs.read", "E_GRANT")])
    book = breaker.read(layout, NAME)
    assert book.denied == {"oci.delete": {"E_READ_ONLY": 1}, "other": {"E_CAPABILITY": 2}, "fs.read": {"E_GRANT": 1}}
    assert book.outcomes == ()
    run(layout, "list", calls=[("oci.list2", "E_NOT_FOUND")])
    assert breaker.read(layout, NAME) == book


@pytest.mark.parametrize(("chosen", "kept"), [({}, True), ({"enable_plugin_metrics": False}, False), ({"enable_plugin_metrics": "x"}, False)])
@pytest.mark.requires("root")
def test_figures_are_kept_where_the_host_wants_them(layout: Layout, time: Time, chosen: dict[str, t.Any], kept: bool) -> None:
    folder = pathlib.Path(layout.configuration)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"plugin_manager": chosen}))
    run(layout, "start")
    book = breaker.read(layout, NAME)
    assert len(book.outcomes) == 1 and bool(book.totals) is kept
    quarantine(layout, time)
    assert recorded(layout) != ""


def test_an_outcome_that_cannot_be_kept_fails_no_operation(layout: Layout, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_details: object, **_more: object) -> None:
        raise NexcageError("E_SPACE", "no space left")

    monkeypatch.setattr(store, "write_json", full)
    ended = run(layout, "start")
    assert ended.code == "" and len(ended.warnings) == 1 and "no space left" in ended.warnings[0]


def test_a_fault_waits_for_whoever_changes_plugins(layout: Layout, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "LOCK_SECONDS", 0.01)
    for _count in range(breaker.FAULTS - 1):
        crash(layout)
    with records.lock(layout, 1.0):
        ended = crash(layout)
    assert ended.code == "E_CRASH" and "still locked" in ended.warnings[0]
    assert recorded(layout) == "" and len(breaker.read(layout, NAME).outcomes) == breaker.FAULTS
    crash(layout)  # it was not forgotten
    assert recorded(layout) != ""


def test_the_record_that_cannot_be_written_is_told(layout: Layout, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    for _count in range(breaker.FAULTS - 1):
        crash(layout)

    def full(*_details: object) -> None:
        raise NexcageError("E_SPACE", "no space left")

    monkeypatch.setattr(records, "write", full)
    assert "no space left" in crash(layout).warnings[0]


# ---- many at once


def _worker(layout: Layout, count: int, code: str) -> None:
    for number in range(count):
        error = Ended(code, "gone") if code else None
        breaker.note(layout, NAME, Outcome(START + number, "create", breaker.FAULT if error else breaker.OK, code, DIGEST, 1))


def _together(layout: Layout, code: str) -> None:
    context = multiprocessing.get_context("fork")
    many = [context.Process(target=_worker, args=(layout, 25, code)) for _count in range(8)]
    for process in many:
        process.start()
    for process in many:
        process.join(60)
    assert [process.exitcode for process in many] == [0] * 8


def test_eight_processes_lose_no_outcome(layout: Layout) -> None:
    _together(layout, "")
    book = breaker.read(layout, NAME)
    assert book.totals == {"create": {"ok": 200, "milliseconds": 200}} and len(book.outcomes) == breaker.RING
    assert recorded(layout) == ""
    assert sorted(path.name for path in file(layout).parent.iterdir()) == [breaker.FILE, "record.json"]


def test_eight_processes_open_it(layout: Layout) -> None:
    _together(layout, "E_CRASH")
    assert "of its operations crashed" in recorded(layout)  # five, or more where one that began earlier ended later
    assert breaker.read(layout, NAME).totals["create"]["fault"] == 200


def _claims(layout: Layout, queue: t.Any) -> None:
    try:
        queue.put(breaker.claim(layout, NAME, START + 2 * breaker.HALF_OPEN))
    except NexcageError as error:
        queue.put(error.code)


def test_one_of_eight_is_let_through(layout: Layout, time: Time) -> None:
    quarantine(layout, time)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    many = [context.Process(target=_claims, args=(layout, queue)) for _count in range(8)]
    for process in many:
        process.start()
    answers = [queue.get(timeout=60) for _process in many]
    for process in many:
        process.join(60)
    assert sorted(answers, key=str) == ["E_QUARANTINED"] * 7 + [True]
