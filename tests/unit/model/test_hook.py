# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of events and the order of those who listen."""

from __future__ import annotations

import itertools
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model import hook
from ansible_collections.nexcage.backends.plugins.module_utils.model.hook import EVENTS, Hook, Statistics
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest_fields import HOOK
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest_fields import HOOK_EVENTS as KNOWN


def test_the_table_has_the_events_of_manifests_in_their_order() -> None:
    assert tuple(EVENTS) == KNOWN and len(EVENTS) == 25
    assert {name for name, event in EVENTS.items() if event.veto} == {name for name in KNOWN if ".pre_" in name}
    assert {name for name, event in EVENTS.items() if event.fired == hook.LATER} == {name for name in KNOWN if name.startswith(("cli.", "api."))}
    assert {name for name, event in EVENTS.items() if event.reads} == {"system.health_check"}


def test_words_and_defaults_are_those_of_manifests() -> None:
    row = HOOK.check("hooks[0]", {"event": "system.startup"})
    assert Hook("p", **row) == Hook("p", "system.startup")
    for strategy, priority in itertools.product(hook.STRATEGIES, hook.PRIORITIES):
        HOOK.check("hooks[0]", {"event": "system.startup", "strategy": strategy, "priority": priority})


@pytest.mark.parametrize("event", EVENTS)
def test_one_order_whatever_the_beginning(event: str) -> None:
    wanted = [("b", "critical"), ("c", "critical"), ("a", "high"), ("z", "normal"), ("a2", "low"), ("a3", "background")]
    hooks = [Hook(name, event, priority) for name, priority in wanted]
    teardown = event.endswith(("_stop", "_delete", "shutdown", "unloaded"))
    for mixed in itertools.permutations(hooks):
        assert hook.order(mixed) == (hooks[::-1] if teardown else hooks)
    assert hook.order([]) == []


@pytest.mark.parametrize(
    "action, running, verbs",
    [
        ("create", False, ("create",)),
        ("replace", False, ("delete", "create")),
        ("replace", True, ("stop", "delete", "create")),
        ("stop", True, ("stop",)),
        ("update", True, ()),
        ("pull", False, ()),
    ],
)
def test_what_an_action_does(action: str, running: bool, verbs: tuple[str, ...]) -> None:
    assert hook.verbs(action, running) == verbs


@pytest.mark.parametrize(
    "actions, before, after",
    [
        ([], "paused", "paused"),
        (["pull", "create", "start"], "absent", "running"),
        (["stop", "delete"], "paused", "absent"),
        (["update"], "running", "running"),
    ],
)
def test_where_a_plan_leads(actions: list[str], before: str, after: str) -> None:
    assert hook.led_to(actions, before) == after


def test_statistics() -> None:
    made = Statistics()
    nothing: dict[str, t.Any] = {"executions": 0, "failures": 0, "timeouts": 0, "vetoes": 0, "total_ms": 0.0, "avg_ms": 0.0, "min_ms": 0.0, "max_ms": 0.0}
    assert made.as_dict() == nothing
    made.count(2.0)
    made.count(4.04, failed=True)
    made.count(9.0, failed=True, timed_out=True)
    assert made.as_dict() == {**nothing, "executions": 3, "failures": 2, "timeouts": 1, "total_ms": 15.0, "avg_ms": 5.0, "min_ms": 2.0, "max_ms": 9.0}
