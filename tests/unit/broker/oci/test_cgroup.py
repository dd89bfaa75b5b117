# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups, read from and written to a folder that looks like the kernel's."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import cgroup, cgroup_control, features, process, resources, runtime
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError

ID = "0123456789abcdef"


@pytest.fixture
def tree(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    root = tmp_path / "cgroup"
    root.mkdir()
    monkeypatch.setattr(cgroup, "ROOT", str(root))
    monkeypatch.setattr(cgroup_control, "SYSTEMD_SIGN", str(tmp_path / "no-systemd"))
    return root


def put(folder: pathlib.Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".", 1)).write_text(text + "\n")


def test_modes(tree: pathlib.Path) -> None:
    assert cgroup.mode() == "v1" and not cgroup_control.blocked("crun")
    put(tree / "unified", cgroup__controllers="hugetlb")
    assert cgroup.mode() == "hybrid" and cgroup_control.blocked("crun") and not cgroup_control.blocked("runc")
    assert cgroup_control.creator(["/usr/bin/runc", "x"]) == ["/usr/bin/runc", "x"]
    (tree / "unified" / "cgroup.controllers").write_text("")  # systemd's own hybrid: nothing for crun to mind
    assert cgroup.mode() == "hybrid" and not cgroup_control.blocked("crun")
    put(tree, cgroup__controllers="cpu memory")
    assert cgroup.mode() == "v2" and cgroup_control.path_for(ID) == "/nexcage/" + ID


def test_crun_gets_its_own_view_on_a_hybrid_host(tree: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tree / "unified", cgroup__controllers="hugetlb")
    monkeypatch.setattr(runtime, "program", lambda name: "/usr/bin/" + name)
    line = cgroup_control.creator(["/usr/bin/crun", "--root", "/r"])
    assert line[:6] == ["/usr/bin/unshare", "-m", "--propagation", "private", "/usr/bin/sh", "-c"] and line[-4:] == [
        str(tree) + "/unified",
        "/usr/bin/crun",
        "--root",
        "/r",
    ]


def test_limits_of_v2(tree: pathlib.Path) -> None:
    put(tree, cgroup__controllers="x")
    group = tree / "g"
    put(group, memory__max="1073741824", memory__swap__max="0")
    (group / "memory.swap.max").write_text("536870912\n")
    put(group, cpu__max="50000 100000", cpu__weight="39", pids__max="max", cpuset__cpus="0-1,3")
    (group / "cpuset.cpus.effective").write_text("0-3\n")
    (group / "cpuset.mems.effective").write_text("0\n")
    found = cgroup.limits("/g", "v2", {})
    assert found == {"memory": 1 << 30, "memory_swap": 3 << 29, "cpus": 50000, "cpu_shares": 998, "cpuset_cpus": "0-1,3", "cpuset_mems": "0", "pids_limit": -1}
    assert cgroup.limits("/g", "v2", {"cpu_shares": 1024})["cpu_shares"] == 1024  # 39 is what 1024 shares become
    put(group, memory__max="max", cpu__max="max 100000")
    (group / "memory.swap.max").write_text("max\n")
    found = cgroup.limits("/g", "v2", {})
    assert (found["memory"], found["memory_swap"], found["cpus"]) == (-1, -1, -1)
    assert cgroup.limits("/none", "v2", {}) == {}


@pytest.mark.parametrize(("shares", "line", "curve"), [(1024, 39, 100), (2, 1, 1), (262144, 10000, 10000), (512, 20, 59), (1, 1, 1), (1 << 30, 10000, 10000)])
def test_both_conversions_of_shares(shares: int, line: int, curve: int) -> None:
    assert cgroup.weights(shares) == (line, curve)


def test_limits_of_v1(tree: pathlib.Path) -> None:
    put(tree / "memory/g", memory__limit_in_bytes="104857600")
    put(tree / "cpu/g", cpu__cfs_quota_us="25000", cpu__cfs_period_us="50000", cpu__shares="512")
    put(tree / "pids/g", pids__max="33")
    found = cgroup.limits("/g", "v1", {"memory": 104857601, "memory_swap": 5})
    assert found == {"memory": 104857601, "cpus": 50000, "cpu_shares": 512, "pids_limit": 33}  # kept in whole pages, asked for in bytes
    put(tree / "memory/g", memory__limit_in_bytes="9223372036854771712")
    put(tree / "cpu/g", cpu__cfs_quota_us="-1", cpu__cfs_period_us="odd")
    found = cgroup.limits("/g", "v1", {})
    assert found["memory"] == -1 and found["cpus"] == -1


def test_processes_and_freezing(tree: pathlib.Path) -> None:
    put(tree / "memory/g/below", cgroup__procs="5\n6")
    put(tree / "freezer/g", freezer__state="THAWED")
    assert cgroup.processes("/g", "v1") == [5, 6] and cgroup.processes("/none", "v1") == [] and not cgroup.frozen("/g", "v1")
    put(tree / "freezer/g", freezer__state="FROZEN")
    assert cgroup.frozen("/g", "v1")
    cgroup_control.thaw("/g")
    assert (tree / "freezer/g/freezer.state").read_text() == "THAWED"
    put(tree, cgroup__controllers="x")
    put(tree / "g", cgroup__freeze="1", cgroup__procs="7")
    assert cgroup.frozen("/g", "v2") and cgroup.processes("/g", "v2") == [7] and cgroup_control.members("/g") == [7]
    cgroup_control.thaw("/g")
    assert (tree / "g/cgroup.freeze").read_text() == "0"
    cgroup_control.thaw("/none")
    (tree / "g" / "pids.max").mkdir()
    assert "pids_limit" not in cgroup.limits("/g", "v2", {})


def test_a_busy_group_is_tried_again_and_then_left(tree: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tree, cgroup__controllers="x")
    (tree / "g" / "sub").mkdir(parents=True)
    calls: list[str] = []
    original = os.rmdir

    def busy(path: str) -> None:
        calls.append(path)
        if len(calls) < 4:
            raise OSError(16, "busy")
        original(path)

    monkeypatch.setattr(os, "rmdir", busy)
    cgroup_control.remove("/g")
    assert not (tree / "g").exists() and len(calls) > 4
    (tree / "g").mkdir()
    (tree / "g" / "file").write_text("")
    monkeypatch.setattr(cgroup_control, "_REMOVAL_TIMEOUT", 0.01)
    cgroup_control.remove("/g")
    assert (tree / "g").exists()


@pytest.fixture
def proc(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    folder = tmp_path / "proc" / "42"
    folder.mkdir(parents=True)
    monkeypatch.setattr(cgroup_control, "PROC", str(tmp_path / "proc"))
    return folder / "cgroup"


def test_conmon_leaves_the_callers_groups(tree: pathlib.Path, proc: pathlib.Path) -> None:
    for name in ("memory", "pids", "systemd"):
        (tree / name).mkdir()
    proc.write_text("3:memory:/session\n2:pids:/\n1:name=systemd:/user\n0::/user\nodd\n")
    cgroup_control.leave(42, "/nexcage/" + ID)
    assert (tree / "memory/cgroup.procs").read_text() == "42" == (tree / "systemd/cgroup.procs").read_text() and not (tree / "pids/cgroup.procs").exists()
    put(tree, cgroup__controllers="x")
    cgroup_control.leave(42, "/nexcage/" + ID)
    assert (tree / "nexcage/conmon/cgroup.procs").read_text() == "42"
    (tree / "file").write_text("")
    cgroup_control._join(str(tree / "file" / "sub"), 42)  # best effort


def test_where_systemd_runs(tree: pathlib.Path, proc: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup_control, "SYSTEMD_SIGN", str(tmp_path))
    monkeypatch.setattr(runtime, "program", lambda name: "/usr/bin/" + name)
    assert cgroup_control.systemd() and cgroup_control.path_for(ID) == "/nexcage/" + ID  # v1: the groups are ours, the scope is for conmon
    put(tree, cgroup__controllers="x")
    path = cgroup_control.path_for(ID)
    assert path == f"/nexcage.slice/nexcage-{ID}.scope/container"
    line = cgroup_control.supervised(["/usr/bin/conmon", "-c", ID], path)
    assert line[0] == "/usr/bin/systemd-run" and f"--unit=nexcage-{ID}.scope" in line and "--slice=nexcage.slice" in line and "--property=Delegate=yes" in line
    assert line[-4:] == ["--", "/usr/bin/conmon", "-c", ID] and cgroup_control.supervised(["x"], "/nexcage/" + ID)[5] == f"--unit=nexcage-{ID}.scope"
    told = cgroup_control.supervised(["x"], path, {"name": "web", "stop_signal": 37, "stop_timeout": 30})
    assert {"--description=NexCage container web", "--property=TimeoutStopSec=30", "--property=KillSignal=37"} < set(told)
    assert "--property=TimeoutStopSec=1ms" in cgroup_control.supervised(["x"], path, {"name": "web", "stop_signal": 9, "stop_timeout": 0})
    proc.write_text(f"0::/nexcage.slice/nexcage-{ID}.scope\n")
    cgroup_control.leave(42, path)
    scope = tree / "nexcage.slice" / f"nexcage-{ID}.scope"
    assert (scope / "supervisor/cgroup.procs").read_text() == "42"
    monkeypatch.setattr(cgroup_control, "_SCOPE_TIMEOUT", 0.02)
    cgroup_control.settle(path)  # still there: systemd-run is left to say so
    proc.write_text("0::/user.slice\n")
    monkeypatch.setattr(process, "start_time", lambda _pid: 1)
    with pytest.raises(NexcageError) as caught:
        cgroup_control.leave(42, path)
    assert caught.value.code == "E_TIMEOUT"
    monkeypatch.setattr(process, "start_time", lambda _pid: None)
    with pytest.raises(NexcageError):
        cgroup_control.leave(42, path)
    (tree / "cgroup.controllers").unlink()
    proc.write_text(f"1:name=systemd:/nexcage.slice/nexcage-{ID}.scope\n")
    cgroup_control.leave(42, "/nexcage/" + ID)


def test_limits_that_contradict_each_other(tree: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "online").write_text("0-1\n")
    monkeypatch.setattr(resources, "_ONLINE", {"cpuset_cpus": str(tmp_path / "online"), "cpuset_mems": str(tmp_path / "none")})
    put(tree, cgroup__controllers="x")
    wrong: list[tuple[dict[str, t.Any], str]] = [
        ({"memory_swap": 5}, "memory_swap"),
        ({"memory": 10, "memory_swap": 5}, "memory_swap"),
        ({"cpuset_cpus": "a"}, "cpuset_cpus"),
        ({"cpuset_cpus": "0-99999999999999"}, "cpuset_cpus"),
        ({"cpuset_cpus": "1-2"}, "cpuset_cpus"),
        ({"cpuset_mems": "1,"}, "cpuset_mems"),
    ]
    for values, option in wrong:
        with pytest.raises(NexcageError) as caught:
            resources.check(values)
        assert (caught.value.code, caught.value.option) == ("E_INVALID", option)
    resources.check({"memory": 10, "memory_swap": -1, "cpuset_cpus": "0,1", "cpuset_mems": "7"})
    (tree / "cgroup.controllers").unlink()
    with pytest.raises(NexcageError) as caught:
        resources.check({"memory": 10, "memory_swap": -1})
    assert caught.value.code == "E_SYSTEM"
    assert resources.render({"memory": 10}) == {"memory": {"limit": 10}}  # without swap accounting
    put(tree / "memory", memory__memsw__limit_in_bytes="1")
    (tree / "memory/memory.memsw.limit_in_bytes").write_text("")
    assert resources.render({"memory": 10, "pids_limit": -1, "cpus": 0, "cpu_shares": 0}) == {"memory": {"limit": 10, "swap": 20}}
    assert resources.render({"memory": -1, "cpu_shares": 7}) == {"memory": {"limit": -1, "swap": -1}, "cpu": {"shares": 7}}


def test_versions(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "FOLDERS", (str(tmp_path),))
    for name, script, code in (("conmon", "echo conmon version 2.0.9", "E_VERSION"), ("crun", "echo nothing", "E_BINARY"), ("runc", "exit 1", "E_BINARY")):
        path = tmp_path / name
        path.write_text("#!/bin/sh\n" + script + "\n")
        path.chmod(0o755)
        if os.geteuid() == 0:
            with pytest.raises(NexcageError) as caught:
                features.check(name)
            assert caught.value.code == code
