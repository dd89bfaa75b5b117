# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The JSON Schema (draft-07) of ``plugin.json``, for editors and for the controller, made of the rules the parser uses.

A schema tells what one value is, and not what two values say of each other. What it cannot tell stands in
``PARSER_ONLY``; in all else it gives the verdict of ``manifest.parse_manifest``.
"""

from __future__ import annotations

import copy
import typing as t

from .manifest_fields import RULES
from .manifest_rules import ABSENT, LARGEST, REQUIRED, Choice, Either, Flag, ListOf, MapOf, Record, Rule, Scalar, Text, Whole

DRAFT = "http://json-schema.org/draft-07/schema#"

# Rule -> what the strict parser refuses by it, and the schema does not.
PARSER_ONLY: dict[str, str] = {
    "text": "more than 64 KiB, a key twice in one object, NaN, Infinity, a number of more than 20 digits, bytes that are not UTF-8",
    "whole-number": "a whole number written with a fraction: 1.0",
    "version": "an api_version or nexcage_version that this collection does not serve",
    "itself": "a plugin that depends on itself",
    "same-name": "two entries of one list that are one: of the same name, id or event, or the same once defaults are filled in",
    "check-command": "a check_command of another program than the one it is for",
    "operation": "an operation without the capability or provides_backend: true that it needs",
    "section": "commands, filesystem or network without the capability that they need",
    "default": "a default of a sensitive setting, or one that is not among its choices",
    "setting-type": "a default or a choice that is not of the setting's type",
    "root": "a root under filesystem whose setting is no path, has a default or is sensitive, or that makes the settings too many",
    "binary": "a command of a program that is not among binary_dependencies",
    "parameter": "a {parameter} that is used and not declared, or declared and not used",
    "choices": "choices of a parameter of another type than choice, or a choice without them",
    "task-hole": "option or form of a parameter that the task does not fill, one that stands for nothing, two in one argument, or one of a request",
    "options": "options or live without provides_backend: true or beside an OCI runtime, or a live one that is not among the options",
    "reference": "a {setting}, network or secret that refers to nothing",
}

Schema = dict[str, t.Any]


def json_schema() -> Schema:
    """A new copy of the schema."""
    rules = "; ".join(PARSER_ONLY.values())
    head = {"$schema": DRAFT, "title": "The manifest of a NexCage plugin: plugin.json", "$comment": f"NexCage also refuses: {rules}."}
    return {**head, **_schema(RULES)}


def _schema(rule: Rule) -> Schema:
    return {**_MAKERS[type(rule)](rule), "description": rule.says[:1].upper() + rule.says[1:] + "."}


def _text(rule: Text) -> Schema:
    # In Python "$" also matches before a last line feed; this does not, there nor in JavaScript.
    return {"type": "string", "minLength": rule.minimum, "maxLength": rule.maximum, "pattern": f"^(?:{rule.pattern})(?![\\s\\S])"}


def _whole(rule: Whole) -> Schema:
    return {"type": "integer", "minimum": rule.low, "maximum": rule.high}


def _flag(rule: Flag) -> Schema:
    return {"type": "boolean"}


def _choice(rule: Choice) -> Schema:
    return {"type": "string", "enum": list(rule.choices)}


def _scalar(rule: Scalar) -> Schema:
    return {"anyOf": [_text(Text(0, 4096)), {"type": "number", "minimum": -LARGEST, "maximum": LARGEST}, {"type": "boolean"}]}


def _list(rule: ListOf) -> Schema:
    return {"type": "array", "items": _schema(rule.rule), "minItems": rule.minimum, "maxItems": rule.maximum, "uniqueItems": rule.unique}


def _map(rule: MapOf) -> Schema:
    return {"type": "object", "propertyNames": _schema(rule.name), "additionalProperties": _schema(rule.rule), "maxProperties": rule.maximum}


def _record(rule: Record) -> Schema:
    fields = {
        name: _schema(field.rule) if field.default in (REQUIRED, ABSENT) else {**_schema(field.rule), "default": copy.deepcopy(field.default)}
        for name, field in rule.fields.items()
    }
    required = [name for name, field in rule.fields.items() if field.default is REQUIRED]
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}


def _either(rule: Either) -> Schema:
    return {"anyOf": [_schema(inner) for inner in rule.rules.values()]}


_MAKERS: dict[type[Rule], t.Callable[[t.Any], Schema]] = {
    Text: _text,
    Whole: _whole,
    Flag: _flag,
    Choice: _choice,
    Scalar: _scalar,
    ListOf: _list,
    MapOf: _map,
    Record: _record,
    Either: _either,
}
