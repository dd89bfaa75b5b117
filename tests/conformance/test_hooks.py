# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every plugin promises that listens to events."""

from __future__ import annotations

import typing as t
import warnings

from ansible_collections.nexcage.backends.plugins.module_utils.model import scope
from ansible_collections.nexcage.backends.plugins.module_utils.model.capability import CAPABILITIES, NOTHING
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.model.hook import ABORT, EVENTS
from ansible_collections.nexcage.backends.plugins.module_utils.sdk import testing
from ansible_collections.nexcage.backends.plugins.module_utils.worker.spawn import Ended
from ansible_collections.nexcage.backends.tests.conformance.conftest import CALLS, Bench

ABOUT = "hooks"  # only plugins with this in their manifest
CONTAINERS = ("oci.", "image.")  # of these a hook has only what reads
MANY_CALLS = 10  # of one hook; what it waits for, the task waits for
REFUSAL = "E_POLICY"


def ask(bench: Bench, row: t.Mapping[str, t.Any], check_mode: bool = False) -> str | None:
    """Tell the plugin of an event as a host would, within the time that its manifest gives.

    Raises:
        NexcageError: What the plugin or the host refuses.
    """
    payload = bench.payload(row["event"], testing.payload(row["event"], check_mode))
    reading = check_mode or EVENTS[row["event"]].reads

    def may(call: str, writes: bool) -> None:
        if writes and reading:
            raise NexcageError("E_READ_ONLY", f"{call} changes something, and this hook only reads")
        if writes and call.startswith(CONTAINERS):
            raise NexcageError("E_UNSUPPORTED", f"{call} is not offered to a hook")

    bench.may = may
    answer = bench.do("hook", row["timeout_ms"] / 1000, event=row["event"], payload=payload, name=payload.get("name"))
    assert answer is None or isinstance(answer, str), f"{row['event']}: a hook returns nothing or a text, and it returned {answer!r}"
    return answer


def told(bench: Bench, row: t.Mapping[str, t.Any], check_mode: bool = False) -> str | None:
    """The same, where a call that is refused is found by the suite and not by whoever catches it, or does not."""
    try:
        return ask(bench, row, check_mode)
    except Ended:
        raise
    except NexcageError:
        if not bench.denials:
            raise
        return None


def test_it_loads_in_a_locked_worker(bench: Bench) -> None:
    assert bench.worker.sandbox.tier in ("standard", "strong"), bench.worker.sandbox.missing
    assert set(bench.manifest["operations"]) <= set(bench.operations), "the manifest declares operations that the class does not have"


def test_each_event_twice(bench: Bench) -> None:
    for row in bench.manifest["hooks"]:
        first, again = ask(bench, row), ask(bench, row)
        assert first == again, f"{row['event']}: told of the same twice it says another thing: {first!r}, {again!r}"


def test_check_mode_and_what_only_reads(bench: Bench) -> None:
    """A hook that fails there by a call that changes something predicts nothing. Other events are not fired in check mode."""
    for row in bench.manifest["hooks"]:
        event = EVENTS[row["event"]]
        if not (event.veto or event.reads):
            continue
        foreseen = told(bench, row, check_mode=event.veto)
        assert bench.denials == [], f"{row['event']}: where nothing may change it calls {bench.denials[0]}"
        assert not event.veto or (foreseen is None) == (told(bench, row) is None), (
            f"{row['event']}: check mode says {foreseen!r}, and the run decides otherwise"
        )


def test_no_more_than_it_declares(bench: Bench) -> None:
    used: set[str] = set()
    for row in bench.manifest["hooks"]:
        told(bench, row)
        assert bench.denials == [], f"{row['event']}: it calls {bench.denials[0]}, which a hook is not given"
        assert len(bench.calls) <= MANY_CALLS, f"{row['event']}: it makes {len(bench.calls)} calls"
        used |= set(bench.calls)
    declared = set(bench.manifest["capabilities"])
    for call in used:
        needs = CALLS[call].needs
        assert any(declared.issuperset(names) for names in needs), f"it calls {call} and does not declare {needs[0]}"
    if bench.manifest["provides_backend"]:  # then its operations may use the rest
        return
    idle = {entry.capability for entry in scope.entries(bench.manifest) if entry.capability in CAPABILITIES and entry.level != NOTHING} - {"logging"}
    idle = {name for name in idle if not used & set(CAPABILITIES[name].calls)}
    if idle:
        warnings.warn(f"declared and not used: {', '.join(sorted(idle))}", stacklevel=1)


def test_a_guard_that_cannot_look_lets_nothing_pass(make: t.Callable[[], Bench]) -> None:
    """Each call of each hook is denied once: the plugin lives on, and one that may refuse does not say yes."""
    first = make()
    for number, row in enumerate(first.manifest["hooks"]):
        passed = ask(first, row) is None
        for turn in range(1, len(first.calls) + 1):
            bench = make()
            for earlier in first.manifest["hooks"][:number]:
                ask(bench, earlier)
            bench.denied = (turn, REFUSAL)
            try:
                answer = ask(bench, row)
            except Ended as error:
                raise AssertionError(f"{row['event']}: the refusal of call {turn} ended its worker: {error}") from None
            except NexcageError:
                continue
            guard = EVENTS[row["event"]].veto and row["strategy"] == ABORT and passed
            assert not guard or answer is not None, f"{row['event']}: call {turn} is denied, and it lets pass what it could not look at"
