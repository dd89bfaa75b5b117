# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of the policy: what is not understood denies everything."""

from __future__ import annotations

import copy
import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import policy, policy_rules
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.unit.manager.test_policy import CONTEXT, EXAMPLE, refused, rules
from hypothesis import given
from hypothesis import strategies as st

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
