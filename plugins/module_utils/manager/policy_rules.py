# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``policy.json`` may say, and when a rule matches."""

from __future__ import annotations

import fnmatch
import math
import re
import typing as t
from collections.abc import Mapping

from ..model.capability import CAPABILITIES
from ..model.effects import EFFECTS, OPERATIONS
from ..model.errors import NexcageError

VERSION = 1
KEYS = ("version", "mode", "default", "sandbox", "trust", "rules")
RULE_KEYS = ("id", "effect", "when", "message")
SUBJECTS = ("op", "plugin", "signer", "tier", "trust", "container", "call")
TRUST = ("signature", "pin", "unsigned", "builtin")
TIERS = ("process", "standard", "strong")
MINIMA = {"third_party": TIERS[1:], "builtin": TIERS}
CALLS = tuple(dict.fromkeys([*EFFECTS, *(call for row in CAPABILITIES.values() for call in row.calls)]))
# Where only these can occur, a rule that names another one would never match, and nobody would notice.
KNOWN: dict[str, t.Collection[str]] = {"op": OPERATIONS, "call": CALLS, "tier": TIERS, "trust": TRUST}
IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
PARAMETER = re.compile(r"params(\.[A-Za-z0-9_-]+)+")
REMEDY = "correct the file; until then nothing is allowed"

Scalar = t.Union[str, int, float, bool]


class Matcher(t.NamedTuple):
    """One condition.

    Args:
        name: ``eq in not_in glob not_glob lt gt exists``.
        value: What it compares with.
    """

    name: str
    value: t.Any

    def holds(self, value: t.Any, there: bool, sure: bool) -> bool:
        """Whether it holds for a value.

        Args:
            value: Any JSON value.
            there: Whether there is a value.
            sure: Whether ``not_in`` and ``not_glob`` hold where there is none: a deny rule must not be escaped by
                leaving something out, and an allow rule not be fulfilled by that.
        """
        if self.name == "exists":
            return there is self.value
        if not there:
            return sure and self.name in ("not_in", "not_glob")
        return MATCHERS[self.name](value, self.value)


def _same(value: t.Any, wanted: t.Any) -> bool:
    """Equal and of one type: to Python ``True`` is 1."""
    return isinstance(value, bool) is isinstance(wanted, bool) and bool(value == wanted)


def _number(value: t.Any) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and math.isfinite(value))


def _glob(value: t.Any, pattern: str) -> bool:
    return isinstance(value, str) and fnmatch.fnmatchcase(value, pattern)


MATCHERS: dict[str, t.Callable[[t.Any, t.Any], bool]] = {
    "eq": _same,
    "in": lambda value, wanted: any(_same(value, one) for one in wanted),
    "not_in": lambda value, wanted: not any(_same(value, one) for one in wanted),
    "glob": _glob,
    "not_glob": lambda value, wanted: not _glob(value, wanted),
    "lt": lambda value, wanted: _number(value) and value < wanted,
    "gt": lambda value, wanted: _number(value) and value > wanted,
    "exists": lambda value, wanted: wanted is True,
}


class Rule(t.NamedTuple):
    """One rule: it matches where all its conditions hold.

    Args:
        id: Its name in errors and in the audit log.
        effect: ``deny`` or ``allow``.
        when: Subject to conditions.
        message: For whoever is denied.
    """

    id: str
    effect: str
    when: t.Mapping[str, tuple[Matcher, ...]]
    message: str = ""

    def matches(self, facts: t.Mapping[str, t.Any]) -> bool:
        """Whether all conditions hold; ``unknown`` of the facts names parameters that nobody can tell now."""
        return all(self._holds(subject, matcher, facts) for subject, matchers in self.when.items() for matcher in matchers)

    def _holds(self, subject: str, matcher: Matcher, facts: t.Mapping[str, t.Any]) -> bool:
        deny = self.effect == "deny"
        if subject.startswith("params.") and "unknown" in facts:
            first = subject.split(".")[1]
            if first in facts["unknown"] or facts["params"].get(first) is None:
                return deny
        value: t.Any = facts
        for part in subject.split("."):
            value = _inside(value, part)
        return matcher.holds(value, value is not None, deny and (subject.startswith("params.") or subject == "signer"))


def _inside(value: t.Any, part: str) -> t.Any:
    """What ``value`` has under a name; the arguments of a call hold pairs where the plugin gave an object."""
    if isinstance(value, tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        value = dict(value)
    return value.get(part) if isinstance(value, Mapping) else None


class Rules(t.NamedTuple):
    """A whole policy.

    Args:
        mode: ``enforce`` or ``audit``.
        default: ``allow`` or ``deny``: for operations that no rule matches.
        minimum: Kind of plugin to sandbox tier.
        require: Kinds of trust; ``None`` for any.
        rules: In the order of the file.
    """

    mode: str = "enforce"
    default: str = "allow"
    minimum: t.Mapping[str, str] = {}
    require: tuple[str, ...] | None = None
    rules: tuple[Rule, ...] = ()


class _Place(t.NamedTuple):
    """Where in the file something stands, for errors."""

    path: str
    rule: str = ""

    def bad(self, key: str, problem: str, value: object = None) -> NexcageError:
        """A refusal that names file, rule and key."""
        where = f"{self.path}: " + (f"rule {self.rule}: " if self.rule else "")
        shown = "" if value is None else f" ({value!r:.80})"
        details = {"path": self.path, "rule": self.rule, "key": key}
        return NexcageError("E_POLICY", f"{where}{key}: {problem}{shown}", option=FILE_OPTION, remedy=REMEDY, details=details)

    def known(self, what: str, content: t.Any, keys: t.Collection[str]) -> dict[str, t.Any]:
        """``content`` where it is an object with no other keys than these."""
        if not isinstance(content, dict):
            raise self.bad(what, "not an object", content)
        for key in content:
            if key not in keys:
                raise self.bad(_shown(key), f"there is no such key; {what} has {', '.join(keys)}")
        return content

    def one_of(self, key: str, value: t.Any, choices: t.Collection[str]) -> str:
        """``value`` where it is one of these texts."""
        if not isinstance(value, str) or value not in choices:
            raise self.bad(key, f"not one of {', '.join(choices)}", value)
        return value


FILE_OPTION = "policy.json"


def parse(path: str, content: t.Any) -> Rules:
    """The rules in the JSON value of a policy file.

    Args:
        path: For errors.
        content: The JSON value.

    Raises:
        NexcageError: ``E_POLICY`` naming the file, the rule's id and the key.
    """
    place = _Place(path)
    given = place.known("the policy", content, KEYS)
    if given.get("version") != VERSION or isinstance(given["version"], bool):
        raise place.bad("version", f"this collection knows version {VERSION}", given.get("version"))
    sandbox = place.known("sandbox", given.get("sandbox", {}), ("minimum",))
    minimum = place.known("sandbox.minimum", sandbox.get("minimum", {}), tuple(MINIMA))
    rules = given.get("rules", [])
    if not isinstance(rules, list):
        raise place.bad("rules", "not a list", rules)
    made = tuple(_rule(path, number, rule) for number, rule in enumerate(rules))
    names = [rule.id for rule in made]
    for name in names:
        if names.count(name) > 1:
            raise _Place(path, name).bad("id", "two rules have it")
    return Rules(
        place.one_of("mode", given.get("mode", "enforce"), ("enforce", "audit")),
        place.one_of("default", given.get("default", "allow"), ("allow", "deny")),
        {kind: place.one_of(f"sandbox.minimum.{kind}", tier, MINIMA[kind]) for kind, tier in minimum.items()},
        _require(place, given.get("trust", {})),
        made,
    )


def _require(place: _Place, content: t.Any) -> tuple[str, ...] | None:
    trust = place.known("trust", content, ("require",))
    if "require" not in trust:
        return None
    if not isinstance(trust["require"], list):
        raise place.bad("trust.require", "not a list", trust["require"])
    return tuple(place.one_of("trust.require", kind, TRUST) for kind in trust["require"])


def _rule(path: str, number: int, content: t.Any) -> Rule:
    name = content.get("id") if isinstance(content, dict) else None
    place = _Place(path, name if isinstance(name, str) and IDENTIFIER.fullmatch(name) else f"number {number + 1}")
    given = place.known("a rule", content, RULE_KEYS)
    if place.rule != name:
        raise place.bad("id", "a text of 1 to 64 letters, digits, '_', '.', '-' is needed", name)
    message = given.get("message", "")
    if not isinstance(message, str) or len(message) > 512 or not message.isprintable():
        raise place.bad("message", "not a text of one line and at most 512 characters", message)
    effect = place.one_of("effect", given.get("effect"), ("deny", "allow"))
    when = given.get("when")
    if not isinstance(when, dict):
        raise place.bad("when", "not an object; {} matches everything", when)
    return Rule(str(name), effect, {subject: _matchers(place, subject, value) for subject, value in when.items()}, message)


def _matchers(place: _Place, subject: str, given: t.Any) -> tuple[Matcher, ...]:
    """The conditions on one subject: a text is a glob, a list is ``in``, another scalar is ``eq``."""
    if subject not in SUBJECTS and not PARAMETER.fullmatch(subject):
        raise place.bad(f"when.{_shown(subject)}", f"there is no such subject; there are {', '.join(SUBJECTS)} and params.NAME")
    if not isinstance(given, dict):
        given = {"glob" if isinstance(given, str) else "in" if isinstance(given, list) else "eq": given}
    if not given:
        raise place.bad(f"when.{subject}", "no matcher")
    for name, value in given.items():
        where = f"when.{subject}.{_shown(name)}"
        if name not in MATCHERS:
            raise place.bad(where, f"there is no such matcher; there are {', '.join(MATCHERS)}")
        problem = _unfit(name, value) or _pointless(KNOWN.get(subject), name, value)
        if problem:
            raise place.bad(where, problem, value)
    return tuple(Matcher(name, value) for name, value in given.items())


def _unfit(name: str, value: t.Any) -> str:
    """What is wrong with the value of a matcher; empty where nothing is."""
    if name in ("in", "not_in"):
        good = isinstance(value, list) and value and all(isinstance(one, (str, int, float, bool)) for one in value)
        return "" if good else "not a list of texts, numbers, true or false, with one at least"
    if name in ("glob", "not_glob"):
        return "" if isinstance(value, str) and value else "not a text with wildcards"
    if name in ("lt", "gt"):
        return "" if _number(value) else "not a number"
    if name == "exists":
        return "" if isinstance(value, bool) else "neither true nor false"
    return "" if isinstance(value, (str, int, float, bool)) else "not a text, a number, true or false"


def _pointless(known: t.Collection[str] | None, name: str, value: t.Any) -> str:
    """Why a matcher names what cannot occur, so that a slip of the pen opens nothing; empty where it does not."""
    if known is None:
        return ""
    if name in ("lt", "gt"):
        return "not a number there"
    if name in ("glob", "not_glob"):
        return "" if any(fnmatch.fnmatchcase(one, value) for one in known) else f"matches none of {', '.join(known)}"
    unknown = [one for one in (value if isinstance(value, list) else [value]) if name != "exists" and one not in known]
    return f"there is no {unknown[0]!r:.60} among {', '.join(known)}" if unknown else ""


def _shown(key: object) -> str:
    return ascii(str(key)[:64])[1:-1]
