# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate asks a policy: what it refuses and writes down, and what it only writes down."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.audit import REFUSAL_LIMIT, Audit
from ansible_collections.nexcage.backends.plugins.module_utils.broker.gate import Gate
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError

MANIFEST = {"name": "crun-backend", "capabilities": ["container_delete", "container_stop"]}


class Denial(str):
    rule = "no-delete"


class Policy:
    """Denies every delete."""

    def __init__(self, audit_only: bool) -> None:
        self.audit_only = audit_only
        self.seen: list[t.Mapping[str, t.Any]] = []

    def __call__(self, call: str, arguments: t.Mapping[str, t.Any], context: t.Mapping[str, t.Any]) -> str | None:
        self.seen.append(dict(context))
        return Denial("rule no-delete: use the other play") if call == "oci.delete" else None


class Place:
    """A gate with an audit log."""

    def __init__(self, folder: pathlib.Path, policy: t.Any) -> None:
        self.log = folder / "audit.jsonl"
        self.audit = Audit(str(self.log))
        self.done: list[str] = []
        writes = {call: self._act(call) for call in ("oci.delete", "oci.stop")}
        self.gate = Gate(MANIFEST, {}, writes, self.audit, policy=policy, context={"op": "delete", "trust": "builtin"})

    def _act(self, call: str) -> t.Callable[[t.Mapping[str, t.Any]], None]:
        return lambda _arguments: self.done.append(call)

    def lines(self) -> list[dict[str, t.Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def test_a_denied_call_is_refused_and_its_line_names_the_rule(tmp_path: pathlib.Path) -> None:
    place = Place(tmp_path, Policy(False))
    with pytest.raises(NexcageError) as refused:
        place.gate.call("oci.delete", {"name": "web"})
    assert (refused.value.code, refused.value.details["rule"], place.done) == ("E_POLICY", "no-delete", [])
    place.gate.call("oci.stop", {"name": "web"})
    refusal, intent, _outcome = place.lines()
    assert {"phase": "refusal", "call": "oci.delete", "error": "E_POLICY", "rule": "no-delete", "op": "delete"}.items() <= refusal.items()
    assert "rule" not in intent


def test_in_audit_mode_the_call_goes_on_and_the_log_says_what_would_have_been(tmp_path: pathlib.Path) -> None:
    place = Place(tmp_path, Policy(True))
    place.gate.call("oci.delete", {"name": "web"})
    assert place.done == ["oci.delete"]
    place.audit.close()
    watched, intent, outcome, run = place.lines()
    assert {"phase": "would_refuse", "error": "E_POLICY", "rule": "no-delete"}.items() <= watched.items()
    assert (intent["phase"], outcome["ok"], run["refusals"], run["would_refuse"]) == ("intent", True, 0, 1)


def test_a_policy_that_is_a_plain_function_is_enforced(tmp_path: pathlib.Path) -> None:
    place = Place(tmp_path, lambda *_asked: "no")
    with pytest.raises(NexcageError) as refused:
        place.gate.call("oci.stop", {"name": "web"})
    assert refused.value.code == "E_POLICY" and "rule" not in place.lines()[0]


def test_facts_that_come_later_reach_policy_and_log(tmp_path: pathlib.Path) -> None:
    policy = Policy(False)
    place = Place(tmp_path, policy)
    place.gate.know(tier="strong")
    place.gate.call("oci.stop", {"name": "web"})
    assert policy.seen == [{"plugin": "crun-backend", "op": "delete", "trust": "builtin", "tier": "strong"}]
    assert place.lines()[0]["tier"] == "strong"


def test_watching_does_not_fill_the_disk(tmp_path: pathlib.Path) -> None:
    place = Place(tmp_path, Policy(True))
    for _turn in range(REFUSAL_LIMIT + 5):
        place.gate.call("oci.delete", {"name": "web"})
    phases = [line["phase"] for line in place.lines()]
    assert (phases.count("would_refuse"), len(place.done)) == (REFUSAL_LIMIT, REFUSAL_LIMIT + 5)


def test_a_run_in_which_nothing_but_reads_happened_stays_silent(tmp_path: pathlib.Path) -> None:
    audit = Audit(str(tmp_path / "log"))
    audit.count("oci.list")
    assert not audit.happened
    audit.refusal("oci.delete", "E_POLICY", {}, "a", enforced=False)
    assert audit.happened
