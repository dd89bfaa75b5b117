# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON documents that others wrote, held to rules; nothing in them is read two ways."""

from __future__ import annotations

import json
import typing as t

from ..model.errors import NexcageError
from ..model.manifest_rules import Rule, plain


def parse(data: bytes, path: str, rules: Rule, code: str, remedy: str) -> dict[str, t.Any]:
    """The checked value in ``data``, defaults filled in.

    Args:
        data: UTF-8, no key twice in one object, no NaN or Infinity.
        path: Where it comes from, for messages.
        rules: What it must be.
        code: Of the error.
        remedy: Of the error.

    Raises:
        NexcageError: With ``code``, naming ``path`` and the field.
    """
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant)
        checked: dict[str, t.Any] = rules.check("", document)
    except NexcageError as error:
        where = f"{error.option}: " if error.option else ""
        found = "" if error.value is None else f" (found {error.value})"
        raise NexcageError(code, f"{path}: {where}{error.message}{found}", remedy=remedy, details={"file": path}) from None
    except (ValueError, RecursionError) as error:
        raise NexcageError(code, f"{path}: no JSON that can be relied on: {error}", remedy=remedy, details={"file": path}) from None
    return checked


def _object(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _value in pairs]
        raise ValueError(f"the key {plain(next(name for name in names if names.count(name) > 1))!r} is in one object twice")
    return found


def _constant(text: str) -> t.Any:
    raise ValueError(f"{text} is no JSON number")
