# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner: the transition table, and that a plan leads from what is found to what is wanted."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model import options
from ansible_collections.nexcage.backends.plugins.module_utils.model.container import ContainerSpec
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.model.plan import Plan, Request, plan
from hypothesis import given
from hypothesis import strategies as st

IMAGE = {"image": "oci:/image"}
STATES = [state for state in options.STATES if state != "created"]
STATUSES = ["created", "running", "paused", "stopped", "incomplete", "absent"]


def found(status: str, spec: dict[str, t.Any] | None = None, **more: t.Any) -> dict[str, t.Any] | None:
    if status == "absent":
        return None
    return {"name": "web", "backend": "crun-backend", "status": status, "spec": {**IMAGE, **(spec or {})}, "observed": {}, **more}


def request(state: str, spec: dict[str, t.Any] | None = None, **more: t.Any) -> Request:
    return Request("web", state, ContainerSpec({**IMAGE, **(spec or {})}), "crun-backend", **more)


def kinds(made: Plan) -> list[str]:
    return [action.kind for action in made.actions]


TABLE = {
    # wanted:    created              running            paused             stopped            incomplete           absent
    "absent": (["delete"], ["stop", "delete"], ["stop", "delete"], ["delete"], ["delete"], []),
    "present": ([], [], [], [], ["create"], ["create"]),
    "started": (["start"], [], ["resume"], ["start"], ["create", "start"], ["create", "start"]),
    "stopped": ([], ["stop"], ["stop"], [], ["create"], ["create"]),
    "paused": (["start", "pause"], ["pause"], [], ["start", "pause"], ["create", "start", "pause"], ["create", "start", "pause"]),
    "restarted": (["start"], ["stop", "start"], ["stop", "start"], ["start"], ["create", "start"], ["create", "start"]),
}


@pytest.mark.parametrize("state", STATES)
def test_transitions(state: str) -> None:
    for status, expected in zip(STATUSES, TABLE[state]):
        assert kinds(plan(request(state), found(status))) == expected, status


@pytest.mark.parametrize(
    ("state", "status", "expected"),
    [
        ("present", "running", ["replace", "start"]),
        ("present", "stopped", ["replace"]),
        ("started", "paused", ["replace", "start"]),
        ("stopped", "stopped", ["replace"]),
        ("paused", "running", ["replace", "start", "pause"]),
        ("restarted", "running", ["replace", "start"]),
    ],
)
def test_replace_comes_before_everything(state: str, status: str, expected: list[str]) -> None:
    assert kinds(plan(request(state, {"hostname": "new"}), found(status))) == expected


@pytest.mark.parametrize("status", ["running", "paused"])
@pytest.mark.parametrize(("option", "kind"), [("stop_timeout", "update"), ("hostname", "replace")])
def test_a_stop_comes_before_what_can_fail(status: str, option: str, kind: str) -> None:
    wanted = request("stopped", {option: {"stop_timeout": 3, "hostname": "new"}[option]}, image={"digest": None, "present": True})
    made = plan(wanted, found(status))
    assert kinds(made) == ["stop", kind] and made.status == (status, "stopped" if kind == "update" else "created")
    assert kinds(plan(wanted, found("stopped"))) == [kind]


def test_a_live_change_is_an_update() -> None:
    made = plan(request("started", {"memory": 64 << 20}), found("running", {"memory": 32 << 20}))
    assert kinds(made) == ["update"]
    assert made.actions[0].reason == "resources.memory: 32 MiB -> 64 MiB"
    assert made.diff()["before"] == {"status": "running", "resources.memory": "32 MiB"}
    assert made.diff()["after"] == {"status": "running", "actions": ["update"], "resources.memory": "64 MiB"}
    assert made.as_list()[0]["changes"] == [{"option": "memory", "before": "32 MiB", "after": "64 MiB", "live": True}]


def test_what_was_observed_wins_over_the_record() -> None:
    made = plan(request("started", {"pids_limit": 10}), found("running", {"pids_limit": 10}, observed={"pids_limit": 99}))
    assert kinds(made) == ["update"]


def test_drift_of_what_the_task_does_not_mention() -> None:
    drifted = found("running", {"pids_limit": 10, "memory": 1 << 30}, observed={"pids_limit": 99, "memory": 1 << 30})
    made = plan(request("started"), drifted)
    assert [change.option for change in made.changes] == ["pids_limit"]


def test_unmanaged_options_do_not_differ() -> None:
    assert not plan(request("started"), found("running", {"hostname": "x", "env": {"A": "1"}})).changed


def test_a_default_said_aloud_is_no_change() -> None:
    aloud = {option.name: option.effective for option in options.SPEC_OPTIONS if option.effective is not None}
    assert not plan(request("started", aloud), found("running")).changed


def test_image_with_another_digest() -> None:
    old, new = "sha256:" + "0" * 64, "sha256:" + "1" * 64
    here = found("running", image_digest=old)
    assert kinds(plan(request("started", image={"digest": new, "present": False}), here)) == ["pull", "replace", "start"]
    assert not plan(request("started", image={"digest": old, "present": True}), here).changed


def test_pull_only_where_the_image_is_missing() -> None:
    made = plan(request("present", image={"digest": None, "present": False}), None)
    assert kinds(made) == ["pull", "create"]
    assert made.actions[0].reason.endswith(" is not unpacked on this host yet")  # that of a folder is here all along
    assert kinds(plan(request("present", image={"digest": "x", "present": True}), None)) == ["create"]


def test_nothing_to_create_from() -> None:
    bare = Request("web", "started", ContainerSpec({}), "crun-backend")
    with pytest.raises(NexcageError) as caught:
        plan(bare, None)
    assert caught.value.option == "image"
    assert not plan(bare, found("running")).changed
    assert not plan(bare._replace(state="absent"), None).changed


def test_another_backend_needs_permission() -> None:
    moved = request("started")._replace(backend="runc-backend")
    with pytest.raises(NexcageError) as caught:
        plan(moved, found("running"))
    assert caught.value.code == "E_OWNER" and "replace_backend" in caught.value.remedy
    made = plan(moved._replace(replace_backend=True), found("stopped"))
    assert kinds(made) == ["replace", "start"] and made.actions[0].reason == "backend: crun -> runc"
    assert made.diff()["before"] == {"status": "stopped", "backend": "crun"}
    assert made.diff()["after"] == {"status": "running", "actions": ["replace", "start"], "backend": "runc"}


def test_another_backends_container_is_not_removed() -> None:
    other = request("absent")._replace(backend="runc-backend")
    with pytest.raises(NexcageError) as caught:
        plan(other, found("running"))
    assert caught.value.code == "E_OWNER" and "belongs to the backend crun" in caught.value.message
    assert "backend: auto or crun" in caught.value.remedy and "move" not in caught.value.remedy
    assert kinds(plan(other, found("incomplete"))) == ["delete"] and kinds(plan(other, None)) == []
    assert kinds(plan(other._replace(replace_backend=True), found("running"))) == ["stop", "delete"]


@pytest.mark.parametrize(
    ("state", "status", "spec", "actions"),
    [
        ("started", "stopped", {}, None),
        ("stopped", "running", {}, None),
        ("paused", "running", {}, None),
        ("restarted", "paused", {}, ["stop", "start"]),
        ("started", "stopped", {"memory": 64 << 20}, ["update", "start"]),
        ("started", "stopped", {"hostname": "new"}, ["replace", "start"]),
        ("stopped", "running", {"hostname": "new"}, ["stop", "replace"]),
        ("started", "absent", {}, ["create", "start"]),
    ],
)
def test_the_diff_hides_nothing_but_a_plain_start_or_stop(state: str, status: str, spec: dict[str, t.Any], actions: list[str] | None) -> None:
    assert plan(request(state, spec), found(status)).diff()["after"].get("actions") == actions
    assert plan(request("started", recreate=True), found("stopped")).diff()["after"]["actions"] == ["replace", "start"]


def test_the_diff_names_signals() -> None:
    made = plan(request("started", {"stop_signal": 2}), found("running", {"stop_signal": 15}))
    assert (made.diff()["before"]["stop_signal"], made.diff()["after"]["stop_signal"]) == ("SIGTERM", "SIGINT")


def test_recreate_and_broken_seal() -> None:
    assert "recreate" in plan(request("started", recreate=True), found("running")).actions[0].reason
    assert "seal" in plan(request("started"), found("running", damage="the seal is broken")).actions[0].reason


def test_the_diff_of_a_secret_says_only_that_it_changes() -> None:
    made = plan(request("started", {"secret_env": {"A": "hmac:1", "B": "hmac:2"}}), found("running", {"secret_env": {"A": "hmac:1", "B": "hmac:x"}}))
    text = json.dumps([made.diff(), made.as_list()])
    assert "hmac" not in text and "new value" in text
    assert made.diff()["after"]["process.secret_env"] == {"A": "(secret)", "B": "(secret, new value)"}


def test_a_converged_plan_has_an_empty_diff() -> None:
    made = plan(request("started"), found("running"))
    assert made.diff()["before"] == made.diff()["after"] == {} and made.as_list() == []


def applied(made: Plan, wanted: Request, here: dict[str, t.Any] | None) -> dict[str, t.Any] | None:
    """What a host would hold after the plan, by the meaning of each action."""
    result = None if here is None else dict(here)
    for action in made.actions:
        if action.kind in ("create", "replace"):
            recorded = ContainerSpec((here or {}).get("spec") or {})
            result = {**(found("created") or {}), "backend": wanted.backend, "spec": wanted.spec.over(recorded).values}
        elif action.kind == "update":
            assert result is not None
            complete = wanted.spec.over(ContainerSpec(result["spec"]))
            values = {**result["spec"], **{change.option: complete.get(change.option) for change in action.changes}}
            result = {**result, "spec": values, "observed": {}}
        elif action.kind == "delete":
            result = None
        elif action.kind != "pull":
            assert result is not None
            result["status"] = {"start": "running", "stop": "stopped", "pause": "paused", "resume": "running"}[action.kind]
    return result


SPECS = st.fixed_dictionaries(
    {},
    optional={
        "memory": st.sampled_from([64 << 20, 128 << 20]),
        "cpus": st.sampled_from([50000, 100000]),
        "hostname": st.sampled_from(["a", "b"]),
        "env": st.sampled_from([{}, {"A": "1"}, {"A": "2"}]),
        "labels": st.sampled_from([{}, {"x": "y"}]),
        "read_only": st.booleans(),
        "pids_limit": st.sampled_from([-1, 10, 20]),
        "secret_env": st.sampled_from([{}, {"T": "hmac-sha256:1"}, {"T": "hmac-sha256:2"}]),
    },
)
OBSERVED = st.fixed_dictionaries({}, optional={"memory": st.just(32 << 20), "pids_limit": st.just(7)})


@given(st.sampled_from(STATES), st.sampled_from(STATUSES), SPECS, SPECS, OBSERVED, st.booleans())
def test_a_plan_applied_gives_what_is_wanted(
    state: str, status: str, old: dict[str, t.Any], new: dict[str, t.Any], observed: dict[str, t.Any], same_backend: bool
) -> None:
    here = found(status, old)
    if here is not None:
        here["observed"] = observed
    wanted = request(state, new, replace_backend=True)
    if not same_backend:
        wanted = wanted._replace(backend="runc-backend")
    made = plan(wanted, here)
    after = applied(made, wanted, here)
    again = plan(wanted, after)
    if state == "restarted":
        assert kinds(again) == ["stop", "start"]
    else:
        assert not again.changed
    assert made.status[1] == ("absent" if after is None else after["status"])
    assert all(action.reason for action in made.actions)
