# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""However the stages of the test end, it is said which ones ran, and how."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys
import time

import pytest

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "run_stages.py"
START = "import run_stages, sys; run_stages.PATIENCE = {patience}; sys.exit(run_stages.main(sys.argv[1:]))"
MAKEFILE = """
good:
    @echo '<testsuite tests="2"/>' >reports/good.xml; echo fine
bad:
    @echo alas; false
hanging:
    @echo begun; sleep 60 & echo $$! >pid; wait; echo over
last:
    @echo last
"""
pytestmark = pytest.mark.requires("make")


def start(folder: pathlib.Path, *stages: str, patience: float = 60.0) -> subprocess.Popen[str]:
    """The program with these lists of stages, and with a Makefile of its own."""
    (folder / "Makefile").write_text(MAKEFILE.replace("    ", "\t"))
    (folder / "reports").mkdir()
    for name in ("coverage.log", "old.log", "old.xml"):  # an earlier run's
        (folder / "reports" / name).touch()
    command = [sys.executable, "-c", START.format(patience=patience), "reports", *stages, "--", "last"]
    return subprocess.Popen(command, cwd=folder, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(TOOL.parent)}, stdout=subprocess.PIPE, text=True)


def is_gone(folder: pathlib.Path) -> bool:
    """Whether what the hanging stage had started has ended; whose child it is now may not have noticed yet."""
    stat = pathlib.Path("/proc", (folder / "pid").read_text().strip(), "stat")
    return not stat.exists() or ") Z " in stat.read_text()


def test_all_is_well(tmp_path: pathlib.Path) -> None:
    with start(tmp_path, "good", "") as process:
        text = process.communicate(timeout=30)[0]
    assert process.returncode == 0 and "stages: 2 ok, 0 failed\n======== 2 passed, 0 failed, 0 skipped" in text


def test_one_that_fails_does_not_stop_the_others(tmp_path: pathlib.Path) -> None:
    with start(tmp_path, "bad good") as process:
        text = process.communicate(timeout=30)[0]
    assert process.returncode == 1 and "stages: 2 ok, 1 failed bad\n" in text and "\nalas\n" in text


def test_one_that_hangs_is_ended(tmp_path: pathlib.Path) -> None:
    with start(tmp_path, "hanging good", patience=0.5) as process:
        text = process.communicate(timeout=30)[0]
    assert process.returncode == 1 and "stages: 2 ok, 1 failed hanging\n" in text
    assert "begun" in text and "as it wrote nothing for" in text and is_gone(tmp_path)


def test_ended_from_outside_it_says_how_far_it_came(tmp_path: pathlib.Path) -> None:
    with start(tmp_path, "good hanging bad") as process:
        deadline = time.monotonic() + 20
        while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        text = process.communicate(timeout=30)[0]
    assert process.returncode == 1 and "stages: 1 ok, 1 failed hanging\nnot run: bad last\n" in text and is_gone(tmp_path)
