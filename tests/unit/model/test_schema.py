# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON Schema and the strict parser give one verdict, but for rules that are named."""

from __future__ import annotations

import copy
import json
import re
import typing as t

import jsonschema
import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest import parse_manifest
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest_fields import RULES
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest_rules import Field, Flag, ListOf, MapOf, Record, Rule
from ansible_collections.nexcage.backends.plugins.module_utils.model.schema import DRAFT, PARSER_ONLY, json_schema
from ansible_collections.nexcage.backends.tests.support import fuzz
from ansible_collections.nexcage.backends.tests.unit.model.test_manifest import RICH, SMALLEST, changed
from ansible_collections.nexcage.backends.tests.unit.model.test_manifest_texts import made_from
from hypothesis import given
from hypothesis import strategies as st

SCHEMA = jsonschema.Draft7Validator(json_schema())

# Rule that only the parser can check -> how its message is known.
MESSAGES = {
    "text": "bytes long, and|the key is in one object twice|is no JSON number|a number of .* digits|not UTF-8|not JSON|levels deep",
    "whole-number": "not a whole number",
    "version": "this collection speaks plugin API|is not in that range",
    "itself": "does not depend on itself",
    "same-name": "in the list twice",
    "check-command": "does not begin with",
    "operation": "which is not declared under capabilities|needs provides_backend: true",
    "section": "needs the capability .*, which is not declared",
    "default": "a sensitive setting has no default|not among the setting's choices",
    "setting-type": "not of the setting's type",
    "root": "the setting of a root under filesystem|those of the roots included",
    "binary": "not among binary_dependencies",
    "parameter": "used and not declared|declared and not used",
    "choices": "type choice has choices, and no other type has",
    "task-hole": "only the types option and process|stands for one of|at most one hole of the types|a type for commands alone",
    "options": "for a backend without an OCI runtime|not among the options",
    "reference": "there is no setting|not a setting of type path|not the id of an entry of network|not a sensitive setting",
}
REQUEST = {"method": "GET", "path": "/a"}
SETTING = {"type": "integer", "choices": [1, 2]}
# Rule -> a document that it alone refuses, and the same without the flaw.
EXAMPLES: dict[str, tuple[t.Any, t.Any]] = {
    "text": ('{"name": "b", ' + json.dumps(SMALLEST)[1:], json.dumps(SMALLEST)),
    "whole-number": (changed("resource_requirements", {"max_memory_mb": 64.0}, SMALLEST), changed("resource_requirements", {"max_memory_mb": 64}, SMALLEST)),
    "version": (changed("api_version", 7), changed("api_version", 1)),
    "itself": (changed("dependencies.0", RICH["name"]), changed("dependencies.0", "another")),
    "same-name": (changed("secrets", [{"configuration": "token", "network": "pve", **more} for more in ({}, {"header": "Authorization"})]), RICH),
    "check-command": (changed("binary_dependencies.0.check_command", "rm --help"), RICH),
    "operation": (changed("provides_backend", False), RICH),
    "section": (changed("capabilities", RICH["capabilities"][:-1]), RICH),
    "default": (changed("configuration.token.default", "secret"), RICH),
    "setting-type": (changed("configuration.x", {**SETTING, "default": "1"}), changed("configuration.x", {**SETTING, "default": 1})),
    "root": (changed("filesystem.read", ["folder"]), changed("filesystem.read", ["another"])),
    "binary": (changed("commands.status.binary", "crum"), changed("commands.status.binary", "crun")),
    "parameter": (changed("network.1.requests.0.path", "/{node}"), changed("network.1.requests.0.path", "/node")),
    "choices": (changed("commands.status.parameters.vmid", {"type": "choice"}), RICH),
    "task-hole": (changed("commands.status.parameters.vmid", {"type": "option"}), changed("commands.status.parameters.vmid.type", "container_name")),
    "options": (changed("options", ["image"]), changed("options", [])),
    "reference": (changed("secrets.0.network", "other"), RICH),
}


def verdicts(document: t.Any) -> tuple[bool, str | None]:
    """Whether the schema takes a document, and what the parser says against it."""
    text = document if isinstance(document, str) else json.dumps(document)
    try:
        parse_manifest(text)
        refusal = None
    except NexcageError as error:
        refusal = error.message
    return SCHEMA.is_valid(json.loads(text)), refusal


def agree(document: t.Any) -> None:
    taken, refusal = verdicts(document)
    if taken and refusal is not None:
        assert any(re.search(message, refusal) for message in MESSAGES.values()), refusal
        # A whole number is refused for its fraction alone: without it the schema says what the parser says.
        if re.search(MESSAGES["whole-number"], refusal):
            agree(without_fractions(document))
    if not taken:
        assert refusal is not None, [error.message for error in SCHEMA.iter_errors(document)]


def without_fractions(value: t.Any) -> t.Any:
    if isinstance(value, dict):
        return {name: without_fractions(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_fractions(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def test_it_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(json_schema())
    assert json_schema()["$schema"] == DRAFT
    json_schema().clear()
    assert json_schema()
    text = json.dumps(json_schema())
    assert "$ref" not in text and "http" not in text.replace(DRAFT, "")


@pytest.mark.parametrize("document", [SMALLEST, RICH])
def test_right_ones(document: dict[str, t.Any]) -> None:
    assert verdicts(document) == (True, None)


def test_rules_that_the_parser_alone_checks_are_listed() -> None:
    assert set(PARSER_ONLY) == set(MESSAGES) == set(EXAMPLES)
    assert all(text in json_schema()["$comment"] for text in PARSER_ONLY.values())


@pytest.mark.parametrize("rule", EXAMPLES)
def test_rule_that_the_parser_alone_checks(rule: str) -> None:
    wrong, right = EXAMPLES[rule]
    taken, refusal = verdicts(wrong)
    assert taken and refusal is not None and re.search(MESSAGES[rule], refusal), (taken, refusal)
    assert verdicts(right) == (True, None)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "a\n"),
        ("name", "a b"),
        ("name", ""),
        ("name", "x" * 65),
        ("version", "1.0"),
        ("version", "1.0.0\n"),
        ("description", "\u0000"),
        ("description", "\ud800"),
        ("api_version", "1"),
        ("api_version", True),
        ("api_version", -1),
        ("nexcage_version", ">=1,"),
        ("dependencies", [1]),
        ("dependencies", ["a", "a"]),
        ("dependencies", None),
        ("capabilities", ["fly"]),
        ("capabilities", {}),
        ("resource_requirements", {"max_memory_mb": 0}),
        ("resource_requirements", {"max_memory_mb": 2049}),
        ("resource_requirements", {"max_memory_mb": 1.5}),
        ("resource_requirements", {"memory_mb": 1}),
        ("provides_backend", 1),
        ("configuration", {"1": {"type": "string"}}),
        ("configuration", {"a": {"type": "list"}}),
        ("configuration", {"a": {"type": "string", "choices": []}}),
        ("configuration", {"a": {"type": "number", "choices": [1, 1.0]}}),
        ("configuration", {"a": {"type": "number", "choices": [0.0, -0.0]}}),
        ("configuration", {"a": {"type": "number", "default": 1e19}}),
        ("configuration", {"a": {"type": "string", "default": None}}),
        ("commands.status.argv", ["{"]),
        ("commands.status.argv.0", "a\n"),
        ("network.0.port", 0),
        ("network.0.port", "8006"),
        ("network.1.requests.0.path", "/a/../b"),
        ("network.1.requests.0.path", "/a/..\n"),
        ("network.1.requests.0.path", "/a\n"),
        ("network.1.requests", []),
        ("hooks.0.event", "container.pre_exec"),
        ("extensions", []),
    ],
)
def test_both_refuse(path: str, value: t.Any) -> None:
    taken, refusal = verdicts(changed(path, value))
    assert (taken, refusal is None) == (False, False)


@pytest.mark.parametrize("field", SMALLEST)
def test_both_miss_a_field(field: str) -> None:
    taken, refusal = verdicts({name: value for name, value in SMALLEST.items() if name != field})
    assert not taken and refusal is not None


def test_choices_that_are_different_values() -> None:
    assert verdicts(changed("configuration.x", {"type": "number", "choices": [1, 1.5, 0, -1]}))[0]
    assert verdicts(changed("configuration.x", {"type": "number", "choices": [1, 1.5, 0, -1]})) == (True, None)


def places(rule: Rule, value: t.Any, path: str = "") -> t.Iterator[tuple[str, Rule]]:
    """Every value in a document, with the rule that it is checked by."""
    if path:
        yield path, rule
    inner: list[tuple[str, Rule]] = []
    if isinstance(rule, Record):
        inner = [(name, field.rule) for name, field in rule.fields.items() if name in value]
    elif isinstance(rule, MapOf):
        inner = [(name, rule.rule) for name in value]
    elif isinstance(rule, ListOf):
        inner = [(str(index), rule.rule) for index in range(len(value))]
    for name, below in inner:
        yield from places(below, value[int(name)] if isinstance(value, list) else value[name], f"{path}.{name}" if path else name)


PLACES = dict(places(RULES, RICH))
ODD = st.sampled_from(
    [None, True, False, 0, 1, -1, 1.0, 1.5, -0.0, 64, 2**32, 2**63, 1e300, "", "a", "1", "a\n", "\x00", "\ud800", "x" * 5000, "é", "\U0001f600", "1.0.0", ">=0"]
)
VALUES = ODD | st.text(max_size=6) | st.lists(ODD, max_size=3) | st.dictionaries(st.sampled_from(["name", "type", "a", "id", "\n"]), ODD, max_size=3)


@fuzz.times(400)
@given(st.sampled_from(sorted(PLACES)), VALUES)
def test_fuzz_one_place_with_another_value(path: str, value: t.Any) -> None:
    agree(changed(path, value))


@fuzz.times(120)
@given(st.data())
def test_fuzz_one_place_with_another_value_of_its_rule(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(PLACES)))
    document = changed(path, data.draw(made_from(PLACES[path])))
    agree(document)
    agree(mutated(document, data))


def mutated(document: dict[str, t.Any], data: st.DataObject) -> dict[str, t.Any]:
    """One thing somewhere is removed, added, doubled, cut or put elsewhere."""
    made = copy.deepcopy(document)
    containers = [made]
    for value in containers:
        containers += [inner for inner in (value.values() if isinstance(value, dict) else value) if isinstance(inner, (dict, list)) and inner]
    at: t.Any = data.draw(st.sampled_from(containers))
    keys = list(at) if isinstance(at, dict) else list(range(len(at)))
    key = data.draw(st.sampled_from(keys))
    deed = data.draw(st.sampled_from(["remove", "add", "double", "cut", "replace"]))
    if deed == "remove":
        del at[key]
    elif deed == "cut" and isinstance(at[key], (str, list)):
        at[key] = at[key][: data.draw(st.integers(0, len(at[key])))]
    elif deed == "double" and isinstance(at, list):
        at.append(copy.deepcopy(at[key]))
    elif deed == "add" and isinstance(at, dict):
        at[data.draw(st.sampled_from(["name", "x", "version", "default", "1", "tls"]))] = data.draw(VALUES)
    else:
        at[key] = data.draw(VALUES)
    return made


@fuzz.times(400)
@given(st.data())
def test_fuzz_mutated_manifests(data: st.DataObject) -> None:
    document = data.draw(st.sampled_from([SMALLEST, RICH]))
    for _time in range(data.draw(st.integers(1, 3))):
        if document:
            document = mutated(document, data)
    agree(document)


@pytest.mark.parametrize(("field", "document"), [("extra", {**SMALLEST, "extra": True}), ("homepage", {**SMALLEST, "homepage": ""})])
def test_the_property_sees_a_difference(field: str, document: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that takes more, or less, than the schema is found."""
    monkeypatch.setitem(RULES.fields, field, Field(Flag(), False))
    with pytest.raises(AssertionError):
        agree(document)
