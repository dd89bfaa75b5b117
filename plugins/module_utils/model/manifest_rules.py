# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The few kinds of rule a manifest is described with. They are data: a schema can be made from them.

``check`` returns the normalised value: defaults filled in, everything else as it was. It raises
``NexcageError`` ``E_MANIFEST`` that names the field, the value and the rule.
"""

from __future__ import annotations

import json
import math
import re
import typing as t

from .errors import NexcageError

REQUIRED = object()  # the field must be there
ABSENT = object()  # the field may be missing, and then nothing stands for it
LARGEST = 2**63 - 1


def refuse(where: str, value: object, rule: str) -> NexcageError:
    """The refusal of one value; long values are shown by their beginning."""
    try:
        shown = json.dumps(value, ensure_ascii=True)
    except (TypeError, ValueError, RecursionError):
        shown = f"a value of type {type(value).__name__}"
    return NexcageError("E_MANIFEST", rule, option=where, value=shown if len(shown) <= 120 else shown[:117] + "...")


def plain(name: object) -> str:
    """A name that somebody else chose, as it can stand in a message."""
    return ascii(str(name)[:64])[1:-1]


class Rule:
    """What a value must be; ``says`` completes "not ..." in an error. By itself it accepts nothing."""

    says = "a value"

    def check(self, where: str, value: t.Any) -> t.Any:
        """Return the normalised value of the field ``where``."""
        raise refuse(where, value, f"not {self.says}")


class Text(Rule):
    """A text of a length in characters that matches a pattern as a whole. Control characters never do."""

    def __init__(self, minimum: int = 0, maximum: int = 512, pattern: str = r"[^\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]*", says: str = "") -> None:
        self.minimum, self.maximum, self.pattern = minimum, maximum, pattern
        self.says = says or f"a text of {minimum} to {maximum} characters without control characters"

    def check(self, where: str, value: t.Any) -> str:
        if not isinstance(value, str) or not self.minimum <= len(value) <= self.maximum or not re.fullmatch(self.pattern, value):
            raise refuse(where, value, f"not {self.says}")
        return value


class Whole(Rule):
    """A whole number within bounds, both included."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high
        self.says = f"a whole number from {low} to {high}"

    def check(self, where: str, value: t.Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not self.low <= value <= self.high:
            raise refuse(where, value, f"not {self.says}")
        return value


class Flag(Rule):
    """``true`` or ``false``."""

    says = "true or false"

    def check(self, where: str, value: t.Any) -> bool:
        if not isinstance(value, bool):
            raise refuse(where, value, f"not {self.says}")
        return value


class Choice(Rule):
    """One of some texts."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices
        self.says = "one of " + ", ".join(choices)

    def check(self, where: str, value: t.Any) -> str:
        if not isinstance(value, str) or value not in self.choices:
            raise refuse(where, value, f"not {self.says}")
        return value


class Scalar(Rule):
    """A text, a finite number of at most 63 bits, or a flag."""

    says = "a text of at most 4096 characters, a number, true or false"

    def check(self, where: str, value: t.Any) -> str | int | float | bool:
        if isinstance(value, (bool, str, int, float)):
            if isinstance(value, str):
                return Text(0, 4096).check(where, value)
            if math.isfinite(value) and abs(value) <= LARGEST:
                return value
        raise refuse(where, value, f"not {self.says}")


class ListOf(Rule):
    """A list of values of one rule; a unique one has none twice, ``key`` naming the field that tells records apart."""

    def __init__(self, rule: Rule, *, minimum: int = 0, maximum: int = 64, unique: bool = True, key: str | None = None) -> None:
        self.rule, self.minimum, self.maximum, self.unique, self.key = rule, minimum, maximum, unique, key
        self.says = f"a list of {minimum} to {maximum} entries"

    def check(self, where: str, value: t.Any) -> list[t.Any]:
        if not isinstance(value, list) or not self.minimum <= len(value) <= self.maximum:
            raise refuse(where, value, f"not {self.says}")
        checked = [self.rule.check(f"{where}[{index}]", entry) for index, entry in enumerate(value)]
        seen: set[str] = set()
        for index, entry in enumerate(checked if self.unique else ()):
            named = entry[self.key] if self.key and isinstance(entry, dict) else entry
            identity = json.dumps(_number(named), sort_keys=True)
            if identity in seen:
                raise refuse(f"{where}[{index}]", named, "in the list twice")
            seen.add(identity)
        return checked


def _number(value: t.Any) -> t.Any:
    """1.0 and -0.0 as the number that they are, 1 and 0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class MapOf(Rule):
    """An object with names of the author's own, all values of one rule."""

    def __init__(self, name: Text, rule: Rule, maximum: int = 64) -> None:
        self.name, self.rule, self.maximum = name, rule, maximum
        self.says = f"an object of at most {maximum} entries"

    def check(self, where: str, value: t.Any) -> dict[str, t.Any]:
        if not isinstance(value, dict) or len(value) > self.maximum:
            raise refuse(where, value, f"not {self.says}")
        return {self.name.check(f"{where}: the name of an entry", name): self.rule.check(f"{where}.{name}", value[name]) for name in value}


class Field(t.NamedTuple):
    """One field of a record: its rule, and what stands for it where it is missing."""

    rule: Rule
    default: t.Any = REQUIRED


class Record(Rule):
    """An object with known fields; any other field is refused."""

    says = "an object"

    def __init__(self, fields: dict[str, Field]) -> None:
        self.fields = fields

    def check(self, where: str, value: t.Any) -> dict[str, t.Any]:
        if not isinstance(value, dict):
            raise refuse(where or "manifest", value, f"not {self.says}")
        prefix = where + "." if where else ""
        for name in value:
            if name not in self.fields:
                raise refuse(prefix + plain(name), value[name], f"there is no such field; the fields here are {', '.join(self.fields)}")
        checked = {}
        for name, field in self.fields.items():
            if name in value:
                checked[name] = field.rule.check(prefix + name, value[name])
            elif field.default is REQUIRED:
                raise NexcageError("E_MANIFEST", f"missing; it must be {field.rule.says}", option=prefix + name)
            elif field.default is not ABSENT:
                checked[name] = field.rule.check(prefix + name, field.default)
        return checked


class Either(Rule):
    """One rule for each JSON type that the value may have."""

    def __init__(self, rules: dict[type, Rule]) -> None:
        self.rules = rules
        self.says = " or ".join(rule.says for rule in rules.values())

    def check(self, where: str, value: t.Any) -> t.Any:
        rule = self.rules.get(type(value))
        if rule is None:
            raise refuse(where, value, f"not {self.says}")
        return rule.check(where, value)
