# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever text a manifest is, it is one or is refused."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model.capability import CAPABILITIES
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest import (
    DEPTH_LIMIT,
    SIZE_LIMIT,
    Manifest,
    check_manifest,
    parse_manifest,
)
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest_fields import RULES
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest_rules import (
    REQUIRED,
    Choice,
    Either,
    Flag,
    ListOf,
    MapOf,
    Record,
    Rule,
    Scalar,
    Text,
    Whole,
)
from ansible_collections.nexcage.backends.tests.unit.model.test_manifest import RICH, SMALLEST, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SMALLEST_TEXT = json.dumps(SMALLEST)[1:-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff{}", "not UTF-8"),
        ("\ud800", "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (f"{{{SMALLEST_TEXT}}} x", "not JSON"),
        (f'{{{SMALLEST_TEXT}, "name": "b"}}', "name: the key is in one object twice"),
        (f'{{{SMALLEST_TEXT}, "oci": {{"runtime": "a", "\\u0072untime": "b"}}}}', "runtime: the key is in one object twice"),
        (f'{{{SMALLEST_TEXT}, "x": NaN}}', "NaN is no JSON number"),
        (f'{{{SMALLEST_TEXT}, "x": -Infinity}}', "-Infinity is no JSON number"),
        (f'{{{SMALLEST_TEXT}, "x": 1e999}}', "1e999 is no JSON number"),
        (f'{{{SMALLEST_TEXT}, "x": {"1" * 60_000}}}', "a number of 60000 digits"),
        ("[" * 60_000, "more than 16 levels deep"),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, "more than 16 levels deep"),
        ("[" * (DEPTH_LIMIT + 1) + "]" * (DEPTH_LIMIT + 1), "more than 16 levels deep"),
        (f"{{{SMALLEST_TEXT}}}" + " " * SIZE_LIMIT, "and 65536 are allowed"),
        ("[]", "not an object"),
        ("null", "not an object"),
        (f'{{{SMALLEST_TEXT}, "\\ud800\\n": 1}}', "there is no such field"),
    ],
)
def test_hostile_texts(text: bytes | str, message: str) -> None:
    with pytest.raises(NexcageError) as error:
        parse_manifest(text)
    assert error.value.code == "E_MANIFEST"
    assert message in str(error.value)
    assert len(str(error.value)) < 1000
    str(error.value).encode("utf-8")


def test_the_limits_themselves_are_allowed() -> None:
    text = f"{{{SMALLEST_TEXT}}}"
    assert parse_manifest(text + " " * (SIZE_LIMIT - len(text)))["name"] == "a"
    with pytest.raises(NexcageError, match="not an object"):
        parse_manifest("[" * DEPTH_LIMIT + "]" * DEPTH_LIMIT)


@pytest.mark.parametrize("value", [object(), {1}, {5: 1}, b"x", ("a",), float("nan")])
def test_what_json_does_not_know_is_refused(value: t.Any) -> None:
    for field in RULES.fields:
        refused({**RICH, field: value})


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[t.Any] = []
    loop.append(loop)
    for field in RULES.fields:
        refused({**RICH, field: loop})
    refused({**RICH, "surprise": loop})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*RULES.fields, "type", "name", "x"]) | st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


def made_from(rule: Rule) -> st.SearchStrategy[t.Any]:
    """Values that the rule takes: the rules are data."""
    simple: dict[type, t.Callable[[t.Any], st.SearchStrategy[t.Any]]] = {
        Text: lambda r: st.from_regex(r.pattern, fullmatch=True).filter(lambda text: r.minimum <= len(text) <= min(r.maximum, 40)),
        Whole: lambda r: st.integers(r.low, r.high),
        Flag: lambda r: st.booleans(),
        Choice: lambda r: st.sampled_from(r.choices),
        Scalar: lambda r: st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "a", "/a"]),
        Either: lambda r: st.one_of(*(made_from(inner) for inner in r.rules.values())),
        MapOf: lambda r: st.dictionaries(made_from(r.name), made_from(r.rule), max_size=1),
        Record: lambda r: st.fixed_dictionaries(
            {name: made_from(field.rule) for name, field in r.fields.items() if field.default is REQUIRED},
            optional={name: made_from(field.rule) for name, field in r.fields.items() if field.default is not REQUIRED},
        ),
        ListOf: lambda r: st.lists(made_from(r.rule), min_size=r.minimum, max_size=max(1, r.minimum)),
    }
    return simple[type(rule)](rule)


def check_or_refuse(document: t.Any) -> Manifest | None:
    try:
        return check_manifest(document, compare=False)
    except NexcageError as error:
        assert error.code == "E_MANIFEST"
        json.dumps(error.as_dict())
        str(error).encode("utf-8")
        return None


@given(JSON)
def test_any_json_value_is_a_manifest_or_refused(document: t.Any) -> None:
    check_or_refuse(document)
    if isinstance(document, dict):
        check_or_refuse({**SMALLEST, **document})


@given(st.sampled_from(list(RULES.fields)), JSON)
def test_any_value_of_a_field_is_taken_or_refused_and_stays_itself(field: str, value: t.Any) -> None:
    manifest = check_or_refuse({**RICH, field: value})
    if manifest is not None:
        assert check_manifest(manifest.as_dict(), compare=False) == manifest


@given(st.binary(max_size=80) | st.text(max_size=80) | JSON.map(json.dumps))
def test_any_text_is_a_manifest_or_refused(text: bytes | str) -> None:
    with pytest.raises(NexcageError):
        parse_manifest(text)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large])
@given(st.data())
def test_what_the_rules_describe_comes_back_from_its_own_text(data: st.DataObject) -> None:
    """One field at a time made from its rule; what two fields say of each other may still refuse it."""
    field = data.draw(st.sampled_from([name for name in RULES.fields if name != "operations"]))
    document = {**SMALLEST, "capabilities": list(CAPABILITIES), field: data.draw(made_from(RULES.fields[field].rule))}
    manifest = check_or_refuse(document)
    if manifest is not None:
        again = parse_manifest(json.dumps(manifest.as_dict()), compare=False)
        assert again == manifest
        given_value = document[field]
        if not isinstance(given_value, (dict, list)):
            assert manifest[field] == given_value
