# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A test that cannot run is skipped on a developer's machine and fails in a continuous integration."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TESTS = """
import pytest

@pytest.mark.requires("no-such-program")
def test_program(): pass

@pytest.mark.requires("sh")
def test_present(): pass

def test_by_hand(): pytest.skip("for a reason")

@pytest.mark.shared_data
def test_recordings(): pytest.skip("there are none")
"""


def outcomes(folder: pathlib.Path, ci: str, tests: str) -> tuple[int, str]:
    """Exit status and summary of a run of these tests under the repository's own rules."""
    (folder / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (folder / "test_it.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), str(folder)]
    run = subprocess.run(command, env={"PATH": "/usr/bin:/bin", "CI": ci}, stdout=subprocess.PIPE, text=True, check=False)
    return run.returncode, run.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("ci", "tests", "status", "summary"),
    [
        ("", TESTS, 0, "1 passed, 3 skipped"),
        ("false", TESTS, 0, "1 passed, 3 skipped"),
        ("true", TESTS, 1, "1 failed, 1 passed, 1 skipped, 1 error"),
        ("true", 'import pytest\npytest.importorskip("no_such_module")', 2, "1 error"),
    ],
)
def test_skips(tmp_path: pathlib.Path, ci: str, tests: str, status: int, summary: str) -> None:
    returned, line = outcomes(tmp_path, ci, tests)
    assert (returned, line.partition(" in ")[0]) == (status, summary)
