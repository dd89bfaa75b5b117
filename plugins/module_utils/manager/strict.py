# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON files that decide what is allowed: nobody else can have written them, and nothing in them is read two ways."""

from __future__ import annotations

import json
import typing as t

from ..broker import guarded
from ..model.errors import NexcageError

LIMIT = 1 << 20  # bytes


def read(path: str) -> t.Any:
    """The JSON value in a file that only root and this user can change, ``None`` where there is no such file.

    Raises:
        NexcageError: ``E_INTEGRITY`` where others could have written it, or it is no regular file; ``E_STATE`` where
            it is no JSON, or names one key twice; ``E_PRIVILEGE``, ``E_LIMIT``.
    """
    try:
        data = guarded.read(path, LIMIT)
    except NexcageError as error:
        if error.code == "E_NOT_FOUND":
            return None
        raise
    try:
        content = parse(data)
    except ValueError as error:
        raise damaged(path, f"no JSON that can be relied on: {error}") from None
    if content is None:  # a file that says nothing must not pass for one that is not there
        raise damaged(path, "it holds nothing but null")
    return content


def parse(data: bytes) -> t.Any:
    """The JSON value in UTF-8 text, where it can be read in one way only.

    Raises:
        ValueError: Also for a key twice in one object, for NaN and Infinity, and for what is nested too deeply.
    """
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def damaged(path: str, problem: str, code: str = "E_STATE", remedy: str = "correct the file; it was left as it is") -> NexcageError:
    """The refusal of a file of ours."""
    return NexcageError(code, f"{path}: {problem}", value=path, remedy=remedy)


def _object(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _value in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)[:64]!a} is in one object twice")
    return found


def _constant(text: str) -> t.Any:
    raise ValueError(f"{text} is no JSON number")
