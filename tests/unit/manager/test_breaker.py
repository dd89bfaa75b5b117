# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outcomes of an installed plugin's operations, and its quarantine; the time is the test's."""

from __future__ import annotations

import json
import multiprocessing
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import store
from ansible_collections.nexcage.backends.plugins.module_utils.manager import breaker, records
from ansible_collections.nexcage.backends.plugins.module_utils.manager.breaker import Outcome, Watch
from ansible_collections.nexcage.backends.plugins.module_utils.manager.installed import Installed
from ansible_collections.nexcage.backends.plugins.module_utils.manager.records import Record, Release
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


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(breaker, "clock", made)
    return made


@pytest.fixture
def layout(tmp_path: pathlib.Path) -> Layout:
    """A host with one plugin."""
    made = Layout.for_user(0, {"NEXCAGE_ROOT": str(tmp_path)})
    records.write(made, Record(NAME, Release("1.0.0", DIGEST, f"{NAME}-1.0.0.nexcage-plugin", "pin")))
    return made


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


# ---- opening


def test_five_faults_of_any_kind_open_it(layout: Layout, time: Time) -> None:
    for code in ("E_CRASH", "E_TIMEOUT", "E_PROTOCOL", "E_LIMIT"):
        time.pass_(MINUTE)
        assert crash(layout, code) == (code, []) and recorded(layout) == ""
    ended = crash(layout, "E_CRASH", "start")
    assert ended.code == "E_CRASH" and len(ended.warnings) == 1 and ended.warnings[0].startswith(f"{NAME} is quarantined: 5 of its operations")
    assert recorded(layout).endswith("the last one with E_CRASH in start; since 2027-01-15T08:04:00Z")
    assert run(layout).code == "E_QUARANTINED"


def test_the_refusal_says_why_and_what_to_do(layout: Layout, time: Time) -> None:
    quarantine(layout, time)
    with pytest.raises(NexcageError) as caught:
        loaded(layout)
    assert (caught.value.code, caught.value.option, caught.value.value) == ("E_QUARANTINED", None, NAME)
    assert "E_CRASH in create; since 2027" in caught.value.message
    assert f"nexcage_plugin name={NAME} state=enabled, or wait: 15 minutes" in caught.value.remedy


def test_four_faults_are_none_too_many(layout: Layout, time: Time) -> None:
    for _count in range(breaker.FAULTS - 1):
        crash(layout)
    assert recorded(layout) == "" and run(layout).code == ""


@pytest.mark.parametrize(("gap", "open_"), [(breaker.WINDOW / 4, True), (breaker.WINDOW / 4 + 1, False)])
def test_only_those_of_ten_minutes_count(layout: Layout, time: Time, gap: float, open_: bool) -> None:
    for _count in range(breaker.FAULTS):
        crash(layout)
        time.pass_(gap)
    assert bool(recorded(layout)) is open_


@pytest.mark.parametrize("code", ["E_CRASH", "E_TIMEOUT", "E_LIMIT"])
def test_what_the_broker_refuses_is_no_fault_of_the_worker(layout: Layout, time: Time, code: str) -> None:
    for _count in range(2 * breaker.FAULTS):
        run(layout, error=NexcageError(code, "the image does not arrive"))
    assert recorded(layout) == ""
    assert {outcome.kind for outcome in breaker.read(layout, NAME).outcomes} == {breaker.ERROR}


def test_faults_of_another_package_do_not_count(layout: Layout, time: Time) -> None:
    for _count in range(breaker.FAULTS - 1):
        crash(layout)
    record = records.read(layout, NAME)
    assert record is not None and record.active is not None
    records.write(layout, record._replace(active=record.active._replace(digest=OTHER)))
    crash(layout)
    assert recorded(layout) == ""


def test_a_package_that_was_replaced_meanwhile_is_not_blamed(layout: Layout, time: Time) -> None:
    outcomes = [Outcome(START + number, "create", breaker.FAULT, "E_CRASH", OTHER, 1) for number in range(breaker.FAULTS)]
    assert [breaker.note(layout, NAME, outcome) for outcome in outcomes] == [""] * breaker.FAULTS
    assert recorded(layout) == ""
    records.write(layout, Record(NAME, None))
    assert [breaker.note(layout, NAME, outcome._replace(at=START + 100)) for outcome in outcomes] == [""] * breaker.FAULTS


# ---- half-open, and closed again


def test_one_operation_is_let_through_after_a_quarter_of_an_hour(layout: Layout, time: Time) -> None:
    quarantine(layout, time)
    time.pass_(breaker.HALF_OPEN - 1)
    assert run(layout, "list").code == "E_QUARANTINED"
    time.pass_(1)
    first, second = loaded(layout), loaded(layout)
    with Watch(layout, first, "list", []) as watch:
        with pytest.raises(NexcageError) as caught, Watch(layout, second, "list", []):
            raise AssertionError("two were let through")
        assert caught.value.code == "E_QUARANTINED"
        watch.around(lambda name, params: None)
    assert recorded(layout) == "" and run(layout).code == ""


def test_a_session_goes_on_with_the_plugin_that_it_healed(layout: Layout, time: Time) -> None:
    quarantine(layout, time)
    time.pass_(breaker.HALF_OPEN)
    plugin = loaded(layout)
    for _count in range(2):  # the second time it is not in quarantine any more
        with Watch(layout, plugin, "list", []):
            pass
    assert recorded(layout) == ""


def test_a_trial_that_fails_begins_another_quarter(layout: Layout, time: Time) -> None:
    quarantine(layout, time)
    time.pass_(breaker.HALF_OPEN)
    ended = crash(layout, "E_TIMEOUT", "health")
    assert ended.code == "E_TIMEOUT" and "tried again, it failed again" in ended.warnings[0]
    assert "E_TIMEOUT in health" in recorded(layout)
    time.pass_(breaker.HALF_OPEN - 1)
    assert run(layout).code == "E_QUARANTINED"
    time.pass_(1)
    assert run(layout).code == "" and recorded(layout) == ""


def test_a_trial_that_tells_nothing_leaves_it_to_the_next(layout: Layout, time: Time) -> None:
    quarantine(layout, time)
    time.pass_(breaker.HALF_OPEN)
    assert run(layout, error=NexcageError("E_NOT_FOUND", "no such container")).code == "E_NOT_FOUND"
    assert recorded(layout) != ""
    assert run(layout, "list").code == "" and recorded(layout) == ""


def test_a_trial_that_was_killed_blocks_no_longer_than_one_that_failed(layout: Layout, time: Time) -> None:
    quarantine(layout, time)
    time.pass_(breaker.HALF_OPEN)
    with pytest.raises(KeyboardInterrupt):
        run(layout, error=KeyboardInterrupt())
    assert run(layout).code == "E_QUARANTINED"
    time.pass_(breaker.HALF_OPEN)
    assert run(layout).code == ""


def test_after_the_quarantine_five_more_are_needed(layout: Layout, time: Time) -> None:
    quarantine(layout, time)
    record = records.read(layout, NAME)
    assert record is not None
    records.write(layout, record._replace(quarantined=""))  # state: enabled
    for _count in range(breaker.FAULTS - 1):
        time.pass_(1)
        crash(layout)
        assert recorded(layout) == ""
    crash(layout)
    assert recorded(layout) != ""


def test_a_clock_that_was_set_back_locks_nobody_out(layout: Layout, time: Time) -> None:
    quarantine(layout, time)
    time.pass_(-86400)
    assert run(layout).code == ""


@pytest.mark.parametrize("content", [None, "", "[]", '{"schema_version":2}', '{"schema_version":1,"outcomes":[[1]]}', '{"schema_version":1,"outcomes":7}'])
def test_a_damaged_file_fails_nothing_and_ends_no_quarantine(layout: Layout, time: Time, content: str | None) -> None:
    quarantine(layout, time)
    if content is None:
        file(layout).unlink()
    else:
        file(layout).write_text(content)
    time.pass_(10 * breaker.HALF_OPEN)
    assert breaker.read(layout, NAME) == breaker.Book()
    assert run(layout).code == "E_QUARANTINED"  # since when, nobody knows
    record = records.read(layout, NAME)
    assert record is not None
    records.write(layout, record._replace(quarantined=""))
    assert run(layout).code == "" and len(breaker.read(layout, NAME).outcomes) == 1


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
