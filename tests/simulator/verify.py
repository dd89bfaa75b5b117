# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds parameters against their rules, and reads and writes property strings."""

from __future__ import annotations

import re
import typing as t

from . import formats
from .errors import MISSING, UNDEFINED, wrong
from .facts import Endpoint, Facts, Rule, indexed

TRUE, FALSE = ("1", "on", "yes", "true"), ("0", "off", "no", "false")
_TYPES = {
    "int": re.compile(r"[+-]?\d+"),
    "num": re.compile(r"[+-]?(?=\d|\.\d)\d*(?:\.\d*)?(?:[Ee][+-]?\d+)?"),
    "bool": re.compile(r"[01]"),
}
_NAMES = {"int": "integer", "num": "number", "bool": "boolean"}
TYPED = {"/cluster/ha/rules": ("affinity", "nodes", "resources", "strict")}
Props = dict[str, str]


def _limits(rule: Rule, value: str) -> str | None:
    if rule.kind in ("int", "num"):
        if rule.low is not None and float(value) < rule.low:
            return f"value must have a minimum value of {rule.low:g}"
        if rule.high is not None and float(value) > rule.high:
            return f"value must have a maximum value of {rule.high:.0f}"
        return None
    if rule.low is not None and len(value) < rule.low:
        return f"value must be at least {rule.low:g} characters long"
    if rule.high is not None and len(value) > rule.high:
        return f"value may only be {rule.high:g} characters long"
    return None


class Verifier:
    """Holds values against the facts of one version."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    # ---- one value

    def fault(self, key: str, rule: Rule, value: str, inside: bool = False) -> str | None:
        """What is wrong with one value, or None; ``inside`` a property string, booleans have words too."""
        if inside and rule.kind == "bool" and value.lower() in TRUE + FALSE:
            return None
        expression = _TYPES.get(rule.kind)
        if expression and not expression.fullmatch(value):
            return f"type check ('{_NAMES[rule.kind]}') failed - got '{value}'"
        props = rule.props or formats.NAMED_PROPS.get(rule.form or "")
        try:
            if props:
                self._props_fault(key, props, value)
            elif rule.form:
                formats.check(rule.form, value)
        except ValueError as error:
            return f"invalid format - {error}"
        if rule.pattern is not None and not re.compile(rule.pattern).fullmatch(value):
            return "value does not match the regex pattern"
        if rule.values and value not in rule.values:
            return f"value '{value}' does not have a value in the enumeration '{', '.join(rule.values)}'"
        return _limits(rule, value)

    def _props_fault(self, key: str, name: str, text: str) -> None:
        values = self.split(name, text)
        rules = self.facts.formats[name]
        lines = [f"{key}.{rule.name}: {MISSING}\n" for rule in rules.values() if rule.required and rule.name not in values]
        for part, value in values.items():
            rule = rules.get(part)
            fault = UNDEFINED if rule is None else self.fault(f"{key}.{part}", rule, value, inside=True)
            if rule is not None and not fault and rule.needs and rule.needs not in values:
                fault = self.lacking(rule.name)
            if fault:
                lines.append(f"{key}.{part}: {fault}\n")
        if lines:
            raise ValueError("format error\n" + "".join(lines))

    def lacking(self, name: str) -> str:
        if self.facts.version == "8.4":
            return f"missing property - '{name}' requires this property"
        return f"missing property required by '{name}'"

    # ---- property strings

    def split(self, name: str, text: str) -> Props:
        """The keys and values of a property string, as they were sent but for other names of keys."""
        rules = self.facts.formats[name]
        bare = next((rule.name for rule in rules.values() if rule.bare), None)
        values: Props = {}
        for part in [one.strip() for one in text.split(",") if one.strip()]:
            key, sign, value = part.partition("=")
            if not sign or (key not in rules and bare and key.startswith("/")):
                if bare is None:
                    raise ValueError("value without key, but schema does not define a default key\n")
                if bare in values:
                    raise ValueError("duplicate key in comma-separated list property: " + bare + "\n")
                values[bare] = part
                continue
            rule = rules.get(key)
            if rule is not None and rule.kind == "alias":
                if rule.alias_key:
                    values[rule.alias_key] = key
                key = str(rule.alias)
            if key in values:
                raise ValueError(f"duplicate key in comma-separated list property: {key}\n")
            values[key] = value
        return values

    def parse(self, name: str, text: str) -> Props:
        """A property string that is right: booleans are ``1`` and ``0``."""
        rules = self.facts.formats[name]
        values = self.split(name, text)
        for key, value in values.items():
            if key in rules and rules[key].kind == "bool":
                values[key] = "1" if value.lower() in TRUE else "0"
        return values

    def join(self, name: str, values: Props) -> str:
        """The property string in the order that Proxmox VE writes: bare, required, the rest."""
        rules = self.facts.formats[name]
        values = dict(values)
        parts = []
        merged = next((rule.alias_key for rule in rules.values() if rule.alias_key), None)
        if merged and merged in values:
            model = values.pop(merged)
            parts.append(f"{model}={values.pop('macaddr')}" if "macaddr" in values else model)
        for bare in [rule.name for rule in rules.values() if rule.bare and rule.name in values]:
            parts.append(values.pop(bare))
        for wanted in (True, False):
            keys = sorted(key for key in values if bool(rules.get(key) and rules[key].required) is wanted)
            parts += [f"{key}={values[key]}" for key in keys]
        return ",".join(parts)

    # ---- a request

    def request(self, endpoint: Endpoint, given: dict[str, t.Any], path: dict[str, str]) -> dict[str, t.Any]:
        """The parameters of a request as text, lists as lists.

        Raises:
            ApiError: 400, naming every parameter that is wrong.
        """
        errors: dict[str, str] = {}
        for name, value in path.items():
            if name in given and str(given[name]) != value:
                errors[name] = "duplicate parameter (already defined in URI) with conflicting values!"
        if errors:
            raise wrong(errors)
        params: dict[str, t.Any] = {}
        for name, value in given.items():
            if name in path:
                continue
            rule = endpoint.rule(name)
            if rule is None:
                errors[name] = UNDEFINED
                continue
            params[name] = self._param(name, rule, value, errors)
        self._presence(endpoint, params, errors)
        if "type" in errors:  # what only some types have, none has now
            errors.update({name: UNDEFINED for name in TYPED.get(endpoint.path, ()) if name in params})
        self._vmid(path, errors)
        if errors:
            raise wrong(errors)
        return {**params, **path}

    def _vmid(self, path: dict[str, str], errors: dict[str, str]) -> None:
        if "vmid" in path:
            fault = self.fault("vmid", Rule("vmid", "int", form="pve-vmid"), path["vmid"])
            if fault:
                errors["vmid"] = fault

    def _presence(self, endpoint: Endpoint, params: dict[str, t.Any], errors: dict[str, str]) -> None:
        for rule in endpoint.rules.values():
            if rule.required and rule.name not in params:
                errors[rule.name] = MISSING
        for name in params:
            needed = getattr(endpoint.rule(name), "needs", None)
            if needed and needed not in params and needed not in endpoint.names:
                errors[needed] = self.lacking(name)

    def _param(self, name: str, rule: Rule, value: t.Any, errors: dict[str, str]) -> t.Any:
        if rule.kind == "list":
            elements = [_text(one) for one in (value if isinstance(value, list) else [value])]
            for number, element in enumerate(elements):
                fault = self.fault(name, rule.item, element) if rule.item else None
                if fault:
                    errors[f"{name}[{number}]"] = fault
            return elements
        if isinstance(value, list) and (rule.form or "").endswith("-list"):
            value = ",".join(_text(one) for one in value)
        if isinstance(value, (list, dict)):
            kind = "ARRAY" if isinstance(value, list) else "HASH"
            errors[name] = f"type check ('{_NAMES.get(rule.kind, 'string')}') failed - got {kind}"
            return value
        text = _text(value)
        fault = self.fault(name, rule, text)
        if fault:
            errors[name] = fault
        return text


def _text(value: t.Any) -> str:
    """How a JSON scalar arrives: booleans as 1 and 0, null as nothing."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return "" if value is None else str(value)


def rules_of(facts: Facts, method: str, path: str) -> t.Callable[[str], Rule | None]:
    """Finds the rule of a parameter of one endpoint."""
    rules = next(one.rules for one in facts.endpoints if (one.method, one.path) == (method, path))
    return lambda name: indexed(rules, name)
