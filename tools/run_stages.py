# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the stages of the test, two at a time, and ends with one line that counts what was tested.

Usage: run_stages.py REPORTS "STAGE STAGE ..." "STAGE STAGE ..." -- "STAGE ..."

A stage is a target of the Makefile. Each of the quoted lists runs in its own order, beside the other;
those behind -- run when all others have ended. A stage's output
goes to REPORTS/<stage>.log and is shown where the stage fails; one that fails does not stop the others.
A stage that writes nothing for PATIENCE seconds hangs, and is ended. Whoever ends this program with SIGTERM, SIGINT or
SIGHUP still gets to see how far it has come.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import typing as t
from xml.etree import ElementTree as ET

PATIENCE = 300.0  # the slowest test takes about one minute
GRACE = 10.0  # seconds between SIGTERM and SIGKILL
ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ended = threading.Event()  # somebody has had enough


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


def watch(process: subprocess.Popen[bytes], log: pathlib.Path) -> str:
    """Waits for the end of a stage; why it was not waited for any longer, or nothing."""
    size, since = 0, time.monotonic()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
            return ""
        if ended.is_set():
            return "ended from outside"
        if log.stat().st_size != size:
            size, since = log.stat().st_size, time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            return f"ended, as it wrote nothing for {PATIENCE:.0f} s"


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a stage with all that it has started, politely at first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, number)
            process.wait(GRACE)


def run(stage: str, reports: pathlib.Path) -> Outcome:
    """Runs one stage in a process group of its own."""
    log = reports / f"{stage}.log"
    begin = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            ["make", "--keep-going", stage],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"},
            process_group=0,
        )
    problem = watch(process, log)
    if problem:
        end(process)
        with log.open("a") as stream:
            stream.write(f"\n{stage}: {problem}\n")
    passed = not problem and process.returncode == 0
    seconds = time.monotonic() - begin
    print(f"{'ok  ' if passed else 'FAIL'} {stage:<20} {seconds:6.1f} s  {last_line(log)}", flush=True)
    return Outcome(stage, passed, seconds)


def report(reports: pathlib.Path, outcomes: list[Outcome], planned: list[str], seconds: float) -> int:
    """Shows what failed, and what all came to; returns the exit status."""
    for outcome in outcomes:
        if not outcome.passed:
            print(f"\n======== {outcome.stage} failed; run it alone with: make {outcome.stage}\n")
            print((reports / f"{outcome.stage}.log").read_text(errors="replace"))
    passed, failed, skipped = count(reports)
    broken = [outcome.stage for outcome in outcomes if not outcome.passed]
    ran = {outcome.stage for outcome in outcomes}
    missing = [stage for stage in planned if stage not in ran]
    print(f"stages: {len(outcomes) - len(broken)} ok, {len(broken)} failed{''.join(' ' + stage for stage in broken)}")
    if missing:
        print(f"not run: {' '.join(missing)}")
    print(f"======== {passed} passed, {failed} failed, {skipped} skipped in {seconds:.1f}s ========")
    return 0 if passed and not broken and not missing else 1


def main(arguments: list[str]) -> int:
    """Returns the exit status: 0 where every stage passed and at least one test ran."""
    reports = pathlib.Path(arguments[0])
    for old in [*reports.glob("*.xml"), *reports.glob("*.log"), *reports.glob("coverage*"), *reports.glob("combined")]:
        old.unlink(missing_ok=True)  # some match twice
    begin = time.monotonic()
    outcomes: list[Outcome] = []
    for number in ENDS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup(1) means it
            signal.signal(number, lambda *_: ended.set())

    def work(stages: list[str]) -> None:
        for stage in stages:
            if not ended.is_set():
                outcomes.append(run(stage, reports))

    separator = arguments.index("--")
    threads = [threading.Thread(target=work, args=(stages.split(),)) for stages in arguments[1:separator]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for stages in arguments[separator + 1 :]:
        work(stages.split())

    planned = [stage for stages in arguments[1:] if stages != "--" for stage in stages.split()]
    return report(reports, outcomes, planned, time.monotonic() - begin)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
