# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker of each tier from its spawn to the first answer, beside the interpreter that does nothing."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
import typing as t

from ansible_collections.nexcage.backends.plugins.module_utils.backends import crun
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.worker import strong
from ansible_collections.nexcage.backends.plugins.module_utils.worker.bundle import plugin_sources
from ansible_collections.nexcage.backends.plugins.module_utils.worker.sandbox import limits_of
from ansible_collections.nexcage.backends.plugins.module_utils.worker.spawn import Worker

LIMITS = limits_of(crun.MANIFEST["resource_requirements"])
NOTHING = ["-I", "-S", "-c", "pass"]


class Start(t.NamedTuple):
    """Milliseconds of one kind of start."""

    what: str
    least: float
    median: float


def measure(rounds: int) -> list[Start]:
    """All kinds in turn, the floor first; without the confined ones where this host has no namespaces for us."""
    sources = plugin_sources(crun)
    kinds: dict[str, t.Callable[[], float]] = {
        "`python -I -S -c pass`": lambda: _run([sys.executable, *NOTHING]),
        "worker, tier `standard`": lambda: _answer(_standard, sources),
    }
    try:
        wrapper = strong.command()
    except NexcageError as error:
        print(f"  without namespaces: {error.message}", flush=True)
    else:
        kinds["the same interpreter in bubblewrap"] = lambda: _run([*wrapper, *NOTHING])
        kinds["worker, tier `strong`"] = lambda: _answer(_strong, sources)
    spent: dict[str, list[float]] = {name: [] for name in kinds}
    for _turn in range(max(rounds, 3) * 10):
        for name, start in kinds.items():
            spent[name].append(start() * 1000)
    return [Start(name, min(series), statistics.median(series)) for name, series in spent.items()]


def rows(starts: t.Sequence[Start]) -> list[str]:
    """The table of the page."""
    floor = starts[0]
    return [
        "## A worker's start",
        "",
        "From the spawn to the first answer of a locked worker with a plugin in it; of the interpreters to their end. A built-in plugin's worker",
        "starts while the module imports the rest; one in namespaces starts when it is known that it is needed.",
        "",
        "| what | least ms | median ms | against the floor |",
        "|---|---:|---:|---:|",
        *[f"| {start.what} | {start.least:.1f} | {start.median:.1f} | {start.least / floor.least:.2f} x |" for start in starts],
        "",
    ]


def _run(command: list[str]) -> float:
    begin = time.monotonic()
    subprocess.run(command, env={}, cwd="/", stdin=subprocess.DEVNULL, check=True)
    return time.monotonic() - begin


def _standard() -> Worker:
    worker = Worker()
    worker.start(LIMITS)
    return worker


def _strong() -> Worker:
    return strong.start(LIMITS, "strong")


def _answer(make: t.Callable[[], Worker], sources: t.Mapping[str, str]) -> float:
    begin = time.monotonic()
    with make() as worker:
        worker.load("crun-backend", sources, {})
        worker.request("list", {"names": None}, lambda _call, _parameters: [], 10.0)
        return time.monotonic() - begin


if __name__ == "__main__":
    print("\n".join(rows(measure(3))))
