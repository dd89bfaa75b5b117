# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routing: what NexCage was measured to do, an oracle of its algorithm, the standard way, and where both differ."""

from __future__ import annotations

import re
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model import routing
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from hypothesis import given, settings
from hypothesis import strategies as st

GROUP = "^(kube-ovn-.*|cilium-.*)$"
# pattern, name, fits as NexCage 0.7.5 was measured, fits the standard way
MEASURED = [
    (GROUP, "kube-ovn-1", True, True),
    (GROUP, "xcilium-abc", False, False),
    (".*", "web", False, True),
    (".*", ".web", True, True),
    ("*", "web", True, True),
    ("web-*", "web-", True, True),
    ("web-*", "web-1", True, True),
    ("*-db", "my-old-db", False, True),
    ("", "web", False, False),
    ("^web", "web", True, True),
    ("^web", "web-1", False, True),
    ("^web.*", "web-1", True, True),
    ("-db$", "my-db", True, True),
    (".*-db$", "m-db", False, True),
    ("^[a-z]+$", "abc", False, True),
    ("^a|b$", "a", False, True),
    ("^ab*c$", "abbbc", True, True),
]
# what follows from the algorithm where nobody measured it
DERIVED = [
    ("$", "web", True, True),
    ("^", "web", False, True),
    ("^$", "web", False, False),
    ("^a*ab$", "aab", False, True),
    ("**", "web", True, True),
    ("a**b", "axb", False, True),
    ("^)a|b($", "a", False, None),
    ("^(a|b)(c|d)$", "ac", False, True),
    ("^x(a|b)y$", "xby", True, True),
    ("(a|b)$", "xb", True, True),
    ("^.b$", "ab", True, True),
    ("^.b$", "b", False, False),
    ("web-?", "web-1", False, True),
    ("web-[0-9]", "web-1", False, True),
    ("Web", "web", False, False),
]


@pytest.mark.parametrize(("pattern", "name", "nexcage", "standard"), MEASURED + DERIVED)
def test_examples(pattern: str, name: str, nexcage: bool, standard: bool | None) -> None:
    assert routing.fits_nexcage(pattern, name) is nexcage
    if standard is not None:
        assert routing.fits_standard(pattern, name) is standard


# ---- an oracle: the algorithm told in other words, with recursion and slices instead of sets and positions


def oracle_glob(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] != "*":
        return name[:1] == pattern[0] and oracle_glob(pattern[1:], name[1:])
    while name and (len(pattern) < 2 or name[0] != pattern[1]):
        name = name[1:]
    return oracle_glob(pattern[1:], name)


def oracle_whole(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[1:2] == "*":
        if pattern[0] == ".":
            return len(pattern) == 2 or any(oracle_whole(pattern[2:], name[skipped:]) for skipped in range(len(name) + 1))
        while name[:1] == pattern[0]:
            name = name[1:]
        return oracle_whole(pattern[2:], name)
    return bool(name) and pattern[0] in (".", name[0]) and oracle_whole(pattern[1:], name[1:])


def oracle(pattern: str, name: str) -> bool:
    match = re.fullmatch(r"(\^?)(.*?)(\$?)", pattern, re.DOTALL)
    assert match
    start, body, end = match.groups()
    if not start and not end:
        return oracle_glob(pattern, name)
    bodies = [body]
    if "|" in body:
        group = re.fullmatch(r"([^(]*)\((.*)\)([^)]*)", body, re.DOTALL)
        bodies = [group[1] + part + group[3] for part in group[2].split("|")] if group else []
    if start:
        return any(oracle_whole(one, name) for one in bodies)
    return any(len(one) <= len(name) and oracle_whole(one, name[len(name) - len(one) :]) for one in bodies)


PATTERNS = st.one_of(
    st.text("ab-.*^$()|", max_size=9),
    st.builds("^{}$".format, st.text("ab.*", max_size=8)),
    st.builds("^{}({}|{}){}$".format, *(st.text("ab.*", max_size=3) for _part in range(4))),
)


@settings(max_examples=600, deadline=None)
@given(PATTERNS, st.text("ab-.", max_size=8))
def test_nexcage_is_the_oracle(pattern: str, name: str) -> None:
    assert routing.fits_nexcage(pattern, name) == oracle(pattern, name)


@pytest.mark.parametrize(("pattern", "name", "nexcage", "_standard"), MEASURED + DERIVED)
def test_the_oracle_is_right(pattern: str, name: str, nexcage: bool, _standard: bool | None) -> None:
    assert oracle(pattern, name) is nexcage


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=12), st.text(max_size=12))
def test_no_pattern_breaks_it(pattern: str, name: str) -> None:
    assert routing.fits_nexcage(pattern, name) in (True, False)


def test_no_pattern_takes_long() -> None:
    begin = time.process_time()
    assert not routing.fits_nexcage("^" + ".*a" * 170 + "$", "a" * 128)
    assert not routing.fits_nexcage("^" + ".*" * 250 + "b$", "a" * 128)
    assert time.process_time() - begin < 5  # it would be years with recursion


# ---- rules


def parsed(**content: t.Any) -> routing.Routing:
    result = routing.parse(content)
    assert result is not None
    return result


def rule(pattern: str, runtime: str) -> dict[str, str]:
    return {"pattern": pattern, "runtime": runtime}


def test_the_first_rule_then_the_old_patterns_then_the_default() -> None:
    made = parsed(
        routing_compat="nexcage",
        container_config={
            "routing": [rule("web-*", "runc"), rule("*", "crun")][:1] + [rule("web-1", "crun")],
            "crun_name_patterns": ["kube-*", "^x$"],
            "default_runtime": "proxmox",
        },
    )
    assert routing.route(made, "web-1") == ("runc", "container_config.routing[0]")
    assert routing.route(made, "kube-1") == ("crun", "container_config.crun_name_patterns[0]")
    assert routing.route(made, "^x$") == ("crun", "container_config.crun_name_patterns[1]")  # these are never expressions
    assert routing.route(made, "other") == ("proxmox-vm", "container_config.default_runtime")
    assert routing.route(made, "kube-1", routing.STANDARD).backend == "crun"


def test_rules_of_the_container_replace_those_of_the_runtime() -> None:
    runtime = {"routing": [rule("*", "runc")]}
    assert routing.route(parsed(runtime=runtime), "web") == ("runc", "runtime.routing[0]")
    both = parsed(runtime=runtime, container_config={"routing": [rule("a", "crun")]})
    assert routing.route(both, "web") == (None, "no rule")
    assert routing.parse({"runtime": runtime, "container_config": {"routing": []}}) is None


@pytest.mark.parametrize("content", [{}, {"routing_compat": "nexcage"}, {"runtime": {}, "container_config": {}}, {"runtime": {"routing": []}}])
def test_no_routing_is_none(content: dict[str, t.Any]) -> None:
    assert routing.parse(content) is None


def test_the_default() -> None:
    rules = {"routing": [rule("a", "crun")]}
    assert routing.route(parsed(container_config=rules), "web") == (None, "no rule")
    assert routing.route(parsed(container_config=rules, routing_compat="nexcage"), "web") == ("proxmox-lxc", "container_config.default_runtime")
    assert routing.route(parsed(container_config={"default_runtime": "runc"}), "web").backend == "runc"


@pytest.mark.parametrize(
    ("runtime", "nexcage", "standard"),
    [
        ("lxc", "proxmox-lxc", "proxmox-lxc"),
        ("crun", "crun", "crun"),
        ("runc", "runc", "runc"),
        ("proxmox", "proxmox-vm", "proxmox-vm"),
        ("proxmox-lxc", "proxmox-lxc", "proxmox-lxc"),
        ("vm", "proxmox-lxc", "proxmox-vm"),
        ("qemu", "proxmox-lxc", "proxmox-vm"),
        ("curn", "proxmox-lxc", "curn"),
        ("crun-backend", "proxmox-lxc", "crun"),
        ("runsc", "proxmox-lxc", "runsc"),
    ],
)
def test_names_of_runtimes(runtime: str, nexcage: str, standard: str) -> None:
    made = parsed(container_config={"routing": [rule("*", runtime)]})
    assert routing.route(made, "web", routing.NEXCAGE).backend == nexcage
    assert routing.route(made, "web", routing.STANDARD).backend == standard


def test_where_both_differ() -> None:
    rules = {"routing": [rule("*-db", "runc"), rule("web", "crun")], "default_runtime": "crun"}
    for mode, here in (("standard", "runc"), ("nexcage", "crun")):
        made = parsed(container_config=rules, routing_compat=mode)
        told = routing.differs(made, "my-old-db")
        assert told and f"goes to {here}" in told and "container_config.routing[0]" in told and "container_config.default_runtime" in told
        assert routing.differs(made, "my-db") is None and routing.differs(made, "web") is None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.text("ab*-", max_size=5), st.sampled_from(["crun", "runc", "lxc", "vm", "typo"])), max_size=3), st.text("ab-", min_size=1, max_size=5)
)
def test_differs_says_so_exactly_where_the_answers_do(rules: list[tuple[str, str]], name: str) -> None:
    made = parsed(container_config={"routing": [rule(*entry) for entry in rules], "default_runtime": "crun"})
    same = routing.route(made, name, routing.NEXCAGE).backend == routing.route(made, name, routing.STANDARD).backend
    assert (routing.differs(made, name) is None) is same


@pytest.mark.parametrize(
    ("content", "option"),
    [
        ({"routing_compat": "yes"}, "routing_compat"),
        ({"routing_compat": []}, "routing_compat"),
        ({"runtime": []}, "runtime"),
        ({"container_config": "x"}, "container_config"),
        ({"runtime": {"routing": {}}}, "runtime.routing"),
        ({"container_config": {"routing": None}}, "container_config.routing"),
        ({"container_config": {"routing": ["x"]}}, "container_config.routing[0]"),
        ({"container_config": {"routing": [rule("a", "crun"), {"runtime": "crun"}]}}, "container_config.routing[1].pattern"),
        ({"runtime": {"routing": [{"pattern": "a", "runtime": 3}]}}, "runtime.routing[0].runtime"),
        ({"runtime": {"routing": [rule("a" * 513, "crun")]}}, "runtime.routing[0].pattern"),
        ({"runtime": {"routing": [rule("^(", "crun")]}}, "runtime.routing[0].pattern"),
        ({"runtime": {"routing": [rule("^a{99999999999}", "crun")]}}, "runtime.routing[0].pattern"),
        ({"container_config": {"crun_name_patterns": "x"}}, "container_config.crun_name_patterns"),
        ({"container_config": {"crun_name_patterns": [1]}}, "container_config.crun_name_patterns"),
        ({"container_config": {"default_runtime": 1}}, "container_config.default_runtime"),
        ({"container_config": {"default_runtime": ""}}, "container_config.default_runtime"),
    ],
)
def test_what_is_refused(content: dict[str, t.Any], option: str) -> None:
    with pytest.raises(NexcageError) as caught:
        routing.parse(content)
    assert (caught.value.code, caught.value.option) == ("E_INVALID", option)


def test_what_is_no_expression_is_fine_for_nexcage() -> None:
    made = parsed(runtime={"routing": [rule("^(", "crun"), rule("a" * 512, "crun")]}, routing_compat="nexcage")
    assert routing.route(made, "(").backend == "crun"
    assert "the preferred backend (no rule)" in (routing.differs(made, "(") or "")
