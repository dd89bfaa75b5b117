# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scope of a manifest: the same for the same, another for anything more, and readable."""

from __future__ import annotations

import copy
import itertools
import json
import re
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.backends import crun
from ansible_collections.nexcage.backends.plugins.module_utils.model import scope
from ansible_collections.nexcage.backends.plugins.module_utils.model.capability import CAPABILITIES, NOTHING, ROOT_EQUIVALENT, SCOPED
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import scopes
from hypothesis import given
from hypothesis import strategies as st

WORDS = st.sampled_from(["a", "b", "c"])
PARAMETERS = st.dictionaries(WORDS, st.sampled_from([{"type": "uint"}, {"type": "node"}, {"type": "choice", "choices": ["x", "y"]}]), max_size=2)
ARGUMENTS = st.lists(st.sampled_from(["a", "b", 'a", "b', "a b", "{a}", "\u2028", "ä"]), max_size=3)
COMMANDS = st.fixed_dictionaries({"binary": WORDS, "argv": ARGUMENTS, "parameters": PARAMETERS, "timeout_seconds": st.sampled_from([1, 30])})
REQUESTS = st.fixed_dictionaries({"method": st.sampled_from(["GET", "PUT"]), "path": st.sampled_from(["/a", "/a/{b}"]), "parameters": PARAMETERS})
NETWORKS = st.fixed_dictionaries(
    {
        "id": WORDS,
        "hosts": st.lists(st.sampled_from(["a", "b", "{s}"]), min_size=1, max_size=3),
        "port": st.sampled_from([1, 2, "{s}"]),
        "tls": st.booleans(),
        "requests": st.lists(REQUESTS, min_size=1, max_size=2),
    },
    optional={"ca_file": st.just("s")},
)
HOOKS = st.fixed_dictionaries({"event": WORDS, "priority": WORDS, "timeout_ms": st.sampled_from([1, 2]), "strategy": WORDS})
SETTINGS = st.sampled_from([{}, {"type": "string"}, {"type": "string", "default": "a"}, {"type": "string", "default": "a", "choices": ["a", "b"]}])
SCOPES = st.fixed_dictionaries(
    {
        "capabilities": st.lists(st.sampled_from(sorted(CAPABILITIES)), max_size=4),
        "oci": st.sampled_from([{}, {"runtime": "a"}, {"runtime": "b"}]),
        "commands": st.dictionaries(WORDS, COMMANDS, max_size=2),
        "filesystem": st.fixed_dictionaries({"read": st.lists(WORDS, max_size=2), "write": st.lists(WORDS, max_size=2)}),
        "network": st.lists(NETWORKS, max_size=2, unique_by=lambda network: network["id"]),
        "secrets": st.lists(st.fixed_dictionaries({"configuration": WORDS, "network": WORDS, "header": WORDS}), max_size=2),
        "hooks": st.lists(HOOKS, max_size=2),
        "configuration": st.fixed_dictionaries({"s": SETTINGS}),
    }
)


@given(SCOPES, SCOPES)
def test_two_scopes_have_the_same_entries_exactly_where_they_have_the_same_digest(one: dict[str, t.Any], other: dict[str, t.Any]) -> None:
    same = scope.normal(one) == scope.normal(other)
    assert (scope.digest(one) == scope.digest(other)) is same
    assert (sorted(scope.entries(one)) == sorted(scope.entries(other))) is same
    assert (scope.difference(one, other) == []) is same


@given(SCOPES, st.randoms(use_true_random=False))
def test_order_and_duplicates_do_not_matter(one: dict[str, t.Any], random: t.Any) -> None:
    other = copy.deepcopy(one)
    lists = [other["capabilities"], *other["filesystem"].values(), other["secrets"], other["hooks"]]
    for network in other["network"]:
        lists += [network["hosts"], network["requests"]]
    lists.append(other["network"])
    for values in lists:
        values.extend(copy.deepcopy(values[:1]))
        random.shuffle(values)
    assert scope.digest(other) == scope.digest(one) and scope.difference(one, other) == []


@given(SCOPES)
def test_a_scope_is_its_own_scope(one: dict[str, t.Any]) -> None:
    made = scope.normal(one)
    assert scope.normal(made) == made == json.loads(json.dumps(made))
    assert (scope.digest(made), scope.entries(made)) == (scope.digest(one), scope.entries(one))


@given(SCOPES)
def test_an_entry_is_one_line_of_ascii(one: dict[str, t.Any]) -> None:
    for entry in scope.entries(one):
        assert re.fullmatch(r"[ -~]+", str(entry)), entry


@pytest.mark.parametrize("change", scopes.WIDENINGS.values(), ids=list(scopes.WIDENINGS))
def test_a_widening_changes_the_digest_and_is_shown(change: scopes.Change) -> None:
    old, new = scopes.manifest(), scopes.manifest(change)
    assert scope.digest(old) != scope.digest(new)
    assert scope.widened(old, new)
    assert any(line.startswith("+ ") for line in scope.difference(old, new))


@pytest.mark.parametrize("change", scopes.UNRELATED.values(), ids=list(scopes.UNRELATED))
def test_what_asks_for_nothing_more_changes_nothing(change: scopes.Change) -> None:
    old, new = scopes.manifest(), scopes.manifest(change)
    assert scope.digest(old) == scope.digest(new) and scope.difference(old, new) == []


@pytest.mark.parametrize("change", scopes.NARROWINGS.values(), ids=list(scopes.NARROWINGS))
def test_less_is_another_scope_and_no_widening(change: scopes.Change) -> None:
    old, new = scopes.manifest(), scopes.manifest(change)
    assert scope.digest(old) != scope.digest(new)
    assert scope.widened(old, new) == [] and scope.widened(new, old)
    assert all(line.startswith("- ") for line in scope.difference(old, new))


@pytest.mark.parametrize("number", [0, 1, 2, 4])
def test_any_number_of_capabilities(number: int) -> None:
    names = ["container_list", "container_info", "logging", "container_stop"][:number]
    digests = {scope.digest(scopes.plain("x-backend", *order)) for order in itertools.permutations(names)}
    assert len(digests) == 1
    assert [entry.capability for entry in scope.entries(scopes.plain("x-backend", *names))] == sorted(names)


def test_the_classes_of_the_entries() -> None:
    found = {(entry.capability, entry.level) for entry in scope.entries(scopes.manifest())}
    assert {("host_command", ROOT_EQUIVALENT), ("oci", SCOPED), ("hooks", SCOPED), ("network_client", SCOPED), ("metrics", NOTHING)} <= found
    assert ("logging", "contained") in found


def test_names_that_open_nothing_say_why() -> None:
    bare = scopes.plain("x-backend", "host_command", "process_ptrace")
    texts = {entry.capability: entry for entry in scope.entries(bare)}
    assert texts["host_command"].level == texts["process_ptrace"].level == NOTHING
    assert texts["host_command"].detail == "opens nothing: the manifest's commands is empty"
    assert "no broker call" in texts["process_ptrace"].detail


def test_a_built_in_manifest_has_a_scope_too() -> None:
    parsed = scope.entries(crun.MANIFEST)
    assert next(entry for entry in parsed if entry.capability == "oci").level == SCOPED
    assert all(entry.level == NOTHING for entry in parsed if entry.capability == "host_command")


def test_a_section_without_its_capability_opens_nothing() -> None:
    """The parser refuses that; whoever hands in something else is not told of a power that is not there."""
    bare = {**scope.normal(scopes.manifest()), "capabilities": []}
    assert {entry.level for entry in scope.entries(bare) if entry.capability != "hooks"} == {NOTHING}


@pytest.mark.parametrize(
    "name", ["c\u043entainer_list", "container_list\u200b", "Container_list", "container\uff3flist", "contain\u0435r_list", "container_list "]
)
def test_names_that_look_like_others_are_no_names(name: str) -> None:
    with pytest.raises(NexcageError) as refused:
        scopes.plain("x-backend", name)
    assert refused.value.code == "E_MANIFEST" and refused.value.option == "capabilities[0]"
    assert scopes.plain("x-backend", "container_list")


@pytest.mark.parametrize("name", ["\u0430cme", "acme\u200b", "\uff41cme", "acme\u202e", "acm\u00e9"])
def test_names_of_plugins_roots_and_commands_are_ascii(name: str) -> None:
    changes: list[scopes.Change] = [
        lambda d: d.update(name=name),
        lambda d: d["filesystem"]["read"].append(name),
        lambda d: d["commands"].update({name: d["commands"]["status"]}),
        lambda d: d["network"][0].update(id=name),
        lambda d: d["network"][0]["hosts"].append(name),
        lambda d: d["oci"].update(runtime=name),
    ]
    for change in changes:
        with pytest.raises(NexcageError) as refused:
            scopes.manifest(change)
        assert refused.value.code == "E_MANIFEST"
