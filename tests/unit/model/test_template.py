# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be put into a template's holes, and that nothing that passes means anything to a shell, an option parser or a URL."""

from __future__ import annotations

import re
import typing as t
import urllib.parse

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model import template
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from hypothesis import given
from hypothesis import strategies as st

CHOICE = {"type": "choice", "choices": ("fast", "1.5")}
ACCEPTED = [
    ("uint", 0, "0"),
    ("uint", 2**63 - 1, str(2**63 - 1)),
    ("container_name", "web-1.a_b", "web-1.a_b"),
    ("node", "pve1", "pve1"),
    ("node", "a", "a"),
    ("relative_path", "a", "a"),
    ("relative_path", "a/b-c/..d/e.f", "a/b-c/..d/e.f"),
    ("choice", "fast", "fast"),
]
REFUSED: list[tuple[str, list[t.Any]]] = [
    ("uint", [-1, True, 1.0, "1", None, 2**63, "-1"]),
    ("container_name", ["-f", "--log=/etc/cron.d/x", "a b", "a/b", "$(id)", "", "a\n", 1, None, "é"]),
    ("node", ["-a", "a-", "a.b", "a b", "a" * 64, "", 5, "a\n", "..", "a%2f"]),
    ("relative_path", ["", "/a", "a/", "a//b", "..", "a/../b", ".", "-a", "a/-b", "a b", "$(id)", "a;b", "a%2fb", "a\n", "a'b", 'a"b', "a\\b", "a" * 1025, 1]),
    ("choice", ["slow", "", "fast ", 1, None]),
]


def rule(kind: str) -> dict[str, t.Any]:
    return CHOICE if kind == "choice" else {"type": kind}


@pytest.mark.parametrize(("kind", "value", "text"), ACCEPTED)
def test_a_value_of_its_type(kind: str, value: object, text: str) -> None:
    assert template.texts({"x": rule(kind)}, [("x", value)], "start") == {"x": text}


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in REFUSED for value in values])
def test_a_value_of_another_type(kind: str, value: object) -> None:
    with pytest.raises(NexcageError) as refused:
        template.texts({"x": rule(kind)}, [("x", value)], "start")
    assert (refused.value.code, refused.value.option) == ("E_INVALID", "parameters.x")


@given(st.sampled_from(["uint", "container_name", "node", "relative_path", "choice"]), st.text() | st.integers() | st.from_regex(r"[!-~]{1,20}"))
def test_nothing_that_passes_has_a_meaning_of_its_own(kind: str, value: t.Any) -> None:
    try:
        text = template.texts({"x": rule(kind)}, [("x", value)], "start")["x"]
    except NexcageError:
        return
    assert re.fullmatch(r"[A-Za-z0-9_.@=:,+/-]+", text)
    assert text[0] not in "-/"
    assert ".." not in text.split("/")
    assert urllib.parse.unquote(text) == text


@pytest.mark.parametrize(("given_values", "option"), [([], "parameters.x"), ([("x", 1), ("y", 1)], "parameters.y")])
def test_names_that_are_missing_or_too_many(given_values: t.Any, option: str) -> None:
    with pytest.raises(NexcageError) as refused:
        template.texts({"x": {"type": "uint"}}, given_values, "start")
    assert (refused.value.code, refused.value.option) == ("E_INVALID", option)


def test_holes_are_filled_once() -> None:
    assert template.fill("--name={name}/{id}", {"name": "web", "id": "{name}"}) == "--name=web/{name}"
    assert template.holes("{api_host}:{port}") == ["api_host", "port"]
    assert template.fill("status", {}) == "status"


def test_what_is_not_said_to_read_writes() -> None:
    assert [template.command_kind(entry) for entry in ({}, {"kind": "write"}, {"kind": "read"}, {"kind": "READ"})] == ["write", "write", "read", "write"]
    assert [template.request_kind(method) for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")] == ["read"] * 2 + ["write"] * 4
