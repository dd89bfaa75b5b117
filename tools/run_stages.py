# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the stages of the test, two at a time, and ends with one line that counts what was tested.

Usage: run_stages.py REPORTS "STAGE STAGE ..." "STAGE STAGE ..." -- "STAGE ..."

A stage is a target of the Makefile. Each of the quoted lists runs in its own order, beside the other;
those behind -- run when all others have ended. A stage's output
goes to REPORTS/<stage>.log and is shown where the stage fails; one that fails does not stop the others.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import threading
import time
import typing as t
from xml.etree import ElementTree as ET


class Outcome(t.NamedTuple):
    """What one stage came to."""

    stage: str
    passed: bool
    seconds: float


def count(reports: pathlib.Path) -> tuple[int, int, int]:
    """Tests that passed, failed and were skipped, by the JUnit reports that pytest wrote."""
    total = failed = skipped = 0
    for report in reports.glob("*.xml"):
        for suite in ET.parse(report).getroot().iter("testsuite"):
            total += int(suite.get("tests", 0))
            failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped += int(suite.get("skipped", 0))
    return total - failed - skipped, failed, skipped


def last_line(log: pathlib.Path) -> str:
    """The last line that says something, such as pytest's summary."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return next((line[:120] for line in reversed(lines) if line and not line.startswith("make")), "")


def run(stage: str, reports: pathlib.Path) -> Outcome:
    """Runs one stage; shows its output where it fails."""
    log = reports / f"{stage}.log"
    begin = time.monotonic()
    with log.open("wb") as stream:
        status = subprocess.call(
            ["make", "--keep-going", stage],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"},
        )
    seconds = time.monotonic() - begin
    print(f"{'ok  ' if status == 0 else 'FAIL'} {stage:<20} {seconds:6.1f} s  {last_line(log)}", flush=True)
    return Outcome(stage, status == 0, seconds)


def main(arguments: list[str]) -> int:
    """Returns the exit status: 0 where every stage passed and at least one test ran."""
    reports = pathlib.Path(arguments[0])
    for old in [*reports.glob("*.xml"), *reports.glob("*.log"), *reports.glob("coverage*"), *reports.glob("combined")]:
        old.unlink()
    begin = time.monotonic()
    outcomes: list[Outcome] = []

    def work(stages: list[str]) -> None:
        outcomes.extend(run(stage, reports) for stage in stages)

    separator = arguments.index("--")
    threads = [threading.Thread(target=work, args=(stages.split(),)) for stages in arguments[1:separator]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for stages in arguments[separator + 1 :]:
        work(stages.split())

    for outcome in outcomes:
        if not outcome.passed:
            print(f"\n======== {outcome.stage} failed; run it alone with: make {outcome.stage}\n")
            print((reports / f"{outcome.stage}.log").read_text(errors="replace"))
    passed, failed, skipped = count(reports)
    broken = [outcome.stage for outcome in outcomes if not outcome.passed]
    print(f"stages: {len(outcomes) - len(broken)} ok, {len(broken)} failed{''.join(' ' + stage for stage in broken)}")
    print(f"======== {passed} passed, {failed} failed, {skipped} skipped in {time.monotonic() - begin:.1f}s ========")
    return 0 if passed and not broken else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
