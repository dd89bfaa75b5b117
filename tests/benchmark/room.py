# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One private place for a whole benchmark, and the stopwatch."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

from ansible_collections.nexcage.backends.tests.support import images, modules

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
KEPT = REPOSITORY / ".venv" / "bench"  # what is fetched once
COMMAND = ["/bin/sleep", "100000"]  # as process 1 it hears no TERM: whoever stops it kills it


class Sample(t.NamedTuple):
    """One measurement: seconds on the wall, and processor seconds of the process and what it waited for."""

    wall: float
    processor: float


class Series(list[Sample]):
    """All measurements of one thing."""

    @property
    def median(self) -> float:
        """Of the seconds on the wall."""
        return statistics.median(sample.wall for sample in self)

    @property
    def least(self) -> float:
        """Of the seconds on the wall; the better estimate where others use the machine too."""
        return min(sample.wall for sample in self)

    @property
    def processor(self) -> float:
        """The least processor seconds."""
        return min(sample.processor for sample in self)


def timed(argv: t.Sequence[str], environment: t.Mapping[str, str], log: Path) -> Sample:
    """Run a program to its end; one that fails ends the benchmark with its output."""
    with log.open("wb") as output:
        begin = time.monotonic()
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment)
        _pid, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)} ended with code {process.returncode}:\n{log.read_text(errors='replace')[-4000:]}")
    return Sample(wall, usage.ru_utime + usage.ru_stime)


class Room:
    """A temporary folder with an image, and the environment in which everything runs."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.folder = Path(tempfile.mkdtemp(prefix="nexcage-bench."))
        self.root = self.folder / "root"
        self.root.mkdir()
        self.log = self.folder / "log"
        self.image = images.make_busybox_layout(self.folder / "image", Cmd=COMMAND)
        collections = f"{os.environ['ANSIBLE_COLLECTIONS_PATH']}:{KEPT}"
        self.environment = {**os.environ, "NEXCAGE_ROOT": str(self.root), "ANSIBLE_COLLECTIONS_PATH": collections, "ANSIBLE_NOCOLOR": "1"}
        self.series: dict[str, Series] = {}
        os.environ["NEXCAGE_ROOT"] = str(self.root)

    def record(self, name: str, sample: Sample) -> None:
        """Keep one measurement, and say so."""
        self.series.setdefault(name, Series()).append(sample)
        print(f"  {name:<36} {sample.wall:7.3f} s   processor {sample.processor:6.3f} s", flush=True)

    def playbook(self, name: str, task: dict[str, t.Any], items: t.Sequence[str] = (), changed: int | None = None) -> Sample:
        """Run a playbook of one task, looped over ``items``; ``changed`` items must have changed something."""
        play = {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "vars": {"ansible_python_interpreter": sys.executable, "ansible_remote_tmp": str(self.folder / "remote")},
            "tasks": [{**task, **({"loop": list(items)} if items else {})}],
        }
        path = self.folder / "playbook.yml"
        path.write_text(json.dumps([play]))  # JSON is YAML
        sample = timed(["ansible-playbook", str(path)], self.environment, self.log)
        text = self.log.read_text()
        found = text.count("changed: [localhost] => (item=")
        if changed is not None and found != changed:
            raise RuntimeError(f"{name}: {found} of {len(items)} items changed something, {changed} should have:\n{text[-4000:]}")
        return sample

    def names(self, kind: str) -> list[str]:
        """Of the containers of one kind."""
        return [f"bench-{kind}-{number}" for number in range(self.count)]

    def close(self) -> None:
        """Remove all containers of this collection and the folder."""
        for entry in modules.run("nexcage_container_info").get("containers", []):
            modules.run("nexcage_container", name=entry["name"], state="absent", force_kill=True)
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines() if str(self.folder) in line]
        for mount in reversed(mounts):
            subprocess.run(["umount", mount], check=False)
        if not any(str(self.folder) in line for line in Path("/proc/self/mounts").read_text().splitlines()):
            shutil.rmtree(self.folder)


def ours(room: Room, runtime: str, **parameters: t.Any) -> dict[str, t.Any]:
    """The task under test."""
    values = {"image": room.image, "command": COMMAND, "memory": "64m", "env": {"GREETING": "hello"}, "stop_signal": "KILL"}
    if parameters.get("state") == "absent":
        values = {}
    return {"nexcage.backends.nexcage_container": {"name": "{{ item }}", "backend": runtime, **values, **parameters}}
