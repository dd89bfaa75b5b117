# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tests there are of each numbered adversary, as pytest collects them.

A test says its numbers in its name (``test_case_65_...``, ``test_72_73_...``, a class ``TestCase67``) or by the marker
``case``; the tier it runs at is one of its parameters, ``strong``, ``standard`` or ``control``, or said by the marker.
"""

from __future__ import annotations

import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SELF = "ansible_collections.nexcage.backends.tests.support.cases"
OUTPUT = "NEXCAGE_CASES"  # the environment variable that names the file to write
NAMED = re.compile(r"def test_(?:case_)?\d\d_|class TestCase\d\d|mark\.case\(")
NUMBERS = re.compile(r"(?:\btest_case_|\bTestCase|\btest_)((?:\d\d_)+|\d\d\b)")
FOLDERS = ("adversarial", "runtime")
TIERS = ("strong", "standard", "control")


class Found(t.NamedTuple):
    """One collected test.

    Args:
        file: Below the folder of tests.
        test: The function, with its class.
        numbers: Of the adversaries that it is of.
        tier: ``strong``, ``standard``, ``control`` or nothing.
    """

    file: str
    test: str
    numbers: tuple[int, ...]
    tier: str


def numbers_in(name: str) -> list[int]:
    """The adversaries that the name of a test says."""
    match = NUMBERS.search(name)
    return [int(number) for number in re.findall(r"\d\d", match[1])] if match else []


def found(item: pytest.Item) -> Found:
    """What a test says of itself."""
    file, _colons, test = item.nodeid.partition("::")
    name = test.partition("[")[0]
    numbers = numbers_in(name)
    given = [str(value) for value in item.callspec.params.values()] if hasattr(item, "callspec") else []
    tier = next((value for value in given if value in TIERS), "")
    for marker in item.iter_markers("case"):
        numbers += marker.args
        tier = "control" if marker.kwargs.get("control") else marker.kwargs.get("tier", tier)
    return Found(file.partition("tests/")[2], name.replace("::", "."), tuple(sorted(set(numbers))), tier)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Write what was collected, in the process that :func:`collected` starts."""
    if OUTPUT in os.environ:
        pathlib.Path(os.environ[OUTPUT]).write_text(json.dumps([found(item) for item in session.items]))


@functools.lru_cache(maxsize=1)
def collected() -> tuple[Found, ...]:
    """All tests of an adversary against the whole, in the order of their files; those of single parts are left out."""
    paths = (path for folder in FOLDERS for path in sorted((ROOT / "tests" / folder).rglob("test_*.py")))
    files = [str(path) for path in paths if NAMED.search(path.read_text())]
    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder, "found.json")
        command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", SELF, "-p", "no:cacheprovider", "--rootdir", str(ROOT), *files]
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
        ended = subprocess.run(command, cwd=ROOT, env={**environment, OUTPUT: str(output)}, capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            raise RuntimeError(ended.stdout + ended.stderr)
        rows = [Found(file, test, tuple(numbers), tier) for file, test, numbers, tier in json.loads(output.read_text())]
    return tuple(row for row in rows if row.numbers)
