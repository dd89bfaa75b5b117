# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy: every matcher, deny over allow, and a file that is not understood allows nothing."""

from __future__ import annotations

import json
import pathlib
import re
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import grants, policy, policy_rules
from ansible_collections.nexcage.backends.plugins.module_utils.model.effects import EFFECTS, OPERATIONS
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import scopes
from hypothesis import given
from hypothesis import strategies as st

CONTEXT = {"plugin": "acme-backend", "trust": "signature", "signer": "acme@example", "tier": "standard"}
DIGEST = "sha256:" + "0" * 64
EXAMPLE = {
    "version": 1,
    "mode": "enforce",
    "default": "allow",
    "sandbox": {"minimum": {"third_party": "strong", "builtin": "process"}},
    "trust": {"require": ["signature", "pin", "builtin"]},
    "rules": [
        {"id": "no-delete-prod", "effect": "deny", "when": {"op": ["delete"], "container": {"glob": "prod-*"}}, "message": "use the decommission play"},
        {"id": "reading-only", "effect": "deny", "when": {"plugin": "pve-*", "call": "http.request", "params.method": {"not_in": ["GET", "HEAD"]}}},
        {"id": "registry", "effect": "deny", "when": {"op": ["create"], "params.image": {"not_glob": "registry.example/*"}}},
    ],
}


def rules(*given: dict[str, t.Any], **options: t.Any) -> policy.Policy:
    content = {"version": 1, "rules": [{"id": f"r{number}", **rule} for number, rule in enumerate(given)], **options}
    return policy.Policy(policy_rules.parse("policy.json", content))


def deny(**when: t.Any) -> policy.Policy:
    return rules({"effect": "deny", "when": {key.replace("__", "."): value for key, value in when.items()}})


def refused(content: t.Any) -> NexcageError:
    with pytest.raises(NexcageError) as caught:
        policy_rules.parse("/etc/nexcage/policy.json", content)
    assert caught.value.code == "E_POLICY" and caught.value.remedy.startswith("correct the file")
    assert "/etc/nexcage/policy.json" in caught.value.message
    return caught.value


class TestMatchers:
    """Each of the eight, and the three short forms."""

    @pytest.mark.parametrize(
        ("matcher", "hits", "misses"),
        [
            ({"eq": 5}, [5, 5.0], [4, "5", True, None]),
            ({"eq": True}, [True], [1, "true", False]),
            ({"eq": "a"}, ["a"], ["A", "ab", ["a"]]),
            ({"in": ["a", 1]}, ["a", 1], ["b", True, 2, "1"]),
            ({"not_in": ["a", 1]}, ["b", True, None], ["a", 1]),
            ({"glob": "a*"}, ["a", "ab"], ["b", "Ab", 5, None]),
            ({"not_glob": "a*"}, ["b", 5, None], ["a", "ab"]),
            ({"lt": 5}, [4, 4.9, -1], [5, 6, True, "4", None, float("nan")]),
            ({"gt": 5}, [6, 5.1, 10**400], [5, 4, True, "6", None, float("inf")]),
            ({"exists": True}, ["", 0, False], [None]),
            ({"exists": False}, [None], ["", 0, False]),
            ({"gt": 1, "lt": 5}, [2, 4], [1, 5, None]),
            ({"glob": "a*", "not_glob": "*z"}, ["ab"], ["az", "b"]),
            ("a*", ["a", "ab"], ["b"]),
            (["a", "b"], ["a", "b"], ["c"]),
            (5, [5], [6, "5"]),
            (False, [False], [0, True]),
        ],
    )
    def test_a_parameter(self, matcher: t.Any, hits: list[t.Any], misses: list[t.Any]) -> None:
        judge = deny(params__x=matcher)
        for value in hits:
            assert judge.operation("stop", {"x": value}, CONTEXT), value
        for value in misses:
            assert judge.operation("stop", {"x": value}, CONTEXT) is None, value

    @pytest.mark.parametrize(
        ("subject", "hit", "miss"),
        [
            ("op", "stop", "start"),
            ("plugin", "acme-*", "crun-*"),
            ("signer", "*@example", "*@elsewhere"),
            ("tier", "standard", "strong"),
            ("trust", "signature", "pin"),
            ("container", "prod-*", "test-*"),
            ("params.timeout", {"gt": 5}, {"gt": 50}),
            ("params.deep.er", "x", "y"),
        ],
    )
    def test_a_subject(self, subject: str, hit: t.Any, miss: t.Any) -> None:
        params = {"name": "prod-1", "timeout": 10, "deep": {"er": "x"}}
        assert rules({"effect": "deny", "when": {subject: hit}}).operation("stop", params, CONTEXT)
        assert rules({"effect": "deny", "when": {subject: miss}}).operation("stop", params, CONTEXT) is None

    def test_the_subject_call(self) -> None:
        judge = deny(call=["oci.exec", "oci.kill"])
        assert judge("oci.kill", {"name": "a", "signal": 9}, {**CONTEXT, "op": "kill"})
        assert judge("oci.stop", {"name": "a"}, {**CONTEXT, "op": "kill"}) is None
        assert judge.operation("kill", {"name": "a"}, CONTEXT) is None, "such a rule is for calls"

    def test_what_a_plugin_gave_as_an_object(self) -> None:
        """The gate makes pairs of it, which cannot change."""
        judge = deny(call="http.request", params__parameters__node="pve1", params__query__force={"exists": True})
        given = {"parameters": (("node", "pve1"), ("vmid", 100)), "query": (("force", 1),)}
        assert judge("http.request", given, {**CONTEXT, "op": "start"})
        assert judge("http.request", {**given, "query": ()}, {**CONTEXT, "op": "start"}) is None
        assert judge("http.request", {**given, "parameters": ("node", "pve1")}, {**CONTEXT, "op": "start"}) is None

    def test_all_conditions_of_a_rule_hold_together(self) -> None:
        judge = deny(op="stop", container="prod-*")
        assert judge.operation("stop", {"name": "prod-1"}, CONTEXT)
        assert judge.operation("stop", {"name": "test-1"}, CONTEXT) is None
        assert judge.operation("start", {"name": "prod-1"}, CONTEXT) is None

    def test_an_empty_condition_matches_everything(self) -> None:
        judge = deny()
        assert judge.operation("list", {"names": None}, CONTEXT) and judge("log", {}, {**CONTEXT, "op": "list"})

    def test_nothing_is_escaped_by_leaving_it_out(self) -> None:
        """What is not there is in no list: a deny rule counts that, an allow rule does not."""
        unsigned = {key: value for key, value in CONTEXT.items() if key != "signer"}
        assert deny(signer={"not_in": ["acme@example"]}).operation("start", {}, unsigned)
        assert deny(signer={"not_in": ["acme@example"]}).operation("start", {}, CONTEXT) is None
        assert deny(params__image={"not_glob": "ok/*"}).operation("create", {"image": None}, CONTEXT)
        allow = {"effect": "allow", "when": {"signer": {"not_in": ["evil@example"]}}}
        assert rules(allow, default="deny").operation("start", {}, unsigned)
        assert rules(allow, default="deny").operation("start", {}, CONTEXT) is None

    def test_what_is_about_no_container_is_none_of_a_rule_on_containers(self) -> None:
        judge = deny(container={"not_glob": "mine-*"})
        assert judge.operation("list", {"names": None}, CONTEXT) is None
        assert judge.operation("start", {"name": "other"}, CONTEXT)
        assert judge.operation("start", {"name": "mine-1"}, CONTEXT) is None


class TestDecision:
    """Which rules are asked, and which one wins."""

    def test_the_rules_of_an_example(self) -> None:
        judge = policy.Policy(policy_rules.parse("policy.json", EXAMPLE))
        context = {**CONTEXT, "tier": "strong"}
        denial = judge.operation("delete", {"name": "prod-db"}, context)
        assert denial == "rule no-delete-prod: use the decommission play" and denial.rule == "no-delete-prod"
        assert judge.operation("delete", {"name": "test-db"}, context) is None
        other = judge.operation("create", {"name": "a", "image": "docker.example/x"}, context)
        assert other == "rule registry" and other.rule == "registry"
        assert judge.operation("create", {"name": "a", "image": "registry.example/x"}, context) is None
        pve = {**CONTEXT, "plugin": "pve-backend", "op": "start"}
        assert judge("http.request", {"method": "DELETE"}, pve) and judge("http.request", {"method": "GET"}, pve) is None

    @pytest.mark.parametrize("turned", [False, True])
    def test_deny_wins_whatever_the_order(self, turned: bool) -> None:
        both = [{"effect": "allow", "when": {}}, {"effect": "deny", "when": {"op": ["stop"]}}]
        judge = rules(*(both[::-1] if turned else both), default="deny")
        assert judge.operation("stop", {}, CONTEXT) and judge.operation("start", {}, CONTEXT) is None

    def test_the_default(self) -> None:
        allow = {"effect": "allow", "when": {"op": ["start", "info"]}}
        judge = rules(allow, default="deny")
        assert judge.operation("start", {}, CONTEXT) is None
        denial = judge.operation("stop", {}, CONTEXT)
        assert denial is not None and denial.rule == "default"
        assert rules(allow).operation("stop", {}, CONTEXT) is None

    def test_trust_that_is_not_in_the_list(self) -> None:
        judge = rules(trust={"require": ["signature"]})
        denial = judge.operation("start", {}, {**CONTEXT, "trust": "unsigned"})
        assert denial is not None and denial.rule == "trust.require" and "unsigned" in denial
        assert judge.operation("start", {}, CONTEXT) is None
        assert rules(trust={}).operation("start", {}, {**CONTEXT, "trust": "unsigned"}) is None

    def test_a_call_that_is_another_operation_is_judged_as_that(self) -> None:
        """A plugin that is asked to start must not delete what may not be deleted."""
        judge = deny(op=["delete"], container="prod-*")
        assert judge("oci.delete", {"name": "prod-1"}, {**CONTEXT, "op": "start"})
        assert judge("oci.delete", {"name": "test-1"}, {**CONTEXT, "op": "start"}) is None
        assert judge("oci.start", {"name": "prod-1"}, {**CONTEXT, "op": "start"}) is None

    def test_what_belongs_to_an_operation_is_judged_with_it(self) -> None:
        """The usual way to replace is to stop, delete and create."""
        judge = deny(op=["delete", "stop"])
        for call in ("oci.stop", "oci.delete", "oci.create"):
            assert judge(call, {"name": "a"}, {**CONTEXT, "op": "replace"}) is None
        assert judge("oci.kill", {"name": "a"}, {**CONTEXT, "op": "exec"}) is None
        assert deny(op=["kill"])("oci.kill", {"name": "a"}, {**CONTEXT, "op": "exec"})

    def test_a_replacement_is_a_creation_too(self) -> None:
        judge = deny(op=["create"], params__image={"not_glob": "ok/*"})
        assert judge.operation("replace", {"name": "a", "image": "evil/x"}, CONTEXT)
        assert judge.operation("replace", {"name": "a", "image": "ok/x"}, CONTEXT) is None

    def test_a_rule_on_the_parameters_of_an_operation_is_not_asked_of_its_calls(self) -> None:
        """To the operation an image is a reference, to the call it is a digest."""
        judge = deny(op=["create"], params__image={"not_glob": "ok/*"})
        assert judge("oci.create", {"name": "a", "image": DIGEST}, {**CONTEXT, "op": "create"}) is None
        assert judge("oci.create", {"name": "a", "image": DIGEST}, {**CONTEXT, "op": "start"}), "nobody knows the reference"

    def test_the_default_for_calls(self) -> None:
        judge = rules({"effect": "allow", "when": {"op": ["start"]}}, default="deny")
        context = {**CONTEXT, "op": "start"}
        assert judge("oci.start", {"name": "a"}, context) is None
        assert judge("oci.info", {"name": "a"}, context) is None, "reading belongs to it"
        assert judge("image.resolve", {}, context) is None
        denial = judge("oci.delete", {"name": "a"}, context)
        assert denial is not None and denial.rule == "default"
        more = rules({"effect": "allow", "when": {"op": ["start", "delete"]}}, default="deny")
        assert more("oci.delete", {"name": "a"}, context) is None
        named = rules({"effect": "allow", "when": {"call": "oci.delete"}}, default="deny")
        assert named("oci.delete", {"name": "a"}, context) is None

    def test_a_rule_without_particulars_holds_for_calls_too(self) -> None:
        judge = deny(plugin="acme-*")
        assert judge("oci.features", {}, {**CONTEXT, "op": "info"})
        assert judge("oci.features", {}, {**CONTEXT, "plugin": "crun-backend", "op": "info"}) is None

    @given(st.lists(st.tuples(st.sampled_from(["deny", "allow"]), st.sets(st.sampled_from(sorted(OPERATIONS)), min_size=1)), max_size=5), st.booleans())
    def test_deny_overrides(self, made: list[tuple[str, set[str]]], open_: bool) -> None:
        judge = rules(*({"effect": effect, "when": {"op": sorted(names)}} for effect, names in made), default="allow" if open_ else "deny")
        for name in OPERATIONS:
            also = {name, "create"} if name == "replace" else {name}
            denied = any(effect == "deny" and names & also for effect, names in made)
            allowed = open_ or any(effect == "allow" and name in names for effect, names in made)
            assert (judge.operation(name, {}, CONTEXT) is None) is (allowed and not denied)

    @pytest.mark.parametrize("call", sorted(EFFECTS))
    def test_no_rules_deny_no_call(self, call: str) -> None:
        assert rules()(call, {"name": "a"}, {**CONTEXT, "op": "start"}) is None


class TestTiers:
    """The sandbox that each kind of plugin needs."""

    def test_what_the_file_asks_for(self) -> None:
        judge = policy.Policy(policy_rules.parse("policy.json", EXAMPLE))
        assert (judge.minimum_tier("third_party"), judge.minimum_tier("builtin")) == ("strong", "process")

    def test_what_holds_without(self) -> None:
        assert (rules().minimum_tier("third_party"), rules().minimum_tier("builtin")) == ("standard", "process")

    def test_audit_mode_asks_for_no_more(self) -> None:
        judge = rules(mode="audit", sandbox={"minimum": {"builtin": "strong"}})
        assert judge.audit_only and (judge.minimum_tier("builtin"), judge.wanted_tier("builtin")) == ("process", "strong")
        denial = judge.operation("start", {}, {**CONTEXT, "trust": "builtin"})
        assert denial is not None and denial.rule == "sandbox.minimum"
        assert judge.operation("start", {}, {**CONTEXT, "trust": "builtin", "tier": "strong"}) is None
        assert judge.operation("start", {}, CONTEXT) is None, "the other kind"


class TestDocumentation:
    """docs/policy.md shows what is so."""

    def test_every_operation_is_listed(self) -> None:
        (line,) = [line for line in self.PAGE.read_text().splitlines() if line.startswith("| `op` |")]
        assert set(line.split("`")[3].split()) == set(OPERATIONS)

    PAGE = pathlib.Path(__file__).resolve().parents[3] / "docs" / "policy.md"

    def example(self, name: str) -> str:
        (text,) = re.findall(rf"<!-- example: {re.escape(name)} -->\n```\w+\n(.*?)```", self.PAGE.read_text(), re.DOTALL)
        return str(text)

    def test_the_policy(self) -> None:
        made = policy.Policy(policy_rules.parse("policy.json", json.loads(self.example("policy.json"))))
        denial = made.operation("delete", {"name": "prod-db"}, {**CONTEXT, "plugin": "crun-backend"})
        assert denial and f"delete by crun-backend is denied: {denial}. Remedy: ask whoever wrote the policy." in self.PAGE.read_text()
        assert made.operation("delete", {"name": "test-db"}, CONTEXT) is None
        assert (
            made("http.request", {"method": "POST"}, {**CONTEXT, "op": "start"}) and made("http.request", {"method": "GET"}, {**CONTEXT, "op": "start"}) is None
        )
        for timeout, passes in ((1, False), (5, True), (None, True)):
            assert (made.operation("stop", {"timeout": timeout}, {**CONTEXT, "plugin": "crun-backend"}) is None) is passes

    def test_the_block_to_paste(self) -> None:
        def modest(document: dict[str, t.Any]) -> None:
            for section in ("oci", "filesystem", "network", "secrets", "hooks", "configuration"):
                document.pop(section)
            document.update(capabilities=["container_list", "container_start", "host_command", "logging"], operations=["list", "start"])

        assert self.example("grant") == grants.block(scopes.manifest(modest))

    @pytest.mark.parametrize("word", [*policy_rules.MATCHERS, *policy_rules.SUBJECTS, *policy_rules.KEYS, *policy_rules.TRUST, *OPERATIONS])
    def test_every_word_is_there(self, word: str) -> None:
        assert re.search(rf"\b{word}\b", self.PAGE.read_text())
