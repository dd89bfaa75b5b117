# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy: every matcher, deny over allow, and a file that is not understood allows nothing."""

from __future__ import annotations

import copy
import json
import os
import pathlib
import re
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import grants, policy, policy_rules
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
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


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["a", "*", "[", "start", "oci.delete", "strong", "signature"])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*policy_rules.MATCHERS, "x"]), inner, max_size=2))
WHEN = st.dictionaries(st.sampled_from([*policy_rules.SUBJECTS, "params.x", "params.x.y", "params", "x"]), VALUES, max_size=2)
RULES = st.fixed_dictionaries({"id": st.sampled_from(["a", "b", "c"]), "effect": st.sampled_from(["deny", "allow"]), "when": WHEN | VALUES})
FILES = VALUES | st.fixed_dictionaries(
    {"version": st.just(1)},
    optional={
        "rules": st.lists(RULES | VALUES, max_size=3) | VALUES,
        "mode": VALUES | st.just("audit"),
        "default": VALUES | st.just("deny"),
        "trust": VALUES | st.fixed_dictionaries({"require": VALUES}),
        "sandbox": VALUES | st.fixed_dictionaries({"minimum": VALUES}),
    },
)


@pytest.fixture
def layout(tmp_path: pathlib.Path) -> Layout:
    made = Layout.for_user(0, {"NEXCAGE_ROOT": str(tmp_path)})
    os.makedirs(made.configuration)
    return made


def write(layout: Layout, content: t.Any) -> pathlib.Path:
    path = pathlib.Path(layout.configuration, "policy.json")
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(0o600)
    return path


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


class TestFile:
    """Read strictly: what is not understood allows nothing."""

    CHANGES: t.ClassVar[dict[str, tuple[t.Callable[[dict[str, t.Any]], object], str, str]]] = {
        "unknown key": (lambda c: c.update(modus="audit"), "modus", ""),
        "no version": (lambda c: c.pop("version"), "version", ""),
        "later version": (lambda c: c.update(version=2), "version", ""),
        "version true": (lambda c: c.update(version=True), "version", ""),
        "unknown mode": (lambda c: c.update(mode="Audit"), "mode", ""),
        "unknown default": (lambda c: c.update(default="none"), "default", ""),
        "unknown key of sandbox": (lambda c: c["sandbox"].update(tier="strong"), "tier", ""),
        "unknown kind": (lambda c: c["sandbox"]["minimum"].update(all="strong"), "all", ""),
        "unknown tier": (lambda c: c["sandbox"]["minimum"].update(builtin="stronger"), "sandbox.minimum.builtin", ""),
        "too weak for strangers": (lambda c: c["sandbox"]["minimum"].update(third_party="process"), "sandbox.minimum.third_party", ""),
        "sandbox no object": (lambda c: c.update(sandbox="strong"), "sandbox", ""),
        "minimum no object": (lambda c: c["sandbox"].update(minimum=["strong"]), "sandbox.minimum", ""),
        "unknown trust": (lambda c: c["trust"]["require"].append("anybody"), "trust.require", ""),
        "trust no list": (lambda c: c["trust"].update(require="signature"), "trust.require", ""),
        "unknown key of trust": (lambda c: c["trust"].update(required=[]), "required", ""),
        "rules no list": (lambda c: c.update(rules={}), "rules", ""),
        "rule no object": (lambda c: c["rules"].append("deny"), "a rule", "number 4"),
        "rule without id": (lambda c: c["rules"][0].pop("id"), "id", "number 1"),
        "strange id": (lambda c: c["rules"][0].update(id="a b"), "id", "number 1"),
        "id twice": (lambda c: c["rules"][1].update(id="registry"), "id", "registry"),
        "no effect": (lambda c: c["rules"][0].pop("effect"), "effect", "no-delete-prod"),
        "unknown effect": (lambda c: c["rules"][0].update(effect="block"), "effect", "no-delete-prod"),
        "unknown key of a rule": (lambda c: c["rules"][2].update(unless={}), "unless", "registry"),
        "no condition": (lambda c: c["rules"][0].pop("when"), "when", "no-delete-prod"),
        "message of two lines": (lambda c: c["rules"][0].update(message="a\nb"), "message", "no-delete-prod"),
        "message no text": (lambda c: c["rules"][0].update(message=5), "message", "no-delete-prod"),
        "unknown subject": (lambda c: c["rules"][0]["when"].update(containers="a"), "when.containers", "no-delete-prod"),
        "parameter without a name": (lambda c: c["rules"][0]["when"].update({"params.": "a"}), "when.params.", "no-delete-prod"),
        "unknown matcher": (lambda c: c["rules"][0]["when"].update(container={"regex": "a"}), "when.container.regex", "no-delete-prod"),
        "no matcher": (lambda c: c["rules"][0]["when"].update(container={}), "when.container", "no-delete-prod"),
        "null": (lambda c: c["rules"][0]["when"].update(container=None), "when.container.eq", "no-delete-prod"),
        "empty list": (lambda c: c["rules"][0]["when"].update(container=[]), "when.container.in", "no-delete-prod"),
        "list of lists": (lambda c: c["rules"][0]["when"].update(container=[["a"]]), "when.container.in", "no-delete-prod"),
        "text for a list": (lambda c: c["rules"][0]["when"].update(container={"in": "a"}), "when.container.in", "no-delete-prod"),
        "number for a glob": (lambda c: c["rules"][0]["when"].update(container={"glob": 5}), "when.container.glob", "no-delete-prod"),
        "empty glob": (lambda c: c["rules"][0]["when"].update(container=""), "when.container.glob", "no-delete-prod"),
        "text for a number": (lambda c: c["rules"][0]["when"].update({"params.n": {"lt": "5"}}), "when.params.n.lt", "no-delete-prod"),
        "number for exists": (lambda c: c["rules"][0]["when"].update({"params.n": {"exists": 1}}), "when.params.n.exists", "no-delete-prod"),
        "operation that is none": (lambda c: c["rules"][0]["when"].update(op=["delete", "detele"]), "when.op.in", "no-delete-prod"),
        "operation of another spelling": (lambda c: c["rules"][0]["when"].update(op="Delete"), "when.op.glob", "no-delete-prod"),
        "call that is none": (lambda c: c["rules"][1]["when"].update(call={"eq": "http.requests"}), "when.call.eq", "reading-only"),
        "tier that is none": (lambda c: c["rules"][0]["when"].update(tier={"not_in": ["weak"]}), "when.tier.not_in", "no-delete-prod"),
        "trust that is none": (lambda c: c["rules"][0]["when"].update(trust={"eq": "sig"}), "when.trust.eq", "no-delete-prod"),
        "order of tiers": (lambda c: c["rules"][0]["when"].update(tier={"lt": 2}), "when.tier.lt", "no-delete-prod"),
    }

    @pytest.mark.parametrize(("change", "key", "rule"), CHANGES.values(), ids=list(CHANGES))
    def test_it_names_file_rule_and_key(self, layout: Layout, change: t.Callable[[dict[str, t.Any]], object], key: str, rule: str) -> None:
        content = copy.deepcopy(EXAMPLE)
        policy_rules.parse("policy.json", content)
        change(content)
        error = refused(content)
        assert (error.details["key"], error.details["rule"]) == (key, rule)
        assert f"{key}: " in error.message and (not rule or f"rule {rule}: " in error.message)
        write(layout, content)
        with pytest.raises(NexcageError) as caught:
            policy.load(layout)
        assert str(caught.value).replace(layout.configuration, "/etc/nexcage") == str(error)

    @pytest.mark.parametrize("content", [[], "deny", 5, True])
    def test_what_is_no_object(self, content: t.Any) -> None:
        refused(content)

    @given(FILES)
    def test_whatever_it_is_it_is_a_policy_or_refused(self, content: t.Any) -> None:
        try:
            made = policy.Policy(policy_rules.parse("policy.json", content))
        except NexcageError as error:
            assert error.code == "E_POLICY"
        else:
            assert content["version"] == 1
            for name in ("start", "replace"):
                made.operation(name, {"name": "a", "image": ["x"], "x": {"y": 1}}, CONTEXT)
            for call in ("oci.delete", "http.request"):
                made(call, {"name": "a", "x": (("y", 1),), "z": ()}, {**CONTEXT, "op": "start"})

    @pytest.mark.parametrize("when", [{"op": {"exists": True}}, {"op": {"glob": "de*"}}, {"call": {"not_glob": "oci.*"}}, {"tier": "st*"}, {"trust": ["pin"]}])
    def test_conditions_that_can_match(self, when: dict[str, t.Any]) -> None:
        assert rules({"effect": "deny", "when": when})

    def test_the_least_file(self, layout: Layout) -> None:
        write(layout, {"version": 1})
        made = policy.load(layout)
        assert made is not None and not made.audit_only and made.operation("delete", {"name": "a"}, CONTEXT) is None

    def test_no_file_is_no_policy(self, layout: Layout) -> None:
        assert policy.load(layout) is None

    @pytest.mark.parametrize("text", ["", "null", "{", '{"version": 1, "rules": [{}], "rules": []}', '{"version": NaN}', "[" * 100_000])
    def test_what_is_no_such_json(self, layout: Layout, text: str) -> None:
        path = write(layout, text)
        with pytest.raises(NexcageError) as caught:
            policy.load(layout)
        assert caught.value.code == "E_STATE" and str(path) in caught.value.message

    def test_whose_file_it_is(self, layout: Layout, tmp_path: pathlib.Path) -> None:
        path = write(layout, EXAMPLE)
        assert policy.load(layout)
        path.chmod(0o620)
        with pytest.raises(NexcageError) as caught:
            policy.load(layout)
        assert caught.value.code == "E_INTEGRITY" and "chmod go-w" in caught.value.remedy
        path.chmod(0o600)
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(NexcageError) as caught:
            policy.load(layout)
        assert caught.value.code == "E_INTEGRITY"

    @pytest.mark.requires("root")
    def test_a_file_of_somebody_else(self, layout: Layout) -> None:
        os.chown(write(layout, EXAMPLE), 65534, -1)
        with pytest.raises(NexcageError) as caught:
            policy.load(layout)
        assert caught.value.code == "E_INTEGRITY"


class TestDocumentation:
    """docs/policy.md shows what is so."""

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
