# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What installed plugins cost: a run beside hundreds of them, and one package installed and verified.

Alone: tools/in-venv .venv python tests/benchmark/many.py
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from ansible_collections.nexcage.backends.plugins.module_utils.manager import archive, settings
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.tests.support import crowd, modules, signing
from room import COMMAND, Room

MANY = 500
NAME = "acme-sample"


class Cost(t.NamedTuple):
    """One thing without and with the installed plugins, in milliseconds, and the processes that it started."""

    what: str
    without: tuple[float, float]  # least and median
    beside: tuple[float, float]
    difference: float  # of the processor time of our own process: the median of those of each turn
    processes: tuple[int, int]


class Plugins(t.NamedTuple):
    """All figures; those of one package are least and median in milliseconds by what was done."""

    costs: list[Cost]
    package: dict[str, tuple[float, float]]

    @property
    def difference(self) -> float:
        """What a run costs more beside the plugins, at most; milliseconds."""
        return max(cost.difference for cost in self.costs)

    @property
    def processes(self) -> int:
        """How many processes more it starts, at most."""
        return max(cost.processes[1] - cost.processes[0] for cost in self.costs)


def measure(room: Room, rounds: int) -> Plugins:
    """Everything; leaves no plugin behind."""
    return Plugins(_beside_many(room, rounds), _one_package(room, rounds))


def rows(found: Plugins) -> list[str]:
    """The section of the page."""
    floor = found.package[FLOOR][0]
    return [
        "## Installed plugins",
        "",
        f"A task for one container, without other plugins on the host and beside {MANY} installed ones in turn, in one process. The difference is one of",
        "processor time, which says most on a machine that others use too: the median of those of each turn.",
        "",
        f"| what | none, least ms | none, median ms | {MANY}, least ms | {MANY}, median ms | difference ms | processes |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *[
            f"| {cost.what} | {cost.without[0]:.1f} | {cost.without[1]:.1f} | {cost.beside[0]:.1f} | {cost.beside[1]:.1f} | {cost.difference:+.2f} |"
            f" {cost.processes[0]} and {cost.processes[1]} |"
            for cost in found.costs
        ],
        "",
        "One signed package. The floor reads it, and verifies its signature with `ssh-keygen` and nothing else. Installing it also means a record, an audit",
        "log, and files that survive a power cut; verifying it, all that lies on disk.",
        "",
        "| what | least ms | median ms | against the floor |",
        "|---|---:|---:|---:|",
        *[f"| {what} | {least:.1f} | {median:.1f} | {least / floor:.2f} x |" for what, (least, median) in found.package.items()],
        "",
    ]


# ---- beside hundreds of them


def _beside_many(room: Room, rounds: int) -> list[Cost]:
    layout = Layout.for_user(0, {"NEXCAGE_ROOT": str(room.root)})
    task = {"name": "bench-many", "image": room.image, "command": COMMAND, "stop_signal": "KILL"}
    modules.works("nexcage_container", backend="crun", **task)
    names = crowd.settle(layout, MANY)
    paths = [Path(layout.state, "plugins"), Path(layout.configuration, "plugins")]

    def converged() -> None:
        modules.works("nexcage_container", backend="crun", **task)

    def predicted() -> None:
        modules.works("nexcage_container", check=True, **{**task, "name": "bench-other"})

    found = [_cost(what, do, paths, max(rounds, 3) * 15) for what, do in (("it is as it shall be", converged), ("`backend: auto`, check mode", predicted))]
    paths.append(Path(layout.configuration, settings.FILE))
    paths[-1].write_text(json.dumps({"plugins": {name: {"enabled": True, "priority": 50} for name in names}}))
    found.append(_cost("as it shall be, and each plugin has settings", converged, paths, max(rounds, 3) * 15))
    modules.works("nexcage_container", name="bench-many", state="absent", force_kill=True)
    subprocess.run(["rm", "-rf", "--", *map(str, paths)], check=True)
    return found


def _cost(what: str, do: t.Callable[[], object], paths: t.Sequence[Path], turns: int) -> Cost:
    spent: dict[bool, list[float]] = {False: [], True: []}
    processor: dict[bool, list[float]] = {False: [], True: []}
    started = {False: 0, True: 0}
    for turn in range(turns * 2):
        beside = turn % 2 == 0
        if not beside:
            _move(paths, "", ".away")
        with _Started() as processes:
            begin, before = time.monotonic(), time.process_time()
            do()
            processor[beside].append((time.process_time() - before) * 1000)
            spent[beside].append((time.monotonic() - begin) * 1000)
        started[beside] = processes.number
        if not beside:
            _move(paths, ".away", "")
    difference = statistics.median(one - other for one, other in zip(processor[True], processor[False]))
    print(f"  {what}: {difference:+.2f} ms beside {MANY} plugins", flush=True)
    return Cost(what, _figures(spent[False]), _figures(spent[True]), difference, (started[False], started[True]))


def _move(paths: t.Sequence[Path], old: str, new: str) -> None:
    for path in paths:
        Path(f"{path}{old}").rename(f"{path}{new}")


def _figures(series: t.Sequence[float]) -> tuple[float, float]:
    return min(series), statistics.median(series)


class _Started:
    """Counts the programs that this process starts."""

    _current: t.ClassVar[list[_Started]] = []
    _hooked: t.ClassVar[list[bool]] = []

    def __init__(self) -> None:
        self.number = 0

    def __enter__(self) -> _Started:
        if not _Started._hooked:
            sys.addaudithook(_Started._hear)  # for good: a hook cannot be taken away
            _Started._hooked.append(True)
        _Started._current.append(self)
        return self

    def __exit__(self, *_details: object) -> None:
        _Started._current.remove(self)

    @staticmethod
    def _hear(event: str, _details: tuple[t.Any, ...]) -> None:
        if event in ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty"):
            for counter in _Started._current:
                counter.number += 1


# ---- one package

FLOOR = "read it, and `ssh-keygen -Y verify`"


def _one_package(room: Room, rounds: int) -> dict[str, tuple[float, float]]:
    place = room.folder / "package"
    place.mkdir()
    key, trust = signing.Key(place), signing.Trust(room.root)
    trust.trust(key.line())
    package = signing.write_package(place, key)
    content = archive.read(package.read_bytes())
    (place / "sums.sig").write_bytes(content.signature or b"")
    line = ["ssh-keygen", "-Y", "verify", "-f", str(trust.folder / "allowed_signers"), "-I", signing.ACME, "-n", signing.PLUGIN, "-s", str(place / "sums.sig")]

    def floor() -> None:
        package.read_bytes()
        subprocess.run(line, input=content.sums, capture_output=True, check=True)

    def verified() -> None:
        (found,) = modules.works("nexcage_plugin_info", name=[NAME], health=False, verify=True)["plugins"]
        assert found["verification"]["ok"], found

    def installed() -> None:
        assert modules.works("nexcage_plugin", name=NAME, src=str(package))["changed"]

    def again() -> None:
        assert not modules.works("nexcage_plugin", name=NAME, src=str(package))["changed"]

    kinds = {FLOOR: floor, "install it": installed, "install it again: nothing to do": again, "verify all that lies on disk": verified}
    spent: dict[str, list[float]] = {what: [] for what in kinds}
    for _turn in range(max(rounds, 3) * 10):
        for what, do in kinds.items():
            begin = time.monotonic()
            do()
            spent[what].append((time.monotonic() - begin) * 1000)
        modules.works("nexcage_plugin", name=NAME, state="absent")
    return {what: _figures(series) for what, series in spent.items()}


def main() -> None:
    """The section alone."""
    room = Room(1)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            found = measure(room, int(os.environ.get("ROUNDS") or 3))
    finally:
        room.close()
    print("\n".join(rows(found)))


if __name__ == "__main__":
    main()
