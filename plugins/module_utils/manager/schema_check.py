# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A manifest against its JSON Schema, on the controller: there ``jsonschema`` can be had, on a managed host it is not needed.

The strict parser stops at the first fault. This tells an author all of them at once.
"""

from __future__ import annotations

import itertools
import json
import typing as t

from ..model import schema

LIBRARY = "jsonschema"
SHOWN = 20  # faults
LONGEST = 100  # characters of a value


def require() -> t.Any:
    """The module ``jsonschema``.

    Raises:
        ImportError: It is not installed.
    """
    import jsonschema  # type: ignore[import-untyped]

    return jsonschema


def violations(text: bytes) -> list[str]:
    """What the schema says against the text of a ``plugin.json``, one line for each fault and at most 20.

    Empty for what is no JSON at all: the parser tells that.

    Raises:
        ImportError: As :func:`require`.
    """
    library = require()
    try:
        document = json.loads(text)
        faults = itertools.islice(library.Draft7Validator(schema.json_schema()).iter_errors(document), SHOWN)
        return [_line(fault) for fault in faults]
    except (ValueError, RecursionError):
        return []


def _line(fault: t.Any) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault.absolute_path).lstrip(".")
    problem = str(fault.message)
    if fault.validator not in ("required", "additionalProperties", "uniqueItems"):
        problem = f"{json.dumps(fault.instance)[:LONGEST]} is not: {fault.schema.get('description', fault.message)}"
    return ascii(f"{place or 'manifest'}: {problem}")[1:-1]
