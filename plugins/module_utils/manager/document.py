# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON documents that others wrote, held to rules."""

from __future__ import annotations

import typing as t

from ..model.errors import NexcageError
from ..model.manifest_rules import Rule
from . import strict


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
        checked: dict[str, t.Any] = rules.check("", strict.parse(data))
    except NexcageError as error:
        where = f"{error.option}: " if error.option else ""
        found = "" if error.value is None else f" (found {error.value})"
        raise NexcageError(code, f"{path}: {where}{error.message}{found}", remedy=remedy, details={"file": path}) from None
    except ValueError as error:
        raise NexcageError(code, f"{path}: no JSON that can be relied on: {error}", remedy=remedy, details={"file": path}) from None
    return checked
