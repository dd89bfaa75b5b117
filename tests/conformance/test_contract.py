# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every backend promises, and what its manifest promises of it."""

from __future__ import annotations

import typing as t
import warnings

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model import foreign, scope
from ansible_collections.nexcage.backends.plugins.module_utils.model.capability import CAPABILITIES, NOTHING
from ansible_collections.nexcage.backends.plugins.module_utils.model.effects import OPERATIONS, READ
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.sdk.backend import REQUIRED
from ansible_collections.nexcage.backends.tests.conformance.conftest import CALLS, IMAGE, MARK, SPEC, Bench

ABOUT = "provides_backend"  # only plugins with this in their manifest
MANY_CALLS = 10  # of one operation; each is a decision, an audit line and a round trip
LONGEST = "x" * 63
NAMES = ("web", "Web_1.2-x", "0", LONGEST)
REFUSAL = "E_POLICY"
# What is done in turn in the life of a container, with its parameters.
LIFE: tuple[tuple[str, dict[str, t.Any]], ...] = (
    ("check", {}),
    ("create", {"image": IMAGE, "pull": "missing"}),
    ("start", {}),
    ("list", {"names": None}),
    ("info", {}),
    ("exec", {}),
    ("update", {}),
    ("pause", {}),
    ("resume", {}),
    ("logs", {"tail": 5}),
    ("stop", {"signal": None, "timeout": None, "force": False}),
    ("delete", {}),
    ("health", {}),
)


def life(bench: Bench, name: str = "web", until: str = "") -> t.Iterator[tuple[str, t.Any]]:
    """Go through the life of a container, up to before an operation; each one with its answer."""
    for operation, params in LIFE:
        if operation == until:
            return
        if bench.has(operation):
            named = {} if operation in ("list", "health") else {"name": name}
            yield operation, bench.do(operation, **named, **params)


def status(bench: Bench, name: str) -> str | None:
    """What the plugin says of a container; ``None`` where it lists none."""
    found = [record for record in bench.do("list", names=[name]) if record["name"] == name]
    return str(found[0]["status"]) if found else None


def test_it_loads_in_a_locked_worker(bench: Bench) -> None:
    assert bench.worker.sandbox.tier in ("standard", "strong"), bench.worker.sandbox.missing
    assert set(bench.manifest["operations"]) <= set(bench.operations), "the manifest declares operations that the class does not have"
    lacking = [name for name in REQUIRED if name not in bench.operations]
    assert not lacking, f"the class has no {', '.join(lacking)}; it needs it whether the manifest declares it or not"
    if not bench.has("replace"):
        warnings.warn("replace is not declared: a change that cannot be made live is refused with E_UNSUPPORTED", stacklevel=1)


@pytest.mark.parametrize("name", NAMES)
def test_a_life(bench: Bench, name: str) -> None:
    seen = [operation for operation, _answer in life(bench, name, until="stop")]
    assert {"create", "start"} <= set(seen)
    assert status(bench, name) == "running"
    record = bench.do("info", name=name)
    assert record["name"] == name and record["status"] == "running"
    for _turn in range(2):  # one that does not run is no error
        bench.do("stop", name=name, signal=None, timeout=None, force=False)
        assert status(bench, name) in ("stopped", "created")
    for _turn in range(2):  # nor is one that is gone
        bench.do("delete", name=name)
        assert status(bench, name) is None


def test_what_the_manager_needs_of_it(bench: Bench) -> None:
    """A backend without an OCI runtime keeps the mark on the container, and observes in canonical values."""
    bench.do("create", name="web", image=IMAGE, pull="missing")
    records = [*bench.do("list", names=["web"]), *bench.do("list", names=None), bench.do("info", name="web")]
    if not bench.foreign:  # then its records are the broker's own
        assert all(record == bench.host.containers["web"] for record in records)
        return
    for record in records:
        entry = foreign.answer([record], None, bench.manifest["name"])[record["name"]]
        assert entry["mark"] == MARK, "create is given a mark, and list and info have to tell it"
        wrong = {name: value for name, value in entry["observed"].items() if name in SPEC and value != SPEC[name]}
        assert not wrong, f"observed is told of a container that is just as wanted: {wrong}"


def test_two_do_not_disturb_each_other(bench: Bench) -> None:
    for name in ("one", "two"):
        bench.do("create", name=name, image=IMAGE, pull="missing")
    bench.do("start", name="two")
    assert status(bench, "one") in ("created", "stopped") and status(bench, "two") == "running"  # not every backend tells these two apart
    assert {record["name"] for record in bench.do("list", names=None)} >= {"one", "two"}
    bench.do("delete", name="one")
    assert (status(bench, "one"), status(bench, "two")) == (None, "running")


def test_what_is_not_there(bench: Bench) -> None:
    assert status(bench, "none") is None
    with pytest.raises(NexcageError) as caught:
        bench.do("info", name="none")
    assert caught.value.code == "E_NOT_FOUND", f"info on something absent must say E_NOT_FOUND, not {caught.value.code}"
    with pytest.raises(NexcageError):
        bench.do("start", name="none")


def test_twice_is_refused(bench: Bench) -> None:
    bench.do("create", name="web", image=IMAGE, pull="missing")
    try:
        bench.do("create", name="web", image=IMAGE, pull="missing")
    except NexcageError:
        return
    pytest.fail("a second create of the same name has to be an error, such as PluginError(message, 'E_EXISTS')")


def test_no_more_than_it_declares(bench: Bench) -> None:
    used: set[str] = set()
    for _operation, _answer in life(bench):
        used |= set(bench.calls)
    declared = set(bench.manifest["capabilities"])
    for call in used:
        needs = CALLS[call].needs
        assert any(declared.issuperset(names) for names in needs), f"it calls {call} and does not declare {needs[0]}"
    idle = {
        entry.capability
        for entry in scope.entries(bench.manifest)
        if entry.capability in CAPABILITIES and entry.level != NOTHING and not used & set(CAPABILITIES[entry.capability].calls)
    }
    idle -= {f"container_{operation}" for operation in bench.manifest["operations"]} | {"logging", "container_start", "container_stop"}
    if idle:
        warnings.warn(f"declared and not used: {', '.join(sorted(idle))}", stacklevel=1)


def test_reading_changes_nothing(bench: Bench) -> None:
    for operation, _answer in life(bench):
        if OPERATIONS[operation].kind == READ:
            assert not bench.writing, f"{operation} is a read, and calls {bench.writing[0]}"


def test_few_calls(bench: Bench) -> None:
    for operation, _answer in life(bench):
        assert len(bench.calls) <= MANY_CALLS, f"{operation} makes {len(bench.calls)} calls"


def test_a_refusal_is_not_hidden(make: t.Callable[[], Bench]) -> None:
    """Each call of each operation is denied once: the operator has to learn of it."""
    first = make()
    counts = [(operation, len(first.calls)) for operation, _answer in life(first)]
    for operation, count in counts:
        for number in range(1, count + 1):
            bench = make()
            for _done in life(bench, until=operation):
                pass
            bench.denied = (number, REFUSAL)
            named = {} if operation in ("list", "health") else {"name": "web"}
            if operation == "health":
                assert bench.do(operation, **named)["status"] != "healthy", "health says healthy although its call was denied"
                continue
            with pytest.raises(NexcageError) as caught:
                bench.do(operation, **named, **dict(LIFE)[operation])
            assert caught.value.code == REFUSAL, f"{operation}: the refusal of call {number} became {caught.value}"


def test_health(bench: Bench) -> None:
    if not bench.has("health"):  # then it is unknown, which is an answer too
        return
    answer = bench.do("health")
    assert answer["status"] in ("healthy", "degraded", "unhealthy") and isinstance(answer["problems"], list)
