# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A thousand operations in one process: nothing stays open, mounted, running or lying about, and memory does not grow."""

from __future__ import annotations

import collections
import gc
import os
import pathlib
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import modules
from ansible_collections.nexcage.backends.tests.support.host import FOREVER, RUNTIMES, Host
from ansible_collections.nexcage.backends.tests.support.trail import Trail

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")
OPERATIONS = 1000
WARM = 100  # operations until all that is imported and cached at first use is there
GROWTH = 4 << 20  # bytes of resident memory that may come afterwards; a leak of one result each would be more
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


def resident() -> int:
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def namespaces_of(root: pathlib.Path) -> set[str]:
    """Of every process of this root's containers, but not the machine's own."""
    found = set()
    for line in Trail(root).processes():
        pid = line.split()[1].rstrip(":")
        for name in NAMESPACES:
            try:
                found.add(os.readlink(f"/proc/{pid}/ns/{name}"))
            except OSError:
                continue
    return found - {os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES}


def holdings(host: Host) -> dict[str, t.Any]:
    """What this process and this root hold right now."""
    gc.collect()
    kept = [str(path.relative_to(host.root)) for path in host.root.glob("*/**/*") if "images" not in path.parts and "rootfs" not in path.parts]
    return {
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "children": pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split(),
        "threads": os.listdir("/proc/self/task"),
        "mounts": host.mounts(),
        "files": [name for name in kept if not name.startswith("var/log/")],
        "namespaces": namespaces_of(host.root),
        "processes": Trail(host.root).processes(),
        "working folder and mask": (os.getcwd(), os.umask(os.umask(0o022))),
    }


class Life:
    """Operations in an endless round over one container of each runtime, cheap ones more often than dear ones."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.trail = Trail(host.root)
        self.done: collections.Counter[str] = collections.Counter()

    def step(self, kind: str, module: str, changed: bool | None, **parameters: t.Any) -> None:
        result = modules.works(module, **parameters)
        assert changed is None or result["changed"] is changed, (kind, result.get("plan"))
        self.done[kind] += 1

    def round(self, number: int, backend: str) -> None:
        """Some twenty operations."""
        name = {"name": f"life-{backend}"}
        spec = {**name, "backend": backend, "image": self.host.image, "command": FOREVER, "env": {"MARKER": str(self.host.root)}}
        container, run = "nexcage_container", "nexcage_container_exec"
        self.step("create", container, True, **spec, state="present")
        self.trail.note()
        self.step("start", container, True, **name)
        for turn in range(3):
            self.step("update", container, True, **name, memory=f"{32 + 8 * turn + number % 2}m")
            self.step("converge", container, False, **spec)
            self.step("exec", run, True, **name, command="true")
        self.step("check", container, True, **name, memory="100m", check=True)
        self.step("pause", container, True, **name, state="paused")
        self.step("resume", container, True, **name)
        self.step("background", run, True, **name, command="sh -c 'sleep 1000 & true'")
        self.step("info", "nexcage_container_info", False)
        self.step("stop", container, True, **name, state="stopped", force_kill=True)
        self.step("remove", container, True, **name, state="absent")
        assert modules.run(container, **spec, memory="12potatoes").get("failed")
        self.done["bad input"] += 1


def test_a_thousand_operations(host: Host) -> None:
    life = Life(host)
    for number in range(WARM // 20):
        life.round(number, RUNTIMES[number % 2])
    assert life.trail.left() == []
    before, memory, begin = holdings(host), resident(), time.monotonic()
    number = 0
    while life.done.total() < OPERATIONS:
        life.round(number, RUNTIMES[number % 2])
        number += 1
    print(f"{life.done.total() - WARM} operations in {time.monotonic() - begin:.1f} s, {(resident() - memory) >> 10} KiB more: {dict(life.done)}")
    assert life.trail.left() == []
    assert holdings(host) == before
    assert resident() - memory < GROWTH
