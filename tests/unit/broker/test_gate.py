# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate: no effect that is not declared, granted, allowed and valid; and none at all in a read operation."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.audit import Audit
from ansible_collections.nexcage.backends.plugins.module_utils.broker.gate import Gate
from ansible_collections.nexcage.backends.plugins.module_utils.model.capability import CAPABILITIES, EFFECTS, READ
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from hypothesis import given
from hypothesis import strategies as st

DIGEST = "sha256:" + "0a" * 32
# One valid value for every required parameter.
VALID = {"name": "web", "reference": "alpine", "digest": DIGEST, "signal": 9, "key": "a", "level": "info", "message": "ready", "path": "/etc/motd"}
VALID.update({"root": "srv", "content": "text", "command": "start", "network": "api", "method": "DELETE"})
ELSEWHERE = {"fs": {"path": "a/b"}, "http": {"path": "/v1/all"}}  # where a name means another thing
OPTIONAL = {("fs.list", "path"), ("fs.stat", "path")}
TEMPLATES: dict[str, t.Any] = {
    "commands": {
        "start": {"binary": "true", "argv": [], "parameters": {}},
        "look": {"binary": "true", "argv": [], "parameters": {}, "kind": "read"},
        "stop": {"binary": "true", "argv": ["{name}"], "parameters": {"name": {"type": "container_name"}}},
    },
    "network": [
        {
            "id": "api",
            "hosts": ["api.example.org"],
            "requests": [
                {"method": "DELETE", "path": "/v1/all", "parameters": {}},
                {"method": "GET", "path": "/v1/all", "parameters": {}},
                {"method": "POST", "path": "/v1/{name}", "parameters": {"name": {"type": "container_name"}}},
            ],
        }
    ],
}
CALLS = sorted(EFFECTS)
WRITES = [name for name in CALLS if EFFECTS[name].kind != READ]
READS = [name for name in CALLS if EFFECTS[name].kind == READ]


def params(call: str) -> dict[str, t.Any]:
    values = {**VALID, **ELSEWHERE.get(call.partition(".")[0], {})}
    return {name: values[name] for name in EFFECTS[call].parameters if name in values}


class Broker:
    """Handlers for every call that keep what they got; and the gate before them."""

    def __init__(self, path: str | None = None) -> None:
        self.done: list[tuple[str, t.Mapping[str, t.Any]]] = []
        self.audit = Audit(path)

    def handlers(self, calls: t.Iterable[str]) -> dict[str, t.Callable[[t.Mapping[str, t.Any]], t.Any]]:
        return {call: self._handler(call) for call in calls}

    def _handler(self, call: str) -> t.Callable[[t.Mapping[str, t.Any]], t.Any]:
        def handle(arguments: t.Mapping[str, t.Any]) -> str:
            self.done.append((call, arguments))
            return f"{call} done"

        return handle

    def gate(self, declared: t.Collection[str] = tuple(CAPABILITIES), read_only: bool = False, **options: t.Any) -> Gate:
        manifest = {"name": "crun-backend", "capabilities": list(declared), **TEMPLATES}
        return Gate(manifest, self.handlers(READS), None if read_only else self.handlers(WRITES), self.audit, **options)

    def refused(self, gate: Gate, call: t.Any, arguments: t.Any) -> NexcageError:
        before = list(self.done)
        with pytest.raises(NexcageError) as refused:
            gate.call(call, arguments)
        assert self.done == before, "nothing happened"
        json.dumps(refused.value.as_dict())
        return refused.value


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.mark.parametrize("call", CALLS)
def test_a_declared_call_reaches_its_handler(broker: Broker, call: str) -> None:
    needed = list(EFFECTS[call].needs[0])
    assert broker.gate(needed).call(call, params(call)) == f"{call} done"
    ((done, arguments),) = broker.done
    assert (done, set(arguments)) == (call, set(EFFECTS[call].parameters))


@pytest.mark.parametrize("call", WRITES)
def test_a_write_in_a_read_operation_is_refused(broker: Broker, call: str) -> None:
    error = broker.refused(broker.gate(read_only=True), call, params(call))
    assert error.code == "E_READ_ONLY"
    assert call in error.message


@pytest.mark.parametrize("call", READS)
def test_a_read_works_in_a_read_operation(broker: Broker, call: str) -> None:
    assert broker.gate(read_only=True).call(call, params(call)) == f"{call} done"


@pytest.mark.parametrize("call", [call for call in CALLS if EFFECTS[call].needs != ((),)])
def test_without_its_capabilities_a_call_is_refused(broker: Broker, call: str) -> None:
    """Declared and granted are asked separately, for each single name that is missing."""
    needed = {name for names in EFFECTS[call].needs for name in names}
    useless = set(CAPABILITIES) - needed
    assert broker.refused(broker.gate(useless), call, params(call)).code == "E_CAPABILITY"
    assert broker.refused(broker.gate(granted=useless), call, params(call)).code == "E_GRANT"
    assert broker.refused(broker.gate([], granted=set(CAPABILITIES)), call, params(call)).code == "E_CAPABILITY"
    for names in EFFECTS[call].needs:
        for missing in names:
            partly = set(names) - {missing}
            assert broker.refused(broker.gate(useless | partly), call, params(call)).code == "E_CAPABILITY"
            assert broker.refused(broker.gate(granted=useless | partly), call, params(call)).code == "E_GRANT"
        broker.gate(names, granted=names).call(call, params(call))


@given(st.sets(st.sampled_from(sorted(CAPABILITIES))), st.none() | st.sets(st.sampled_from(sorted(CAPABILITIES))))
def test_a_call_passes_exactly_when_it_is_declared_and_granted(declared: set[str], granted: set[str] | None) -> None:
    broker = Broker()
    gate = broker.gate(declared, granted=granted)
    has = declared if granted is None else declared & granted
    for call in CALLS:
        expected = any(set(names) <= has for names in EFFECTS[call].needs)
        try:
            gate.call(call, params(call))
            passed = True
        except NexcageError as error:
            assert error.code in ("E_CAPABILITY", "E_GRANT")
            passed = False
        assert passed is expected, call


def test_order_and_duplicates_do_not_matter(broker: Broker) -> None:
    for names in itertools.permutations(["container_create", "container_delete", "container_create", "logging"]):
        broker.gate(names, granted=list(names)).call("oci.replace", {"name": "web"})


@pytest.mark.parametrize("call", ["oci.run", "", "OCI.START", "oci.start ", "__class__", None, 5, ["oci.start"]])
def test_a_call_that_does_not_exist(broker: Broker, call: t.Any) -> None:
    error = broker.refused(broker.gate(), call, {})
    assert (error.code, error.details["plugin"]) == ("E_CAPABILITY", "crun-backend")


@pytest.mark.parametrize("call", CALLS)
def test_unknown_parameters_are_refused(broker: Broker, call: str) -> None:
    for unknown in ("argv", "Name", "name ", 5):
        error = broker.refused(broker.gate(), call, {**params(call), unknown: 1})
        assert error.code == "E_INVALID"
        assert repr(unknown) in error.message


@pytest.mark.parametrize("call", [call for call in CALLS if params(call)])
def test_a_missing_or_wrong_parameter_is_refused(broker: Broker, call: str) -> None:
    for name in params(call):
        without = {key: value for key, value in params(call).items() if key != name}
        if (EFFECTS[call].kind == READ or name != "signal" or call == "oci.kill") and (call, name) not in OPTIONAL:
            assert broker.refused(broker.gate(), call, without).option == name
        assert broker.refused(broker.gate(), call, {**without, name: {"a": [1]}}).code == "E_INVALID"


@pytest.mark.parametrize("arguments", [None, [], "name", 5, [("name", "web")]])
def test_parameters_that_are_no_object(broker: Broker, arguments: t.Any) -> None:
    assert broker.refused(broker.gate(), "oci.start", arguments).code == "E_INVALID"


def test_the_decision_and_the_handler_see_the_same_object_that_cannot_change(broker: Broker) -> None:
    seen: list[t.Mapping[str, t.Any]] = []
    gate = broker.gate(policy=lambda call, arguments, context: seen.append(arguments))
    asked = {"names": ["web", "db"]}
    gate.call("oci.list", asked)
    asked["names"].append("other")
    ((_call, arguments),) = broker.done
    assert seen[0] is arguments
    assert dict(arguments) == {"names": ("web", "db")}
    with pytest.raises(TypeError):
        arguments["names"] = ()  # type: ignore[index]


def test_policy_denies_over_everything(broker: Broker) -> None:
    asked: list[tuple[str, str, str]] = []

    def policy(call: str, arguments: t.Mapping[str, t.Any], context: t.Mapping[str, t.Any]) -> str | None:
        asked.append((call, arguments["name"], context["plugin"]))
        return "rule no-delete: use the other play" if call == "oci.delete" else None

    gate = broker.gate(policy=policy)
    error = broker.refused(gate, "oci.delete", {"name": "web"})
    assert (error.code, "no-delete" in error.message) == ("E_POLICY", True)
    gate.call("oci.stop", {"name": "web"})
    assert asked == [("oci.delete", "web", "crun-backend"), ("oci.stop", "web", "crun-backend")]


def test_a_write_stays_with_the_containers_of_the_task(broker: Broker) -> None:
    gate = broker.gate(targets=["web"])
    for call in WRITES:
        if "name" in EFFECTS[call].parameters:
            gate.call(call, params(call))
            assert broker.refused(gate, call, {**params(call), "name": "db"}).code == "E_CAPABILITY"
            assert broker.refused(broker.gate(targets=[]), call, params(call)).code == "E_CAPABILITY"
    gate.call("oci.info", {"name": "db"})
    gate.call("image.ensure", {"reference": "alpine"})
    gate.call("state.put", {"key": "db", "value": 1})


@pytest.mark.parametrize(
    ("call", "reading", "writing"),
    [
        ("command.run", {"command": "look"}, {"command": "start"}),
        ("http.request", {"network": "api", "method": "GET", "path": "/v1/all"}, {"network": "api", "method": "DELETE", "path": "/v1/all"}),
    ],
)
def test_a_call_by_template_reads_or_writes_as_the_manifest_says(broker: Broker, call: str, reading: t.Any, writing: t.Any) -> None:
    handlers = broker.handlers([call])
    manifest = {"name": "x-backend", "capabilities": list(CAPABILITIES), **TEMPLATES}
    gate = Gate(manifest, handlers, None, broker.audit)
    assert gate.call(call, reading) == f"{call} done"
    assert broker.refused(gate, call, writing).code == "E_READ_ONLY"
    assert (broker.audit.reads, broker.audit.writes) == ({call: 1}, 0)
    gate = Gate(manifest, {}, handlers, broker.audit)
    assert gate.call(call, writing) == f"{call} done"
    assert broker.refused(gate, call, reading).code == "E_UNSUPPORTED", "what reads never goes through the table of writes"
    assert broker.audit.writes == 1


@pytest.mark.parametrize(
    ("call", "arguments"),
    [("command.run", {"command": "stop"}), ("http.request", {"network": "api", "method": "POST", "path": "/v1/{name}"})],
)
def test_a_write_by_template_stays_with_the_containers_of_the_task(broker: Broker, call: str, arguments: dict[str, t.Any]) -> None:
    gate = broker.gate(targets=["web"])
    assert broker.refused(gate, call, {**arguments, "parameters": {"name": "db"}}).code == "E_CAPABILITY"
    assert gate.call(call, {**arguments, "parameters": {"name": "web"}}) == f"{call} done"


@pytest.mark.parametrize(
    ("call", "arguments", "code"),
    [
        ("command.run", {"command": "reboot"}, "E_CAPABILITY"),
        ("command.run", {"command": "stop"}, "E_INVALID"),
        ("command.run", {"command": "start", "parameters": {"more": 1}}, "E_INVALID"),
        ("http.request", {"network": "other", "method": "GET", "path": "/v1/all"}, "E_CAPABILITY"),
        ("http.request", {"network": "api", "method": "PUT", "path": "/v1/all"}, "E_CAPABILITY"),
        ("http.request", {"network": "api", "method": "GET", "path": "/v2/all"}, "E_CAPABILITY"),
        ("http.request", {"network": "api", "method": "GET", "path": "/v1/all", "host": "evil.example.org"}, "E_CAPABILITY"),
        ("http.request", {"network": "api", "method": "GET", "path": "/v1/all", "body": {}}, "E_INVALID"),
    ],
)
def test_what_no_template_says_is_refused(broker: Broker, call: str, arguments: t.Any, code: str) -> None:
    assert broker.refused(broker.gate(), call, arguments).code == code


def test_a_call_without_a_handler(broker: Broker) -> None:
    manifest = {"name": "proxmox-lxc-backend", "capabilities": list(CAPABILITIES), **TEMPLATES}
    gate = Gate(manifest, {}, {}, broker.audit)
    for call in CALLS:
        assert broker.refused(gate, call, params(call)).code == "E_UNSUPPORTED"


def failing(broker: Broker, error: BaseException) -> Gate:
    def fail(arguments: t.Mapping[str, t.Any]) -> None:
        raise error

    manifest = {"name": "crun-backend", "capabilities": list(CAPABILITIES), **TEMPLATES}
    return Gate(manifest, dict.fromkeys(READS, fail), dict.fromkeys(WRITES, fail), broker.audit, context={"op": "start"})


@pytest.mark.parametrize("call", ["oci.info", "oci.start"])
def test_what_a_handler_refuses_crosses_as_it_is(broker: Broker, call: str) -> None:
    original = NexcageError("E_RUNTIME", "no such container", option="name", value="web")
    assert broker.refused(failing(broker, original), call, {"name": "web"}) is original


@pytest.mark.parametrize("call", ["oci.info", "oci.start"])
def test_any_other_exception_crosses_without_a_trace(broker: Broker, call: str) -> None:
    original = OSError(5, "Input/output error", "/var/lib/nexcage/secret-path")
    gate = failing(broker, original)
    error = broker.refused(gate, call, {"name": "web"})
    assert error.code == "E_INTERNAL"
    text = json.dumps(error.as_dict())
    assert "OSError" in text
    assert "secret-path" not in text
    assert "Traceback" not in text
    assert gate.defects == [original], "the operator still learns of it"


class TestAudit:
    """What the gate writes, and when."""

    @pytest.fixture
    def log(self, tmp_path: pathlib.Path) -> pathlib.Path:
        return tmp_path / "log" / "audit.jsonl"

    @pytest.fixture
    def broker(self, log: pathlib.Path) -> Broker:
        return Broker(str(log))

    def lines(self, log: pathlib.Path) -> list[dict[str, t.Any]]:
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def test_a_write_is_announced_and_its_outcome_written(self, broker: Broker, log: pathlib.Path) -> None:
        seen: list[int] = []
        manifest = {"name": "crun-backend", "capabilities": ["container_start"]}
        gate = Gate(manifest, {}, {"oci.start": lambda a: seen.append(len(self.lines(log)))}, broker.audit, context={"op": "start", "tier": "standard"})
        gate.call("oci.start", {"name": "web"})
        intent, outcome = self.lines(log)
        assert seen == [1], "the intent is there before the effect"
        assert {"phase": "intent", "seq": 1, "plugin": "crun-backend", "op": "start", "tier": "standard", "call": "oci.start"}.items() <= intent.items()
        assert (intent["container"], intent["args"]) == ("web", ["name"])
        assert {"phase": "outcome", "seq": 1, "call": "oci.start", "ok": True}.items() <= outcome.items()

    @pytest.mark.parametrize(
        ("error", "written"),
        [(NexcageError("E_RUNTIME", "x"), "E_RUNTIME"), (ValueError("x"), "E_INTERNAL"), (KeyboardInterrupt(), "interrupted"), (SystemExit(1), "interrupted")],
    )
    def test_a_failed_write_has_an_outcome_too(self, broker: Broker, log: pathlib.Path, error: BaseException, written: str) -> None:
        with pytest.raises((NexcageError, type(error))):
            failing(broker, error).call("oci.start", {"name": "web"})
        outcome = self.lines(log)[-1]
        assert (outcome["ok"], outcome["error"], outcome["phase"]) == (False, written, "outcome")

    def test_reads_are_counted_and_write_nothing(self, broker: Broker, log: pathlib.Path) -> None:
        gate = broker.gate(read_only=True)
        for _turn in range(3):
            gate.call("oci.list", {})
        gate.call("state.get", {"key": "a"})
        assert broker.audit.reads == {"oci.list": 3, "state.get": 1}
        assert not log.parent.exists()

    @pytest.mark.parametrize("call", WRITES)
    def test_where_the_intent_cannot_be_written_only_what_frees_goes_on(self, broker: Broker, log: pathlib.Path, call: str) -> None:
        log.parent.write_text("a file where the folder should be")
        gate = broker.gate()
        if call in ("oci.stop", "oci.kill", "oci.delete"):
            assert gate.call(call, params(call)) == f"{call} done"
        else:
            assert broker.refused(gate, call, params(call)).code == "E_AUDIT"
        assert len(broker.audit.warnings) == 1
        assert str(log) in broker.audit.warnings[0]

    def test_a_refused_call_is_written(self, broker: Broker, log: pathlib.Path) -> None:
        broker.refused(broker.gate(["logging"], context={"op": "info"}), "oci.delete", {"name": "web"})
        broker.refused(broker.gate(), ["\x1b", os], {})
        first, second = self.lines(log)
        assert {"phase": "refusal", "call": "oci.delete", "error": "E_CAPABILITY", "plugin": "crun-backend", "op": "info"}.items() <= first.items()
        assert second["error"] == "E_CAPABILITY"
