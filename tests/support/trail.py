# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that runs over one root may leave on a machine, found without the help of our own code."""

from __future__ import annotations

import glob
import os
import pathlib
import re
import time

CGROUP = "/sys/fs/cgroup"
IDENTIFIER = re.compile(r"^[0-9a-f]{16}$")


class Trail:
    """Remembers which generations there were below a root, to look for what is left of them.

    Args:
        root: The root; containers whose processes shall be found have its path in their environment.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.ids: set[str] = set()

    def note(self) -> None:
        """Remember the generations of this moment."""
        found = glob.glob(f"{self.root}/var/lib/nexcage/containers/*/*") + glob.glob(f"{self.root}/run/nexcage/conmon/*")
        self.ids.update(name for name in map(os.path.basename, found) if IDENTIFIER.match(name))

    def processes(self) -> list[str]:
        """All that have the root in their command line or environment, zombies too, but not this one."""
        needle, found = str(self.root).encode() + b"/", []
        for folder in glob.glob("/proc/[0-9]*"):
            if folder == f"/proc/{os.getpid()}":
                continue
            try:
                line = pathlib.Path(folder, "cmdline").read_bytes()
                text = line + b"\0" + pathlib.Path(folder, "environ").read_bytes() + b"\0"
            except OSError:
                continue
            if needle in text.replace(b"\0", b"/\0"):
                found.append(f"process {folder[6:]}: {line.replace(bytes(1), b' ').decode(errors='replace')}")
        return found

    def mounts(self) -> list[str]:
        return [f"mount {line}" for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if f"{self.root}/" in line]

    def groups(self) -> list[str]:
        """The control groups of all generations, those that are in use too."""
        patterns = (f"{CGROUP}/nexcage/", f"{CGROUP}/*/nexcage/", f"{CGROUP}/*/*/nexcage/")
        return [path for name in self.ids for pattern in patterns for path in glob.glob(pattern + name)]

    def files(self) -> list[str]:
        """Of containers, runs and locks; also temporary ones anywhere."""
        state, runtime = f"{self.root}/var/lib/nexcage", f"{self.root}/run/nexcage"
        patterns = (f"{state}/containers/*", f"{runtime}/exits/*", f"{runtime}/conmon/*", f"{runtime}/oci/*/*", f"{runtime}/tasks/*", f"{runtime}/locks/[!.i]*")
        return [path for pattern in patterns for path in glob.glob(pattern)] + glob.glob(f"{state}/*.tmp") + glob.glob(f"{state}/images/*.tmp*")

    def left(self, patience: float = 3.0) -> list[str]:
        """What there is although nothing should be; what is just ending gets some seconds."""
        deadline = time.monotonic() + patience
        while True:
            found = self.processes() + self.mounts() + self.groups() + self.files()
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.02)


def descriptors(pid: int) -> dict[int, str]:
    """Open descriptors of a process and what they are."""
    found: dict[int, str] = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
    return found


def stat(pid: int) -> dict[str, int]:
    """Session, controlling terminal (0 is none), process group and parent of a process, proc(5)."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return {"parent": int(fields[1]), "group": int(fields[2]), "session": int(fields[3]), "terminal": int(fields[4])}


def control_groups(pid: int) -> dict[str, str]:
    """Path by hierarchy, proc(5)."""
    lines = pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {hierarchy: path for _number, hierarchy, path in (line.split(":", 2) for line in lines)}


def inside(group: str) -> list[tuple[int, str]]:
    """Pid and command line of the processes of a control group, given by its path within the hierarchies."""
    found: dict[int, str] = {}
    for path in glob.glob(f"{CGROUP}{group}/cgroup.procs") + glob.glob(f"{CGROUP}/*{group}/cgroup.procs"):
        for pid in map(int, pathlib.Path(path).read_text().split()):
            found[pid] = pathlib.Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return sorted(found.items())
