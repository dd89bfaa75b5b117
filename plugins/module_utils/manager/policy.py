# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's rules over everything that any plugin does: data, not code, and a deny always wins.

Asked for each operation before it begins, and for each broker call within it. What the file may say is read
strictly: with one unknown key, or a value that can match nothing, nothing is allowed at all.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ..model.config import Layout
from ..model.effects import EFFECTS, OPERATIONS, READ
from . import strict
from .policy_rules import Rule, Rules, parse

FILE = "policy.json"
TIERS = ("process", "standard", "strong")
FLOORS = {"builtin": "process", "third_party": "standard"}  # what holds without a policy, and below which none goes
# What belongs to an operation that was allowed, and is not judged once more as an operation of its own.
PARTS = {"replace": ("create", "stop", "delete"), "stop": ("kill",), "delete": ("stop", "kill")}

Facts = t.Mapping[str, t.Any]


class Denial(str):
    """Why something is denied, as a text for the operator; ``rule`` is the id of the rule that did it."""

    rule: str

    def __new__(cls, rule: str, message: str) -> Denial:
        """A text that names the rule."""
        made = super().__new__(cls, f"rule {rule}" + (f": {message}" if message else ""))
        made.rule = rule
        return made


class Policy:
    """The rules of one host; as a function it is what the gate asks.

    Args:
        rules: What :func:`policy_rules.parse` made of the file.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.audit_only = rules.mode == "audit"

    def minimum_tier(self, kind: str) -> str:
        """The sandbox tier below which no plugin of a kind runs: ``builtin`` or ``third_party``. In audit mode the usual one."""
        return FLOORS[kind] if self.audit_only else self.wanted_tier(kind)

    def wanted_tier(self, kind: str) -> str:
        """The tier that the file asks for, whatever the mode."""
        return max(FLOORS[kind], self._rules.minimum.get(kind, FLOORS[kind]), key=TIERS.index)

    def operation(self, operation: str, params: Facts, context: Facts) -> Denial | None:
        """Why a plugin may not be asked for an operation; ``None`` where it may.

        Args:
            operation: One of ``OPERATIONS``.
            params: Those of the operation; ``name`` is the container.
            context: What the audit lines say: plugin, version, trust, signer, tier.
        """
        trust = context.get("trust")
        if self._rules.require is not None and trust not in self._rules.require:
            return Denial("trust.require", f"the trust of {context['plugin']} is {trust}, which is not in the list")
        tier, wanted = context.get("tier"), self.wanted_tier("builtin" if trust == "builtin" else "third_party")
        if tier is not None and TIERS.index(tier) < TIERS.index(wanted):  # only in audit mode can it have come this far
            return Denial("sandbox.minimum", f"the tier of {context['plugin']} is {tier}, and {wanted} is wanted")
        facts = _facts(context, operation, params)
        denial = self._denied(_of_operations, facts, operation, "create" if operation == "replace" else operation)
        if denial is not None or self._rules.default == "allow":
            return denial
        return None if self._allowed(_of_operations, facts) else Denial("default", "no rule allows it")

    def __call__(self, call: str, arguments: Facts, context: Facts) -> Denial | None:
        """Why a broker call is denied; ``None`` where it is not.

        A rule that names ``call`` is asked with the arguments of the call. The others speak of operations: a call
        belongs to the one that was asked for, and a call that carries out another operation is judged as that one.
        """
        facts = {**_facts(context, str(context.get("op")), arguments), "call": call}
        denial = self._denied(_of_calls, facts) or self._denied(_of_both, facts)
        if denial is not None:
            return denial
        other = call.partition(".")[2] if call.startswith("oci.") else ""
        operation = str(context.get("op"))
        if other not in OPERATIONS or other == operation or other in PARTS.get(operation, ()):
            return None
        facts = {**_facts(context, other, arguments), "unknown": ("image",)}  # here it is a digest, there it was a reference
        denial = self._denied(_of_operations, facts)
        if denial is not None or self._rules.default == "allow" or EFFECTS[call].kind == READ or self._allowed(_of_calls, {**facts, "call": call}):
            return denial
        return None if self._allowed(_of_operations, facts) else Denial("default", f"no rule allows {other}")

    def _denied(self, which: t.Callable[[Rule], bool], facts: Facts, *operations: str) -> Denial | None:
        """The first deny rule that matches as any of the operations, or as the facts' own."""
        for rule in self._rules.rules:
            if rule.effect == "deny" and which(rule) and any(rule.matches({**facts, "op": name}) for name in operations or (facts["op"],)):
                return Denial(rule.id, rule.message)
        return None

    def _allowed(self, which: t.Callable[[Rule], bool], facts: Facts) -> bool:
        return any(rule.effect == "allow" and which(rule) and rule.matches(facts) for rule in self._rules.rules)


def load(layout: Layout) -> Policy | None:
    """The policy of this host, ``None`` where there is none.

    Raises:
        NexcageError: ``E_POLICY`` naming file, rule and key; ``E_INTEGRITY`` where others can have written it;
            ``E_STATE`` where it is no JSON. Nothing is allowed then.
    """
    path = f"{layout.configuration}/{FILE}"
    content = strict.read(path)
    return None if content is None else Policy(parse(path, content))


def _of_calls(rule: Rule) -> bool:
    return "call" in rule.when


def _of_operations(rule: Rule) -> bool:
    return "call" not in rule.when


def _of_both(rule: Rule) -> bool:
    """A rule that holds for an operation and all that happens in it: it asks for nothing that only one of them has."""
    return "call" not in rule.when and not any(key.startswith("params.") for key in rule.when)


def _facts(context: Facts, operation: str, params: Facts) -> dict[str, t.Any]:
    """What the matchers see; what is ``None`` is not there."""
    found = {key: context.get(key) for key in ("plugin", "signer", "tier", "trust")}
    found.update(op=operation, container=params.get("name"))
    return {**{key: value for key, value in found.items() if value is not None}, "params": params if isinstance(params, Mapping) else {}}
