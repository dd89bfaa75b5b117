# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel says of a container's control group; reading only.

File names and meanings: the kernel's ``admin-guide/cgroup-v1`` and ``admin-guide/cgroup-v2``.
"""

from __future__ import annotations

import math
import os
import typing as t

ROOT = "/sys/fs/cgroup"
CPU_PERIOD = 100000  # microseconds; the unit of the option cpus
UNLIMITED = -1
_PAGE = 4096
_NO_LIMIT = 1 << 62  # a v1 limit beyond this is the kernel's word for none
_V1_CONTROLLERS = ("pids", "memory", "cpu", "freezer", "systemd")


def mode() -> str:
    """``v2`` (one tree), ``hybrid`` (v1 with a v2 tree beside it) or ``v1``."""
    if os.path.exists(ROOT + "/cgroup.controllers"):
        return "v2"
    return "hybrid" if os.path.exists(ROOT + "/unified/cgroup.controllers") else "v1"


def _text(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, 65536).decode("ascii", "replace").strip()
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def folder(path: str, controller: str, kind: str) -> str:
    """Where a group lies in the file system for one controller."""
    return ROOT + path if kind == "v2" else f"{ROOT}/{controller}{path}"


def processes(path: str, kind: str) -> list[int]:
    """The processes in the group and, on v2, in the groups below it (``init: systemd`` makes such)."""
    controllers = _V1_CONTROLLERS if kind != "v2" else ("",)
    for controller in controllers:
        found: list[int] = []
        for place, _folders, _files in os.walk(folder(path, controller, kind)):
            found += [int(pid) for pid in _text(place + "/cgroup.procs").split()]
        if found:
            return found
    return []


def frozen(path: str, kind: str) -> bool:
    """Whether the group is paused."""
    if kind == "v2":
        return _text(ROOT + path + "/cgroup.freeze") == "1"
    return _text(f"{ROOT}/freezer{path}/freezer.state") in ("FROZEN", "FREEZING")


def limits(path: str, kind: str, recorded: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The limits in force, in the units of the options; ``-1`` is unlimited.

    Where the kernel keeps a value less exactly than it was asked for (memory in pages, weights
    instead of shares), the ``recorded`` value is returned as long as it explains what is there.
    A limit whose controller is missing is not in the result.
    """
    found = _limits_v2(path, recorded) if kind == "v2" else _limits_v1(path)
    for name in ("memory", "memory_swap"):
        wanted, actual = recorded.get(name), found.get(name)
        if isinstance(wanted, int) and actual is not None and wanted // _PAGE * _PAGE == actual:
            found[name] = wanted
    return {name: value for name, value in found.items() if value is not None and value != ""}


def _number(text: str) -> int | None:
    if text == "max":
        return UNLIMITED
    if not text or not text.lstrip("-").isdigit():
        return None
    value = int(text)
    return UNLIMITED if value >= _NO_LIMIT else value


def _quota(quota: str, period: str) -> int | None:
    value, length = _number(quota), _number(period)
    if value is None or not length or value < 0:
        return value
    return value if length == CPU_PERIOD else round(value * CPU_PERIOD / length)


def _limits_v1(path: str) -> dict[str, t.Any]:
    memory, cpu, cpuset = (f"{ROOT}/{name}{path}/" for name in ("memory", "cpu", "cpuset"))
    return {
        "memory": _number(_text(memory + "memory.limit_in_bytes")),
        "memory_swap": _number(_text(memory + "memory.memsw.limit_in_bytes")),
        "cpus": _quota(_text(cpu + "cpu.cfs_quota_us"), _text(cpu + "cpu.cfs_period_us")),
        "cpu_shares": _number(_text(cpu + "cpu.shares")),
        "cpuset_cpus": _text(cpuset + "cpuset.cpus"),
        "cpuset_mems": _text(cpuset + "cpuset.mems"),
        "pids_limit": _number(_text(f"{ROOT}/pids{path}/pids.max")),
    }


def _limits_v2(path: str, recorded: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    base = ROOT + path + "/"
    memory, swap = _number(_text(base + "memory.max")), _number(_text(base + "memory.swap.max"))
    total = swap if swap is None or swap < 0 or memory is None or memory < 0 else memory + swap
    quota, _space, period = _text(base + "cpu.max").partition(" ")
    return {
        "memory": memory,
        "memory_swap": total,
        "cpus": _quota(quota, period),
        "cpu_shares": _shares(_number(_text(base + "cpu.weight")), recorded.get("cpu_shares")),
        "cpuset_cpus": _text(base + "cpuset.cpus") or _text(base + "cpuset.cpus.effective"),
        "cpuset_mems": _text(base + "cpuset.mems") or _text(base + "cpuset.mems.effective"),
        "pids_limit": _number(_text(base + "pids.max")),
    }


def weights(shares: int) -> tuple[int, int]:
    """The two v2 weights that runtimes make of v1 shares.

    The straight line of crun before 1.23 and runc before 1.3.2, and the curve of later ones
    (kubernetes/enhancements KEP-2254; opencontainers/cgroups ``ConvertCPUSharesToCgroupV2Value``).
    """
    bounded = min(max(shares, 2), 262144)
    line = 1 + (bounded - 2) * 9999 // 262142
    if bounded in (2, 262144):
        return line, line
    exponent = math.log2(bounded)
    return line, math.ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))


def _shares(weight: int | None, recorded: t.Any) -> int | None:
    if weight is None:
        return None
    if isinstance(recorded, int) and weight in weights(recorded):
        return recorded
    return 2 + (weight - 1) * 262142 // 9999
