# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets are taken out of everything, and innocent words stay."""

from __future__ import annotations

import base64
import json
import typing as t
import urllib.parse

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.secret import MASK, Secrets
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from hypothesis import given
from hypothesis import strategies as st

TOKEN = 's3cret"token/of ü'
MANIFEST: dict[str, t.Any] = {
    "configuration": {"token": {"type": "string", "sensitive": True}, "pin": {"type": "integer", "sensitive": True}, "host": {"type": "string"}},
    "secrets": [{"configuration": "token", "network": "api", "header": "Authorization"}],
}


def secrets(token: t.Any = TOKEN, **more: t.Any) -> Secrets:
    return Secrets(MANIFEST, {"token": token, "host": "h", **more})


def test_a_worker_sees_the_other_settings() -> None:
    config = {"token": TOKEN, "pin": 1, "host": "h", "more": [1]}
    assert secrets().visible(config) == {"host": "h", "more": [1]}
    assert Secrets({}, {}).visible(config) == config


@pytest.mark.parametrize(
    "form",
    [
        TOKEN,
        urllib.parse.quote(TOKEN),
        urllib.parse.quote(TOKEN, safe=""),
        urllib.parse.quote_plus(TOKEN),
        json.dumps(TOKEN)[1:-1],
        json.dumps(TOKEN, ensure_ascii=False)[1:-1],
        base64.b64encode(TOKEN.encode()).decode(),
    ],
)
def test_every_form_of_it_is_masked(form: str) -> None:
    found = secrets().scrub({"a": [f"before {form} after"], f"key-{form}": 1, "n": 5, "none": None})
    assert form.rstrip("=") not in json.dumps(found, ensure_ascii=False)
    assert found["a"][0].startswith("before " + MASK)
    assert (found["n"], found["none"]) == (5, None)


@pytest.mark.parametrize("value", ["Bearer abcdefgh1234", "PVEAPIToken=root@pam!x=abcdefgh1234", "user:abcdefgh1234"])
def test_its_last_part_alone_is_masked_too(value: str) -> None:
    assert secrets(value).scrub(["x abcdefgh1234 y", value, "root@pam", "Bearer", "user"]) == [f"x {MASK} y", MASK, "root@pam", "Bearer", "user"]


def test_a_short_one_is_masked_where_it_stands_alone() -> None:
    assert secrets("web").scrub(["web", "a website", ("web",)]) == [MASK, "a website", [MASK]]
    assert secrets(pin=1234).scrub(["1234", "12345", 1234]) == [MASK, "12345", 1234]


def test_without_secrets_nothing_is_looked_at() -> None:
    value = {"a": ("b",)}
    assert Secrets({"configuration": {}}, {"a": "b"}).scrub(value) is value
    assert Secrets(MANIFEST, {"token": None}).scrub(value) is value


def test_an_error_is_cleaned_in_place() -> None:
    error = NexcageError("E_HTTP", f"said {TOKEN}", option="host", value=TOKEN, remedy=f"not {TOKEN}", details={"stderr": [TOKEN]})
    assert secrets().scrub_error(error) is error
    assert TOKEN not in json.dumps(error.as_dict(), ensure_ascii=False) + str(error) + repr(error)
    assert (error.code, error.option, error.message) == ("E_HTTP", "host", "said " + MASK)


def test_calls_around_it() -> None:
    asked: list[t.Any] = []

    def call(name: str, params: t.Mapping[str, t.Any]) -> t.Any:
        asked.append((name, dict(params)))
        if name == "fail":
            raise NexcageError("E_FS", f"no {TOKEN}")
        return [TOKEN]

    clean = secrets().around(call)
    assert clean("fs.read", {"path": TOKEN}) == [MASK]
    clean("log", {"level": "info", "message": f"it is {TOKEN}"})
    with pytest.raises(NexcageError, match=r"no \*+"):
        clean("fail", {})
    assert asked[:2] == [("fs.read", {"path": TOKEN}), ("log", {"level": "info", "message": f"it is {MASK}"})]


def test_headers() -> None:
    assert secrets("plain-token").headers("api") == {"Authorization": "plain-token"}
    assert secrets("plain-token").headers("other") == {}
    prefixed = {**MANIFEST, "secrets": [{**MANIFEST["secrets"][0], "prefix": "Bearer "}]}
    assert Secrets(prefixed, {"token": 12345678}).headers("api") == {"Authorization": "Bearer 12345678"}
    for wrong in (TOKEN, "a\nb", ""):
        with pytest.raises(NexcageError) as refused:
            secrets(wrong).headers("api")
        assert (refused.value.code, refused.value.value) == ("E_INVALID", None)


@given(st.text(min_size=8), st.text(), st.text())
def test_no_text_keeps_it(token: str, before: str, after: str) -> None:
    assert token not in secrets(token).scrub(before + token + after).replace(MASK, "\0") or token in MASK
