# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator finds in the audit log, held against what the plugin's author says in ``conformance_calls.json``.

A release that asks its host for more, for less or for something else shows it there; ``--nexcage-write-calls`` writes the file.
"""

from __future__ import annotations

import json
import pathlib
import warnings

import pytest
from ansible_collections.nexcage.backends.tests.conformance.conftest import Bench
from ansible_collections.nexcage.backends.tests.conformance.test_contract import life

ABOUT = "provides_backend"
FILE = "conformance_calls.json"


def test_it_asks_for_what_it_always_did(bench: Bench, folder: pathlib.Path, request: pytest.FixtureRequest) -> None:
    made: dict[str, list[str]] = {}
    for operation, _answer in life(bench):
        made[operation] = [f"{'write' if call in bench.writing else 'read'} {call}" for call in bench.calls]
    path = folder / FILE
    if request.config.getoption("--nexcage-write-calls"):
        path.write_text(json.dumps(made, indent=2) + "\n")
    if not path.exists():
        warnings.warn(f"there is no {FILE} to hold it against: --nexcage-write-calls writes it; keep it with the plugin", stacklevel=1)
        return
    kept = json.loads(path.read_text())
    changed = {operation: (kept.get(operation), made.get(operation)) for operation in {*kept, *made} if kept.get(operation) != made.get(operation)}
    assert not changed, f"it asks for other things than {FILE} says: {changed}"
