# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits: set at the start, changed live, read back from the kernel, and real."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import cgroup
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support.containers import FOREVER, Yard

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "busybox")
MIB = 1 << 20

STEPS: list[dict[str, t.Any]] = [
    {"memory": 32 * MIB},
    {"memory": 256 * MIB},
    {"memory": 64 * MIB, "memory_swap": 64 * MIB},
    {"memory": 200 * MIB, "memory_swap": -1},
    {"memory": 48 * MIB, "memory_swap": 96 * MIB},
    {"memory": 50 * MIB + 1},
    {"cpus": 50000, "cpu_shares": 512, "pids_limit": 100, "cpuset_cpus": "0", "cpuset_mems": "0"},
    {"cpus": -1, "pids_limit": -1, "cpu_shares": 1024},
    {"cpus": 75000, "pids_limit": 50},
    {"memory": -1, "memory_swap": -1},
]


def test_every_limit_changes_live_and_stays(yard: Yard) -> None:
    pid = yard.run(memory=64 * MIB) and yard.one()["pid"]
    wanted: dict[str, object] = {}
    for step in STEPS:
        yard.engine.update("web", step)
        wanted.update(step)
        entry = yard.one()
        explicit = {name: value for name, value in wanted.items() if name != "memory_swap" or "memory_swap" in entry["spec"]}
        assert {name: entry["observed"][name] for name in explicit} == explicit and entry["pid"] == pid
        assert {name: entry["spec"][name] for name in explicit} == explicit
    yard.engine.update("web", {"memory": 40 * MIB, "memory_swap": 80 * MIB})
    yard.engine.stop("web", force=True)
    yard.engine.update("web", {"pids_limit": 33, "cpus": -1})
    yard.engine.start("web")
    observed = yard.one()["observed"]
    assert (observed["memory"], observed["memory_swap"], observed["pids_limit"], observed["cpus"]) == (40 * MIB, 80 * MIB, 33, -1)


def test_refused_changes_change_nothing(yard: Yard) -> None:
    yard.run(memory=64 * MIB, pids_limit=10)
    before = yard.one()
    for changes, option in (({"hostname": "x"}, "hostname"), ({"memory_swap": MIB}, "memory_swap"), ({"cpuset_cpus": "x"}, "cpuset_cpus")):
        with pytest.raises(NexcageError) as caught:
            yard.engine.update("web", changes)
        assert caught.value.option == option
    with pytest.raises(NexcageError):
        yard.engine.update("web", {"cpu_shares": 600, "cpus": 20000, "memory": 4096})
    after = yard.one()
    assert after["spec"] == before["spec"] and after["observed"] == before["observed"]


def test_memory_kills_cpu_throttles_pids_refuse(yard: Yard) -> None:
    yard.run("eater", memory=16 * MIB, memory_swap=16 * MIB, command=["tail", "/dev/zero"])
    for _attempt in range(500):
        if yard.status("eater") == "stopped":
            break
    assert yard.one("eater")["exit_code"] == 137
    yard.run("slow", cpus=10000, pids_limit=16, command=FOREVER)
    yard.shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done", name="slow")
    folder = cgroup.folder(yard.one("slow")["backend_details"]["cgroup"], "cpu", cgroup.mode())
    with open(folder + "/cpu.stat", encoding="ascii") as handle:
        assert int(dict(line.split() for line in handle)["nr_throttled"]) > 0
    assert "fork" in yard.shell("for i in $(seq 20); do sleep 5 & done", name="slow")[2]
