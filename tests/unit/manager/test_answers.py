# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stranger's plugin may say of containers: the broker's records as they were, and no success that cannot be seen."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import answers
from ansible_collections.nexcage.backends.plugins.module_utils.manager.converge import OPERATIONS
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError

WEB: dict[str, t.Any] = {"name": "web", "status": "running", "spec": {"env": {"A": "1"}}, "pid": 7}
DB: dict[str, t.Any] = {"name": "db", "status": "stopped", "spec": {}, "pid": None}


def told(operation: str = "list", asked: t.Sequence[str] | None = None) -> answers.Answers:
    """After the broker's answers to the two calls that return records, and one to another call."""
    made = answers.Answers("acme-backend", operation, asked)
    values = {"oci.list": [WEB], "oci.info": DB, "oci.features": {"name": "feature"}}
    call = made.around(lambda name, params: values[name])
    for name, value in values.items():
        assert call(name, {}) == value
    return made


@pytest.mark.parametrize("value", [[], [WEB], [DB, WEB], [json.loads(json.dumps(WEB))], [dict(reversed(WEB.items()))]])
def test_the_brokers_records_pass(value: t.Any) -> None:
    assert told().checked(value) == value


@pytest.mark.parametrize(
    ("value", "option", "shown"),
    [
        (None, "list", "None"),
        ({"ansible_facts": {}}, "list", "{'ansible_facts': {}}"),
        ("web", "list", "web"),
        ([None], "list[0]", "None"),
        (["we\x1bb"], "list[0]", r"we\x1bb"),
        ([WEB, {**DB, "status": "running"}], "list[1]", "db"),
        ([{**WEB, "ansible_facts": {}}], "list[0]", "web"),
        ([{**WEB, "pid": 7.0}], "list[0]", "web"),
        ([{"name": "feature"}], "list[0]", "feature"),
        ([{"status": "running"}], "list[0]", "None"),
        ([WEB, WEB], "list[1].name", "web"),
        (["x" * 500], "list[0]", "x" * 64),
    ],
)
def test_what_it_made_up_is_refused(value: t.Any, option: str, shown: str) -> None:
    with pytest.raises(NexcageError) as caught:
        told().checked(value)
    error = caught.value
    assert (error.code, error.option, error.value) == ("E_PROTOCOL", option, shown) and "acme-backend" in error.message


def test_only_what_was_asked_for() -> None:
    assert told(asked=["web"]).checked([WEB]) == [WEB]
    with pytest.raises(NexcageError) as caught:
        told(asked=["web"]).checked([DB])
    assert (caught.value.option, caught.value.value) == ("list[0].name", "db")


def test_one_record() -> None:
    assert told("info").checked(DB) == DB
    for value in ({**DB, "pid": 1}, None, [DB]):
        with pytest.raises(NexcageError) as caught:
            told("info").checked(value)
        assert caught.value.option == "info"


@pytest.mark.parametrize(
    ("action", "seen"),
    [
        ("create", ["created", "running", "paused", "stopped"]),
        ("replace", ["created", "running", "paused", "stopped"]),
        ("update", ["created", "running", "paused", "stopped"]),
        ("start", ["running", "stopped", "paused"]),
        ("resume", ["running", "stopped"]),
        ("pause", ["paused", "stopped"]),
        ("stop", ["created", "stopped"]),
        ("delete", ["absent"]),
    ],
)
def test_a_success_that_can_be_seen(action: str, seen: list[str]) -> None:
    for status in ("absent", "incomplete", "created", "running", "paused", "stopped"):
        if status in seen:
            answers.refuse_lie("acme-backend", action, "web", status)
        else:
            with pytest.raises(NexcageError, match=f"says that it has done {action}, and the container is {status}") as caught:
                answers.refuse_lie("acme-backend", action, "web", status)
            assert (caught.value.code, caught.value.value) == ("E_PROTOCOL", "web")


def test_every_action_can_be_seen() -> None:
    assert set(answers.UNDONE) == set(OPERATIONS)
    answers.refuse_lie("acme-backend", "pull", "web", "absent")
