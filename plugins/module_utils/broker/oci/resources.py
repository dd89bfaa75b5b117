# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits: from the options' values to the runtime specification's ``linux.resources``."""

from __future__ import annotations

import os
import re
import typing as t

from ...model.errors import NexcageError
from .. import store
from . import cgroup

DEFAULT_PIDS = 2048
_SET = re.compile(r"\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?){0,999}")
_ONLINE = {"cpuset_cpus": "/sys/devices/system/cpu/online", "cpuset_mems": "/sys/devices/system/node/online"}


def check(values: t.Mapping[str, t.Any]) -> None:
    """Refuse limits that contradict each other before anything is touched.

    Raises:
        NexcageError: ``E_INVALID`` or ``E_SYSTEM`` naming the option.
    """
    memory, swap = values.get("memory"), values.get("memory_swap")
    if swap is not None and swap > 0 and (memory is None or memory <= 0):
        raise NexcageError("E_INVALID", "needs memory too", option="memory_swap", value=swap, remedy="set memory as well")
    if memory is not None and swap is not None and 0 <= swap < memory:
        raise NexcageError(
            "E_INVALID",
            f"memory and swap together are less than memory alone ({memory})",
            option="memory_swap",
            value=swap,
            remedy="give the sum of both, or -1 for unlimited swap",
        )
    if swap is not None and not swap_accounting():
        raise NexcageError("E_SYSTEM", "the kernel does not account swap", option="memory_swap", value=swap, remedy="boot with swapaccount=1")
    processors = os.cpu_count() or cgroup.CPU_PERIOD
    if (values.get("cpus") or 0) > processors * cgroup.CPU_PERIOD:
        raise NexcageError("E_INVALID", f"this host has only {processors} CPUs", option="cpus", value=values["cpus"], remedy="give what the host has, or less")
    for option in ("cpuset_cpus", "cpuset_mems"):
        text = values.get(option)
        if text and not _SET.fullmatch(text):
            raise NexcageError("E_INVALID", "not a list of numbers such as 0-2,5", option=option, value=text)
        online = (store.read_bytes(_ONLINE[option]) or b"").decode("ascii", "replace").strip()
        if text and online and not _numbers(text) <= _numbers(online):
            raise NexcageError("E_INVALID", f"this host has only {online}", option=option, value=text, remedy="name what the host has")


def _numbers(text: str) -> set[int]:
    """The numbers in the list format of cpuset(7)."""
    ends = (part.partition("-") for part in text.split(","))
    return {number for first, _dash, last in ends for number in range(int(first), int(last or first) + 1)}


def swap_accounting() -> bool:
    """Whether memory and swap can be limited together (v2 can always)."""
    return cgroup.mode() == "v2" or os.path.exists(cgroup.ROOT + "/memory/memory.memsw.limit_in_bytes")


def effective_swap(values: t.Mapping[str, t.Any]) -> int | None:
    """Memory plus swap in bytes: what was asked for, else twice the memory as with podman and docker."""
    memory, swap = values.get("memory"), values.get("memory_swap")
    if swap is not None:
        return t.cast(int, swap)
    if memory is None or not swap_accounting():
        return None
    return cgroup.UNLIMITED if memory <= 0 else 2 * t.cast(int, memory)


def render(values: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """``memory``, ``cpu`` and ``pids`` of ``linux.resources`` for the options that are set."""
    memory: dict[str, t.Any] = {}
    if values.get("memory") is not None:
        memory["limit"] = values["memory"] if values["memory"] > 0 else -1
    swap = effective_swap(values)
    if swap is not None:
        memory["swap"] = swap
    cpu: dict[str, t.Any] = {}
    if (values.get("cpus") or 0) > 0:
        cpu = {"quota": values["cpus"], "period": cgroup.CPU_PERIOD}
    for option, field in (("cpu_shares", "shares"), ("cpuset_cpus", "cpus"), ("cpuset_mems", "mems")):
        if values.get(option) not in (None, "", 0):
            cpu[field] = values[option]
    result: dict[str, t.Any] = {"memory": memory, "cpu": cpu}
    pids = values.get("pids_limit")
    if pids is not None and pids > 0:  # like cpu's quota: unlimited is left out, as crun 1.8 cannot say it
        result["pids"] = {"limit": pids}
    return {name: value for name, value in result.items() if value}
