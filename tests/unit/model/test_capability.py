# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of capabilities, broker calls and operations, and the validators of the calls' parameters."""

from __future__ import annotations

import json
import pathlib
import runpy
import typing as t
import warnings

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model import capability, capability_table
from ansible_collections.nexcage.backends.plugins.module_utils.model.capability import (
    CAPABILITIES,
    EFFECTS,
    NOTHING,
    OPERATIONS,
    ROOT_EQUIVALENT,
    SCOPED,
    STATE_QUOTA,
    effective_level,
)
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from hypothesis import given
from hypothesis import strategies as st

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "capabilities.md"
# Existing NexCage's names, in its order.
NAMES = """filesystem_read filesystem_write filesystem_execute network_client network_server network_raw
process_spawn process_signal process_ptrace system_info system_metrics container_create container_start container_stop
container_delete container_exec container_list container_info host_command host_mount host_device config_read config_write
logging metrics tracing api_server api_client""".split()
DIGEST = "sha256:" + "0a" * 32
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def test_the_28_names() -> None:
    assert sorted(CAPABILITIES) == sorted(NAMES)
    assert len(CAPABILITIES) == 28
    assert sorted(capability_table.MEANINGS) == sorted(NAMES)


def test_a_name_without_a_broker_call_is_never_granted() -> None:
    for name, row in CAPABILITIES.items():
        assert row.grantable == bool(row.calls), name
    never = {name for name, row in CAPABILITIES.items() if not row.grantable}
    assert never >= {"process_ptrace", "network_raw", "network_server", "api_server", "host_device", "host_mount", "filesystem_execute"}


def test_both_tables_agree_on_what_a_name_gates() -> None:
    for call, effect in EFFECTS.items():
        needed = {name for names in effect.needs for name in names}
        assert needed == {name for name, row in CAPABILITIES.items() if call in row.calls}, call
        assert effect.kind in (capability.READ, capability.WRITE)
    for operation in OPERATIONS.values():
        assert {name for names in operation.needs for name in names} <= set(CAPABILITIES)


def test_the_calls_of_the_design() -> None:
    writes = {name for name, effect in EFFECTS.items() if effect.kind == capability.WRITE}
    verbs = "create replace start stop kill delete pause resume update heal exec".split()
    typed = {"fs.write", "fs.mkdir", "fs.remove", "command.run", "http.request"}
    assert writes == {"image.ensure", "state.put", *(f"oci.{verb}" for verb in verbs), *typed}
    assert set(EFFECTS) - writes == {
        *("oci.list", "oci.info", "oci.logs", "oci.features", "oci.check", "oci.exists"),
        *("image.resolve", "image.configuration", "state.get", "log", "fs.read", "fs.list", "fs.stat"),
    }
    assert {name for name, row in OPERATIONS.items() if row.kind == capability.READ} == {"list", "info", "logs", "health", "check"}


def test_a_capability_is_an_upper_bound() -> None:
    assert effective_level("host_command", {}) == NOTHING
    assert effective_level("host_command", {"commands": {}}) == NOTHING
    assert effective_level("host_command", {"commands": {"status": {}}}) == ROOT_EQUIVALENT
    assert effective_level("filesystem_read", {"filesystem": {"read": [], "write": ["a"]}}) == NOTHING
    assert effective_level("filesystem_write", {"filesystem": {"read": [], "write": ["a"]}}) == SCOPED
    assert effective_level("network_client", {"network": [{}]}) == SCOPED
    assert effective_level("container_create", {}) == SCOPED
    assert effective_level("host_mount", {"commands": {"status": {}}}) == NOTHING
    with pytest.raises(KeyError):
        effective_level("root", {})


def test_the_page_is_generated(capsys: pytest.CaptureFixture[str]) -> None:
    assert PAGE.read_text(encoding="utf-8") == capability_table.page(), "run python -m …model.capability_table > docs/capabilities.md"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the module is imported already
        runpy.run_module(capability_table.__name__, run_name="__main__")
    assert capsys.readouterr().out == capability_table.page()


ACCEPTED = [
    ("oci.list", "names", None, None),
    ("oci.list", "names", ["web", "db.1"], ("web", "db.1")),
    ("oci.list", "names", [], ()),
    ("oci.info", "name", "web", "web"),
    ("oci.logs", "tail", None, 100),
    ("oci.logs", "tail", 0, 0),
    ("image.resolve", "reference", "docker.io/library/alpine:3", "docker.io/library/alpine:3"),
    ("image.resolve", "reference", "oci:/srv/my image", "oci:/srv/my image"),
    ("image.resolve", "pull", None, "missing"),
    ("image.ensure", "pull", "never", "never"),
    ("image.configuration", "digest", DIGEST, DIGEST),
    ("oci.exists", "path", "/srv/a b", "/srv/a b"),
    ("oci.create", "image", None, None),
    ("oci.create", "image", DIGEST, DIGEST),
    ("oci.stop", "signal", None, None),
    ("oci.stop", "signal", 15, 15),
    ("oci.stop", "timeout", 0, 0),
    ("oci.stop", "force", None, False),
    ("oci.stop", "force", True, True),
    ("oci.kill", "signal", 64, 64),
    ("state.put", "value", None, "null"),
    ("state.put", "value", {"b": 1, "a": ["ü"]}, '{"a":["\\u00fc"],"b":1}'),
    ("log", "level", "info", "info"),
    ("log", "message", "ready", "ready"),
    ("log", "message", "a\n\x1b[31mb\x7f\ud800", "a\\n\\x1b[31mb\\x7f\\ud800"),
    ("log", "message", "x" * 5000, "x" * 4096),
    ("fs.read", "root", "srv_1", "srv_1"),
    ("fs.read", "path", "a b/ü/-x/..c", "a b/ü/-x/..c"),
    ("fs.read", "encoding", None, "utf-8"),
    ("fs.list", "path", None, ""),
    ("fs.stat", "path", "", ""),
    ("fs.write", "content", "a\n\0", "a\n\0"),
    ("fs.write", "mode", None, None),
    ("fs.write", "mode", 0o755, 0o755),
    ("command.run", "parameters", None, ()),
    ("command.run", "parameters", {"b": "x", "a": 1}, (("a", 1), ("b", "x"))),
    ("http.request", "query", {"a[0]": True, "B-c.d": "ü &"}, (("B-c.d", "ü &"), ("a[0]", True))),
    ("http.request", "body", None, None),
    ("http.request", "body", {"b": None, "a": 1}, '{"a":1,"b":null}'),
    ("http.request", "host", "{api_host}", "{api_host}"),
    ("http.request", "path", "/v1/{name}", "/v1/{name}"),
]


@pytest.mark.parametrize(("call", "parameter", "given_value", "normal"), ACCEPTED)
def test_what_a_parameter_takes(call: str, parameter: str, given_value: object, normal: object) -> None:
    found = EFFECTS[call].parameters[parameter](parameter, given_value)
    assert (found, type(found)) == (normal, type(normal))


REFUSED: list[tuple[str, str, list[t.Any]]] = [
    ("oci.list", "names", ["web", {"a": 1}, [1], ["-x"], [None], 3]),
    ("oci.start", "name", [None, "", "-f", "--log=/etc/cron.d/x", "../x", "a/b", "a\0", "a\n", "a b", "x" * 129, 1, ["a"], "é"]),
    ("oci.logs", "tail", [-1, 1.0, True, "5", 10**6]),
    ("image.ensure", "reference", [None, "", "-x", "a\0b", "a\nb", "x" * 4097, 5, "\ud800"]),
    ("image.ensure", "pull", ["newer", 1, "", [], {}]),
    ("image.configuration", "digest", [None, "", "sha256:", DIGEST[:-1], DIGEST + "a", DIGEST.upper(), "sha512:" + "a" * 64, DIGEST[:-1] + "\n", 1]),
    ("oci.exists", "path", [None, "", "etc/motd", "-x", "/a\0b", "/" + "x" * 4096, 5]),
    ("oci.create", "image", ["alpine", 1, "", "../x"]),
    ("oci.stop", "signal", [0, 65, "TERM", True, 1.5]),
    ("oci.stop", "timeout", [-1, 86_401, "1"]),
    ("oci.stop", "force", [0, 1, "yes", []]),
    ("oci.kill", "signal", [None, 0]),
    ("state.get", "key", [None, "../x", ""]),
    ("state.put", "value", [float("nan"), float("inf"), {1, 2}, b"x", object()]),
    ("log", "level", [None, "trace", 1, []]),
    ("log", "message", [None, 1, b"x"]),
    ("fs.read", "root", [None, "", "A", "a/b", "..", 1, "x" * 33, "a\n"]),
    ("fs.read", "path", [None, "", "/a", "..", "a/../b", "a//b", "./a", "a/.", "a/", "a\0", "a\nb", "\ud800", "x" * 256, "a/" * 2100 + "a", 5, ["a"]]),
    ("fs.list", "path", ["/", "..", 0, False]),
    ("fs.read", "encoding", ["latin-1", 1]),
    ("fs.write", "content", [None, 1, ["a"], "\ud800"]),
    ("fs.write", "mode", [0o1000, 0o4755, -1, "0644", True]),
    ("command.run", "command", [None, "", "Start", "a b", 1]),
    ("command.run", "parameters", [[], 5, {"A": 1}, {"a": None}, {"a": [1]}, {"a": 1.5}, {"a": "x\n"}, {"a": "x" * 4097}, {"a": 2**63}, {1: 1}]),
    ("command.run", "parameters", [{f"a{number}": 1 for number in range(33)}]),
    ("http.request", "method", [None, "get", "CONNECT", "TRACE"]),
    ("http.request", "path", [None, "", "v1", "http://evil", "/" + "x" * 1024]),
    ("http.request", "query", [{"a b": 1}, {"": 1}, {"a": {}}]),
    ("http.request", "host", ["a/b", "user@host", "", 1, "a b", "[::1]"]),
]


def test_what_is_too_large_says_so() -> None:
    for call, parameter, value in (("fs.write", "content", "x" * 1_500_000), ("http.request", "body", ["x" * (1 << 20)])):
        with pytest.raises(NexcageError) as refused:
            EFFECTS[call].parameters[parameter](parameter, value)
        assert refused.value.code == "E_LIMIT"


@pytest.mark.parametrize(("call", "parameter", "value"), [(call, name, value) for call, name, values in REFUSED for value in values])
def test_what_a_parameter_refuses(call: str, parameter: str, value: object) -> None:
    with pytest.raises(NexcageError) as refused:
        EFFECTS[call].parameters[parameter](parameter, value)
    assert refused.value.code == "E_INVALID"
    assert str(refused.value.option).partition(".")[0] == parameter


def test_a_state_value_is_bounded_in_size_and_depth() -> None:
    check = EFFECTS["state.put"].parameters["value"]
    assert len(check("value", "x" * (STATE_QUOTA - 2))) == STATE_QUOTA
    with pytest.raises(NexcageError) as refused:
        check("value", "x" * (STATE_QUOTA - 1))
    assert refused.value.code == "E_LIMIT"
    deep: list[t.Any] = []
    for _turn in range(100_000):
        deep = [deep]
    with pytest.raises(NexcageError, match="not a JSON value"):
        check("value", deep)


@given(st.sampled_from([(call, name) for call, effect in EFFECTS.items() for name in effect.parameters]), JSON)
def test_a_validator_is_idempotent_and_gives_what_cannot_change(where: tuple[str, str], value: t.Any) -> None:
    call, parameter = where
    check = EFFECTS[call].parameters[parameter]
    try:
        found = check(parameter, value)
    except NexcageError as error:
        json.dumps(error.as_dict())
        return
    hash(found)
    if (call, parameter) not in (("state.put", "value"), ("http.request", "body")):  # a text there becomes the JSON of a text
        assert check(parameter, found) == found
