# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one module run consists of: imports, worker, broker calls, payload; and how it grows."""

from __future__ import annotations

import os
import shutil
import sys
import time
import typing as t
from pathlib import Path

import many
from ansible_collections.nexcage.backends.plugins.module_utils.backends import crun
from ansible_collections.nexcage.backends.plugins.module_utils.broker.audit import Audit
from ansible_collections.nexcage.backends.plugins.module_utils.broker.gate import Gate
from ansible_collections.nexcage.backends.plugins.module_utils.worker.bundle import plugin_sources, program
from ansible_collections.nexcage.backends.plugins.module_utils.worker.sandbox import limits_of
from ansible_collections.nexcage.backends.plugins.module_utils.worker.spawn import Worker
from ansible_collections.nexcage.backends.tests.support import modules, payload
from room import COMMAND, Room, timed
from starts import Start
from starts import measure as measure_starts

GROWTH = (1, 20, 100)
CALLS = 500


class Inside(t.NamedTuple):
    """Figures in milliseconds and bytes."""

    imports: float  # of our code, the least of each module, compiled code taken from what an earlier task kept
    compiled: float  # the same where nothing is kept
    library: float  # of the standard library that ping does not import
    slowest: list[tuple[str, float]]
    library_names: list[str]
    modules: int
    unneeded: list[str]
    process: float  # of the module's process beyond ping's, least of the rounds
    processor: float
    worker: float
    bundle: int
    call: float
    payload: int
    files: int
    archive: int  # the whole payload as it is sent, Ansible's own part included
    first: int  # the same with the collection's code in it
    floor: int  # ping's
    starts: list[Start]  # of workers, beside their floor
    plugins: many.Plugins
    growth: list[tuple[int, float, float, int]]  # containers, one converged, all listed, runtime listings of one task


def measure(room: Room, rounds: int) -> Inside:
    """Everything; makes a hundred containers for a while."""
    growth = [_grown(room, number, rounds) for number in GROWTH]
    parameters = {"name": "bench-grow-0", "backend": "crun", "image": room.image, "command": COMMAND, "memory": "64m", "stop_signal": "KILL"}
    code = room.root / "var/cache/nexcage/code"
    shutil.rmtree(code, ignore_errors=True)
    first = payload.make(room.folder / "first", "nexcage.backends.nexcage_container", room.environment, **parameters)
    ours = payload.make(room.folder / "ours", "nexcage.backends.nexcage_container", room.environment, **parameters)
    ping = payload.make(room.folder / "ping", "ansible.builtin.ping", room.environment, data="pong")
    imports, compiled, library, names = [], [], [], []
    assert first.delivers and not ours.delivers
    runs: dict[str, list[tuple[float, float]]] = {"ours": [], "ping": []}
    for _turn in range(max(rounds, 3) * 2):
        code.rename(f"{code}.away")
        compiled.append(payload.own(first.imports(room.environment)))
        shutil.rmtree(code)
        Path(f"{code}.away").rename(code)
        spent = ours.imports(room.environment)
        common = ping.imports(room.environment)
        imports.append(payload.own(spent))
        names = sorted(name for name in spent if name not in common and not name.startswith("ansible"))
        library.append(sum(spent[name] for name in names))
        for kind, program_ in (("ours", ours), ("ping", ping)):
            runs[kind].append(timed([sys.executable, str(program_.path)], room.environment, room.log))
    best, anew = (_least(series) for series in (imports, compiled))
    wall, processor = (1000 * (min(run[which] for run in runs["ours"]) - min(run[which] for run in runs["ping"])) for which in (0, 1))
    for number in range(max(GROWTH)):
        modules.run("nexcage_container", name=f"bench-grow-{number}", state="absent", force_kill=True)
    sizes = ours.sizes()
    return Inside(
        sum(best.values()) / 1000,
        sum(anew.values()) / 1000,
        min(library) / 1000,
        [(name, spent / 1000) for name, spent in sorted(best.items(), key=lambda item: -item[1])],
        names,
        len(best),
        payload.unneeded(best),
        wall,
        processor,
        min(_worker() for _turn in range(max(rounds, 3) * 4)),
        len(program()),
        min(_call(room) for _turn in range(max(rounds, 3))),
        sum(sizes.values()),
        sum(1 for size in sizes.values() if size > 100),
        ours.path.stat().st_size,
        first.path.stat().st_size,
        ping.path.stat().st_size,
        measure_starts(rounds),
        many.measure(room, rounds),
        growth,
    )


def _least(series: list[dict[str, int]]) -> dict[str, int]:
    """Of each module over all runs."""
    return {name: min(one.get(name, spent) for one in series) for name, spent in series[0].items()}


def _worker() -> float:
    """From nothing to the first answer of a locked worker with a plugin in it."""
    begin = time.monotonic()
    worker = Worker()
    worker.start(limits_of(crun.MANIFEST["resource_requirements"]))
    worker.load("crun-backend", plugin_sources(crun), {})
    worker.request("list", {"names": None}, lambda _call, _parameters: [], 10.0)
    spent = time.monotonic() - begin
    worker.close()
    return spent * 1000


def _call(room: Room) -> float:
    """One write through the gate with its two audit lines, without an effect."""
    audit = Audit(str(room.folder / "audit.jsonl"))
    gate = Gate(crun.MANIFEST, {}, {"oci.start": lambda _arguments: None}, audit, context={"op": "start"}, targets=["web"])
    begin = time.monotonic()
    for _turn in range(CALLS):
        gate.call("oci.start", {"name": "web"})
    spent = time.monotonic() - begin
    audit.close()
    return spent / CALLS * 1000


def _grown(room: Room, number: int, rounds: int) -> tuple[int, float, float, int]:
    """Make containers until there are ``number``, then converge one, and list all, in this process."""
    for one in range(number):
        name = f"bench-grow-{one}"
        if not (room.root / "var/lib/nexcage/containers" / name).exists():
            _converge(room, name)
    single, every, listings = [], [], 0
    for _turn in range(max(rounds, 3) * 3):
        begin = time.monotonic()
        with _Listings() as counted:
            _converge(room, "bench-grow-0")
        middle = time.monotonic()
        found = modules.works("nexcage_container_info")["containers"]
        every.append(time.monotonic() - middle)
        single.append(middle - begin)
        listings = max(listings, counted.number)
        assert len(found) == number, found
    print(f"  {number} containers: {min(single) * 1000:.1f} ms for one, {min(every) * 1000:.1f} ms for the list", flush=True)
    return number, min(single) * 1000, min(every) * 1000, listings


def _converge(room: Room, name: str) -> None:
    modules.works("nexcage_container", name=name, backend="crun", image=room.image, command=COMMAND, memory="64m", stop_signal="KILL")


class _Listings:
    """Counts the runtime listings that this process starts."""

    _current: _Listings | None = None
    _hooked = False

    def __init__(self) -> None:
        self.number = 0

    def __enter__(self) -> _Listings:
        if not _Listings._hooked:
            sys.addaudithook(_Listings._hear)  # for good: a hook cannot be taken away
            _Listings._hooked = True
        _Listings._current = self
        return self

    def __exit__(self, *_details: object) -> None:
        _Listings._current = None

    @staticmethod
    def _hear(event: str, details: tuple[t.Any, ...]) -> None:
        if event == "subprocess.Popen" and _Listings._current is not None:
            words = [os.fsdecode(word) for word in details[1]]
            _Listings._current.number += "list" in words or "state" in words
