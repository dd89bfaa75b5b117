# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outcomes of an installed plugin's operations, and its quarantine; the time is the test's."""

from __future__ import annotations

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import breaker, records
from ansible_collections.nexcage.backends.plugins.module_utils.manager.breaker import Outcome, Watch
from ansible_collections.nexcage.backends.plugins.module_utils.manager.records import Record
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support.breaking import MINUTE, NAME, OTHER, START, Time, crash, file, loaded, quarantine, recorded, run

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
