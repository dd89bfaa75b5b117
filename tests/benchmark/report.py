# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of a run as text: ratios for the terminal, the page for the documentation."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
import typing as t
from importlib.metadata import version

import many
import starts
from inside import Inside
from room import Room, Series

RUNTIMES = ("crun", "runc")
GIGABIT = 125_000  # bytes in a millisecond
ACTIONS = (("create and start", "up"), ("converge again", "again"), ("remove", "down"))


class Budget(t.NamedTuple):
    """One promise beside what was measured."""

    what: str
    measured: float
    limit: float
    unit: str

    @property
    def holds(self) -> bool:
        """Whether it is kept."""
        return self.measured <= self.limit

    def row(self) -> str:
        """A line of the table."""
        digits = 0 if self.unit in ("B", "") and self.measured == int(self.measured) else 2
        figures = f"{self.measured:.{digits}f} {self.unit}".strip(), f"{self.limit:g} {self.unit}".strip()
        return f"| {self.what} | {figures[0]} | {figures[1]} | {'yes' if self.holds else '**no**'} |"


class Report:
    """All figures of one run."""

    def __init__(self, room: Room, inside: Inside, peer_problem: str, rounds: int, load: float) -> None:
        self.series = room.series
        self.count = room.count
        self.inside = inside
        self.peer_problem = peer_problem
        self.rounds = rounds
        self.load = (load, os.getloadavg()[0])

    def _net(self, name: str, figure: t.Callable[[Series], float] = lambda series: series.least) -> float:
        """Seconds per item, the start of the playbook taken off."""
        return (figure(self.series[name]) - figure(self.series["empty play"])) / self.count

    def _ratio(self, name: str) -> float:
        return self._net(name) / self._net("ping")

    def _processor(self, name: str) -> float:
        """The ratio in processor time, which says most on a machine that others use too."""

        def figure(series: Series) -> float:
            return series.processor

        return self._net(name, figure) / self._net("ping", figure)

    def overhead(self, runtime: str, action: str) -> float:
        """The engine alone against the bare loop."""
        return self.series[f"engine {runtime} {action}"].least / self.series[f"bare {runtime} {action}"].least

    def budgets(self) -> list[Budget]:
        """What docs/benchmarks.md and the architecture promise."""
        inside, found = self.inside, []
        for runtime in RUNTIMES:
            found.append(Budget(f"a converged {runtime} container in a loop, against a ping in a loop", self._ratio(f"{runtime} again"), 1.4, "x"))
        for runtime in RUNTIMES:
            for what, action in (ACTIONS[0], ACTIONS[2]):
                found.append(Budget(f"{what} by the engine on {runtime}, against the bare loop", self.overhead(runtime, action), 1.5, "x"))
        return [
            *found,
            Budget("own code imported where nothing changes", inside.imports, 20, "ms"),
            Budget("modules imported there that are not needed", len(inside.unneeded), 0, ""),
            Budget("worker, from its spawn to the first answer", inside.worker, 25, "ms"),
            Budget("the worker's program", inside.bundle / 1024, 32, "KiB"),
            Budget("one broker call with its audit lines", inside.call, 0.1, "ms"),
            Budget("what the collection adds to the payload, compressed", inside.payload / 1024, 60, "KiB"),
            Budget(f"{many.MANY} installed plugins, a run beside them against one without", inside.plugins.difference, 1, "ms"),
            Budget("processes that it starts more for them", inside.plugins.processes, 0, ""),
            Budget("questions to the runtime in one task", max(row[3] for row in inside.growth), 1, ""),
        ]

    def page(self) -> str:
        """docs/benchmarks.md."""
        lines = [
            "<!--",
            "Copyright (c) 2026 NexCage contributors",
            # REUSE-IgnoreStart
            "SPDX-License-Identifier: GPL-3.0-or-later",
            # REUSE-IgnoreEnd
            "",
            "Written by make bench.",
            "-->",
            "",
            "# Benchmarks",
            "",
            f"Written by `make bench` on {time.strftime('%Y-%m-%d', time.gmtime())}. Everything ran on one machine in one run, {self.rounds} rounds in turn:",
            f"{machine()}.",
            "",
            f"The load average was {self.load[0]:.1f} at the beginning and {self.load[1]:.1f} at the end; the benchmark alone makes about 1. The more others",
            "use the machine, the less the seconds say and the more the processor time does: that of `ansible-playbook` and all that it waited for. The least",
            "of the rounds says most; the median says what a run was like.",
            "",
            f"## A loop over {self.count} containers",
            "",
            "The same container everywhere: busybox, `memory: 64m`, one variable, no network, killed by signal 9. The floor is a loop of",
            f"`ansible.builtin.ping` over {self.count} items: no module can be faster. *Per item* leaves out the start of the playbook.",
            "",
            "| what | least s | median s | processor s | per item ms | against ping | processor against ping |",
            "|---|---:|---:|---:|---:|---:|---:|",
            *self._loops(),
            "",
            *self._peer(),
            "## The engine's own share",
            "",
            "The bare loop is a shell script that calls conmon, `mount`, and the runtime's create and start (or kill, delete and `umount`), without Ansible.",
            "*Engine alone* are the same steps through our engine in one process, as in one task for many containers: with records, locks, a rendered",
            "configuration and files that survive a power cut. *Item above the ping* is what an item of a loop costs more than a ping: all modules imported",
            "and a worker locked for each.",
            "",
            "| what, ms per container | bare loop | engine alone | against bare | item above the ping |",
            "|---|---:|---:|---:|---:|",
            *self._shares(),
            "",
            *starts.rows(self.inside.starts),
            *many.rows(self.inside.plugins),
            "## Budgets",
            "",
            "| what | measured | limit | holds |",
            "|---|---:|---:|---|",
            *[budget.row() for budget in self.budgets()],
            "",
            *self._inside(),
        ]
        return "\n".join(lines).rstrip("\n") + "\n"

    def _loops(self) -> list[str]:
        found = []
        for name, series in self.series.items():
            if name.startswith(("bare", "engine")):
                continue
            head = f"| {name} | {series.least:.2f} | {series.median:.2f} | {series.processor:.2f} |"
            single = name.startswith(("empty", "one"))
            found.append(head + (" | | |" if single else f" {self._net(name) * 1000:.0f} | {self._ratio(name):.2f} x | {self._processor(name):.2f} x |"))
        return found

    def _peer(self) -> list[str]:
        if self.peer_problem:
            return [f"Without the peer: {self.peer_problem}.", ""]
        lines = ["| nexcage_container against podman_container, per item | crun | runc |", "|---|---:|---:|"]
        for what, action in ACTIONS:
            against = self._net(f"podman {action}")
            ratios = [against / self._net(f"{runtime} {action}") for runtime in RUNTIMES]
            lines.append(f"| {what} | {ratios[0]:.1f} x faster | {ratios[1]:.1f} x faster |")
        for what, action in ACTIONS:
            above = self._net(f"podman {action}") - self._net("ping")
            ratios = [above / (self._net(f"{runtime} {action}") - self._net("ping")) for runtime in RUNTIMES]
            lines.append(f"| {what}, net of the ping | {ratios[0]:.1f} x | {ratios[1]:.1f} x |")
        return [*lines, ""]

    def _shares(self) -> list[str]:
        found = []
        for runtime in RUNTIMES:
            for what, action in (ACTIONS[0], ACTIONS[2]):
                bare, alone = (self.series[f"{kind} {runtime} {action}"].least / self.count * 1000 for kind in ("bare", "engine"))
                above = (self._net(f"{runtime} {action}") - self._net("ping")) * 1000
                found.append(f"| {runtime}: {what} | {bare:.1f} | {alone:.1f} | {self.overhead(runtime, action):.2f} x | {above:.1f} |")
        return found

    def _inside(self) -> list[str]:
        inside = self.inside
        more = (inside.archive - inside.floor) / GIGABIT
        slowest = ", ".join(f"`{name}` {spent:.1f}" for name, spent in inside.slowest[:8])
        return [
            "## Inside a run that changes nothing",
            "",
            f"- The module's process takes {inside.process:.0f} ms longer than ping's ({inside.processor:.0f} ms of processor time, the worker's included).",
            f"- {inside.modules} modules of ours are imported: {inside.imports:.1f} ms with the code that an earlier task kept on the host, and",
            f"  {inside.compiled:.1f} ms in the first task after this version of the collection came. The largest: {slowest} ms.",
            f"- The standard library that ping does not import: {inside.library:.1f} ms ({', '.join(f'`{name}`' for name in inside.library_names) or 'none'}).",
            f"- Not needed, and imported all the same: {', '.join(inside.unneeded) or 'nothing'}.",
            f"- The payload holds {inside.files} files of ours. As it is sent it has {inside.archive / 1024:.0f} KiB, ping's {inside.floor / 1024:.0f} KiB:",
            f"  {more:.1f} ms more per task over a line of 1 Gbit/s, {more * 10:.1f} ms over one of 100 Mbit/s, without ssh's compression.",
            f"  The first task of a version sends a second one of {inside.first / 1024:.0f} KiB with the collection's code, which stays on the host.",
            "",
            "| containers on the host | one converged, ms | all listed, ms | questions to the runtime |",
            "|---:|---:|---:|---:|",
            *[f"| {number} | {single:.1f} | {every:.1f} | {listings} |" for number, single, every, listings in inside.growth],
            "",
        ]


def machine() -> str:
    """What it ran on."""
    parts = [
        f"{os.cpu_count()} cores",
        f"Linux {platform.release().partition('-')[0]}",
        f"Python {platform.python_version()}",
        f"ansible-core {version('ansible-core')}",
    ]
    for program in (*RUNTIMES, "conmon", "podman"):
        path = shutil.which(program)
        if path:
            output = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
            found = re.search(r"\d+\.\d+[.\d]*", output)
            parts.append(f"{program} {found.group() if found else '?'}")
    return ", ".join(parts)
