# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors name what they are about and what to do; every code is raised somewhere and documented.

That each is met through a module is shown by tests/runtime/test_error_codes.py.
"""

from __future__ import annotations

import ast
import json
import pathlib
import typing as t

import pytest
import yaml
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import REMEDIES, NexcageError

ROOT = pathlib.Path(__file__).resolve().parents[3]
DOCUMENTED: dict[str, dict[str, str]] = yaml.safe_load((ROOT / "docs/data/errors.yml").read_text())
SOURCES = sorted((ROOT / "plugins").rglob("*.py"))


def codes(path: pathlib.Path) -> t.Iterator[str]:
    """The texts of a file that look like codes."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("E_") and node.value.isupper():
            yield node.value


def test_a_code_that_is_used_exists() -> None:
    unknown = {(code, path.name) for path in SOURCES for code in codes(path) if code not in REMEDIES}
    assert unknown == set()


def test_nothing_is_kept_that_is_not_raised() -> None:
    assert set(REMEDIES) - {code for path in SOURCES if path.parts[-2:] != ("model", "errors.py") for code in codes(path)} == set()


def test_every_code_is_documented() -> None:
    assert list(DOCUMENTED) != [] and set(DOCUMENTED) == set(REMEDIES)
    for code, entry in DOCUMENTED.items():
        assert set(entry) == {"means", "do", "example"}, code
        assert len(entry["means"]) > 20 and len(entry["do"]) > 20, code
        assert ". Remedy: " in entry["example"] or "…Remedy: " in entry["example"] or "… Remedy: " in entry["example"], code


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "it broke. Remedy: correct the value."),
        ({"option": "memory"}, "memory: it broke. Remedy: correct the value."),
        ({"option": "memory", "value": "x"}, "memory='x': it broke. Remedy: correct the value."),
        ({"value": "/etc/x"}, "/etc/x: it broke. Remedy: correct the value."),
        ({"value": "a\nb"}, "'a\\nb': it broke. Remedy: correct the value."),
        ({"value": 7}, "7: it broke. Remedy: correct the value."),
        ({"value": "broke"}, "it broke. Remedy: correct the value."),
        ({"details": {"file": "/etc/y"}}, "/etc/y: it broke. Remedy: correct the value."),
        ({"value": "/etc/x", "details": {"file": "/etc/y"}, "remedy": "mend it"}, "/etc/x: it broke. Remedy: mend it."),
    ],
)
def test_a_message_names_what_it_is_about(given: dict[str, t.Any], said: str) -> None:
    error = NexcageError("E_INVALID", "it broke", **given)
    assert str(error) == said
    assert NexcageError.from_dict(json.loads(json.dumps(error.as_dict()))).as_dict() == error.as_dict()


def test_who_knows_better_has_said_it_already() -> None:
    assert NexcageError("E_CRASH", "it ended").about("backend", "probe").as_dict()["value"] == "probe"
    for given in ({"option": "name"}, {"value": "x"}):
        error = NexcageError("E_CRASH", "it ended", **given)
        assert error.about("backend", "probe") is error and "backend" not in str(error)


def test_a_code_that_there_is_not() -> None:
    error = NexcageError("E_TYPO", "it broke")
    assert (error.code, "E_TYPO" in error.message) == ("E_INTERNAL", True)
