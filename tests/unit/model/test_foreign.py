# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of containers that the OCI engine does not know, and what a stranger's plugin tells of them."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model import foreign
from ansible_collections.nexcage.backends.plugins.module_utils.model.container import ContainerSpec
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.model.foreign import CREATING, MADE, UPDATING, Earlier, Record
from ansible_collections.nexcage.backends.plugins.module_utils.model.plan import Request, plan

KEY = b"k" * 32
OLD, NEW = "0" * 32, "f" * 32
SPEC = ContainerSpec({"image": "oci:/image", "memory": 64 << 20})
LESS = ContainerSpec({"image": "oci:/image", "memory": 32 << 20, "pids_limit": 5})


def record(phase: str = MADE, before: Earlier | None = None, mark: str = NEW) -> Record:
    return Record("web", "acme-backend", mark, SPEC, phase, "2026-01-01T00:00:00Z", before)


def entry(mark: str | None = NEW, status: str = "running", **more: t.Any) -> dict[str, t.Any]:
    return foreign.answer([{"name": "web", "status": status, "mark": mark, **more}], ["web"], "acme-backend")["web"]


def observe(kept: Record | None, told: t.Mapping[str, t.Any] | None) -> dict[str, t.Any] | None:
    return foreign.observe(kept, told, "web", "acme-backend")


def broken(call: t.Callable[[], object], code: str) -> NexcageError:
    with pytest.raises(NexcageError) as caught:
        call()
    assert caught.value.code == code
    return caught.value


@pytest.mark.parametrize("kept", [record(), record(CREATING), record(UPDATING, Earlier(NEW, LESS)), record(CREATING, Earlier(OLD, LESS))])
def test_a_record_comes_back(kept: Record) -> None:
    value = json.loads(json.dumps(kept.as_json(KEY)))
    assert foreign.parse(value, "web", "acme-backend", "/x") == kept
    assert foreign.sealed(value, KEY) and not foreign.sealed(value, b"x" * 32)
    for field in set(value) - {"seal"}:
        assert not foreign.sealed({**value, field: "other"}, KEY), field
    assert not foreign.sealed({**value, "more": 1}, KEY) and not foreign.sealed({key: value[key] for key in value if key != "seal"}, KEY)


@pytest.mark.parametrize(
    "change",
    [
        *({field: None} for field in ("name", "backend", "mark", "spec", "phase", "created", "schema_version")),
        *({"mark": mark} for mark in ("", "0" * 31, "G" * 32, "0" * 33)),
        {"phase": "other"},
        {"name": "db"},
        {"backend": "other-backend"},
        {"before": {"mark": OLD}},
        {"before": "x"},
        {"before": {"mark": "x", "spec": {}}},
    ],
)
def test_what_is_no_record(change: dict[str, t.Any]) -> None:
    right = record(CREATING, Earlier(OLD, LESS)).as_json(KEY)
    foreign.parse(right, "web", "acme-backend", "/x")
    error = broken(lambda: foreign.parse({**right, **change}, "web", "acme-backend", "/x"), "E_STATE")
    assert error.value == "/x" and error.remedy


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_what_is_no_object_either(value: t.Any) -> None:
    broken(lambda: foreign.parse(value, "web", "acme-backend", "/x"), "E_STATE")


def test_a_record_of_a_later_version() -> None:
    assert "newer" in broken(lambda: foreign.parse({"schema_version": 2}, "web", "acme-backend", "/x"), "E_STATE").remedy


# ---- what a plugin tells


def test_an_answer() -> None:
    told = entry(id="abc", pid=5, exit_code=0, started="now", observed={"memory": 5, "env": {"A": "b"}, "cpus": None}, details={"log": "/l", "n": 1, "x": None})
    assert (told["id"], told["pid"], told["observed"]) == ("abc", 5, {"memory": 5, "env": {"A": "b"}})
    others = [{"name": "web", "status": "running"}, {"name": "db", "status": "strange"}, {"name": "-x"}]
    assert set(foreign.answer(others, ["web"], "p")) == {"web"}, "what was not asked for is nobody's business"
    assert foreign.answer([], None, "p") == {}


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({}, "list"),
        (None, "list"),
        (["web"], "name"),
        ([{"status": "running"}], "name"),
        ([{"name": 1}], "name"),
        ([{"name": "web", "status": "running"}] * 2, "name"),
        ([{"name": "web"}], "status"),
        ([{"name": "web", "status": "absent"}], "status"),
        ([{"name": "web", "status": ["running"]}], "status"),
        *(([{"name": "web", "status": "running", field: wrong}], field) for field in ("id", "started", "image_digest") for wrong in (1, "a\n", "x" * 513)),
        *(([{"name": "web", "status": "running", field: wrong}], field) for field in ("pid", "exit_code") for wrong in ("1", True, 1.5)),
        *(([{"name": "web", "status": "running", "observed": wrong}], "observed") for wrong in ([1], {"secret_env": {}}, {"state": "x"}, {"nothing": 1})),
        ([{"name": "web", "status": "running", "observed": {"memory": "64m"}}], "observed.memory"),
        *(
            ([{"name": "web", "status": "running", "observed": {name: wrong}}], f"observed.{name}")
            for name, wrong in (("memory", True), ("image", 1), ("env", "A=b"), ("env", {"A": 1}), ("command", "sh"), ("labels", []), ("mounts", [{}]))
        ),
        ([{"name": "web", "status": "running", "details": [1]}], "details"),
        ([{"name": "web", "status": "running", "details": {"a": [1]}}], "details"),
        ([{"name": "web", "status": "running", "details": {"a\x1b": 1}}], "details"),
        ([{"name": "web", "status": "running", "details": {"a": "\x1b"}}], "details.a"),
        ([{"name": "web", "status": "running", "details": {str(number): 1 for number in range(33)}}], "details"),
    ],
)
def test_an_answer_that_is_none(value: t.Any, field: str) -> None:
    error = broken(lambda: foreign.answer(value, None, "acme-backend"), "E_PROTOCOL")
    assert error.option == field and "acme-backend" in error.message


# ---- both together


def test_what_nobody_recorded_is_somebody_else_s() -> None:
    assert observe(None, None) is None
    for kept in (None, record(mark=OLD), record(CREATING, mark=OLD), record(CREATING, Earlier(OLD, LESS), mark="a" * 32)):
        for mark in (NEW, None, ""):
            assert broken(lambda kept=kept, mark=mark: observe(kept, entry(mark)), "E_OWNER").option == "name"  # type: ignore[misc]


def test_what_the_backend_does_not_have_is_not_there() -> None:
    for kept in (record(), record(CREATING), record(UPDATING, Earlier(NEW, LESS))):
        assert observe(kept, None) is None


def test_one_that_is_made() -> None:
    found = observe(record(), entry(observed={"memory": 5}, details={"log": "/log"}, exit_code=0, id="abc"))
    assert found is not None
    assert (found["id"], found["status"], found["spec"], found["observed"]) == ("abc", "running", SPEC.values, {"memory": 5})
    assert (found["resources"], found["backend_details"]["log"], found["exit_code"]) == ({"memory": 5}, "/log", None)
    stopped = observe(record(), entry(status="stopped", exit_code=3))
    assert stopped is not None and stopped["exit_code"] == 3 and stopped["id"] == "web" and stopped["resources"] == {"memory": 64 << 20}


def test_one_that_the_backend_itself_calls_incomplete() -> None:
    found = observe(record(), entry(status="incomplete"))
    assert found is not None and (found["status"], found["spec"]) == ("incomplete", SPEC.values) and found["problems"]
    steps = plan(Request("web", "started", ContainerSpec({}), "acme-backend"), found)
    assert [action.kind for action in steps.actions] == ["create", "start"], "what is recorded says what to make it from"


def test_a_create_that_was_interrupted() -> None:
    found = observe(record(CREATING), entry(status="created"))
    assert found is not None and found["status"] == "incomplete" and found["problems"]


def test_a_replacement_that_was_interrupted() -> None:
    kept = record(CREATING, Earlier(OLD, LESS))
    untouched, half, gone = observe(kept, entry(OLD)), observe(kept, entry(NEW)), observe(kept, None)
    assert untouched is not None and (untouched["status"], untouched["spec"]) == ("running", LESS.values)
    assert half is not None and (half["status"], half["spec"]) == ("incomplete", SPEC.values)
    assert gone is not None and (gone["status"], gone["spec"]) == ("incomplete", SPEC.values)


@pytest.mark.parametrize(("wanted", "again"), [({"memory": 64 << 20}, True), ({"memory": 32 << 20}, True), ({}, True), ({"image": "oci:/image"}, True)])
def test_an_update_that_was_interrupted_is_done_again(wanted: dict[str, t.Any], again: bool) -> None:
    """Whichever of both values the next task wants, or none: nobody knows which one holds."""
    found = observe(record(UPDATING, Earlier(NEW, ContainerSpec({"image": "oci:/image", "memory": 32 << 20}))), entry())
    request = Request("web", "started", ContainerSpec(wanted), "acme-backend", updates=("memory",))
    assert [action.kind for action in plan(request, found).actions] == (["update"] if again else [])


def test_an_update_that_the_backend_tells_of_is_known() -> None:
    kept = record(UPDATING, Earlier(NEW, ContainerSpec({"image": "oci:/image", "memory": 32 << 20})))
    request = Request("web", "started", SPEC, "acme-backend", updates=("memory",))
    assert not plan(request, observe(kept, entry(observed={"memory": 64 << 20}))).changed


def test_what_changes_live_the_backend_says() -> None:
    wanted = ContainerSpec({**SPEC.values, "memory": 5 << 20})
    for updates, kinds in ((("memory",), ["update"]), ((), ["replace", "start"])):
        steps = plan(Request("web", "started", wanted, "acme-backend", updates=updates), observe(record(), entry()))
        assert [action.kind for action in steps.actions] == kinds
